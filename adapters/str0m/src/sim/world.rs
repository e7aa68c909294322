//! Peers, their sources and their network on one clock.
//!
//! The application plays the signalling: [`perform`](World::perform) a request on one peer and
//! carry its answer to the other when the time has come ([`World::run`]).

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::{Frame, SourceControl},
    id::TrackId,
    machine::io::{Fault, IceServer, PeerNews, PeerOp, PeerState, Reply, ServerFault, Tones},
};

use super::{Datagram, Link, Network, TurnServer};
use crate::{
    entropy::Entropy,
    peer::{Input, Output, Peer, PeerSetup, ServerAddress, ToneReport},
};

/// Which peer of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(usize);

/// A frame that arrived at a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When, since the beginning.
    pub at: Duration,
    /// On which m-line.
    pub mid: String,
    /// What.
    pub frame: Frame,
}

/// With what a peer is opened.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// Its addresses: one socket each.
    pub addresses: Vec<SocketAddr>,
    /// STUN and TURN servers; hosts are addresses, names have none here.
    pub ice_servers: Vec<IceServer>,
    /// Relayed candidates only.
    pub relay_only: bool,
}

/// What makes the frames of a track: called with 0, 1, 2 …
type Make = Box<dyn FnMut(u64) -> Frame>;

struct Source {
    track: TrackId,
    every: Duration,
    next: Duration,
    made: u64,
    make: Make,
}

struct Inhabitant {
    peer: Peer,
    wakes: Duration,
    sources: Vec<Source>,
    news: Vec<(Duration, PeerNews)>,
    controls: Vec<(Duration, TrackId, SourceControl)>,
    frames: Vec<Received>,
    tones: Vec<(Duration, ToneReport)>,
}

/// Peers over one simulated network.
pub struct World {
    origin: Instant,
    now: Duration,
    seed: u64,
    inhabitants: Vec<Inhabitant>,
    homes: BTreeMap<SocketAddr, usize>,
    servers: Vec<TurnServer>,
    network: Network,
}

