//! Delegates behind `serve`: what panics, hangs or is overtaken.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use matrix_voip::{
    CallOptions, CallState, EndReason, LedgerStore, MediaSource, PeerStats, Signaling, VoIP,
    WebRtc,
    host::{
        Hosts, PeerEvents, SendEvent,
        mailbox::{DriverEnd, HostRequest, pair},
        serve,
    },
    id::{EventId, OpId, PeerId, RoomId, SessionId, TrackId, UserId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, Input, Op, PeerConfig, PeerOp, Plan,
        Reply, SdpKind, Tones, TrackOp, TurnServers,
    },
    wire::ledger::Ledger,
};
use tokio::time::timeout;

use super::desk;

/// What the delegate does when it is asked for something.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    Hanging,
    Panicking,
}

type Moods = Arc<dyn Fn(&str) -> Mood + Send + Sync>;

/// A delegate that writes down when each call begins and ends.
#[derive(Clone)]
struct Delegate {
    moods: Moods,
    log: Arc<Mutex<Vec<String>>>,
}

/// Says when a call is over, however it ended.
struct Mark(Delegate, String);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.note(format!("-{}", self.1));
    }
}

impl Delegate {
    fn new(moods: impl Fn(&str) -> Mood + Send + Sync + 'static) -> Self {
        Self { moods: Arc::new(moods), log: Arc::default() }
    }

    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    async fn act(&self, what: String) -> Result<(), Fault> {
        self.note(format!("+{what}"));
        let _mark = Mark(self.clone(), what.clone());
        match (self.moods)(&what) {
            Mood::Willing => Ok(()),
            Mood::Hanging => std::future::pending().await,
            Mood::Panicking => panic!("{what}, as the test wants it"),
        }
    }

    async fn describe(&self, what: String, kind: SdpKind) -> Result<Description, Fault> {
        self.act(what).await?;
        let Reply::Description(description) = desk::description(kind) else { unreachable!() };
        Ok(description)
    }
}

#[async_trait]
impl WebRtc for Delegate {
    async fn open(&self, peer: PeerId, _: PeerConfig, _: PeerEvents) -> Result<(), Fault> {
        self.act(format!("open {peer}")).await
    }
    async fn offer(&self, peer: PeerId, _: Plan) -> Result<Description, Fault> {
        self.describe(format!("offer {peer}"), SdpKind::Offer).await
    }
    async fn answer(&self, peer: PeerId, _: Plan) -> Result<Description, Fault> {
        self.describe(format!("answer {peer}"), SdpKind::Answer).await
    }
    async fn set_local(&self, peer: PeerId, _: Description) -> Result<(), Fault> {
        self.act(format!("set_local {peer}")).await
    }
    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.describe(format!("local {peer}"), SdpKind::Offer).await
    }
    async fn set_remote(&self, peer: PeerId, _: Description) -> Result<(), Fault> {
        self.act(format!("set_remote {peer}")).await
    }
    async fn rollback(&self, peer: PeerId) -> Result<(), Fault> {
        self.act(format!("rollback {peer}")).await
    }
    async fn candidates(&self, peer: PeerId, _: Vec<Candidate>) -> Result<(), Fault> {
        self.act(format!("candidates {peer}")).await
    }
    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault> {
        self.act(format!("restart {peer}")).await
    }
    async fn set_servers(&self, peer: PeerId, servers: Vec<IceServer>) -> Result<(), Fault> {
        self.act(format!("servers {peer} {}", servers.len())).await
    }
    async fn stats(&self, _: PeerId) -> Result<PeerStats, Fault> {
        Ok(PeerStats::default())
    }
    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        self.act(format!("close {peer}")).await
    }
    async fn capture(&self, _: SessionId, track: TrackId, _: Capture) -> Result<(), Fault> {
        self.act(format!("capture {track}")).await
    }
    async fn enable(&self, track: TrackId, on: bool) -> Result<(), Fault> {
        self.act(format!("enable {track} {on}")).await
    }
    async fn replace(&self, _: SessionId, track: TrackId, _: Capture) -> Result<(), Fault> {
        self.act(format!("replace {track}")).await
    }
    async fn dtmf(&self, track: TrackId, _: Tones) -> Result<(), Fault> {
        self.act(format!("dtmf {track}")).await
    }
    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        self.act(format!("release {track}")).await
    }
}

#[async_trait]
impl Signaling for Delegate {
    async fn send_event(&self, event: SendEvent) -> Result<EventId, Fault> {
        self.act(event.event_type).await?;
        Ok(EventId::parse("$sent").unwrap())
    }
    async fn turn_servers(&self) -> Result<TurnServers, Fault> {
        Ok(TurnServers { servers: Vec::new(), ttl: Duration::from_secs(3600) })
    }
    async fn members(&self, _: RoomId) -> Result<BTreeSet<UserId>, Fault> {
        Err(Fault::Unsupported)
    }
}

