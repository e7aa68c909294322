//! What is seen of an engine: how many connections are open, and what was described to whom.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use matrix_voip::{
    id::{PeerId, SessionId},
    machine::io::{Description, PeerConfig},
};

use crate::overheard::Listener;

/// The descriptions in force, of us and of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descriptions {
    pub(crate) local: Option<Description>,
    pub(crate) remote: Option<Description>,
}

#[derive(Debug, Default)]
struct Seen {
    sessions: BTreeMap<PeerId, SessionId>,
    descriptions: BTreeMap<SessionId, Descriptions>,
}

/// Keeps what is seen.
#[derive(Default)]
pub(crate) struct Watched {
    seen: Mutex<Seen>,
}

impl Watched {
    /// How many connections were opened and not closed.
    pub(crate) fn open_connections(&self) -> usize {
        self.lock().sessions.len()
    }

    /// The descriptions of a call.
    pub(crate) fn descriptions(&self, session: SessionId) -> Descriptions {
        self.lock().descriptions.get(&session).cloned().unwrap_or_default()
    }

    /// Forgets a call that nobody can ask for any more.
    pub(crate) fn forget(&self, session: SessionId) {
        self.lock().descriptions.remove(&session);
    }

    fn note(&self, peer: PeerId, note: impl FnOnce(&mut Descriptions)) {
        let mut seen = self.lock();
        if let Some(session) = seen.sessions.get(&peer).copied() {
            note(seen.descriptions.entry(session).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched, with {} connections", self.open_connections())
    }
}

impl Listener for Watched {
    fn opening(&self, peer: PeerId, config: &PeerConfig) {
        self.lock().sessions.insert(peer, config.session);
    }

    fn closed(&self, peer: PeerId) {
        self.lock().sessions.remove(&peer);
    }

    fn local_set(&self, peer: PeerId, ours: &Description) {
        self.note(peer, |seen| seen.local = Some(ours.clone()));
    }

    fn local_read(&self, peer: PeerId, ours: &Description) {
        self.note(peer, |seen| seen.local = Some(ours.clone()));
    }

    fn remote_set(&self, peer: PeerId, theirs: &Description) {
        self.note(peer, |seen| seen.remote = Some(theirs.clone()));
    }
}
