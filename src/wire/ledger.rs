//! The ledger as stored bytes: what must survive a crash of the process.

use crate::{
    id::{CallId, PartyId, RoomId},
    time::Wall,
};

/// Most bytes that a stored ledger has.
pub const MAX_LEDGER_BYTES: usize = 16 * 1024;

/// What must survive a crash: live calls, and ids of calls that are over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// Calls that the other side knows of and that nobody has hung up, oldest first.
    pub live: Vec<LiveCall>,
    /// Calls that are over but whose invite could still be alive, oldest first.
    pub ended: Vec<EndedCall>,
    /// Live calls that found no room, counted.
    pub left_out: u64,
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
