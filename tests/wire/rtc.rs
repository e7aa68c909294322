//! The events around group calls: every form of `famedly-dart.md` §2.4 and §2.5, read, compared with
//! its checked-in typed value, written again, read again.

use matrix_voip::{
    id::EventId,
    wire::{
        call,
        delivery::Malformed,
        notify::{MAX_MENTIONS, MAX_NOTIFICATION_LIFETIME},
        read::MAX_CONTENT_BYTES,
        rtc::{RtcEvent, is_rtc_event, read_rtc_event},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{Golden, cases, expect_text, rtc_files};

type Read = Option<Result<RtcEvent, Malformed>>;

fn read(case: &Golden) -> Read {
    let redacts = case.redacts.as_ref().map(|id| EventId::parse(id).unwrap());
    let Golden { fixture, .. } = case;
    read_rtc_event(&fixture.event_type, &fixture.content.to_string(), redacts.as_ref())
}

fn all() -> Vec<Golden> {
    rtc_files().iter().flat_map(|file| cases(file)).collect()
}

#[test]
fn every_event_around_a_group_call_is_read_as_its_checked_in_value() {
    for file in rtc_files() {
        let mut text = String::new();
        for case in cases(&file) {
            text += &format!("# {}\n{}\n", case.fixture.name, case.fixture.event_type);
            text += &match read(&case) {
                Some(Ok(event)) => format!("{event:#?}\n\n"),
                Some(Err(why)) => format!("malformed: {why}\n\n"),
                None => "nothing\n\n".to_owned(),
            };
        }
        expect_text(&file, &text);
    }
}

#[test]
fn every_event_around_a_group_call_is_written_as_expected() {
    for case in all() {
        let written = read(&case).map(|read| {
            let written = read.map(|event| event.write()).map_err(|why| why.to_string())?;
            Ok((written.0, serde_json::from_str::<Value>(&written.1).unwrap()))
        });
        assert_eq!(written, case.written, "{}", case.fixture.name);
    }
}

#[test]
fn what_is_written_is_read_as_the_same() {
    for case in all() {
        if let Some(Ok(event)) = read(&case) {
            let (event_type, content) = event.write();
            assert_eq!(read_rtc_event(&event_type, &content, None), Some(Ok(event)), "{content}");
        }
    }
}

#[test]
fn the_reader_of_calls_refuses_the_reject_that_has_no_call() {
    let content = r#"{"call_id":"","application":"m.call.audio"}"#;
    assert_eq!(call::read("m.call.reject", content), Some(Err(Malformed::Missing("call_id"))));
    assert!(matches!(read_rtc_event("m.call.reject", content, None), Some(Ok(_))));
}

#[test]
fn mentions_beyond_their_bound_are_left_unread() {
    let users: Vec<_> = (0..MAX_MENTIONS + 5).map(|n| format!("@u{n:05}:x")).collect();
    let content = json!({"m.relates_to": {"event_id": "$m"}, "m.mentions": {"user_ids": users}});
    let read = read_rtc_event("m.rtc.notification", &content.to_string(), None);
    let Some(Ok(RtcEvent::Notification(notification))) = read else { panic!("{read:?}") };
    assert_eq!(notification.mentions.users.len(), MAX_MENTIONS);
    assert!(notification.mentions.names(&"@u00999:x".parse().unwrap()));
    assert!(!notification.mentions.names(&"@u01000:x".parse().unwrap()));
}

#[test]
fn contents_are_objects_of_bounded_size() {
    let decline = "org.matrix.msc4310.rtc.decline";
    let padded = |size: usize| {
        let content = r#"{"m.relates_to":{"event_id":"$e"}}"#;
        format!("{content}{}", " ".repeat(size - content.len()))
    };
    assert!(read_rtc_event(decline, &padded(MAX_CONTENT_BYTES), None).unwrap().is_ok());
    let larger = read_rtc_event(decline, &padded(MAX_CONTENT_BYTES + 1), None);
    assert_eq!(larger, Some(Err(Malformed::TooLarge("content"))));
    for bad in ["", "7", "[]", "null", "{"] {
        assert_eq!(read_rtc_event(decline, bad, None), Some(Err(Malformed::NotAnObject)), "{bad}");
        // Most of these are something else.
        assert_eq!(read_rtc_event("m.room.redaction", bad, None), None, "{bad}");
        assert_eq!(read_rtc_event("m.call.reject", bad, None), None, "{bad}");
    }
}

/// One of the events, with one of its values replaced.
fn mutated() -> impl Strategy<Value = (String, Value)> {
    let events: Vec<_> = all().into_iter().map(|case| case.fixture).collect();
    let events: Vec<_> = events.into_iter().map(|it| (it.event_type, it.content)).collect();
    let key = prop::sample::select(vec![
        "key",
        "call_id",
        "device_id",
        "scope",
        "redacts",
        "m.relates_to",
        "lifetime",
        "sender_ts",
        "m.mentions",
        "notification_type",
        "m.call.intent",
        "is_ephemeral",
        "application",
    ]);
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "x{250,260}".prop_map(Value::from),
        Just(json!({"room": 1, "user_ids": ["@a:b", "a"], "event_id": "$e"})),
        Just(json!(["@a:b"])),
    ];
    (prop::sample::select(events), key, value).prop_map(|((event_type, mut content), key, new)| {
        content[key] = new;
        (event_type, content)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_events_around_a_group_call_are_read_or_refused((event_type, content) in mutated()) {
        if let Some(Ok(event)) = read_rtc_event(&event_type, &content.to_string(), None) {
            if let RtcEvent::Notification(it) = &event {
                prop_assert!(it.lifetime <= MAX_NOTIFICATION_LIFETIME);
            }
            let (event_type, content) = event.write();
            prop_assert_eq!(read_rtc_event(&event_type, &content, None), Some(Ok(event)));
        }
    }

    #[test]
    fn what_can_be_read_is_asked_for(event_type in ".{0,60}", content in ".{0,60}") {
        let read = read_rtc_event(&event_type, &content, None);
        prop_assert!(read.is_none() || is_rtc_event(&event_type));
    }
}
