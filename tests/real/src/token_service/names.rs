//! The names that a token service gives rooms and members at the SFU (`livekit.md` §3.2): hashes, so
//! that the SFU learns neither users nor rooms.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::json;

/// The SFU's room for the call in this slot of a Matrix room.
#[must_use]
pub fn room_name(room: &str, slot: &str) -> String {
    hash(&[room, slot])
}

/// Who somebody is who asked by `/get_token`.
#[must_use]
pub fn identity(user: &str, device: &str, member: &str) -> String {
    hash(&[user, device, member])
}

fn hash(parts: &[&str]) -> String {
    STANDARD_NO_PAD.encode(digest(&SHA256, json!(parts).to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{identity, room_name};

    #[test]
    fn names_are_those_of_the_real_service() {
        let room = "!roomid:example.com";
        assert_eq!(room_name(room, "slot1234"), "O8437W3+jmzMVjoIP3tNwbm+XxHQk2iKpOA7aqw3qSc");
        assert_eq!(room_name(room, "m.call#ROOM"), "F4oOprKFBq6JHqy2qYpq6UQQmR7hCvxkQQoUrd0+SbI");
        let alice = identity("@alice:example.com", "DEVICE", "memberABC");
        assert_eq!(alice, "lwZwzslDeNc9ntK/hT0YfCSFmepFF2SMMVNMTuwfnl4");
    }
}
