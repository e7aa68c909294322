//! One member: an engine, and the homeserver and peer connections that answer it at once.
//!
//! What a member does depends on what he has done and heard alone, and what he sends is returned: so
//! a member is a value, and a step of his a function, which an exploration asks for once.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use matrix_voip::{
    Backend, Config, GroupCallId, GroupSnapshot, GroupState, ParticipantId,
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

pub(crate) const USERS: [&str; 3] = ["@ada:example", "@ben:example", "@cleo:example"];

/// When worlds begin.
pub(crate) const EPOCH: Now =
    Now { mono: Mono(Duration::from_secs(1)), wall: Wall(1_786_000_000_000) };

/// On its way from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Letter {
    State { id: String, content: String, key: String },
    Message { event_type: String, content: String },
}

impl Letter {
    pub(crate) fn is_state(&self) -> bool {
        matches!(self, Self::State { .. })
    }
}

/// What a member does next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    /// Enters if he is out, leaves if he is in.
    Turn,
    /// Hears what this one sent.
    Hear(usize, &'a Letter),
}

/// To whom, and what.
pub(crate) type Sent = Vec<(usize, Letter)>;

/// See the file.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) at: usize,
    engine: Engine,
    session: Option<SessionId>,
    /// Of each connection: whether our and whether their description is in force.
    peers: BTreeMap<PeerId, (bool, bool)>,
    /// How often he wrote state.
    written: u32,
    now: Now,
    sent: Sent,
}

impl Member {
    pub(crate) fn new(at: usize) -> Self {
        let mut config = Config::default();
        config.delayed_leave = DelayedLeave::Off;
        config.timeouts.speaker = Duration::ZERO;
        let engine = Engine::new(identity(at), config, at as u64 + 1);
        let (session, peers, sent) = (None, BTreeMap::new(), Vec::new());
        let mut member = Self { at, engine, session, peers, written: 0, now: EPOCH, sent };
        let members: BTreeSet<UserId> = USERS.map(|user| UserId::parse(user).unwrap()).into();
        member.input(Input::Room(room(), RoomNews::Members(members)));
        let whole = StateBatch {
            room: room(),
            extent: Extent::Whole,
            encrypted: Some(false),
            events: Vec::new(),
        };
        member.input(Input::State(whole.parse()));
        member
    }

    /// Does this; what he sends.
    pub(crate) fn act(&mut self, act: Act<'_>) -> Sent {
        match act {
            Act::Turn => self.turn(),
            Act::Hear(from, letter) => self.hear(from, letter.clone()),
        }
        std::mem::take(&mut self.sent)
    }

    /// Time has passed; what he sends.
    pub(crate) fn wait(&mut self, now: Now) -> Sent {
        self.now = now;
        self.engine.handle_timeout(now);
        self.drain();
        std::mem::take(&mut self.sent)
    }

    fn turn(&mut self) {
        let state = self.shown().map(|shown| shown.state);
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
            keys: matrix_voip::KeyUse::Usual,
        };
        let Verdict::Started(session) = self.input(Input::Command(open)) else { panic!() };
        self.session = Some(session);
        let verdict = self.input(Input::Command(Command::Group(session, command)));
        assert_eq!(verdict, Verdict::Handled);
    }

    fn hear(&mut self, from: usize, letter: Letter) {
        let sender = UserId::parse(USERS[from]).unwrap();
        let input = match letter {
            Letter::State { id, content, key } => {
                let event_id = EventId::parse(id).unwrap();
                let (sent, age) = (self.now.wall, Some(Duration::ZERO));
                let facts = StateFacts { event_id, sender, state_key: key, sent, age };
                let event_type = "com.famedly.call.member".to_owned();
                let events = vec![RawState { facts, event_type, content }];
                Input::State(
                    StateBatch {
                        room: room(),
                        extent: Extent::Changes,
                        encrypted: Some(false),
                        events,
                    }
                    .parse(),
                )
            }
            Letter::Message { event_type, content } => {
                let facts = Facts {
                    event_id: None,
                    sender,
                    device: None,
                    protection: Protection::Clear,
                    sent: None,
                    age: None,
                };
                let event = RawEvent { facts, event_type, content, redacts: None };
                Input::Deliver(Batch { place: Place::ToDevice, events: vec![event] }.parse())
            }
        };
        self.input(input);
    }

    fn input(&mut self, input: Input) -> Verdict {
        let verdict = self.engine.handle(self.now, input);
        self.drain();
        verdict
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            let Output::Request { id, op } = output else { continue };
            let (reply, news) = self.serve(&op);
            self.engine.handle(self.now, Input::Reply(id, reply));
            for (peer, news) in news {
                self.engine.handle(self.now, Input::Peer(peer, news));
            }
        }
    }

    fn serve(&mut self, op: &Op) -> (Result<Reply, Fault>, Vec<(PeerId, PeerNews)>) {
        let reply = match op {
            Op::Matrix(MatrixOp::SendState { state_key, content, .. }) => {
                self.write(state_key, content)
            }
            Op::Matrix(MatrixOp::SendToDevice { targets, event_type, content, .. }) => {
                for target in targets {
                    let to = USERS.iter().position(|user| *user == target.user.as_str()).unwrap();
                    let (event_type, content) = (event_type.clone(), content.clone());
                    self.sent.push((to, Letter::Message { event_type, content }));
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
            Op::Peer(peer, op) => return self.peer(*peer, op),
            Op::Track(..) | Op::Sfu(..) | Op::Keys(..) | Op::Save(_) => Reply::Done,
        };
        (Ok(reply), Vec::new())
    }

    fn write(&mut self, key: &str, content: &str) -> Reply {
        self.written += 1;
        let id = format!("$state{}.{}", self.at, self.written);
        let (content, key) = (content.to_owned(), key.to_owned());
        let letter = Letter::State { id: id.clone(), content, key };
        let others = (0..USERS.len()).filter(|to| *to != self.at);
        self.sent.extend(others.map(|to| (to, letter.clone())));
        Reply::Sent(EventId::parse(id).unwrap())
    }

    fn peer(
        &mut self,
        peer: PeerId,
        op: &PeerOp,
    ) -> (Result<Reply, Fault>, Vec<(PeerId, PeerNews)>) {
        let described = |kind| {
            let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
                       a=fingerprint:f\r\n";
            Reply::Description(Description { kind, sdp: sdp.into() })
        };
        let in_force = self.peers.entry(peer).or_default();
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
                self.peers.remove(&peer);
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

    pub(crate) fn legs(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn shown(&self) -> Option<GroupSnapshot> {
        // Whoever never did anything has heard of it all the same.
        self.engine.group_snapshot(self.session?)
    }

    /// Equal for members who will do and send the same, whatever they hear.
    pub(crate) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let engine = self.engine.fingerprint_beside(&self.peers);
        (self.at, engine, self.session.is_some(), self.written).hash(&mut hasher);
        hasher.finish()
    }
}

pub(crate) fn room() -> RoomId {
    RoomId::parse("!r:example").unwrap()
}

fn identity(at: usize) -> Identity {
    Identity { user: UserId::parse(USERS[at]).unwrap(), device: DeviceId::parse("D").unwrap() }
}

pub(crate) fn id(at: usize) -> ParticipantId {
    let Identity { user, device } = identity(at);
    ParticipantId { user, device }
}
