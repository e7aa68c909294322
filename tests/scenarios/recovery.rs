//! A connection that wavers, is lost, and comes back; a network that changes (T-13).

use matrix_voip::{
    machine::{
        event::{CallEvent, CallState, EndReason},
        io::{
            CallCommand, CallMedia, Fault, IceServer, Input, MediaSource, Network, PeerState,
            TurnServers,
        },
    },
    redact::{Redacted, Secret},
    sdp::ice_ufrag,
    testing::{Cue, Device, Habits, OpKind, millis, secs},
};

use crate::common::{BEN, Two, local, offers, two};

fn states(device: &Device) -> Vec<CallState> {
    let events = device.events_of(device.call().unwrap());
    let state = |event| match event {
        CallEvent::StateChanged(state) => Some(state),
        _ => None,
    };
    events.into_iter().filter_map(state).collect()
}

fn ufrag(device: &Device) -> String {
    let local = device.peer().local.unwrap();
    ice_ufrag(local.sdp.expose()).unwrap().to_owned()
}

#[test]
fn a_hiccup_is_not_shown() {
    let two = Two::connected();
    let before = states(&two.ada).len();
    two.ada.force(PeerState::Disconnected);
    two.sim.advance(millis(900));
    two.ada.force(PeerState::Connected);
    two.sim.advance(secs(60));
    assert_eq!(states(&two.ada).len(), before);
    assert_eq!(offers(&two.ada), 0);
}

#[test]
fn the_caller_restarts_ice_after_a_moment_and_the_callee_need_not() {
    let two = Two::connected();
    let before = (ufrag(&two.ada), ufrag(&two.ben));
    two.ada.force(PeerState::Disconnected);
    two.ben.force(PeerState::Disconnected);
    two.sim.advance(millis(1_500));
    assert_eq!(two.ada.state(), Some(CallState::Connecting));
    assert_eq!(offers(&two.ada), 0);
    two.sim.advance(secs(20));
    assert_eq!((offers(&two.ada), offers(&two.ben)), (1, 0), "{}", two.sim.column());
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    assert_eq!(two.ben.state(), Some(CallState::Connected));
    assert_ne!(ufrag(&two.ada), before.0);
    assert_ne!(ufrag(&two.ben), before.1);
}

#[test]
fn the_callee_restarts_when_only_it_has_noticed() {
    let two = Two::connected();
    two.ben.force(PeerState::Disconnected);
    two.sim.advance(secs(20));
    assert_eq!((offers(&two.ada), offers(&two.ben)), (0, 1), "{}", two.sim.column());
    assert_eq!(two.ben.state(), Some(CallState::Connected));
}

#[test]
fn restarts_back_off_until_the_call_is_given_up() {
    let two = Two::connected();
    for device in [&two.ada, &two.ben] {
        device.set_habits(Habits { connect: None, ..Habits::default() });
        device.force(PeerState::Disconnected);
    }
    two.sim.advance(secs(29));
    // After 2, 6 and 14 seconds; the next would be after 30.
    assert_eq!(offers(&two.ada), 3, "{}", two.sim.column());
    two.sim.advance(secs(2));
    assert_eq!(two.ada.end(), local(EndReason::IceFailed));
}

#[test]
fn a_path_that_the_engine_gives_up_is_looked_for_at_once() {
    let two = Two::connected();
    two.ada.force(PeerState::Failed);
    two.sim.advance(secs(1));
    assert_eq!(offers(&two.ada), 1);
    assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
}

#[test]
fn a_change_of_network_restarts_at_once_whoever_is_polite() {
    for caller in [true, false] {
        let two = Two::connected();
        let (one, other) = if caller { (&two.ada, &two.ben) } else { (&two.ben, &two.ada) };
        one.input(Input::Network(Network::Changed));
        two.sim.advance(secs(1));
        assert_eq!((offers(one), offers(other)), (1, 0));
        assert_eq!(one.state(), Some(CallState::Connected));
    }
}

#[test]
fn a_network_that_is_back_is_used_at_once() {
    let two = Two::connected();
    two.ben.force(PeerState::Disconnected);
    two.sim.advance(millis(1_500));
    two.ben.input(Input::Network(Network::Back));
    two.sim.advance(secs(1));
    assert_eq!(offers(&two.ben), 1);
    assert_eq!(two.ben.state(), Some(CallState::Connected), "{}", two.sim.column());
}

#[test]
fn ice_is_restarted_on_request_by_both_at_once() {
    let two = Two::connected();
    let before = (ufrag(&two.ada), ufrag(&two.ben));
    two.ada.act(CallCommand::RestartIce);
    two.ben.act(CallCommand::RestartIce);
    two.sim.run_until_quiet();
    assert_ne!(ufrag(&two.ada), before.0);
    assert_ne!(ufrag(&two.ben), before.1);
    for device in [&two.ada, &two.ben] {
        assert_eq!(device.state(), Some(CallState::Connected), "{}", two.sim.column());
    }
}

