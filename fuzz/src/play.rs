//! An engine and a host that answers as it likes, played by arbitrary bytes.
//!
//! The alphabet is small on purpose (three users, two rooms, a few call ids): so that inputs meet
//! calls that exist. After every step the invariants of the contract are checked
//! (`testing::Checked`); at the end the whole play is replayed from its recording.

use std::{collections::BTreeMap, time::Duration};

use arbitrary::Arbitrary;
use matrix_voip::{
    config::{Busy, Config, Glare, OnAnswer, Proceed, Transfers, Unverified},
    id::{
        CallId, DelayId, DeviceId, EventId, InputId, OpId, PeerId, RoomId, SessionId, StreamId,
        UserId,
    },
    machine::{
        event::{Transfer, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Candidate, Command, DelayOp, Description, Fault, Fetch,
            Input, KeyOp, Lifecycle, MatrixOp, MediaKind, MediaSource, Network, Op, OpenIdToken,
            Output, PeerNews, PeerOp, PeerState, Reply, RoomNews, SdpKind, SfuToken, Tell, Tones,
            TransferTo, TurnServers, Verdict,
        },
    },
    record::{Entry, Origin, Replay, Scribe},
    redact::{Secret, SecretBytes},
    testing::Checked,
    time::Now,
    wire::{
        call::Reason,
        delayed::DelayedPage,
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        focus::Transport,
    },
};

use crate::{
    EVENT_TYPES,
    groups::{Asked, Written},
    origin,
};

/// Most steps of a play: longer ones find nothing that shorter ones do not.
const MAX_STEPS: usize = 200;

const USERS: [&str; 3] = ["@ada:example", "@ben:example", "@carl:example"];
const ROOMS: [&str; 2] = ["!one:example", "!two:example"];
const PARTIES: [&str; 3] = ["benparty", "carlparty", "~"];

/// One thing that happens.
#[derive(Debug, Clone, Arbitrary)]
pub enum Act {
    /// Time passes, in ms.
    Wait(u16),
    /// Time passes, in seconds.
    WaitLong(u8),
    /// The machine sleeps: only the wall clock goes on.
    Sleep(u8),
    /// We call.
    Invite { room: u8, callee: u8, video: bool },
    /// We do something with a call.
    Call { which: u8, what: u8 },
    /// The host answers the n-th open request as it should.
    Serve(u8),
    /// The host answers everything as it should.
    ServeAll,
    /// The host fails the n-th open request.
    Fail(u8, u8),
    /// The host answers with something else.
    Wrong(u8, u8),
    /// An answer to a request that is not open.
    Stale(u16),
    /// News of the n-th peer connection.
    Peer(u8, u8),
    /// A member says something about a call.
    Say { room: u8, sender: u8, party: u8, what: u8, call: u8, age: u16, how: u8 },
    /// Anything in an event.
    Shout { event_type: u8, sender: u8, content: String },
    /// The last event comes again.
    Again,
    /// Something else.
    World(u8, u8),
    /// A member writes state.
    Write(Written),
    /// We do something with a group call.
    Group(Asked),
}

/// What the engine is told to do.
#[derive(Debug, Clone, Arbitrary)]
pub struct Policies {
    busy: u8,
    glare: bool,
    on_answer: u8,
    transfers: bool,
    unverified: u8,
    proceed: bool,
}

impl Policies {
    fn config(&self) -> Config {
        let mut config = Config::default();
        config.busy = [Busy::Ignore, Busy::Reject, Busy::Ring][usize::from(self.busy % 3)];
        config.glare = if self.glare { Glare::AutoAnswer } else { Glare::Ring };
        let on_answer = [OnAnswer::HoldOther, OnAnswer::EndOther, OnAnswer::Refuse];
        config.on_answer = on_answer[usize::from(self.on_answer % 3)];
        config.transfers = if self.transfers { Transfers::Ask } else { Transfers::Refuse };
        let unverified = [Unverified::Allow, Unverified::Warn, Unverified::Refuse];
        config.unverified = unverified[usize::from(self.unverified % 3)];
        config.proceed = if self.proceed { Proceed::Auto } else { Proceed::Manual };
        config
    }
}

