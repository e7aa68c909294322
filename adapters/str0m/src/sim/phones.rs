//! Whole calls in virtual time: engines, signalling through a homeserver, real peers, one clock.
//!
//! A [`Phone`] is one device: the core's `Engine`, peers of this crate and scripted capture
//! devices. Events pass as JSON through `matrix_voip::testing::FakeHomeserver`, media through the
//! [`Network`]; nothing is faked between the invite and the sound.

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddr, time::Duration};

use matrix_voip::{
    config::Config,
    host::{Frame, SendEvent},
    id::{DeviceId, OpId, PeerId, RoomId, SessionId, TrackId, UserId},
    machine::{
        Engine, Identity,
        event::{CallEvent, CallState, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Capture, Command, Fault, Fetch, Input, MatrixOp, Op,
            Output, PeerOp, PeerStats, Reply, Tones, TrackOp, Verdict,
        },
    },
    testing::{FakeHomeserver, SyncItem},
    time::{Mono, Now, Wall},
};

use super::{Link, Network, Node, Opening, Received, TurnServer, World};
use crate::peer::ToneReport;
use matrix_voip_engine::track::gate;

/// Where the wall clock stands at the beginning: any time will do that looks like one.
const EPOCH: Wall = Wall(1_786_100_000_000);

/// Which phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(pub(super) usize);

/// The frames of a captured device.
pub struct Scripted {
    /// Time between two frames.
    pub every: Duration,
    /// Makes frame 0, 1, 2 …
    pub make: Box<dyn FnMut(u64) -> Frame>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("every", &self.every).finish_non_exhaustive()
    }
}

/// What a phone captures: asked for each track.
type Devices = Box<dyn FnMut(Capture) -> Result<Scripted, Fault>>;

struct Track {
    is_enabled: bool,
    made: u64,
    frames: Scripted,
}

pub(super) struct Device {
    identity: Identity,
    engine: Engine,
    due: Option<Duration>,
    devices: Devices,
    peers: BTreeMap<PeerId, (Node, usize)>,
    tracks: BTreeMap<TrackId, Track>,
    events: Vec<(Duration, SessionId, CallEvent)>,
    session: Option<SessionId>,
    state: Option<CallState>,
    /// The address of each connection, and how often the phone has moved.
    pub(super) addresses: BTreeMap<Node, SocketAddr>,
    pub(super) moves: u8,
    /// Neither homeserver nor network are within reach.
    pub(super) is_cut_off: bool,
}

/// What happens at a set time.
pub(super) enum Happening {
    Send(OpId, SendEvent),
    Reply(OpId, Result<Reply, Fault>),
    Sync,
    Frame(TrackId),
    /// The phone looks at its addresses.
    Look,
}

/// Phones, a homeserver and a network on one clock.
pub struct Phones {
    pub(super) world: World,
    server: FakeHomeserver,
    way: Duration,
    pub(super) phones: Vec<Device>,
    agenda: BTreeMap<(Duration, u64), (usize, Happening)>,
    entries: u64,
    seed: u64,
    config: Config,
}

impl Phones {
    /// No phones yet, over a network with this link. The homeserver is 20 ms away.
    pub fn new(seed: u64, link: Link) -> Self {
        Self {
            world: World::new(seed, link),
            server: FakeHomeserver::new(),
            way: Duration::from_millis(20),
            phones: Vec::new(),
            agenda: BTreeMap::new(),
            entries: 0,
            seed,
            config: Config::default(),
        }
    }

    /// Phones that are added from now on have these policies.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// Adds a phone; `devices` gives the frames of what it captures.
    ///
    /// # Panics
    /// When `user` is no user id.
    pub fn phone(
        &mut self,
        user: &str,
        devices: impl FnMut(Capture) -> Result<Scripted, Fault> + 'static,
    ) -> Phone {
        let user = UserId::parse(user).expect("invariant: a simulation names valid users");
        let device = DeviceId::parse("PHONE").expect("invariant: a valid device id");
        let identity = Identity { user, device };
        let seed = self.seed.wrapping_mul(31).wrapping_add(self.phones.len() as u64);
        self.server.login(&identity);
        self.phones.push(Device {
            engine: Engine::new(identity.clone(), self.config.clone(), seed),
            identity,
            due: None,
            devices: Box::new(devices),
            peers: BTreeMap::new(),
            tracks: BTreeMap::new(),
            events: Vec::new(),
            session: None,
            state: None,
            addresses: BTreeMap::new(),
            moves: 0,
            is_cut_off: false,
        });
        Phone(self.phones.len() - 1)
    }

