//! STUN and TURN servers: which of them the crate can be given, and how they fare.
//!
//! The crate leaves out `turn:` over TCP and `turns:` without a word; those get a [`Forwarder`],
//! and the crate a server on this machine. It tells no failures, so a server is known to work when
//! a candidate comes from it, and is taken to be silent when gathering ends without one.

use std::{collections::BTreeMap, sync::Arc};

use matrix_voip::{
    machine::io::{CandidatePair, IceServer, ServerFault, ServerState, ServerStats},
    redact::Redacted,
};
use matrix_voip_engine::Tls;
use webrtc::peer_connection::{RTCConfigurationBuilder, RTCIceServer};

use crate::forward::Forwarder;

/// Most URIs that are used; each takes a socket or an allocation.
const MAX_SERVERS: usize = 8;

/// The STUN and TURN servers of one connection.
pub(crate) struct Servers {
    tls: Arc<Tls>,
    relay_only: bool,
    of: Vec<Server>,
}

/// One URI.
struct Server {
    uri: String,
    state: ServerState,
    /// What the crate was given in its place.
    given: Option<String>,
    forwarder: Option<Forwarder>,
}

/// What a URI asks for (RFC 7064, RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) is_turn: bool,
    pub(crate) is_tls: bool,
    pub(crate) is_stream: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Servers {
    /// No server yet.
    pub(crate) fn new(tls: Arc<Tls>, relay_only: bool) -> Self {
        Self { tls, relay_only, of: Vec::new() }
    }

    /// Uses these from now on; returns what the crate is to be configured with.
    pub(crate) async fn replace(&mut self, servers: &[IceServer]) -> RTCConfigurationBuilder {
        // Forwarders that are in use go on with the relay that they serve.
        let mut former: BTreeMap<String, Forwarder> = std::mem::take(&mut self.of)
            .into_iter()
            .filter_map(|server| Some((server.uri, server.forwarder?)))
            .collect();
        let mut usable = Vec::new();
        for server in servers {
            for uri in &server.urls {
                let forwarder = former.remove(uri);
                let one = self.admit(uri, server, forwarder).await;
                usable.extend(one.given.clone().map(|url| RTCIceServer {
                    urls: vec![url],
                    username: server.username.expose().to_owned(),
                    credential: server.credential.expose().to_owned(),
                }));
                self.of.push(one);
            }
        }
        if self.relay_only
            && !self.of.iter().any(|server| server.given.is_some() && server.is_turn())
        {
            usable.push(nobody());
        }
        RTCConfigurationBuilder::new().with_ice_servers(usable)
    }

    async fn admit(&self, uri: &str, of: &IceServer, forwarder: Option<Forwarder>) -> Server {
        let unusable = |uri: &str| Server {
            uri: uri.to_owned(),
            state: ServerState::Failed(ServerFault::Unusable),
            given: None,
            forwarder: None,
        };
        let used = self.of.iter().filter(|server| server.given.is_some()).count();
        let Some(read) = Uri::parse(uri).filter(|_| used < MAX_SERVERS) else {
            return unusable(uri);
        };
        let has_credentials =
            !of.username.expose().is_empty() && !of.credential.expose().is_empty();
        if read.is_turn && !has_credentials || read.is_stream && !read.is_turn {
            return unusable(uri);
        }
        let mut made = Server { state: ServerState::Asked, ..unusable(uri) };
        if !read.is_stream {
            made.given = Some(read.for_crate());
            return made;
        }
        let forwarder = match forwarder {
            Some(forwarder) => Ok(forwarder),
            None => Forwarder::start(read, self.tls.clone()).await,
        };
        match forwarder {
            Ok(forwarder) => {
                made.given = Some(format!("turn:{}?transport=udp", forwarder.address()));
                made.forwarder = Some(forwarder);
            }
            Err(fault) => made.state = ServerState::Failed(fault),
        }
        made
    }

    /// A candidate came from this server, as the crate names it.
    pub(crate) fn on_candidate(&mut self, given: &str) {
        let is_same =
            |server: &&mut Server| server.given.as_ref().is_some_and(|url| is_alike(url, given));
        for server in self.of.iter_mut().filter(is_same) {
            server.state = ServerState::Works;
        }
    }

    /// There will be no more candidates.
    pub(crate) fn on_done(&mut self) {
        for server in self.of.iter_mut().filter(|server| server.state == ServerState::Asked) {
            server.state = ServerState::Failed(ServerFault::Silent);
        }
    }

    /// The path with the way to our own relay, which is a guess where several are in use.
    pub(crate) fn named(&self, mut pair: CandidatePair) -> CandidatePair {
        let works = |server: &&Server| server.state == ServerState::Works && server.is_turn();
        if pair.local.kind == "relay" {
            let relay = self.of.iter().find(works);
            pair.local.relay_protocol =
                relay.and_then(|server| Uri::parse(&server.uri)).map(|uri| {
                    match (uri.is_tls, uri.is_stream) {
                        (true, _) => "tls",
                        (false, true) => "tcp",
                        (false, false) => "udp",
                    }
                });
        }
        pair
    }

    /// How they fare, in their order.
    pub(crate) fn stats(&self) -> Vec<ServerStats> {
        // A stream of a former allocation may break; a candidate says more.
        let fault = |server: &Server| server.forwarder.as_ref().and_then(Forwarder::fault);
        let state = |server: &Server| match (server.state, fault(server)) {
            (ServerState::Works, _) | (_, None) => server.state,
            (_, Some(fault)) => ServerState::Failed(fault),
        };
        let stats = |server: &Server| ServerStats::new(Redacted::new(&server.uri), state(server));
        self.of.iter().map(stats).collect()
    }
}

