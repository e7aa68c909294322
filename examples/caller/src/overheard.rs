//! A WebRTC delegate around another one, which does the work: a [`Listener`] is told what was
//! described to whom. Nothing is changed on the way.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_voip::{
    host::{PeerEvents, WebRtc},
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, PeerConfig, PeerStats, Plan, Tones,
    },
};

/// What an engine is asked and answers. Each call is made in the middle of the engine's work: it
/// must not block.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A connection is about to be opened.
    fn opening(&self, _: PeerId, _: &PeerConfig) {}

    /// A connection was closed, or could not be.
    fn closed(&self, _: PeerId) {}

    /// Our description is in force.
    fn local_set(&self, _: PeerId, _: &Description) {}

    /// Our description was read back, with its candidates.
    fn local_read(&self, _: PeerId, _: &Description) {}

    /// The engine is about to be told the other side's description.
    fn remote_told(&self, _: PeerId, _: &Description) {}

    /// The other side's description is in force.
    fn remote_set(&self, _: PeerId, _: &Description) {}
}

/// An engine that is listened to.
pub(crate) struct Overheard {
    engine: Arc<dyn WebRtc>,
    listener: Arc<dyn Listener>,
}

impl Overheard {
    /// Listens to `engine`.
    pub(crate) fn new(engine: Arc<dyn WebRtc>, listener: Arc<dyn Listener>) -> Arc<Self> {
        Arc::new(Self { engine, listener })
    }
}

#[async_trait]
impl WebRtc for Overheard {
    async fn open(&self, peer: PeerId, config: PeerConfig, to: PeerEvents) -> Result<(), Fault> {
        self.listener.opening(peer, &config);
        self.engine.open(peer, config, to).await
    }

    async fn set_local(&self, peer: PeerId, ours: Description) -> Result<(), Fault> {
        let heard = ours.clone();
        self.engine.set_local(peer, ours).await?;
        self.listener.local_set(peer, &heard);
        Ok(())
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        let ours = self.engine.local_description(peer).await?;
        self.listener.local_read(peer, &ours);
        Ok(ours)
    }

    async fn set_remote(&self, peer: PeerId, theirs: Description) -> Result<(), Fault> {
        self.listener.remote_told(peer, &theirs);
        let heard = theirs.clone();
        self.engine.set_remote(peer, theirs).await?;
        self.listener.remote_set(peer, &heard);
        Ok(())
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        let closed = self.engine.close(peer).await;
        self.listener.closed(peer);
        closed
    }

    // The rest is passed on.

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.engine.offer(peer, plan).await
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.engine.answer(peer, plan).await
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

    async fn set_servers(&self, peer: PeerId, servers: Vec<IceServer>) -> Result<(), Fault> {
        self.engine.set_servers(peer, servers).await
    }

    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault> {
        self.engine.stats(peer).await
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

    async fn replace(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        self.engine.replace(session, track, what).await
    }

    async fn dtmf(&self, track: TrackId, tones: Tones) -> Result<(), Fault> {
        self.engine.dtmf(track, tones).await
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.engine.release(track).await
    }
}
