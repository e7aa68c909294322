//! Two users call each other at the same moment: one call survives, the same on both sides.

use matrix_voip::{
    config::{Config, Glare},
    id::RoomId,
    machine::{
        event::{CallState, EndReason, VoipEvent},
        io::{CallMedia, Ignored},
    },
    testing::{Device, OpKind, Sim, millis, secs},
    wire::call::Reason,
};

use crate::common::{ADA, BEN, Half, half, local};

/// Smaller, and greater, than any id that an engine mints.
const SMALL: &str = "!";
const GREAT: &str = "~~~~";

fn with(config: &Config) -> (Sim, RoomId, Device, Device) {
    let sim = Sim::new(81);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.user(ADA).device_with("PHONE", config.clone());
    let ben = sim.user(BEN).device_with("LAPTOP", config.clone());
    sim.run_until_quiet();
    (sim, room, ada, ben)
}

/// 107.
#[test]
fn an_invite_that_meets_our_preparation_is_answered_in_its_place() {
    let Half { sim, room, ada, ben } = half();
    ada.slow(OpKind::Capture, secs(2));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(1));
    ben.invite(&room, GREAT, secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    assert_eq!(ada.end_of(calls[0]), local(EndReason::Replaced));
    assert_eq!(ada.state_of(calls[1]), Some(CallState::Connecting));
    assert_eq!(ada.sent_types()[0], "answer", "nobody heard of our own attempt");
    assert_eq!(ada.snapshot().unwrap().call_id.as_str(), GREAT);
    assert_eq!(ada.tracks().len(), 1);
}

/// 107.
#[test]
fn where_the_policy_is_ring_the_surviving_call_rings() {
    let mut config = Config::default();
    config.glare = Glare::Ring;
    let sim = Sim::new(82);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.user(ADA).device_with("PHONE", config);
    let ben = sim.puppet(BEN, "LAPTOP");
    ada.slow(OpKind::Capture, secs(2));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(1));
    ben.invite(&room, GREAT, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
    assert!(ada.sent().is_empty() && ada.tracks().is_empty());
}

/// 108.
#[test]
fn of_two_invites_the_smaller_id_survives_theirs() {
    let (Half { sim, room, ada, ben }, _) = Half::calling();
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    assert_eq!(ada.end_of(calls[0]), local(EndReason::Replaced));
    assert_eq!(ada.state_of(calls[1]), Some(CallState::Connecting));
    let hangups: Vec<_> =
        ada.sent().into_iter().filter(|m| m.event_type() == "m.call.hangup").collect();
    assert_eq!(hangups.len(), 1);
    let expected = matrix_voip::wire::call::Body::Hangup { reason: Some(Reason::Replaced) };
    assert_eq!(hangups[0].body, expected);
    assert_eq!((ada.peers().len(), ada.tracks().len()), (1, 1));
    let ends = ada.voip_events();
    let ends = ends.iter().filter(|event| matches!(event, VoipEvent::CallEnded { .. })).count();
    assert_eq!(ends, 1);
    assert_eq!(ada.missed(), 0);
}

/// 108, as a column: Ben's call has the smaller id.
#[test]
fn the_call_that_loses_is_hung_up_and_the_other_is_answered_at_once() {
    let (Half { sim, room, ada: _, ben }, _) = Half::calling();
    sim.advance(secs(2));
    sim.note("Ben calls too");
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    sim.column().calls().expect(
        "
        0.000 ada calls @ben:example (voice)
        0.090 ada sends m.call.invite
        0.110 ada is invite_sent
        0.130 ada sends m.call.candidates
        *     --  Ben calls too
        2.150 ben sends m.call.invite
        2.170 ada ended: local replaced
        2.170 ada is answering
        2.190 ada sends m.call.hangup
        2.200 ada is connecting
        2.220 ada sends m.call.answer
        2.260 ada sends m.call.candidates
        ",
    );
}

/// 109.
#[test]
fn of_two_invites_the_smaller_id_survives_ours() {
    let (Half { sim, room, ada, ben }, _) = Half::calling();
    ben.invite(&room, GREAT, secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 1, "the loser was never announced");
    assert_eq!(ada.state(), Some(CallState::InviteSent));
    assert_eq!(ada.ignored(Ignored::LostGlare), 1);
    let last = ada.sent().pop().unwrap();
    assert_eq!(
        (last.event_type().as_str(), last.header.call_id.as_str()),
        ("m.call.hangup", GREAT)
    );
    assert_eq!(ada.tracks().len(), 1);
    ben.candidates(&room, GREAT, 0..2);
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 1, "the loser stays ended");
}