    /// Makes a room of all phones; each learns of it at once.
    ///
    /// # Panics
    /// When `room` is no room id.
    pub fn room(&mut self, room: &str) -> RoomId {
        let room = RoomId::parse(room).expect("invariant: a simulation names valid rooms");
        let members: Vec<UserId> =
            self.phones.iter().map(|phone| phone.identity.user.clone()).collect();
        self.server.set_room(&room, members);
        (0..self.phones.len()).for_each(|phone| self.sync(phone));
        room
    }

    /// Calls a user.
    ///
    /// # Panics
    /// When `callee` is no user id.
    pub fn invite(&mut self, from: Phone, room: &RoomId, callee: &str, media: CallMedia) {
        let callee = UserId::parse(callee).expect("invariant: a simulation names valid users");
        let (room, callee) = (room.clone(), Callee::User(callee));
        self.feed(from.0, Input::Command(Command::Invite { room, callee, media }));
        self.settle();
    }

    /// Does something with the latest call of a phone; `None` when it never had one.
    pub fn act(&mut self, phone: Phone, command: CallCommand) -> Option<Verdict> {
        let session = self.phones[phone.0].session?;
        let verdict = self.feed(phone.0, Input::Command(Command::Call(session, command)));
        self.settle();
        Some(verdict)
    }

    /// Lets so much time pass.
    pub fn run(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Lets time pass until `done`, at most so much. Returns whether it was done.
    pub fn run_until(&mut self, span: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.world.now() + span;
        while !done(self) {
            let next = self.next_event();
            if next > end {
                self.world.advance_to(end);
                return false;
            }
            self.world.advance_to(next.max(self.world.now()));
            self.happen();
            self.settle();
        }
        true
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.world.now()
    }

    /// The network, to disturb or to measure it.
    pub fn network(&mut self) -> &mut Network {
        self.world.network()
    }

    /// Adds a STUN and TURN server; the homeserver names it to those whom its `TurnServers` say.
    pub fn add_turn_server(&mut self, address: SocketAddr) {
        self.world.add_server(address);
    }

    /// The TURN server that was added as this one, 0 the first.
    pub fn turn_server(&mut self, number: usize) -> &mut TurnServer {
        self.world.server(number)
    }

    /// The homeserver.
    pub fn server(&mut self) -> &mut FakeHomeserver {
        &mut self.server
    }

    /// How a phone's latest call stands; `None` when it never had one.
    pub fn state(&self, phone: Phone) -> Option<CallState> {
        self.phones[phone.0].state
    }

    /// What a phone was told about its calls, with times.
    pub fn events(&self, phone: Phone) -> &[(Duration, SessionId, CallEvent)] {
        &self.phones[phone.0].events
    }

    /// What a phone has received in all its calls.
    pub fn received(&self, phone: Phone) -> impl Iterator<Item = &Received> {
        let nodes = self.phones[phone.0].peers.values().map(|(node, _)| *node);
        nodes.flat_map(|node| self.world.frames(node))
    }

    /// What a phone was told about tones of the other side, in all its calls.
    pub fn tones(&self, phone: Phone) -> impl Iterator<Item = &(Duration, ToneReport)> {
        let nodes = self.phones[phone.0].peers.values().map(|(node, _)| *node);
        nodes.flat_map(|node| self.world.tones(node))
    }

    /// The latest measurements of a phone's latest peer connection.
    pub fn stats(&mut self, phone: Phone) -> Option<PeerStats> {
        let (node, _) = *self.phones[phone.0].peers.values().next_back()?;
        match self.world.perform(node, PeerOp::Stats) {
            Ok(Reply::Stats(stats)) => Some(*stats),
            _ => None,
        }
    }

    // ---------------------------------------------------------------------------------- time

    fn clock(&self) -> Now {
        let now = self.world.now();
        Now { mono: Mono(now), wall: EPOCH.plus(now) }
    }

    fn next_event(&self) -> Duration {
        let planned = self.agenda.keys().next().map(|(at, _)| *at);
        let due = self.phones.iter().filter_map(|phone| phone.due);
        due.chain(planned).min().unwrap_or(Duration::MAX).min(self.world.next_event())
    }

    pub(super) fn plan(&mut self, phone: usize, after: Duration, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((self.world.now() + after, self.entries), (phone, happening));
    }

    /// Everything that is due now, but for what the peers do by themselves.
    fn happen(&mut self) {
        let now = self.world.now();
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let (phone, happening) = entry.remove();
            match happening {
                Happening::Send(id, event) => self.send(phone, id, event),
                Happening::Reply(id, result) => drop(self.feed(phone, Input::Reply(id, result))),
                Happening::Sync => self.sync(phone),
                Happening::Frame(track) => self.frame(phone, track),
                Happening::Look => self.look(phone),
            }
        }
        for phone in 0..self.phones.len() {
            if self.phones[phone].due.is_some_and(|due| due <= now) {
                let clock = self.clock();
                self.phones[phone].engine.handle_timeout(clock);
                self.drain(phone);
            }
        }
    }

