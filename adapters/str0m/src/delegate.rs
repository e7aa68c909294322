//! [`Str0m`]: the `WebRtc` port of `matrix-voip` over the peers of this crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Media, PeerEvents, WebRtc},
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, PeerConfig, PeerOp, PeerStats, Plan,
        Reply, Tones,
    },
};
use matrix_voip_engine::{
    Interfaces, Known, Subscriber, Tls, Tracks, TrustedRoots, interfaces::LOOK_INTERVAL,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    impairment::Impairments,
    peer::{Peer, PeerSetup},
    shell::{self, Asked, Request, Shell, clock},
    sockets::Sockets,
    uplinks::Uplinks,
};

/// The WebRTC engine: give it to `VoIP::builder(..).webrtc(..)`.
///
/// Peer connections and captures run as tasks of the tokio runtime in which the calls are made;
/// dropping the engine closes them all.
pub struct Str0m {
    media: Arc<dyn Media>,
    tracks: Arc<Tracks>,
    peers: Mutex<BTreeMap<PeerId, Connection>>,
    known: Arc<Known>,
    tls: Arc<Tls>,
    impairments: Option<Impairments>,
    epoch: Instant,
}

/// How an engine is to be made; see [`Str0m::builder`].
pub struct Builder {
    media: Arc<dyn Media>,
    interfaces: Interfaces,
    roots: TrustedRoots,
    impairments: Option<Impairments>,
}

/// The way to the task of a peer connection.
struct Connection {
    requests: mpsc::UnboundedSender<Request>,
    subscriber: Subscriber,
}

impl Str0m {
    /// Begins to make an engine whose sound and picture come from and go to `media`.
    pub fn builder(media: Arc<dyn Media>) -> Builder {
        Builder {
            media,
            interfaces: Interfaces::default(),
            roots: TrustedRoots::default(),
            impairments: None,
        }
    }

    /// Asks the task of a connection to do something.
    async fn request(&self, peer: PeerId, op: PeerOp) -> Result<Reply, Fault> {
        self.ask(peer, Asked::Op(op)).await
    }

    async fn ask(&self, peer: PeerId, asked: Asked) -> Result<Reply, Fault> {
        let requests = self.lock().get(&peer).map(|connection| connection.requests.clone());
        send(&requests.ok_or(Fault::NotFound)?, asked).await
    }

    async fn describe(&self, peer: PeerId, op: PeerOp) -> Result<Description, Fault> {
        match self.request(peer, op).await? {
            Reply::Description(description) => Ok(description),
            _ => Err(Fault::Unsupported),
        }
    }

