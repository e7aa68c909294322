//! The cells: every phase of a call against everything that can happen to it.
//!
//! The table stands in `cells.txt` beside this file: what came of it, and the state afterwards.
//! A new body, phase or command makes the test fail until somebody has looked at the new rows and
//! written them down with `UPDATE_CELLS=1 cargo test -p matrix-voip --test cells`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use matrix_voip::{
    config::Config,
    id::{CallId, DeviceId, EventId, OpId, PartyId, PeerId, RoomId, SessionId, UserId},
    machine::{
        Engine, Identity,
        event::CallState,
        io::{
            CallCommand, CallMedia, Callee, Command, Description, Fetch, Ignored, Input, MatrixOp,
            MediaSource, Op, Output, PeerNews, PeerOp, PeerState, Refusal, Reply, Tell, Tones,
            TrackOp, TurnServers, Verdict,
        },
    },
    sdp,
    time::{Mono, Now, Wall},
    wire::{
        call::{
            Answer, Body, CallMessage, Candidate, Capabilities, Header, Identity as Asserted,
            Invite, Negotiate, Replaces, SdpKind, Version,
        },
        delivery::{Delivery, Facts, Parsed, Place, Protection},
        metadata::StreamMetadata,
    },
};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11\r\na=setup:actpass\r\n\
    a=sendrecv\r\n";

/// One engine in one phase of one call, with a host that answers everything but what it holds.
#[derive(Clone)]
struct Rig {
    engine: Engine,
    now: Now,
    session: SessionId,
    call: CallId,
    hold: Hold,
    held: Vec<(OpId, Op)>,
    peer: Option<PeerId>,
    events: u64,
}

/// Which requests are left unanswered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nothing,
    Capture,
    Sends,
}

fn user(name: &str) -> UserId {
    UserId::parse(format!("@{name}:x")).unwrap()
}

fn room() -> RoomId {
    RoomId::parse("!r:x").unwrap()
}

fn party(name: &str) -> PartyId {
    PartyId::parse(name).unwrap()
}

fn description(kind: SdpKind) -> Description {
    assert_eq!(sdp::check(SDP), Ok(()));
    Description { kind, sdp: SDP.into() }
}

impl Rig {
    fn new(hold: Hold) -> Self {
        let identity = Identity { user: user("me"), device: DeviceId::parse("MINE").unwrap() };
        Self {
            engine: Engine::new(identity, Config::default(), 1),
            now: Now { mono: Mono(Duration::from_secs(100)), wall: Wall(1_000_000_000) },
            session: SessionId(1),
            call: CallId::parse("theirs").unwrap(),
            hold,
            held: Vec::new(),
            peer: None,
            events: 0,
        }
    }

    fn outgoing(hold: Hold) -> Self {
        let mut rig = Self::new(hold);
        let callee = Callee::User(user("you"));
        let invite = Command::Invite { room: room(), callee, media: CallMedia::Voice };
        assert_eq!(rig.input(Input::Command(invite)), Verdict::Started(rig.session));
        rig.call = rig.engine.snapshot(rig.session).unwrap().call_id;
        rig
    }

    fn incoming(hold: Hold) -> Self {
        let mut rig = Self::new(hold);
        let verdict = rig.hear("you", Some("theirs"), invite());
        assert_eq!(verdict, Verdict::Started(rig.session));
        rig
    }

    fn input(&mut self, input: Input) -> Verdict {
        let verdict = self.engine.handle(self.now, input);
        self.settle();
        verdict
    }

    fn command(&mut self, command: CallCommand) -> Verdict {
        self.input(Input::Command(Command::Call(self.session, command)))
    }

    fn peer_state(&mut self, state: PeerState) {
        let peer = self.peer.expect("a peer is open");
        self.input(Input::Peer(peer, PeerNews::State(state)));
    }

    /// An event of the call arrives in a batch of its own.
    fn hear(&mut self, sender: &str, party_id: Option<&str>, body: Body) -> Verdict {
        self.events += 1;
        let facts = Facts {
            event_id: Some(EventId::parse(format!("${}", self.events)).unwrap()),
            sender: user(sender),
            device: None,
            protection: Protection::Clear,
            sent: None,
            age: None,
        };
        let header = Header {
            call_id: self.call.clone(),
            party_id: party_id.map(party),
            version: Version::V1,
            device_id: None,
            leg: None,
        };
        let event = Ok(CallMessage { header, body }.into());
        let parsed = Parsed { facts, event, event_type: "m.call.x".into() };
        let place = Place::Room { room: room(), encrypted: false };
        let delivery = Delivery { place, events: vec![parsed] };
        match self.input(Input::Deliver(delivery)) {
            Verdict::Batch(mut verdicts) => verdicts.remove(0),
            other => other,
        }
    }

