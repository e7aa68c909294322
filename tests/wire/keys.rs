//! The to-device messages about media keys: every form of `famedly-dart.md` §2.4 and of seed 001, read,
//! compared with its checked-in typed value, written in both forms, read again.

use matrix_voip::{
    WireForm,
    wire::{
        delivery::Malformed,
        keys::{KEY_BYTES, KeyBody, KeyMessage, MAX_KEYS, is_key_event, read_key_event},
        read::MAX_CONTENT_BYTES,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{Golden, cases, expect_text, files_in};

fn read(case: &Golden) -> Result<KeyMessage, Malformed> {
    let read = read_key_event(&case.fixture.event_type, &case.fixture.content.to_string());
    read.unwrap_or_else(|| panic!("{}: not about keys", case.fixture.name))
}

fn all() -> Vec<Golden> {
    files_in("keys").iter().flat_map(|file| cases(file)).collect()
}

fn fingerprints(message: &KeyMessage) -> Vec<String> {
    match &message.body {
        KeyBody::Keys(keys) => keys.iter().map(|key| key.fingerprint()).collect(),
        KeyBody::Request => Vec::new(),
    }
}

#[test]
fn every_message_about_keys_is_read_as_its_checked_in_value() {
    for file in files_in("keys") {
        let mut text = String::new();
        for case in cases(&file) {
            text += &format!("# {}\n{}\n", case.fixture.name, case.fixture.event_type);
            text += &match read(&case) {
                Ok(message) => format!("{message:#?}\nkeys: {:?}\n\n", fingerprints(&message)),
                Err(why) => format!("malformed: {why}\n\n"),
            };
        }
        expect_text(&file, &text);
    }
}

#[test]
fn every_message_about_keys_is_written_as_expected() {
    for case in all() {
        let written = read(&case).map(|message| message.write(WireForm::Deployed));
        let written = written.map_err(|why| why.to_string());
        let written =
            written.map(|(name, text)| (name, serde_json::from_str(text.expose()).unwrap()));
        assert_eq!(Some(written), case.written, "{}", case.fixture.name);
    }
}

#[test]
fn the_other_form_has_other_names_and_the_same_content() {
    for message in all().iter().filter_map(|case| read(case).ok()) {
        let ((_, deployed), (name, readme)) =
            (message.write(WireForm::Deployed), message.write(WireForm::Readme));
        assert_eq!(deployed, readme);
        let expected = match message.body {
            KeyBody::Keys(_) => "com.famedly.call.encryption_keys",
            KeyBody::Request => "com.famedly.call.encryption_keys.request",
        };
        assert_eq!(name, expected);
        assert_eq!(read_key_event(&name, readme.expose()), Some(Ok(message)));
    }
}

#[test]
fn contents_are_objects_of_bounded_size() {
    let request = "com.famedly.call.member.encryption_keys_request";
    let padded = |size: usize| {
        let content = r#"{"conf_id":"","device_id":"D","room_id":"!r"}"#;
        format!("{content}{}", " ".repeat(size - content.len()))
    };
    assert!(read_key_event(request, &padded(MAX_CONTENT_BYTES)).unwrap().is_ok());
    let larger = read_key_event(request, &padded(MAX_CONTENT_BYTES + 1));
    assert_eq!(larger, Some(Err(Malformed::TooLarge("content"))));
    let deep = "[".repeat(60_000);
    for bad in ["", "7", "[]", "null", "{", &deep] {
        assert_eq!(read_key_event(request, bad), Some(Err(Malformed::NotAnObject)), "{bad:.9}");
    }
}

fn assert_sound(message: &KeyMessage) {
    if let KeyBody::Keys(keys) = &message.body {
        assert!((1..=MAX_KEYS).contains(&keys.len()));
        assert!(keys.iter().all(|key| KEY_BYTES.contains(&key.key.len())));
    }
    for form in [WireForm::Deployed, WireForm::Readme] {
        let (event_type, content) = message.write(form);
        let text = content.expose();
        assert_eq!(read_key_event(&event_type, text), Some(Ok(message.clone())), "{text}");
    }
}

/// One of the messages, with one of its values replaced.
fn mutated() -> impl Strategy<Value = (String, Value)> {
    let events: Vec<_> = all().into_iter().map(|case| case.fixture).collect();
    let events: Vec<_> = events.into_iter().map(|it| (it.event_type, it.content)).collect();
    let places = vec![
        "/keys",
        "/keys/0",
        "/keys/0/index",
        "/keys/0/key",
        "/keys/1/key",
        "/keys/key",
        "/conf_id",
        "/call_id",
        "/device_id",
        "/room_id",
    ];
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3i64..300).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[A-Za-z0-9+/]{22}(==)?".prop_map(Value::from),
        "[A-Za-z0-9_-]{43}=?".prop_map(Value::from),
        "x{250,260}".prop_map(Value::from),
        Just(json!({"index": 7, "key": "AAECAwQFBgcICQoLDA0ODw=="})),
        Just(json!(vec![json!({"index": 7, "key": "AAECAwQFBgcICQoLDA0ODw=="}); 40])),
    ];
    let place = prop::sample::select(places);
    (prop::sample::select(events), place, value).prop_map(|((event_type, mut content), at, new)| {
        if let Some(value) = content.pointer_mut(at) {
            *value = new;
        }
        (event_type, content)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_about_keys_are_read_or_refused((event_type, content) in mutated()) {
        if let Ok(message) = read_key_event(&event_type, &content.to_string()).expect("about keys") {
            assert_sound(&message);
        }
    }

    #[test]
    fn any_text_is_read_or_refused_and_only_what_is_asked_for(
        event_type in ".{0,60}",
        content in ".{0,200}",
    ) {
        prop_assert_eq!(read_key_event(&event_type, &content).is_some(), is_key_event(&event_type));
        let name = "com.famedly.call.encryption_keys";
        prop_assert!(read_key_event(name, &content).is_some());
    }
}
