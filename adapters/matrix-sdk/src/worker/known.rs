//! Which events have been seen: a bounded memory.
//!
//! Events come again after a new connection, a poisoned sync, a retried one (`matrix-sdk.md`,
//! trap 6), and a backfill stops at the first event that is known. What is forgotten costs a page
//! or two more, and the core's own memory of duplicates holds behind it.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use matrix_voip::id::EventId;

/// Most events that are remembered, of all rooms together; the oldest are forgotten first.
pub(crate) const MAX_KNOWN: usize = 32_768;

/// The ids of events that have been seen, as hashes with a key that nobody knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    key: RandomState,
    order: VecDeque<u64>,
    set: HashSet<u64>,
}

impl Known {
    pub(super) fn has(&self, id: &EventId) -> bool {
        self.set.contains(&self.key.hash_one(id))
    }

    pub(super) fn note(&mut self, id: &EventId) {
        let hash = self.key.hash_one(id);
        if !self.set.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_is_forgotten_first() {
        let mut known = Known::default();
        let id = |n: usize| EventId::parse(format!("${n}")).unwrap();
        for n in 0..=MAX_KNOWN {
            known.note(&id(n));
            known.note(&id(n));
        }
        assert!(!known.has(&id(0)));
        assert!(known.has(&id(1)) && known.has(&id(MAX_KNOWN)));
        assert_eq!((known.order.len(), known.set.len()), (MAX_KNOWN, MAX_KNOWN));
    }
}
