//! An application's own WebRTC engine: what the library asks of it, and in which order.
//!
//! The engine here is a stand-in: it writes a description that is well-formed and no more, and
//! says "connected" as soon as it has the other side's. Yours would call your WebRTC stack in
//! the same seventeen places. Everything is a value; no object of yours reaches the library.
//!
//! Run it: `cargo run -p matrix-voip-examples --example own_delegate`

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use matrix_voip::{
    CallOptions, CallState, Identity, VoIP, VoipNews, WebRtc,
    host::PeerEvents,
    id::{DeviceId, PeerId, RoomId, SessionId, TrackId, UserId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, PeerConfig, PeerNews, PeerState,
        PeerStats, Plan, SdpKind, Tones,
    },
    testing::EmbeddedHomeserver,
};

/// The engine: the open connections, each with the way back to the library and our description.
struct Engine {
    owner: &'static str,
    peers: Mutex<HashMap<PeerId, (PeerEvents, Option<Description>)>>,
}

impl Engine {
    fn asked(&self, what: &str) {
        println!("{}'s engine: {what}", self.owner);
    }
    fn peers(&self) -> MutexGuard<'_, HashMap<PeerId, (PeerEvents, Option<Description>)>> {
        self.peers.lock().expect("invariant: nobody panics with the lock held")
    }
    /// What a description cannot do without, with one line of sound; a real one says much more.
    fn describe(&self, peer: PeerId, kind: SdpKind, plan: &Plan) -> Result<Description, Fault> {
        let stream = plan.lines.iter().find_map(|line| line.stream.as_ref());
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
             a=mid:0\r\na=ice-ufrag:ufrag\r\na=ice-pwd:password\r\na=fingerprint:sha-256 AB:CD\r\n\
             a=sendrecv\r\na=msid:{} track\r\na=rtpmap:111 opus/48000/2\r\n",
            stream.map_or("-", |stream| stream.as_str())
        );
        let made = Description { kind, sdp: sdp.into() };
        self.peers().get_mut(&peer).ok_or(Fault::NotFound)?.1 = Some(made.clone());
        Ok(made)
    }
}

#[async_trait]
impl WebRtc for Engine {
    async fn open(&self, peer: PeerId, _: PeerConfig, events: PeerEvents) -> Result<(), Fault> {
        self.asked("open a peer connection");
        events.report(PeerNews::GatheringDone);
        self.peers().insert(peer, (events, None));
        Ok(())
    }
    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.asked("make an offer");
        self.describe(peer, SdpKind::Offer, &plan)
    }
    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.asked("make an answer");
        self.describe(peer, SdpKind::Answer, &plan)
    }
    async fn set_local(&self, _: PeerId, _: Description) -> Result<(), Fault> {
        self.asked("put our description into force");
        Ok(())
    }
    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.asked("read our description back");
        self.peers().get(&peer).and_then(|peer| peer.1.clone()).ok_or(Fault::NotFound)
    }
    async fn set_remote(&self, peer: PeerId, _: Description) -> Result<(), Fault> {
        self.asked("put their description into force");
        let connected = PeerNews::State(PeerState::Connected); // yours: when ICE and DTLS are done
        self.peers().get(&peer).inspect(|peer| peer.0.report(connected));
        Ok(())
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
    async fn set_servers(&self, _: PeerId, _: Vec<IceServer>) -> Result<(), Fault> {
        Ok(())
    }
    async fn stats(&self, _: PeerId) -> Result<PeerStats, Fault> {
        Ok(PeerStats::default())
    }
    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        self.asked("close the peer connection");
        self.peers().remove(&peer);
        Ok(())
    }
    async fn capture(&self, _: SessionId, _: TrackId, what: Capture) -> Result<(), Fault> {
        self.asked(&format!("open the {:?}", what.source));
        Ok(())
    }
    async fn enable(&self, _: TrackId, _on: bool) -> Result<(), Fault> {
        Ok(())
    }
    async fn replace(&self, _: SessionId, _: TrackId, what: Capture) -> Result<(), Fault> {
        self.asked(&format!("take another {:?}", what.source));
        Ok(())
    }
    async fn dtmf(&self, _: TrackId, _: Tones) -> Result<(), Fault> {
        Err(Fault::Unsupported)
    }
    async fn release(&self, _: TrackId) -> Result<(), Fault> {
        self.asked("close the device");
        Ok(())
    }
}

/// A `VoIP` for `user`, with an engine of its own.
fn start(home: &EmbeddedHomeserver, user: &'static str) -> Result<VoIP, Box<dyn Error>> {
    let user_id = UserId::parse(format!("@{user}:example.org"))?;
    let engine = Engine { owner: user, peers: Mutex::default() };
    let me = Identity { user: user_id, device: DeviceId::parse("PHONE")? };
    let account = home.login(me.clone());
    let builder = VoIP::builder(me).webrtc(Arc::new(engine));
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
    tokio::join!(ada.shutdown(), ben.shutdown());
    Ok(())
}