#[test]
fn when_they_hang_up_no_lost_connection_is_shown() {
    let two = Two::connected();
    two.ben.force(PeerState::Disconnected);
    two.sim.advance(millis(300));
    two.ada.hangup();
    two.sim.run_to_the_end();
    assert!(!states(&two.ben)[2..].contains(&CallState::Connecting), "{:?}", states(&two.ben));
}

#[test]
fn a_restart_that_they_could_not_take_is_followed_by_another() {
    let two = Two::connected();
    two.ben.next(OpKind::SetRemote, Cue::denied());
    for device in [&two.ada, &two.ben] {
        device.force(PeerState::Disconnected);
    }
    two.sim.advance(secs(40));
    assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
}

#[test]
fn a_network_change_restarts_at_once_though_an_offer_is_out() {
    let two = Two::connected();
    two.ben.next(OpKind::SetRemote, Cue::denied());
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(2));
    assert_eq!(offers(&two.ada), 1);
    two.ada.input(Input::Network(Network::Changed));
    two.sim.advance(secs(10));
    assert_eq!(offers(&two.ada), 2, "{}", two.sim.column());
}

#[test]
fn a_network_that_changed_while_it_rang_is_looked_for_after_the_answer() {
    let two = Two::ringing();
    two.ada.input(Input::Network(Network::Changed));
    two.sim.advance(secs(1));
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(offers(&two.ada), 1, "the invite names addresses of another network");
}

#[test]
fn a_path_that_is_back_is_not_looked_for_again() {
    let two = Two::connected();
    for device in [&two.ada, &two.ben] {
        device.set_habits(Habits { connect: None, ..Habits::default() });
    }
    two.ada.force(PeerState::Disconnected);
    two.ben.partition();
    two.sim.advance(secs(10));
    for device in [&two.ada, &two.ben] {
        device.set_habits(Habits::default());
    }
    let before = offers(&two.ada);
    two.ben.heal();
    two.sim.advance(secs(25));
    assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
    assert_eq!((offers(&two.ada), offers(&two.ben)), (before, 0), "{}", two.sim.column());
}

#[test]
fn whoever_is_lost_again_and_again_is_given_up_all_the_same() {
    let two = Two::connected();
    for device in [&two.ada, &two.ben] {
        device.set_habits(Habits { connect: None, ..Habits::default() });
        device.force(PeerState::Disconnected);
    }
    two.sim.advance(secs(20));
    for state in [PeerState::Failed, PeerState::Disconnected, PeerState::Failed] {
        two.ada.force(state);
    }
    two.sim.advance(secs(11));
    assert_eq!(two.ada.end(), local(EndReason::IceFailed), "{}", two.sim.column());
}

#[test]
fn after_a_connection_that_came_back_the_pauses_are_short_again() {
    let two = Two::connected();
    for _ in 0..2 {
        let before = offers(&two.ada);
        for device in [&two.ada, &two.ben] {
            device.set_habits(Habits { connect: None, ..Habits::default() });
            device.force(PeerState::Disconnected);
        }
        two.sim.advance(secs(7));
        // After 2 and 6 seconds.
        assert_eq!(offers(&two.ada), before + 2, "{}", two.sim.column());
        for device in [&two.ada, &two.ben] {
            device.set_habits(Habits::default());
            device.force(PeerState::Connected);
        }
        two.sim.advance(secs(60));
    }
}

#[test]
fn an_engine_that_fails_again_at_once_is_not_asked_again_at_once() {
    let two = Two::connected();
    for device in [&two.ada, &two.ben] {
        device.set_habits(Habits { connect: None, ..Habits::default() });
    }
    two.ada.force(PeerState::Failed);
    two.sim.advance(millis(300));
    two.ada.force(PeerState::Disconnected);
    two.ada.force(PeerState::Failed);
    two.sim.advance(millis(300));
    assert_eq!(offers(&two.ada), 1, "{}", two.sim.column());
}

#[test]
fn what_failed_by_the_old_network_is_sent_by_the_new_one_at_once() {
    let two = Two::connected();
    for _ in 0..4 {
        two.ada.drop_next();
    }
    two.ada.mute(MediaSource::Microphone);
    two.sim.advance(secs(8));
    let muted = || two.ben.streams().iter().any(|stream| stream.audio_muted);
    assert!(!muted(), "the fourth pause is eight seconds");
    two.ada.input(Input::Network(Network::Changed));
    two.sim.advance(millis(500));
    assert!(muted(), "{}", two.sim.column());
}

// -------------------------------------------------------------- TURN credentials that run out

