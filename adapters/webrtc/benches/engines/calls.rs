//! Calls between two engines of a kind, each step as the library asks for it.

use std::{future::Future, sync::Arc, time::Duration};

use matrix_voip::{
    host::{
        Mailbox, Media, PeerEvents, WebRtc,
        mailbox::{self, DriverEnd},
    },
    id::{PeerId, SessionId, StreamId, TrackId},
    machine::io::{
        Candidate, Capture, Direction, Input, MediaSource, PeerConfig, PeerNews, PeerState, Plan,
        PlanLine,
    },
};
use tokio::time::{Instant, timeout};

use crate::studio::{Lane, Pace, Studio};

/// Longer than anything takes that goes well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes an engine on loopback.
pub type Make = fn(Arc<dyn Media>) -> Arc<dyn WebRtc>;

/// How long the steps of one call took, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Both ends open their connection.
    pub opening: Duration,
    /// From the request for an offer until the answer is in force; then the first check can leave.
    pub describing: Duration,
    /// From then until both are connected.
    pub connecting: Duration,
}

/// One end of every call.
struct Side {
    engine: Arc<dyn WebRtc>,
    driver: DriverEnd,
    mailbox: Mailbox,
    is_connected: bool,
    /// Candidates that the other end does not have.
    found: Vec<Candidate>,
}

impl Side {
    fn new(engine: Arc<dyn WebRtc>) -> Self {
        let (driver, mailbox) = mailbox::pair();
        Self { engine, driver, mailbox, is_connected: false, found: Vec::new() }
    }

    async fn open(&self, peer: PeerId) {
        let events = PeerEvents::new(peer, self.mailbox.news());
        let config = PeerConfig { session: SessionId(peer.0), ..PeerConfig::default() };
        self.engine.open(peer, config, events).await.expect("it opens");
    }

    async fn capture(&self, peer: PeerId, sources: &[MediaSource]) {
        for source in sources {
            let (session, what) = (SessionId(peer.0), Capture::of(*source));
            self.engine.capture(session, track(peer, *source), what).await.expect("a device");
        }
    }

    fn note(&mut self, peer: PeerId, input: Option<Input>) {
        match input {
            Some(Input::Peer(of, PeerNews::State(state))) if of == peer => {
                self.is_connected = state == PeerState::Connected;
            }
            Some(Input::Peer(of, PeerNews::Candidate(found))) if of == peer => {
                self.found.push(found);
            }
            _ => {}
        }
    }
}

/// Two engines, and the calls between them.
pub struct Stage {
    a: Side,
    b: Side,
    there: Arc<Lane>,
    back: Arc<Lane>,
    calls: u64,
}

impl Stage {
    pub fn new(make: Make, pace: Pace) -> Self {
        let (there, back) = (Lane::new(pace), Lane::new(pace));
        let a = make(Arc::new(Studio { out: there.clone(), back: back.clone() }));
        let b = make(Arc::new(Studio { out: back.clone(), back: there.clone() }));
        Self { a: Side::new(a), b: Side::new(b), there, back, calls: 0 }
    }

    /// One more call that sends these both ways; ends when both are connected.
    pub async fn call(&mut self, sources: &[MediaSource]) -> Times {
        self.calls += 1;
        let peer = PeerId(self.calls);
        let begin = Instant::now();
        tokio::join!(self.a.open(peer), self.b.open(peer));
        let opened = Instant::now();
        self.a.capture(peer, sources).await;
        self.b.capture(peer, sources).await;
        let captured = Instant::now();
        in_time(self.negotiate(peer, &plan(peer, sources))).await;
        let described = Instant::now();
        in_time(self.connected(peer)).await;
        Times {
            opening: opened - begin,
            describing: described - captured,
            connecting: described.elapsed(),
        }
    }

    /// Closes the last call.
    pub async fn close(&self, sources: &[MediaSource]) {
        let peer = PeerId(self.calls);
        for side in [&self.a, &self.b] {
            side.engine.close(peer).await.expect("it closes");
            for source in sources {
                side.engine.release(track(peer, *source)).await.expect("it is released");
            }
        }
    }

    /// Packets and frames that have arrived, both ways together.
    pub fn arrived(&self) -> (u64, u64) {
        (self.there.packets() + self.back.packets(), self.there.frames() + self.back.frames())
    }

    /// Frames that a flood waited for in vain.
    pub fn lost(&self) -> u64 {
        self.there.lost() + self.back.lost()
    }

    /// Until so many frames have arrived on each way.
    pub async fn heard(&self, frames: u64) {
        let enough = async {
            let mut looks = tokio::time::interval(Duration::from_millis(20));
            while self.there.frames().min(self.back.frames()) < frames {
                looks.tick().await;
            }
        };
        in_time(enough).await;
    }

    async fn negotiate(&mut self, peer: PeerId, plan: &Plan) {
        let (a, b) = (&self.a.engine, &self.b.engine);
        let offer = a.offer(peer, plan.clone()).await.expect("an offer");
        a.set_local(peer, offer).await.expect("our offer");
        let offer = a.local_description(peer).await.expect("our offer with candidates");
        b.set_remote(peer, offer).await.expect("their offer");
        let answer = b.answer(peer, plan.clone()).await.expect("an answer");
        b.set_local(peer, answer).await.expect("our answer");
        let answer = b.local_description(peer).await.expect("our answer with candidates");
        a.set_remote(peer, answer).await.expect("their answer");
    }

    async fn connected(&mut self, peer: PeerId) {
        (self.a.is_connected, self.b.is_connected) = (false, false);
        while !(self.a.is_connected && self.b.is_connected) {
            tokio::select! {
                input = self.a.driver.next() => self.a.note(peer, input),
                input = self.b.driver.next() => self.b.note(peer, input),
            }
            for (from, to) in
                [(&mut self.a.found, &self.b.engine), (&mut self.b.found, &self.a.engine)]
            {
                for found in std::mem::take(from) {
                    to.candidates(peer, vec![found]).await.expect("a candidate");
                }
            }
        }
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it comes about in time")
}

fn track(peer: PeerId, source: MediaSource) -> TrackId {
    TrackId(peer.0 * 2 + u64::from(source == MediaSource::Camera))
}

fn plan(peer: PeerId, sources: &[MediaSource]) -> Plan {
    let line = |source: &MediaSource| PlanLine {
        slot: source.slot(),
        direction: Direction::SendRecv,
        track: Some(track(peer, *source)),
        stream: StreamId::parse("stream").ok(),
    };
    Plan { lines: sources.iter().map(line).collect() }
}