    /// Answers every request that is not held.
    fn settle(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            let Output::Request { id, op } = output else { continue };
            if let Op::Peer(peer, PeerOp::Open(_)) = &op {
                self.peer = Some(*peer);
            }
            let held = match self.hold {
                Hold::Nothing => false,
                Hold::Capture => matches!(op, Op::Track(_, TrackOp::Capture(..))),
                Hold::Sends => matches!(op, Op::Matrix(_)),
            };
            if held {
                self.held.push((id, op));
            } else {
                self.engine.handle(self.now, Input::Reply(id, Ok(reply(&op))));
            }
        }
    }

    fn state(&self) -> String {
        self.engine.snapshot(self.session).map_or("gone".into(), |shown| shown.state.to_string())
    }
}

fn reply(op: &Op) -> Reply {
    match op {
        Op::Matrix(_) => Reply::Sent(EventId::parse("$sent").unwrap()),
        Op::Fetch(Fetch::State(_) | Fetch::OpenId | Fetch::SfuToken(_))
        | Op::Fetch(Fetch::Transports | Fetch::KeyMaterial)
        | Op::Sfu(..)
        | Op::Keys(..) => panic!("a call of two asks for no such thing"),
        Op::Fetch(Fetch::Turn) => {
            Reply::Turn(TurnServers { servers: vec![], ttl: Duration::from_secs(86_400) })
        }
        Op::Fetch(Fetch::Members(_)) => Reply::Members(BTreeSet::from([user("me"), user("you")])),
        Op::Peer(_, PeerOp::Offer(_) | PeerOp::LocalDescription) => {
            Reply::Description(description(SdpKind::Offer))
        }
        Op::Peer(_, PeerOp::Answer(_)) => Reply::Description(description(SdpKind::Answer)),
        Op::Peer(..) | Op::Track(..) | Op::Save(_) => Reply::Done,
    }
}

fn invite() -> Body {
    Body::Invite(Invite {
        offer: SDP.into(),
        lifetime: Duration::from_secs(60),
        invitee: None,
        invitee_device: None,
        capabilities: Capabilities::default(),
        streams: None,
    })
}

fn answer() -> Body {
    Body::Answer(Answer { sdp: SDP.into(), capabilities: Capabilities::default(), streams: None })
}

/// Passes the 200 ms for which a description waits for candidates.
fn gather(mut rig: Rig) -> Rig {
    rig.now = rig.now.plus(Duration::from_millis(200));
    rig.engine.handle_timeout(rig.now);
    rig.settle();
    rig
}

/// Every phase, by the shortest way to it.
fn phases() -> Vec<(&'static str, Rig)> {
    let sent = gather(Rig::outgoing(Hold::Nothing));
    let mut answered = sent.clone();
    answered.hear("you", Some("theirs"), answer());
    let mut connected = answered.clone();
    connected.peer_state(PeerState::Connected);
    let ringing = Rig::incoming(Hold::Nothing);
    let mut answering = Rig::incoming(Hold::Capture);
    answering.command(CallCommand::Answer(None));
    let mut taken = ringing.clone();
    taken.command(CallCommand::Answer(None));
    let taken = gather(taken);
    let mut talking = taken.clone();
    talking.peer_state(PeerState::Connected);
    let mut ended = gather(Rig::outgoing(Hold::Nothing));
    ended.hold = Hold::Sends;
    ended.command(CallCommand::Hangup);
    vec![
        ("out preparing", Rig::outgoing(Hold::Capture)),
        ("out inviting", gather(Rig::outgoing(Hold::Sends))),
        ("out invite_sent", sent),
        ("out connecting", answered),
        ("out connected", connected),
        ("in ringing", ringing),
        ("in answering", answering),
        ("in connecting", taken),
        ("in connected", talking),
        ("ended", ended),
    ]
}

fn bodies(ours: &PartyId) -> Vec<(&'static str, Body)> {
    let selected = |party: &PartyId| Body::SelectAnswer { selected: party.clone() };
    let negotiate = Negotiate {
        description: description(SdpKind::Offer),
        lifetime: None,
        capabilities: None,
        streams: None,
    };
    vec![
        ("invite", invite()),
        ("candidates", Body::Candidates(vec![Candidate::end()])),
        ("answer", answer()),
        ("select us", selected(ours)),
        ("select other", selected(&party("other"))),
        ("reject", Body::Reject { reason: None }),
        ("hangup", Body::Hangup { reason: None }),
        ("negotiate", Body::Negotiate(negotiate)),
        ("metadata", Body::MetadataChanged(StreamMetadata::new())),
        ("identity", Body::AssertedIdentity(Asserted::default())),
        ("replaces", Body::Replaces(Replaces::default())),
    ]
}

