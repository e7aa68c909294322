//! An application's own WebRTC engine: what the library asks of it, and in which order.
//!
//! The engine here is a stand-in: it writes a description that is well-formed and no more, and
//! says "connected" as soon as both descriptions are there. Yours would call your WebRTC stack in
//! the same fourteen places. Everything is a value; no object of yours reaches the library.
//!
//! Run it: `cargo run -p matrix-voip-examples --example own_delegate`

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use matrix_voip::{
    CallOptions, CallState, Identity, VoIP, VoipNews, WebRtc,
    host::PeerEvents,
    id::{DeviceId, PeerId, RoomId, TrackId, UserId},
    machine::io::{
        Candidate, Capture, Description, Fault, PeerConfig, PeerNews, PeerState, PeerStats, Plan,
        SdpKind,
    },
    testing::EmbeddedHomeserver,
};

/// The engine: the open connections.
struct Engine {
    owner: &'static str,
    peers: Mutex<HashMap<PeerId, Peer>>,
}

/// One connection: the way back to the library, and our description.
struct Peer {
    events: PeerEvents,
    local: Option<Description>,
}

impl Engine {
    fn new(owner: &'static str) -> Arc<Self> {
        Arc::new(Self { owner, peers: Mutex::default() })
    }

    fn asked(&self, what: &str) {
        println!("{}'s engine: {what}", self.owner);
    }

    fn with<T>(&self, peer: PeerId, work: impl FnOnce(&mut Peer) -> T) -> Result<T, Fault> {
        let mut peers = self.peers.lock().expect("invariant: nobody panics with the lock held");
        peers.get_mut(&peer).map(work).ok_or(Fault::NotFound)
    }

    /// What a description cannot do without; a real one says much more.
    fn describe(kind: SdpKind, plan: &Plan) -> Description {
        let mut sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
        for (mid, line) in plan.lines.iter().enumerate() {
            let stream = line.stream.as_ref().map_or("-", |stream| stream.as_str());
            sdp += &format!(
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
                 a=ice-ufrag:ufrag\r\na=ice-pwd:password\r\na=fingerprint:sha-256 AB:CD\r\n\
                 a=sendrecv\r\na=msid:{stream} track\r\na=rtpmap:111 opus/48000/2\r\n"
            );
        }
        Description { kind, sdp: sdp.into() }
    }
}

#[async_trait]
impl WebRtc for Engine {
    async fn open(&self, peer: PeerId, _: PeerConfig, events: PeerEvents) -> Result<(), Fault> {
        self.asked("open a peer connection");
        let made = Peer { events, local: None };
        self.peers.lock().expect("invariant: as above").insert(peer, made);
        Ok(())
    }
    async fn offer(&self, _: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.asked("make an offer");
        Ok(Self::describe(SdpKind::Offer, &plan))
    }
    async fn answer(&self, _: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.asked("make an answer");
        Ok(Self::describe(SdpKind::Answer, &plan))
    }
    async fn set_local(&self, peer: PeerId, local: Description) -> Result<(), Fault> {
        self.asked("put our description into force");
        self.with(peer, |peer| {
            peer.events.report(PeerNews::GatheringDone);
            if local.kind == SdpKind::Answer {
                peer.events.report(PeerNews::State(PeerState::Connected));
            }
            peer.local = Some(local);
        })
    }
    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.asked("read our description back");
        self.with(peer, |peer| peer.local.clone())?.ok_or(Fault::NotFound)
    }
    async fn set_remote(&self, peer: PeerId, remote: Description) -> Result<(), Fault> {
        self.asked("put their description into force");
        self.with(peer, |peer| {
            if remote.kind == SdpKind::Answer {
                peer.events.report(PeerNews::State(PeerState::Connected));
            }
        })
    }
    async fn rollback(&self, _: PeerId) -> Result<(), Fault> {
        Ok(())
    }
    async fn candidates(&self, _: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault> {
        self.asked(&format!("take {} candidates", candidates.len()));
        Ok(())
    }
    async fn restart_ice(&self, _: PeerId) -> Result<(), Fault> {
        Ok(())
    }
    async fn stats(&self, _: PeerId) -> Result<PeerStats, Fault> {
        Ok(PeerStats::default())
    }
    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        self.asked("close the peer connection");
        self.peers.lock().expect("invariant: as above").remove(&peer);
        Ok(())
    }
    async fn capture(&self, _: TrackId, what: Capture) -> Result<(), Fault> {
        self.asked(&format!("open the {:?}", what.source));
        Ok(())
    }
    async fn enable(&self, _: TrackId, _on: bool) -> Result<(), Fault> {
        Ok(())
    }
    async fn release(&self, _: TrackId) -> Result<(), Fault> {
        self.asked("close the device");
        Ok(())
    }
}

/// A `VoIP` for `user`, with an engine of its own.
fn start(home: &EmbeddedHomeserver, user: &'static str) -> Result<VoIP, Box<dyn Error>> {
    let user_id = UserId::parse(format!("@{user}:example.org"))?;
    let account = home.login(Identity { user: user_id, device: DeviceId::parse("PHONE")? });
    let builder = VoIP::builder(account.identity().clone()).webrtc(Engine::new(user));
    let voip = builder.signaling(Arc::new(account.clone())).start()?;
    account.connect(voip.news());
    Ok(voip)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (home, room) = (EmbeddedHomeserver::new(), RoomId::parse("!room:example.org")?);
    let members = ["@ada:example.org", "@ben:example.org"].map(UserId::parse);
    home.set_room(&room, members.into_iter().collect::<Result<Vec<_>, _>>()?);
    let (ada, ben) = (start(&home, "ada")?, start(&home, "ben")?);

    let mut arrivals = ben.events();
    let call = ada.invite(&room, "@ben:example.org", CallOptions::voice()).await?;
    while let Some(news) = arrivals.next().await {
        if let VoipNews::RingStarted { call, .. } = news {
            call.answer().await?;
            break;
        }
    }
    call.until(CallState::Connected).await?;
    println!("connected");
    call.hangup().await?;
    println!("ended: {:?}", call.ended().await);
    tokio::join!(ada.shutdown(), ben.shutdown());
    Ok(())
}
