//! Media keys of calls through an SFU, and requests for them (to-device messages).
//!
//! Both events under both of their names: those of deployed clients (`famedly-dart.md` §2.4) and those
//! of seed 001. Writing keeps to what deployed clients read: a list, standard base64 with its padding.
//! The bytes of a key stand in [`SecretBytes`]; the texts that they pass through are wiped when they are
//! dropped, as far as they are ours: parts of a content that is no JSON are not.

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::STANDARD as WRITTEN,
    },
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{
    delivery::Malformed,
    json::{Object, exact_text, id},
    read::content_object,
};
use crate::{
    config::WireForm,
    id::{DeviceId, RoomId},
    redact::{Secret, SecretBytes},
};

/// Most keys that are read from one event; the rest is left unread. Everybody sends one, a list can
/// hold the whole ring of Famedly's apps. More would be work without use: to derive the cipher's key
/// of one takes tens of milliseconds.
pub const MAX_KEYS: usize = 16;

/// How many bytes a key can have: 16 of Element Call, 32 of Famedly's apps.
pub const KEY_BYTES: [usize; 2] = [16, 32];

/// Longest text of a key: 32 bytes in base64, with padding.
const MAX_KEY_TEXT: usize = 44;

/// A key and its place in its owner's ring. Prints without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaKey {
    /// Its place in the ring.
    pub index: u8,
    /// Its bytes: 16 or 32.
    pub key: SecretBytes,
}

/// A to-device message about media keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyMessage {
    /// The room of the call.
    pub room: RoomId,
    /// The group call (`conf_id`); `""` is an id like any other. `call_id` says the same and counts
    /// where `conf_id` is absent.
    pub conf_id: String,
    /// The sender's device, as it claims: only Olm proves it (T-24).
    pub device: DeviceId,
    /// What it says.
    pub body: KeyBody,
}

/// What a message about media keys says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyBody {
    /// These are keys of mine: 1 to [`MAX_KEYS`] as they stand in the event. Of two with one index the
    /// later counts.
    Keys(Vec<MediaKey>),
    /// Send me yours.
    Request,
}

impl MediaKey {
    /// A short text that tells keys apart, on screens and in logs: the first eight hexadecimal digits
    /// of SHA-256 over a label and the key's bytes. Says nothing of a key that was made by chance; the
    /// index is no part of it.
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::new().chain_update(FINGERPRINT).chain_update(self.key.expose());
        let hash = hash.finalize();
        hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is hashed before a key, so that its fingerprint is of no use elsewhere.
const FINGERPRINT: &[u8] = b"matrix-voip media key fingerprint\0";

/// Which of the two events it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Keys,
    Request,
}

const NAMES: [(&str, Kind, WireForm); 4] = [
    ("com.famedly.call.member.encryption_keys", Kind::Keys, WireForm::Deployed),
    ("com.famedly.call.member.encryption_keys_request", Kind::Request, WireForm::Deployed),
    ("com.famedly.call.encryption_keys", Kind::Keys, WireForm::Readme),
    ("com.famedly.call.encryption_keys.request", Kind::Request, WireForm::Readme),
];

impl Kind {
    fn of(event_type: &str) -> Option<Self> {
        NAMES.iter().find(|(name, ..)| *name == event_type).map(|(_, kind, _)| *kind)
    }

    fn name(self, form: WireForm) -> &'static str {
        let name = NAMES.iter().find(|(_, kind, of)| (*kind, *of) == (self, form));
        name.map(|(name, ..)| *name).expect("invariant: both have a name in every form")
    }
}

// --------------------------------------------------------------------------------------- reading

/// Whether an event of this type is about media keys: what a host has to deliver of to-device
/// messages beside the call events (`is_call_event`).
pub fn is_key_event(event_type: &str) -> bool {
    Kind::of(event_type).is_some()
}

/// Reads one event; `None` if its type is none of these. Base64 is read with and without padding, of
/// the standard alphabet and of that for URLs; keys as a list, or as one object (as Element Call
/// sends it). An entry that cannot be read harms no other.
///
/// # Errors
/// [`Malformed`] says what is wrong with the content; where no key of it can be read, with the first.
pub fn read_key_event(event_type: &str, content: &str) -> Option<Result<KeyMessage, Malformed>> {
    let kind = Kind::of(event_type)?;
    Some(read_kind(kind, content))
}

fn read_kind(kind: Kind, content: &str) -> Result<KeyMessage, Malformed> {
    let content = &Wiped(content_object(content)?).0;
    let conf_id = match exact_text(content, "conf_id")? {
        Some(conf_id) => Some(conf_id),
        None => exact_text(content, "call_id")?,
    };
    Ok(KeyMessage {
        room: id(content, "room_id")?,
        conf_id: conf_id.ok_or(Malformed::Missing("conf_id"))?.to_owned(),
        device: id(content, "device_id")?,
        body: match kind {
            Kind::Keys => KeyBody::Keys(read_keys(content)?),
            Kind::Request => KeyBody::Request,
        },
    })
}

