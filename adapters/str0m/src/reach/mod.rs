//! How a connection reaches out: STUN and TURN servers as one value without socket and clock.
//!
//! ```text
//! servers ──Resolve──▶ shell ──addresses──▶ Binding requests, allocations (UDP)
//!                                     └──▶ Connect ──▶ shell ──connected──▶ allocations (TCP, TLS)
//! candidates and packets of peers come out of `poll`, as everything does
//! ```
//!
//! [`server`] reads the URIs; [`binding`] is one question for our address, `reflexive` who asks
//! whom; [`turn`] is one allocation, `relays` all of them; [`framing`] cuts streams, [`request`]
//! resends. Every server gets one allocation, over the socket that the system would reach it from;
//! with relayed candidates only, nobody is asked for our own address.

mod binding;
mod framing;
mod reflexive;
mod relays;
mod request;
pub(crate) mod server;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use matrix_voip::machine::io::{IceServer, ServerFault, ServerState, ServerStats};
use matrix_voip_engine::uri::{ServerUri, Service, Transport};

pub(crate) use self::request::Step;
use self::{binding::Binding, relays::Relay, server::Server, turn::TurnClient};
use crate::gather::Origin;

/// Most addresses of one server that are used: one of each family.
const MAX_ADDRESSES: usize = 2;

/// Most addresses of the other side that are let through; browsers name fewer than thirty.
const MAX_PEERS: usize = 64;

/// How long a new address waits for the restart that it leads to, before relays are asked for from
/// there: a little longer than the machine waits for credentials.
const RESTART_PATIENCE: Duration = Duration::from_secs(6);

/// When relays are asked for from a new address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// At once.
    Now,
    /// With the ICE restart that follows. A server that has refused old credentials from an address
    /// takes no others from there (coturn: 437), and the restart may bring fresh ones.
    AtRestart,
}

/// An address of a STUN or TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// The address, with the port that was asked for.
    pub address: SocketAddr,
    /// The address of ours from which the system would reach it; `None` when that is not known.
    pub from: Option<IpAddr>,
}

/// Whether a message was for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Ours,
    NotOurs,
}

/// What this wants of its surroundings, and what it has found.
#[derive(Debug)]
pub(crate) enum Output {
    Resolve { server: usize, host: String, port: u16 },
    Connect { server: usize, to: SocketAddr, tls: Option<String> },
    Disconnect { server: usize },
    Stream { server: usize, data: Vec<u8> },
    Datagram { local: SocketAddr, to: SocketAddr, data: Vec<u8> },
    Found(Origin),
    Lost(Origin),
    Packet { relayed: SocketAddr, from: SocketAddr, data: Vec<u8> },
}

/// All servers of one connection.
pub(crate) struct Reach {
    servers: Vec<Server>,
    sockets: Vec<SocketAddr>,
    /// Those whose address is not ours at present.
    gone: BTreeSet<SocketAddr>,
    relay_only: bool,
    /// Servers whose name is being looked up.
    resolving: BTreeSet<usize>,
    /// Servers to which a stream is being opened: where to, and where to try after that.
    connecting: BTreeMap<usize, Vec<SocketAddr>>,
    bindings: Vec<Binding>,
    /// Addresses that UDP servers were found at, for sockets that come later.
    known: Vec<(usize, SocketAddr)>,
    relays: Vec<Relay>,
    /// What servers see of us, with the socket that it belongs to.
    reflexive: BTreeMap<SocketAddr, SocketAddr>,
    peers: BTreeSet<IpAddr>,
    /// When relays are looked for anew at the latest, where a restart is awaited.
    asks_at: Option<Instant>,
    /// Servers that are asked again as soon as nothing else is being done.
    again: BTreeSet<usize>,
    outputs: VecDeque<Output>,
    refused: u64,
    is_closed: bool,
}

