//! Incoming events before they reach a call: batches, staleness, addressing, parking, nonsense.

use std::time::Duration;

use matrix_voip::{
    config::Config,
    id::{DeviceId, RoomId, UserId},
    machine::{
        event::{CallEvent, CallState, EndReason},
        io::{CallMedia, Callee, Ignored, Input, PeerState, RoomNews, Verdict},
    },
    testing::{Cue, OpKind, Sim, millis, room_batch, secs},
    time::Wall,
    wire::{
        call::{Body, Reason},
        delivery::{Place, Protection, RawEvent},
    },
};

use crate::common::{ADA, BEN, Half, Two, half, remote, two};

const CARL: &str = "@carl:example";

fn hangup() -> Body {
    Body::Hangup { reason: None }
}

// ------------------------------------------------------------------------------------- batches

/// 51, T-1.
#[test]
fn an_answer_and_its_candidates_in_one_batch_all_arrive() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ada.hold_sync();
    ben.answer(&room, &call);
    ben.candidates(&room, &call, 0..2);
    sim.run_until_quiet();
    ada.release_sync();
    sim.run_until_quiet();
    let peer = ada.peer();
    assert!(peer.remote.is_some());
    assert_eq!(peer.remote_candidates.len(), 2);
    assert_eq!(ada.state(), Some(CallState::Connecting));
}

/// 52.
#[test]
fn an_invite_and_its_hangup_in_one_batch_do_not_ring() {
    let Half { ada, ben, room, .. } = half();
    let invite = ben.raw("c1", ben.invitation(secs(60)), millis(30));
    let verdicts =
        ada.deliver(room_batch(&room, [invite, ben.raw("c1", hangup(), Duration::ZERO)]));
    assert_eq!(verdicts[0], Verdict::Ignored(Ignored::AlreadyOver));
    assert_eq!(ada.call(), None);
    assert_eq!(ada.missed(), 0);
}

/// 53.
#[test]
fn an_invite_that_our_other_device_answered_in_the_same_batch_does_not_ring() {
    let Half { sim, ada, ben, room } = half();
    let tablet = sim.puppet(ADA, "TABLET");
    let invite = ben.raw("c1", ben.invitation(secs(60)), millis(30));
    let answer = tablet.raw("c1", tablet.acceptance(), Duration::ZERO);
    ada.deliver(room_batch(&room, [invite, answer]));
    assert_eq!((ada.call(), ada.missed()), (None, 0));
}

/// 54.
#[test]
fn an_invite_that_our_other_device_rejected_in_the_same_batch_does_not_ring() {
    let Half { sim, ada, ben, room } = half();
    let tablet = sim.puppet(ADA, "TABLET");
    let invite = ben.raw("c1", ben.invitation(secs(60)), millis(30));
    let reject = tablet.raw("c1", Body::Reject { reason: None }, Duration::ZERO);
    ada.deliver(room_batch(&room, [invite, reject]));
    assert_eq!((ada.call(), ada.missed()), (None, 0));
}

#[test]
fn an_invite_whose_caller_chose_another_device_in_the_same_batch_does_not_ring() {
    let Half { sim, ada, ben, room } = half();
    let tablet = sim.puppet(ADA, "TABLET");
    let invite = ben.raw("c1", ben.invitation(secs(60)), millis(30));
    let select = Body::SelectAnswer { selected: tablet.party().clone() };
    ada.deliver(room_batch(&room, [invite, ben.raw("c1", select, Duration::ZERO)]));
    assert_eq!((ada.call(), ada.missed()), (None, 0));
}

#[test]
fn an_invite_with_an_answer_of_a_stranger_in_the_same_batch_rings() {
    let sim = Sim::new(3);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let ada = sim.device(ADA, "PHONE");
    let (ben, carl) = (sim.puppet(BEN, "B"), sim.puppet(CARL, "C"));
    sim.run_until_quiet();
    let invite = ben.raw("c1", ben.invitation(secs(60)), millis(30));
    let answer = carl.raw("c1", carl.acceptance(), Duration::ZERO);
    let hangup = carl.raw("c1", hangup(), Duration::ZERO);
    ada.deliver(room_batch(&room, [invite, answer, hangup]));
    assert_eq!(ada.state(), Some(CallState::Ringing));
}

