//! How a connection reaches out: STUN and TURN servers as one value without socket and clock.
//!
//! ```text
//! servers ──Resolve──▶ shell ──addresses──▶ Binding requests, allocations (UDP)
//!                                     └──▶ Connect ──▶ shell ──connected──▶ allocations (TCP, TLS)
//! candidates and packets of peers come out of `poll`, as everything does
//! ```
//!
//! [`server`] reads the URIs, [`binding`] finds reflexive addresses, [`turn`] is one allocation,
//! [`framing`] cuts streams, [`request`] resends. Every server gets one allocation, over the
//! socket that the system would reach it from; with relayed candidates only, nobody is asked for
//! our own address.

mod binding;
mod framing;
mod request;
pub(crate) mod server;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use matrix_voip::machine::io::{IceServer, ServerFault, ServerState, ServerStats};

pub(crate) use self::request::Step;
use self::{
    binding::{Binding, MAX_BINDINGS, Outcome},
    framing::Framing,
    server::{Carrier, Server, Service},
    turn::{Event, TurnClient},
};
use crate::{gather::Origin, peer::ServerAddress, stun::Message};

/// Most addresses of one server that are used: one of each family.
const MAX_ADDRESSES: usize = 2;

/// Most addresses of the other side that are let through; browsers name fewer than thirty.
const MAX_PEERS: usize = 64;

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

/// An allocation with the way to its server.
struct Relay {
    server: usize,
    carrier: Carrier,
    /// Our end of the way.
    local: SocketAddr,
    to: SocketAddr,
    client: TurnClient,
    framing: Framing,
    origin: Option<Origin>,
}