fn outcome(verdict: &Verdict, before: &str, after: &str) -> String {
    let verdict = match verdict {
        Verdict::Handled => "Handled".to_owned(),
        Verdict::Started(_) => "Started".to_owned(),
        Verdict::Ignored(reason) => format!("{reason:?}"),
        Verdict::Refused(refusal) => format!("refused: {refusal}"),
        Verdict::Batch(_) => "Batch".to_owned(),
    };
    if before == after { verdict } else { format!("{verdict} -> {after}") }
}

fn messages_table(table: &mut String) {
    let (_, rig) = &phases()[0];
    let ours = rig.engine.snapshot(rig.session).unwrap().party_id;
    let ours_text = ours.as_str();
    let voices = [
        ("we", "me", Some(ours_text)),
        ("remote", "you", Some("theirs")),
        ("other party", "you", Some("other")),
        ("no party", "you", None),
        ("our device", "me", Some("second")),
        ("stranger", "eve", Some("theirs")),
    ];
    for (phase, rig) in phases() {
        for (name, body) in bodies(&ours) {
            for (voice, sender, party) in voices {
                let (mut rig, before) = (rig.clone(), rig.state());
                let verdict = rig.hear(sender, party, body.clone());
                let outcome = outcome(&verdict, &before, &rig.state());
                writeln!(table, "{phase:<16} {name:<13} {voice:<12} {outcome}").unwrap();
            }
        }
    }
}

fn commands_table(table: &mut String) {
    let commands = [
        ("answer", CallCommand::Answer(None)),
        ("reject", CallCommand::Reject(Tell::Everyone)),
        ("reject silently", CallCommand::Reject(Tell::Nobody)),
        ("hangup", CallCommand::Hangup),
        ("proceed", CallCommand::Proceed),
        ("mute microphone", CallCommand::Mute(MediaSource::Microphone)),
        ("mute camera", CallCommand::Mute(MediaSource::Camera)),
        ("hold", CallCommand::Hold),
        ("unhold", CallCommand::Unhold),
        ("start camera", CallCommand::Start(MediaSource::Camera)),
        ("stop camera", CallCommand::Stop(MediaSource::Camera)),
        ("start screen", CallCommand::Start(MediaSource::Screen)),
        ("switch microphone", CallCommand::Switch(MediaSource::Microphone, None)),
        ("tones", CallCommand::Dtmf(Tones::parse("1").unwrap())),
        ("restart ice", CallCommand::RestartIce),
    ];
    for (phase, rig) in phases() {
        for (name, command) in commands.clone() {
            let (mut rig, before) = (rig.clone(), rig.state());
            let verdict = rig.command(command);
            let outcome = outcome(&verdict, &before, &rig.state());
            writeln!(table, "{phase:<16} {name:<26} {outcome}").unwrap();
        }
    }
}

fn peer_table(table: &mut String) {
    let states =
        [PeerState::Connecting, PeerState::Connected, PeerState::Disconnected, PeerState::Failed];
    for (phase, rig) in phases() {
        let Some(peer) = rig.peer else { continue };
        for state in states {
            let (mut rig, before) = (rig.clone(), rig.state());
            let verdict = rig.input(Input::Peer(peer, PeerNews::State(state)));
            let outcome = outcome(&verdict, &before, &rig.state());
            writeln!(table, "{phase:<16} {:<26} {outcome}", format!("peer {state:?}")).unwrap();
        }
    }
}