    /// Tells the engines what their peers have reported, until nobody has news.
    pub(super) fn settle(&mut self) {
        while let Some((phone, peer, news)) = self.news() {
            self.feed(phone, Input::Peer(peer, news));
        }
    }

    fn news(&mut self) -> Option<(usize, PeerId, matrix_voip::machine::io::PeerNews)> {
        for (number, phone) in self.phones.iter_mut().enumerate() {
            for (peer, (node, seen)) in &mut phone.peers {
                if let Some((_, news)) = self.world.news(*node).get(*seen) {
                    *seen += 1;
                    return Some((number, *peer, news.clone()));
                }
            }
        }
        None
    }

    // ------------------------------------------------------------------------------- engines

    pub(super) fn feed(&mut self, phone: usize, input: Input) -> Verdict {
        let now = self.clock();
        let verdict = self.phones[phone].engine.handle(now, input);
        self.drain(phone);
        verdict
    }

    fn drain(&mut self, phone: usize) {
        while let Some(output) = self.phones[phone].engine.poll_output() {
            match output {
                Output::Request { id, op } => self.serve(phone, id, op),
                Output::Cancel(_) | Output::Group { .. } => {}
                Output::Voip(event) => self.phones[phone].note(&event),
                Output::Call { session, event } => {
                    let now = self.world.now();
                    self.phones[phone].tell(now, session, event);
                }
            }
        }
        let due = self.phones[phone].engine.poll_timeout();
        self.phones[phone].due = due.map(|span| self.world.now() + span);
    }

    fn serve(&mut self, phone: usize, id: OpId, op: Op) {
        let mut after = Duration::ZERO;
        let result = match op {
            Op::Matrix(MatrixOp::SendEvent { room, event_type, content, transaction }) => {
                let event = SendEvent { room, event_type, content, transaction };
                return self.plan(phone, self.way, Happening::Send(id, event));
            }
            // Here two phones call each other; nobody is in a group call.
            Op::Matrix(
                MatrixOp::SendState { .. }
                | MatrixOp::SendClear { .. }
                | MatrixOp::Redact { .. }
                | MatrixOp::SendToDevice { .. }
                | MatrixOp::Delay(_),
            ) => Err(Fault::Unsupported),
            Op::Fetch(fetch) => {
                after = self.way * 2;
                let is_cut_off = self.phones[phone].is_cut_off;
                if is_cut_off { Err(Fault::Unreachable) } else { self.fetch(fetch) }
            }
            Op::Peer(peer, op) => self.peer(phone, peer, op),
            Op::Track(track, op) => self.track(phone, track, op),
            Op::Sfu(..) | Op::Keys(..) => Err(Fault::Unsupported),
            Op::Save(_) => Ok(Reply::Done),
        };
        self.plan(phone, after, Happening::Reply(id, result));
    }

    fn fetch(&self, fetch: Fetch) -> Result<Reply, Fault> {
        match fetch {
            Fetch::Turn => self.server.turn_servers().map(Reply::Turn),
            Fetch::Members(room) => self.server.members(&room).map(Reply::Members),
            Fetch::State(_)
            | Fetch::OpenId
            | Fetch::SfuToken(_)
            | Fetch::Transports
            | Fetch::KeyMaterial => Err(Fault::Unsupported),
        }
    }

    /// A device's event reaches the server; everybody syncs soon after.
    fn send(&mut self, phone: usize, id: OpId, event: SendEvent) {
        if self.phones[phone].is_cut_off {
            let unreachable = Happening::Reply(id, Err(Fault::Unreachable));
            return self.plan(phone, self.way, unreachable);
        }
        let identity = self.phones[phone].identity.clone();
        let sent = self.server.send(self.clock().wall, &identity, event).map(Reply::Sent);
        self.plan(phone, self.way, Happening::Reply(id, sent));
        for other in 0..self.phones.len() {
            self.plan(other, self.way, Happening::Sync);
        }
    }

