//! The ledger as stored bytes: what must survive a crash of the process.
//!
//! JSON with a format number: `{"format":1,"live":[{"room","call","party"}],"ended":[{"room",
//! "call","until"}],"memberships":[{"room","session","dialect"?}],"left_out":0}`. Written within [`MAX_LEDGER_BYTES`] whatever the ledger holds,
//! in time that does not grow with what is left out; read leniently, one bad entry harms no other.

use serde::Serialize;
use serde_json::Value;

use super::{
    json::{Object, exact_text, id, whole},
    member::Dialect,
};
use crate::{
    id::{CallId, PartyId, RoomId},
    time::Wall,
};

/// Most bytes that a stored ledger has.
pub const MAX_LEDGER_BYTES: usize = 16 * 1024;

/// The form of the stored bytes.
const FORMAT: u64 = 1;

/// A ledger without entries, at its longest.
const FRAME_BYTES: usize =
    r#"{"format":1,"live":[],"ended":[],"memberships":[],"left_out":18446744073709551615}"#.len();

/// What must survive a crash: live calls, and ids of calls that are over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// Calls that the other side knows of and that nobody has hung up, oldest first.
    pub live: Vec<LiveCall>,
    /// Calls that are over but whose invite could still be alive, oldest first.
    pub ended: Vec<EndedCall>,
    /// Our memberships of group calls that nobody has taken back.
    pub memberships: Vec<LiveMembership>,
    /// Live calls that found no room, counted.
    pub left_out: u64,
}

/// A membership of a group call that a dead process leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LiveMembership {
    /// Its room.
    pub room: RoomId,
    /// Which visit it was (`membershipID`).
    pub session: String,
    /// In which generation's words it stands there.
    pub dialect: Dialect,
}

/// A call that a dead process leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LiveCall {
    /// Its room.
    pub room: RoomId,
    /// Its id.
    pub call_id: CallId,
    /// Our party id in it: the hangup must carry the same.
    pub party_id: PartyId,
}

/// A call that must not ring again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndedCall {
    /// Its room.
    pub room: RoomId,
    /// Its id.
    pub call_id: CallId,
    /// From when on it can be forgotten.
    pub until: Wall,
}

/// Why stored bytes are not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableLedger {
    /// Not a JSON object, or longer than [`MAX_LEDGER_BYTES`].
    #[error("the stored bytes are not a ledger")]
    NotALedger,
    /// Written by another version of this library.
    #[error("the stored ledger has a format that this version does not know")]
    UnknownFormat,
}

impl Ledger {
    /// The ledger as bytes to store, at most [`MAX_LEDGER_BYTES`] of them. Where that is too
    /// little, live calls go before ended ones and newer before older; live calls that find no
    /// room are counted in `left_out`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut room = MAX_LEDGER_BYTES - FRAME_BYTES;
        let live = newest(&self.live, &mut room, LiveCall::stored);
        let memberships = newest(&self.memberships, &mut room, LiveMembership::stored);
        let ended = newest(&self.ended, &mut room, EndedCall::stored);
        let left_out = self.left_out.saturating_add((self.live.len() - live.len()) as u64);
        let (live, ended) = (live.join(","), ended.join(","));
        let memberships = memberships.join(",");
        let calls = format!(r#""live":[{live}],"ended":[{ended}],"memberships":[{memberships}]"#);
        format!(r#"{{"format":{FORMAT},{calls},"left_out":{left_out}}}"#).into_bytes()
    }

    /// Reads stored bytes. Entries that cannot be read are skipped.
    ///
    /// # Errors
    /// [`UnreadableLedger`] when the bytes as a whole are none of ours.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableLedger> {
        if bytes.len() > MAX_LEDGER_BYTES {
            return Err(UnreadableLedger::NotALedger);
        }
        let stored: Object =
            serde_json::from_slice(bytes).map_err(|_| UnreadableLedger::NotALedger)?;
        if whole(&stored, "format") != Some(FORMAT) {
            return Err(UnreadableLedger::UnknownFormat);
        }
        Ok(Self {
            live: readable(&stored, "live", LiveCall::from_json),
            ended: readable(&stored, "ended", EndedCall::from_json),
            memberships: readable(&stored, "memberships", LiveMembership::from_json),
            left_out: whole(&stored, "left_out").unwrap_or_default(),
        })
    }
}