/// Credentials for ten minutes.
fn turn(user: &str) -> TurnServers {
    let server = IceServer {
        urls: vec!["turn:one.example".into()],
        username: Redacted::new(user),
        credential: Secret::new("fakeTurnSecret"),
    };
    TurnServers { servers: vec![server], ttl: secs(600) }
}

/// A call of eleven minutes, whose credentials lasted for ten; the homeserver has others now.
fn old_call() -> Two {
    let two = two();
    two.sim.server(|server| server.set_turn(Ok(turn("first"))));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    two.sim.server(|server| server.set_turn(Ok(turn("second"))));
    two.sim.advance(secs(660));
    assert_eq!((user(&two.ada), user(&two.ben)), ("first".into(), "first".into()));
    two
}

/// Whose credentials the engine has.
fn user(device: &Device) -> String {
    device.peer().config.ice_servers[0].username.expose().to_owned()
}

#[test]
fn a_restart_of_an_old_call_has_fresh_credentials_on_both_sides() {
    for caller in [true, false] {
        let two = old_call();
        let one = if caller { &two.ada } else { &two.ben };
        one.act(CallCommand::RestartIce);
        two.sim.run_until_quiet();
        assert_eq!((user(&two.ada), user(&two.ben)), ("second".into(), "second".into()));
        assert_eq!(offers(one), 1);
        assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
    }
}

#[test]
fn our_restart_waits_for_the_credentials_and_for_the_engine_to_have_them() {
    let two = old_call();
    let before = ufrag(&two.ada);
    two.ada.slow(OpKind::Turn, secs(2));
    two.ada.slow(OpKind::SetServers, secs(2));
    two.ada.act(CallCommand::RestartIce);
    two.sim.advance(millis(1_900));
    assert_eq!((user(&two.ada).as_str(), offers(&two.ada)), ("first", 0));
    two.sim.advance(secs(2));
    assert_eq!((ufrag(&two.ada), offers(&two.ada)), (before.clone(), 0), "nothing is gathered yet");
    two.sim.advance(secs(2));
    assert_eq!((user(&two.ada).as_str(), offers(&two.ada)), ("second", 1));
    assert_ne!(ufrag(&two.ada), before);
}

#[test]
fn their_restart_is_answered_at_once_and_fresh_credentials_follow() {
    let two = old_call();
    two.ben.slow(OpKind::Turn, secs(3));
    two.ada.act(CallCommand::RestartIce);
    two.sim.advance(secs(2));
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    assert_eq!((offers(&two.ada), user(&two.ben).as_str()), (1, "first"), "{}", two.sim.column());
    assert_eq!(ufrag_of_remote(&two.ada), ufrag(&two.ben), "answered");
    two.sim.advance(secs(2));
    assert_eq!(user(&two.ben), "second");
    assert_eq!(offers(&two.ben), 0);
}

fn ufrag_of_remote(device: &Device) -> String {
    let remote = device.peer().remote.unwrap();
    ice_ufrag(remote.sdp.expose()).unwrap().to_owned()
}

/// The engine keeps what it has; a later restart asks again.
#[test]
fn a_restart_goes_on_when_no_credentials_can_be_had() {
    for cue in [Cue::fails(Fault::Unreachable), Cue::hangs(), Cue::fails(Fault::NotFound)] {
        let two = old_call();
        two.ada.next(OpKind::Turn, cue.clone());
        two.ada.act(CallCommand::RestartIce);
        two.sim.advance(secs(6));
        assert_eq!((offers(&two.ada), user(&two.ada).as_str()), (1, "first"), "{cue:?}");
        assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
        two.ada.act(CallCommand::RestartIce);
        two.sim.advance(secs(6));
        assert_eq!((offers(&two.ada), user(&two.ada).as_str()), (2, "second"), "{cue:?}");
    }
}

#[test]
fn credentials_that_are_good_are_not_fetched_again() {
    let two = old_call();
    two.ada.act(CallCommand::RestartIce);
    two.sim.run_until_quiet();
    two.sim.server(|server| server.set_turn(Ok(turn("third"))));
    two.ada.act(CallCommand::RestartIce);
    two.sim.run_until_quiet();
    assert_eq!((offers(&two.ada), user(&two.ada).as_str()), (2, "second"));
    // Without servers at the beginning there are none to be renewed.
    let two = Two::connected();
    two.sim.server(|server| server.set_turn(Ok(turn("late"))));
    two.sim.advance(secs(90_000));
    two.ada.act(CallCommand::RestartIce);
    two.sim.run_until_quiet();
    assert!(two.ada.peer().config.ice_servers.is_empty());
}

#[test]
fn a_path_that_is_lost_late_in_a_call_comes_back_with_fresh_credentials() {
    let two = old_call();
    two.ada.force(PeerState::Failed);
    two.sim.advance(secs(1));
    assert_eq!((offers(&two.ada), user(&two.ada).as_str()), (1, "second"));
    assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
}