#[test]
fn the_candidates_that_follow_an_invite_in_its_batch_are_kept() {
    let Half { sim, ada, ben, room } = half();
    let invite = ben.raw("c1", ben.invitation(secs(60)), millis(30));
    let candidates = Body::Candidates(ben.some_candidates(0..3));
    let verdicts =
        ada.deliver(room_batch(&room, [invite, ben.raw("c1", candidates, Duration::ZERO)]));
    assert_eq!(verdicts[1], Verdict::Handled);
    ada.answer();
    sim.run_until_quiet();
    assert_eq!(ada.peer().remote_candidates.len(), 3);
}

/// 55, T-2.
#[test]
fn an_expired_invite_harms_no_other_event_of_its_batch() {
    let (Half { ada, ben, room, .. }, call) = Half::calling();
    let expired = ben.raw("old", ben.invitation(secs(60)), secs(61));
    let verdicts =
        ada.deliver(room_batch(&room, [expired, ben.raw(&call, hangup(), Duration::ZERO)]));
    assert_eq!(verdicts, [Verdict::Ignored(Ignored::Expired), Verdict::Handled]);
    assert_eq!(ada.end(), remote(EndReason::Hangup));
}

/// 56, T-46.
#[test]
fn malformed_events_harm_no_other_event_of_their_batch() {
    let Half { ada, ben, room, .. } = half();
    let bad = [
        ("m.call.invite", r#"{"call_id":7}"#),
        ("m.call.invite", r#"{"call_id":"x","party_id":"p","version":"1","lifetime":60000}"#),
        ("m.call.invite", r#"{"call_id":"x","party_id":"p","version":"1","lifetime":"soon"}"#),
        ("m.call.candidates", r#"{"call_id":"x","party_id":"p","candidates":{}}"#),
        ("m.call.candidates", r#"{"call_id":"x","party_id":"p"}"#),
        ("m.call.select_answer", r#"{"call_id":"x","party_id":"p","selected_party_id":[]}"#),
        ("m.call.answer", r#"{"call_id":"x","party_id":"p","answer":"v=0"}"#),
        ("m.call.hangup", r#"[]"#),
        ("m.call.hangup", r#"{"call_id":1e400}"#),
        ("m.call.hangup", "{"),
        ("m.call.hangup", ""),
    ];
    let mut events: Vec<RawEvent> = Vec::new();
    for (event_type, content) in bad {
        let mut event = ben.raw("x", hangup(), Duration::ZERO);
        event.event_type = event_type.to_owned();
        event.content = content.to_owned();
        events.push(event);
    }
    events.push(ben.raw("good", ben.invitation(secs(60)), Duration::ZERO));
    let verdicts = ada.deliver(room_batch(&room, events));
    let (last, others) = verdicts.split_last().unwrap();
    assert!(matches!(last, Verdict::Started(_)), "{last:?}");
    for (verdict, (_, content)) in others.iter().zip(bad) {
        assert_eq!(*verdict, Verdict::Ignored(Ignored::Malformed), "{content}");
    }
    assert_eq!(ada.ignored(Ignored::Malformed), bad.len() as u64);
}

/// 58.
#[test]
fn candidates_that_come_while_the_answer_is_being_made_are_applied() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.slow(OpKind::Capture, secs(2));
    ada.slow(OpKind::Open, secs(1));
    ben.candidates(&room, "c1", 0..2);
    sim.run_until_quiet();
    ada.answer();
    sim.advance(secs(1));
    ben.candidates(&room, "c1", 2..4);
    sim.run_until_quiet();
    assert_eq!(ada.peer().remote_candidates.len(), 4);
}

// ----------------------------------------------------------------------------------- staleness

/// 2.
#[test]
fn an_invite_of_1969_does_not_ring() {
    let Half { ada, ben, room, .. } = half();
    let mut invite = ben.raw("c1", ben.invitation(secs(60)), Duration::ZERO);
    invite.facts.age = None;
    invite.facts.sent = Some(Wall(0));
    let verdicts = ada.deliver(room_batch(&room, [invite]));
    assert_eq!(verdicts, [Verdict::Ignored(Ignored::Expired)]);
}

/// 3.
#[test]
fn the_age_that_the_host_knows_goes_before_the_clocks() {
    let Half { sim, ada, ben, room } = half();
    let mut invite = ben.raw("c1", ben.invitation(secs(60)), millis(60_001));
    invite.facts.sent = Some(sim.now().wall);
    let verdicts = ada.deliver(room_batch(&room, [invite]));
    assert_eq!(verdicts, [Verdict::Ignored(Ignored::Expired)]);
    let mut invite = ben.raw("c2", ben.invitation(secs(60)), millis(10));
    invite.facts.sent = Some(Wall(0));
    let verdicts = ada.deliver(room_batch(&room, [invite]));
    assert!(matches!(verdicts[0], Verdict::Started(_)));
}

/// 57.
#[test]
fn of_the_invites_in_a_first_sync_only_the_living_ring() {
    let sim = Sim::new(4);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ben = sim.puppet(BEN, "LAPTOP").calling(ADA);
    let ada = sim.device(ADA, "PHONE");
    sim.run_until_quiet();
    ada.crash();
    ben.invite(&room, "old", secs(60));
    sim.advance(secs(45));
    ben.invite(&room, "new", secs(60));
    sim.advance(secs(30));
    ada.restart();
    assert_eq!(ada.calls().len(), 1);
    assert_eq!(ada.snapshot().unwrap().call_id.as_str(), "new");
    assert!(ada.is_ringing());
}

/// 60.
#[test]
fn an_invite_that_is_decrypted_after_its_hangup_does_not_ring() {
    let Half { ada, ben, room, .. } = half();
    let verdicts = ada.deliver(room_batch(&room, [ben.raw("c1", hangup(), Duration::ZERO)]));
    assert_eq!(verdicts, [Verdict::Ignored(Ignored::Parked)]);
    let invite = ben.raw("c1", ben.invitation(secs(60)), secs(5));
    let verdicts = ada.deliver(room_batch(&room, [invite]));
    assert_eq!(verdicts, [Verdict::Ignored(Ignored::AlreadyOver)]);
    assert_eq!(ada.call(), None);
}

#[test]
fn an_invite_that_is_decrypted_after_its_candidates_rings_and_has_them() {
    let Half { sim, ada, ben, room } = half();
    let candidates = Body::Candidates(ben.some_candidates(0..2));
    ada.deliver(room_batch(&room, [ben.raw("c1", candidates, Duration::ZERO)]));
    sim.advance(secs(3));
    ada.deliver(room_batch(&room, [ben.raw("c1", ben.invitation(secs(60)), secs(4))]));
    assert!(ada.is_ringing());
    ada.answer();
    sim.run_until_quiet();
    assert_eq!(ada.peer().remote_candidates.len(), 2);
}

#[test]
fn an_invite_that_is_decrypted_after_our_other_device_answered_does_not_ring() {
    let Half { sim, ada, ben, room } = half();
    let tablet = sim.puppet(ADA, "TABLET");
    tablet.answer(&room, "c1");
    sim.run_until_quiet();
    ben.invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    assert_eq!((ada.call(), ada.missed()), (None, 0));
}

#[test]
fn what_waits_for_an_invite_is_bounded_and_the_oldest_goes_first() {
    let Half { ada, ben, room, .. } = half();
    for number in 0..2_000 {
        let event = ben.raw(&format!("call{number}"), hangup(), Duration::ZERO);
        ada.deliver(room_batch(&room, [event]));
    }
    let invite = |call: &str| room_batch(&room, [ben.raw(call, ben.invitation(secs(60)), secs(1))]);
    assert_eq!(ada.deliver(invite("call1999")), [Verdict::Ignored(Ignored::AlreadyOver)]);
    assert!(matches!(ada.deliver(invite("call0"))[0], Verdict::Started(_)));
}

/// 63.
#[test]
fn an_invite_that_comes_again_after_the_end_does_not_ring_again() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.repeat_sync();
    assert_eq!(ada.calls().len(), 1, "while it rings it is the same call");
    ada.reject();
    sim.run_until_quiet();
    ada.redeliver(&room, 2);
    sim.run_until_quiet();
    ben.invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 1);
    assert!(!ada.is_ringing());
}

#[test]
fn a_batch_that_comes_twice_changes_nothing() {
    let two = Two::connected();
    let before = (two.ada.snapshot(), two.ben.snapshot());
    let sent = (two.ada.sent_types(), two.ben.sent_types());
    two.ada.redeliver(&two.room, 10);
    two.ben.redeliver(&two.room, 10);
    two.sim.run_until_quiet();
    assert_eq!((two.ada.snapshot(), two.ben.snapshot()), before);
    assert_eq!((two.ada.sent_types(), two.ben.sent_types()), sent);
}

// ------------------------------------------------------------------------------------ versions

/// 61.
#[test]
fn every_version_is_understood() {
    for version in [r#""1""#, "1", r#""2""#, r#""org.example""#] {
        let Half { sim, room, ada, ben } = half();
        let (event_type, content) = ben.message("c1", ben.invitation(secs(60))).write();
        let content = content.replace(r#""version":"1""#, &format!(r#""version":{version}"#));
        ben.say_json(&room, &event_type, &content);
        sim.run_until_quiet();
        assert!(ada.is_ringing(), "version {version}");
    }
}

/// 61.
#[test]
fn a_caller_of_version_0_is_answered_and_connected() {
    let Half { sim, room, ada, ben } = half();
    let ben = ben.version_0();
    ben.invite(&room, "c1", secs(60));
    ben.candidates(&room, "c1", 0..2);
    sim.run_until_quiet();
    ada.answer();
    sim.run_until_quiet();
    assert_eq!(ada.peer().remote_candidates.len(), 2);
    ada.force(PeerState::Connected);
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
    ben.hangup(&room, "c1", None);
    sim.run_until_quiet();
    assert_eq!(ada.end(), remote(EndReason::Hangup));
}

/// 61.
#[test]
fn a_callee_of_version_0_may_answer_and_hear() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    let ben = ben.version_0();
    ben.answer(&room, &call);
    ben.candidates(&room, &call, 0..2);
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connecting));
    assert_eq!(ada.peer().remote_candidates.len(), 2);
    assert!(!ada.sent_types().contains(&"select_answer".to_owned()), "nobody to select");
}

/// A version 0 caller knows no reject.
#[test]
fn a_caller_of_version_0_is_refused_with_a_hangup() {
    let Half { sim, room, ada, ben } = half();
    ben.version_0().invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    ada.reject();
    sim.run_until_quiet();
    assert_eq!(ada.sent_types(), ["hangup"]);
}

// ---------------------------------------------------------------------------------- addressing

/// 62.
#[test]
fn our_own_events_come_back_and_change_nothing() {
    let two = Two::connected();
    assert!(two.ada.ignored(Ignored::Echo) >= 2, "invite and select_answer");
    assert!(two.ben.ignored(Ignored::Echo) >= 1, "answer");
    assert_eq!((two.ada.calls().len(), two.ben.calls().len()), (1, 1));
}

/// 104.
#[test]
fn an_invite_rings_only_where_it_is_addressed() {
    let rings = |invitee: Option<&str>, device: Option<&str>| {
        let Half { sim, room, ada, ben } = half();
        let ben = invitee.map_or(ben.clone(), |user| ben.calling(user));
        let ben = device.map_or(ben.clone(), |device| ben.calling_device(device));
        ben.invite(&room, "c1", secs(60));
        sim.run_until_quiet();
        ada.is_ringing()
    };
    assert!(rings(None, None));
    assert!(rings(Some(ADA), None));
    assert!(rings(Some(ADA), Some("PHONE")));
    assert!(rings(None, Some("PHONE")));
    assert!(!rings(Some(CARL), None));
    assert!(!rings(Some(ADA), Some("TABLET")));
    assert!(!rings(None, Some("TABLET")));
}

/// 105, 62.
#[test]
fn a_call_between_our_own_devices_rings_only_where_it_is_addressed() {
    let sim = Sim::new(5);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.user(ADA);
    let (phone, tablet, watch) = (ada.device("PHONE"), ada.device("TABLET"), ada.device("WATCH"));
    let device = DeviceId::parse("TABLET").unwrap();
    phone.call_to(&room, Callee::Device(ada.id().clone(), device), CallMedia::Voice);
    sim.run_until_quiet();
    assert!(tablet.is_ringing());
    assert_eq!(watch.call(), None);
    tablet.answer();
    sim.run_until_quiet();
    assert_eq!(phone.state(), Some(CallState::Connected), "{}", sim.column());
    assert_eq!(tablet.state(), Some(CallState::Connected));
    assert_eq!(phone.streams().len(), 2);
    assert_eq!(tablet.streams()[0].side, matrix_voip::machine::event::Side::Remote);
    tablet.hangup();
    sim.run_to_the_end();
    assert_eq!(phone.end(), remote(EndReason::Hangup));
}

/// 106.
#[test]
fn the_same_call_id_in_two_rooms_means_two_calls() {
    let sim = Sim::new(6);
    let (one, other) =
        (sim.room("!one:example", [ADA, BEN]), sim.room("!other:example", [ADA, CARL]));
    let ada = sim.device(ADA, "PHONE");
    let (ben, carl) = (sim.puppet(BEN, "B"), sim.puppet(CARL, "C"));
    ben.invite(&one, "c1", secs(60));
    carl.invite(&other, "c1", secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    assert_eq!(calls.len(), 2);
    ben.hangup(&one, "c1", None);
    sim.run_until_quiet();
    assert_eq!(ada.state_of(calls[0]), Some(CallState::Ended));
    assert_eq!(ada.state_of(calls[1]), Some(CallState::Ringing));
}

// ---------------------------------------------------------------------------------- protection

#[test]
fn a_call_in_the_clear_does_not_ring_in_an_encrypted_room() {
    let Half { ada, ben, room, .. } = half();
    let mut batch = room_batch(&room, [ben.raw("c1", ben.invitation(secs(60)), Duration::ZERO)]);
    batch.place = Place::Room { room: room.clone(), encrypted: true };
    let clear = ada.deliver(batch.clone());
    assert_eq!(clear, [Verdict::Ignored(Ignored::PlaintextInEncryptedRoom)]);
    batch.events[0].facts.protection = Protection::Unverified;
    assert!(matches!(ada.deliver(batch)[0], Verdict::Started(_)));
}

#[test]
fn a_room_that_the_host_called_encrypted_stays_so() {
    let Half { ada, ben, room, .. } = half();
    ada.input(Input::Room(room.clone(), RoomNews::Encrypted));
    let batch = room_batch(&room, [ben.raw("c1", ben.invitation(secs(60)), Duration::ZERO)]);
    assert_eq!(ada.deliver(batch), [Verdict::Ignored(Ignored::PlaintextInEncryptedRoom)]);
}

#[test]
fn a_call_in_an_encrypted_room_connects() {
    let two = two();
    two.sim.server(|server| server.encrypt(&two.room));
    two.sim.run_until_quiet();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ada.state(), Some(CallState::Connected));
}

#[test]
fn an_ignored_user_cannot_ring_and_cannot_end() {
    let Half { sim, room, ada, ben } = half();
    let ben_id = UserId::parse(BEN).unwrap();
    ada.input(Input::IgnoredUsers([ben_id].into()));
    ben.invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.call(), None);
    assert_eq!(ada.ignored(Ignored::IgnoredUser), 1);
}

#[test]
fn a_user_who_is_ignored_while_he_rings_rings_no_more() {
    let Half { sim, room, ada, ben } = half();
    ben.invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
    ada.input(Input::IgnoredUsers([UserId::parse(CARL).unwrap()].into()));
    assert!(ada.is_ringing(), "somebody else is ignored");
    ada.input(Input::IgnoredUsers([UserId::parse(BEN).unwrap()].into()));
    sim.run_until_quiet();
    assert_eq!((ada.is_ringing(), ada.missed()), (false, 0));
    assert_eq!(ada.state(), Some(CallState::Ended));
    assert!(ada.sent().is_empty(), "nobody is told");
}

#[test]
fn a_call_that_was_taken_goes_on_when_its_caller_is_ignored() {
    let two = Two::connected();
    two.ben.input(Input::IgnoredUsers([UserId::parse(ADA).unwrap()].into()));
    two.sim.run_until_quiet();
    assert_eq!(two.ben.state(), Some(CallState::Connected));
}

#[test]
fn somebody_who_is_not_in_the_room_cannot_ring() {
    let Half { ada, sim, room, .. } = half();
    let carl = sim.puppet(CARL, "C");
    let batch = room_batch(&room, [carl.raw("c1", carl.invitation(secs(60)), Duration::ZERO)]);
    assert_eq!(ada.deliver(batch), [Verdict::Ignored(Ignored::NotInRoom)]);
}

/// 89.
#[test]
fn events_of_a_stranger_do_not_touch_a_call() {
    let sim = Sim::new(7);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    let carl = sim.puppet(CARL, "C");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    let call = ada.snapshot().unwrap().call_id.to_string();
    carl.answer(&room, &call);
    carl.reject(&room, &call);
    carl.hangup(&room, &call, None);
    carl.candidates(&room, &call, 0..2);
    carl.select(&room, &call, carl.party());
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::InviteSent));
    assert_eq!(ben.state(), Some(CallState::Ringing));
    ben.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
    carl.hangup(&room, &call, None);
    sim.run_until_quiet();
    assert_eq!(ben.state(), Some(CallState::Connected));
}

/// 89.
#[test]
fn another_device_of_the_callee_cannot_speak_in_his_call() {
    let two = Two::connected();
    let call = two.ada.snapshot().unwrap().call_id.to_string();
    let other = two.sim.puppet(BEN, "OTHER");
    other.hangup(&two.room, &call, Some(Reason::UserHangup));
    other.candidates(&two.room, &call, 0..2);
    two.sim.run_until_quiet();
    assert_eq!(two.ada.state(), Some(CallState::Connected));
}

// ------------------------------------------------------------------------------------- ringing

/// T-47.
#[test]
fn the_hangup_of_one_call_stops_only_its_own_ringing() {
    let sim = Sim::new(8);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let ada = sim.device(ADA, "PHONE");
    let (ben, carl) = (sim.puppet(BEN, "B"), sim.puppet(CARL, "C"));
    ben.invite(&room, "c1", secs(60));
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    carl.hangup(&room, "nobody-knows", None);
    carl.hangup(&room, "c2", None);
    sim.run_until_quiet();
    let calls = ada.calls();
    assert_eq!(ada.state_of(calls[0]), Some(CallState::Ringing));
    assert!(ada.is_ringing());
    assert_eq!(ada.state_of(calls[1]), Some(CallState::Ended));
}

#[test]
fn at_most_eight_calls_ring_at_once() {
    let sim = Sim::new(9);
    let users: Vec<String> = (0..12).map(|number| format!("@user{number}:example")).collect();
    let members = users.iter().map(String::as_str).chain([ADA]);
    let room: RoomId = sim.room("!room:example", members);
    let ada = sim.device(ADA, "PHONE");
    sim.run_until_quiet();
    for (number, user) in users.iter().enumerate() {
        sim.puppet(user, "D").invite(&room, &format!("c{number}"), secs(60));
    }
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 8);
    assert_eq!(ada.ignored(Ignored::TooManyRinging), 4);
    assert_eq!(ada.missed(), 0);
    sim.puppet(&users[0], "D").hangup(&room, "c0", None);
    sim.puppet(CARL, "C");
    sim.run_until_quiet();
    sim.puppet(&users[0], "D").invite(&room, "again", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 9, "there is room for one again");
}

