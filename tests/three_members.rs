//! Three who may enter and leave a group call, explored completely: in whatever order they do so and
//! hear of each other, when everything has been heard each pair that is in it has one connected leg,
//! nobody has any other, and all see the same participants.
//!
//! What is immediate here: answers of the homeserver and of the peer connections, and one's own
//! echo. What comes in any order: what users do, and what each hears of each other, where the state of
//! the room and messages to devices come by ways of their own, each in its order.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use matrix_voip::{
    Backend, Config, Connection, GroupCallId, GroupState, ParticipantId,
    config::DelayedLeave,
    id::{DeviceId, EventId, PeerId, RoomId, SessionId, UserId},
    machine::{
        Engine, Identity,
        io::{
            CallMedia, Command, Description, Fault, Fetch, GroupCommand, Input, MatrixOp, Op,
            Output, PeerNews, PeerOp, PeerState, Reply, RoomNews, SdpKind, TurnServers, Verdict,
        },
    },
    time::{Mono, Now, Wall},
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        member::DEFAULT_APPLICATION,
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

const USERS: [&str; 3] = ["@ada:example", "@ben:example", "@cleo:example"];

/// On its way from one to another.
#[derive(Clone, Hash)]
enum Letter {
    State { id: String, content: String, key: String, sender: usize },
    Message { event_type: String, content: String },
}

/// From whom, to whom, and which way: state or message.
type Way = (usize, usize, bool);

/// One member.
#[derive(Clone)]
struct Member {
    engine: Engine,
    session: Option<SessionId>,
    /// How often he may still enter or leave.
    turns: u8,
    /// Of each connection: whether our and whether their description is in force.
    peers: BTreeMap<PeerId, (bool, bool)>,
}

#[derive(Clone)]
struct World {
    members: Vec<Member>,
    ways: BTreeMap<Way, VecDeque<Letter>>,
    written: u32,
    now: Now,
    /// What goes this way never arrives.
    lost: Option<Way>,
}

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Turn(usize),
    Hear(Way),
}

impl World {
    fn new(turns: [u8; 3]) -> Self {
        let now = Now { mono: Mono(Duration::from_secs(1)), wall: Wall(1_786_000_000_000) };
        let mut world =
            Self { members: Vec::new(), ways: BTreeMap::new(), written: 0, now, lost: None };
        for (at, turns) in turns.into_iter().enumerate() {
            let mut config = Config::default();
            config.delayed_leave = DelayedLeave::Off;
            config.timeouts.speaker = Duration::ZERO;
            let engine = Engine::new(identity(at), config, at as u64 + 1);
            world.members.push(Member { engine, session: None, turns, peers: BTreeMap::new() });
            let members: BTreeSet<UserId> = USERS.map(|user| UserId::parse(user).unwrap()).into();
            world.input(at, Input::Room(room(), RoomNews::Members(members)));
            let whole = StateBatch { room: room(), extent: Extent::Whole, events: Vec::new() };
            world.input(at, Input::State(whole.parse()));
        }
        world
    }

