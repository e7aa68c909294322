//! Much of everything: memory stays bounded, nothing is lost, nothing secret is printed.

use std::collections::BTreeSet;

use matrix_voip::{
    config::{Busy, Config},
    id::SessionId,
    machine::{
        event::CallState,
        io::{
            CallCommand, Candidate, Fault, IceServer, Ignored, Input, Lifecycle, MediaKind,
            MediaSource, Network, Op, PeerNews, PeerState, Reply, RoomNews, Tell, TurnServers,
            Verdict,
        },
    },
    redact::Secret,
    wire::{
        call::{Body, Reason},
        delivery::Parsed,
        ledger::MAX_LEDGER_BYTES,
    },
};

use crate::rig::{Rig, answer, candidates, good, hangup, invite, millis, party, room, said, user};

/// A generator that a test can repeat.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// A batch as large as any is judged whole. How long it takes is for a bench; where it was
/// quadratic this took seconds.
fn judges_ten_thousand(make: impl Fn(usize) -> (Rig, Vec<Parsed>)) {
    let (mut rig, batch) = make(10_000);
    assert_eq!(rig.deliver("r", batch).len(), 10_000);
}

#[test]
fn invites_that_cannot_ring_and_forged_ends_of_the_same_call_are_judged_one_by_one() {
    judges_ten_thousand(|count| {
        let mut rig = Rig::new();
        for n in 0..8 {
            rig.hear("r", said("eve", &format!("x{n}"), invite()));
        }
        let mut batch = Vec::new();
        for _ in 0..count / 2 {
            batch.push(rig.event(said("eve", "c", invite())));
        }
        let parties: Vec<_> = (0..count / 2).map(|n| format!("p{n}")).collect();
        for party in &parties {
            batch.push(rig.event(said("eve", "c", hangup()).by(Some(party))));
        }
        (rig, batch)
    });
}

#[test]
fn invites_with_refusals_by_their_own_caller_are_judged_one_by_one() {
    judges_ten_thousand(|count| {
        let mut rig = Rig::new();
        rig.input(Input::Lifecycle(Lifecycle::Ending));
        let mut batch: Vec<_> =
            (0..count / 2).map(|_| rig.event(said("eve", "c", invite()))).collect();
        let reject = || Body::Reject { reason: None };
        batch.extend((0..count / 2).map(|_| rig.event(said("eve", "c", reject()))));
        (rig, batch)
    });
}

#[test]
fn calls_that_come_and_go_in_one_batch_leave_nothing() {
    let make = |count: usize| {
        let mut rig = Rig::new();
        let mut batch = Vec::new();
        for n in 0..count / 2 {
            let call = format!("x{n}");
            batch.push(rig.event(said("eve", &call, invite())));
            batch.push(rig.event(said("eve", &call, hangup())));
        }
        (rig, batch)
    };
    let (mut rig, batch) = make(10_000);
    rig.deliver("r", batch);
    assert!(rig.told.is_empty() && rig.ops.is_empty());
}

#[test]
fn parked_events_of_many_rooms_are_judged_one_by_one() {
    judges_ten_thousand(|count| {
        let mut rig = Rig::new();
        for n in 0..255 {
            let batch = (0..64).map(|_| rig.event(said("eve", "c", hangup()))).collect();
            rig.deliver(&format!("room{n}"), batch);
        }
        let batch = (0..count).map(|n| rig.event(said("eve", &format!("x{n}"), hangup())));
        let batch = batch.collect();
        (rig, batch)
    });
}

fn any_body(dice: &mut Dice) -> Body {
    match dice.below(9) {
        0 | 1 => invite(),
        2 => answer(),
        3 => hangup(),
        4 => Body::Hangup { reason: Some(Reason::parse(&"x".repeat(dice.below(200)))) },
        5 => Body::Reject { reason: None },
        6 => Body::SelectAnswer { selected: party("theirs") },
        7 => Body::MetadataChanged(Default::default()),
        _ => candidates(dice.below(4)),
    }
}

fn any_reply(dice: &mut Dice, op: &Op) -> Result<Reply, Fault> {
    match dice.below(12) {
        0 => Ok(Reply::Done),
        1 => Err(Fault::Timeout),
        2 => Err(Fault::Failed("x".into())),
        3 => Err(Fault::Forbidden("x".into())),
        4 => Err(Fault::RateLimited { retry_after: Some(millis(1)) }),
        5 => Err(Fault::Unsupported),
        6 => Ok(Reply::Members(BTreeSet::new())),
        _ => good(op).unwrap(),
    }
}

