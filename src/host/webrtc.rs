//! The WebRTC delegate: peer connections and local media, keyed by ids that the library minted.
//!
//! Each method answers one [`PeerOp`](crate::machine::io::PeerOp) or
//! [`TrackOp`](crate::machine::io::TrackOp), where what it must do is written.

use async_trait::async_trait;

use super::mailbox::News;
use crate::{
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, Network, PeerConfig, PeerNews,
        PeerStats, Plan, Tones,
    },
};

/// Where a delegate reports unasked news of one peer connection.
#[derive(Debug, Clone)]
pub struct PeerEvents {
    peer: PeerId,
    news: News,
}

impl PeerEvents {
    /// The events of `peer`, reported to `news`.
    pub fn new(peer: PeerId, news: News) -> Self {
        Self { peer, news }
    }

    /// Reports one piece of news. Never blocks; after the library is gone nothing happens.
    pub fn report(&self, news: PeerNews) {
        self.news.peer(self.peer, news);
    }

    /// Reports that the addresses of this machine changed. An engine with several connections
    /// says it once for all of them.
    pub fn network_changed(&self) {
        self.news.network(Network::Changed);
    }
}

/// A WebRTC engine. All methods may be called concurrently for different ids; for one peer
/// connection they come one after the other, but for [`close`](Self::close), which may come at any
/// time and is to be taken as a cancel of whatever is under way.
///
/// Each call runs in a task of its own. Its future may be dropped at any await (the call ended, or
/// the driver's deadline passed) and must then leave no device open; a panic is a
/// [`Fault::Panicked`] of that one request.
///
/// # Errors
/// Every method answers with the [`Fault`] that stopped it. One on the way to a connection ends
/// the call with a reason of its own; a camera that cannot be had is done without; for
/// `candidates`, `set_servers`, `enable`, `replace`, `dtmf`, `stats`, `close` and `release` a fault
/// changes nothing in the call.
#[async_trait]
pub trait WebRtc: Send + Sync + 'static {
    /// Makes a peer connection. Gathering may begin at once.
    async fn open(&self, peer: PeerId, config: PeerConfig, events: PeerEvents)
    -> Result<(), Fault>;

    /// Makes an offer for the plan.
    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault>;

    /// Makes an answer to the remote offer, as near to the plan as the offer allows.
    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault>;

    /// Puts our description into force.
    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault>;

    /// The local description with the candidates found so far.
    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault>;

    /// Puts the other side's description into force.
    async fn set_remote(&self, peer: PeerId, description: Description) -> Result<(), Fault>;

    /// Forgets our unanswered offer.
    async fn rollback(&self, peer: PeerId) -> Result<(), Fault>;

    /// Takes remote candidates; those that it cannot use are skipped.
    async fn candidates(&self, peer: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault>;

    /// Gives the next offer new ICE credentials.
    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault>;

    /// Uses these STUN and TURN servers for whatever is gathered from now on, as a restart does;
    /// what is in use already may go on.
    async fn set_servers(&self, peer: PeerId, servers: Vec<IceServer>) -> Result<(), Fault>;

    /// Measures.
    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault>;

    /// Closes the connection, or cancels its opening. Nothing is sent, and no sink is left, when it
    /// answers; to give back what a TURN server holds may take a second more. An unknown id is no
    /// error.
    async fn close(&self, peer: PeerId) -> Result<(), Fault>;

    /// Opens a device for a local track; a person may be asked.
    async fn capture(&self, session: SessionId, track: TrackId, what: Capture)
    -> Result<(), Fault>;

    /// Sends the track (`true`), or silence and no picture (`false`).
    async fn enable(&self, track: TrackId, on: bool) -> Result<(), Fault>;

    /// Takes another device for a track; it keeps its line and whether it is enabled. On a fault
    /// the old device goes on.
    async fn replace(&self, session: SessionId, track: TrackId, what: Capture)
    -> Result<(), Fault>;

    /// Sends tones in the line that sends this microphone; answers when they are taken, not when
    /// they are over. An engine that cannot says [`Fault::Unsupported`], and writes no
    /// `telephone-event` into its descriptions.
    async fn dtmf(&self, track: TrackId, tones: Tones) -> Result<(), Fault>;

    /// Closes the device, or cancels its opening. An unknown id is no error.
    async fn release(&self, track: TrackId) -> Result<(), Fault>;
}
