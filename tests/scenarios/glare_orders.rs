//! Glare in every order: who was how far when the other's invite came, and what came crosswise.
//!
//! The rule itself stands in `glare.rs`; several devices of one user in `glare_devices.rs`.

use matrix_voip::{
    config::{Config, Glare},
    machine::{
        event::{CallState, EndReason, VoipEvent},
        io::{CallMedia, Callee, Fault, Ignored},
    },
    testing::{Column, Cue, Device, Kind, OpKind, Sim, millis, room_batch, secs},
    wire::call::{Body, Reason},
};

use crate::common::{ADA, BEN, Half, half, local, remote};

/// Smaller, and greater, than any id that an engine mints.
const SMALL: &str = "!";
const GREAT: &str = "~~~~";

fn ends(device: &Device) -> usize {
    let events = device.voip_events().into_iter();
    events.filter(|event| matches!(event, VoipEvent::CallEnded { .. })).count()
}

fn rings(device: &Device) -> usize {
    let events = device.voip_events().into_iter();
    events.filter(|event| matches!(event, VoipEvent::RingStarted { .. })).count()
}

fn times(column: &Column, what: &str) -> usize {
    column.only(&[Kind::Media]).0.iter().filter(|line| line.what == what).count()
}

/// Ada's invite is in flight, and its answer takes long.
fn sending(answer: Cue) -> Half {
    let half = half();
    half.ada.next(OpKind::SendEvent, answer);
    half.ada.invite(&half.room, BEN, CallMedia::Voice);
    half.sim.advance(millis(500));
    assert_eq!(half.ada.state(), Some(CallState::Preparing), "{}", half.sim.column());
    half
}

#[test]
fn both_prepare_and_the_invite_that_leaves_first_is_the_call() {
    let sim = Sim::new(86);
    let room = sim.room("!room:example", [ADA, BEN]);
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    sim.run_until_quiet();
    ben.slow(OpKind::Capture, secs(2));
    ada.invite(&room, BEN, CallMedia::Voice);
    ben.invite(&room, ADA, CallMedia::Voice);
    sim.advance(secs(20));
    let theirs = ada.snapshot().unwrap().call_id;
    assert_eq!(ben.end_of(ben.calls()[0]), local(EndReason::Replaced));
    assert_eq!(ben.snapshot().unwrap().call_id, theirs);
    assert_eq!((ada.state(), ben.state()), (Some(CallState::Connected), ada.state()));
    assert!(!ben.sent_types().contains(&"hangup".to_owned()), "nobody heard of his call");
    assert_eq!((rings(&ada), rings(&ben)), (0, 0));
}

#[test]
fn an_invite_in_flight_counts_as_sent() {
    for (theirs, survives) in [(GREAT, true), (SMALL, false)] {
        let Half { sim, room, ada, ben } = sending(Cue::works().after(secs(3)));
        ben.invite(&room, theirs, secs(60));
        sim.run_until_quiet();
        let ours = ada.calls()[0];
        if survives {
            assert_eq!(ada.state_of(ours), Some(CallState::InviteSent));
            assert_eq!(ada.ignored(Ignored::LostGlare), 1);
            assert_eq!(ada.calls().len(), 1, "the loser was never announced");
        } else {
            assert_eq!(ada.end_of(ours), local(EndReason::Replaced));
            assert_eq!(ada.state(), Some(CallState::Connecting));
            let hangup = Body::Hangup { reason: Some(Reason::Replaced) };
            let hangups = ada.sent().into_iter().filter(|message| message.body == hangup);
            assert_eq!(hangups.count(), 1, "it may have arrived");
        }
    }
}

/// A refusal says that nobody has it: it is as if it were still being prepared.
#[test]
fn an_invite_that_was_surely_not_taken_gives_way_whatever_the_ids() {
    let limited = Fault::RateLimited { retry_after: Some(secs(20)) };
    let Half { sim, room, ada, ben } = sending(Cue::fails(limited));
    ben.invite(&room, GREAT, secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.end_of(ada.calls()[0]), local(EndReason::Replaced));
    assert_eq!(ada.state(), Some(CallState::Connecting));
    sim.advance(secs(60));
    let of_ours = ada.sent().into_iter().filter(|m| m.header.call_id.as_str() != GREAT);
    assert_eq!(of_ours.count(), 0, "nobody hears of it");
}

/// Nobody knows whether it arrived: it may have, so it counts as sent.
#[test]
fn an_invite_whose_answer_was_lost_counts_as_sent() {
    for (theirs, survives) in [(GREAT, true), (SMALL, false)] {
        let Half { sim, room, ada, ben } = sending(Cue::answer_lost());
        ben.invite(&room, theirs, secs(60));
        sim.run_until_quiet();
        let state = ada.state_of(ada.calls()[0]);
        let expected = if survives { CallState::InviteSent } else { CallState::Ended };
        assert_eq!(state, Some(expected), "{}", sim.column());
        assert!(ada.sent_types().contains(&"hangup".to_owned()));
    }
}

