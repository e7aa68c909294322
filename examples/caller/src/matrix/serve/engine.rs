//! An engine that is watched: how many connections are open, and what was described to whom.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use matrix_voip::{
    host::{PeerEvents, WebRtc},
    id::{PeerId, SessionId, TrackId},
    machine::io::{Candidate, Capture, Description, Fault, PeerConfig, PeerStats, Plan},
};

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

/// An engine around another, which does the work.
pub(crate) struct Watched {
    engine: Arc<dyn WebRtc>,
    seen: Mutex<Seen>,
}

impl Watched {
    pub(crate) fn new(engine: Arc<dyn WebRtc>) -> Arc<Self> {
        Arc::new(Self { engine, seen: Mutex::default() })
    }

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

#[async_trait]
impl WebRtc for Watched {
    async fn open(&self, peer: PeerId, config: PeerConfig, to: PeerEvents) -> Result<(), Fault> {
        self.lock().sessions.insert(peer, config.session);
        self.engine.open(peer, config, to).await
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.engine.offer(peer, plan).await
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.engine.answer(peer, plan).await
    }

    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        let noted = description.clone();
        self.engine.set_local(peer, description).await?;
        self.note(peer, |seen| seen.local = Some(noted));
        Ok(())
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        let description = self.engine.local_description(peer).await?;
        self.note(peer, |seen| seen.local = Some(description.clone()));
        Ok(description)
    }

    async fn set_remote(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        let noted = description.clone();
        self.engine.set_remote(peer, description).await?;
        self.note(peer, |seen| seen.remote = Some(noted));
        Ok(())
    }

    async fn rollback(&self, peer: PeerId) -> Result<(), Fault> {
        self.engine.rollback(peer).await
    }

    async fn candidates(&self, peer: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault> {
        self.engine.candidates(peer, candidates).await
    }

    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault> {
        self.engine.restart_ice(peer).await
    }

    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault> {
        self.engine.stats(peer).await
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        let closed = self.engine.close(peer).await;
        self.lock().sessions.remove(&peer);
        closed
    }

    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        self.engine.capture(session, track, what).await
    }

    async fn enable(&self, track: TrackId, on: bool) -> Result<(), Fault> {
        self.engine.enable(track, on).await
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.engine.release(track).await
    }
}