fn any_command(dice: &mut Dice) -> CallCommand {
    match dice.below(7) {
        0 | 1 => CallCommand::Answer(None),
        2 => CallCommand::Reject(Tell::Everyone),
        3 => CallCommand::Hangup,
        4 => CallCommand::Proceed,
        5 => CallCommand::Mute(MediaSource::Microphone),
        _ => CallCommand::Unmute(MediaSource::Camera),
    }
}

fn any_news(dice: &mut Dice) -> PeerNews {
    let line = format!("candidate:{} 1 udp 1 192.0.2.1 9 typ host", dice.below(1000));
    match dice.below(7) {
        0 => PeerNews::State(PeerState::Connected),
        1 => PeerNews::State(PeerState::Disconnected),
        2 => PeerNews::State(PeerState::Failed),
        3 => PeerNews::GatheringDone,
        4 => PeerNews::Candidate(Candidate { candidate: line.into(), ..Candidate::end() }),
        5 => PeerNews::State(PeerState::Connecting),
        _ => {
            let mid = dice.below(99).to_string();
            PeerNews::TrackAdded { mid, stream: None, kind: MediaKind::Video }
        }
    }
}

/// One of the latest calls.
fn recent(dice: &mut Dice, all: &[SessionId]) -> Option<SessionId> {
    let back = dice.below(all.len().clamp(1, 9));
    all.iter().rev().nth(back).copied()
}

/// Anything at all happens.
fn anything(rig: &mut Rig, dice: &mut Dice, sessions: &mut Vec<SessionId>) {
    match dice.below(20) {
        0 => {
            rig.engine.handle_timeout(rig.now);
            rig.now = rig.now.plus(millis(dice.below(9000) as u64));
            rig.engine.handle_timeout(rig.now);
        }
        1 => sessions.push(rig.place(["you", "eve", "carl"][dice.below(3)])),
        2..=4 if !sessions.is_empty() => {
            let session = recent(dice, sessions).unwrap();
            let command = any_command(dice);
            rig.command(session, command);
        }
        5..=8 if !sessions.is_empty() => {
            let session = recent(dice, sessions).unwrap();
            if let Some(peer) = rig.engine.peer(session) {
                let news = any_news(dice);
                rig.input(Input::Peer(peer, news));
            }
        }
        9..=11 if !rig.held.is_empty() => {
            let (id, op) = rig.held.swap_remove(dice.below(rig.held.len()));
            let reply = any_reply(dice, &op);
            rig.input(Input::Reply(id, reply.clone()));
            rig.input(Input::Reply(id, reply));
        }
        12 => drop(rig.input(Input::Network(Network::Back))),
        _ => {
            let sender = ["you", "eve", "carl", "me"][dice.below(4)];
            let call = match recent(dice, sessions).filter(|_| dice.0.is_multiple_of(2)) {
                Some(session) if rig.engine.snapshot(session).is_some() => rig.call_id(session),
                _ => format!("x{}", dice.below(1_000_000)),
            };
            let voice =
                said(sender, &call, any_body(dice)).by([None, Some("theirs")][dice.below(2)]);
            if let Verdict::Started(session) = rig.hear(["r", "s"][dice.below(2)], voice) {
                sessions.push(session);
            }
        }
    }
}

/// One that answers some requests at once and leaves others to `anything`.
fn moody(op: &Op) -> Option<Result<Reply, Fault>> {
    if matches!(op, Op::Peer(..) | Op::Save(_)) { good(op) } else { None }
}

#[test]
fn nothing_grows_over_a_hundred_thousand_hostile_events_and_nothing_is_left_of_them() {
    for policy in [Busy::Ignore, Busy::Reject, Busy::Ring] {
        let mut config = Config::default();
        config.busy = policy;
        let mut rig = Rig::with(config);
        rig.habit = moody;
        let (mut dice, mut sessions) = (Dice(0x9e37_79b9 + policy as u64), Vec::new());
        let mut sizes = Vec::new();
        for n in 0..33_400 {
            anything(&mut rig, &mut dice, &mut sessions);
            rig.settle();
            if n % 8_000 == 7_999 {
                sizes.push(format!("{:?}", rig.engine).len());
                rig.ops.clear();
                rig.told.clear();
            }
        }
        assert!(sizes[3] < sizes[1] * 2 + 100_000, "{sizes:?}");
        wind_up(&mut rig);
    }
}

/// Whatever happened: after the end of the process nothing is awaited and no ghost is kept.
fn wind_up(rig: &mut Rig) {
    rig.input(Input::Lifecycle(Lifecycle::Ending));
    rig.release(good);
    rig.pass(crate::rig::secs(200));
    rig.release(good);
    assert_eq!(rig.engine.poll_timeout(), None);
    assert!(rig.saved().live.is_empty());
    assert!(rig.saved().to_bytes().len() <= MAX_LEDGER_BYTES);
}