    fn steps(&self) -> Vec<Step> {
        let turns = (0..3).filter(|at| self.members[*at].turns > 0).map(Step::Turn);
        let letters = self.ways.iter().filter(|(_, letters)| !letters.is_empty());
        turns.chain(letters.map(|(way, _)| Step::Hear(*way))).collect()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Turn(at) => self.turn(at),
            Step::Hear(way) => {
                let letter = self.ways.get_mut(&way).and_then(VecDeque::pop_front);
                if self.lost != Some(way) {
                    self.hear(way, letter.expect("a letter"));
                }
            }
        }
    }

    /// Enters if he is out, leaves if he is in.
    fn turn(&mut self, at: usize) {
        self.members[at].turns -= 1;
        let state = self.shown(at).map(|shown| shown.state);
        let within = matches!(state, Some(GroupState::Entering | GroupState::Entered));
        let command = match within {
            true => GroupCommand::Leave,
            false => GroupCommand::Enter(CallMedia::Voice),
        };
        let open = Command::OpenGroup {
            room: room(),
            call: GroupCallId::room(),
            backend: Backend::Mesh,
            application: DEFAULT_APPLICATION.to_owned(),
        };
        let Verdict::Started(session) = self.input(at, Input::Command(open)) else { panic!() };
        self.members[at].session = Some(session);
        assert_eq!(
            self.input(at, Input::Command(Command::Group(session, command))),
            Verdict::Handled
        );
    }

    fn hear(&mut self, (from, to, _): Way, letter: Letter) {
        let input = match letter {
            Letter::State { id, content, key, sender } => {
                let facts = StateFacts {
                    event_id: EventId::parse(id).unwrap(),
                    sender: UserId::parse(USERS[sender]).unwrap(),
                    state_key: key,
                    sent: self.now.wall,
                    age: Some(Duration::ZERO),
                };
                let event_type = "com.famedly.call.member".to_owned();
                let events = vec![RawState { facts, event_type, content }];
                Input::State(StateBatch { room: room(), extent: Extent::Changes, events }.parse())
            }
            Letter::Message { event_type, content } => {
                let facts = Facts {
                    event_id: None,
                    sender: UserId::parse(USERS[from]).unwrap(),
                    device: None,
                    protection: Protection::Clear,
                    sent: None,
                    age: None,
                };
                let event = RawEvent { facts, event_type, content, redacts: None };
                Input::Deliver(Batch { place: Place::ToDevice, events: vec![event] }.parse())
            }
        };
        self.input(to, input);
    }

    fn input(&mut self, at: usize, input: Input) -> Verdict {
        let now = self.now;
        let verdict = self.members[at].engine.handle(now, input);
        self.drain(at);
        verdict
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.members[at].engine.poll_output() {
            let Output::Request { id, op } = output else { continue };
            let (reply, news) = self.serve(at, &op);
            let now = self.now;
            self.members[at].engine.handle(now, Input::Reply(id, reply));
            for (peer, news) in news {
                self.members[at].engine.handle(now, Input::Peer(peer, news));
            }
        }
    }

    fn serve(&mut self, at: usize, op: &Op) -> (Result<Reply, Fault>, Vec<(PeerId, PeerNews)>) {
        let reply = match op {
            Op::Matrix(MatrixOp::SendState { state_key, content, .. }) => {
                return (Ok(self.write(at, state_key, content)), Vec::new());
            }
            Op::Matrix(MatrixOp::SendToDevice { targets, event_type, content, .. }) => {
                for target in targets {
                    let to = USERS.iter().position(|user| *user == target.user.as_str()).unwrap();
                    let (event_type, content) = (event_type.clone(), content.clone());
                    let way = self.ways.entry((at, to, false)).or_default();
                    way.push_back(Letter::Message { event_type, content });
                }
                Reply::ToDevice(BTreeSet::new())
            }
            Op::Matrix(MatrixOp::Delay(_)) => return (Err(Fault::Unsupported), Vec::new()),
            Op::Matrix(_) => Reply::Sent(EventId::parse("$sent").unwrap()),
            Op::Fetch(Fetch::Turn) => {
                let ttl = Duration::from_secs(86_400);
                Reply::Turn(TurnServers { servers: Vec::new(), ttl })
            }
            Op::Fetch(_) => return (Err(Fault::Unsupported), Vec::new()),
            Op::Peer(peer, op) => return self.peer(at, *peer, op),
            Op::Track(..) | Op::Save(_) => Reply::Done,
        };
        (Ok(reply), Vec::new())
    }

    fn write(&mut self, at: usize, key: &str, content: &str) -> Reply {
        self.written += 1;
        let id = format!("$state{}", self.written);
        let (content, key) = (content.to_owned(), key.to_owned());
        let letter = Letter::State { id: id.clone(), content, key, sender: at };
        for to in (0..3).filter(|to| *to != at) {
            self.ways.entry((at, to, true)).or_default().push_back(letter.clone());
        }
        Reply::Sent(EventId::parse(id).unwrap())
    }

    fn peer(
        &mut self,
        at: usize,
        peer: PeerId,
        op: &PeerOp,
    ) -> (Result<Reply, Fault>, Vec<(PeerId, PeerNews)>) {
        let described = |kind| {
            let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
                       a=fingerprint:f\r\n";
            Reply::Description(Description { kind, sdp: sdp.into() })
        };
        let in_force = self.members[at].peers.entry(peer).or_default();
        let mut news = Vec::new();
        let reply = match op {
            PeerOp::Offer(_) | PeerOp::LocalDescription if !in_force.1 => described(SdpKind::Offer),
            PeerOp::Offer(_) => described(SdpKind::Offer),
            PeerOp::Answer(_) | PeerOp::LocalDescription => described(SdpKind::Answer),
            PeerOp::SetLocal(_) => {
                in_force.0 = true;
                news.push((peer, PeerNews::GatheringDone));
                Reply::Done
            }
            PeerOp::SetRemote(_) => {
                in_force.1 = true;
                Reply::Done
            }
            PeerOp::Close => {
                self.members[at].peers.remove(&peer);
                return (Ok(Reply::Done), news);
            }
            PeerOp::Stats => Reply::Stats(Box::default()),
            PeerOp::Open(_)
            | PeerOp::Rollback
            | PeerOp::Candidates(_)
            | PeerOp::RestartIce
            | PeerOp::SetServers(_) => Reply::Done,
        };
        if *in_force == (true, true) {
            news.push((peer, PeerNews::State(PeerState::Connected)));
        }
        (Ok(reply), news)
    }

    fn shown(&self, at: usize) -> Option<matrix_voip::GroupSnapshot> {
        let member = &self.members[at];
        // Whoever never did anything has heard of it all the same.
        let session = member.session?;
        member.engine.group_snapshot(session)
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for member in &self.members {
            (member.engine.fingerprint(), member.turns, &member.peers).hash(&mut hasher);
        }
        for (way, letters) in self.ways.iter().filter(|(_, letters)| !letters.is_empty()) {
            (way, letters).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Time passes, nobody does anything any more, and everything is heard.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.now = self.now.plus(Duration::from_secs(5));
            for at in 0..3 {
                let now = self.now;
                self.members[at].engine.handle_timeout(now);
                self.drain(at);
            }
            while let Some(way) = self.next_letter() {
                self.take(Step::Hear(way));
            }
        }
    }

    fn next_letter(&self) -> Option<Way> {
        self.ways.iter().find(|(_, letters)| !letters.is_empty()).map(|(way, _)| *way)
    }

    /// See the file.
    fn check(&self) -> Result<(), String> {
        let within =
            |at: &usize| self.shown(*at).is_some_and(|shown| shown.state == GroupState::Entered);
        let present: Vec<usize> = (0..3).filter(within).collect();
        for (at, user) in USERS.iter().enumerate() {
            let others: BTreeSet<_> =
                present.iter().filter(|it| **it != at).map(|it| id(*it)).collect();
            let is_in = present.contains(&at);
            let expected = if is_in { others.len() } else { 0 };
            let legs = self.members[at].peers.len();
            if legs != expected {
                return Err(format!("{user} has {legs} legs, not {expected}"));
            }
            let Some(shown) = self.shown(at) else { continue };
            let seen: BTreeSet<_> = shown.participants.iter().map(|one| one.id.clone()).collect();
            let all: BTreeSet<_> = present.iter().map(|it| id(*it)).collect();
            // Our own echo does not come here.
            let ours: BTreeSet<_> = [id(at)].into();
            if &seen | &ours != &all | &ours {
                return Err(format!("{user} sees {seen:?}, not {all:?}"));
            }
            let connected =
                |it: &&ParticipantId| shown.connections.get(*it) == Some(&Connection::Connected);
            if is_in && others.iter().filter(connected).count() != others.len() {
                return Err(format!("{user} is connected as {:?}", shown.connections));
            }
        }
        Ok(())
    }
}

