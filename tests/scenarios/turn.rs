//! TURN credentials: fetched, handed on, kept fresh; a call does without them when it must.

use matrix_voip::{
    machine::{
        event::CallState,
        io::{CallMedia, Fault, IceServer, TurnServers},
    },
    redact::{Redacted, Secret},
    testing::{Cue, OpKind, Sim, secs},
};

use crate::common::{ADA, BEN, Half, half, two};

fn turn(ttl: u64) -> TurnServers {
    let server = IceServer {
        urls: vec!["turn:one.example?transport=udp".into(), "turns:two.example".into()],
        username: Redacted::new("1443779631:@ada:example"),
        credential: Secret::new("fakeTurnSecret"),
    };
    TurnServers { servers: vec![server], ttl: secs(ttl) }
}

/// 101.
#[test]
fn all_servers_and_their_credentials_reach_the_engine() {
    let two = two();
    two.sim.server(|server| server.set_turn(Ok(turn(86_400))));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    assert_eq!(two.ada.peer().config.ice_servers, turn(1).servers);
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ben.peer().config.ice_servers, turn(1).servers);
}

#[test]
fn a_call_that_takes_the_place_of_ours_has_the_servers_too() {
    let Half { sim, room, ada, ben } = half();
    ada.next(OpKind::Turn, Cue::fails(Fault::Unreachable));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert!(ada.peer().config.ice_servers.is_empty());
    sim.server(|server| server.set_turn(Ok(turn(86_400))));
    ben.invite(&room, "!", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 2);
    assert_eq!(ada.peer().config.ice_servers, turn(1).servers, "{}", sim.column());
}

/// 101.
#[test]
fn a_call_goes_on_without_turn() {
    for cue in [
        Cue::fails(Fault::NotFound),
        Cue::fails(Fault::Unreachable),
        Cue::fails(Fault::Forbidden(String::new())),
        Cue::rate_limited(secs(60)),
        Cue::hangs(),
        Cue::panics(),
    ] {
        let two = two();
        two.ada.always(OpKind::Turn, cue.clone());
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.advance(secs(15));
        assert_eq!(two.ada.state(), Some(CallState::InviteSent), "{cue:?}");
        assert!(two.ada.peer().config.ice_servers.is_empty());
        two.ben.answer();
        two.sim.run_until_quiet();
        assert_eq!(two.ada.state(), Some(CallState::Connected), "{cue:?}");
    }
}

/// 101.
#[test]
fn fresh_credentials_serve_the_next_call() {
    let two = two();
    two.sim.server(|server| server.set_turn(Ok(turn(86_400))));
    for _ in 0..2 {
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.run_until_quiet();
        assert_eq!(two.ada.peer().config.ice_servers.len(), 1);
        two.ada.hangup();
        two.sim.run_until_quiet();
        two.sim.server(|server| server.set_turn(Err(Fault::Unreachable)));
    }
}

/// 101.
#[test]
fn old_credentials_are_fetched_again() {
    let two = two();
    two.sim.server(|server| server.set_turn(Ok(turn(600))));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    two.ada.hangup();
    two.sim.advance(secs(590));
    let mut fresh = turn(600);
    fresh.servers[0].username = Redacted::new("fresh");
    two.sim.server(|server| server.set_turn(Ok(fresh.clone())));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    assert_eq!(two.ada.peer().config.ice_servers, fresh.servers);
}

/// 101: what a machine slept through counts too.
#[test]
fn credentials_expire_by_the_wall_clock() {
    let two = two();
    two.sim.server(|server| server.set_turn(Ok(turn(600))));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    two.ada.hangup();
    two.sim.run_until_quiet();
    two.sim.suspend(secs(3600));
    two.sim.server(|server| server.set_turn(Ok(TurnServers { servers: vec![], ttl: secs(600) })));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    assert!(two.ada.peer().config.ice_servers.is_empty());
}

#[test]
fn the_person_and_the_server_are_asked_at_the_same_time() {
    let two = two();
    two.ada.slow(OpKind::Turn, secs(3));
    two.ada.slow(OpKind::Capture, secs(3));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(4));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
}

#[test]
fn no_credentials_are_fetched_for_calls_that_nobody_answers_here() {
    let sim = Sim::new(61);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    ada.always(OpKind::Turn, Cue::hangs());
    sim.puppet(BEN, "B").invite(&room, "c1", secs(20));
    sim.run_to_the_end();
    assert_eq!(ada.missed(), 1);
}
