//! Corners: two rules meet, and neither may leave a call in nobody's hands.

use matrix_voip::{
    id::UserId,
    machine::{
        event::{CallState, EndReason, MissedWhy, VoipEvent},
        io::{CallMedia, Ignored, Input, MediaKind, PeerState, RoomNews, SdpKind},
    },
    testing::{Cue, Habits, OpKind, Sim, millis, room_batch, secs},
    wire::{
        call::{Answer, Body, Capabilities, Reason},
        delivery::{Place, Protection},
    },
};

use crate::common::{ADA, BEN, Half, half, local};

const CARL: &str = "@carl:example";

/// A homeserver cannot silence a call by a hangup of its own making.
#[test]
fn a_hangup_that_may_not_be_believed_does_not_keep_an_invite_from_ringing() {
    let Half { sim, room, ada, ben } = half();
    let hangup = Body::Hangup { reason: Some(Reason::UserHangup) };
    let mut events = [ben.invitation(secs(60)), hangup].map(|body| ben.raw("c1", body, secs(1)));
    events[0].facts.protection = Protection::Unverified;
    let mut batch = room_batch(&room, events);
    batch.place = Place::Room { room: room.clone(), encrypted: true };
    ada.deliver(batch);
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}

/// Glare answers for the user, but it must not do what the user himself could not.
#[test]
fn a_call_that_won_glare_beside_a_connected_one_rings_and_can_be_taken_after_it() {
    let sim = Sim::new(91);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.device(BEN, "LAPTOP");
    let carl = sim.puppet(CARL, "C");
    let talking = ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    let ours = ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    carl.invite(&room, "!", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.end_of(ours), local(EndReason::Replaced));
    assert_eq!(ada.state_of(talking), Some(CallState::Connected));
    assert!(ada.is_ringing(), "{}", sim.column());
    ben.hangup();
    sim.run_until_quiet();
    ada.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connecting));
}

/// An engine that finds a new path may say so without having called the old one lost.
#[test]
fn a_call_that_connects_again_is_busy() {
    let sim = Sim::new(92);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.device(BEN, "LAPTOP");
    let carl = sim.puppet(CARL, "C");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    ada.set_habits(Habits { connect: None, ..Habits::default() });
    ada.force(PeerState::Connecting);
    sim.advance(secs(2));
    assert_eq!(ada.state(), Some(CallState::Connecting));
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    let busy = |event: &VoipEvent| matches!(event, VoipEvent::Missed { why: MissedWhy::Busy, .. });
    assert!(ada.voip_events().iter().any(busy), "{}", sim.column());
}

/// The caller knows of its own call: it must not wait for an answer that will never come.
#[test]
fn a_hangup_while_the_answer_is_refused_for_now_reaches_the_caller() {
    let Half { sim, ada, .. } = Half::ringing();
    ada.next(OpKind::SendEvent, Cue::rate_limited(secs(7)).after(secs(2)));
    ada.answer();
    sim.advance(secs(1));
    assert_eq!(ada.state(), Some(CallState::Connecting));
    ada.hangup();
    sim.run_to_the_end();
    assert_eq!(ada.sent_types(), ["hangup"], "{}", sim.column());
}

#[test]
fn an_answer_that_no_engine_can_use_leaves_the_call_to_the_callees_other_devices() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    let sdp = ben.sdp(SdpKind::Answer, &[MediaKind::Audio]).replace("a=fingerprint:", "a=x:");
    let answer = Answer { sdp: sdp.into(), capabilities: Capabilities::default(), streams: None };
    ben.say(&room, &call, Body::Answer(answer));
    sim.run_until_quiet();
    assert_eq!(ada.ignored(Ignored::Malformed), 1);
    assert_eq!(ada.state(), Some(CallState::InviteSent));
    ben.as_party("second").answer(&room, &call);
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connecting));
}

#[test]
fn who_is_not_in_the_first_list_of_members_has_left() {
    let sim = Sim::new(74);
    let ada = sim.device(ADA, "PHONE");
    sim.run_until_quiet();
    ada.hold_sync();
    let room = sim.room("!room:example", [ADA, BEN]);
    let ben = sim.puppet(BEN, "LAPTOP");
    ada.deliver(room_batch(&room, [ben.raw("c1", ben.invitation(secs(60)), secs(0))]));
    ada.answer();
    sim.advance(secs(1));
    ada.force(PeerState::Connected);
    sim.advance(millis(10));
    assert_eq!(ada.state(), Some(CallState::Connected));
    ada.input(Input::Room(room.clone(), RoomNews::Members([UserId::parse(ADA).unwrap()].into())));
    ada.deliver(room_batch(&room, [ben.raw("c1", Body::Hangup { reason: None }, secs(0))]));
    assert_eq!(ada.end().map(|end| end.reason), Some(EndReason::LeftRoom));
}
