//! A WebRTC delegate around another one that only listens: it tells which certificate each side
//! announces, and which one it is told that the other side has.
//!
//! Fingerprints are the one thing in signalling that media's secrecy rests on; where the two do
//! not match, the demo can say whose was changed on the way.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_voip::{
    PeerStats, WebRtc,
    host::PeerEvents,
    id::{PeerId, SessionId, TrackId},
    machine::io::{Candidate, Capture, Description, Fault, PeerConfig, Plan},
};

use super::{
    fact::{Fact, Who},
    teller::Teller,
};

/// What stands before a fingerprint.
const MARK: &str = "a=fingerprint:";

/// Listens to one side's engine.
pub(crate) struct Notary {
    who: Who,
    engine: Arc<dyn WebRtc>,
    teller: Teller,
}

impl Notary {
    /// Listens to `engine`.
    pub(crate) fn new(who: Who, engine: Arc<dyn WebRtc>, teller: Teller) -> Self {
        Self { who, engine, teller }
    }
}

fn fingerprint(description: &Description) -> Option<String> {
    let (_, rest) = description.sdp.expose().split_once(MARK)?;
    rest.lines().next().map(str::to_owned)
}

#[async_trait]
impl WebRtc for Notary {
    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        let ours = self.engine.local_description(peer).await?;
        if let Some(fingerprint) = fingerprint(&ours) {
            self.teller.tell(Fact::Announced(self.who, fingerprint));
        }
        Ok(ours)
    }

    async fn set_remote(&self, peer: PeerId, theirs: Description) -> Result<(), Fault> {
        if let Some(fingerprint) = fingerprint(&theirs) {
            self.teller.tell(Fact::ToldOf(self.who.other(), fingerprint));
        }
        self.engine.set_remote(peer, theirs).await
    }

    // The rest is passed on.

    async fn open(
        &self,
        peer: PeerId,
        config: PeerConfig,
        events: PeerEvents,
    ) -> Result<(), Fault> {
        self.engine.open(peer, config, events).await
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.engine.offer(peer, plan).await
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.engine.answer(peer, plan).await
    }

    async fn set_local(&self, peer: PeerId, ours: Description) -> Result<(), Fault> {
        self.engine.set_local(peer, ours).await
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
        self.engine.close(peer).await
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
