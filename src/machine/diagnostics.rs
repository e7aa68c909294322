//! What was ignored: counted by reason, and the last of them in detail.
//!
//! Nonsense from a remote party is no error; it is ignored, and here it can be seen.

use std::collections::{BTreeMap, VecDeque};

use super::io::Ignored;
use crate::{
    id::{SessionId, UserId},
    time::Wall,
};

/// How many ignored inputs are kept in detail.
pub const KEPT: usize = 64;

/// Counters and the latest cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    counts: BTreeMap<Ignored, u64>,
    latest: VecDeque<Case>,
}

/// One ignored input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// When.
    pub at: Wall,
    /// Why it was ignored.
    pub reason: Ignored,
    /// The event type, or the kind of input.
    pub what: String,
    /// Who sent it, where it was an event.
    pub sender: Option<UserId>,
    /// The call that it was about, where that is known.
    pub session: Option<SessionId>,
}

impl Diagnostics {
    /// Counts and keeps one case.
    pub(super) fn note(&mut self, case: Case) {
        *self.counts.entry(case.reason).or_default() += 1;
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(case);
    }

    /// How often inputs were ignored, by reason.
    pub fn counts(&self) -> &BTreeMap<Ignored, u64> {
        &self.counts
    }

    /// How often inputs were ignored for this reason.
    pub fn count(&self, reason: Ignored) -> u64 {
        self.counts.get(&reason).copied().unwrap_or_default()
    }

    /// The latest cases, oldest first.
    pub fn latest(&self) -> impl ExactSizeIterator<Item = &Case> {
        self.latest.iter()
    }
}