/// A play: its engine and everything around it.
struct Play {
    checked: Checked,
    scribe: Scribe<Vec<u8>>,
    now: Now,
    open: Vec<(OpId, Op)>,
    sessions: Vec<SessionId>,
    groups: Vec<SessionId>,
    /// State events so far.
    written: u64,
    peers: Vec<PeerId>,
    calls: Vec<CallId>,
    /// The last transfer that was asked for.
    asked: Option<(SessionId, Box<Transfer>)>,
    events: u64,
    last: Option<Batch>,
    verdicts: u64,
    seen: BTreeMap<&'static str, u64>,
    /// Whether to print it all (`FUZZ_TELL=1`): what led to a finding.
    tells: bool,
}

/// Who says something, where and how.
struct Speaker {
    room: u8,
    user: u8,
    age: Duration,
    how: u8,
}

/// Plays it all. Gives how often each kind of verdict was given.
pub fn play(policies: &Policies, acts: &[Act]) -> BTreeMap<&'static str, u64> {
    let now = Now::default().plus(Duration::from_secs(1_700_000_000));
    let origin = Origin { config: policies.config(), ..origin() };
    let mut play = Play {
        checked: Checked::new(origin.engine()),
        scribe: Scribe::begin(Vec::new(), &origin, now).expect("memory"),
        now,
        open: Vec::new(),
        sessions: Vec::new(),
        groups: Vec::new(),
        written: 0,
        peers: Vec::new(),
        calls: ["a1", "z9"].map(|id| CallId::parse(id).expect("a call id")).to_vec(),
        asked: None,
        events: 0,
        last: None,
        verdicts: 0,
        seen: BTreeMap::new(),
        tells: std::env::var_os("FUZZ_TELL").is_some(),
    };
    for act in acts.iter().take(MAX_STEPS) {
        if play.tells {
            eprintln!("{act:?}");
        }
        play.act(act);
    }
    play.replay()
}

/// The n-th of some, whatever n is.
fn nth<T>(of: &[T], n: u8) -> Option<&T> {
    of.get(usize::from(n).checked_rem(of.len())?)
}

fn user(n: u8) -> UserId {
    UserId::parse(USERS[usize::from(n) % USERS.len()]).expect("a user id")
}

fn room(n: u8) -> RoomId {
    // The first one most of the time: calls shall meet.
    RoomId::parse(ROOMS[usize::from(n % 8 == 7)]).expect("a room id")
}