fn read_keys(content: &Object) -> Result<Vec<MediaKey>, Malformed> {
    let entries = match content.get("keys") {
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(entry @ Value::Object(_)) => std::slice::from_ref(entry),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            return Err(Malformed::Wrong("keys"));
        }
        Some(Value::Null) | None => return Err(Malformed::Missing("keys")),
    };
    let mut first_fault = None;
    let keys = entries.iter().filter_map(|entry| {
        read_key(entry).map_err(|fault| first_fault.get_or_insert(fault).to_owned()).ok()
    });
    let keys: Vec<_> = keys.take(MAX_KEYS).collect();
    if keys.is_empty() {
        return Err(first_fault.unwrap_or(Malformed::Missing("keys")));
    }
    Ok(keys)
}

fn read_key(entry: &Value) -> Result<MediaKey, Malformed> {
    let entry = entry.as_object().ok_or(Malformed::Wrong("keys"))?;
    let index = entry.get("index").ok_or(Malformed::Missing("keys.index"))?;
    let index = index.as_u64().and_then(|index| u8::try_from(index).ok());
    let index = index.ok_or(Malformed::Wrong("keys.index"))?;
    let key = entry.get("key").ok_or(Malformed::Missing("keys.key"))?;
    let key = key.as_str().ok_or(Malformed::Wrong("keys.key"))?;
    Ok(MediaKey { index, key: decoded(key)? })
}

/// With padding or without.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

fn decoded(text: &str) -> Result<SecretBytes, Malformed> {
    if text.len() > MAX_KEY_TEXT {
        return Err(Malformed::TooLarge("keys.key"));
    }
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let mut bytes = Zeroizing::new([0; MAX_KEY_TEXT]);
    let length = engine.decode_slice(text, bytes.as_mut_slice()).ok();
    let length = length.filter(|length| KEY_BYTES.contains(length));
    let length = length.ok_or(Malformed::Wrong("keys.key"))?;
    Ok(SecretBytes::new(&bytes[..length]))
}

/// A content whose texts are wiped when it is dropped.
struct Wiped(Object);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

/// Goes no deeper than the parser of JSON does.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(entries) => entries.iter_mut().for_each(wipe),
        Value::Object(entries) => entries.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

// --------------------------------------------------------------------------------------- writing

impl KeyMessage {
    /// Event type and content (JSON text), ready to be sent. The content holds the keys: it is for the
    /// encryption alone.
    pub fn write(&self, form: WireForm) -> (String, Secret) {
        let Self { room, conf_id, device, body } = self;
        let (kind, keys) = match body {
            KeyBody::Keys(keys) => (Kind::Keys, Some(keys.iter().map(WrittenKey::of).collect())),
            KeyBody::Request => (Kind::Request, None),
        };
        let (device_id, room_id) = (device.as_str(), room.as_str());
        let written = Written { keys, call_id: conf_id, conf_id, device_id, room_id };
        // A buffer that grows would leave copies of keys behind: each letter of an id can need six.
        let ids = 2 * conf_id.len() + device_id.len() + room_id.len();
        let keys = written.keys.as_ref().map_or(0, Vec::len) * (MAX_KEY_TEXT + 32);
        let mut content = Vec::with_capacity(128 + 6 * ids + keys);
        serde_json::to_writer(&mut content, &written)
            .expect("invariant: structs of texts and numbers can be written");
        let content = String::from_utf8(content).expect("invariant: JSON is text");
        (kind.name(form).to_owned(), Secret::new(content))
    }
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<WrittenKey<'a>>>,
    call_id: &'a str,
    conf_id: &'a str,
    device_id: &'a str,
    room_id: &'a str,
}

#[derive(Serialize)]
struct WrittenKey<'a> {
    index: u8,
    #[serde(serialize_with = "padded")]
    key: &'a SecretBytes,
}

impl<'a> WrittenKey<'a> {
    fn of(key: &'a MediaKey) -> Self {
        Self { index: key.index, key: &key.key }
    }
}