impl World {
    /// An empty world; the same seed gives the same packets at the same times.
    pub fn new(seed: u64, link: Link) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant cannot be made otherwise; only differences from it are used"
        )]
        let origin = Instant::now();
        Self {
            origin,
            now: Duration::ZERO,
            seed,
            inhabitants: Vec::new(),
            homes: BTreeMap::new(),
            servers: Vec::new(),
            network: Network::new(seed, link),
        }
    }

    /// Opens a peer on this address.
    pub fn open(&mut self, address: SocketAddr) -> Node {
        self.open_with(Opening { addresses: vec![address], ..Opening::default() })
    }

    /// Opens a peer.
    pub fn open_with(&mut self, opening: Opening) -> Node {
        let Opening { addresses, ice_servers, relay_only } = opening;
        let node = self.inhabitants.len();
        let seed = self.seed.wrapping_mul(1000).wrapping_add(node as u64);
        let setup = PeerSetup {
            entropy: Entropy::seeded(seed),
            dtls_seed: Some(seed),
            ice_servers,
            relay_only,
            ..PeerSetup::new(self.origin, addresses.clone())
        };
        for address in addresses {
            self.network.open(address);
            self.homes.insert(address, node);
        }
        self.inhabitants.push(Inhabitant {
            peer: Peer::new(self.instant(), setup),
            wakes: self.now,
            sources: Vec::new(),
            news: Vec::new(),
            controls: Vec::new(),
            frames: Vec::new(),
            tones: Vec::new(),
        });
        self.flush(node);
        Node(node)
    }

    /// An interface of a peer comes up, with this address.
    pub fn add_address(&mut self, node: Node, address: SocketAddr) {
        self.network.open(address);
        self.homes.insert(address, node.0);
        self.handle(node.0, Input::Socket(address));
    }

    /// Adds a STUN and TURN server at this address.
    pub fn add_server(&mut self, address: SocketAddr) {
        self.network.open(address);
        self.servers.push(TurnServer::new(address));
    }

    /// The server that was added as this one, 0 the first.
    pub fn server(&mut self, number: usize) -> &mut TurnServer {
        &mut self.servers[number]
    }

    /// A datagram out of nowhere arrives at a peer now.
    pub fn inject(&mut self, node: Node, (from, to): (SocketAddr, SocketAddr), data: &[u8]) {
        self.handle(node.0, Input::Datagram { local: to, from, data });
    }

    /// What a peer could not use, and whether nothing of it is left on any server.
    pub fn leftovers(&self, node: Node) -> (u64, bool) {
        let peer = &self.inhabitants[node.0].peer;
        (peer.skipped(), peer.is_released())
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The network, to disturb or to measure it.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Carries out a request of the machine.
    ///
    /// # Errors
    /// Those of [`Peer::perform`].
    pub fn perform(&mut self, node: Node, op: PeerOp) -> Result<Reply, Fault> {
        let now = self.instant();
        let reply = self.inhabitants[node.0].peer.perform(now, op);
        self.flush(node.0);
        reply
    }

    /// Feeds a track of a peer with a frame `every` so often, beginning now.
    pub fn feed(
        &mut self,
        node: Node,
        track: TrackId,
        every: Duration,
        make: impl FnMut(u64) -> Frame + 'static,
    ) {
        let source = Source { track, every, next: self.now, made: 0, make: Box::new(make) };
        self.inhabitants[node.0].sources.push(source);
    }

    /// The address of a peer's socket is another one from now on, and the peer knows: what is under
    /// way to the old one is lost.
    pub fn readdress(&mut self, node: Node, from: SocketAddr, to: SocketAddr) {
        self.network.close(from);
        self.network.open(to);
        self.tell_gone(node, from);
        self.tell_here(node, to);
    }

    /// A peer learns that an address is not its own any more. What that means for what is sent is
    /// the network's matter.
    pub fn tell_gone(&mut self, node: Node, address: SocketAddr) {
        self.handle(node.0, Input::SocketGone(address));
    }

    /// A peer learns that an address is its own, for the first time or again.
    pub fn tell_here(&mut self, node: Node, address: SocketAddr) {
        self.homes.insert(address, node.0);
        self.handle(node.0, Input::Socket(address));
    }

    /// Asks the other side for a key frame.
    pub fn want_key_frame(&mut self, node: Node, mid: &str) {
        self.handle(node.0, Input::WantKeyFrame { mid });
    }

    /// Lets so much time pass.
    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Lets time pass until `done`, at most so much. Returns whether it was done.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if done(self) {
                return true;
            }
            let next = self.next_event().max(self.now);
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next;
            self.advance();
        }
    }

    /// What a peer has reported, with times.
    pub fn news(&self, node: Node) -> &[(Duration, PeerNews)] {
        &self.inhabitants[node.0].news
    }

    /// The frames that a peer has received.
    pub fn frames(&self, node: Node) -> &[Received] {
        &self.inhabitants[node.0].frames
    }

    /// Sends tones on a track of a peer.
    ///
    /// # Errors
    /// Those of [`Peer::dial`].
    pub fn dial(&mut self, node: Node, track: TrackId, tones: &Tones) -> Result<(), Fault> {
        let now = self.instant();
        let dialled = self.inhabitants[node.0].peer.dial(now, track, tones);
        self.flush(node.0);
        Ok(dialled?)
    }

    /// The reports about tones that a peer has received.
    pub fn tones(&self, node: Node) -> &[(Duration, ToneReport)] {
        &self.inhabitants[node.0].tones
    }

    /// What a peer has told its sources.
    pub fn controls(&self, node: Node) -> &[(Duration, TrackId, SourceControl)] {
        &self.inhabitants[node.0].controls
    }

    /// The latest state that a peer reported.
    pub fn state(&self, node: Node) -> Option<PeerState> {
        self.news(node).iter().rev().find_map(|(_, news)| match news {
            PeerNews::State(state) => Some(*state),
            _ => None,
        })
    }

    /// Sends a frame now.
    pub(super) fn send(&mut self, node: Node, track: TrackId, frame: &Frame) {
        self.handle(node.0, Input::Frame { track, frame });
    }

    /// Sets the clock and lets everything happen that is due then.
    pub(super) fn advance_to(&mut self, now: Duration) {
        self.now = now;
        self.advance();
    }

    fn instant(&self) -> Instant {
        self.origin + self.now
    }

    /// When something happens next: a packet, a timer, a frame.
    pub(super) fn next_event(&self) -> Duration {
        let timers = self.inhabitants.iter().map(|inhabitant| inhabitant.wakes);
        let sources = self.inhabitants.iter().flat_map(|inhabitant| &inhabitant.sources);
        timers
            .chain(sources.map(|source| source.next))
            .chain(self.network.arrival())
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// Everything that is due now.
    fn advance(&mut self) {
        while let Some(datagram) = self.network.receive(self.now) {
            self.deliver(&datagram);
        }
        for node in 0..self.inhabitants.len() {
            if self.inhabitants[node].wakes <= self.now {
                self.handle(node, Input::Timeout);
            }
            while let Some((track, frame)) = self.inhabitants[node].due(self.now) {
                self.handle(node, Input::Frame { track, frame: &frame });
            }
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let Datagram { from, to, data } = datagram;
        if let Some(node) = self.homes.get(to).copied() {
            self.handle(node, Input::Datagram { local: *to, from: *from, data });
        } else if let Some(server) = self.servers.iter_mut().find(|server| server.serves(*to)) {
            let sent = server.handle(self.now, datagram);
            server.addresses().for_each(|address| self.network.open(address));
            for datagram in sent {
                self.network.send(self.now, datagram);
            }
        }
    }

    fn handle(&mut self, node: usize, input: Input<'_>) {
        let now = self.instant();
        self.inhabitants[node].peer.handle(now, input);
        self.flush(node);
    }

    fn flush(&mut self, node: usize) {
        let mut answers = VecDeque::new();
        loop {
            let inhabitant = &mut self.inhabitants[node];
            match inhabitant.peer.poll() {
                Output::Timeout(at) => {
                    inhabitant.wakes = at.saturating_duration_since(self.origin);
                    let Some((server, addresses)) = answers.pop_front() else { return };
                    self.answer(node, server, addresses);
                }
                Output::Resolve { server, host, port } => {
                    answers.push_back((server, Some(resolve(&host, port))));
                }
                Output::Connect { server, .. } => answers.push_back((server, None)),
                Output::Stream { .. } | Output::Disconnect { .. } => {}
                Output::Datagram { local, to, data } => {
                    self.network.send(self.now, Datagram { from: local, to, data });
                }
                Output::News(news) => inhabitant.news.push((self.now, news)),
                Output::Frame { mid, frame } => {
                    inhabitant.frames.push(Received { at: self.now, mid, frame });
                }
                Output::Tone { report, .. } => inhabitant.tones.push((self.now, report)),
                Output::Control { track, control } => {
                    inhabitant.controls.push((self.now, track, control));
                }
            }
        }
    }

    /// Tells a peer the addresses of a server, or that there are no streams in this world.
    fn answer(&mut self, node: usize, server: usize, addresses: Option<Vec<ServerAddress>>) {
        let now = self.instant();
        let fault = ServerFault::Unreachable;
        let input = match &addresses {
            Some(addresses) => Input::Resolved { server, addresses },
            None => Input::Disconnected { server, fault },
        };
        self.inhabitants[node].peer.handle(now, input);
    }
}

/// Names have no addresses here.
fn resolve(host: &str, port: u16) -> Vec<ServerAddress> {
    let ip = host.parse().ok();
    ip.map(|ip| ServerAddress { address: SocketAddr::new(ip, port), from: None })
        .into_iter()
        .collect()
}

impl Inhabitant {
    /// The next frame that is due.
    fn due(&mut self, now: Duration) -> Option<(TrackId, Frame)> {
        let source = self.sources.iter_mut().find(|source| source.next <= now)?;
        let frame = (source.make)(source.made);
        source.made += 1;
        source.next += source.every;
        Some((source.track, frame))
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World of {} peers after {:?}", self.inhabitants.len(), self.now)
    }
}