impl Play {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Wait(ms) => self.wait(Duration::from_millis((*ms).into())),
            Act::WaitLong(seconds) => self.wait(Duration::from_secs((*seconds).into())),
            Act::Sleep(seconds) => {
                self.now.wall = self.now.wall.plus(Duration::from_secs((*seconds).into()));
                self.wake();
            }
            Act::Invite { room: at, callee, video } => self.invite(*at, *callee, *video),
            Act::Call { which, what } => {
                if let Some(follow) = self.follow(*what) {
                    self.feed(Input::Command(follow));
                } else if let Some(session) = nth(&self.sessions, *which).copied() {
                    let command = self.command(*what);
                    self.feed(Input::Command(Command::Call(session, command)));
                }
            }
            Act::Serve(which) => self.serve(*which),
            Act::ServeAll => {
                for _ in 0..50 {
                    self.serve(0);
                }
            }
            Act::Fail(which, how) => self.reply(*which, |_| Err(fault(*how))),
            Act::Wrong(which, what) => self.reply(*which, |_| Ok(some_reply(*what))),
            Act::Stale(id) => {
                let known = self.open.iter().any(|(open, _)| open.0 == u64::from(*id));
                if !known {
                    self.feed(Input::Reply(OpId((*id).into()), Ok(Reply::Done)));
                }
            }
            Act::Peer(which, what) => {
                if let Some(peer) = nth(&self.peers, *which).copied() {
                    self.feed(Input::Peer(peer, news(*what)));
                }
            }
            Act::Say { .. } => self.say(act),
            Act::Shout { event_type, sender, content } => {
                let event_type = EVENT_TYPES[usize::from(*event_type) % EVENT_TYPES.len()];
                let by = Speaker { room: 0, user: *sender, age: Duration::ZERO, how: 0 };
                self.deliver(by, event_type, content.clone());
            }
            Act::Again => {
                if let Some(batch) = self.last.clone() {
                    self.feed(Input::Deliver(batch.parse()));
                }
            }
            Act::World(what, which) => self.world(*what, *which),
            Act::Write(written) => {
                self.written += 1;
                let (room, sender) = (room(written.room), user(written.sender));
                let batch = written.batch((room, sender), self.now.wall, self.written);
                self.feed(Input::State(batch.parse()));
            }
            Act::Group(asked) => {
                let session = nth(&self.groups, asked.which).copied();
                if let Some(input) = asked.input(room(asked.room), session) {
                    self.feed(input);
                }
            }
        }
    }

    // ------------------------------------------------------------------------------- our side

    fn invite(&mut self, at: u8, callee: u8, video: bool) {
        let callee = match callee % 4 {
            3 => Callee::TheOther,
            2 => Callee::Device(user(0), DeviceId::parse("TABLET").expect("a device id")),
            n => Callee::User(user(n)),
        };
        let media = if video { CallMedia::Video } else { CallMedia::Voice };
        self.feed(Input::Command(Command::Invite { room: room(at), callee, media }));
    }

    fn serve(&mut self, which: u8) {
        let mut opened = None;
        self.reply(which, |op| {
            if let Op::Peer(peer, PeerOp::SetLocal(_)) = op {
                opened = Some(*peer);
            }
            Ok(proper_reply(op))
        });
        if let Some(peer) = opened {
            self.feed(Input::Peer(peer, PeerNews::GatheringDone));
        }
    }

    fn reply(&mut self, which: u8, answer: impl FnOnce(&Op) -> Result<Reply, Fault>) {
        let Some(place) = usize::from(which).checked_rem(self.open.len()) else { return };
        let (id, op) = self.open.remove(place);
        let mut result = answer(&op);
        if let Ok(Reply::Sent(event)) = &mut result {
            self.events += 1;
            *event = EventId::parse(format!("$sent{}", self.events)).expect("an event id");
        }
        self.feed(Input::Reply(id, result));
    }

    fn world(&mut self, what: u8, which: u8) {
        self.feed(match what % 12 {
            0 => Input::Room(room(which), RoomNews::Members([user(0), user(1)].into())),
            1 => Input::Room(room(which), RoomNews::Members([user(0), user(1), user(2)].into())),
            2 => Input::Room(room(which), RoomNews::Left(user(which))),
            3 => Input::Room(room(which), RoomNews::Encrypted),
            4 => Input::IgnoredUsers([user(which)].into()),
            5 => Input::IgnoredUsers([].into()),
            6 => Input::Network(Network::Changed),
            7 => Input::Network(Network::Lost),
            8 => Input::Network(Network::Back),
            9 => Input::Lifecycle(Lifecycle::Foreground),
            10 => Input::Lifecycle(Lifecycle::Background),
            _ if which == 77 => Input::Lifecycle(Lifecycle::Ending),
            _ if which == 99 => Input::Lifecycle(Lifecycle::LoggedOut),
            _ => Input::Network(Network::Back),
        });
    }

    // ------------------------------------------------------------------------------ their side

    fn say(&mut self, act: &Act) {
        let Act::Say { room, sender, party, what, call, age, how } = act else { return };
        let Some(id) = nth(&self.calls, *call) else { return };
        let party = PARTIES[usize::from(*party) % PARTIES.len()];
        let (event_type, rest) = said(*what);
        let version = if how % 16 == 15 { "0" } else { "1" };
        let content =
            format!(r#"{{"call_id":"{id}","party_id":"{party}","version":"{version}"{rest}}}"#);
        let age = Duration::from_millis((*age).into()) * u32::from(how % 4);
        let by = Speaker { room: *room, user: *sender, age, how: *how };
        self.deliver(by, event_type, content);
    }

    fn deliver(&mut self, by: Speaker, event_type: &str, content: String) {
        let Speaker { room: at, user: by, age, how } = by;
        self.events += 1;
        let protection = match how % 5 {
            0 => Protection::Verified,
            1 => Protection::Unverified,
            _ => Protection::Clear,
        };
        let facts = Facts {
            event_id: EventId::parse(format!("$e{}", self.events)).ok(),
            sender: user(by),
            device: None,
            protection,
            sent: Some(self.now.wall),
            age: Some(age),
        };
        let event = RawEvent { facts, event_type: event_type.to_owned(), content, redacts: None };
        let place = match how {
            250.. => Place::ToDevice,
            _ => Place::Room { room: room(at), encrypted: how % 32 == 31 },
        };
        let batch = Batch { place, events: vec![event] };
        self.last = Some(batch.clone());
        self.feed(Input::Deliver(batch.parse()));
    }

    // ------------------------------------------------------------------------------- the engine

    fn wait(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        self.wake();
    }

    fn wake(&mut self) {
        self.scribe.note(self.now, &Entry::Due).expect("memory");
        let outputs = self.checked.handle_timeout(self.now);
        self.take(outputs);
    }

    fn feed(&mut self, input: Input) {
        if self.tells {
            eprintln!("    {input:?}");
        }
        let kept = Box::new(input.clone());
        let (verdict, outputs) = self.checked.handle(self.now, input);
        *self.seen.entry(kind(&verdict)).or_default() += 1;
        self.verdicts += 1;
        self.scribe.note(self.now, &Entry::Input(kept, verdict)).expect("memory");
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            if self.tells {
                eprintln!("        {output:?}");
            }
            match output {
                Output::Request { id, op } => {
                    if let Op::Peer(peer, PeerOp::Open(_)) = &op {
                        self.peers.push(*peer);
                    }
                    self.open.push((id, op));
                }
                Output::Voip(VoipEvent::TransferRequested { session, transfer }) => {
                    self.asked = Some((session, transfer));
                }
                Output::Cancel(id) => self.open.retain(|(open, _)| *open != id),
                Output::Voip(VoipEvent::CallAdded { session, snapshot }) => {
                    self.sessions.push(session);
                    self.calls.push(snapshot.call_id);
                }
                Output::Voip(VoipEvent::GroupCallAdded { session, .. }) => {
                    self.groups.push(session);
                }
                Output::Voip(_) | Output::Call { .. } | Output::Group { .. } => {}
            }
        }
        for session in &self.sessions {
            let explained = self.checked.engine().explain(self.now, *session);
            assert!(explained.is_none_or(|explained| !explained.to_string().is_empty()));
        }
    }

    /// The recording of it gives the same verdicts.
    fn replay(self) -> BTreeMap<&'static str, u64> {
        let file = self.scribe.finish().expect("memory");
        let mut verdicts = 0;
        for step in Replay::open(file.as_slice()).expect("a recording") {
            let step = step.expect("a readable step");
            verdicts += u64::from(step.verdict.is_some());
            assert!(step.agrees(), "replayed otherwise: {step:?}");
        }
        assert_eq!(verdicts, self.verdicts);
        self.seen
    }
}

fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Handled => "handled",
        Verdict::Started(_) => "started",
        Verdict::Ignored(_) => "ignored",
        Verdict::Refused(_) => "refused",
        Verdict::Batch(verdicts) => verdicts.first().map_or("empty", kind),
    }
}

// ------------------------------------------------------------------------------------ the alphabet

impl Play {
    /// To go where we were asked to.
    fn follow(&self, what: u8) -> Option<Command> {
        let (session, transfer) = self.asked.clone().filter(|_| (224..240).contains(&what))?;
        let media = CallMedia::Voice;
        Some(Command::Follow { session, transfer, room: room(what), media })
    }

    /// Also those that need another call.
    fn command(&self, what: u8) -> CallCommand {
        match (what, nth(&self.sessions, what)) {
            (240..=247, Some(other)) => CallCommand::Transfer(TransferTo::Call(*other)),
            (248.., _) => CallCommand::Transfer(TransferTo::User(user(2), Some(room(what)))),
            _ => command(what),
        }
    }
}

fn command(what: u8) -> CallCommand {
    let source = match what % 3 {
        0 => MediaSource::Microphone,
        1 => MediaSource::Camera,
        _ => MediaSource::Screen,
    };
    match what % 18 {
        0..=2 => CallCommand::Answer(None),
        3 => CallCommand::Answer(Some(CallMedia::Voice)),
        4 => CallCommand::Reject(Tell::Everyone),
        5 => CallCommand::Reject(Tell::Nobody),
        6 => CallCommand::Hangup,
        7 => CallCommand::Proceed,
        8 => CallCommand::Mute(source),
        9 => CallCommand::Unmute(source),
        10 => CallCommand::Hold,
        11 => CallCommand::Unhold,
        12 => CallCommand::Start(source),
        13 => CallCommand::Stop(source),
        14 => Tones::parse("12#").map_or(CallCommand::Hangup, CallCommand::Dtmf),
        15 => CallCommand::Switch(source, InputId::parse("another").ok()),
        16 => CallCommand::Switch(source, None),
        _ => CallCommand::RestartIce,
    }
}