#[test]
fn every_phase_has_a_verdict_for_everything() {
    let mut table = String::new();
    messages_table(&mut table);
    commands_table(&mut table);
    peer_table(&mut table);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cells.txt");
    if std::env::var_os("UPDATE_CELLS").is_some() {
        std::fs::write(file, &table).unwrap();
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    for (got, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(got, expected);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

#[test]
fn the_phases_of_the_table_are_what_they_are_called() {
    let expected = [
        CallState::Preparing,
        CallState::Preparing,
        CallState::InviteSent,
        CallState::Connecting,
        CallState::Connected,
        CallState::Ringing,
        CallState::Answering,
        CallState::Connecting,
        CallState::Connected,
        CallState::Ended,
    ];
    for ((name, rig), expected) in phases().into_iter().zip(expected) {
        assert_eq!(rig.state(), expected.to_string(), "{name}");
    }
}

#[test]
fn engines_that_will_behave_alike_have_the_same_fingerprint() {
    for (name, rig) in phases() {
        let print = rig.engine.fingerprint();
        assert_eq!(rig.clone().engine.fingerprint(), print, "{name}");
        let others = phases().into_iter().filter(|(other, _)| *other != name);
        for (other, rig) in others {
            assert_ne!(rig.engine.fingerprint(), print, "{name} and {other}");
        }
    }
}

#[test]
fn what_is_ignored_is_counted_by_its_kind_with_its_sender() {
    let mut rig = Rig::incoming(Hold::Nothing);
    rig.hear("eve", Some("theirs"), Body::Hangup { reason: None });
    rig.input(Input::Peer(PeerId(77), PeerNews::GatheringDone));
    rig.input(Input::Reply(OpId(77), Ok(Reply::Done)));
    let diagnostics = rig.engine.diagnostics();
    let latest: Vec<_> = diagnostics.latest().collect();
    let seen: Vec<_> = latest.iter().map(|case| (case.what.as_str(), case.reason)).collect();
    let expected = [
        ("m.call.x", Ignored::WrongSender),
        ("peer", Ignored::UnknownPeer),
        ("reply", Ignored::StaleReply),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        (latest[0].sender.clone(), latest[0].session),
        (Some(user("eve")), Some(rig.session))
    );
    assert_eq!((latest[1].sender.clone(), latest[0].at), (None, rig.now.wall));
    assert_eq!(diagnostics.count(Ignored::WrongSender), 1);
    assert_eq!(diagnostics.counts().values().copied().collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn an_ignored_user_cannot_ring_but_can_end_the_call_that_he_is_in() {
    let mut rig = Rig::incoming(Hold::Nothing);
    rig.input(Input::IgnoredUsers(BTreeSet::from([user("you")])));
    let old = std::mem::replace(&mut rig.call, CallId::parse("new").unwrap());
    assert_eq!(rig.hear("you", Some("theirs"), invite()), Verdict::Ignored(Ignored::IgnoredUser));
    rig.call = old;
    rig.hear("you", Some("theirs"), Body::Hangup { reason: None });
    assert_eq!(rig.state(), "gone");
}

#[test]
fn nobody_calls_himself_without_naming_another_device() {
    let mut rig = Rig::new(Hold::Nothing);
    let device = |name| Callee::Device(user("me"), DeviceId::parse(name).unwrap());
    for callee in [Callee::User(user("me")), device("MINE")] {
        let invite = Command::Invite { room: room(), callee, media: CallMedia::Voice };
        let verdict = rig.input(Input::Command(invite));
        assert_eq!(verdict, Verdict::Refused(Refusal::CallingOurselves));
    }
    for callee in [Callee::User(user("you")), device("OTHER")] {
        let invite = Command::Invite { room: room(), callee, media: CallMedia::Voice };
        assert!(matches!(rig.input(Input::Command(invite)), Verdict::Started(_)));
    }
}

#[test]
fn a_call_has_a_peer_connection_from_its_opening_to_its_end() {
    let mut rig = gather(Rig::outgoing(Hold::Nothing));
    assert_eq!(rig.engine.peer(rig.session), rig.peer);
    assert!(rig.peer.is_some());
    rig.command(CallCommand::Hangup);
    assert_eq!(rig.engine.peer(rig.session), None);
}

#[test]
fn what_is_sent_prints_as_a_length() {
    let send = MatrixOp::SendEvent {
        room: room(),
        event_type: "m.call.invite".into(),
        content: r#"{"offer":{"sdp":"v=0"}}"#.into(),
        transaction: "t".into(),
    };
    let shown = format!("{send:?}");
    assert!(shown.contains("m.call.invite") && shown.contains("content_bytes: 23"), "{shown}");
    assert!(!shown.contains("v=0"), "{shown}");
}

#[test]
fn a_difference_inside_a_call_is_a_difference_of_the_engine() {
    let ringing = Rig::incoming(Hold::Nothing);
    let mut muted = ringing.clone();
    muted.command(CallCommand::Mute(MediaSource::Microphone));
    assert_ne!(muted.engine.fingerprint(), ringing.engine.fingerprint());
    muted.command(CallCommand::Unmute(MediaSource::Microphone));
    muted.command(CallCommand::Mute(MediaSource::Microphone));
    let mut once = ringing.clone();
    once.command(CallCommand::Mute(MediaSource::Microphone));
    assert_eq!(muted.engine.fingerprint(), once.engine.fingerprint());
}
