//! Commands at every moment of a call: mutes, permission, hangups, endings.

use matrix_voip::{
    config::{Config, Proceed},
    machine::{
        event::{CallState, VoipEvent},
        io::{
            CallCommand, Ignored, Input, MatrixOp, MediaSource, Op, Output, PeerState, TrackOp,
            Verdict,
        },
    },
};

use crate::rig::{Rig, answer, good, invite, millis, said, secs};

/// Plays a call both ways, one reply at a time, and does something before reply number `at`.
fn play(config: &Config, outgoing: bool, at: usize, deed: &dyn Fn(&mut Rig)) -> (Rig, bool) {
    let mut rig = Rig::with(config.clone());
    rig.habit = |_| None;
    let session = if outgoing {
        rig.place("you")
    } else {
        let session = rig.started("r", said("you", "c", invite()));
        rig.command(session, CallCommand::Answer(None));
        session
    };
    let mut done = false;
    let mut connected = false;
    for step in 0..40 {
        if step == at {
            deed(&mut rig);
            done = true;
        }
        if let Some((id, op)) = (!rig.held.is_empty()).then(|| rig.held.remove(0)) {
            rig.input(Input::Reply(id, good(&op).unwrap()));
            continue;
        }
        match rig.state(session) {
            Some(CallState::InviteSent) => {
                let id = rig.call_id(session);
                rig.hear("r", said("you", &id, answer()));
            }
            Some(CallState::Connecting) if !connected => {
                connected = true;
                rig.peer(session, PeerState::Connected);
            }
            _ => rig.pass(millis(200)),
        }
    }
    (rig, done)
}

/// What the other side was told last of our sound.
fn told_muted(rig: &Rig) -> Option<bool> {
    let mut told = rig.ops.iter().filter_map(|op| match op {
        Op::Matrix(MatrixOp::SendEvent { content, .. }) if content.contains("audio_muted") => {
            Some(content.contains(r#""audio_muted":true"#))
        }
        _ => None,
    });
    told.next_back()
}

/// Whether the microphone sends, as the delegate was told last.
fn sends(rig: &Rig) -> bool {
    let mut told = rig.ops.iter().filter_map(|op| match op {
        Op::Track(_, TrackOp::Enable(on)) => Some(*on),
        _ => None,
    });
    told.next_back().unwrap_or(true)
}

#[test]
fn a_mute_at_any_moment_reaches_the_track_and_the_other_side() {
    let session = matrix_voip::id::SessionId(1);
    for outgoing in [true, false] {
        for at in 0..30 {
            for twice in [false, true] {
                let (rig, done) = play(&Config::default(), outgoing, at, &|rig| {
                    rig.command(session, CallCommand::Mute(MediaSource::Microphone));
                    if twice {
                        rig.command(session, CallCommand::Unmute(MediaSource::Microphone));
                    }
                });
                assert!(done);
                assert_eq!(rig.state(session), Some(CallState::Connected), "{outgoing} {at}");
                assert_eq!(told_muted(&rig), Some(!twice), "{outgoing} {at}");
                assert_eq!(sends(&rig), twice, "{outgoing} {at}");
            }
        }
    }
}

#[test]
fn a_hangup_at_any_moment_ends_the_call_and_leaves_nothing() {
    let session = matrix_voip::id::SessionId(1);
    for outgoing in [true, false] {
        for at in 0..30 {
            let hang_up = |rig: &mut Rig| drop(rig.command(session, CallCommand::Hangup));
            let (mut rig, _) = play(&Config::default(), outgoing, at, &hang_up);
            rig.release(good);
            rig.pass(secs(100));
            rig.release(good);
            assert_eq!(rig.state(session), None, "{outgoing} {at}");
            assert_eq!(rig.engine.poll_timeout(), None, "{outgoing} {at}");
            let invited = rig.sent().contains(&"invite");
            let parted = rig.sent().iter().filter(|e| matches!(**e, "hangup" | "reject")).count();
            assert_eq!(parted, usize::from(invited || !outgoing), "{outgoing} {at}");
            assert!(rig.saved().live.is_empty());
        }
    }
}

#[test]
fn with_manual_permission_nothing_is_captured_before_it_whenever_it_comes() {
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let session = matrix_voip::id::SessionId(1);
    for outgoing in [true, false] {
        for at in 0..12 {
            let (rig, _) = play(&config, outgoing, at, &|rig| {
                assert!(rig.ops.iter().all(|op| !matches!(op, Op::Track(..) | Op::Peer(..))));
                assert_eq!(rig.command(session, CallCommand::Proceed), Verdict::Handled);
                rig.command(session, CallCommand::Proceed);
            });
            assert_eq!(rig.state(session), Some(CallState::Connected), "{outgoing} {at}");
            let captures = |op: &&Op| matches!(op, Op::Track(_, TrackOp::Capture(..)));
            assert_eq!(rig.ops.iter().filter(captures).count(), 1);
        }
    }
}

#[test]
fn permission_for_a_call_that_rings_answers_nothing() {
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let mut rig = Rig::with(config);
    let session = rig.started("r", said("you", "c", invite()));
    rig.command(session, CallCommand::Proceed);
    assert_eq!(rig.state(session), Some(CallState::Ringing));
    assert!(rig.ops.iter().all(|op| !matches!(op, Op::Track(..) | Op::Peer(..))));
}

#[test]
fn a_call_whose_path_is_lost_is_busy_in_whatever_words_the_engine_says_so() {
    for state in [PeerState::Disconnected, PeerState::Connecting] {
        let (mut rig, session) = Rig::new().talking();
        rig.peer(session, state);
        let verdict = rig.hear("r", said("carl", "x", invite()));
        assert_eq!(verdict, Verdict::Ignored(Ignored::Busy), "{state:?}");
    }
}

#[test]
fn a_call_that_was_never_connected_is_not_busy() {
    let (mut rig, session) = Rig::new().calling();
    rig.peer(session, PeerState::Disconnected);
    let id = rig.call_id(session);
    rig.hear("r", said("you", &id, answer()));
    assert_eq!(rig.state(session), Some(CallState::Connecting));
    let verdict = rig.hear("r", said("carl", "x", invite()));
    assert!(matches!(verdict, Verdict::Started(_)), "{verdict:?}");
}

#[test]
fn a_path_that_is_lost_and_found_again_and_again_keeps_the_call() {
    let (mut rig, session) = Rig::new().talking();
    for _ in 0..50 {
        for state in [PeerState::Disconnected, PeerState::Connecting, PeerState::Connected] {
            rig.peer(session, state);
            rig.pass(secs(9));
        }
    }
    assert_eq!(rig.state(session), Some(CallState::Connected));
    rig.peer(session, PeerState::Disconnected);
    rig.pass(millis(29_999));
    assert_eq!(rig.state(session), Some(CallState::Connecting));
    rig.pass(millis(1));
    assert_eq!(rig.state(session), None);
    let missed = |o: &&Output| matches!(o, Output::Voip(VoipEvent::Missed { .. }));
    assert_eq!(rig.told.iter().filter(missed).count(), 0);
}