#[test]
fn a_ledger_of_the_longest_ids_full_of_controls_keeps_its_bound() {
    let mut rig = Rig::new();
    for n in 0..200 {
        let call = format!("{}{n:03}", "\u{1}\"".repeat(126));
        let session = rig.started("r", said("you", &call, invite()));
        rig.command(session, CallCommand::Reject(Tell::Nobody));
    }
    rig.pass(millis(100));
    let bytes = rig.saved().to_bytes().len();
    assert!(bytes <= MAX_LEDGER_BYTES && bytes > MAX_LEDGER_BYTES / 4, "{bytes}");
}

#[test]
fn an_outbox_that_cannot_send_loses_no_last_word() {
    let (mut rig, session) = Rig::new().talking();
    rig.habit = |op| match op {
        Op::Matrix(_) => Some(Err(Fault::Unreachable)),
        op => good(op),
    };
    let peer = rig.peer_of(session);
    for n in 0..100 {
        let muted = n % 2 == 0;
        let mute = if muted { CallCommand::Mute } else { CallCommand::Unmute };
        rig.command(session, mute(MediaSource::Microphone));
        let line = format!("candidate:{n} 1 udp 1 192.0.2.1 9 typ host");
        let candidate = Candidate { candidate: line.into(), ..Candidate::end() };
        rig.input(Input::Peer(peer, PeerNews::Candidate(candidate)));
        rig.now = rig.now.plus(millis(600));
        rig.engine.handle_timeout(rig.now);
        rig.settle();
        if rig.state(session) != Some(CallState::Connected) {
            panic!("{n}: {:?}", rig.engine.snapshot(session));
        }
    }
    rig.command(session, CallCommand::Mute(MediaSource::Microphone));
    rig.ops.clear();
    rig.habit = good;
    rig.input(Input::Network(Network::Back));
    let last = rig.ops.iter().rev().find_map(|op| match op {
        Op::Matrix(matrix_voip::machine::io::MatrixOp::SendEvent {
            event_type, content, ..
        }) if event_type.ends_with("metadata_changed") => Some(content.clone()),
        _ => None,
    });
    assert!(last.is_some_and(|content| content.contains(r#""audio_muted":true"#)));
    rig.command(session, CallCommand::Hangup);
    assert_eq!(rig.sent().last(), Some(&"hangup"));
}

#[test]
fn nothing_secret_stands_in_the_debug_form_of_an_engine_full_of_it() {
    let mut rig = Rig::new();
    rig.habit = |op| match op {
        Op::Fetch(matrix_voip::machine::io::Fetch::Turn) => {
            let server = IceServer {
                urls: vec!["turn:x".into()],
                username: "turn-user".into(),
                credential: Secret::new("turn-password"),
            };
            let ttl = crate::rig::secs(600);
            Some(Ok(Reply::Turn(TurnServers { servers: vec![server], ttl })))
        }
        op => crate::rig::deaf_server(op),
    };
    let mut seen = String::new();
    rig.place("you");
    rig.pass(millis(300));
    let session = rig.started("r", said("eve", "c", invite()));
    rig.hear("r", said("eve", "c", candidates(9)));
    rig.hear("r", said("eve", "parked", candidates(9)));
    rig.command(session, CallCommand::Answer(None));
    rig.pass(millis(300));
    seen += &format!("{:?} {:?} {:?} {:?}", rig.engine, rig.ops, rig.told, rig.held);
    for secret in ["ice-pwd", "abcdefghijkl", "192.0.2", "turn-user", "turn-password", "v=0"] {
        assert!(!seen.contains(secret), "{secret}");
    }
}

#[test]
fn events_of_a_room_that_we_left_or_of_somebody_who_left_start_nothing() {
    let mut rig = Rig::new();
    let members = BTreeSet::from([user("me"), user("you"), user("eve")]);
    rig.input(Input::Room(room("r"), RoomNews::Members(members)));
    rig.input(Input::Room(room("r"), RoomNews::Left(user("eve"))));
    let outside = Verdict::Ignored(Ignored::NotInRoom);
    assert_eq!(rig.hear("r", said("eve", "c", invite())), outside);
    let session = rig.started("r", said("you", "d", invite()));
    rig.input(Input::Room(room("r"), RoomNews::Left(user("me"))));
    assert_eq!(rig.state(session), None);
    assert!(rig.sent().is_empty());
}
