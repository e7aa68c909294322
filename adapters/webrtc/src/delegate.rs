//! [`Webrtc`]: the `WebRtc` port of `matrix-voip` over the crates `webrtc` and `rtc`.

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
use matrix_voip_engine::{Interfaces, Known, Subscriber, Tls, Tracks, TrustedRoots};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    connection::{Place, Request, clock},
    life::{self, Asked},
};

/// The WebRTC engine: give it to `VoIP::builder(..).webrtc(..)`.
///
/// Peer connections and captures run as tasks of the tokio runtime in which the calls are made;
/// dropping the engine closes them all.
pub struct Webrtc {
    media: Arc<dyn Media>,
    tracks: Arc<Tracks>,
    peers: Mutex<BTreeMap<PeerId, Way>>,
    known: Arc<Known>,
    tls: Arc<Tls>,
    epoch: Instant,
}

/// How an engine is to be made; see [`Webrtc::builder`].
pub struct Builder {
    media: Arc<dyn Media>,
    interfaces: Interfaces,
    roots: TrustedRoots,
}

/// The way to the task of a peer connection.
struct Way {
    requests: mpsc::UnboundedSender<Request>,
    closing: watch::Sender<bool>,
    subscriber: Subscriber,
}

impl Way {
    fn is_closing(&self) -> bool {
        *self.closing.borrow() || self.requests.is_closed()
    }
}

/// The entry of a connection that is being opened or closed. Dropped, also by whoever waits no
/// longer, the engine knows the connection no more; a task that is still there ends.
struct Passing<'a> {
    engine: &'a Webrtc,
    peer: PeerId,
    subscriber: Subscriber,
    stays: bool,
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let mut peers = self.engine.lock();
        // Not one of the same id that was opened meanwhile.
        if peers.get(&self.peer).is_some_and(|way| way.subscriber.is_same(&self.subscriber)) {
            peers.remove(&self.peer);
        }
        drop(peers);
        // It may have asked for frames before there was a task to give them back.
        self.engine.tracks.unsubscribe(self.peer, &self.subscriber);
    }
}

impl Webrtc {
    /// Begins to make an engine whose sound and picture come from and go to `media`.
    pub fn builder(media: Arc<dyn Media>) -> Builder {
        Builder { media, interfaces: Interfaces::default(), roots: TrustedRoots::default() }
    }

    /// Asks the task of a connection to do something.
    async fn request(&self, peer: PeerId, op: PeerOp) -> Result<Reply, Fault> {
        let way = self.lock().get(&peer).filter(|way| !way.is_closing()).map(|way| {
            // Each may outlive the entry by as long as its answer takes.
            (way.requests.clone(), way.closing.subscribe())
        });
        let (reply, answer) = oneshot::channel();
        let (requests, closing) = way.ok_or(Fault::NotFound)?;
        requests.send(Request { op, reply }).map_err(|_| Fault::NotFound)?;
        // The task drops a request when it is closed, or when something panicked in it.
        let is_over = || *closing.borrow() || closing.has_changed().is_err();
        let dropped = |_| if is_over() { Fault::Cancelled } else { Fault::Panicked };
        answer.await.map_err(dropped)?
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
        if let Some(way) = self.lock().get(&peer).filter(|way| !way.is_closing()) {
            self.tracks.subscribe(peer, &wanted, &way.subscriber);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Way>> {
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

    /// The engine.
    pub fn build(self) -> Webrtc {
        Webrtc {
            tracks: Arc::new(Tracks::new(self.media.clone())),
            media: self.media,
            peers: Mutex::default(),
            known: Arc::new(Known::new(self.interfaces)),
            tls: Arc::new(Tls::new(self.roots)),
            epoch: clock(),
        }
    }
}

#[async_trait]
impl WebRtc for Webrtc {
    async fn open(
        &self,
        peer: PeerId,
        config: PeerConfig,
        events: PeerEvents,
    ) -> Result<(), Fault> {
        let (watch, addresses) = self.known.begin().map_err(|_| Fault::Unreachable)?;
        let (requests, received) = mpsc::unbounded_channel();
        let (closing, closes) = watch::channel(false);
        let (subscriber, frames) = Subscriber::new(events.clone());
        let place = Place {
            id: peer,
            session: config.session,
            member: config.member,
            events,
            media: self.media.clone(),
            tracks: self.tracks.clone(),
            subscriber: subscriber.clone(),
            watch,
            epoch: self.epoch,
        };
        let asked = Asked {
            addresses,
            servers: config.ice_servers,
            relay_only: config.relay_only,
            tls: self.tls.clone(),
            requests: received,
            closing: closes,
            frames,
        };
        // A connection of the same id that is still there loses its way in, and closes.
        let way = Way { requests, closing, subscriber: subscriber.clone() };
        drop(self.lock().insert(peer, way));
        let mut passing = Passing { engine: self, peer, subscriber, stays: false };
        // In a task of its own from the beginning: `close` waits for its end, whoever else does not.
        let (opened, opens) = oneshot::channel();
        tokio::spawn(life::live(place, asked, opened));
        opens.await.unwrap_or(Err(Fault::Panicked))?;
        passing.stays = true;
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
        let Some((requests, subscriber)) = self.lock().get(&peer).map(|way| {
            // Whatever is under way is cut short, and the task ends.
            way.closing.send_replace(true);
            (way.requests.clone(), way.subscriber.clone())
        }) else {
            return Ok(());
        };
        // Known until it is gone, so that a second one waits for the same.
        let _passing = Passing { engine: self, peer, subscriber, stays: false };
        requests.closed().await;
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

    async fn dtmf(&self, _: TrackId, _: Tones) -> Result<(), Fault> {
        // The crate has no sender of events; and no description of ours promises them.
        Err(Fault::Unsupported)
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.tracks.release(track).await;
        Ok(())
    }
}

impl std::fmt::Debug for Webrtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webrtc with {} peer connections", self.lock().len())
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}