impl Reach {
    /// The servers of a connection over these sockets; they are asked when their addresses are
    /// known.
    pub(crate) fn new(servers: &[IceServer], sockets: Vec<SocketAddr>, relay_only: bool) -> Self {
        let mut reach = Self {
            servers: server::read(servers),
            sockets,
            gone: BTreeSet::new(),
            relay_only,
            resolving: BTreeSet::new(),
            connecting: BTreeMap::new(),
            bindings: Vec::new(),
            known: Vec::new(),
            relays: Vec::new(),
            reflexive: BTreeMap::new(),
            peers: BTreeSet::new(),
            asks_at: None,
            again: BTreeSet::new(),
            outputs: VecDeque::new(),
            refused: 0,
            is_closed: false,
        };
        reach.look_up();
        reach
    }

    /// The homeserver names these now, or has new credentials for them. An allocation that is there
    /// stays with those that it was made with: another user is refused (RFC 8656 §7.2), and a
    /// second one cannot be had by the same way. Where there is none, and when it is over, the new
    /// credentials are used.
    pub(crate) fn set_servers(&mut self, servers: &[IceServer]) {
        self.again.extend(server::renew(&mut self.servers, servers));
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        while let Some(index) = self.again.pop_first() {
            self.ask_anew(index);
        }
        self.outputs.pop_front()
    }

