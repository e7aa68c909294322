//! Hosts that answer wrongly, twice, late or with every fault there is.

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::{
    id::SessionId,
    machine::{
        event::{CallState, EndReason},
        io::{
            CallCommand, CallMedia, Callee, Command, Fault, Ignored, Input, Lifecycle, Op, Output,
            PeerOp, Reply, TrackOp, TurnServers, Verdict,
        },
    },
    wire::call::SdpKind,
};

use crate::rig::{Rig, answer, deaf_server, good, hangup, invite, millis, room, said, secs, user};

fn faults() -> Vec<Fault> {
    vec![
        Fault::Timeout,
        Fault::Cancelled,
        Fault::Panicked,
        Fault::Denied,
        Fault::NotFound,
        Fault::Unreachable,
        Fault::RateLimited { retry_after: None },
        Fault::RateLimited { retry_after: Some(secs(3)) },
        Fault::LoggedOut,
        Fault::Forbidden("M_FORBIDDEN".into()),
        Fault::Unsupported,
        Fault::Failed("x".into()),
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Done,
        Reply::Sent("$x".parse().unwrap()),
        Reply::Turn(TurnServers { servers: vec![], ttl: secs(0) }),
        Reply::Members(BTreeSet::new()),
        Reply::Description(matrix_voip::machine::io::Description {
            kind: SdpKind::Answer,
            sdp: "".into(),
        }),
        Reply::Stats(Box::default()),
    ]
}

/// A call each way, with every reply in the hand of the test.
fn scenarios() -> Vec<Rig> {
    let mut outgoing = Rig::new();
    outgoing.habit = |_| None;
    let callee = Callee::TheOther;
    let place = Command::Invite { room: room("r"), callee, media: CallMedia::Video };
    outgoing.input(Input::Command(place));
    let mut incoming = Rig::new();
    incoming.habit = |_| None;
    let session = incoming.started("r", said("you", "c", invite()));
    incoming.command(session, CallCommand::Answer(None));
    vec![outgoing, incoming]
}

/// Answers the requests one by one: the one at `odd` oddly, all others well.
fn play(mut rig: Rig, odd: usize, reply: &Result<Reply, Fault>) -> Rig {
    for step in 0..40 {
        if rig.held.is_empty() {
            rig.now = rig.now.plus(millis(200));
            rig.engine.handle_timeout(rig.now);
            rig.settle();
        }
        if rig.held.is_empty() {
            break;
        }
        let (id, op) = rig.held.remove(0);
        let reply = if step == odd { reply.clone() } else { good(&op).unwrap() };
        rig.input(Input::Reply(id, reply.clone()));
        let again = rig.input(Input::Reply(id, reply));
        assert_eq!(again, Verdict::Ignored(Ignored::StaleReply), "{op:?}");
    }
    rig
}

/// However it went: it ends, everything is closed, nothing is awaited for ever.
fn comes_to_an_end(mut rig: Rig, what: &str) {
    rig.input(Input::Lifecycle(Lifecycle::Ending));
    rig.release(good);
    for _ in 0..20 {
        rig.pass(secs(30));
        rig.release(good);
    }
    let opened = rig.ops.iter().filter(|op| format!("{op:?}").contains("Open(")).count();
    let closed = rig.ops.iter().filter(|op| format!("{op:?}").contains("Close")).count();
    let captured = rig.ops.iter().filter(|op| format!("{op:?}").contains("Capture(")).count();
    let released = rig.ops.iter().filter(|op| format!("{op:?}").contains("Release")).count();
    assert_eq!((opened, captured), (closed, released), "{what}");
    assert_eq!(rig.engine.poll_timeout(), None, "{what}");
    assert!(rig.saved().live.is_empty(), "{what}");
    let ended = |output: &&Output| format!("{output:?}").contains("CallEnded");
    assert_eq!(rig.told.iter().filter(ended).count(), 1, "{what}");
}

#[test]
fn a_capture_and_a_connection_name_the_call_that_they_are_for() {
    let mut rig = Rig::new();
    let first = rig.started("r", said("you", "a", invite()));
    let second = rig.started("other", said("you", "b", invite()));
    for session in [second, first] {
        rig.ops.clear();
        rig.command(session, CallCommand::Answer(None));
        let named: Vec<_> = rig.ops.iter().filter_map(session_named_by).collect();
        assert_eq!(named, [session, session]);
        rig.command(session, CallCommand::Hangup);
    }
}

fn session_named_by(op: &Op) -> Option<SessionId> {
    match op {
        Op::Track(_, TrackOp::Capture(session, _)) => Some(*session),
        Op::Peer(_, PeerOp::Open(config)) => Some(config.session),
        _ => None,
    }
}

#[test]
fn while_something_waits_to_be_done_the_machine_is_due_at_once() {
    let mut rig = Rig::new();
    let callee = Callee::User(user("you"));
    let command = Command::Invite { room: room("r"), callee, media: CallMedia::Voice };
    rig.engine.handle(rig.now, Input::Command(command));
    assert_eq!(rig.engine.poll_timeout(), Some(Duration::ZERO));
    while rig.engine.poll_output().is_some() {}
    assert_ne!(rig.engine.poll_timeout(), Some(Duration::ZERO));
}