#[test]
fn an_invite_that_failed_for_good_is_no_glare() {
    let Half { sim, room, ada, ben } = half();
    ada.next(OpKind::SendEvent, Cue::fails(Fault::Forbidden("M_FORBIDDEN".into())));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert_eq!(ada.end(), local(EndReason::SignallingFailed));
    ben.invite(&room, GREAT, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing(), "it is a call like any other");
    assert!(ada.sent().is_empty());
}

/// Our hangup and their invite meet: our call is over, theirs rings until they hear of nothing.
#[test]
fn a_hangup_that_crosses_their_invite_leaves_a_call_that_rings() {
    for theirs in [SMALL, GREAT] {
        let (Half { sim, room, ada, ben }, ours) = Half::calling();
        ada.hangup();
        ben.invite(&room, theirs, secs(60));
        sim.run_until_quiet();
        assert!(ada.is_ringing(), "{}", sim.column());
        // They had decided for our call, of which they hear only now that it is over.
        ben.hangup(&room, theirs, Some(Reason::Replaced));
        ben.hangup(&room, &ours, Some(Reason::Replaced));
        sim.run_to_the_end();
        assert_eq!((ends(&ada), ada.missed()), (2, 0), "{}", sim.column());
        assert!(ada.peers().is_empty() && ada.tracks().is_empty());
    }
}

/// Both decide alike and both say so: each call ends once.
#[test]
fn hangups_of_both_sides_for_the_same_call_cross() {
    let (Half { sim, room, ada, ben }, ours) = Half::calling();
    ben.invite(&room, SMALL, secs(60));
    ben.hangup(&room, &ours, Some(Reason::Replaced));
    sim.run_until_quiet();
    assert_eq!(ends(&ada), 1);
    assert_eq!(ada.state(), Some(CallState::Connecting));
}

/// Known gap of issue 4: the hangup came first, and the invite rang.
#[test]
fn a_hangup_as_replaced_may_come_before_the_invite_that_replaces() {
    for (theirs, apart) in [(SMALL, 0), (GREAT, 0), (SMALL, 2000), (GREAT, 4900)] {
        let (Half { sim, room, ada, ben }, ours) = Half::calling();
        ben.hangup(&room, &ours, Some(Reason::Replaced));
        sim.advance(millis(apart));
        ben.invite(&room, theirs, secs(60));
        sim.advance(secs(2));
        assert_eq!(ada.state(), Some(CallState::Connecting), "{}", sim.column());
        assert_eq!((rings(&ada), ends(&ada)), (0, 1));
        assert_eq!(ada.end_of(ada.calls()[0]), remote(EndReason::Remote(Reason::Replaced)));
        assert_eq!(ada.tracks().len(), 1);
    }
}

#[test]
fn a_hangup_as_replaced_may_come_in_the_same_batch_before_the_invite() {
    let (Half { sim, room, ada, ben }, ours) = Half::calling();
    let hangup = ben.raw(&ours, Body::Hangup { reason: Some(Reason::Replaced) }, secs(0));
    let invite = ben.raw(GREAT, ben.invitation(secs(60)), secs(0));
    ada.deliver(room_batch(&room, [hangup, invite]));
    sim.run_until_quiet();
    assert_eq!((ada.state(), rings(&ada)), (Some(CallState::Connecting), 0));
}

/// Nobody is answered for who put the phone away.
#[test]
fn an_invite_long_after_a_hangup_as_replaced_rings() {
    let (Half { sim, room, ada, ben }, ours) = Half::calling();
    ben.hangup(&room, &ours, Some(Reason::Replaced));
    sim.advance(millis(5100));
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}

#[test]
fn what_a_hangup_as_replaced_leaves_is_for_one_call_of_that_user_in_that_room() {
    let (Half { sim, room, ada, ben }, ours) = Half::calling();
    let other = sim.room("!other:example", [ADA, BEN]);
    sim.run_until_quiet();
    ben.hangup(&room, &ours, Some(Reason::Replaced));
    ben.invite(&other, "elsewhere", secs(60));
    sim.advance(millis(200));
    assert!(ada.is_ringing(), "another room");
    ben.invite(&room, "first", secs(60));
    sim.advance(millis(200));
    ben.invite(&room, "second", secs(60));
    sim.advance(secs(2));
    let states: Vec<_> = ada.calls().into_iter().map(|call| ada.state_of(call).unwrap()).collect();
    use CallState::{Connecting, Ended, Ringing};
    assert_eq!(states, [Ended, Ringing, Connecting], "the second meets the first");
    assert_eq!(ada.missed(), 1);
}