    /// The connection gets the frames of what the plan sends, to send them once that is agreed.
    fn subscribe(&self, peer: PeerId, plan: &Plan) {
        let wanted: BTreeSet<TrackId> = plan.lines.iter().filter_map(|line| line.track).collect();
        if let Some(connection) = self.lock().get(&peer) {
            self.tracks.subscribe(peer, &wanted, &connection.subscriber);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Connection>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Builder {
    /// Which interfaces carry calls; all of them, if this is not called.
    #[must_use]
    pub fn interfaces(mut self, interfaces: Interfaces) -> Self {
        self.interfaces = interfaces;
        self
    }

    /// Whom TURN servers over TLS must be vouched for by; the operating system's certificates, if
    /// this is not called.
    #[must_use]
    pub fn trusted_roots(mut self, roots: TrustedRoots) -> Self {
        self.roots = roots;
        self
    }

    /// Drops or delays what is sent, for tests and demonstrations.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn impairments(mut self, impairments: Impairments) -> Self {
        self.impairments = Some(impairments);
        self
    }

    /// The engine. The crypto library starts meanwhile, on a thread of its own.
    pub fn build(self) -> Str0m {
        shell::warm_up();
        Str0m {
            tracks: Arc::new(Tracks::new(self.media.clone())),
            media: self.media,
            peers: Mutex::default(),
            known: Arc::new(Known::new(self.interfaces)),
            tls: Arc::new(Tls::new(self.roots)),
            impairments: self.impairments,
            epoch: clock(),
        }
    }
}

async fn send(requests: &mpsc::UnboundedSender<Request>, asked: Asked) -> Result<Reply, Fault> {
    let (reply, answer) = oneshot::channel();
    requests.send(Request { asked, reply }).map_err(|_| Fault::NotFound)?;
    // The task drops a request only when code of the application panicked in it.
    answer.await.unwrap_or(Err(Fault::Panicked))
}

#[async_trait]
impl WebRtc for Str0m {
    async fn open(
        &self,
        peer: PeerId,
        config: PeerConfig,
        events: PeerEvents,
    ) -> Result<(), Fault> {
        let (watch, addresses) = self.known.begin().map_err(|_| Fault::Unreachable)?;
        let sockets =
            Sockets::open(&addresses, self.impairments.clone()).map_err(|_| Fault::Unreachable)?;
        let setup = PeerSetup {
            ice_servers: config.ice_servers,
            relay_only: config.relay_only,
            ..PeerSetup::new(self.epoch, sockets.addresses())
        };
        let now = clock();
        let (requests, received) = mpsc::unbounded_channel();
        let (subscriber, incoming) = Subscriber::new(events.clone());
        let shell = Shell {
            id: peer,
            session: config.session,
            member: config.member,
            peer: Peer::new(now, setup),
            sockets,
            uplinks: Uplinks::new(self.tls.clone()),
            requests: received,
            frames: incoming,
            events,
            media: self.media.clone(),
            tracks: self.tracks.clone(),
            subscriber: subscriber.clone(),
            sinks: BTreeMap::new(),
            wakes: now,
            watch,
            looks: now + LOOK_INTERVAL,
            is_closed: false,
        };
        // A connection of the same id that is still there loses its way in, and closes.
        self.lock().insert(peer, Connection { requests, subscriber });
        tokio::spawn(shell.run());
        Ok(())
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.subscribe(peer, &plan);
        self.describe(peer, PeerOp::Offer(plan)).await
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.subscribe(peer, &plan);
        self.describe(peer, PeerOp::Answer(plan)).await
    }

    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        self.request(peer, PeerOp::SetLocal(description)).await.map(drop)
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.describe(peer, PeerOp::LocalDescription).await
    }

    async fn set_remote(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        self.request(peer, PeerOp::SetRemote(description)).await.map(drop)
    }

    async fn rollback(&self, peer: PeerId) -> Result<(), Fault> {
        self.request(peer, PeerOp::Rollback).await.map(drop)
    }

    async fn candidates(&self, peer: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault> {
        self.request(peer, PeerOp::Candidates(candidates)).await.map(drop)
    }

    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault> {
        self.request(peer, PeerOp::RestartIce).await.map(drop)
    }

    async fn set_servers(&self, peer: PeerId, servers: Vec<IceServer>) -> Result<(), Fault> {
        self.request(peer, PeerOp::SetServers(servers)).await.map(drop)
    }

    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault> {
        match self.request(peer, PeerOp::Stats).await? {
            Reply::Stats(stats) => Ok(*stats),
            _ => Err(Fault::Unsupported),
        }
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        let Some(connection) = self.lock().remove(&peer) else { return Ok(()) };
        // A task that is gone already is closed.
        drop(send(&connection.requests, Asked::Op(PeerOp::Close)).await);
        // One that had died before may have been given frames since.
        self.tracks.unsubscribe(peer, &connection.subscriber);
        Ok(())
    }

    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        self.tracks.capture(session, track, what).await
    }

    async fn enable(&self, track: TrackId, on: bool) -> Result<(), Fault> {
        self.tracks.enable(track, on);
        Ok(())
    }

    async fn replace(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        self.tracks.replace(session, track, what).await
    }

    async fn dtmf(&self, track: TrackId, tones: Tones) -> Result<(), Fault> {
        let mut result = Err(Fault::NotFound);
        for peer in self.tracks.listeners(track) {
            let asked = self.ask(peer, Asked::Tones(track, tones.clone())).await.map(drop);
            result = result.or(asked);
        }
        result
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.tracks.release(track).await;
        Ok(())
    }
}

impl std::fmt::Debug for Str0m {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Str0m with {} peer connections", self.lock().len())
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}
