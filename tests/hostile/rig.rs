//! One engine and a tiny host in the hand of the test: every reply, every event, every instant.

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::{
    config::Config,
    id::{CallId, DeviceId, EventId, OpId, PartyId, PeerId, RoomId, SessionId, UserId},
    machine::{
        Engine, Identity,
        event::{CallState, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Command, Description, Fault, Fetch, Input, MatrixOp,
            Op, Output, PeerNews, PeerOp, PeerState, Reply, SdpKind, TurnServers, Verdict,
        },
    },
    redact::SecretBytes,
    time::{Mono, Now, Wall},
    wire::{
        call::{Answer, Body, CallMessage, Candidate, Capabilities, Header, Invite, Version},
        delivery::{Delivery, Facts, Parsed, Place, Protection},
        ledger::Ledger,
    },
};

pub(crate) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11\r\na=setup:actpass\r\n\
    a=sendrecv\r\n";

/// What the host does with a request: answer it, or hold it (`None`).
pub(crate) type Habit = fn(&Op) -> Option<Result<Reply, Fault>>;

/// See the module. We are `@me:x` with the device `MINE`.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
    pub(crate) habit: Habit,
    pub(crate) held: Vec<(OpId, Op)>,
    pub(crate) ops: Vec<Op>,
    pub(crate) told: Vec<Output>,
    events: u64,
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(format!("@{name}:x")).unwrap()
}

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::parse(format!("!{name}:x")).unwrap()
}

pub(crate) fn party(name: &str) -> PartyId {
    PartyId::parse(name).unwrap()
}

pub(crate) fn call(name: &str) -> CallId {
    CallId::parse(name).unwrap()
}

pub(crate) fn start() -> Now {
    Now { mono: Mono(secs(100)), wall: Wall(1_786_000_000_000) }
}

pub(crate) fn good(op: &Op) -> Option<Result<Reply, Fault>> {
    Some(Ok(match op {
        Op::Matrix(_) => Reply::Sent(EventId::parse("$sent").unwrap()),
        Op::Fetch(Fetch::State(_) | Fetch::OpenId | Fetch::SfuToken(_) | Fetch::Transports) => {
            return Some(Err(Fault::Unsupported));
        }
        Op::Fetch(Fetch::KeyMaterial) => Reply::KeyMaterial(SecretBytes::new([7; 32])),
        Op::Fetch(Fetch::Turn) => Reply::Turn(TurnServers { servers: vec![], ttl: secs(86_400) }),
        Op::Fetch(Fetch::Members(_)) => Reply::Members(BTreeSet::from([user("me"), user("you")])),
        Op::Peer(_, PeerOp::Offer(_) | PeerOp::LocalDescription) => {
            Reply::Description(Description { kind: SdpKind::Offer, sdp: SDP.into() })
        }
        Op::Peer(_, PeerOp::Answer(_)) => {
            Reply::Description(Description { kind: SdpKind::Answer, sdp: SDP.into() })
        }
        Op::Peer(..) | Op::Track(..) | Op::Sfu(..) | Op::Keys(..) | Op::Save(_) => Reply::Done,
    }))
}

pub(crate) fn deaf_server(op: &Op) -> Option<Result<Reply, Fault>> {
    if matches!(op, Op::Matrix(_)) { None } else { good(op) }
}

pub(crate) fn invite_for(lifetime: Duration) -> Body {
    Body::Invite(Invite {
        offer: SDP.into(),
        lifetime,
        invitee: None,
        invitee_device: None,
        capabilities: Capabilities::default(),
        streams: None,
    })
}

pub(crate) fn invite() -> Body {
    invite_for(secs(60))
}

pub(crate) fn answer() -> Body {
    Body::Answer(Answer { sdp: SDP.into(), capabilities: Capabilities::default(), streams: None })
}

pub(crate) fn hangup() -> Body {
    Body::Hangup { reason: None }
}

pub(crate) fn candidates(count: usize) -> Body {
    let line = |n| format!("candidate:{n} 1 udp 1 192.0.2.1 9 typ host");
    let one = |n| Candidate { candidate: line(n).into(), ..Candidate::end() };
    Body::Candidates((0..count).map(one).collect())
}

/// One event: who says what about which call.
pub(crate) struct Said<'a> {
    pub(crate) sender: &'a str,
    pub(crate) party: Option<&'a str>,
    pub(crate) call: &'a str,
    pub(crate) body: Body,
}

pub(crate) fn said<'a>(sender: &'a str, call: &'a str, body: Body) -> Said<'a> {
    Said { sender, party: Some("theirs"), call, body }
}

impl<'a> Said<'a> {
    pub(crate) fn by(self, party: Option<&'a str>) -> Self {
        Self { party, ..self }
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let identity = Identity { user: user("me"), device: DeviceId::parse("MINE").unwrap() };
        Self {
            engine: Engine::new(identity, config, 1),
            now: start(),
            habit: good,
            held: Vec::new(),
            ops: Vec::new(),
            told: Vec::new(),
            events: 0,
        }
    }

    /// An outgoing call to `you`, whose invite the homeserver has.
    pub(crate) fn calling(mut self) -> (Self, SessionId) {
        let session = self.place("you");
        self.pass(millis(200));
        (self, session)
    }

    /// Connected with `you` in room `r`, called `talk`, which came from them.
    pub(crate) fn talking(mut self) -> (Self, SessionId) {
        let session = self.started("r", said("you", "talk", invite()));
        self.command(session, CallCommand::Answer(None));
        self.pass(millis(200));
        self.peer(session, PeerState::Connected);
        assert_eq!(self.state(session), Some(CallState::Connected));
        (self, session)
    }

