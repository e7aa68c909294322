//! The SFU of a call (its focus): where homeservers say that there is one, and as whom it knows the
//! participants.
//!
//! Pure functions over values. `livekit.md` §3.2 to §3.4: three generations of names are deployed, and
//! none says which it is.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    delivery::Malformed,
    json::{Object, shortened, text},
    read::content_object,
};
use crate::id::{DeviceId, MAX_ID_BYTES, RoomId, UserId};

/// Most transports that are read of one homeserver; the rest is left unread. Homeservers name one.
pub const MAX_TRANSPORTS: usize = 16;

/// Longest address of a transport that is read, in bytes; a longer one is skipped. A membership cannot
/// hold it either.
pub const MAX_ADDRESS_BYTES: usize = MAX_ID_BYTES;

/// Most bytes of an unknown type of transport that are kept.
pub const MAX_TRANSPORT_TYPE_BYTES: usize = 64;

/// A way to an SFU that a homeserver announces. Addresses are as announced: nobody has looked at them
/// yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// LiveKit behind a token service of its own (`livekit_service_url`): what is deployed.
    Livekit {
        /// The token service's base address (`https://…`).
        service_url: String,
    },
    /// LiveKit whose tokens the homeserver itself gives: the newest text of MSC4195 (`url`).
    LivekitOfHomeserver {
        /// The SFU's address (`wss://…`).
        url: String,
    },
    /// Something that we do not know; its type, at most [`MAX_TRANSPORT_TYPE_BYTES`] of it.
    Unknown(String),
}

impl Transport {
    /// Where tokens for it are had; `None` for what we do not know.
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::Livekit { service_url } => Some(service_url),
            Self::LivekitOfHomeserver { url } => Some(url),
            Self::Unknown(_) => None,
        }
    }

    /// The address decides: clients write both under both types.
    fn read(entry: &Value) -> Option<Self> {
        let entry = entry.as_object()?;
        let kind = text(entry, "type").filter(|kind| !kind.is_empty())?;
        if !matches!(kind, "livekit" | "m.livekit") {
            return Some(Self::Unknown(shortened(kind, MAX_TRANSPORT_TYPE_BYTES)));
        }
        let service = address(entry, "livekit_service_url");
        let service = service.map(|service_url| Self::Livekit { service_url });
        service.or_else(|| Some(Self::LivekitOfHomeserver { url: address(entry, "url")? }))
    }
}

fn address(entry: &Object, key: &str) -> Option<String> {
    let fits = |address: &&str| (1..=MAX_ADDRESS_BYTES).contains(&address.len());
    text(entry, key).filter(fits).map(str::to_owned)
}

/// What `/.well-known/matrix/client` announces (`org.matrix.msc4143.rtc_foci`), in its order: the first
/// is the one to prefer. Empty where it announces none; an entry that cannot be read harms no other.
///
/// # Errors
/// [`Malformed`]: the body is no JSON object, or its list is none.
pub fn read_well_known(body: &str) -> Result<Vec<Transport>, Malformed> {
    read_list(body, "org.matrix.msc4143.rtc_foci")
}

/// What `GET /_matrix/client/v1/rtc/transports` answers, and as long as MSC4143 is young
/// `/_matrix/client/unstable/org.matrix.msc4143/rtc/transports` (`rtc_transports`); else as
/// [`read_well_known`].
///
/// # Errors
/// [`Malformed`]: the body is no JSON object, or its list is none.
pub fn read_transports(body: &str) -> Result<Vec<Transport>, Malformed> {
    read_list(body, "rtc_transports")
}

fn read_list(body: &str, key: &'static str) -> Result<Vec<Transport>, Malformed> {
    let entries = match content_object(body)?.remove(key) {
        Some(Value::Array(entries)) => entries,
        Some(Value::Null) | None => Vec::new(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err(Malformed::Wrong(key));
        }
    };
    Ok(entries.iter().filter_map(Transport::read).take(MAX_TRANSPORTS).collect())
}

// ----------------------------------------------------------------------------------------- names

/// The texts by which an SFU may know a participant, `member` being the id of his visit
/// (`membershipID`). In this order: `@user:server:DEVICE` of `/sfu/get`; the hash of user, device and
/// visit of `/get_token`; the hash of user and visit of the newest MSC4195.
///
/// To find the member whom an SFU speaks of. Which text is ours our token says.
pub fn identities(user: &UserId, device: &DeviceId, member: &str) -> [String; 3] {
    let (user, device) = (user.as_str(), device.as_str());
    [format!("{user}:{device}"), hash([user, device, member]), hash([user, member])]
}

/// The room's name at the SFU as newer token services make it. For people who look at a server: to
/// connect nobody needs it, the token says it.
pub fn room_name(room: &RoomId, slot: &str) -> String {
    hash([room.as_str(), slot])
}

