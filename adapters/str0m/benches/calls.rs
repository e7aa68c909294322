//! How long it takes to connect, and how fast calls are simulated.
//!
//! The baseline of the same run is str0m alone: two `Rtc`s that hand each other their packets in
//! memory until both are connected, which is ICE and the DTLS handshake and nothing else. Goal:
//! from offer to both connected on loopback at most 60 ms.
//!
//! Run with `cargo bench -p matrix-voip-str0m --features testing`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use divan::{Bencher, counter::ItemsCount};
use matrix_voip::{
    host::{
        Codec, Frame, FrameSink, FrameSource, Media, PeerEvents, RemoteTrack, WebRtc,
        mailbox::{DriverEnd, Mailbox, pair},
    },
    id::{PeerId, SessionId, StreamId, TrackId},
    machine::{
        event::CallState,
        io::{
            CallCommand, CallMedia, Capture, Direction, Fault, Input, PeerConfig, PeerNews,
            PeerState, Plan, PlanLine, Slot,
        },
    },
};
use matrix_voip_str0m::{
    Interfaces, Str0m,
    sim::{Link, Phones, Scripted},
};
use str0m::{
    Candidate, Event, Output, Rtc,
    media::MediaKind,
    net::{Protocol, Receive},
};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

// ------------------------------------------------------------------------------------ baseline

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "str0m alone needs some instant to begin with")]
    Instant::now()
}

/// One plain `Rtc` and what it still has to say.
struct Plain {
    rtc: Rtc,
    address: SocketAddr,
    wakes: Instant,
    is_connected: bool,
}

impl Plain {
    fn new(now: Instant, port: u16) -> Self {
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_opus(true, false)
            .set_crypto_provider(Arc::new(str0m_aws_lc_rs::default_provider()))
            .build(now);
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a host address"));
        Self { rtc, address, wakes: now, is_connected: false }
    }

    /// Everything that is to be sent now.
    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            match self.rtc.poll_output().expect("str0m lives") {
                Output::Timeout(at) => {
                    self.wakes = at;
                    return packets;
                }
                Output::Transmit(transmit) => packets.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.is_connected = true,
                Output::Event(_) => {}
            }
        }
    }

    fn take(&mut self, now: Instant, from: SocketAddr, packets: &[Vec<u8>]) {
        for packet in packets {
            let received = Receive::new(Protocol::Udp, from, self.address, packet);
            let input = str0m::Input::Receive(now, received.expect("str0m's own packet"));
            self.rtc.handle_input(input).expect("str0m lives");
        }
    }

    fn wake(&mut self, now: Instant) {
        self.rtc.handle_input(str0m::Input::Timeout(now)).expect("str0m lives");
    }
}

/// Hands packets over until nobody has any.
fn exchange(now: Instant, one: &mut Plain, two: &mut Plain) {
    loop {
        let (from_one, from_two) = (one.drain(), two.drain());
        if from_one.is_empty() && from_two.is_empty() {
            return;
        }
        two.take(now, one.address, &from_one);
        one.take(now, two.address, &from_two);
    }
}

#[divan::bench]
fn baseline_str0m_alone_in_memory() {
    let mut now = clock();
    let (mut one, mut two) = (Plain::new(now, 1), Plain::new(now, 2));
    let mut changes = one.rtc.sdp_api();
    changes.add_media(MediaKind::Audio, str0m::media::Direction::SendRecv, None, None, None);
    let (offer, pending) = changes.apply().expect("a change");
    let answer = two.rtc.sdp_api().accept_offer(offer).expect("its own offer");
    one.rtc.sdp_api().accept_answer(pending, answer).expect("its own answer");
    while !(one.is_connected && two.is_connected) {
        exchange(now, &mut one, &mut two);
        now = one.wakes.min(two.wakes).max(now);
        one.wake(now);
        two.wake(now);
    }
}