    pub(crate) fn place(&mut self, callee: &str) -> SessionId {
        let callee = Callee::User(user(callee));
        let invite = Command::Invite { room: room("r"), callee, media: CallMedia::Voice };
        match self.input(Input::Command(invite)) {
            Verdict::Started(session) => session,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn input(&mut self, input: Input) -> Verdict {
        let verdict = self.engine.handle(self.now, input);
        self.settle();
        verdict
    }

    pub(crate) fn command(&mut self, session: SessionId, command: CallCommand) -> Verdict {
        self.input(Input::Command(Command::Call(session, command)))
    }

    pub(crate) fn peer(&mut self, session: SessionId, state: PeerState) -> Verdict {
        let peer = self.peer_of(session);
        self.input(Input::Peer(peer, PeerNews::State(state)))
    }

    /// The party id of our engine, which all its calls share.
    pub(crate) fn our_party(&self) -> PartyId {
        let mut other = self.clone();
        let session = other.place("somebody");
        other.engine.snapshot(session).unwrap().party_id
    }

    pub(crate) fn peer_of(&self, session: SessionId) -> PeerId {
        self.engine.peer(session).expect("a peer is open")
    }

    /// Time passes on both clocks; the driver wakes when it is asked to, and at the end.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now.plus(span);
        loop {
            let left = end.mono.since(self.now.mono);
            let next = self.engine.poll_timeout().unwrap_or(left).min(left);
            self.now = self.now.plus(next);
            self.engine.handle_timeout(self.now);
            self.settle();
            if left <= next {
                return;
            }
        }
    }

    /// The wall clock alone changes, and the driver wakes.
    pub(crate) fn set_wall(&mut self, wall: Wall) {
        self.now.wall = wall;
        self.engine.handle_timeout(self.now);
        self.settle();
    }

    pub(crate) fn event(&mut self, said: Said<'_>) -> Parsed {
        self.events += 1;
        let facts = Facts {
            event_id: Some(EventId::parse(format!("${}", self.events)).unwrap()),
            sender: user(said.sender),
            device: None,
            protection: Protection::Clear,
            sent: None,
            age: Some(Duration::ZERO),
        };
        let version = if said.party.is_some() { Version::V1 } else { Version::V0 };
        let header = Header {
            call_id: call(said.call),
            party_id: said.party.map(party),
            version,
            device_id: None,
            leg: None,
        };
        let event = Ok(CallMessage { header, body: said.body }.into());
        Parsed { facts, event, event_type: "m.call.x".into() }
    }

    pub(crate) fn deliver(&mut self, room_name: &str, events: Vec<Parsed>) -> Vec<Verdict> {
        let place = Place::Room { room: room(room_name), encrypted: false };
        match self.input(Input::Deliver(Delivery { place, events })) {
            Verdict::Batch(verdicts) => verdicts,
            other => panic!("{other:?}"),
        }
    }

    /// One event in a batch of its own.
    pub(crate) fn hear(&mut self, room_name: &str, said: Said<'_>) -> Verdict {
        let event = self.event(said);
        self.deliver(room_name, vec![event]).remove(0)
    }

    pub(crate) fn started(&mut self, room_name: &str, said: Said<'_>) -> SessionId {
        match self.hear(room_name, said) {
            Verdict::Started(session) => session,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn settle(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            let Output::Request { id, op } = output else {
                if let Output::Cancel(id) = output {
                    self.held.retain(|(held, _)| *held != id);
                }
                self.told.push(output);
                continue;
            };
            match (self.habit)(&op) {
                Some(result) => {
                    self.engine.handle(self.now, Input::Reply(id, result));
                }
                None => self.held.push((id, op.clone())),
            }
            self.ops.push(op);
        }
    }

    /// Answers what is held, with a habit.
    pub(crate) fn release(&mut self, habit: Habit) {
        self.habit = habit;
        for (id, op) in std::mem::take(&mut self.held) {
            if let Some(result) = habit(&op) {
                self.engine.handle(self.now, Input::Reply(id, result));
            }
        }
        self.settle();
    }

    pub(crate) fn state(&self, session: SessionId) -> Option<CallState> {
        self.engine.snapshot(session).map(|shown| shown.state)
    }

    pub(crate) fn call_id(&self, session: SessionId) -> String {
        self.engine.snapshot(session).unwrap().call_id.to_string()
    }

    /// The types of all events that were to be sent, without `m.call.`.
    pub(crate) fn sent(&self) -> Vec<&str> {
        let sent = self.ops.iter().filter_map(|op| match op {
            Op::Matrix(MatrixOp::SendEvent { event_type, .. }) => event_type.rsplit('.').next(),
            _ => None,
        });
        sent.collect()
    }

    pub(crate) fn is_ringing(&self, session: SessionId) -> bool {
        let mut rings = self.told.iter().filter_map(|output| match output {
            Output::Voip(VoipEvent::RingStarted { session: s, .. }) if *s == session => Some(true),
            Output::Voip(VoipEvent::RingStopped { session: s, .. }) if *s == session => Some(false),
            _ => None,
        });
        rings.next_back().unwrap_or_default()
    }

    pub(crate) fn saved(&self) -> Ledger {
        let mut saves = self.ops.iter().filter_map(|op| match op {
            Op::Save(ledger) => Some(ledger.clone()),
            _ => None,
        });
        saves.next_back().unwrap_or_default()
    }

    /// The process dies and comes back with what was saved, as bytes.
    pub(crate) fn restart(&mut self) {
        let ledger = Ledger::from_bytes(&self.saved().to_bytes()).unwrap();
        let identity = Identity { user: user("me"), device: DeviceId::parse("MINE").unwrap() };
        self.engine = Engine::new(identity, Config::default(), 77);
        self.held.clear();
        self.told.clear();
        self.ops.clear();
        self.engine.restore(self.now, ledger);
        self.settle();
    }
}