/// The newest entries that fit into `room` bytes with a comma each, oldest first; takes what they
/// need.
pub(super) fn newest<'a, T, S: Serialize>(
    entries: &'a [T],
    room: &mut usize,
    stored: fn(&'a T) -> S,
) -> Vec<String> {
    let mut kept = Vec::new();
    for entry in entries.iter().rev() {
        let text = serde_json::to_string(&stored(entry))
            .expect("invariant: structs of texts and numbers can be written");
        let Some(rest) = room.checked_sub(text.len() + 1) else { break };
        *room = rest;
        kept.push(text);
    }
    kept.reverse();
    kept
}

/// The entries of a stored list that can be read.
pub(super) fn readable<T>(
    stored: &Object,
    key: &str,
    from_json: fn(&Object) -> Option<T>,
) -> Vec<T> {
    let entries = stored.get(key).and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(Value::as_object).filter_map(from_json).collect()
}

#[derive(Serialize)]
struct StoredLive<'a> {
    room: &'a str,
    call: &'a str,
    party: &'a str,
}

#[derive(Serialize)]
struct StoredMembership<'a> {
    room: &'a str,
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
}

/// How the ledger names the clients of matrix-js-sdk; ours it does not name.
const MSC3401: &str = "msc3401";

impl LiveMembership {
    fn stored(&self) -> StoredMembership<'_> {
        let dialect = match self.dialect {
            Dialect::Famedly => None,
            Dialect::Msc3401 => Some(MSC3401),
        };
        StoredMembership { room: self.room.as_str(), session: &self.session, dialect }
    }

    fn from_json(stored: &Object) -> Option<Self> {
        let session = exact_text(stored, "session").ok()??.to_owned();
        let dialect = match exact_text(stored, "dialect").ok()? {
            None => Dialect::Famedly,
            Some(MSC3401) => Dialect::Msc3401,
            // Of a later version: nothing that we could take back.
            Some(_) => return None,
        };
        Some(Self { room: id(stored, "room").ok()?, session, dialect })
    }
}

#[derive(Serialize)]
struct StoredEnded<'a> {
    room: &'a str,
    call: &'a str,
    until: u64,
}

impl LiveCall {
    fn stored(&self) -> StoredLive<'_> {
        let Self { room, call_id, party_id } = self;
        StoredLive { room: room.as_str(), call: call_id.as_str(), party: party_id.as_str() }
    }

    fn from_json(stored: &Object) -> Option<Self> {
        Some(Self {
            room: id(stored, "room").ok()?,
            call_id: id(stored, "call").ok()?,
            party_id: id(stored, "party").ok()?,
        })
    }
}