#[async_trait]
impl LedgerStore for Delegate {
    async fn save(&self, bytes: Vec<u8>) -> Result<(), Fault> {
        let read = Ledger::from_bytes(&bytes).map_err(|_| Fault::Unsupported)?;
        self.act(format!("save {}", read.live.len())).await
    }
}

fn voip(delegate: &Delegate) -> VoIP {
    desk::watch();
    let builder = VoIP::builder(desk::identity()).wall_clock(desk::clock()).seed(1);
    let hosts = Arc::new(delegate.clone());
    builder.signaling(hosts.clone()).webrtc(hosts.clone()).ledger(hosts).start().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_delegate_that_panics_ends_one_call_and_harms_no_other() {
    let panics = Arc::new(Mutex::new(false));
    let cue = Arc::clone(&panics);
    let delegate = Delegate::new(move |what| match what.starts_with("offer") {
        true if *cue.lock().unwrap() => Mood::Panicking,
        _ => Mood::Willing,
    });
    let voip = voip(&delegate);
    let unharmed = voip.invite("!room:hs", "@ben:hs", CallOptions::voice()).await.unwrap();
    unharmed.until(CallState::InviteSent).await.unwrap();
    *panics.lock().unwrap() = true;
    let harmed = voip.invite("!room:hs", "@ben:hs", CallOptions::voice()).await.unwrap();
    assert_eq!(harmed.ended().await.reason, EndReason::LocalDescriptionFailed);
    assert_eq!(unharmed.state(), CallState::InviteSent);
    unharmed.mute(MediaSource::Microphone).await.unwrap();
    voip.shutdown().await;
    let saved = delegate.log().into_iter().rfind(|line| line.starts_with("+save"));
    assert_eq!(saved.as_deref(), Some("+save 0"), "the last word is that nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_capture_is_gone_before_the_release_begins() {
    let delegate = Delegate::new(|what| match what.starts_with("capture") {
        true => Mood::Hanging,
        false => Mood::Willing,
    });
    let voip = voip(&delegate);
    let call = voip.invite("!room:hs", "@ben:hs", CallOptions::voice()).await.unwrap();
    while delegate.log().is_empty() {
        tokio::task::yield_now().await;
    }
    call.hangup().await.unwrap();
    voip.shutdown().await;
    let log: Vec<_> = delegate.log().into_iter().filter(|line| !line.contains("save")).collect();
    let words: Vec<_> = log.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words, ["+capture", "-capture", "+release", "-release"]);
}

// ------------------------------------------------------------------------------- serve by itself

/// A served delegate with the library's end in our hand.
fn served(delegate: &Delegate) -> DriverEnd {
    desk::watch();
    let (driver, mailbox) = pair();
    let host = Arc::new(delegate.clone());
    let hosts = Hosts::new(host.clone(), host);
    tokio::spawn(serve(mailbox, hosts));
    driver
}

fn ask(driver: &DriverEnd, id: u64, op: Op) {
    driver.request(HostRequest::Do { id: OpId(id), op }).unwrap();
}

async fn replies<const N: usize>(driver: &mut DriverEnd) -> [(u64, Result<Reply, Fault>); N] {
    let mut all = Vec::new();
    while all.len() < N {
        let next = timeout(Duration::from_secs(1), driver.next()).await;
        let Ok(Some(Input::Reply(id, result))) = next else { panic!("only {all:?}") };
        all.push((id.0, result));
    }
    all.sort_by_key(|(id, _)| *id);
    all.try_into().unwrap()
}

const PEER: PeerId = PeerId(1);
const TRACK: TrackId = TrackId(1);

fn open() -> Op {
    Op::Peer(PEER, PeerOp::Open(PeerConfig::default()))
}

fn microphone() -> Op {
    let capture = Capture::of(MediaSource::Microphone);
    Op::Track(TRACK, TrackOp::Capture(SessionId(1), capture))
}

#[tokio::test(start_paused = true)]
async fn one_peer_connection_is_asked_for_one_thing_after_the_other() {
    let delegate = Delegate::new(|_| Mood::Willing);
    let mut driver = served(&delegate);
    ask(&driver, 1, open());
    ask(&driver, 2, Op::Peer(PEER, PeerOp::Offer(Plan::default())));
    ask(&driver, 3, Op::Peer(PEER, PeerOp::RestartIce));
    let all = replies::<3>(&mut driver).await;
    assert!(all.iter().all(|(_, result)| result.is_ok()), "{all:?}");
    let log = delegate.log();
    assert_eq!(log, ["+open 1", "-open 1", "+offer 1", "-offer 1", "+restart 1", "-restart 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_close_overtakes_what_hangs_and_what_waits() {
    let delegate = Delegate::new(|what| match what {
        "open 1" => Mood::Hanging,
        _ => Mood::Willing,
    });
    let mut driver = served(&delegate);
    ask(&driver, 1, open());
    ask(&driver, 2, Op::Peer(PEER, PeerOp::RestartIce));
    ask(&driver, 9, Op::Peer(PeerId(2), PeerOp::RestartIce));
    assert_eq!(replies::<1>(&mut driver).await, [(9, Ok(Reply::Done))]);
    ask(&driver, 3, Op::Peer(PEER, PeerOp::Close));
    let cancelled = Err(Fault::Cancelled);
    let all = replies::<3>(&mut driver).await;
    assert_eq!(all, [(1, cancelled.clone()), (2, cancelled), (3, Ok(Reply::Done))]);
    let log: Vec<_> = delegate.log().into_iter().filter(|line| line.ends_with('1')).collect();
    assert_eq!(log, ["+open 1", "-open 1", "+close 1", "-close 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_mute_waits_for_nobody_and_the_latest_wins() {
    let delegate = Delegate::new(|what| match what {
        "capture 1" | "enable 1 true" => Mood::Hanging,
        _ => Mood::Willing,
    });
    let mut driver = served(&delegate);
    ask(&driver, 1, microphone());
    ask(&driver, 2, Op::Track(TRACK, TrackOp::Enable(true)));
    tokio::task::yield_now().await;
    ask(&driver, 3, Op::Track(TRACK, TrackOp::Enable(false)));
    let all = replies::<2>(&mut driver).await;
    assert_eq!(all, [(2, Err(Fault::Cancelled)), (3, Ok(Reply::Done))]);
    assert_eq!(delegate.log().last().map(String::as_str), Some("-enable 1 false"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_aborted_and_a_panic_is_a_fault() {
    let delegate = Delegate::new(|what| match what {
        "open 1" => Mood::Hanging,
        "restart 1" => Mood::Panicking,
        _ => Mood::Willing,
    });
    let mut driver = served(&delegate);
    ask(&driver, 1, open());
    ask(&driver, 2, Op::Peer(PEER, PeerOp::RestartIce));
    tokio::task::yield_now().await;
    driver.request(HostRequest::Cancel(OpId(1))).unwrap();
    assert_eq!(replies::<1>(&mut driver).await, [(2, Err(Fault::Panicked))]);
    assert_eq!(delegate.log(), ["+open 1", "-open 1", "+restart 1", "-restart 1"]);
    ask(&driver, 3, Op::Save(Ledger::default()));
    assert_eq!(replies::<1>(&mut driver).await, [(3, Ok(Reply::Done))]);
}

#[tokio::test(start_paused = true)]
async fn a_release_aborts_the_switch_too() {
    let delegate = Delegate::new(|what| match what {
        "enable 1 true" => Mood::Hanging,
        _ => Mood::Willing,
    });
    let mut driver = served(&delegate);
    ask(&driver, 1, Op::Track(TRACK, TrackOp::Enable(true)));
    tokio::task::yield_now().await;
    ask(&driver, 2, Op::Track(TRACK, TrackOp::Release));
    let all = replies::<2>(&mut driver).await;
    assert_eq!(all, [(1, Err(Fault::Cancelled)), (2, Ok(Reply::Done))]);
    assert!(delegate.log().contains(&"-enable 1 true".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cancelled_while_it_waits_is_never_made() {
    let delegate = Delegate::new(|what| match what {
        "open 1" => Mood::Hanging,
        _ => Mood::Willing,
    });
    let mut driver = served(&delegate);
    ask(&driver, 1, open());
    ask(&driver, 2, Op::Peer(PEER, PeerOp::Rollback));
    ask(&driver, 3, Op::Peer(PEER, PeerOp::RestartIce));
    tokio::task::yield_now().await;
    driver.request(HostRequest::Cancel(OpId(2))).unwrap();
    driver.request(HostRequest::Cancel(OpId(1))).unwrap();
    assert_eq!(replies::<1>(&mut driver).await, [(3, Ok(Reply::Done))]);
    assert_eq!(delegate.log(), ["+open 1", "-open 1", "+restart 1", "-restart 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_library_that_is_gone_aborts_every_host_call() {
    let delegate = Delegate::new(|_| Mood::Hanging);
    let driver = served(&delegate);
    ask(&driver, 1, open());
    while delegate.log().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(driver);
    while delegate.log().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(delegate.log(), ["+open 1", "-open 1"]);
}
