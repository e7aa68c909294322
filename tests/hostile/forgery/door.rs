//! What the parser turns away, and what it leaves unread.
//!
//! There is no guard to switch off: a field of a wrong type has no value that could have an effect.
//! Instead each row shows that the event is taken as soon as that one field is right.

use std::collections::BTreeSet;

use matrix_voip::{
    Config, Identity,
    id::DeviceId,
    machine::io::{Ignored, Input, Verdict},
    record::{Entry, Origin, Replay, Scribe},
    sdp::MAX_SDP_BYTES,
    time::Now,
    wire::{
        call::read,
        delivery::{Batch, Delivery, Malformed, Parsed, Place, RawEvent},
    },
};
use serde_json::{Value, json};

use super::said::{Honest, Moment};
use crate::rig::{room, user};

/// The content of an honest event, as it stands in its room.
fn content(honest: Honest) -> (String, Value) {
    let scene = honest.scene(Moment::default());
    let (event_type, content) = scene.event.call().unwrap().write();
    (event_type, serde_json::from_str(&content).unwrap())
}

/// The same with one field changed; `null`: absent.
fn with(mut content: Value, path: &str, value: Value) -> Value {
    let (parent, field) = path.rsplit_once('/').unwrap();
    let object = content.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value);
    }
    content
}

fn refused() -> Vec<(Honest, &'static str, Value, Malformed)> {
    let huge = || json!("x".repeat(MAX_SDP_BYTES + 1));
    let long = || json!("x".repeat(1000));
    let mut rows = Vec::new();
    for honest in Honest::ALL {
        rows.extend([
            (honest, "/call_id", json!(null), Malformed::Missing("call_id")),
            (honest, "/call_id", json!(7), Malformed::Wrong("call_id")),
            (honest, "/call_id", json!(""), Malformed::Missing("call_id")),
            (honest, "/call_id", long(), Malformed::TooLarge("call_id")),
            (honest, "/party_id", json!({}), Malformed::Wrong("party_id")),
            (honest, "/party_id", long(), Malformed::TooLarge("party_id")),
            (honest, "/device_id", json!([]), Malformed::Wrong("device_id")),
            (honest, "/conf_id", json!(7), Malformed::Wrong("conf_id")),
        ]);
    }
    rows.extend([
        (Honest::Invite, "/offer", json!(null), Malformed::Missing("offer")),
        (Honest::Invite, "/offer", json!("v=0"), Malformed::Wrong("offer")),
        (Honest::Invite, "/offer/sdp", json!(7), Malformed::Missing("offer.sdp")),
        (Honest::Invite, "/offer/sdp", huge(), Malformed::TooLarge("offer.sdp")),
        (Honest::Invite, "/invitee", json!("nobody"), Malformed::Wrong("invitee")),
        (Honest::Invite, "/invitee_device_id", json!(7), Malformed::Wrong("invitee_device_id")),
        (Honest::Answer, "/answer", json!([]), Malformed::Wrong("answer")),
        (Honest::Answer, "/answer/sdp", json!(null), Malformed::Missing("answer.sdp")),
        (Honest::Answer, "/answer/sdp", huge(), Malformed::TooLarge("answer.sdp")),
        (Honest::Candidates, "/candidates", json!(null), Malformed::Missing("candidates")),
        (Honest::Candidates, "/candidates", json!({}), Malformed::Wrong("candidates")),
        (Honest::Select, "/selected_party_id", json!(7), Malformed::Wrong("selected_party_id")),
        (
            Honest::Select,
            "/selected_party_id",
            json!(null),
            Malformed::Missing("selected_party_id"),
        ),
        (Honest::Negotiate, "/description", json!(7), Malformed::Wrong("description")),
        (Honest::Negotiate, "/description/type", json!("x"), Malformed::Wrong("description.type")),
        (Honest::Negotiate, "/description/sdp", huge(), Malformed::TooLarge("description.sdp")),
        (
            Honest::Identity,
            "/asserted_identity",
            json!("carl"),
            Malformed::Wrong("asserted_identity"),
        ),
    ]);
    rows
}

/// Hands an event to the engine of its moment; its verdict, and whether anything changed.
fn hand(honest: Honest, event_type: &str, content: &str) -> (Verdict, bool) {
    let mut scene = honest.scene(Moment::default());
    let (facts, event_type) = (scene.event.facts.clone(), event_type.to_owned());
    let raw = RawEvent { facts, event_type, content: content.to_owned(), redacts: None };
    let place = Place::Room { room: room("r"), encrypted: false };
    let delivery = Batch { place, events: vec![raw] }.parse();
    let before = scene.rig.engine.fingerprint();
    let verdict = match scene.rig.input(Input::Deliver(delivery)) {
        Verdict::Batch(mut verdicts) => verdicts.remove(0),
        other => panic!("{other:?}"),
    };
    (verdict, scene.rig.engine.fingerprint() != before)
}

