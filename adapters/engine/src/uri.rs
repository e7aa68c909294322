//! URIs of STUN and TURN servers (RFC 7064, RFC 7065).
//!
//! ```
//! use matrix_voip_engine::uri::{ServerUri, Service, Transport, UriFault};
//!
//! let server = ServerUri::parse("turns:relay.example?transport=tcp")?;
//! assert_eq!(server.service(), Service::Turn(Transport::Tls));
//! assert_eq!((server.host(), server.port()), ("relay.example", 5349));
//! assert_eq!(ServerUri::parse("https://relay.example"), Err(UriFault::Scheme));
//! # Ok::<(), UriFault>(())
//! ```

use std::fmt;

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
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUri {
    service: Service,
    host: String,
    port: u16,
}

/// Why a URI names no server that can be used. Nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UriFault {
    /// It begins with none of `stun:`, `turn:`, `turns:`.
    #[error("no URI of a STUN or TURN server")]
    Scheme,
    /// A way to the server that no engine has: DTLS (`stuns:`, `turns:…?transport=udp`), which no
    /// homeserver is known to offer, or one that nobody knows.
    #[error("a transport that is not carried")]
    Transport,
    /// No host, or one that cannot be one.
    #[error("no usable host")]
    Host,
    /// No number from 1 to 65535.
    #[error("no usable port")]
    Port,
}

impl ServerUri {
    /// Reads `stun:host`, `turn:host:port?transport=tcp`, `turns:[address]` …
    ///
    /// # Errors
    /// [`UriFault`].
    pub fn parse(uri: &str) -> Result<Self, UriFault> {
        let (scheme, rest) = uri.split_once(':').ok_or(UriFault::Scheme)?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = query.strip_prefix("transport=").map(str::to_ascii_lowercase);
        let service = match (scheme.to_ascii_lowercase().as_str(), transport.as_deref()) {
            ("stun", _) => Service::Stun,
            ("turn", None | Some("udp")) => Service::Turn(Transport::Udp),
            ("turn", Some("tcp")) => Service::Turn(Transport::Tcp),
            ("turns", None | Some("tcp")) => Service::Turn(Transport::Tls),
            ("stuns" | "turn" | "turns", _) => return Err(UriFault::Transport),
            _ => return Err(UriFault::Scheme),
        };
        let default = if service == Service::Turn(Transport::Tls) { 5349 } else { 3478 };
        let (host, port) = split_port(authority).ok_or(UriFault::Host)?;
        let port = port.map_or(Ok(default), |port| {
            port.parse().ok().filter(|port| *port != 0).ok_or(UriFault::Port)
        })?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        let fits = !host.is_empty() && host.len() <= 253 && host.chars().all(is_host);
        fits.then(|| Self { service, host: host.to_owned(), port }).ok_or(UriFault::Host)
    }

    /// What it is good for.
    pub const fn service(&self) -> Service {
        self.service
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Debug for ServerUri {
    /// Without the host: addresses and names of servers belong into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = format_args!("<{} bytes>", self.host.len());
        f.debug_struct("ServerUri")
            .field("service", &self.service)
            .field("host", &host)
            .field("port", &self.port)
            .finish()
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

    fn parsed(uri: &str) -> Result<(Service, String, u16), UriFault> {
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
            assert_eq!(parsed(uri), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn other_uris_are_of_no_use_and_say_why() {
        let useless = [
            ("", UriFault::Scheme),
            ("turn", UriFault::Scheme),
            ("http://a", UriFault::Scheme),
            ("turn:", UriFault::Host),
            ("turn::1", UriFault::Host),
            ("turn:[::1", UriFault::Host),
            ("turn:a b", UriFault::Host),
            ("turn:[::1]x", UriFault::Host),
            ("turn:::1", UriFault::Host),
            ("turn:a:0", UriFault::Port),
            ("turn:a:70000", UriFault::Port),
            ("turn:a:b", UriFault::Port),
            ("stuns:a", UriFault::Transport),
            ("turns:a?transport=udp", UriFault::Transport),
            ("turn:a?transport=sctp", UriFault::Transport),
        ];
        for (uri, fault) in useless {
            assert_eq!(parsed(uri), Err(fault), "{uri}");
        }
    }

    #[test]
    fn a_host_is_not_printed() {
        let uri = ServerUri::parse("turn:secret.example:1").unwrap();
        let printed = format!("{uri:?}");
        assert!(!printed.contains("secret") && printed.contains("<14 bytes>"), "{printed}");
    }
}
