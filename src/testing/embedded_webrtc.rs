//! The [`FakeWebRtc`] as an async host: real `VoIP` instances of one process connect through it.
//!
//! [`EmbeddedWebRtc`] is what all of them share; [`EmbeddedWebRtc::engine`] gives each its own
//! [`WebRtc`]. What an engine should do wrong is said with [`EmbeddedEngine::next`]. Time is the
//! runtime's, so a paused runtime skips all waiting.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    cue::{Cue, Cues, Ending, OpKind},
    webrtc::{FakeWebRtc, FollowUp, Habits, Seat},
};
use crate::{
    host::{PeerEvents, WebRtc},
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, Op, PeerConfig, PeerOp, PeerState,
        PeerStats, Plan, Reply, Tones, TrackOp,
    },
};

/// What all fake engines of a process share. Cloning it gives another handle to the same.
#[derive(Clone, Default)]
pub struct EmbeddedWebRtc {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    webrtc: FakeWebRtc,
    seats: u32,
    events: BTreeMap<(Seat, PeerId), PeerEvents>,
    cues: BTreeMap<Seat, Cues>,
}

impl fmt::Debug for EmbeddedWebRtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedWebRtc").finish_non_exhaustive()
    }
}

impl EmbeddedWebRtc {
    /// No engines yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more engine, for one `VoIP`.
    pub fn engine(&self) -> EmbeddedEngine {
        let mut state = self.lock();
        state.seats += 1;
        EmbeddedEngine { shared: self.clone(), seat: Seat(state.seats) }
    }

    /// Looks at what the engines hold.
    pub fn look<T>(&self, look: impl FnOnce(&FakeWebRtc) -> T) -> T {
        look(&self.lock().webrtc)
    }

    /// Lets follow-ups happen when their time has come.
    fn follow(&self, follow_ups: Vec<FollowUp>) {
        for follow_up in follow_ups {
            let shared = self.clone();
            tokio::spawn(async move {
                pause(follow_up.after).await;
                shared.happen(follow_up);
            });
        }
    }

    fn happen(&self, follow_up: FollowUp) {
        let mut state = self.lock();
        let key = (follow_up.seat, follow_up.peer);
        let news = state.webrtc.happen(follow_up);
        if let (Some(news), Some(events)) = (news, state.events.get(&key)) {
            events.report(news);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics but a closure of `look`, which only looks.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fake engine: give it to the builder of a `VoIP`.
#[derive(Debug, Clone)]
pub struct EmbeddedEngine {
    shared: EmbeddedWebRtc,
    seat: Seat,
}

impl EmbeddedEngine {
    /// Which engine of [`EmbeddedWebRtc::look`] it is.
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// What becomes of the next request of a kind; called again: of the one after it.
    pub fn next(&self, kind: OpKind, cue: Cue) {
        self.shared.lock().cues.entry(self.seat).or_default().next(kind, cue);
    }

    /// What becomes of all requests of a kind.
    pub fn always(&self, kind: OpKind, cue: Cue) {
        self.shared.lock().cues.entry(self.seat).or_default().always(kind, cue);
    }

    /// When candidates are found, and whether it connects.
    pub fn set_habits(&self, habits: Habits) {
        self.shared.lock().webrtc.set_habits(self.seat, habits);
    }

    /// The network does this to all connections of this engine.
    pub fn force(&self, state: PeerState) {
        let follow_ups = self.shared.lock().webrtc.force(self.seat, state);
        self.shared.follow(follow_ups);
    }

    async fn peer(&self, peer: PeerId, op: PeerOp) -> Result<Reply, Fault> {
        let kind = OpKind::of(&Op::Peer(peer, op.clone()));
        self.act(kind, || {
            let performed = self.shared.lock().webrtc.perform(self.seat, peer, &op);
            self.shared.follow(performed.follow_ups);
            performed.result
        })
        .await
    }

    async fn done(&self, peer: PeerId, op: PeerOp) -> Result<(), Fault> {
        self.peer(peer, op).await.map(drop)
    }

    async fn described(&self, peer: PeerId, op: PeerOp) -> Result<Description, Fault> {
        match self.peer(peer, op).await? {
            Reply::Description(description) => Ok(description),
            other => Err(Fault::Failed(format!("not a description: {other:?}"))),
        }
    }

    async fn track(&self, track: TrackId, op: TrackOp) -> Result<(), Fault> {
        let kind = OpKind::of(&Op::Track(track, op.clone()));
        let act = || self.shared.lock().webrtc.track(self.seat, track, op);
        self.act(kind, act).await.map(drop)
    }

    /// Does something as its cue says.
    async fn act(
        &self,
        kind: OpKind,
        act: impl FnOnce() -> Result<Reply, Fault> + Send,
    ) -> Result<Reply, Fault> {
        let cue = self.shared.lock().cues.entry(self.seat).or_default().take(kind);
        pause(cue.after).await;
        match cue.ending {
            Ending::Works => act(),
            Ending::Fails(fault) => Err(fault),
            Ending::Lost(fault) => act().and(Err(fault)),
            Ending::Hangs => std::future::pending().await,
            Ending::Panics => panic!("a fake engine panics on cue: {kind:?}"),
        }
    }
}

async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep_until(Instant::now() + span).await;
    }
}

#[async_trait]
impl WebRtc for EmbeddedEngine {
    async fn open(
        &self,
        peer: PeerId,
        config: PeerConfig,
        events: PeerEvents,
    ) -> Result<(), Fault> {
        self.shared.lock().events.insert((self.seat, peer), events);
        self.done(peer, PeerOp::Open(config)).await
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.described(peer, PeerOp::Offer(plan)).await
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.described(peer, PeerOp::Answer(plan)).await
    }

    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        self.done(peer, PeerOp::SetLocal(description)).await
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.described(peer, PeerOp::LocalDescription).await
    }

    async fn set_remote(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        self.done(peer, PeerOp::SetRemote(description)).await
    }

    async fn rollback(&self, peer: PeerId) -> Result<(), Fault> {
        self.done(peer, PeerOp::Rollback).await
    }

    async fn candidates(&self, peer: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault> {
        self.done(peer, PeerOp::Candidates(candidates)).await
    }

    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault> {
        self.done(peer, PeerOp::RestartIce).await
    }

    async fn set_servers(&self, peer: PeerId, servers: Vec<IceServer>) -> Result<(), Fault> {
        self.done(peer, PeerOp::SetServers(servers)).await
    }

    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault> {
        match self.peer(peer, PeerOp::Stats).await? {
            Reply::Stats(stats) => Ok(*stats),
            other => Err(Fault::Failed(format!("not measurements: {other:?}"))),
        }
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        let closed = self.done(peer, PeerOp::Close).await;
        self.shared.lock().events.remove(&(self.seat, peer));
        closed
    }

    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        self.track(track, TrackOp::Capture(session, what)).await
    }

    async fn enable(&self, track: TrackId, on: bool) -> Result<(), Fault> {
        self.track(track, TrackOp::Enable(on)).await
    }

    async fn replace(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        self.track(track, TrackOp::Replace(session, what)).await
    }

    async fn dtmf(&self, track: TrackId, tones: Tones) -> Result<(), Fault> {
        self.track(track, TrackOp::Dtmf(tones)).await
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.track(track, TrackOp::Release).await
    }
}
