//! Listens to the engine of one participant: which peer connection was opened for whom, and which
//! certificates were announced and told over it. Asks it for measurements of each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_voip::{
    PeerStats, WebRtc,
    id::PeerId,
    machine::io::{Description, PeerConfig},
};

use super::{Teller, cast::Who, fact::Fact};
use crate::{demo::notary::fingerprint, overheard::Listener};

/// The peer connections of one participant.
pub(crate) struct Legs {
    who: Who,
    teller: Teller,
    /// Those that are open, and to whom.
    open: Mutex<BTreeMap<PeerId, Who>>,
}

impl Legs {
    /// Listens for `who`.
    pub(crate) fn new(who: Who, teller: Teller) -> Arc<Self> {
        Arc::new(Self { who, teller, open: Mutex::default() })
    }

    /// What the engine measures on each, and to whom it goes. The library asks the engine for
    /// nothing of the kind; between its requests ours are one more.
    pub(crate) async fn measure(&self, engine: &Arc<dyn WebRtc>) -> Vec<(Who, PeerStats)> {
        let open: Vec<_> = self.open().iter().map(|(peer, to)| (*peer, *to)).collect();
        let mut measured = Vec::new();
        for (peer, to) in open {
            // One that was closed meanwhile is measured no more.
            if let Ok(stats) = engine.stats(peer).await {
                measured.push((to, stats));
            }
        }
        measured
    }

    fn to(&self, peer: PeerId) -> Option<Who> {
        self.open().get(&peer).copied()
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<PeerId, Who>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Legs {
    fn opening(&self, peer: PeerId, config: &PeerConfig) {
        if let Some(to) = config.member.as_ref().and_then(Who::of) {
            self.open().insert(peer, to);
            self.teller.tell(Fact::Opened(self.who, to, peer));
        }
    }

    fn closed(&self, peer: PeerId) {
        self.open().remove(&peer);
    }

    fn local_read(&self, peer: PeerId, ours: &Description) {
        if let Some((to, fingerprint)) = self.to(peer).zip(fingerprint(ours)) {
            self.teller.tell(Fact::Announced(self.who, to, fingerprint));
        }
    }

    fn remote_told(&self, peer: PeerId, theirs: &Description) {
        if let Some((of, fingerprint)) = self.to(peer).zip(fingerprint(theirs)) {
            self.teller.tell(Fact::Told(self.who, of, fingerprint));
        }
    }
}