    /// Takes what the homeserver has; without one it comes when there is one again.
    pub(super) fn sync(&mut self, phone: usize) {
        if self.phones[phone].is_cut_off {
            return;
        }
        let identity = self.phones[phone].identity.clone();
        for item in self.server.take(self.clock().wall, &identity) {
            let input = match item {
                SyncItem::Batch(batch) => Input::Deliver(batch.parse()),
                SyncItem::Room(room, news) => Input::Room(room, news),
                SyncItem::State(state) => Input::State(state.parse()),
            };
            self.feed(phone, input);
        }
    }

    // --------------------------------------------------------------------------------- media

    fn peer(&mut self, phone: usize, peer: PeerId, op: PeerOp) -> Result<Reply, Fault> {
        if let PeerOp::Open(config) = op {
            let address = self.phones[phone].next_address(phone);
            let node = self.world.open_with(Opening {
                addresses: vec![address],
                ice_servers: config.ice_servers,
                relay_only: config.relay_only,
            });
            self.phones[phone].peers.insert(peer, (node, 0));
            self.phones[phone].addresses.insert(node, address);
            if self.phones[phone].is_cut_off {
                self.world.network().close(address);
            }
            return Ok(Reply::Done);
        }
        let known = self.phones[phone].peers.get(&peer);
        match known.map(|(node, _)| *node) {
            Some(node) => self.world.perform(node, op),
            None if op == PeerOp::Close => Ok(Reply::Done),
            None => Err(Fault::NotFound),
        }
    }

    fn track(&mut self, phone: usize, id: TrackId, op: TrackOp) -> Result<Reply, Fault> {
        let device = &mut self.phones[phone];
        match op {
            TrackOp::Capture(_, what) => {
                let frames = (device.devices)(what)?;
                device.tracks.insert(id, Track { is_enabled: true, made: 0, frames });
                self.plan(phone, Duration::ZERO, Happening::Frame(id));
            }
            TrackOp::Enable(on) => {
                if let Some(track) = device.tracks.get_mut(&id) {
                    track.is_enabled = on;
                }
            }
            TrackOp::Replace(_, what) => {
                let frames = (device.devices)(what)?;
                device.tracks.get_mut(&id).ok_or(Fault::NotFound)?.frames = frames;
            }
            TrackOp::Dtmf(tones) => return self.dial(phone, id, &tones),
            TrackOp::Release => drop(device.tracks.remove(&id)),
        }
        Ok(Reply::Done)
    }

    /// Tones go to every connection that sends the track.
    fn dial(&mut self, phone: usize, id: TrackId, tones: &Tones) -> Result<Reply, Fault> {
        let nodes: Vec<Node> = self.phones[phone].peers.values().map(|(node, _)| *node).collect();
        let mut result = Err(Fault::NotFound);
        for node in nodes {
            result = result.or(self.world.dial(node, id, tones));
        }
        result.map(|()| Reply::Done)
    }

    /// The next frame of a track goes to every connection of the phone; each sends it or not.
    fn frame(&mut self, phone: usize, id: TrackId) {
        let device = &mut self.phones[phone];
        let Some(track) = device.tracks.get_mut(&id) else { return };
        let frame = (track.frames.make)(track.made);
        track.made += 1;
        let every = track.frames.every;
        if let Some(frame) = gate(frame, track.is_enabled) {
            for (node, _) in device.peers.values() {
                self.world.send(*node, id, &frame);
            }
        }
        self.plan(phone, every, Happening::Frame(id));
    }
}

impl Device {
    fn note(&mut self, event: &VoipEvent) {
        if let VoipEvent::CallAdded { session, snapshot } = event {
            self.session = Some(*session);
            self.state = Some(snapshot.state);
        }
    }

    fn tell(&mut self, now: Duration, session: SessionId, event: CallEvent) {
        if self.session == Some(session) {
            match &event {
                CallEvent::StateChanged(state) => self.state = Some(*state),
                CallEvent::Ended(_) => self.state = Some(CallState::Ended),
                _ => {}
            }
        }
        self.events.push((now, session, event));
    }

    /// A new port for each connection.
    fn next_address(&self, phone: usize) -> SocketAddr {
        let host = u32::from(Ipv4Addr::new(10, self.moves, 0, 1)) + phone as u32;
        SocketAddr::from((Ipv4Addr::from(host), 5000 + self.peers.len() as u16))
    }
}

impl std::fmt::Debug for Phones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} phones after {:?}", self.phones.len(), self.now())
    }
}
