//! 1:1 calls.

use matrix_voip::{
    config::Unverified,
    id::{DeviceId, RoomId},
    ring::{Inspection, REMEMBERED, RingCall, RingInfo, RingKind, Style, Unusable},
    time::Wall,
    wire::delivery::{Malformed, Place, Protection, RawEvent},
};
use serde_json::{Value, json};

use crate::phone::{
    ADA, BEN, EVE, NOW, Phone, VOICE, call, event, in_room, invite, ms, named, room, the_call, user,
};

#[test]
fn an_invite_rings_with_all_that_a_screen_needs() {
    let expected = RingInfo {
        room: room(),
        caller: user(ADA),
        call: RingCall::OneToOne("c".parse().unwrap()),
        kind: RingKind::Voice,
        style: Style::Ring,
        expires: NOW.plus(ms(60_000)),
        event_id: "$event".parse().unwrap(),
    };
    assert_eq!(expected.id(), the_call());
    assert_eq!(Phone::default().push(&invite(json!({}))), Inspection::Ring(expected));
}

#[test]
fn an_invite_is_of_the_kind_that_the_caller_shows() {
    let video = format!(
        "{VOICE}{}",
        VOICE.split_once("t=0 0\r\n").unwrap().1.replace("m=audio", "m=video")
    );
    let muted = |muted: bool| json!({"s": {"purpose": "m.usermedia", "video_muted": muted}});
    let screen = json!({"s": {"purpose": "m.screenshare", "video_muted": false}});
    for (sdp, streams, kind) in [
        (VOICE, json!(null), RingKind::Voice),
        (video.as_str(), json!(null), RingKind::Video),
        (&video, muted(false), RingKind::Video),
        (&video, muted(true), RingKind::Voice),
        (&video, screen, RingKind::Voice),
        (VOICE, muted(false), RingKind::Voice),
    ] {
        let offer = json!({"sdp": sdp});
        let invite = invite(json!({"offer": offer, "sdp_stream_metadata": streams}));
        match Phone::default().push(&invite) {
            Inspection::Ring(ring) => assert_eq!(ring.kind, kind, "{streams}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Until when an invite rings that is so old, by the host's figure and by clocks.
fn rings_until(lifetime: u64, age: Option<u64>, sent: Option<Wall>) -> Option<Wall> {
    let mut invite = invite(json!({"lifetime": lifetime}));
    invite.facts.age = age.map(ms);
    invite.facts.sent = sent;
    match Phone::default().push(&invite) {
        Inspection::Ring(ring) => Some(ring.expires),
        Inspection::Expired => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invite_rings_for_the_rest_of_its_lifetime() {
    let ago = |ms: u64| Some(Wall(NOW.0 - ms));
    let in_ms = |rest: u64| Some(NOW.plus(ms(rest)));
    assert_eq!(rings_until(60_000, Some(0), None), in_ms(60_000));
    assert_eq!(rings_until(60_000, Some(59_999), None), in_ms(1));
    assert_eq!(rings_until(60_000, Some(60_000), None), None);
    assert_eq!(rings_until(60_000, None, ago(59_999)), in_ms(1));
    assert_eq!(rings_until(60_000, None, ago(60_000)), None);
    assert_eq!(rings_until(60_000, None, None), in_ms(60_000));
    assert_eq!(rings_until(0, Some(0), None), None);
    // The host's figure goes before the clocks.
    assert_eq!(rings_until(60_000, Some(1_000), ago(60_000)), in_ms(59_000));
    assert_eq!(rings_until(60_000, Some(60_000), ago(0)), None);
    // A clock that is ahead makes nothing ring longer.
    assert_eq!(rings_until(60_000, None, in_ms(5_000)), in_ms(60_000));
    // Nobody rings longer than five minutes.
    assert_eq!(rings_until(900_000, Some(0), None), in_ms(300_000));
    assert_eq!(rings_until(900_000, Some(299_999), None), in_ms(1));
    assert_eq!(rings_until(900_000, Some(300_000), None), None);
}

#[test]
fn how_long_an_invite_is_believed_is_a_setting() {
    let mut phone = Phone::default();
    phone.config.timeouts.longest_invite = ms(10_000);
    assert_eq!(phone.expiry(&invite(json!({}))), NOW.plus(ms(10_000)));
}

#[test]
fn an_invite_for_others_does_not_ring() {
    for (sender, changes, rings) in [
        (ADA, json!({"invitee": BEN}), true),
        (ADA, json!({"invitee": EVE}), false),
        (ADA, json!({"invitee_device_id": "PHONE"}), true),
        (ADA, json!({"invitee_device_id": "LAPTOP"}), false),
        (ADA, json!({"invitee": BEN, "invitee_device_id": "PHONE"}), true),
        (ADA, json!({"invitee": EVE, "invitee_device_id": "PHONE"}), false),
        // Calls of ours, to others and to ourselves.
        (BEN, json!({}), false),
        (BEN, json!({"invitee": ADA}), false),
        (BEN, json!({"invitee": BEN}), false),
        (BEN, json!({"invitee_device_id": "PHONE", "device_id": "LAPTOP"}), true),
        (BEN, json!({"invitee_device_id": "PHONE", "device_id": "PHONE"}), false),
        (BEN, json!({"invitee_device_id": "LAPTOP", "device_id": "PHONE"}), false),
    ] {
        let inspection = Phone::default().push(&call("m.call.invite", sender, changes.clone()));
        match rings {
            true => assert!(matches!(inspection, Inspection::Ring(_)), "{sender} {changes}"),
            false => assert_eq!(inspection, Inspection::NotForUs, "{sender} {changes}"),
        }
    }
    // What encryption proves goes before what is claimed.
    let claims = json!({"invitee_device_id": "PHONE", "device_id": "LAPTOP"});
    let mut proven = call("m.call.invite", BEN, claims);
    proven.facts.device = DeviceId::parse("PHONE").ok();
    assert_eq!(Phone::default().push(&proven), Inspection::NotForUs);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Hangup,
    Select,
    Answer,
    Reject,
}

fn end(end: End, sender: &str, party: &str) -> RawEvent {
    let event_type = match end {
        End::Hangup => "m.call.hangup",
        End::Select => "m.call.select_answer",
        End::Answer => "m.call.answer",
        End::Reject => "m.call.reject",
    };
    call(event_type, sender, json!({"party_id": party}))
}

/// Who says what, and what it means for Ada's call to us; `None`: nothing.
fn ends() -> Vec<(RawEvent, Option<Inspection>, String)> {
    let mut all = Vec::new();
    for what in [End::Hangup, End::Select, End::Answer, End::Reject] {
        for (sender, party) in
            [(ADA, "ada"), (ADA, "other"), (BEN, "ben"), (BEN, "ada"), (EVE, "ada")]
        {
            let meaning = match (what, sender, party) {
                (End::Hangup, ADA, "ada") | (End::Hangup, BEN, _) => {
                    Some(Inspection::Ended(the_call()))
                }
                (End::Select, ADA, "ada") | (End::Answer | End::Reject, BEN, _) => {
                    Some(Inspection::AnsweredElsewhere(the_call()))
                }
                _ => None,
            };
            all.push((end(what, sender, party), meaning, format!("{what:?} {sender} {party}")));
        }
    }
    all
}

#[test]
fn the_right_one_stops_a_ring_and_it_does_not_begin_again() {
    for (end, meaning, name) in ends() {
        let mut phone = Phone::default();
        assert!(phone.rings(&invite(json!({}))));
        let said = meaning.clone().unwrap_or(Inspection::Nothing);
        assert_eq!(phone.push(&end), said, "{name}");
        assert_eq!(phone.push(&end), said, "{name} again");
        let again = phone.push(&invite(json!({})));
        assert_eq!(again, meaning.unwrap_or(Inspection::Duplicate), "{name}");
    }
}

#[test]
fn what_was_over_before_its_invite_came_does_not_ring() {
    for (end, meaning, name) in ends() {
        let mut phone = Phone::default();
        let said = phone.push(&end);
        if end.facts.sender == user(BEN) {
            assert_eq!(said, meaning.clone().unwrap_or(Inspection::Nothing), "{name}");
        } else {
            assert_eq!(said, Inspection::Nothing, "{name}: who called is not known yet");
        }
        let rang = phone.push(&invite(json!({})));
        match meaning {
            Some(over) => assert_eq!(rang, over, "{name}"),
            None => assert!(matches!(rang, Inspection::Ring(_)), "{name}: {rang:?}"),
        }
    }
}

#[test]
fn the_first_end_is_the_one_that_counts() {
    let mut phone = Phone::default();
    assert!(phone.rings(&invite(json!({}))));
    let answered = Inspection::AnsweredElsewhere(the_call());
    assert_eq!(phone.push(&end(End::Answer, BEN, "laptop")), answered);
    assert_eq!(phone.push(&end(End::Hangup, ADA, "ada")), answered);
    assert_eq!(phone.push(&invite(json!({}))), answered);
}

#[test]
fn an_end_is_remembered_as_long_as_an_invite_can_live() {
    for (later, remembered) in [(REMEMBERED, true), (REMEMBERED + ms(1), false)] {
        let mut phone = Phone::default();
        phone.push(&end(End::Hangup, ADA, "ada"));
        phone.later = later;
        let mut late = invite(json!({}));
        late.facts.age = Some(ms(0));
        assert_eq!(phone.rings(&late), !remembered, "{later:?}");
    }
    let mut phone = Phone::default();
    phone.config.timeouts.longest_invite = REMEMBERED * 2;
    phone.push(&end(End::Hangup, ADA, "ada"));
    phone.later = REMEMBERED * 2;
    assert_eq!(phone.push(&invite(json!({}))), Inspection::Ended(the_call()));
}

#[test]
fn an_end_is_remembered_from_when_it_came() {
    let mut phone = Phone::default();
    assert!(phone.rings(&invite(json!({}))));
    phone.later = REMEMBERED / 2;
    assert_eq!(phone.push(&end(End::Hangup, ADA, "ada")), Inspection::Ended(the_call()));
    phone.later = REMEMBERED + ms(1);
    let mut late = invite(json!({}));
    late.facts.age = Some(ms(0));
    assert_eq!(phone.push(&late), Inspection::Ended(the_call()));
}

#[test]
fn version_zero_rings_and_ends_without_a_party() {
    let zero = |event_type: &str, sender| call(event_type, sender, json!({"version": 0}));
    let mut phone = Phone::default();
    assert!(phone.rings(&zero("m.call.invite", ADA)));
    assert_eq!(phone.push(&zero("m.call.hangup", EVE)), Inspection::Nothing);
    assert_eq!(phone.push(&zero("m.call.hangup", ADA)), Inspection::Ended(the_call()));
}

#[test]
fn a_call_rings_once_however_often_its_invite_comes() {
    let mut phone = Phone::default();
    assert!(phone.rings(&invite(json!({}))));
    assert_eq!(phone.push(&invite(json!({}))), Inspection::Duplicate);
    assert_eq!(phone.push(&named("$resent", invite(json!({})))), Inspection::Duplicate);
    // The id is taken.
    assert_eq!(phone.push(&call("m.call.invite", EVE, json!({}))), Inspection::Duplicate);
    // Other calls are other calls.
    assert!(phone.rings(&invite(json!({"call_id": "d"}))));
    let other = RoomId::parse("!other:x").unwrap();
    phone.place = Some(Place::Room { room: other, encrypted: false });
    assert!(phone.rings(&invite(json!({}))));
    phone.push(&end(End::Hangup, ADA, "ada"));
    phone.place = None;
    assert_eq!(phone.push(&invite(json!({}))), Inspection::Duplicate);
}

#[test]
fn a_call_from_another_device_of_ours_ends_by_that_device() {
    let mine = json!({"invitee_device_id": "PHONE", "device_id": "LAPTOP", "party_id": "laptop"});
    let mut phone = Phone::default();
    assert!(phone.rings(&call("m.call.invite", BEN, mine.clone())));
    // The caller itself answers nothing.
    assert_eq!(phone.push(&end(End::Answer, BEN, "laptop")), Inspection::Nothing);
    assert_eq!(phone.push(&end(End::Hangup, BEN, "laptop")), Inspection::Ended(the_call()));
    let mut phone = Phone::default();
    assert!(phone.rings(&call("m.call.invite", BEN, mine)));
    let taken = phone.push(&end(End::Answer, BEN, "tablet"));
    assert_eq!(taken, Inspection::AnsweredElsewhere(the_call()));
}

#[test]
fn what_cannot_be_trusted_or_understood_rings_nowhere() {
    let push = |place: Place, protection, policy, changes: Value| {
        let mut phone = Phone { place: Some(place), ..Phone::default() };
        phone.config.unverified = policy;
        let mut invite = invite(changes);
        invite.facts.protection = protection;
        phone.push(&invite)
    };
    let (allow, refuse) = (Unverified::Allow, Unverified::Refuse);
    let refused = |why| Inspection::Unusable(why);
    let rings = |inspection: Inspection| matches!(inspection, Inspection::Ring(_));
    let clear = push(in_room(true), Protection::Clear, allow, json!({}));
    assert_eq!(clear, refused(Unusable::Plaintext));
    let unverified = push(in_room(true), Protection::Unverified, refuse, json!({}));
    assert_eq!(unverified, refused(Unusable::UnverifiedDevice));
    assert!(rings(push(in_room(true), Protection::Unverified, allow, json!({}))));
    assert!(rings(push(in_room(true), Protection::Verified, refuse, json!({}))));
    assert!(rings(push(in_room(false), Protection::Clear, refuse, json!({}))));
    let bad = |changes| push(in_room(false), Protection::Clear, allow, changes);
    let malformed = |why| refused(Unusable::Malformed(why));
    assert_eq!(bad(json!({"offer": null})), malformed(Malformed::Missing("offer")));
    assert_eq!(bad(json!({"offer": {"sdp": "v=0"}})), malformed(Malformed::Wrong("offer.sdp")));
    assert_eq!(bad(json!({"call_id": ""})), malformed(Malformed::Missing("call_id")));
    let to_device = push(Place::ToDevice, Protection::Verified, allow, json!({}));
    assert_eq!(to_device, Inspection::Nothing);
    let mut nameless = invite(json!({}));
    nameless.facts.event_id = None;
    assert_eq!(Phone::default().push(&nameless), refused(Unusable::NoEventId));
}

#[test]
fn an_end_in_the_clear_ends_nothing_in_an_encrypted_room() {
    let mut phone = Phone { place: Some(in_room(true)), ..Phone::default() };
    let mut sealed = invite(json!({}));
    sealed.facts.protection = Protection::Verified;
    assert!(phone.rings(&sealed));
    let refused = Inspection::Unusable(Unusable::Plaintext);
    assert_eq!(phone.push(&end(End::Hangup, ADA, "ada")), refused);
    assert_eq!(phone.push(&sealed), Inspection::Duplicate);
}

#[test]
fn what_is_about_no_ring_is_nothing() {
    let mut phone = Phone::default();
    for nothing in [
        event("m.room.message", ADA, &json!({})),
        call("m.call.candidates", ADA, json!({"candidates": []})),
        call("m.call.asserted_identity", ADA, json!({"asserted_identity": {}})),
        // A leg of a mesh.
        invite(json!({"conf_id": ""})),
        call("com.famedly.call.member.invite", ADA, json!({"conf_id": "", "room_id": "!r"})),
    ] {
        assert_eq!(phone.push(&nothing), Inspection::Nothing, "{nothing:?}");
    }
    assert!(phone.seen.is_empty());
}
