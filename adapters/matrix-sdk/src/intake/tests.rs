//! What is believed of an event, and what is not.

use std::{collections::BTreeMap, sync::Arc};

use matrix_sdk::{
    deserialized_responses::{
        AlgorithmInfo, DecryptedRoomEvent, DeviceLinkProblem, UnableToDecryptInfo,
        UnableToDecryptReason,
    },
    ruma::{device_id, user_id},
};
use matrix_voip::time::Mono;
use serde_json::json;

use super::*;

const NOW: Now = Now { mono: Mono(Duration::from_secs(100)), wall: Wall(1_000_000) };
const RECEIVED: Now = Now { mono: Mono(Duration::from_secs(98)), wall: Wall(998_000) };

fn raw<T>(json: &Value) -> Raw<T> {
    Raw::new(json).unwrap().cast_unchecked()
}

/// An invite as matrix-js-sdk and others write it; ruma's own type refuses it twice over.
fn invite() -> Value {
    json!({
        "type": "m.call.invite", "sender": "@ben:x", "event_id": "$1", "origin_server_ts": 990_000,
        "content": { "call_id": "c", "version": 1, "lifetime": 60000.5 },
        "unsigned": { "age": 1500, "membership": "join" },
    })
}

fn plain(event: &Value) -> Item {
    Item::read(&TimelineEvent::from_plaintext(raw(event)), RECEIVED)
}

fn info(verification_state: VerificationState) -> EncryptionInfo {
    EncryptionInfo {
        sender: user_id!("@ben:x").to_owned(),
        sender_device: Some(device_id!("PHONE").to_owned()),
        forwarder: None,
        algorithm_info: AlgorithmInfo::MegolmV1AesSha2 {
            curve25519_key: "k".into(),
            sender_claimed_keys: BTreeMap::new(),
            session_id: Some("s".into()),
        },
        verification_state,
    }
}

fn unverified(level: VerificationLevel) -> EncryptionInfo {
    info(VerificationState::Unverified(level))
}

fn decrypted(event: &Value, info: EncryptionInfo) -> Item {
    let encryption_info = Arc::new(info);
    let event =
        DecryptedRoomEvent { event: raw(event), encryption_info, unsigned_encryption_info: None };
    Item::read(&TimelineEvent::from_decrypted(event, None), RECEIVED)
}

fn utd(session_id: Option<&str>, reason: UnableToDecryptReason) -> What {
    let event = json!({ "type": "m.room.encrypted", "sender": "@ben:x", "event_id": "$1",
        "origin_server_ts": 7, "content": {} });
    let info = UnableToDecryptInfo { session_id: session_id.map(Into::into), reason };
    Item::read(&TimelineEvent::from_utd(raw(&event), info), RECEIVED).what
}

fn call(item: Item) -> RawEvent {
    item.into_event(NOW).expect("a call event")
}

/// Trap 11: ruma rejects a numeric version and a fractional lifetime, and the event disappears.
#[test]
fn a_content_reaches_the_core_as_it_was_sent() {
    let event = call(plain(&invite()));
    assert_eq!(event.event_type, "m.call.invite");
    let content: Value = serde_json::from_str(&event.content).unwrap();
    assert_eq!(content, invite()["content"]);
    assert_eq!(event.facts.event_id, EventId::parse("$1").ok());
    assert_eq!(event.facts.sender.as_str(), "@ben:x");
    assert_eq!((event.facts.device, event.facts.protection), (None, Protection::Clear));
    assert_eq!(event.facts.sent, Some(Wall(990_000)));
    assert_eq!(event.facts.age, Some(Duration::from_millis(3500)), "and 2 s that we had it");
}

#[test]
fn an_age_that_is_odd_or_absent_is_made_good() {
    let age = |age: Value| {
        let mut event = invite();
        event["unsigned"]["age"] = age;
        plain(&event).age(NOW)
    };
    assert_eq!(age(json!(-5)), Duration::from_secs(2), "no less than the time that we had it");
    assert_eq!(age(json!(1500.25)).as_micros(), 3_500_250);
    assert_eq!(age(json!("old")), Duration::from_secs(10), "by origin_server_ts");
    assert_eq!(age(json!(1e300)), Duration::from_secs(10));
    let mut event = invite();
    event["unsigned"] = json!(null);
    event["origin_server_ts"] = json!("yesterday");
    assert_eq!(plain(&event).age(NOW), Duration::from_secs(2));
}