/// All servers of one connection.
pub(crate) struct Reach {
    servers: Vec<Server>,
    sockets: Vec<SocketAddr>,
    relay_only: bool,
    /// Servers whose name is being looked up, or to which a stream is being opened, and where to.
    resolving: BTreeSet<usize>,
    connecting: BTreeMap<usize, SocketAddr>,
    bindings: Vec<Binding>,
    /// Addresses that UDP servers were found at, for sockets that come later.
    known: Vec<(usize, SocketAddr)>,
    relays: Vec<Relay>,
    reflexive: BTreeSet<SocketAddr>,
    peers: BTreeSet<IpAddr>,
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
            relay_only,
            resolving: BTreeSet::new(),
            connecting: BTreeMap::new(),
            bindings: Vec::new(),
            known: Vec::new(),
            relays: Vec::new(),
            reflexive: BTreeSet::new(),
            peers: BTreeSet::new(),
            outputs: VecDeque::new(),
            refused: 0,
            is_closed: false,
        };
        reach.look_up();
        reach
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When it must be called again at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let relays = self.relays.iter().filter_map(|relay| relay.client.deadline());
        relays.chain(self.bindings.iter().map(Binding::due)).min()
    }

    /// Whether everything that can be found without an outside change is found.
    pub(crate) fn is_done(&self) -> bool {
        let is_under_way = |relay: &Relay| !relay.client.is_over() && relay.origin.is_none();
        self.resolving.is_empty()
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
    pub(crate) fn carrier(&self, relayed: SocketAddr) -> Option<&'static str> {
        let mut relays = self.relays.iter();
        let relay = relays.find(|relay| relay.client.relayed() == Some(relayed))?;
        Some(match relay.carrier {
            Carrier::Udp => "udp",
            Carrier::Tcp => "tcp",
            Carrier::Tls => "tls",
        })
    }

    /// Whether packets from this address go by a relay.
    pub(crate) fn has_relayed(&self, address: SocketAddr) -> bool {
        self.relays.iter().any(|relay| relay.client.relayed() == Some(address))
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
        let target = self.servers.get(server).and_then(|server| server.target.as_ref());
        let Some(service) = target.map(|target| target.service).filter(|_| is_awaited) else {
            return;
        };
        if addresses.is_empty() {
            return self.fail(server, ServerFault::Unresolved);
        }
        match service {
            Service::Turn(carrier @ (Carrier::Tcp | Carrier::Tls)) => {
                self.connect(server, carrier, addresses[0].address);
            }
            Service::Stun => self.bind_all(step, server, addresses),
            Service::Turn(Carrier::Udp) => {
                self.bind_all(step, server, addresses);
                self.allocate(step, server, addresses);
            }
        }
    }

    /// The stream to a server is open.
    pub(crate) fn on_connected(&mut self, step: &mut Step<'_>, server: usize, local: SocketAddr) {
        let Some(to) = self.connecting.remove(&server).filter(|_| !self.is_closed) else {
            return;
        };
        self.add_relay(step, server, local, to);
    }

    /// Bytes came in on a stream.
    pub(crate) fn on_stream(&mut self, step: &mut Step<'_>, server: usize, data: &[u8]) {
        let is_its = |relay: &Relay| relay.server == server && relay.carrier != Carrier::Udp;
        let Some(index) = self.relays.iter().position(is_its) else { return };
        match self.relays[index].framing.take(data) {
            Ok(messages) => {
                for message in messages {
                    self.deliver(step, index, &message);
                }
            }
            Err(framing::NotTurn) => {
                self.relays[index].client.fail(ServerFault::Nonsense);
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
        if self.connecting.remove(&server).is_some() {
            self.fail(server, fault);
        }
        let is_its = |relay: &Relay| relay.server == server && relay.carrier != Carrier::Udp;
        if let Some(index) = self.relays.iter().position(is_its) {
            let worked = self.relays[index].origin.is_some();
            self.relays[index].client.fail(if worked { ServerFault::Lost } else { fault });
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
            relay.carrier == Carrier::Udp && relay.to == from && relay.local == local
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
    pub(crate) fn on_socket(&mut self, step: &mut Step<'_>, local: SocketAddr) {
        if self.is_closed || self.sockets.contains(&local) {
            return;
        }
        self.sockets.push(local);
        for (server, to) in self.known.clone() {
            self.bind(step, server, local, to);
        }
    }

    /// The other side may send from this address.
    pub(crate) fn permit(&mut self, step: &mut Step<'_>, ip: IpAddr) {
        if self.peers.len() == MAX_PEERS || !self.peers.insert(ip) {
            return;
        }
        for index in 0..self.relays.len() {
            self.relays[index].client.permit(step, ip);
            self.settle(step, index);
        }
    }

    /// Sends a packet from a relayed address.
    pub(crate) fn send(
        &mut self,
        step: &mut Step<'_>,
        (relayed, to): (SocketAddr, SocketAddr),
        data: &[u8],
    ) {
        let is_its = |relay: &Relay| relay.client.relayed() == Some(relayed);
        if let Some(index) = self.relays.iter().position(is_its) {
            self.relays[index].client.send(step, to, data);
            self.settle(step, index);
        }
    }

    /// Resends, refreshes, gives up.
    pub(crate) fn on_timeout(&mut self, step: &mut Step<'_>) {
        self.resend_bindings(step.now);
        for index in 0..self.relays.len() {
            self.relays[index].client.on_timeout(step);
            self.settle(step, index);
        }
    }

    /// Gives everything back; nothing new is begun.
    pub(crate) fn close(&mut self, step: &mut Step<'_>) {
        self.is_closed = true;
        self.bindings.clear();
        self.resolving.clear();
        self.connecting.clear();
        for index in 0..self.relays.len() {
            self.relays[index].client.close(step);
            self.settle(step, index);
        }
    }

    // ----------------------------------------------------------------------------------- servers

    fn look_up(&mut self) {
        for (index, server) in self.servers.iter().enumerate() {
            let Some(target) = &server.target else { continue };
            if target.service == Service::Stun && self.relay_only {
                continue;
            }
            self.resolving.insert(index);
            let (host, port) = (target.host.clone(), target.port);
            self.outputs.push_back(Output::Resolve { server: index, host, port });
        }
    }

    fn connect(&mut self, server: usize, carrier: Carrier, to: SocketAddr) {
        self.connecting.insert(server, to);
        let target = self.servers[server].target.as_ref();
        let name = target.map(|target| target.host.clone());
        let tls = name.filter(|_| carrier == Carrier::Tls);
        self.outputs.push_back(Output::Connect { server, to, tls });
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
        let target = self.servers.get(server).and_then(|server| server.target.as_ref());
        target.is_some_and(|target| target.service == Service::Stun)
    }

    // ---------------------------------------------------------------------------------- bindings

    fn bind_all(&mut self, step: &mut Step<'_>, server: usize, addresses: &[ServerAddress]) {
        for to in addresses.iter().take(MAX_ADDRESSES).map(|found| found.address) {
            self.known.push((server, to));
            for local in self.sockets.clone() {
                self.bind(step, server, local, to);
            }
        }
        self.conclude(server);
    }

    fn bind(&mut self, step: &mut Step<'_>, server: usize, local: SocketAddr, to: SocketAddr) {
        let is_asked = self.bindings.iter().any(|asked| asked.to == to && asked.local == local);
        let fits =
            local.is_ipv4() == to.is_ipv4() && local.ip().is_loopback() == to.ip().is_loopback();
        if self.relay_only || !fits || is_asked || self.bindings.len() == MAX_BINDINGS {
            return;
        }
        let (binding, data) = Binding::new(step, server, local, to);
        self.bindings.push(binding);
        self.outputs.push_back(Output::Datagram { local, to, data });
    }

    fn on_binding(&mut self, local: SocketAddr, from: SocketAddr, data: &[u8]) -> Option<Heard> {
        let is_its = |binding: &&Binding| binding.to == from && binding.local == local;
        self.bindings.iter().find(is_its)?;
        let message = Message::parse(data)?;
        let answered = self.bindings.iter().enumerate().find_map(|(index, binding)| {
            let mapped = is_its(&binding).then(|| binding.on_message(&message))??;
            Some((index, mapped))
        });
        let (index, mapped) = answered?;
        let Binding { server, local, .. } = self.bindings.swap_remove(index);
        match mapped {
            Some(mapped) => {
                if self.is_stun(server) {
                    self.works(server);
                }
                self.found_reflexive(mapped, local);
            }
            None => self.refused += 1,
        }
        self.conclude(server);
        Some(Heard::Ours)
    }

    fn found_reflexive(&mut self, mapped: SocketAddr, base: SocketAddr) {
        let is_new = !self.sockets.contains(&mapped) && self.reflexive.insert(mapped);
        if is_new && !self.relay_only && !self.is_closed {
            self.outputs.push_back(Output::Found(Origin::Reflexive { mapped, base }));
        }
    }

    fn resend_bindings(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for binding in &mut self.bindings {
            match binding.on_timeout(now) {
                Some(Outcome::Send(data)) => {
                    let (local, to) = (binding.local, binding.to);
                    self.outputs.push_back(Output::Datagram { local, to, data });
                }
                Some(Outcome::Silent) => silent.push((binding.server, binding.local, binding.to)),
                None => {}
            }
        }
        self.bindings.retain(|asked| !silent.contains(&(asked.server, asked.local, asked.to)));
        for (server, ..) in silent {
            self.conclude(server);
        }
    }

    /// A STUN server that was asked from every socket and has answered none is silent.
    fn conclude(&mut self, server: usize) {
        let is_asked = self.bindings.iter().any(|binding| binding.server == server);
        let is_undecided = self.servers.get(server).map(|known| known.state);
        if self.is_stun(server) && !is_asked && is_undecided == Some(ServerState::Asked) {
            self.fail(server, ServerFault::Silent);
        }
    }

    // ------------------------------------------------------------------------------- allocations

    /// Asks a server for an allocation, from the socket from which the system would reach it.
    fn allocate(&mut self, step: &mut Step<'_>, server: usize, addresses: &[ServerAddress]) {
        let way = addresses.iter().find_map(|found| {
            let fits = |socket: &&SocketAddr| socket.is_ipv4() == found.address.is_ipv4();
            let best = self.sockets.iter().find(|socket| Some(socket.ip()) == found.from);
            let local = best.or_else(|| self.sockets.iter().find(fits))?;
            Some((*local, found.address))
        });
        match way {
            Some((local, to)) => self.add_relay(step, server, local, to),
            None => self.fail(server, ServerFault::Unreachable),
        }
    }

    fn add_relay(&mut self, step: &mut Step<'_>, server: usize, local: SocketAddr, to: SocketAddr) {
        let Some(known) = self.servers.get(server) else { return };
        let Some(Service::Turn(carrier)) = known.target.as_ref().map(|target| target.service)
        else {
            return;
        };
        // One five-tuple holds one allocation (RFC 8656 §5): the same server under two names.
        let is_taken =
            |relay: &Relay| carrier == Carrier::Udp && relay.local == local && relay.to == to;
        if self.relays.iter().any(is_taken) {
            return self.fail(server, ServerFault::Unusable);
        }
        let client = TurnClient::new(step, carrier, known.credentials.clone());
        let framing = Framing::default();
        self.relays.push(Relay { server, carrier, local, to, client, framing, origin: None });
        self.settle(step, self.relays.len() - 1);
    }

    /// Gives a message of the server to its allocation, and what it brought to the connection.
    fn deliver(&mut self, step: &mut Step<'_>, index: usize, message: &[u8]) {
        let client = &mut self.relays[index].client;
        let relayed = client.relayed();
        if let Some((from, data)) = client.on_message(step, message)
            && let Some(relayed) = relayed
        {
            let data = data.to_vec();
            self.outputs.push_back(Output::Packet { relayed, from, data });
        }
        self.settle(step, index);
    }

    /// Does what an allocation wants done.
    fn settle(&mut self, step: &mut Step<'_>, index: usize) {
        while let Some(event) = self.relays[index].client.poll() {
            match event {
                Event::Send(data) => self.transmit(index, data),
                Event::Allocated { relayed, mapped } => {
                    self.on_allocated(step, index, relayed, mapped);
                }
                Event::Refused(fault) => {
                    tracing::debug!(%fault, "a TURN server refuses something");
                    self.refused += 1;
                }
                Event::Ended(fault) => self.on_ended(index, fault),
            }
        }
    }

    fn transmit(&mut self, index: usize, data: Vec<u8>) {
        let Relay { server, carrier, local, to, .. } = self.relays[index];
        self.outputs.push_back(match carrier {
            Carrier::Udp => Output::Datagram { local, to, data },
            Carrier::Tcp | Carrier::Tls => Output::Stream { server, data },
        });
    }

    fn on_allocated(
        &mut self,
        step: &mut Step<'_>,
        index: usize,
        relayed: SocketAddr,
        mapped: Option<SocketAddr>,
    ) {
        let Relay { server, carrier, local, .. } = self.relays[index];
        self.works(server);
        let origin = Origin::Relayed { relayed, local };
        self.relays[index].origin = Some(origin);
        self.outputs.push_back(Output::Found(origin));
        if let Some(mapped) = mapped.filter(|_| carrier == Carrier::Udp) {
            self.found_reflexive(mapped, local);
        }
        for ip in self.peers.clone() {
            self.relays[index].client.permit(step, ip);
        }
    }

    fn on_ended(&mut self, index: usize, fault: ServerFault) {
        let Relay { server, carrier, origin, .. } = self.relays[index];
        self.fail(server, fault);
        if let Some(origin) = origin {
            self.outputs.push_back(Output::Lost(origin));
        }
        if carrier != Carrier::Udp {
            self.outputs.push_back(Output::Disconnect { server });
        }
    }
}
