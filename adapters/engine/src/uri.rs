//! URIs of STUN and TURN servers (RFC 7064, RFC 7065).

/// What a TURN server is reached over. What it relays is UDP in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// `turn:…?transport=udp`, and `turn:` without a word.
    Udp,
    /// `turn:…?transport=tcp`.
    Tcp,
    /// `turns:…`.
    Tls,
}

/// What a server is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Says which address we have to the outside.
    Stun,
    /// Relays, too.
    Turn(Transport),
}

/// A URI of a STUN or TURN server, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUri {
    /// What it is good for.
    pub service: Service,
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
}

impl ServerUri {
    /// `stun:host`, `turn:host:port?transport=tcp`, `turns:[address]` …; `None` for what is no such
    /// URI, and for DTLS (`stuns:`, `turns:…?transport=udp`), which no homeserver is known to offer.
    pub fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = query.strip_prefix("transport=").map(str::to_ascii_lowercase);
        let service = match (scheme.to_ascii_lowercase().as_str(), transport.as_deref()) {
            ("stun", _) => Service::Stun,
            ("turn", None | Some("udp")) => Service::Turn(Transport::Udp),
            ("turn", Some("tcp")) => Service::Turn(Transport::Tcp),
            ("turns", None | Some("tcp")) => Service::Turn(Transport::Tls),
            _ => return None,
        };
        let default = if service == Service::Turn(Transport::Tls) { 5349 } else { 3478 };
        let (host, port) = split_port(authority)?;
        let port =
            port.map_or(Some(default), |port| port.parse().ok().filter(|port| *port != 0))?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        let fits = !host.is_empty() && host.len() <= 253 && host.chars().all(is_host);
        fits.then(|| Self { service, host: host.to_owned(), port })
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        return Some((host, port));
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(uri: &str) -> Option<(Service, String, u16)> {
        ServerUri::parse(uri).map(|uri| (uri.service, uri.host, uri.port))
    }

    #[test]
    fn every_form_of_uri_is_read() {
        let turn = Service::Turn;
        let host = |host: &str| host.to_owned();
        let cases = [
            ("stun:a.example", (Service::Stun, host("a.example"), 3478)),
            ("stun:[2001:db8::1]:99", (Service::Stun, host("2001:db8::1"), 99)),
            ("turn:10.0.0.1", (turn(Transport::Udp), host("10.0.0.1"), 3478)),
            ("TURN:a:1?transport=UDP", (turn(Transport::Udp), host("a"), 1)),
            ("turn:a?transport=tcp", (turn(Transport::Tcp), host("a"), 3478)),
            ("turns:a?transport=tcp", (turn(Transport::Tls), host("a"), 5349)),
            ("turns:[::1]", (turn(Transport::Tls), host("::1"), 5349)),
        ];
        for (uri, expected) in cases {
            assert_eq!(parsed(uri), Some(expected), "{uri}");
        }
    }

    #[test]
    fn other_uris_are_of_no_use() {
        let useless = [
            "",
            "turn",
            "turn:",
            "turn::1",
            "turn:a:0",
            "turn:a:70000",
            "turn:a:b",
            "http://a",
            "stuns:a",
            "turns:a?transport=udp",
            "turn:a?transport=sctp",
            "turn:[::1",
            "turn:a b",
            "turn:[::1]x",
            "turn:::1",
        ];
        for uri in useless {
            assert_eq!(parsed(uri), None, "{uri}");
        }
    }
}
