//! The whole state of a room, as far as calls are made of it.

use std::collections::BTreeSet;

use matrix_sdk::ruma::serde::Raw;
use matrix_voip::{
    id::{RoomId, UserId},
    time::Now,
    wire::state::{Extent, RawState, StateBatch},
};

use super::{Fact, Item, What};

/// The state of a room at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct WholeState {
    /// What calls are made of.
    pub(crate) items: Vec<Item>,
    /// Who wrote some of it and is not in the room.
    pub(crate) outside: BTreeSet<UserId>,
    /// Whether the room is encrypted.
    pub(crate) encrypted: bool,
}

impl WholeState {
    /// Picks what concerns calls out of all state events of a room.
    pub(crate) fn read<T>(events: &[Raw<T>], received: Now) -> Self {
        let mut whole = Self::default();
        for item in events.iter().filter_map(|event| Item::of_state(event, received)) {
            match &item.what {
                What::Fact(Fact::Outside(user)) => _ = whole.outside.insert(user.clone()),
                What::Fact(Fact::Encrypted) => whole.encrypted = true,
                What::State(_) => whole.items.push(item),
                _ => {}
            }
        }
        let writers: BTreeSet<&UserId> = whole.items.iter().filter_map(Item::writer).collect();
        whole.outside.retain(|user| writers.contains(user));
        whole
    }

    /// For the core.
    pub(crate) fn into_batch(self, now: Now, room: RoomId) -> StateBatch {
        let encrypted = Some(self.encrypted);
        StateBatch { encrypted, ..state_batch(now, room, Extent::Whole, self.items) }
    }
}

/// State for the core, with its ages as they are now.
pub(crate) fn state_batch(now: Now, room: RoomId, extent: Extent, items: Vec<Item>) -> StateBatch {
    let events: Vec<RawState> = items.into_iter().filter_map(|item| item.into_state(now)).collect();
    StateBatch { room, extent, encrypted: None, events }
}