/// 110.
#[test]
fn two_users_who_call_each_other_are_connected_once() {
    for apart in [0, 5, 15, 30, 45, 60, 90, 110, 111, 120, 150, 400] {
        for way in [5, 20, 90] {
            let (sim, room, ada, ben) = with(&Config::default());
            sim.set_way(millis(way));
            ada.invite(&room, BEN, CallMedia::Voice);
            sim.advance(millis(apart));
            if ben.call().is_none() {
                ben.invite(&room, ADA, CallMedia::Voice);
            } else {
                ben.answer();
            }
            sim.advance(secs(20));
            let connected = |device: &Device| {
                let calls = device.calls().into_iter();
                let of = |call| device.state_of(call) == Some(CallState::Connected);
                calls.filter(|call| of(*call)).collect::<Vec<_>>()
            };
            let (a, b) = (connected(&ada), connected(&ben));
            assert_eq!((a.len(), b.len()), (1, 1), "{apart} ms apart\n{}", sim.column());
            let id = |device: &Device, call| device.snapshot_of(call).unwrap().call_id;
            assert_eq!(id(&ada, a[0]), id(&ben, b[0]));
            assert_eq!((ada.missed(), ben.missed()), (0, 0));
            ada.hangup();
            sim.advance(secs(20));
            assert!(ada.peers().is_empty() && ben.peers().is_empty());
        }
    }
}

/// 110: with the policy of Famedly's clients one side rings, and nothing connects by itself.
#[test]
fn two_users_who_call_each_other_ring_at_one_side_where_the_policy_is_ring() {
    for apart in [0, 30, 60, 100] {
        let mut config = Config::default();
        config.glare = Glare::Ring;
        let (sim, room, ada, ben) = with(&config);
        ada.invite(&room, BEN, CallMedia::Voice);
        sim.advance(millis(apart));
        ben.invite(&room, ADA, CallMedia::Voice);
        sim.advance(secs(5));
        let ringing: Vec<&Device> = [&ada, &ben].into_iter().filter(|d| d.is_ringing()).collect();
        assert_eq!(ringing.len(), 1, "{apart} ms apart\n{}", sim.column());
        ringing[0].answer();
        sim.advance(secs(5));
        assert_eq!(ringing[0].state(), Some(CallState::Connected), "{}", sim.column());
    }
}

/// Found by the simulation: the surviving call neither rang nor was it answered.
#[test]
fn a_call_that_survives_beside_a_connected_one_rings() {
    let sim = Sim::new(85);
    let room = sim.room("!room:example", [ADA, BEN, "@carl:example"]);
    let (ada, carl) = (sim.device(ADA, "PHONE"), sim.device("@carl:example", "C"));
    ada.invite(&room, "@carl:example", CallMedia::Voice);
    sim.run_until_quiet();
    carl.answer();
    sim.run_until_quiet();
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    sim.puppet(BEN, "B").invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
    sim.advance(secs(61));
    assert_eq!(ada.state(), Some(CallState::Ended));
    assert_eq!(carl.state(), Some(CallState::Connected));
}

/// 111.
#[test]
fn a_call_from_somebody_else_is_no_glare() {
    let sim = Sim::new(83);
    let room = sim.room("!room:example", [ADA, BEN, "@carl:example"]);
    let ada = sim.device(ADA, "PHONE");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    sim.puppet("@carl:example", "C").invite(&room, GREAT, secs(60));
    sim.puppet("@carl:example", "D").invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(ada.state_of(calls[0]), Some(CallState::InviteSent));
    assert_eq!(ada.state_of(calls[1]), Some(CallState::Ringing));
    assert_eq!(ada.state_of(calls[2]), Some(CallState::Ringing));
}

/// 112, T-4.
#[test]
fn a_call_that_is_over_is_no_glare() {
    let (Half { sim, room, ada, ben }, _) = Half::calling();
    ada.hangup();
    sim.run_until_quiet();
    ben.invite(&room, GREAT, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}

#[test]
fn a_call_in_another_room_is_no_glare() {
    let sim = Sim::new(84);
    let one = sim.room("!one:example", [ADA, BEN]);
    let other = sim.room("!other:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    ada.invite(&one, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    sim.puppet(BEN, "B").invite(&other, SMALL, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
    assert_eq!(ada.calls().len(), 2);
}

/// Nothing is sent that the user had not granted for his own call.
#[test]
fn a_voice_call_that_meets_a_video_call_answers_with_sound_alone() {
    let (sim, room, ada, ben) = with(&Config::default());
    ada.invite(&room, BEN, CallMedia::Voice);
    ben.invite(&room, ADA, CallMedia::Video);
    sim.advance(secs(5));
    assert!(
        ada.tracks()
            .iter()
            .all(|track| track.capture.kind == matrix_voip::machine::io::MediaKind::Audio)
    );
    assert_eq!(ada.tracks().len(), 1);
}
