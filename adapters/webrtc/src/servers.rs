//! STUN and TURN servers: which of them the crate can be given, and how they fare.
//!
//! The crate leaves out `turn:` over TCP and `turns:` without a word; those get a [`Forwarder`],
//! and the crate a server on this machine. It tells no failures, so a server is known to work when
//! a candidate comes from it, and is taken to be silent when gathering ends without one.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use matrix_voip::{
    machine::io::{CandidatePair, IceServer, ServerFault, ServerState, ServerStats},
    redact::Redacted,
};
use matrix_voip_engine::{
    ServerUri, Tls,
    uri::{Service, Transport},
};
use webrtc::peer_connection::{RTCBundlePolicy, RTCConfigurationBuilder, RTCIceServer};

use crate::forward::Forwarder;

/// Most URIs that are used; each takes a socket or an allocation.
const MAX_SERVERS: usize = 8;

/// The STUN and TURN servers of one connection.
pub(crate) struct Servers {
    tls: Arc<Tls>,
    relay_only: bool,
    /// Where forwarders listen.
    here: IpAddr,
    of: Vec<Server>,
    /// Ways to servers that are named no more: what was allocated there may be in use.
    retired: VecDeque<Forwarder>,
}

/// One URI.
struct Server {
    uri: String,
    /// `None`: it is of no use.
    read: Option<ServerUri>,
    state: ServerState,
    /// What the crate was given in its place.
    given: Option<String>,
    forwarder: Option<Forwarder>,
}

impl Servers {
    /// No server yet.
    pub(crate) fn new(tls: Arc<Tls>, relay_only: bool) -> Self {
        let here = Ipv4Addr::LOCALHOST.into();
        Self { tls, relay_only, here, of: Vec::new(), retired: VecDeque::new() }
    }

    /// They are asked from these addresses. The crate asks a server only from sockets of its family,
    /// so without any of IPv4 forwarders listen on IPv6.
    pub(crate) fn reach_from(&mut self, addresses: &[IpAddr]) {
        let is_v6 = !addresses.is_empty() && addresses.iter().all(IpAddr::is_ipv6);
        self.here = if is_v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    }

    /// Whether nothing but relayed candidates is to be used.
    pub(crate) const fn relay_only(&self) -> bool {
        self.relay_only
    }

    /// Uses these from now on; returns what the crate is to be configured with.
    pub(crate) async fn replace(&mut self, servers: &[IceServer]) -> RTCConfigurationBuilder {
        // Forwarders that are in use go on with the relay that they serve.
        // One URI may be there twice, with other credentials.
        let mut former: Vec<(String, Forwarder)> = std::mem::take(&mut self.of)
            .into_iter()
            .filter_map(|server| Some((server.uri, server.forwarder?)))
            .collect();
        let mut usable = Vec::new();
        for server in servers {
            for uri in &server.urls {
                let known = former.iter().position(|(of, _)| of == uri);
                let forwarder = known.map(|at| former.remove(at).1);
                let one = self.admit(uri, server, forwarder).await;
                usable.extend(one.given.clone().map(|url| RTCIceServer {
                    urls: vec![url],
                    username: server.username.expose().to_owned(),
                    credential: server.credential.expose().to_owned(),
                }));
                self.of.push(one);
            }
        }
        self.retired.extend(former.into_iter().map(|(_, forwarder)| forwarder));
        while self.retired.len() > MAX_SERVERS {
            self.retired.pop_front();
        }
        if self.have_no_relay() {
            usable.push(nobody());
        }
        // Correction L: what stays is said with it, or the crate refuses it as a change.
        RTCConfigurationBuilder::new()
            .with_bundle_policy(RTCBundlePolicy::MaxBundle)
            .with_ice_servers(usable)
    }

    /// Whether nothing can be found: relayed candidates only, and no relay.
    pub(crate) fn have_no_relay(&self) -> bool {
        let is_relay = |server: &Server| server.given.is_some() && server.is_turn();
        self.relay_only && !self.of.iter().any(is_relay)
    }

    async fn admit(&self, uri: &str, of: &IceServer, forwarder: Option<Forwarder>) -> Server {
        let used = self.of.iter().filter(|server| server.given.is_some()).count();
        let has_credentials =
            !of.username.expose().is_empty() && !of.credential.expose().is_empty();
        let is_usable = |read: &ServerUri| {
            used < MAX_SERVERS && (read.service() == Service::Stun || has_credentials)
        };
        let read = ServerUri::parse(uri).ok().filter(is_usable);
        let uri = uri.to_owned();
        let state = ServerState::Failed(ServerFault::Unusable);
        let mut made = Server { uri, read, state, given: None, forwarder: None };
        let Some(read) = &made.read else { return made };
        made.state = ServerState::Asked;
        if matches!(read.service(), Service::Stun | Service::Turn(Transport::Udp)) {
            made.given = Some(for_crate(read));
            return made;
        }
        let forwarder = match forwarder {
            Some(forwarder) => Ok(forwarder),
            None => Forwarder::start(self.here, read.clone(), self.tls.clone()).await,
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
        self.retired.clear();
        for server in self.of.iter_mut().filter(|server| server.state == ServerState::Asked) {
            server.state = ServerState::Failed(ServerFault::Silent);
        }
    }

    /// The path with the way to our own relay, which is a guess where several are in use.
    pub(crate) fn named(&self, mut pair: CandidatePair) -> CandidatePair {
        let works = |server: &&Server| server.state == ServerState::Works && server.is_turn();
        if pair.local.kind == "relay" {
            let relay = self.of.iter().find(works).and_then(|server| server.read.as_ref());
            pair.local.relay_protocol = relay.and_then(|relay| match relay.service() {
                Service::Turn(Transport::Udp) => Some("udp"),
                Service::Turn(Transport::Tcp) => Some("tcp"),
                Service::Turn(Transport::Tls) => Some("tls"),
                Service::Stun => None,
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
        self.read.as_ref().is_some_and(|read| read.service() != Service::Stun)
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

/// A server over UDP as the crate reads it.
fn for_crate(uri: &ServerUri) -> String {
    let host = uri.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match uri.service() {
        Service::Stun => format!("stun:{host}:{}", uri.port()),
        Service::Turn(_) => format!("turn:{host}:{}?transport=udp", uri.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_named_twice_keeps_both_its_ways() {
        let tls = Arc::new(Tls::new(matrix_voip_engine::TrustedRoots::default()));
        let mut servers = Servers::new(tls, true);
        let named = ["one", "other"].map(|user| IceServer {
            urls: vec!["turn:127.0.0.1:9?transport=tcp".to_owned()],
            username: user.into(),
            credential: "p".to_owned().into(),
        });
        let mut given = async || {
            let made = servers.replace(&named).await.build();
            made.ice_servers().iter().map(|server| server.urls[0].clone()).collect::<Vec<_>>()
        };
        let first = given().await;
        assert!(first.len() == 2 && first[0] != first[1], "{first:?}");
        assert_eq!(given().await, first, "an allocation that is there stays");
    }
}