fn fault(how: u8) -> Fault {
    match how % 9 {
        0 => Fault::Timeout,
        1 => Fault::Unreachable,
        2 => Fault::Denied,
        3 => Fault::NotFound,
        4 => Fault::RateLimited { retry_after: Some(Duration::from_secs(how.into())) },
        5 => Fault::Forbidden("M_FORBIDDEN".to_owned()),
        6 => Fault::Unsupported,
        7 => Fault::Failed("odd".to_owned()),
        _ => Fault::Panicked,
    }
}

fn some_reply(what: u8) -> Reply {
    match what % 5 {
        0 => Reply::Done,
        1 => described(SdpKind::Answer),
        2 => Reply::Members([user(1)].into()),
        3 => Reply::Turn(TurnServers { servers: Vec::new(), ttl: Duration::ZERO }),
        _ => Reply::Stats(Box::default()),
    }
}

fn proper_reply(op: &Op) -> Reply {
    match op {
        Op::Matrix(
            MatrixOp::SendEvent { .. }
            | MatrixOp::SendState { .. }
            | MatrixOp::SendClear { .. }
            | MatrixOp::Redact { .. },
        ) => Reply::Sent(EventId::parse("$sent").expect("an event id")),
        Op::Matrix(MatrixOp::Delay(DelayOp::Schedule { .. })) => {
            Reply::Scheduled(DelayId::parse("syd").expect("a delay id"))
        }
        Op::Matrix(MatrixOp::Delay(DelayOp::List { .. })) => Reply::Delayed(DelayedPage::default()),
        Op::Matrix(MatrixOp::Delay(_)) => Reply::Done,
        Op::Matrix(MatrixOp::SendToDevice { .. }) => Reply::ToDevice([].into()),
        Op::Fetch(Fetch::Turn) => {
            Reply::Turn(TurnServers { servers: Vec::new(), ttl: Duration::from_secs(600) })
        }
        Op::Fetch(Fetch::State(room)) => {
            let (room, extent) = (room.clone(), matrix_voip::wire::state::Extent::Whole);
            let events = Vec::new();
            Reply::State(Box::new(matrix_voip::wire::state::RoomState {
                room,
                extent,
                encrypted: Some(false),
                events,
            }))
        }
        Op::Fetch(Fetch::OpenId) => Reply::OpenId(OpenIdToken {
            access_token: Secret::new("open"),
            token_type: "Bearer".to_owned(),
            server_name: "example".to_owned(),
            expires_in: Duration::from_secs(60),
        }),
        Op::Fetch(Fetch::SfuToken(_)) => Reply::SfuToken(SfuToken {
            url: "wss://sfu.example".to_owned(),
            jwt: Secret::new("token"),
            lifetime: Some(Duration::from_secs(120)),
            identity: None,
        }),
        Op::Fetch(Fetch::Transports) => {
            let service_url = "https://sfu.example".to_owned();
            Reply::Transports(vec![Transport::Livekit { service_url }])
        }
        Op::Fetch(Fetch::KeyMaterial) => Reply::KeyMaterial(SecretBytes::new([7; 32])),
        Op::Keys(_, KeyOp::Ratchet { .. }) => Reply::Key(Some(SecretBytes::new([8; 32]))),
        Op::Keys(..) | Op::Sfu(..) => Reply::Done,
        Op::Fetch(Fetch::Members(_)) => Reply::Members([user(0), user(1)].into()),
        Op::Peer(_, PeerOp::Offer(_) | PeerOp::LocalDescription) => described(SdpKind::Offer),
        Op::Peer(_, PeerOp::Answer(_)) => described(SdpKind::Answer),
        Op::Peer(_, PeerOp::Stats) => Reply::Stats(Box::default()),
        Op::Peer(..) | Op::Save(_) => Reply::Done,
        Op::Track(..) => Reply::Done,
    }
}

fn described(kind: SdpKind) -> Reply {
    Reply::Description(Description { kind, sdp: SDP[0].replace("\\r\\n", "\r\n").into() })
}

