//! What an adapter has done, in figures.

use crate::worker::Ask;

/// What an adapter has done so far, and what waits in it now. For diagnostics and measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Batches of room events handed to the library.
    pub batches: u64,
    /// Room events in them.
    pub events: u64,
    /// To-device messages handed to the library.
    pub to_device: u64,
    /// Pages of history that were fetched to fill gaps.
    pub pages: u64,
    /// Gaps that were not filled: the homeserver did not answer, or there were more than ten pages.
    pub unfilled: u64,
    /// Events that became readable after they had arrived.
    pub late_keys: u64,
    /// Events that wait for their room key now.
    pub waiting_for_key: u64,
    /// How often updates were lost, so that rooms had to be caught up with.
    pub lags: u64,
    /// Events dropped because another user's key had encrypted them.
    pub forged: u64,
    /// To-device messages dropped because they could not be decrypted. What was in them nobody knows;
    /// it need not have been about a call.
    pub undecryptable: u64,
    /// Messages about media keys dropped because their sender is not in the room, or because another
    /// device wrote them than the known one of that name, or one that cannot be named.
    pub unbelieved: u64,
    /// To-device messages dropped because their sender is ignored.
    pub ignored: u64,
    /// How often the whole state of a room was handed to the library.
    pub states: u64,
    /// How often changes of the state of a room were handed to the library.
    pub state_changes: u64,
    /// Rooms whose state could not be read: it is tried again a minute later.
    pub unread_states: u64,
}

impl Counts {
    pub(crate) fn note(&mut self, ask: &Ask) {
        match ask {
            Ask::Page { .. } => self.pages += 1,
            Ask::Unlock(_) | Ask::Encryption { .. } | Ask::State { .. } => {}
        }
    }
}