impl Server {
    fn is_turn(&self) -> bool {
        Uri::parse(&self.uri).is_some_and(|uri| uri.is_turn)
    }
}

/// A relay that is none: the crate makes no connection with relayed candidates only and no relay,
/// but the machine may have one for us later.
fn nobody() -> RTCIceServer {
    const DISCARD: &str = "turn:127.0.0.1:9?transport=udp";
    let none = || "none".to_owned();
    RTCIceServer { urls: vec![DISCARD.to_owned()], username: none(), credential: none() }
}

/// Whether two names of a server are the same but for what the crate adds.
fn is_alike(one: &str, other: &str) -> bool {
    let stem = |url: &str| url.split('?').next().unwrap_or_default().to_owned();
    stem(one) == stem(other)
}

impl Uri {
    /// Reads `stun:`, `turn:` and `turns:`; anything else is `None`.
    pub(crate) fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let (is_turn, is_tls) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return None,
        };
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let transport = query.strip_prefix("transport=").unwrap_or("").to_ascii_lowercase();
        let is_stream = match (transport.as_str(), is_tls) {
            ("" | "udp", false) => false,
            ("tcp", false) | ("" | "tcp", true) => true,
            _ => return None,
        };
        let (host, port) = split_port(address);
        let usual = if is_tls { 5349 } else { 3478 };
        let port = if port.is_empty() { usual } else { port.parse().ok()? };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let is_sound = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_host);
        (is_sound && port != 0).then(|| Self {
            is_turn,
            is_tls,
            is_stream,
            host: host.to_owned(),
            port,
        })
    }

    /// As the crate reads it.
    fn for_crate(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.is_turn {
            true => format!("turn:{host}:{}?transport=udp", self.port),
            false => format!("stun:{host}:{}", self.port),
        }
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn split_port(address: &str) -> (&str, &str) {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, port.strip_prefix(':').unwrap_or(""));
    }
    address.split_once(':').unwrap_or((address, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_they_are_written() {
        let read = |uri| Uri::parse(uri).map(|uri| (uri.host, uri.port, uri.is_stream, uri.is_tls));
        let of = |host: &str, port, stream, tls| Some((host.to_owned(), port, stream, tls));
        assert_eq!(read("stun:a.example"), of("a.example", 3478, false, false));
        assert_eq!(read("turn:a.example:99?transport=udp"), of("a.example", 99, false, false));
        assert_eq!(read("turn:a.example?transport=tcp"), of("a.example", 3478, true, false));
        assert_eq!(read("turns:[::1]:443?transport=tcp"), of("::1", 443, true, true));
        assert_eq!(read("turns:10.0.0.1"), of("10.0.0.1", 5349, true, true));
        let wrong = [
            "stuns:a",
            "http://a",
            "turn:",
            "turn:a b",
            "turn:a:x",
            "turn:a:0",
            "turns:a?transport=udp",
        ];
        assert!(wrong.into_iter().all(|uri| Uri::parse(uri).is_none()));
    }
}