impl EndedCall {
    fn stored(&self) -> StoredEnded<'_> {
        let Self { room, call_id, until } = self;
        StoredEnded { room: room.as_str(), call: call_id.as_str(), until: until.0 }
    }

    fn from_json(stored: &Object) -> Option<Self> {
        Some(Self {
            room: id(stored, "room").ok()?,
            call_id: id(stored, "call").ok()?,
            until: Wall(whole(stored, "until")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(n: usize) -> LiveCall {
        LiveCall {
            room: RoomId::parse("!r:x").unwrap(),
            call_id: CallId::parse(format!("call-{n:06}")).unwrap(),
            party_id: PartyId::parse("party").unwrap(),
        }
    }

    fn ended(n: u64) -> EndedCall {
        EndedCall {
            room: RoomId::parse("!r:x").unwrap(),
            call_id: CallId::parse(format!("over-{n:06}")).unwrap(),
            until: Wall(1_786_100_000_000 + n),
        }
    }

    fn visit(n: usize) -> LiveMembership {
        let dialect = if n.is_multiple_of(2) { Dialect::Famedly } else { Dialect::Msc3401 };
        let room = RoomId::parse("!r:x").unwrap();
        LiveMembership { room, session: format!("visit-{n}"), dialect }
    }

    /// Bytes of one live entry of these tests, with its comma.
    const LIVE_BYTES: usize = r#"{"room":"!r:x","call":"call-000000","party":"party"},"#.len();

    #[test]
    fn what_fits_comes_back_as_it_was() {
        let ledger = Ledger {
            live: vec![live(1), live(2)],
            ended: vec![ended(1), ended(2), ended(3)],
            memberships: vec![visit(1)],
            left_out: 4,
        };
        assert_eq!(Ledger::from_bytes(&ledger.to_bytes()), Ok(ledger));
    }

    #[test]
    fn the_stored_form_is_stable() {
        let ledger = Ledger {
            live: vec![live(7)],
            ended: vec![ended(8)],
            memberships: vec![visit(8), visit(9)],
            left_out: u64::MAX,
        };
        assert_eq!(
            String::from_utf8(ledger.to_bytes()).unwrap(),
            concat!(
                r#"{"format":1,"live":[{"room":"!r:x","call":"call-000007","party":"party"}],"#,
                r#""ended":[{"room":"!r:x","call":"over-000008","until":1786100000008}],"#,
                r#""memberships":[{"room":"!r:x","session":"visit-8"},"#,
                r#"{"room":"!r:x","session":"visit-9","dialect":"msc3401"}],"#,
                r#""left_out":18446744073709551615}"#
            )
        );
    }

    #[test]
    fn the_newest_live_calls_are_kept_and_the_rest_is_counted() {
        let fit = (MAX_LEDGER_BYTES - FRAME_BYTES) / LIVE_BYTES;
        let calls = (0..1000).map(live).collect();
        let ledger = Ledger { live: calls, left_out: 5, ..Ledger::default() };
        let bytes = ledger.to_bytes();
        assert!(bytes.len() <= MAX_LEDGER_BYTES, "{}", bytes.len());
        let back = Ledger::from_bytes(&bytes).unwrap();
        assert_eq!(back.live, ledger.live[1000 - fit..]);
        assert_eq!(back.left_out, 5 + (1000 - fit) as u64);
    }

    #[test]
    fn live_calls_go_before_ended_ones() {
        let ledger = Ledger {
            live: (0..100).map(live).collect(),
            ended: (0..999).map(ended).collect(),
            ..Ledger::default()
        };
        let back = Ledger::from_bytes(&ledger.to_bytes()).unwrap();
        assert_eq!(back.live, ledger.live);
        assert!(!back.ended.is_empty() && back.ended.len() < 999);
        assert_eq!(back.ended, ledger.ended[999 - back.ended.len()..]);
        assert_eq!(back.left_out, 0);
    }

    #[test]
    fn an_entry_that_fits_to_the_byte_is_kept() {
        const ENTRIES: [u8; 2] = [1, 2];
        let itself = |n: &u8| *n;
        let mut room = "1,2,".len();
        assert_eq!(newest(&ENTRIES, &mut room, itself), ["1", "2"]);
        assert_eq!(room, 0);
        let mut room = "1,2".len();
        assert_eq!(newest(&ENTRIES, &mut room, itself), ["2"]);
        assert_eq!(room, 1);
    }

    #[test]
    fn one_bad_entry_harms_no_other() {
        let stored = br#"{"format":1,
            "live":[7,{"room":"r","call":"c","party":"p"},{"room":"!r","call":"c","party":"p"}],
            "ended":[{"room":"!r","call":"c"},{"room":"!r","call":"c","until":9}],
            "later":true}"#;
        let back = Ledger::from_bytes(stored).unwrap();
        assert_eq!((back.live.len(), back.ended.len(), back.left_out), (1, 1, 0));
        assert_eq!(back.ended[0].until, Wall(9));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let read = |bytes: &[u8]| Ledger::from_bytes(bytes);
        assert_eq!(read(b""), Err(UnreadableLedger::NotALedger));
        assert_eq!(read(b"[]"), Err(UnreadableLedger::NotALedger));
        assert_eq!(read(br#"{"format":2}"#), Err(UnreadableLedger::UnknownFormat));
        assert_eq!(read(b"{}"), Err(UnreadableLedger::UnknownFormat));
        assert_eq!(read(br#"{"format":1}"#), Ok(Ledger::default()));
        let padded = |bytes| format!("{:1$}", r#"{"format":1}"#, bytes).into_bytes();
        assert_eq!(read(&padded(MAX_LEDGER_BYTES)), Ok(Ledger::default()));
        assert_eq!(read(&padded(MAX_LEDGER_BYTES + 1)), Err(UnreadableLedger::NotALedger));
    }
}
