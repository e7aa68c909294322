//! Which members something changed about, in the order in which it did, each once.

use std::collections::{BTreeSet, VecDeque};

use crate::machine::{fingerprint::Fingerprint, io::ParticipantId};

/// Members to look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Touched {
    queue: VecDeque<ParticipantId>,
    queued: BTreeSet<ParticipantId>,
}

impl Touched {
    /// Something about this member changed.
    pub(super) fn touch(&mut self, member: &ParticipantId) {
        if self.queued.insert(member.clone()) {
            self.queue.push_back(member.clone());
        }
    }

    /// The next one to look at.
    pub(super) fn next(&mut self) -> Option<ParticipantId> {
        let member = self.queue.pop_front()?;
        self.queued.remove(&member);
        Some(member)
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value(&self.queue);
    }
}