/// SHA-256 of the texts as canonical JSON, in unpadded base64. What serde_json writes of texts without
/// any spaces is canonical.
fn hash<const N: usize>(texts: [&str; N]) -> String {
    let json = serde_json::to_vec(texts.as_slice()).expect("invariant: texts can be written");
    STANDARD_NO_PAD.encode(Sha256::digest(json))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn livekit(service_url: &str) -> Transport {
        Transport::Livekit { service_url: service_url.into() }
    }

    fn of_homeserver(url: &str) -> Transport {
        Transport::LivekitOfHomeserver { url: url.into() }
    }

    #[test]
    fn a_well_known_names_its_foci_in_order() {
        let body = json!({
            "m.homeserver": {"base_url": "https://hs"},
            "org.matrix.msc4143.rtc_foci": [
                {"type": "livekit", "livekit_service_url": "https://one/jwt"},
                {"type": "nextgen_new_foci_type", "props_for_nextgen_foci": "val"},
                {"type": "livekit", "livekit_service_url": "https://two"},
            ],
        });
        let unknown = Transport::Unknown("nextgen_new_foci_type".into());
        let expected = vec![livekit("https://one/jwt"), unknown, livekit("https://two")];
        assert_eq!(read_well_known(&body.to_string()), Ok(expected));
        assert_eq!(read_transports(&body.to_string()), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_names_its_transports_of_either_generation() {
        let body = json!({"rtc_transports": [
            {"type": "livekit", "livekit_service_url": "https://one"},
            {"type": "m.livekit", "url": "wss://two"},
            {"type": "livekit", "url": "wss://three"},
            {"type": "m.livekit", "livekit_service_url": "https://four", "url": "wss://four"},
        ]});
        let expected = vec![
            livekit("https://one"),
            of_homeserver("wss://two"),
            of_homeserver("wss://three"),
            livekit("https://four"),
        ];
        assert_eq!(read_transports(&body.to_string()), Ok(expected));
    }

    #[test]
    fn a_bad_entry_harms_no_other_and_nothing_announced_is_no_fault() {
        let long = format!("https://{}", "x".repeat(MAX_ADDRESS_BYTES));
        let body = json!({"rtc_transports": [
            7, null, [], {}, "livekit",
            {"type": 7, "livekit_service_url": "https://a"},
            {"type": "", "livekit_service_url": "https://a"},
            {"type": "livekit"},
            {"type": "livekit", "livekit_service_url": ""},
            {"type": "livekit", "livekit_service_url": 7},
            {"type": "livekit", "livekit_service_url": long},
            {"type": "livekit", "livekit_service_url": null, "url": "wss://b"},
        ]});
        assert_eq!(read_transports(&body.to_string()), Ok(vec![of_homeserver("wss://b")]));
        for none in ["{}", r#"{"rtc_transports":null}"#, r#"{"rtc_transports":[]}"#] {
            assert_eq!(read_transports(none), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_is_no_answer_is_told_so() {
        for body in ["", "7", "[]", "<html>", "null"] {
            assert_eq!(read_transports(body), Err(Malformed::NotAnObject), "{body}");
            assert_eq!(read_well_known(body), Err(Malformed::NotAnObject), "{body}");
        }
        for wrong in ["{}", "7", "true", r#""livekit""#] {
            let body = format!(r#"{{"rtc_transports":{wrong}}}"#);
            assert_eq!(read_transports(&body), Err(Malformed::Wrong("rtc_transports")));
            let body = format!(r#"{{"org.matrix.msc4143.rtc_foci":{wrong}}}"#);
            let why = Malformed::Wrong("org.matrix.msc4143.rtc_foci");
            assert_eq!(read_well_known(&body), Err(why));
        }
        let huge = " ".repeat(crate::wire::read::MAX_CONTENT_BYTES + 1);
        assert_eq!(read_transports(&huge), Err(Malformed::TooLarge("content")));
    }

    #[test]
    fn transports_and_their_types_are_bounded() {
        let entry = json!({"type": "x".repeat(MAX_TRANSPORT_TYPE_BYTES + 1)});
        let body = json!({"rtc_transports": vec![entry; MAX_TRANSPORTS + 1]}).to_string();
        let read = read_transports(&body).unwrap();
        assert_eq!(read.len(), MAX_TRANSPORTS);
        assert_eq!(read[0], Transport::Unknown("x".repeat(MAX_TRANSPORT_TYPE_BYTES)));
    }

    // Vectors of the specification and of the token service, `livekit.md` §3.2.

    #[test]
    fn a_room_has_the_name_that_token_services_give_it() {
        let room = RoomId::parse("!roomid:example.com").unwrap();
        let names = ["slot1234", "m.call#ROOM"].map(|slot| room_name(&room, slot));
        assert_eq!(
            names,
            [
                "O8437W3+jmzMVjoIP3tNwbm+XxHQk2iKpOA7aqw3qSc",
                "F4oOprKFBq6JHqy2qYpq6UQQmR7hCvxkQQoUrd0+SbI",
            ]
        );
    }

    #[test]
    fn a_participant_has_the_identities_that_token_services_give_him() {
        let alice = UserId::parse("@alice:example.com").unwrap();
        let device = DeviceId::parse("DEVICE").unwrap();
        assert_eq!(
            identities(&alice, &device, "memberABC"),
            [
                "@alice:example.com:DEVICE",
                "lwZwzslDeNc9ntK/hT0YfCSFmepFF2SMMVNMTuwfnl4",
                "M3VnsLXrkbxIDINXO64u8PZzFyD9ZYFiQULR2dshWYs",
            ]
        );
    }

    /// Checked with Python: `json.dumps(…, separators=(",", ":"), ensure_ascii=False)`.
    #[test]
    fn texts_are_hashed_as_canonical_json() {
        let user = UserId::parse("@<a>&:b").unwrap();
        let device = DeviceId::parse("D\"\\/\n\u{1}\u{7f}\u{2028}é").unwrap();
        let [_, three, two] = identities(&user, &device, "m\t😀");
        assert_eq!(three, "os1FaHvC2Jmc3MKPNgAwGkfBHBNZnRCt0CD5n7mmiJc");
        assert_eq!(two, "m4Q8/DEsmrZrKDSD8YVLwIz4QsvuJ05YWjZqvzSUWNY");
    }
}