    /// When it must be called again at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let relays = self.relays.iter().filter_map(|relay| relay.client.deadline());
        relays.chain(self.bindings.iter().map(Binding::due)).chain(self.asks_at).min()
    }

    /// Whether everything that can be found without an outside change is found.
    pub(crate) fn is_done(&self) -> bool {
        let is_under_way = |relay: &Relay| !relay.client.is_over() && relay.origin.is_none();
        self.asks_at.is_none()
            && self.resolving.is_empty()
            && self.connecting.is_empty()
            && self.bindings.is_empty()
            && !self.relays.iter().any(is_under_way)
    }

    /// Whether every allocation was given back.
    pub(crate) fn is_released(&self) -> bool {
        self.relays.iter().all(|relay| relay.client.is_over())
    }

    /// How the servers fared.
    pub(crate) fn stats(&self) -> Vec<ServerStats> {
        self.servers.iter().map(Server::stats).collect()
    }

    /// How many messages of servers were not believed.
    pub(crate) fn refused(&self) -> u64 {
        self.refused + self.relays.iter().map(|relay| relay.client.forged()).sum::<u64>()
    }

    /// How the relay with this address is reached; `None` when it is none of ours.
    pub(crate) fn transport(&self, relayed: SocketAddr) -> Option<&'static str> {
        let index = self.relay_of(relayed)?;
        Some(match self.relays[index].transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        })
    }

    /// Whether packets from this address go by a relay.
    pub(crate) fn has_relayed(&self, address: SocketAddr) -> bool {
        self.relay_of(address).is_some()
    }

    // ------------------------------------------------------------------------------- the outside

    /// A name was looked up: its addresses, none when it has none.
    pub(crate) fn on_resolved(
        &mut self,
        step: &mut Step<'_>,
        server: usize,
        addresses: &[ServerAddress],
    ) {
        let is_awaited = self.resolving.remove(&server) && !self.is_closed;
        let Some(service) = self.service(server).filter(|_| is_awaited) else { return };
        if addresses.is_empty() {
            return self.fail(server, ServerFault::Unresolved);
        }
        match service {
            Service::Turn(transport @ (Transport::Tcp | Transport::Tls)) => {
                let ways = addresses.iter().take(MAX_ADDRESSES).map(|found| found.address);
                self.connect(server, transport, ways.collect());
            }
            Service::Stun => self.bind_all(step, server, addresses),
            Service::Turn(Transport::Udp) => {
                self.bind_all(step, server, addresses);
                self.allocate(step, server, addresses);
            }
        }
    }

    /// The stream to a server is open.
    pub(crate) fn on_connected(&mut self, step: &mut Step<'_>, server: usize, local: SocketAddr) {
        let ways = self.connecting.remove(&server).unwrap_or_default();
        if let Some(to) = ways.first().filter(|_| !self.is_closed) {
            self.add_relay(step, server, local, *to);
        }
    }

    /// Bytes came in on a stream.
    pub(crate) fn on_stream(&mut self, step: &mut Step<'_>, server: usize, data: &[u8]) {
        let Some(index) = self.stream_relay(server) else { return };
        match self.relays[index].framing.take(data) {
            Ok(messages) => {
                for message in messages {
                    self.deliver(step, index, &message);
                }
            }
            Err(framing::NotTurn) => {
                self.relays[index].client.end(ServerFault::Nonsense);
                self.settle(step, index);
            }
        }
    }

    /// A stream could not be opened, or is over.
    pub(crate) fn on_disconnected(
        &mut self,
        step: &mut Step<'_>,
        server: usize,
        fault: ServerFault,
    ) {
        if let Some(ways) = self.connecting.remove(&server) {
            self.connect_elsewhere(server, ways, fault);
        }
        if let Some(index) = self.stream_relay(server) {
            let worked = self.relays[index].origin.is_some();
            self.relays[index].client.end(if worked { ServerFault::Lost } else { fault });
            self.settle(step, index);
        }
    }

    /// A datagram came in; tells whether it was for us.
    pub(crate) fn on_datagram(
        &mut self,
        step: &mut Step<'_>,
        (local, from): (SocketAddr, SocketAddr),
        data: &[u8],
    ) -> Heard {
        if let Some(heard) = self.on_binding(local, from, data) {
            return heard;
        }
        let is_its = |relay: &Relay| {
            relay.transport == Transport::Udp && relay.to == from && relay.local == local
        };
        match self.relays.iter().position(is_its) {
            Some(index) => {
                self.deliver(step, index, data);
                Heard::Ours
            }
            None => Heard::NotOurs,
        }
    }

    /// There is another socket: it asks the servers too.
    pub(crate) fn on_socket(&mut self, step: &mut Step<'_>, local: SocketAddr, asks: Asks) {
        if self.is_closed || self.sockets.contains(&local) {
            return;
        }
        self.sockets.push(local);
        if self.gone.remove(&local) {
            return;
        }
        for (server, to) in self.known.clone() {
            self.bind(step, server, local, to);
        }
        self.leave_lost_ways(step);
        match asks {
            Asks::Now => self.ask_again(),
            Asks::AtRestart => self.asks_at = Some(step.now + RESTART_PATIENCE),
        }
    }

    /// ICE begins anew: what was to wait for that does not wait longer.
    pub(crate) fn on_restart(&mut self) {
        if self.asks_at.take().is_some() {
            self.ask_again();
        }
    }

    /// The address of a socket is not ours any more. What servers know of it stays: the address may
    /// come back. When another one comes instead, relays are reached from there.
    pub(crate) fn on_socket_gone(&mut self, local: SocketAddr) {
        self.sockets.retain(|socket| *socket != local);
        self.bindings.retain(|binding| binding.local != local);
        self.gone.insert(local);
    }

    /// Gives up what was reached from addresses that are gone.
    fn leave_lost_ways(&mut self, step: &mut Step<'_>) {
        let gone = std::mem::take(&mut self.gone);
        self.reflexive.retain(|_, base| !gone.contains(base));
        for index in 0..self.relays.len() {
            let ip = self.relays[index].local.ip();
            if gone.iter().any(|local| local.ip() == ip) {
                self.relays[index].client.end(ServerFault::Lost);
                self.settle(step, index);
            }
        }
    }

    /// Looks for relays anew where the way to them was lost, or there was none.
    fn ask_again(&mut self) {
        for index in 0..self.servers.len() {
            let is_cut_off = matches!(
                self.servers[index].state,
                ServerState::Failed(ServerFault::Lost | ServerFault::Unreachable)
            );
            if is_cut_off && !self.is_stun(index) {
                self.ask_anew(index);
            }
        }
    }

    /// Asks a server that has given nothing, or nothing that is still there.
    fn ask_anew(&mut self, index: usize) {
        self.relays.retain(|relay| !relay.client.is_over());
        let is_busy = self.resolving.contains(&index)
            || self.connecting.contains_key(&index)
            || self.relays.iter().any(|relay| relay.server == index);
        let is_of_use = self.servers[index].is_named && !self.is_closed && !self.sockets.is_empty();
        if is_of_use && !is_busy {
            self.servers[index].state = ServerState::Asked;
            self.look_up_one(index);
        }
    }

    /// The other side may send from this address.
    pub(crate) fn permit(&mut self, step: &mut Step<'_>, ip: IpAddr) {
        if self.peers.len() == MAX_PEERS || !self.peers.insert(ip) {
            return;
        }
        self.each_relay(step, |client, step| client.permit(step, ip));
    }

    /// Sends a packet from a relayed address.
    pub(crate) fn send(
        &mut self,
        step: &mut Step<'_>,
        (relayed, to): (SocketAddr, SocketAddr),
        data: &[u8],
    ) {
        if let Some(index) = self.relay_of(relayed) {
            self.relays[index].client.send(step, to, data);
            self.settle(step, index);
        }
    }

    /// Resends, refreshes, gives up.
    pub(crate) fn on_timeout(&mut self, step: &mut Step<'_>) {
        if self.asks_at.is_some_and(|at| at <= step.now) {
            self.on_restart();
        }
        self.resend_bindings(step.now);
        self.each_relay(step, TurnClient::on_timeout);
    }

    /// Gives everything back; nothing new is begun.
    pub(crate) fn close(&mut self, step: &mut Step<'_>) {
        self.is_closed = true;
        self.asks_at = None;
        self.bindings.clear();
        self.resolving.clear();
        self.connecting.clear();
        self.each_relay(step, TurnClient::close);
    }

    // ----------------------------------------------------------------------------------- servers

    fn look_up(&mut self) {
        for index in 0..self.servers.len() {
            self.look_up_one(index);
        }
    }

    fn look_up_one(&mut self, index: usize) {
        let target = self.servers.get(index).and_then(|server| server.target.as_ref());
        let wanted = target.filter(|target| target.service() != Service::Stun || !self.relay_only);
        if let Some(target) = wanted {
            let (host, port) = (target.host().to_owned(), target.port());
            self.resolving.insert(index);
            self.outputs.push_back(Output::Resolve { server: index, host, port });
        }
    }

    /// Opens a stream to the first of these addresses.
    fn connect(&mut self, server: usize, transport: Transport, ways: Vec<SocketAddr>) {
        let Some(to) = ways.first().copied() else { return };
        let target = self.servers[server].target.as_ref();
        let name = target.map(|target| target.host().to_owned());
        let tls = name.filter(|_| transport == Transport::Tls);
        self.connecting.insert(server, ways);
        self.outputs.push_back(Output::Connect { server, to, tls });
    }

    /// The first of these addresses was no good: the next one may be, but a certificate that is
    /// not trusted will not be so elsewhere.
    fn connect_elsewhere(&mut self, server: usize, ways: Vec<SocketAddr>, fault: ServerFault) {
        let service = self.service(server);
        let rest: Vec<SocketAddr> = ways.into_iter().skip(1).collect();
        let is_the_way = matches!(fault, ServerFault::Unreachable | ServerFault::Silent);
        match service {
            Some(Service::Turn(transport)) if is_the_way && !rest.is_empty() => {
                self.connect(server, transport, rest);
            }
            _ => self.fail(server, fault),
        }
    }

    fn fail(&mut self, server: usize, fault: ServerFault) {
        if let Some(server) = self.servers.get_mut(server) {
            server.fail(fault);
        }
    }

    fn works(&mut self, server: usize) {
        if let Some(server) = self.servers.get_mut(server)
            && server.state == ServerState::Asked
        {
            server.state = ServerState::Works;
        }
    }

    /// Whether this is a server that is only asked for our address.
    fn is_stun(&self, server: usize) -> bool {
        self.service(server) == Some(Service::Stun)
    }

    /// What a server is good for; `None` when it is of no use.
    fn service(&self, server: usize) -> Option<Service> {
        self.servers.get(server)?.target.as_ref().map(ServerUri::service)
    }
}
