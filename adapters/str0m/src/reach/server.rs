//! URIs of STUN and TURN servers (RFC 7064, RFC 7065), and what one of them comes to.

use matrix_voip::{
    machine::io::{IceServer, ServerFault, ServerState, ServerStats},
    redact::{Redacted, Secret},
};

/// Most URIs that one connection uses. Homeservers name two to four.
pub(crate) const MAX_SERVERS: usize = 8;

/// Most servers of one connection over all its life, those that are not named any more included.
const MAX_KNOWN: usize = 4 * MAX_SERVERS;

/// What a TURN server is reached over. What it relays is UDP in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// What a server is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Stun,
    Turn(Transport),
}

/// A URI of a server, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) service: Service,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who we are for a TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Redacted,
    pub(crate) password: Secret,
}

/// One URI with its credentials and its fate.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) uri: Redacted,
    pub(crate) target: Option<Target>,
    pub(crate) credentials: Credentials,
    pub(crate) state: ServerState,
    /// Whether the homeserver names it still.
    pub(crate) is_named: bool,
}

impl Server {
    /// For the statistics.
    pub(crate) fn stats(&self) -> ServerStats {
        ServerStats::new(self.uri.clone(), self.state)
    }

    /// It is of no use; the first reason stands, and one that has worked is told as lost.
    pub(crate) fn fail(&mut self, fault: ServerFault) {
        let fault = match self.state {
            ServerState::Failed(_) => return,
            ServerState::Works if fault == ServerFault::Silent => ServerFault::Lost,
            ServerState::Works | ServerState::Asked => fault,
        };
        self.state = ServerState::Failed(fault);
        // Host names are told to nobody who only reads logs.
        tracing::info!(service = ?self.target.as_ref().map(|target| target.service), %fault,
            "a STUN or TURN server is of no use");
    }
}

/// The URIs of these servers, in order, each once. What cannot be used is there as failed.
pub(crate) fn read(servers: &[IceServer]) -> Vec<Server> {
    let mut read: Vec<Server> = Vec::new();
    for server in servers {
        for uri in &server.urls {
            if read.iter().any(|known| known.uri.expose() == uri) {
                continue;
            }
            let used = read.iter().filter(|server| server.target.is_some()).count();
            let target = parse(uri).filter(|_| used < MAX_SERVERS);
            let state = match target {
                Some(_) => ServerState::Asked,
                None => ServerState::Failed(ServerFault::Unusable),
            };
            let credentials =
                Credentials { user: server.username.clone(), password: server.credential.clone() };
            let uri = uri.as_str().into();
            read.push(Server { uri, target, credentials, state, is_named: true });
        }
    }
    read
}

/// Takes over what the homeserver says now: a server that is known keeps its place, and gets new
/// credentials; one that is new comes behind them. Returns which of them are to be asked.
///
/// A server that is not named any more is not asked again; what it gave may be used on.
pub(crate) fn renew(known: &mut Vec<Server>, servers: &[IceServer]) -> Vec<usize> {
    let told = read(servers);
    for server in &mut *known {
        server.is_named = told.iter().any(|told| told.uri == server.uri);
    }
    let mut fresh = Vec::new();
    for told in told.into_iter().filter(|told| told.target.is_some()) {
        match known.iter().position(|server| server.uri == told.uri) {
            Some(place) if known[place].credentials == told.credentials => {}
            Some(place) => {
                known[place].credentials = told.credentials;
                fresh.push(place);
            }
            None if known.len() < MAX_KNOWN => {
                fresh.push(known.len());
                known.push(told);
            }
            None => tracing::debug!("a TURN server more than can be kept"),
        }
    }
    fresh
}

/// `stun:host`, `turn:host:port?transport=tcp`, `turns:[address]` …; `None` for what is no such
/// URI, and for DTLS (`stuns:`, `turns:…?transport=udp`), which no homeserver is known to offer.
fn parse(uri: &str) -> Option<Target> {
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
    let port = port.map_or(Some(default), |port| port.parse().ok().filter(|port| *port != 0))?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    let fits = !host.is_empty() && host.len() <= 253 && host.chars().all(is_host);
    fits.then(|| Target { service, host: host.to_owned(), port })
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
        parse(uri).map(|target| (target.service, target.host, target.port))
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

    #[test]
    fn each_uri_is_used_once_and_not_more_than_a_few() {
        let urls = (0..20).map(|n| format!("turn:host{}", n / 2)).collect();
        let server = IceServer { urls, username: "u".into(), credential: Secret::new("p") };
        let read = read(&[server]);
        assert_eq!(read.len(), 10);
        let used: Vec<bool> = read.iter().map(|server| server.target.is_some()).collect();
        assert_eq!(used, [true, true, true, true, true, true, true, true, false, false]);
        assert_eq!(read[9].state, ServerState::Failed(ServerFault::Unusable));
    }

    #[test]
    fn the_first_reason_stands_and_a_server_that_worked_is_told_as_lost() {
        let server = |state| Server {
            uri: "turn:a".into(),
            target: parse("turn:a"),
            credentials: Credentials { user: "u".into(), password: Secret::new("p") },
            state,
            is_named: true,
        };
        let mut asked = server(ServerState::Asked);
        asked.fail(ServerFault::Silent);
        asked.fail(ServerFault::Lost);
        assert_eq!(asked.state, ServerState::Failed(ServerFault::Silent));
        let mut worked = server(ServerState::Works);
        worked.fail(ServerFault::Silent);
        assert_eq!(worked.state, ServerState::Failed(ServerFault::Lost));
    }
}