fn news(what: u8) -> PeerNews {
    let mid = (what / 16 % 2).to_string();
    match what % 12 {
        0..=3 => PeerNews::State(PeerState::Connected),
        4 => PeerNews::State(PeerState::Connecting),
        5 => PeerNews::State(PeerState::Disconnected),
        6 => PeerNews::State(PeerState::Failed),
        7 => PeerNews::GatheringDone,
        8 => PeerNews::Candidate(Candidate {
            candidate: format!("candidate:{what} 1 udp 1 192.0.2.1 {what} typ host").into(),
            ..Candidate::end()
        }),
        9 => PeerNews::TrackAdded {
            mid,
            stream: StreamId::parse("theirs").ok(),
            kind: if what > 99 { MediaKind::Video } else { MediaKind::Audio },
        },
        10 => PeerNews::TrackRemoved { mid },
        _ => PeerNews::TrackEnded(matrix_voip::id::TrackId((what / 12).into())),
    }
}

/// Descriptions as they stand in JSON: of sound, of sound and picture, on hold, of nothing that can be used.
const SDP: [&str; 4] = [
    "v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\nm=audio 9 UDP/TLS/RTP/SAVPF 111\\r\\na=mid:0\\r\\na=ice-ufrag:abcd\\r\\na=ice-pwd:secret\\r\\na=fingerprint:sha-256 00:11\\r\\na=sendrecv\\r\\na=msid:theirs t\\r\\na=rtpmap:101 telephone-event/8000\\r\\n",
    "v=0\\r\\nm=audio 9 UDP/TLS/RTP/SAVPF 111\\r\\na=mid:0\\r\\na=ice-ufrag:abcd\\r\\na=ice-pwd:secret\\r\\na=fingerprint:sha-256 00:11\\r\\na=msid:theirs t\\r\\nm=video 9 UDP/TLS/RTP/SAVPF 96\\r\\na=mid:1\\r\\na=sendonly\\r\\n",
    "v=0\\r\\nm=audio 9 UDP/TLS/RTP/SAVPF 111\\r\\na=mid:0\\r\\na=ice-ufrag:abce\\r\\na=ice-pwd:secret\\r\\na=fingerprint:sha-256 00:11\\r\\na=inactive\\r\\n",
    "v=0\\r\\n",
];

/// What a member can say: the event type, and the fields beside those that all have.
fn said(what: u8) -> (&'static str, String) {
    let sdp = SDP[usize::from(what / 16 % 4)];
    match what % 16 {
        0..=3 => (
            "m.call.invite",
            format!(r#","lifetime":60000,"offer":{{"type":"offer","sdp":"{sdp}"}}"#),
        ),
        4 => (
            "m.call.invite",
            format!(
                r#","lifetime":60000,"invitee":"@ada:example","offer":{{"type":"offer","sdp":"{sdp}"}}"#
            ),
        ),
        5 | 6 => ("m.call.answer", format!(r#","answer":{{"type":"answer","sdp":"{sdp}"}}"#)),
        7 => (
            "m.call.candidates",
            format!(
                r#","candidates":[{{"candidate":"candidate:{what} 1 udp 1 192.0.2.2 9 typ host","sdpMid":"0"}},{{"candidate":""}}]"#
            ),
        ),
        8 => ("m.call.select_answer", r#","selected_party_id":"benparty""#.to_owned()),
        9 => ("m.call.reject", String::new()),
        10 => {
            let reason = if what > 128 { Reason::Replaced } else { Reason::UserHangup };
            ("m.call.hangup", format!(r#","reason":"{}""#, reason.as_str()))
        }
        11 | 12 => (
            "m.call.negotiate",
            format!(
                r#","lifetime":60000,"description":{{"type":"{}","sdp":"{sdp}"}}"#,
                if what % 16 == 11 { "offer" } else { "answer" }
            ),
        ),
        13 => (
            "m.call.sdp_stream_metadata_changed",
            r#","sdp_stream_metadata":{"theirs":{"purpose":"m.usermedia","audio_muted":true}}"#
                .to_owned(),
        ),
        14 => (
            "m.call.asserted_identity",
            r#","asserted_identity":{"display_name":"Carl"}"#.to_owned(),
        ),
        _ => (
            "m.call.replaces",
            format!(
                r#","replacement_id":"r","{}":"n1","target_user":{{"id":"@carl:example"}}"#,
                if what < 128 { "create_call" } else { "await_call" }
            ),
        ),
    }
}