#[test]
fn every_fault_and_every_wrong_reply_at_every_request_ends_in_order() {
    let faults = faults().into_iter().map(Err);
    for reply in faults.chain(replies().into_iter().map(Ok)) {
        for odd in 0..16 {
            for rig in scenarios() {
                let rig = play(rig, odd, &reply);
                comes_to_an_end(rig, &format!("{reply:?} at {odd}"));
            }
        }
    }
}

#[test]
fn replies_after_the_end_change_nothing() {
    for mut rig in scenarios() {
        let held = rig.held.clone();
        rig.command(matrix_voip::id::SessionId(1), CallCommand::Hangup);
        rig.habit = good;
        let before = (rig.ops.len(), rig.told.len());
        for (id, op) in held {
            rig.input(Input::Reply(id, good(&op).unwrap()));
        }
        let peers = rig.ops[before.0..].iter().filter(|op| matches!(op, Op::Peer(..))).count();
        assert_eq!(peers, 0, "nothing is opened after the end");
    }
}

#[test]
fn a_delegate_that_says_logged_out_harms_no_other_call() {
    let (mut rig, talk) = Rig::new().talking();
    rig.habit = |op| match op {
        Op::Track(..) => Some(Err(Fault::LoggedOut)),
        op => good(op),
    };
    let other = rig.place("carl");
    assert_eq!(rig.state(other), None);
    assert_eq!(rig.state(talk), Some(CallState::Connected));
}

#[test]
fn a_store_that_says_logged_out_harms_no_call() {
    let mut rig = Rig::new();
    rig.habit = |op| match op {
        Op::Save(_) => Some(Err(Fault::LoggedOut)),
        op => good(op),
    };
    let (rig, session) = rig.calling();
    assert_eq!(rig.state(session), Some(CallState::InviteSent));
}

#[test]
fn a_homeserver_that_says_logged_out_ends_every_call_without_a_word() {
    let (mut rig, talk) = Rig::new().talking();
    rig.habit = |op| match op {
        Op::Matrix(_) => Some(Err(Fault::LoggedOut)),
        op => good(op),
    };
    let other = rig.place("carl");
    rig.ops.clear();
    rig.pass(millis(200));
    assert_eq!((rig.state(talk), rig.state(other)), (None, None));
    assert_eq!(rig.sent(), ["invite"], "the try, and no farewell after it");
    rig.pass(secs(100));
    assert_eq!(rig.engine.poll_timeout(), None);
}

#[test]
fn a_crash_in_any_phase_is_made_good_by_one_hangup_or_by_silence() {
    let mut preparing = Rig::new();
    preparing.place("you");
    let mut inviting = Rig::new();
    inviting.habit = deaf_server;
    inviting.place("you");
    let (sent, _) = Rig::new().calling();
    let (mut connecting, session) = Rig::new().calling();
    let id = connecting.call_id(session);
    connecting.hear("r", said("you", &id, answer()));
    let (connected, _) = Rig::new().talking();
    let mut ringing = Rig::new();
    ringing.started("r", said("you", "c", invite()));
    let (mut over, session) = Rig::new().talking();
    over.command(session, CallCommand::Hangup);
    let cases = [
        (preparing, 0),
        (inviting, 1),
        (sent, 1),
        (connecting, 1),
        (connected, 1),
        (ringing, 0),
        (over, 0),
    ];
    for (at, (mut rig, hangups)) in cases.into_iter().enumerate() {
        if at == 1 {
            rig.pass(millis(200));
        }
        if at > 0 {
            rig.pass(millis(60));
        }
        rig.habit = good;
        rig.restart();
        assert_eq!(rig.sent(), vec!["hangup"; hangups], "case {at}");
        rig.pass(secs(100));
        assert!(rig.told.is_empty(), "nobody is told of a ghost");
        // A second life has nothing to say.
        if hangups > 0 {
            assert!(rig.saved().live.is_empty(), "case {at}");
        }
    }
}

#[test]
fn a_crash_during_the_hangup_of_a_ghost_leaves_the_ghost_in_the_ledger() {
    let (mut rig, _) = Rig::new().talking();
    rig.pass(millis(60));
    rig.habit = deaf_server;
    rig.restart();
    assert_eq!(rig.held.len(), 1);
    rig.pass(secs(1));
    rig.hear("r", said("you", "x", invite()));
    rig.hear("r", said("you", "x", hangup()));
    rig.pass(secs(1));
    assert_eq!(rig.saved().live.len(), 1);
    rig.restart();
    assert_eq!(rig.sent(), ["hangup"]);
}

#[test]
fn a_ledger_with_the_same_call_twice_hangs_up_and_is_done() {
    let (mut rig, _) = Rig::new().talking();
    rig.pass(millis(60));
    let mut ledger = rig.saved();
    ledger.live.push(ledger.live[0].clone());
    let mut fresh = Rig::new();
    fresh.engine.restore(fresh.now, ledger);
    fresh.settle();
    fresh.pass(secs(100));
    assert_eq!(fresh.engine.poll_timeout(), None);
    assert!(fresh.saved().live.is_empty());
    let _ = EndReason::ShutDown;
}
