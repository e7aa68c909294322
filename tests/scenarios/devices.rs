//! Our own other devices: ringing stops everywhere at once, and nobody missed anything.

use matrix_voip::{
    id::{DeviceId, RoomId, UserId},
    machine::{
        event::{CallState, EndReason, RingStop, Side, VoipEvent},
        io::{CallCommand, CallMedia, Callee, Ignored, MediaKind, MediaSource},
    },
    testing::{Device, OpKind, Sim, secs},
    wire::metadata::Purpose,
};

use crate::common::{ADA, BEN, Half, remote};

/// Ada calls Ben, whose phone and laptop ring.
struct Three {
    sim: Sim,
    room: RoomId,
    ada: Device,
    phone: Device,
    laptop: Device,
}

fn three() -> Three {
    let sim = Sim::new(31);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let (phone, laptop) = (sim.device(BEN, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert!(phone.is_ringing() && laptop.is_ringing(), "several of our devices may ring");
    Three { sim, room, ada, phone, laptop }
}

fn ring_stop(device: &Device) -> Option<RingStop> {
    device.voip_events().into_iter().find_map(|event| match event {
        VoipEvent::RingStopped { why, .. } => Some(why),
        _ => None,
    })
}

/// 75, T-16.
#[test]
fn answer_on_another_device_stops_our_ringing() {
    let Three { sim, ada, phone, laptop, .. } = three();
    // The caller's select_answer must not be what stops it.
    ada.always(OpKind::SendEvent, matrix_voip::testing::Cue::works().after(secs(20)));
    phone.answer();
    sim.advance(secs(1));
    assert!(!laptop.is_ringing());
    assert_eq!(laptop.end(), remote(EndReason::AnsweredElsewhere));
    assert_eq!(ring_stop(&laptop), Some(RingStop::Elsewhere));
    sim.advance(secs(30));
    assert_eq!(phone.state(), Some(CallState::Connected));
    assert_eq!((laptop.missed(), phone.missed()), (0, 0));
    assert!(laptop.sent().is_empty());
}

/// 75, T-16, as a column.
#[test]
fn of_two_ringing_devices_the_one_that_answers_has_the_call() {
    let Three { sim, phone, .. } = three();
    sim.advance(secs(4));
    phone.answer();
    sim.run_until_quiet();
    sim.column().calls().expect(
        "
        0.000 ada        calls @ben:example (voice)
        0.090 ada        sends m.call.invite
        0.110 ben/PHONE  rings
        0.110 ben/LAPTOP rings
        0.110 ada        is invite_sent
        0.130 ada        sends m.call.candidates
        *     ben/PHONE  answers
        *     ben/PHONE  stops ringing (answered)
        *     ben/PHONE  is answering
        *     ben/PHONE  is connecting
        *     ben/PHONE  sends m.call.answer
        *     ada        is connecting
        *     ben/LAPTOP stops ringing (elsewhere)
        *     ben/LAPTOP ended: remote answered_elsewhere
        *     ada        sends m.call.select_answer
        *     ben/PHONE  sends m.call.candidates
        *     ada        is connected
        *     ben/PHONE  is connected
        ",
    );
}

/// 74, T-16.
#[test]
fn reject_on_another_device_stops_our_ringing() {
    let Three { sim, ada, phone, laptop, .. } = three();
    laptop.reject();
    sim.run_to_the_end();
    assert_eq!(phone.end(), remote(EndReason::RejectedElsewhere));
    assert_eq!(ring_stop(&phone), Some(RingStop::Elsewhere));
    assert_eq!((laptop.missed(), phone.missed()), (0, 0));
    assert!(phone.sent().is_empty());
    assert_eq!(ada.end(), remote(EndReason::Rejected));
}

/// T-16: older clients hang up instead of rejecting.
#[test]
fn hangup_by_another_device_stops_our_ringing() {
    let Half { sim, room, ada, .. } = Half::ringing();
    sim.puppet(ADA, "TABLET").hangup(&room, "c1", None);
    sim.run_to_the_end();
    assert_eq!(ada.end(), remote(EndReason::RejectedElsewhere));
    assert_eq!(ada.missed(), 0);
}

#[test]
fn a_silent_rejection_lets_our_other_devices_ring_on() {
    let Three { sim, ada, phone, laptop, .. } = three();
    laptop.reject_silently();
    sim.advance(secs(10));
    assert!(phone.is_ringing());
    phone.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
}

/// 5.
#[test]
fn the_choice_of_another_party_stops_our_ringing() {
    let Half { sim, room, ada, ben } = Half::ringing();
    let tablet = sim.puppet(ADA, "TABLET");
    ben.select(&room, "c1", tablet.party());
    sim.run_to_the_end();
    assert_eq!(ada.end(), remote(EndReason::AnsweredElsewhere));
    assert_eq!(ada.missed(), 0);
    assert!(ada.sent().is_empty());
}

#[test]
fn only_the_caller_can_choose() {
    let Half { sim, room, ada, .. } = Half::ringing();
    let tablet = sim.puppet(ADA, "TABLET");
    let other = sim.puppet(BEN, "OTHER");
    other.select(&room, "c1", tablet.party());
    tablet.select(&room, "c1", tablet.party());
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}

#[test]
fn the_device_that_answered_second_is_told_and_closes_everything() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.answer();
    sim.run_until_quiet();
    ben.select(&room, "c1", sim.puppet(ADA, "TABLET").party());
    sim.run_to_the_end();
    assert_eq!(ada.end(), remote(EndReason::AnsweredElsewhere));
    assert!(ada.peers().is_empty() && ada.tracks().is_empty());
    assert!(!ada.sent_types().contains(&"hangup".to_owned()), "the call goes on elsewhere");
}

#[test]
fn what_our_other_device_does_does_not_touch_the_call_that_we_took() {
    let Three { sim, room, phone, laptop, .. } = three();
    phone.answer();
    sim.run_until_quiet();
    assert_eq!(laptop.state(), Some(CallState::Ended));
    let call = phone.snapshot().unwrap().call_id.to_string();
    let tablet = sim.puppet(BEN, "TABLET");
    tablet.reject(&room, &call);
    tablet.hangup(&room, &call, None);
    tablet.answer(&room, &call);
    sim.run_until_quiet();
    assert_eq!(phone.state(), Some(CallState::Connected));
}

#[test]
fn a_call_that_our_other_device_places_does_not_ring_here() {
    let sim = Sim::new(32);
    let room = sim.room("!room:example", [ADA, BEN]);
    let (phone, tablet) = (sim.device(ADA, "PHONE"), sim.device(ADA, "TABLET"));
    let ben = sim.device(BEN, "LAPTOP");
    phone.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    ben.hangup();
    sim.run_to_the_end();
    assert_eq!(tablet.call(), None);
    assert_eq!(tablet.missed(), 0);
}

#[test]
fn the_caller_gives_up_and_every_device_misses_it_once() {
    let Three { sim, ada, phone, laptop, .. } = three();
    ada.hangup();
    sim.run_to_the_end();
    assert_eq!((phone.missed(), laptop.missed()), (1, 1));
    assert!(phone.sent().is_empty() && laptop.sent().is_empty());
}

#[test]
fn a_device_without_the_server_while_another_answers_stops_when_it_is_back() {
    let Three { sim, phone, laptop, .. } = three();
    phone.partition();
    laptop.answer();
    sim.advance(secs(10));
    assert!(phone.is_ringing());
    phone.heal();
    assert!(!phone.is_ringing());
    assert_eq!(phone.missed(), 0);
}

/// Ada's phone calls her desk; her tablet is there too.
fn to_my_desk() -> (Sim, Device, Device, Device) {
    let sim = Sim::new(33);
    let room = sim.room("!room:example", [ADA, BEN]);
    let [phone, desk, tablet] = ["PHONE", "DESK", "TABLET"].map(|name| sim.device(ADA, name));
    let callee = Callee::Device(UserId::parse(ADA).unwrap(), DeviceId::parse("DESK").unwrap());
    phone.call_to(&room, callee, CallMedia::Voice);
    sim.run_until_quiet();
    (sim, phone, desk, tablet)
}

/// Seed 001: `invitee_device_id`. The echo is told by its party id, not by its user.
#[test]
fn a_call_to_one_device_of_my_own_rings_there_alone_and_its_streams_are_remote() {
    let (sim, phone, desk, tablet) = to_my_desk();
    assert_eq!((phone.is_ringing(), desk.is_ringing(), tablet.is_ringing()), (false, true, false));
    desk.answer();
    sim.run_until_quiet();
    for device in [&phone, &desk] {
        assert_eq!(device.state(), Some(CallState::Connected), "{}", sim.column());
        let sides = device.streams().into_iter().map(|stream| stream.side).collect::<Vec<_>>();
        assert_eq!(sides, [Side::Remote, Side::Local]);
    }
    assert_eq!(tablet.call(), None);
    assert!(phone.ignored(Ignored::Echo) > 0, "what the phone sent came back to it");
    let theirs = phone.snapshot().unwrap().remote_party;
    assert_eq!(theirs, Some(desk.snapshot().unwrap().party_id));
}

#[test]
fn two_devices_of_one_user_hold_and_upgrade_as_two_users_do() {
    let (sim, phone, desk, _) = to_my_desk();
    desk.answer();
    sim.run_until_quiet();
    for (one, other) in [(&phone, &desk), (&desk, &phone)] {
        one.act(CallCommand::Hold);
        sim.run_until_quiet();
        assert!(other.snapshot().unwrap().hold.by_them);
        one.act(CallCommand::Unhold);
        sim.run_until_quiet();
        assert!(!other.snapshot().unwrap().hold.by_them);
    }
    phone.act(CallCommand::Start(MediaSource::Camera));
    sim.run_until_quiet();
    let shown = desk.snapshot().unwrap();
    let picture = shown.stream(Side::Remote, &Purpose::UserMedia).unwrap();
    assert!(picture.kinds.contains(&MediaKind::Video) && !picture.video_muted);
    desk.hangup();
    sim.run_until_quiet();
    assert_eq!(phone.end(), remote(EndReason::Hangup));
}

#[test]
fn in_an_encrypted_room_too_the_right_device_of_my_own_rings() {
    let sim = Sim::new(34);
    let room = sim.room("!room:example", [ADA, BEN]);
    sim.server(|server| server.encrypt(&room));
    let [phone, desk, tablet] = ["PHONE", "DESK", "TABLET"].map(|name| sim.device(ADA, name));
    let callee = Callee::Device(UserId::parse(ADA).unwrap(), DeviceId::parse("DESK").unwrap());
    phone.call_to(&room, callee, CallMedia::Voice);
    sim.run_until_quiet();
    assert!(desk.is_ringing() && !tablet.is_ringing());
    desk.answer();
    sim.run_until_quiet();
    assert_eq!(phone.state(), Some(CallState::Connected));
}
