//! The contents of call events, of those around group calls and of those about media keys: first byte, which type; the rest,
//! JSON. Nothing panics, every bound is kept, and what is read can be written and is then read as the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matrix_voip::wire::{
    call::{Body, WireForm},
    candidate::MAX_CANDIDATES_PER_EVENT,
    keys::{KEY_BYTES, KeyBody, MAX_KEYS, is_key_event, read_key_event},
    metadata::MAX_STREAMS,
    notify::{MAX_MENTIONS, MAX_NOTIFICATION_LIFETIME},
    read::read,
    rtc::{RtcEvent, is_rtc_event, read_rtc_event},
};
use matrix_voip_fuzz::EVENT_TYPES;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(content) = std::str::from_utf8(rest) else { return };
    let event_type = EVENT_TYPES[usize::from(*first) % EVENT_TYPES.len()];
    rtc_event(event_type, content);
    key_event(event_type, content);
    let Some(Ok(message)) = read(event_type, content) else { return };
    match &message.body {
        Body::Candidates(candidates) => assert!(candidates.len() <= MAX_CANDIDATES_PER_EVENT),
        Body::MetadataChanged(streams) => assert!(streams.len() <= MAX_STREAMS),
        _ => {}
    }
    if message.header.leg.as_ref().is_some_and(|leg| leg.room_id.is_none()) {
        // A leg that names no room is read from a room, which knows; to-device it is not written.
        return;
    }
    let (written_type, written) = message.write();
    let again = read(&written_type, &written).expect("ours is a call event");
    let again = again.expect("what we write can be read");
    assert_eq!(again.write(), (written_type, written), "writing is stable");
});

fn rtc_event(event_type: &str, content: &str) {
    let Some(read) = read_rtc_event(event_type, content, None) else { return };
    assert!(is_rtc_event(event_type));
    let Ok(event) = read else { return };
    if let RtcEvent::Notification(notification) = &event {
        assert!(notification.lifetime <= MAX_NOTIFICATION_LIFETIME);
        assert!(notification.mentions.users.len() <= MAX_MENTIONS);
    }
    let (written_type, written) = event.write();
    let again = read_rtc_event(&written_type, &written, None).expect("ours is one of these events");
    assert_eq!(again, Ok(event), "what we write is read as the same");
}

fn key_event(event_type: &str, content: &str) {
    let Some(read) = read_key_event(event_type, content) else { return };
    assert!(is_key_event(event_type));
    let Ok(message) = read else { return };
    if let KeyBody::Keys(keys) = &message.body {
        assert!((1..=MAX_KEYS).contains(&keys.len()));
        assert!(keys.iter().all(|key| KEY_BYTES.contains(&key.key.len())));
    }
    for form in [WireForm::Deployed, WireForm::Readme] {
        let (event_type, content) = message.write(form);
        let again = read_key_event(&event_type, content.expose()).expect("ours is about keys");
        assert_eq!(again.as_ref(), Ok(&message), "what we write is read as the same");
    }
}