fn padded<S: Serializer>(key: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Zeroizing::new(WRITTEN.encode(key.expose())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &str = "com.famedly.call.member.encryption_keys";
    const REQUEST: &str = "com.famedly.call.member.encryption_keys_request";
    /// 0, 1, … 31, as the reference has it.
    const LONG: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key(index: u8, bytes: impl Into<Vec<u8>>) -> MediaKey {
        MediaKey { index, key: SecretBytes::new(bytes) }
    }

    fn long() -> MediaKey {
        key(3, (0..32).collect::<Vec<u8>>())
    }

    fn message(body: KeyBody) -> KeyMessage {
        KeyMessage {
            room: RoomId::parse("!team:one.example").unwrap(),
            conf_id: String::new(),
            device: DeviceId::parse("ADALAPTOP").unwrap(),
            body,
        }
    }

    fn content(keys: Value) -> Value {
        json!({"keys": keys, "call_id": "", "conf_id": "", "device_id": "ADALAPTOP",
               "room_id": "!team:one.example"})
    }

    fn read_all(keys: Value) -> Result<Vec<MediaKey>, Malformed> {
        let read = read_key_event(KEYS, &content(keys).to_string()).unwrap()?;
        match read.body {
            KeyBody::Keys(keys) => Ok(keys),
            KeyBody::Request => panic!("a request"),
        }
    }

    #[test]
    fn every_name_is_known_and_each_form_has_its_own() {
        for (name, kind, form) in NAMES {
            assert!(is_key_event(name));
            assert_eq!(kind.name(form), name);
        }
        let others =
            ["com.famedly.call.member", "com.famedly.call.member.invite", "m.room_key", ""];
        for other in others {
            assert!(!is_key_event(other), "{other}");
            assert_eq!(read_key_event(other, "{}"), None);
        }
    }

    #[test]
    fn keys_are_written_exactly() {
        let (event_type, written) = message(KeyBody::Keys(vec![long()])).write(WireForm::Deployed);
        assert_eq!(event_type, KEYS);
        let expected = format!(
            r#"{{"keys":[{{"index":3,"key":"{LONG}"}}],"call_id":"","conf_id":"","device_id":"ADALAPTOP","room_id":"!team:one.example"}}"#
        );
        assert_eq!(written.expose(), expected);
        let readme = message(KeyBody::Keys(vec![long()])).write(WireForm::Readme);
        assert_eq!(readme, ("com.famedly.call.encryption_keys".to_owned(), Secret::new(expected)));
    }

    #[test]
    fn a_request_is_written_exactly() {
        let (event_type, written) = message(KeyBody::Request).write(WireForm::Deployed);
        assert_eq!(event_type, REQUEST);
        let expected =
            r#"{"call_id":"","conf_id":"","device_id":"ADALAPTOP","room_id":"!team:one.example"}"#;
        assert_eq!(written.expose(), expected);
        let readme = message(KeyBody::Request).write(WireForm::Readme);
        let name = "com.famedly.call.encryption_keys.request".to_owned();
        assert_eq!(readme, (name, Secret::new(expected)));
    }

    #[test]
    fn what_is_written_is_read_as_the_same_in_both_forms() {
        let keys = vec![long(), key(255, [0xff; 16]), key(0, [0xfb; 32])];
        for body in [KeyBody::Keys(keys), KeyBody::Request] {
            for form in [WireForm::Deployed, WireForm::Readme] {
                let message = message(body.clone());
                let (event_type, content) = message.write(form);
                assert_eq!(read_key_event(&event_type, content.expose()), Some(Ok(message)));
            }
        }
    }

    #[test]
    fn base64_is_read_in_every_alphabet_with_and_without_padding() {
        let bytes = [vec![0xfb; 16], vec![0xff; 16], vec![0xfe; 32]];
        for bytes in bytes {
            let standard = WRITTEN.encode(&bytes);
            let url = standard.replace('+', "-").replace('/', "_");
            for text in [standard.trim_end_matches('='), &standard, &url, url.trim_end_matches('=')]
            {
                let read = read_all(json!([{"index": 1, "key": text}]));
                assert_eq!(read, Ok(vec![key(1, bytes.clone())]), "{text}");
            }
        }
    }

    #[test]
    fn one_object_is_a_list_of_one() {
        assert_eq!(read_all(json!({"index": 3, "key": LONG})), Ok(vec![long()]));
    }

    #[test]
    fn a_bad_entry_harms_no_other() {
        let keys = json!([
            7,
            {},
            {"index": 300, "key": LONG},
            {"index": 2, "key": "AAEC"},
            {"index": 3, "key": LONG},
            null,
            {"index": 4, "key": "!"},
        ]);
        assert_eq!(read_all(keys), Ok(vec![long()]));
    }

    #[test]
    fn without_a_usable_key_the_first_fault_is_told() {
        let bytes = |n: usize| WRITTEN.encode(vec![7; n]);
        for (keys, why) in [
            (json!(null), Malformed::Missing("keys")),
            (json!([]), Malformed::Missing("keys")),
            (json!(LONG), Malformed::Wrong("keys")),
            (json!([LONG]), Malformed::Wrong("keys")),
            (json!({}), Malformed::Missing("keys.index")),
            (json!([{"key": LONG}]), Malformed::Missing("keys.index")),
            (json!([{"index": 256, "key": LONG}]), Malformed::Wrong("keys.index")),
            (json!([{"index": -1, "key": LONG}]), Malformed::Wrong("keys.index")),
            (json!([{"index": 1.5, "key": LONG}]), Malformed::Wrong("keys.index")),
            (json!([{"index": "1", "key": LONG}]), Malformed::Wrong("keys.index")),
            (json!([{"index": 1}, {"key": LONG}]), Malformed::Missing("keys.key")),
            (json!([{"index": 1, "key": null}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": ""}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": bytes(15)}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": bytes(24)}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": bytes(31)}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": bytes(33)}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": bytes(34)}]), Malformed::TooLarge("keys.key")),
            (json!([{"index": 1, "key": "-_+/".repeat(6)}]), Malformed::Wrong("keys.key")),
            (json!([{"index": 1, "key": "ÄÄECAwQFBgcICQoLDA0ODw"}]), Malformed::Wrong("keys.key")),
        ] {
            assert_eq!(read_all(keys.clone()), Err(why), "{keys}");
        }
    }

    #[test]
    fn keys_beyond_the_bound_are_left_unread() {
        let keys: Vec<_> = (0..=MAX_KEYS).map(|n| json!({"index": n, "key": LONG})).collect();
        let read = read_all(json!(keys)).unwrap();
        assert_eq!(read.len(), MAX_KEYS);
        assert_eq!(read[MAX_KEYS - 1].index, 15);
    }

    #[test]
    fn the_call_is_named_by_either_of_its_ids() {
        let read = |content: Value| read_key_event(REQUEST, &content.to_string()).unwrap();
        let of = |content: Value| read(content).map(|message| message.conf_id);
        let (device_id, room_id) = ("D", "!r");
        assert_eq!(
            of(json!({"conf_id": "x", "device_id": device_id, "room_id": room_id})).as_deref(),
            Ok("x")
        );
        assert_eq!(
            of(json!({"call_id": "y", "device_id": device_id, "room_id": room_id})).as_deref(),
            Ok("y")
        );
        let both =
            json!({"conf_id": "x", "call_id": 7, "device_id": device_id, "room_id": room_id});
        assert_eq!(of(both).as_deref(), Ok("x"));
        for (content, why) in [
            (json!({"device_id": "D", "room_id": "!r"}), Malformed::Missing("conf_id")),
            (json!({"conf_id": 7, "device_id": "D", "room_id": "!r"}), Malformed::Wrong("conf_id")),
            (json!({"call_id": 7, "device_id": "D", "room_id": "!r"}), Malformed::Wrong("call_id")),
            (json!({"conf_id": "", "device_id": "D"}), Malformed::Missing("room_id")),
            (json!({"conf_id": "", "device_id": "D", "room_id": "r"}), Malformed::Wrong("room_id")),
            (json!({"conf_id": "", "room_id": "!r"}), Malformed::Missing("device_id")),
            (
                json!({"conf_id": "", "device_id": "D".repeat(256), "room_id": "!r"}),
                Malformed::TooLarge("device_id"),
            ),
        ] {
            assert_eq!(read(content.clone()), Err(why), "{content}");
        }
    }

    #[test]
    fn nothing_prints_a_key() {
        let printed = format!("{:?}", message(KeyBody::Keys(vec![long()])));
        assert!(printed.contains("index: 3, key: <secret>"), "{printed}");
        let wrong = read_all(json!([{"index": 1, "key": "c2VjcmV0"}])).unwrap_err();
        assert_eq!(
            format!("{wrong} {wrong:?}"),
            "keys.key has a wrong type or form Wrong(\"keys.key\")"
        );
    }

    #[test]
    fn texts_are_wiped_wherever_they_stand() {
        let mut value = json!([{"a": ["key", {"b": "key"}]}, "key", 7]);
        wipe(&mut value);
        assert_eq!(value, json!([{"a": ["", {"b": ""}]}, "", 7]));
    }

    #[test]
    fn a_fingerprint_tells_keys_apart_whatever_their_index() {
        let fingerprint = long().fingerprint();
        assert_eq!(fingerprint.len(), 8);
        assert!(fingerprint.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(key(9, long().key.expose()).fingerprint(), fingerprint);
        assert_ne!(key(3, (0..16).collect::<Vec<u8>>()).fingerprint(), fingerprint);
        let unlabelled = Sha256::digest(long().key.expose());
        assert_ne!(format!("{:02x}", unlabelled[0]), fingerprint[..2]);
    }
}
