//! Whatever a sender makes of an event.

use std::time::Duration;

use matrix_voip::wire::{
    call::{Body, CallMessage, is_call_event, read},
    candidate::MAX_CANDIDATES_PER_EVENT,
    ledger::{Ledger, MAX_LEDGER_BYTES},
    metadata::MAX_STREAMS,
    read::MAX_LIFETIME,
};
use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use crate::fixture;

fn event_type() -> impl Strategy<Value = String> {
    let prefix = prop_oneof!["m\\.call\\.", "com\\.famedly\\.call\\.member\\."];
    let name = prop::sample::select(vec![
        "invite",
        "candidates",
        "answer",
        "select_answer",
        "reject",
        "hangup",
        "negotiate",
        "sdp_stream_metadata_changed",
        "asserted_identity",
        "replaces",
    ]);
    (prefix, name).prop_map(|(prefix, name)| prefix + name)
}

/// JSON whose keys and texts are often those that mean something.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "call_id",
            "party_id",
            "version",
            "0",
            "1",
            "offer",
            "answer",
            "description",
            "sdp",
            "type",
            "candidates",
            "candidate",
            "sdpMid",
            "sdpMLineIndex",
            "lifetime",
            "conf_id",
            "room_id",
            "!r:x",
            "invitee",
            "@a:b",
            "seq",
            "reason",
            "userHangup",
            "purpose",
            "sdp_stream_metadata",
            "capabilities",
            "asserted_identity",
            "selected_party_id",
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
        "x{250,260}",
        Just(String::new()),
    ]
}

/// One of all recorded and golden events, with one node of its JSON replaced.
fn mutated() -> impl Strategy<Value = (String, Value)> {
    let golden = fixture::dialects().into_iter().flat_map(|dialect| fixture::golden(&dialect));
    let mut events: Vec<_> = golden.map(|case| case.fixture).collect();
    events.extend(fixture::all_recorded());
    let events: Vec<_> = events.into_iter().map(|it| (it.event_type, it.content)).collect();
    (prop::sample::select(events), any::<Index>(), json()).prop_map(
        |((event_type, mut content), place, new)| {
            let mut place = place.index(nodes(&content));
            replace(&mut content, &mut place, &new);
            (event_type, content)
        },
    )
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Puts `new` at the node that comes after `skip` others.
fn replace(value: &mut Value, skip: &mut usize, new: &Value) -> bool {
    if *skip == 0 {
        *value = new.clone();
        return true;
    }
    *skip -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|value| replace(value, skip, new)),
        Value::Object(map) => map.values_mut().any(|value| replace(value, skip, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What must hold of any content that was understood.
fn assert_sound(message: &CallMessage) {
    assert!(format!("{message:?}").len() < 200_000);
    match &message.body {
        Body::Invite(invite) => assert!(invite.lifetime <= MAX_LIFETIME),
        Body::Candidates(list) => assert!(list.len() <= MAX_CANDIDATES_PER_EVENT),
        Body::MetadataChanged(streams) => assert!(streams.len() <= MAX_STREAMS),
        Body::Negotiate(it) => assert!(it.lifetime.unwrap_or(Duration::ZERO) <= MAX_LIFETIME),
        Body::Answer(_) | Body::SelectAnswer { .. } | Body::Reject { .. } => {}
        Body::Hangup { .. } | Body::AssertedIdentity(_) | Body::Replaces(_) => {}
    }
    // A leg without room cannot be written: only matrix-js-sdk's legs lack one.
    if message.header.leg.as_ref().is_none_or(|leg| leg.room_id.is_some()) {
        let (event_type, content) = message.write();
        assert_eq!(read(&event_type, &content), Some(Ok(message.clone())), "{content}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_read_or_refused(event_type in event_type(), content in json()) {
        if let Ok(message) = read(&event_type, &content.to_string()).expect("a call event") {
            assert_sound(&message);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(event_type in event_type(), content in ".{0,200}") {
        prop_assert!(read(&event_type, &content).is_some());
    }

    #[test]
    fn any_type_is_known_or_not(event_type in ".{0,60}") {
        prop_assert_eq!(read(&event_type, "{}").is_some(), is_call_event(&event_type));
    }

    #[test]
    fn mutated_events_are_read_or_refused((event_type, content) in mutated()) {
        if let Ok(message) = read(&event_type, &content.to_string()).expect("a call event") {
            assert_sound(&message);
        }
    }

    #[test]
    fn any_bytes_are_a_ledger_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200), it in json()) {
        let _ = Ledger::from_bytes(&bytes);
        let stored = format!(r#"{{"format":1,"live":[{it}],"ended":[{it}],"left_out":{it}}}"#);
        if let Ok(ledger) = Ledger::from_bytes(stored.as_bytes()) {
            prop_assert!(ledger.to_bytes().len() <= MAX_LEDGER_BYTES);
        }
    }
}