fn room() -> RoomId {
    RoomId::parse("!r:example").unwrap()
}

fn identity(at: usize) -> Identity {
    Identity { user: UserId::parse(USERS[at]).unwrap(), device: DeviceId::parse("D").unwrap() }
}

fn id(at: usize) -> ParticipantId {
    let Identity { user, device } = identity(at);
    ParticipantId { user, device }
}

/// How many states a world has; the way to the first in which a rule is broken.
fn explore(start: World) -> Result<usize, String> {
    let mut seen = HashSet::from([start.fingerprint()]);
    let mut open = vec![(start, Vec::new())];
    while let Some((world, path)) = open.pop() {
        let steps = world.steps();
        if world.next_letter().is_none() {
            let mut end = world.clone();
            end.settle();
            end.check().map_err(|broken| format!("{broken}\nafter {path:#?}"))?;
        }
        for step in steps {
            let mut next = world.clone();
            next.take(step);
            if seen.insert(next.fingerprint()) {
                let mut path = path.clone();
                path.push(step);
                open.push((next, path));
            }
        }
    }
    Ok(seen.len())
}

#[track_caller]
fn explored(turns: [u8; 3]) {
    match explore(World::new(turns)) {
        Ok(states) => {
            println!("{turns:?}: {states} states");
            assert!(states > 100, "a world in which little happens tests little");
        }
        Err(found) => panic!("{turns:?}: {found}"),
    }
}

#[test]
fn two_who_enter_and_leave_meet_in_every_order() {
    explored([2, 2, 0]);
}

#[test]
fn three_who_enter_meet_in_every_order() {
    explored([1, 1, 1]);
}

#[test]
#[ignore = "long: minutes"]
fn two_who_enter_leave_and_enter_again_meet_in_every_order() {
    explored([3, 3, 0]);
}

#[test]
#[ignore = "long: many minutes"]
fn three_who_enter_and_of_whom_one_leaves_meet_in_every_order() {
    for turns in [[1, 1, 2], [1, 2, 1], [2, 1, 1]] {
        explored(turns);
    }
}

#[test]
fn a_world_in_which_a_message_or_a_membership_is_lost_is_found_out() {
    for state in [false, true] {
        let mut world = World::new([2, 2, 0]);
        world.lost = Some((0, 1, state));
        let found = explore(world);
        assert!(found.is_err(), "lost by {state}, and nobody notices");
    }
}
