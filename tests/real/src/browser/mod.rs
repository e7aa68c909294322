//! Chromium as an engine: the `WebRtc` port over the peer connections of one page.
//!
//! Devices and tracks are those of every engine (`matrix-voip-engine`); their frames go to the page,
//! where encoded transforms put them in place of those that Chromium's own encoders make, and back the
//! same way. What is offered, answered, sent and told is Chromium's own.

mod outgoing;
mod page;
mod peer;
mod server;
mod stats;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Media, PeerEvents, WebRtc},
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, PeerConfig, PeerStats, Plan, SdpKind,
        Slot, Tones,
    },
    sdp,
};
use matrix_voip_engine::{Subscriber, Tracks};
use serde_json::{Value, json};
use tokio::sync::watch;

pub use self::page::Page;
use self::peer::Peer;

/// Peer connections in a page.
pub struct Browser {
    page: Arc<Page>,
    media: Arc<dyn Media>,
    tracks: Arc<Tracks>,
    peers: Mutex<BTreeMap<PeerId, Way>>,
}

/// The way to a connection.
#[derive(Clone)]
struct Way {
    peer: Arc<Peer>,
    subscriber: Subscriber,
    closing: watch::Sender<bool>,
}

impl Browser {
    /// An engine whose sound and picture come from and go to `media`.
    #[must_use]
    pub fn new(page: Arc<Page>, media: Arc<dyn Media>) -> Self {
        let tracks = Arc::new(Tracks::new(media.clone()));
        Self { page, media, tracks, peers: Mutex::default() }
    }

    fn way(&self, peer: PeerId) -> Result<Way, Fault> {
        self.lock().get(&peer).cloned().ok_or(Fault::NotFound)
    }

    /// Has the page do something with a connection, unless that is closed first.
    async fn ask(&self, way: &Way, mut command: Value) -> Result<Value, Fault> {
        command["id"] = way.peer.number.into();
        let mut closes = way.closing.subscribe();
        tokio::select! {
            biased;
            _ = closes.wait_for(|is_closing| *is_closing) => Err(Fault::Cancelled),
            answer = self.page.ask(command) => answer,
        }
    }

    async fn request(&self, peer: PeerId, command: Value) -> Result<Value, Fault> {
        self.ask(&self.way(peer)?, command).await
    }

    /// An offer or answer for this plan; its lines are sent from now on, as far as it is agreed.
    async fn describe(
        &self,
        peer: PeerId,
        kind: SdpKind,
        plan: &Plan,
    ) -> Result<Description, Fault> {
        let way = self.way(peer)?;
        let lines: Vec<Value> = plan.lines.iter().map(|line| {
            let stream = line.stream.as_ref().map(ToString::to_string);
            json!({ "slot": slot(line.slot), "direction": line.direction.name(), "stream": stream })
        }).collect();
        let made = self.ask(&way, json!({ "do": kind_name(kind), "plan": lines })).await?;
        way.peer.plan(kind, plan, &made["lines"]);
        self.subscribe(&way);
        Ok(Description { kind, sdp: text(&made, "sdp")?.into() })
    }

    fn subscribe(&self, way: &Way) {
        self.tracks.subscribe(way.peer.id, &way.peer.wanted(), &way.subscriber);
    }

    /// Nothing more comes from a connection, or goes to it.
    fn forget(&self, way: &Way) {
        way.closing.send_replace(true);
        self.tracks.unsubscribe(way.peer.id, &way.subscriber);
        self.page.forget(way.peer.number);
        way.peer.close();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Way>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(answer: &Value, field: &str) -> Result<String, Fault> {
    let text = answer[field].as_str().map(str::to_owned);
    text.ok_or_else(|| Fault::Failed(format!("the page gives no {field}")))
}

const fn kind_name(kind: SdpKind) -> &'static str {
    match kind {
        SdpKind::Offer => "offer",
        SdpKind::Answer => "answer",
    }
}

const fn slot(slot: Slot) -> &'static str {
    match slot {
        Slot::Audio => "audio",
        Slot::Video => "video",
        Slot::Screen => "screen",
        Slot::ScreenAudio => "screen-audio",
    }
}

fn servers(servers: &[IceServer]) -> Vec<Value> {
    let server = |server: &IceServer| {
        let mut told = json!({ "urls": server.urls });
        if !server.username.is_empty() {
            told["username"] = server.username.expose().into();
            told["credential"] = server.credential.expose().into();
        }
        told
    };
    servers.iter().map(server).collect()
}