#[test]
fn the_device_and_its_trust_come_from_the_decryption() {
    let verified = call(decrypted(&invite(), info(VerificationState::Verified))).facts;
    assert_eq!(verified.device, DeviceId::parse("PHONE").ok());
    assert_eq!(verified.protection, Protection::Verified);
    for level in [
        VerificationLevel::UnsignedDevice,
        VerificationLevel::UnverifiedIdentity,
        VerificationLevel::VerificationViolation,
        VerificationLevel::None(DeviceLinkProblem::MissingDevice),
    ] {
        let facts = call(decrypted(&invite(), unverified(level))).facts;
        assert_eq!(facts.protection, Protection::Unverified);
    }
    let unknown = VerificationLevel::None(DeviceLinkProblem::InsecureSource);
    let from_backup = EncryptionInfo { sender_device: None, ..unverified(unknown) };
    assert_eq!(call(decrypted(&invite(), from_backup)).facts.device, None);
}

/// Trap 3.
#[test]
fn an_event_in_the_session_of_another_user_is_forged() {
    let item = decrypted(&invite(), unverified(VerificationLevel::MismatchedSender));
    assert!(matches!(item.what, What::Forged), "{item:?}");
}

/// Trap 2: no power level was asked for what stands inside a ciphertext.
#[test]
fn a_state_key_inside_a_ciphertext_makes_no_state() {
    let leave = json!({ "type": "m.room.member", "sender": "@ben:x", "state_key": "@me:x",
        "event_id": "$1", "content": { "membership": "leave" } });
    assert!(matches!(plain(&leave).what, What::Fact(Fact::Outside(_))));
    assert!(matches!(decrypted(&leave, info(VerificationState::Verified)).what, What::Other));
    let mut invite = invite();
    invite["state_key"] = json!("");
    assert!(matches!(plain(&invite).what, What::Other), "nor is a state event a call event");
}

/// Trap 1: a sync with such an event fails again and again, and brings it each time.
#[test]
fn an_event_without_a_type_or_with_nonsense_in_it_is_nothing_to_us() {
    let mut poison = invite();
    poison.as_object_mut().unwrap().remove("type");
    assert!(matches!(decrypted(&poison, info(VerificationState::Verified)).what, What::Other));
    for (field, nonsense) in [
        ("type", json!(7)),
        ("type", json!("m.room.message")),
        ("sender", json!("nobody")),
        ("sender", json!(null)),
        ("content", json!(null)),
    ] {
        let mut event = invite();
        event[field] = nonsense;
        assert!(matches!(plain(&event).what, What::Other), "{field}");
    }
    assert!(matches!(plain(&json!([1, 2])).what, What::Other));
}

#[test]
fn only_what_may_still_be_decrypted_is_worth_waiting_for() {
    let missing = || UnableToDecryptReason::MissingMegolmSession { withheld_code: None };
    assert!(matches!(utd(Some("s"), missing()), What::Locked(locked) if locked.session == "s"));
    let later_index = UnableToDecryptReason::UnknownMegolmMessageIndex;
    assert!(matches!(utd(Some("s"), later_index), What::Locked(_)));
    assert!(matches!(utd(None, missing()), What::Other));
    let malformed = UnableToDecryptReason::MalformedEncryptedEvent;
    assert!(matches!(utd(Some("s"), malformed), What::Other));
}

#[test]
fn memberships_and_encryption_are_facts() {
    let member = |content: Value| {
        plain(&json!({ "type": "m.room.member", "sender": "@a:x", "state_key": "@ben:x",
            "event_id": "$1", "content": content }))
        .what
    };
    let is_outside =
        |what: What| matches!(what, What::Fact(Fact::Outside(user)) if user.as_str() == "@ben:x");
    assert!(matches!(member(json!({"membership": "join"})), What::Fact(Fact::Joined(_))));
    for content in [
        json!({"membership": "leave"}),
        json!({"membership": "ban"}),
        json!({"membership": "invite"}),
        json!({}),
    ] {
        assert!(is_outside(member(content)));
    }
    let encryption = json!({ "type": "m.room.encryption", "sender": "@a:x", "state_key": "",
        "event_id": "$1", "content": {} });
    assert!(matches!(plain(&encryption).what, What::Fact(Fact::Encrypted)));
}

// ------------------------------------------------------------------------------------------ state

fn membership() -> Value {
    json!({ "type": "com.famedly.call.member", "sender": "@ben:x", "state_key": "@ben:x_D",
        "event_id": "$1", "origin_server_ts": 990_000, "unsigned": { "age": 1500 },
        "content": { "memberships": [1.5] } })
}