// ------------------------------------------------------------------------------------ loopback

struct NoMedia;

#[async_trait]
impl Media for NoMedia {
    async fn capture(
        &self,
        _: SessionId,
        _: TrackId,
        _: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        Err(Fault::NotFound)
    }

    fn sink(&self, _: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        None
    }
}

struct Side {
    engine: Str0m,
    driver: DriverEnd,
    mailbox: Mailbox,
}

impl Side {
    fn new() -> Self {
        let engine = Str0m::builder(Arc::new(NoMedia)).interfaces(Interfaces::Loopback).build();
        let (driver, mailbox) = pair();
        Self { engine, driver, mailbox }
    }

    async fn open(&self) -> Result<(), Fault> {
        let events = PeerEvents::new(PEER, self.mailbox.news());
        self.engine.open(PEER, PeerConfig::default(), events).await
    }

    async fn connected(&mut self) {
        let connected = Input::Peer(PEER, PeerNews::State(PeerState::Connected));
        while self.driver.next().await.is_some_and(|input| input != connected) {}
    }
}

const PEER: PeerId = PeerId(1);

fn plan(track: u64) -> Plan {
    let (slot, direction) = (Slot::Audio, Direction::SendRecv);
    let stream = StreamId::parse("stream").ok();
    Plan { lines: vec![PlanLine { slot, direction, track: Some(TrackId(track)), stream }] }
}

async fn connect(a: &mut Side, b: &mut Side) -> Result<(), Fault> {
    let offer = a.engine.offer(PEER, plan(1)).await?;
    a.engine.set_local(PEER, offer.clone()).await?;
    b.engine.set_remote(PEER, offer).await?;
    let answer = b.engine.answer(PEER, plan(2)).await?;
    b.engine.set_local(PEER, answer.clone()).await?;
    a.engine.set_remote(PEER, answer).await?;
    a.connected().await;
    b.connected().await;
    Ok(())
}

/// From the request for an offer to both connected; opening and closing are not counted.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn offer_to_both_connected_on_loopback(bencher: Bencher) {
    let runtime = Runtime::new().expect("a runtime");
    let open = || {
        let _inside = runtime.enter();
        let (a, b) = (Side::new(), Side::new());
        runtime.block_on(async { tokio::try_join!(a.open(), b.open()) }).expect("both open");
        (a, b)
    };
    bencher.with_inputs(open).bench_local_refs(|(a, b)| {
        runtime.block_on(connect(a, b)).expect("both connect");
    });
}

// -------------------------------------------------------------------------------- virtual time

fn microphone(_: Capture) -> Result<Scripted, Fault> {
    let every = Duration::from_millis(20);
    let make = |n| Frame::new(Codec::Opus, n * 960, vec![0xf8; 80]);
    Ok(Scripted { every, make: Box::new(make) })
}

/// Invite, ring, answer, connect, `seconds` of sound both ways, hangup; signalling included.
#[divan::bench(args = [1, 60])]
fn whole_call_in_virtual_time(bencher: Bencher, seconds: u64) {
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let mut phones = Phones::new(1, Link::default());
        let ada = phones.phone("@ada:example", microphone);
        let ben = phones.phone("@ben:example", microphone);
        let room = phones.room("!room:example");
        phones.invite(ada, &room, "@ben:example", CallMedia::Voice);
        let patience = Duration::from_secs(10);
        phones.run_until(patience, |phones| phones.state(ben) == Some(CallState::Ringing));
        phones.act(ben, CallCommand::Answer(None));
        phones.run_until(patience, |phones| phones.state(ada) == Some(CallState::Connected));
        phones.run(Duration::from_secs(seconds));
        phones.act(ada, CallCommand::Hangup);
        phones.run(Duration::from_secs(1));
        assert!(phones.received(ben).count() as u64 > 45 * seconds);
        assert_eq!(phones.state(ben), Some(CallState::Ended));
    });
}