fn candidate(candidate: &Candidate) -> Value {
    json!({
        "candidate": candidate.candidate.expose(),
        "sdpMid": candidate.sdp_mid,
        "sdpMLineIndex": candidate.sdp_m_line_index,
        "usernameFragment": candidate.username_fragment,
    })
}

#[async_trait]
impl WebRtc for Browser {
    async fn open(&self, id: PeerId, config: PeerConfig, events: PeerEvents) -> Result<(), Fault> {
        let policy = if config.relay_only { "relay" } else { "all" };
        let told = json!({
            "iceServers": servers(&config.ice_servers), "iceTransportPolicy": policy,
        });
        let (subscriber, taken) = Subscriber::new(events.clone());
        let peer = Arc::new(Peer::new(id, &config, events, &self.media, &self.tracks));
        self.page.remember(&peer);
        tokio::spawn(outgoing::carry(taken, peer.clone(), self.page.clone()));
        let way = Way { peer, subscriber, closing: watch::Sender::new(false) };
        if let Some(last) = self.lock().insert(id, way.clone()) {
            self.forget(&last);
        }
        self.ask(&way, json!({ "do": "open", "config": told })).await.map(drop)
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.describe(peer, SdpKind::Offer, &plan).await
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.describe(peer, SdpKind::Answer, &plan).await
    }

    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        let way = self.way(peer)?;
        let (kind, sdp) = (kind_name(description.kind), description.sdp.expose());
        let command = json!({ "do": "setLocal", "type": kind, "sdp": sdp });
        let answer = self.ask(&way, command).await?;
        way.peer.on_agreed(&answer["agreed"]);
        Ok(())
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        let made = self.request(peer, json!({ "do": "local" })).await?;
        let kind = if made["type"] == "answer" { SdpKind::Answer } else { SdpKind::Offer };
        Ok(Description { kind, sdp: text(&made, "sdp")?.into() })
    }

    async fn set_remote(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        let way = self.way(peer)?;
        let (kind, sdp) = (kind_name(description.kind), description.sdp.expose());
        sdp::check(sdp).map_err(|why| Fault::Failed(why.to_string()))?;
        let command = json!({ "do": "setRemote", "type": kind, "sdp": sdp });
        let answer = self.ask(&way, command).await?;
        way.peer.on_described(sdp);
        way.peer.on_agreed(&answer["agreed"]);
        Ok(())
    }

    async fn rollback(&self, peer: PeerId) -> Result<(), Fault> {
        let way = self.way(peer)?;
        self.ask(&way, json!({ "do": "rollback" })).await?;
        way.peer.roll_back();
        self.subscribe(&way);
        Ok(())
    }

    async fn candidates(&self, peer: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault> {
        let candidates: Vec<Value> = candidates.iter().map(candidate).collect();
        let command = json!({ "do": "candidates", "candidates": candidates });
        self.request(peer, command).await.map(drop)
    }

    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault> {
        self.request(peer, json!({ "do": "restart" })).await.map(drop)
    }

    async fn set_servers(&self, peer: PeerId, all: Vec<IceServer>) -> Result<(), Fault> {
        let command = json!({ "do": "servers", "iceServers": servers(&all) });
        self.request(peer, command).await.map(drop)
    }

    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault> {
        let way = self.way(peer)?;
        let answer = self.ask(&way, json!({ "do": "stats" })).await?;
        let mut stats = stats::read(&answer["reports"]);
        way.peer.hear(&mut stats);
        stats.without_device = self.tracks.without_device(peer);
        Ok(stats)
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        let Some(way) = self.lock().remove(&peer) else { return Ok(()) };
        self.forget(&way);
        self.page.ask(json!({ "do": "close", "id": way.peer.number })).await.map(drop)
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
        let ways: Vec<Way> = self.lock().values().cloned().collect();
        let mut answer = Err(Fault::NotFound);
        for way in ways {
            for line in way.peer.lines_of(track) {
                let (duration, gap) = (tones.duration().as_millis(), tones.gap().as_millis());
                let command = json!({
                    "do": "tones", "line": line, "tones": tones.digits().expose(),
                    "duration": duration as u64, "gap": gap as u64,
                });
                let sent = self.ask(&way, command).await.map_err(|_| Fault::Unsupported);
                answer = answer.or(sent.map(drop));
            }
        }
        answer
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.tracks.release(track).await;
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        for way in std::mem::take(&mut *self.lock()).into_values() {
            self.forget(&way);
            self.page.tell(json!({ "do": "close", "id": way.peer.number }));
        }
    }
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Browser with {} peer connections", self.lock().len())
    }
}