#[test]
fn a_field_of_a_wrong_type_or_size_is_turned_away_at_the_door() {
    for (honest, path, value, why) in refused() {
        let (event_type, content) = content(honest);
        let (right, changed) = hand(honest, &event_type, &content.to_string());
        assert!(changed && !matches!(right, Verdict::Ignored(_)), "{honest:?}: {right:?}");
        let forged = with(content, path, value).to_string();
        assert_eq!(read(&event_type, &forged), Some(Err(why)), "{honest:?} {path}");
        let (verdict, changed) = hand(honest, &event_type, &forged);
        assert_eq!(verdict, Verdict::Ignored(Ignored::Malformed), "{honest:?} {path}");
        assert!(!changed, "{honest:?} {path}");
    }
}

/// A key that a whole room can read is none, however good it looks; nor is a request asked there.
#[test]
fn a_media_key_in_a_room_is_at_the_wrong_place_and_a_bad_one_is_turned_away_at_the_door() {
    let names = [
        "com.famedly.call.member.encryption_keys",
        "com.famedly.call.member.encryption_keys_request",
        "com.famedly.call.encryption_keys",
        "com.famedly.call.encryption_keys.request",
    ];
    let good = json!({"keys": [{"index": 0, "key": "AAECAwQFBgcICQoLDA0ODw=="}], "conf_id": "",
                      "device_id": "D", "room_id": "!r"});
    let cases = [
        (good.clone(), Ignored::WrongPlace),
        (with(good.clone(), "/room_id", json!(7)), Ignored::Malformed),
        (with(good.clone(), "/device_id", json!("x".repeat(1000))), Ignored::Malformed),
        (with(good, "/conf_id", json!({})), Ignored::Malformed),
    ];
    for name in names {
        for (content, reason) in &cases {
            let (verdict, changed) = hand(Honest::Hangup, name, &content.to_string());
            assert_eq!(verdict, Verdict::Ignored(*reason), "{name} {content}");
            assert!(!changed, "{name} {content}");
        }
    }
}

/// Each name of the door stands in its list, and comes back from a recording as it was.
#[test]
fn what_was_turned_away_is_recorded_by_its_name() {
    let mut whys: BTreeSet<Malformed> = refused().into_iter().map(|(.., why)| why).collect();
    for field in Malformed::FIELDS {
        whys.extend([
            Malformed::Missing(field),
            Malformed::Wrong(field),
            Malformed::TooLarge(field),
        ]);
    }
    let scene = Honest::Hangup.scene(Moment::default());
    let of = |why: &Malformed| {
        let event = Parsed { event: Err(*why), ..scene.event.clone() };
        let place = Place::Room { room: room("r"), encrypted: false };
        Entry::Input(
            Box::new(Input::Deliver(Delivery { place, events: vec![event] })),
            Verdict::Handled,
        )
    };
    let at = Now::default();
    let identity = Identity { user: user("me"), device: DeviceId::parse("ME").unwrap() };
    let origin = Origin { identity, config: Config::default(), seed: 1 };
    let mut scribe = Scribe::begin(Vec::new(), &origin, at).unwrap();
    for why in &whys {
        scribe.note(at, &of(why)).unwrap();
    }
    let file = scribe.finish().unwrap();
    let read = Replay::open(file.as_slice()).unwrap().map(|step| match step.unwrap().entry {
        Entry::Input(input, _) => match *input {
            Input::Deliver(mut delivery) => delivery.events.remove(0).event.unwrap_err(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    assert!(read.eq(whys));
}

/// A redacted event has an empty content.
#[test]
fn a_redacted_or_unreadable_or_oversized_event_is_turned_away_at_the_door() {
    for honest in Honest::ALL {
        let (event_type, content) = content(honest);
        let padded = with(content, "/padding", json!("x".repeat(200_000))).to_string();
        for forged in ["{}", "[]", "null", "7", "{", &padded] {
            let (verdict, changed) = hand(honest, &event_type, forged);
            let shown: String = forged.chars().take(9).collect();
            assert_eq!(verdict, Verdict::Ignored(Ignored::Malformed), "{honest:?} {shown}");
            assert!(!changed, "{honest:?} {shown}");
        }
    }
}

/// Of these the wrong value counts as none: clients differ, and nothing depends on them.
#[test]
fn an_optional_field_of_a_wrong_type_is_as_good_as_absent() {
    let long = || json!("x".repeat(1000));
    let rows = [
        (Honest::Hangup, "/reason", json!(7)),
        (Honest::Reject, "/reason", json!([])),
        (Honest::Invite, "/lifetime", json!({})),
        (Honest::Negotiate, "/lifetime", json!([])),
        (Honest::Invite, "/capabilities", json!("m.call.dtmf")),
        (Honest::Answer, "/capabilities", json!(7)),
        (Honest::Invite, "/sdp_stream_metadata", json!("streams")),
        (Honest::Answer, "/sdp_stream_metadata", json!([])),
        (Honest::Replaces, "/replacement_id", json!(7)),
        (Honest::Replaces, "/target_room", long()),
        (Honest::Identity, "/asserted_identity/id", json!(7)),
        (Honest::Identity, "/asserted_identity/id", long()),
    ];
    for (honest, path, value) in rows {
        let (event_type, content) = content(honest);
        let absent = with(content.clone(), path, json!(null)).to_string();
        let wrong = with(content, path, value).to_string();
        assert_eq!(read(&event_type, &wrong), read(&event_type, &absent), "{honest:?} {path}");
        assert!(matches!(read(&event_type, &wrong), Some(Ok(_))), "{honest:?} {path}");
    }
}