#[test]
fn a_device_may_be_told_to_ring_less() {
    let sim = Sim::new(10);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let mut config = Config::default();
    config.max_ringing = 1;
    let ada = sim.user(ADA).device_with("PHONE", config);
    sim.puppet(BEN, "B").invite(&room, "c1", secs(60));
    sim.puppet(CARL, "C").invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 1);
}

/// T-49.
#[test]
fn a_snapshot_and_the_events_after_it_tell_the_whole_call() {
    // The kit folds every event from `CallAdded` on and compares with the machine's snapshot
    // after every step; here, that a handle taken in the middle does as well.
    let two = Two::ringing();
    let session = two.ben.call().unwrap();
    let seen = two.ben.events_of(session).len();
    let mut late = two.ben.snapshot().unwrap();
    two.ben.answer();
    two.sim.run_until_quiet();
    for event in &two.ben.events_of(session)[seen..] {
        late.apply(event);
    }
    assert_eq!(Some(&late), two.ben.snapshot().as_ref());
    two.ada.hangup();
    two.sim.run_to_the_end();
    let last = two.ben.events_of(session).pop();
    assert!(matches!(last, Some(CallEvent::Ended(_))));
}

/// T-9, 59.
#[test]
fn a_hangup_while_the_microphone_is_asked_for_ends_the_call_once_and_leaves_it_closed() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.next(OpKind::Capture, Cue::works().after(secs(8)));
    ada.answer();
    sim.advance(secs(2));
    ben.hangup(&room, "c1", None);
    sim.run_to_the_end();
    let events = ada.events_of(ada.call().unwrap());
    let ends = events.iter().filter(|event| matches!(event, CallEvent::Ended(_))).count();
    assert_eq!(ends, 1);
    assert_eq!(ada.end(), remote(EndReason::Hangup));
    assert!(ada.tracks().is_empty(), "granted after the hangup, and not left open");
    assert!(ada.sent().is_empty(), "no answer to a call that is over");
}