#[test]
fn state_that_calls_are_made_of_reaches_the_core_as_it_was_written() {
    for item in [
        plain(&membership()),
        Item::of_state(&raw::<AnySyncTimelineEvent>(&membership()), RECEIVED).unwrap(),
    ] {
        let state = item.into_state(NOW).unwrap();
        assert_eq!(state.event_type, "com.famedly.call.member");
        assert_eq!(state.content, r#"{"memberships":[1.5]}"#);
        assert_eq!(state.facts.event_id.as_str(), "$1");
        assert_eq!(state.facts.sender.as_str(), "@ben:x");
        assert_eq!(state.facts.state_key, "@ben:x_D");
        assert_eq!(state.facts.sent, Wall(990_000));
        assert_eq!(state.facts.age, Some(Duration::from_millis(3500)), "and 2 s that we had it");
    }
}

#[test]
fn state_without_a_time_is_as_old_as_its_age_says() {
    let mut event = membership();
    event["origin_server_ts"] = json!("yesterday");
    assert_eq!(plain(&event).into_state(NOW).unwrap().facts.sent, Wall(996_500));
}

/// T-24 and trap 2: no power level was asked for what stands inside a ciphertext.
#[test]
fn a_membership_inside_a_ciphertext_is_none() {
    assert!(matches!(plain(&membership()).what, What::State(_)));
    let encrypted = decrypted(&membership(), info(VerificationState::Verified));
    assert!(matches!(encrypted.what, What::Other), "{encrypted:?}");
}

#[test]
fn what_is_no_state_or_not_ours_is_nothing_to_us() {
    for (field, nonsense) in [
        ("type", json!("m.room.topic")),
        ("state_key", json!(null)),
        ("state_key", json!(7)),
        ("sender", json!("nobody")),
        ("event_id", json!(null)),
        ("content", json!(null)),
    ] {
        let mut event = membership();
        event[field] = nonsense;
        assert!(matches!(plain(&event).what, What::Other), "{field}");
    }
}

#[test]
fn a_redaction_names_what_it_empties_at_either_place() {
    let at_top = json!({ "type": "m.room.redaction", "sender": "@a:x", "event_id": "$2",
        "redacts": "$1", "content": {} });
    let inside = json!({ "type": "m.room.redaction", "sender": "@a:x", "event_id": "$2",
        "content": { "redacts": "$1" } });
    for event in [&at_top, &inside] {
        let what = plain(event).what;
        assert!(matches!(what, What::Redaction(ref id) if id.as_str() == "$1"), "{what:?}");
        let encrypted = decrypted(event, info(VerificationState::Verified)).what;
        assert!(matches!(encrypted, What::Other), "{encrypted:?}");
    }
}

#[test]
fn a_room_s_state_tells_who_wrote_some_and_is_not_there() {
    let member = |user: &str, membership: &str| {
        json!({ "type": "m.room.member", "sender": user, "state_key": user, "event_id": "$m",
            "content": { "membership": membership } })
    };
    let encryption = json!({ "type": "m.room.encryption", "sender": "@a:x", "state_key": "",
        "event_id": "$e", "content": {} });
    let (gone, other) = (member("@ben:x", "leave"), member("@carl:x", "ban"));
    let events: Vec<Raw<AnySyncTimelineEvent>> =
        [membership(), gone, other, encryption, json!(7)].iter().map(raw).collect();
    let whole = WholeState::read(&events, RECEIVED);
    assert_eq!(whole.items.len(), 1);
    assert_eq!(whole.outside, [UserId::parse("@ben:x").unwrap()].into());
    assert!(whole.encrypted);
    let there: Vec<Raw<AnySyncTimelineEvent>> =
        [member("@ben:x", "join"), membership()].iter().map(raw).collect();
    assert_eq!(WholeState::read(&there, RECEIVED).outside, [].into());
}

// ------------------------------------------------------------------------- around group calls

fn around(event_type: &str, content: Value) -> Value {
    let mut event = invite();
    event["type"] = json!(event_type);
    event["content"] = content;
    event
}

#[test]
fn what_is_said_around_a_group_call_reaches_the_core() {
    for event_type in [
        "org.matrix.msc4075.rtc.notification",
        "org.matrix.msc4310.rtc.decline",
        "com.famedly.call.member.reaction",
    ] {
        let read = call(plain(&around(event_type, json!({ "key": "x" }))));
        assert_eq!((read.event_type.as_str(), read.redacts), (event_type, None));
    }
    let reaction = around("m.reaction", json!({}));
    assert!(matches!(plain(&reaction).what, What::Other));
}

/// Room versions before 11 have at the top what they redact.
#[test]
fn the_redaction_of_a_reaction_says_what_it_redacts() {
    let content = json!({ "redacts_type": "com.famedly.call.member.reaction" });
    let mut at_top = around("m.room.redaction", content.clone());
    at_top["redacts"] = json!("$reaction");
    let mut inside = around("m.room.redaction", content);
    inside["content"]["redacts"] = json!("$reaction");
    for event in [at_top, inside] {
        let read = call(plain(&event));
        assert_eq!(read.redacts, EventId::parse("$reaction").ok());
    }
    let mut other = around("m.room.redaction", json!({ "reason": "spam" }));
    other["redacts"] = json!("$message");
    assert!(matches!(plain(&other).what, What::Redaction(_)));
}

#[test]
fn direct_chats_are_read_leniently() {
    let content = json!({ "@ben:x": ["!a:x", 7, "no room"], "@carl:x": "!c:x",
        "mailto:dora@x": ["!b:x"] });
    let rooms = ["!a:x", "!b:x"].map(|room| RoomId::parse(room).unwrap());
    assert_eq!(direct_chats(&content), rooms.into());
    assert_eq!(direct_chats(&json!([])), [].into());
}

// -------------------------------------------------------------------------------------- to-device

fn hangup() -> Value {
    json!({ "type": "com.famedly.call.member.hangup", "sender": "@claimed:x",
        "content": { "call_id": "c" }, "keys": { "ed25519": "k" }, "sender_device": "CLAIMED",
        "recipient": "@me:x" })
}

fn called(message: &Value, info: Option<&EncryptionInfo>) -> RawEvent {
    match to_device(&raw(message), info) {
        Message::Call(event) => *event,
        other => panic!("{other:?}"),
    }
}

/// No field decides whether it was encrypted: the sender could have written each.
#[test]
fn a_to_device_message_is_as_encrypted_as_its_decryption_says() {
    let clear = called(&hangup(), None);
    assert_eq!(clear.facts.sender.as_str(), "@claimed:x");
    assert_eq!((clear.facts.device, clear.facts.protection), (None, Protection::Clear));

    let olm = unverified(VerificationLevel::UnsignedDevice);
    let proven = called(&hangup(), Some(&olm));
    assert_eq!(proven.facts.sender.as_str(), "@ben:x", "the encryption's word");
    assert_eq!(proven.facts.device, DeviceId::parse("PHONE").ok());
    assert_eq!(proven.facts.protection, Protection::Unverified);
}

/// `conf_id`, `device_id`, `sender_session_id` are the sender's to write; who is heard is not.
#[test]
fn the_device_of_a_message_is_not_the_one_that_its_content_names() {
    let mut message = hangup();
    message["content"]["device_id"] = json!("CLAIMED");
    assert_eq!(called(&message, None).facts.device, None);
    let olm = unverified(VerificationLevel::UnsignedDevice);
    assert_eq!(called(&message, Some(&olm)).facts.device, DeviceId::parse("PHONE").ok());
}

#[test]
fn both_names_of_a_message_between_devices_are_call_events() {
    for event_type in ["com.famedly.call.member.invite", "m.call.invite"] {
        let mut message = hangup();
        message["type"] = json!(event_type);
        assert_eq!(called(&message, None).event_type, event_type);
    }
}

#[test]
fn messages_about_media_keys_are_taken_under_all_their_names() {
    for event_type in [
        "com.famedly.call.member.encryption_keys",
        "com.famedly.call.member.encryption_keys_request",
        "com.famedly.call.encryption_keys",
        "com.famedly.call.encryption_keys.request",
    ] {
        let mut message = hangup();
        message["type"] = json!(event_type);
        assert_eq!(called(&message, None).event_type, event_type);
    }
}

#[test]
fn to_device_messages_that_are_no_call_events_are_left() {
    let around = "com.famedly.call.member.reaction";
    for event_type in ["m.room_key", "m.key.verification.request", around] {
        let mut message = hangup();
        message["type"] = json!(event_type);
        assert!(matches!(to_device(&raw(&message), None), Message::Other), "{event_type}");
    }
    let forged = unverified(VerificationLevel::MismatchedSender);
    assert!(matches!(to_device(&raw(&hangup()), Some(&forged)), Message::Other));
}

/// A homeserver may let a device have such an id; what it says would be of none, and so of any.
#[test]
fn a_to_device_message_of_a_device_that_cannot_be_named_is_not_believed() {
    let mut olm = unverified(VerificationLevel::UnsignedDevice);
    for (length, believed) in [(255, true), (256, false), (300, false)] {
        olm.sender_device = Some("D".repeat(length).into());
        let read = to_device(&raw(&hangup()), Some(&olm));
        assert_eq!(matches!(read, Message::Call(_)), believed, "{length}: {read:?}");
        assert_eq!(matches!(read, Message::Unbelieved), !believed, "{length}: {read:?}");
    }
}

/// What the SDK cannot decrypt it hands on as it came.
#[test]
fn a_to_device_message_that_is_encrypted_still_could_not_be_decrypted() {
    let mut message = hangup();
    message["type"] = json!("m.room.encrypted");
    assert!(matches!(to_device(&raw(&message), None), Message::Undecryptable));
    let olm = unverified(VerificationLevel::UnsignedDevice);
    let within = to_device(&raw(&message), Some(&olm));
    assert!(matches!(within, Message::Other), "a type inside the encryption: {within:?}");
}