/// Only the user hears of it whose call it was.
#[test]
fn a_hangup_for_another_reason_leaves_nothing() {
    let (Half { sim, room, ada, ben }, ours) = Half::calling();
    ben.hangup(&room, &ours, Some(Reason::UserHangup));
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}

/// The user called back while their call rang here; they chose their own.
#[test]
fn a_ringing_call_that_replaces_ours_is_answered() {
    let Half { sim, room, ada, ben } = half();
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
    let ours = ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    let id = ada.snapshot_of(ours).unwrap().call_id.to_string();
    ben.hangup(&room, &id, Some(Reason::Replaced));
    sim.run_until_quiet();
    assert_eq!(ada.state_of(ada.calls()[0]), Some(CallState::Connecting), "{}", sim.column());
}

#[test]
fn a_hangup_as_replaced_answers_nothing_where_the_policy_is_ring() {
    let mut config = Config::default();
    config.glare = Glare::Ring;
    let sim = Sim::new(87);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.user(ADA).device_with("PHONE", config);
    let ben = sim.puppet(BEN, "LAPTOP");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    let id = ada.snapshot().unwrap().call_id.to_string();
    ben.hangup(&room, &id, Some(Reason::Replaced));
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing() && ada.tracks().is_empty());
}

/// js-sdk calls a room, not a user, and does not notice the glare itself.
#[test]
fn peers_that_name_no_invitee_are_met_like_others() {
    for (theirs, survives) in [(GREAT, true), (SMALL, false)] {
        for named in [false, true] {
            let (Half { sim, room, ada, ben }, _) = Half::calling();
            let ben = if named { ben.calling(ADA) } else { ben };
            ben.invite(&room, theirs, secs(60));
            sim.run_until_quiet();
            let expected = if survives { CallState::InviteSent } else { CallState::Connecting };
            assert_eq!(ada.state(), Some(expected));
            let lost = if survives { theirs.to_owned() } else { id_of(&ada, 0) };
            let last = ada.sent().into_iter().rfind(|m| m.event_type() == "m.call.hangup");
            assert_eq!(last.unwrap().header.call_id.as_str(), lost);
        }
    }
}

fn id_of(device: &Device, place: usize) -> String {
    device.snapshot_of(device.calls()[place]).unwrap().call_id.to_string()
}

#[test]
fn peers_of_version_0_are_met_like_others() {
    for (theirs, survives) in [(GREAT, true), (SMALL, false)] {
        let (Half { sim, room, ada, ben }, ours) = Half::calling();
        let ben = ben.version_0();
        ben.invite(&room, theirs, secs(60));
        sim.run_until_quiet();
        if survives {
            assert_eq!(ada.calls().len(), 1);
            ben.answer(&room, &ours);
        } else {
            assert_eq!(ada.end_of(ada.calls()[0]), local(EndReason::Replaced));
        }
        sim.run_until_quiet();
        assert_eq!(ada.state(), Some(CallState::Connecting), "{}", sim.column());
        assert_eq!(times(&sim.column(), "captures the microphone"), 1);
    }
}

/// The callee was not even looked up when his own call came.
#[test]
fn a_call_to_the_other_member_meets_his_while_he_is_looked_up() {
    let sim = Sim::new(88);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.puppet(BEN, "LAPTOP");
    ada.hold_sync();
    let room = sim.room("!room:example", [ADA, BEN]);
    ada.slow(OpKind::Members, secs(2));
    let ours = ada.call_to(&room, Callee::TheOther, CallMedia::Voice);
    ada.deliver(room_batch(&room, [ben.raw(GREAT, ben.invitation(secs(60)), secs(0))]));
    sim.advance(secs(1));
    assert!(ada.is_ringing(), "nobody knows yet that it is he");
    sim.advance(secs(3));
    assert_eq!(ada.end_of(ours), local(EndReason::Replaced));
    assert_eq!(ada.state(), Some(CallState::Connecting), "{}", sim.column());
}

/// Each of two calls of ours meets theirs.
#[test]
fn a_call_that_survives_replaces_every_call_of_ours_to_that_user() {
    let (Half { sim, room, ada, ben }, _) = Half::calling();
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.invite(&room, SMALL, secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    assert_eq!(ada.end_of(calls[0]), local(EndReason::Replaced));
    assert_eq!(ada.end_of(calls[1]), local(EndReason::Replaced));
    assert_eq!(ada.state_of(calls[2]), Some(CallState::Connecting));
    assert_eq!(ada.tracks().len(), 1);
}
