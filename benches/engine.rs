//! A whole outgoing call through one engine: invite, answer, connected, hangup, with every request
//! answered at once. Goal: at most 10 µs, flat from 1 to 100 000 live calls of that engine.
//!
//! ```text
//! cargo bench --bench engine --features testing
//! ```
//!
//! Baselines of the same run: `json_alone` reads and writes the same call's messages with
//! `serde_json` and does nothing else; `whole_call` with one live call is what `whole_call` with
//! many is compared with. Allocations per call stand beside the times.

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{
    hint::black_box,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Duration,
};

use divan::{AllocProfiler, Bencher};
use matrix_voip::{
    config::Config,
    id::{CallId, DeviceId, EventId, OpId, PartyId, RoomId, SessionId, UserId},
    machine::{
        Engine, Identity,
        event::VoipEvent,
        io::{
            CallCommand, CallMedia, Callee, Command, Description, Fetch, Input, MediaSource, Op,
            Output, PeerNews, PeerOp, PeerState, Reply, SdpKind, TurnServers, Verdict,
        },
    },
    record::{Entry, Origin, Scribe},
    redact::Redacted,
    time::Now,
    wire::{
        call::{Answer, Body, CallMessage, Capabilities, Header, Negotiate, Version},
        delivery::{Content, Delivery, Facts, Parsed, Place, Protection},
    },
};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

/// How far the clock goes on with each of the six inputs of a call, where calls follow each other
/// as they must for 100 000 calls of three minutes to be alive: one in 1.8 ms.
const BUSY: Duration = Duration::from_micros(300);
/// The same, where a device has one call after the other: every change of the ledger is saved.
const CALM: Duration = Duration::from_millis(20);
const LIVE: [usize; 4] = [1, 100, 10_000, 100_000];

fn main() {
    measure_memory();
    divan::main();
}

/// What a call takes that waits for its answer, in the engine; connected ones with their media stand
/// in `media.rs` of the str0m adapter.
fn measure_memory() {
    const CALLS: usize = 10_000;
    let mut bench = Bench::new(BUSY);
    let before = resident();
    for _ in 0..CALLS {
        bench.invite();
    }
    let grown = resident().saturating_sub(before);
    println!("memory: {:.1} KiB per idle call, of {CALLS}", grown as f64 / 1024.0 / CALLS as f64);
    black_box(bench);
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.map_or(0, |kilobytes: usize| kilobytes * 1024)
}

/// One more call, from its invite to its end, beside so many live ones, under their load.
#[divan::bench(args = LIVE, sample_count = 2_000)]
fn whole_call(bencher: Bencher<'_, '_>, live: usize) {
    let mut bench = Bench::new(BUSY);
    for _ in 1..live {
        bench.invite();
    }
    bencher.bench_local(move || bench.call());
}

/// A call with everything on: muted and back, held and back, the camera shown and taken away, ICE
/// restarted; five negotiations, each answered. Goal: at most 5 µs for each of the eight, beside
/// `json_of_everything`.
#[divan::bench(sample_count = 2_000)]
fn whole_call_with_everything_on(bencher: Bencher<'_, '_>) {
    let mut bench = Bench::new(BUSY);
    bencher.bench_local(move || bench.call_with_everything_on());
}

/// The same at leisure: three ledgers of 16 KiB are made for each call.
#[divan::bench(args = LIVE, sample_count = 2_000)]
fn whole_call_with_its_saves(bencher: Bencher<'_, '_>, live: usize) {
    let mut bench = Bench::new(CALM);
    for _ in 1..live {
        bench.invite();
    }
    bencher.bench_local(move || bench.call());
}

/// The same, and each of its inputs handed to a recorder, as the driver does: a copy into a bounded
/// channel. `whole_call` with one live call is its baseline; what is more is the recorder's cost.
/// The reader keeps up, so nothing is lost and nothing waits.
#[divan::bench(sample_count = 2_000)]
fn whole_call_handed_to_a_recorder(bencher: Bencher<'_, '_>) {
    let mut bench = Bench::new(BUSY);
    bench.tape = Some(Tape::Copy(sync_channel(64)));
    bencher.bench_local(move || bench.call());
}

/// The same, written by a scribe: masks, JSON lines, into memory. In a `VoIP` this is the work of
/// the recorder's own thread.
#[divan::bench(sample_count = 2_000)]
fn whole_call_written_by_a_scribe(bencher: Bencher<'_, '_>) {
    let mut bench = Bench::new(BUSY);
    let identity = bench.identity();
    let origin = Origin { identity, config: Config::default(), seed: 1 };
    let scribe = Scribe::begin(std::io::sink(), &origin, bench.now).unwrap();
    bench.tape = Some(Tape::Scribe(Box::new(scribe)));
    bencher.bench_local(move || bench.call());
}

/// Baseline: the JSON of the four messages of such a call, written and read by `serde_json` alone.
#[divan::bench(sample_count = 2_000)]
fn json_alone(bencher: Bencher<'_, '_>) {
    let texts = texts_of(Bench::call);
    assert_eq!(texts.len(), 4, "invite, candidates, select_answer, hangup: {texts:?}");
    bencher.bench_local(move || read_and_write(&texts));
}

/// Baseline: the same of what a call with everything on says.
#[divan::bench(sample_count = 2_000)]
fn json_of_everything(bencher: Bencher<'_, '_>) {
    let texts = texts_of(Bench::call_with_everything_on);
    assert!(texts.len() > 9, "the four of a call and five offers: {texts:?}");
    bencher.bench_local(move || read_and_write(&texts));
}

/// What is sent in a call.
fn texts_of(call: impl FnOnce(&mut Bench)) -> Vec<String> {
    let mut bench = Bench::new(BUSY);
    bench.kept = Some(Vec::new());
    call(&mut bench);
    bench.kept.unwrap_or_default()
}

fn read_and_write(texts: &[String]) {
    for text in texts {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        black_box(value.to_string());
    }
}

/// An engine with a host that answers everything at once.
struct Bench {
    engine: Engine,
    now: Now,
    room: RoomId,
    callee: UserId,
    sdp: Redacted,
    events: u64,
    latest: Option<CallId>,
    step: Duration,
    /// Contents that were sent, where they are wanted.
    kept: Option<Vec<String>>,
    peer: Option<matrix_voip::id::PeerId>,
    tape: Option<Tape>,
}

/// Where inputs are recorded.
enum Tape {
    Copy((SyncSender<Entry>, Receiver<Entry>)),
    Scribe(Box<Scribe<std::io::Sink>>),
}

impl Tape {
    fn put(&mut self, now: Now, entry: Entry) {
        match self {
            Self::Copy((sender, receiver)) => {
                sender.try_send(entry).unwrap();
                black_box(receiver.recv().unwrap());
            }
            Self::Scribe(scribe) => scribe.note(now, &entry).unwrap(),
        }
    }
}

impl Bench {
    fn new(step: Duration) -> Self {
        let user = UserId::parse("@ada:example").unwrap();
        let device = DeviceId::parse("PHONE").unwrap();
        let mut config = Config::default();
        // The live calls stay so while the clock goes on.
        config.timeouts.invite = Duration::from_secs(365 * 24 * 3600);
        Self {
            engine: Engine::new(Identity { user, device }, config, 1),
            now: Now::default().plus(Duration::from_secs(1_700_000_000)),
            room: RoomId::parse("!room:example").unwrap(),
            callee: UserId::parse("@ben:example").unwrap(),
            sdp: Redacted::new(SDP),
            events: 0,
            latest: None,
            step,
            kept: None,
            peer: None,
            tape: None,
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            user: UserId::parse("@ada:example").unwrap(),
            device: DeviceId::parse("PHONE").unwrap(),
        }
    }

    /// The way into the engine.
    fn handle(&mut self, input: Input) -> Verdict {
        let Some(tape) = &mut self.tape else { return self.engine.handle(self.now, input) };
        let kept = Box::new(input.clone());
        let verdict = self.engine.handle(self.now, input);
        tape.put(self.now, Entry::Input(kept, verdict.clone()));
        verdict
    }

    /// What is due is done.
    fn wake(&mut self) {
        if let Some(tape) = &mut self.tape {
            tape.put(self.now, Entry::Due);
        }
        self.engine.handle_timeout(self.now);
    }

    fn call(&mut self) {
        let session = self.invite();
        let answer = self.answer();
        self.feed(Input::Deliver(answer));
        let peer = self.peer.unwrap();
        self.feed(Input::Peer(peer, PeerNews::State(PeerState::Connected)));
        self.hangup(session);
    }

    fn call_with_everything_on(&mut self) {
        use CallCommand::{Hold, Mute, RestartIce, Start, Stop, Unhold, Unmute};
        use MediaSource::{Camera, Microphone};
        let session = self.invite();
        let answer = self.answer();
        self.feed(Input::Deliver(answer));
        let peer = self.peer.unwrap();
        self.feed(Input::Peer(peer, PeerNews::State(PeerState::Connected)));
        for change in [Mute(Microphone), Unmute(Microphone)] {
            self.feed(Input::Command(Command::Call(session, change)));
        }
        for change in [Hold, Unhold, Start(Camera), Stop(Camera), RestartIce] {
            self.feed(Input::Command(Command::Call(session, change)));
            let agreed = self.agreement(session);
            let Verdict::Batch(verdicts) = self.feed(Input::Deliver(agreed)) else { panic!() };
            assert_eq!(verdicts, [Verdict::Handled]);
        }
        self.hangup(session);
    }

    fn invite(&mut self) -> SessionId {
        let (room, callee) = (self.room.clone(), Callee::User(self.callee.clone()));
        let command = Command::Invite { room, callee, media: CallMedia::Voice };
        let verdict = self.feed(Input::Command(command));
        let Verdict::Started(session) = verdict else { panic!("{verdict:?}") };
        session
    }

    fn hangup(&mut self, session: SessionId) {
        self.feed(Input::Command(Command::Call(session, CallCommand::Hangup)));
    }

    /// The answer to the latest call.
    fn answer(&mut self) -> Delivery {
        let call_id = self.latest.take().unwrap();
        let answer =
            Answer { sdp: self.sdp.clone(), capabilities: Capabilities::default(), streams: None };
        self.said(call_id, "m.call.answer", Body::Answer(answer))
    }

    /// The answer to our offer in a call.
    fn agreement(&mut self, session: SessionId) -> Delivery {
        let call_id = self.engine.snapshot(session).unwrap().call_id;
        let description = Description { kind: SdpKind::Answer, sdp: self.sdp.clone() };
        let lifetime = Some(Duration::from_secs(60));
        let agreed = Negotiate { description, lifetime, capabilities: None, streams: None };
        self.said(call_id, "m.call.negotiate", Body::Negotiate(agreed))
    }

    fn said(&mut self, call_id: CallId, event_type: &str, body: Body) -> Delivery {
        let header = Header {
            call_id,
            party_id: PartyId::parse("ben").ok(),
            version: Version::V1,
            device_id: None,
            leg: None,
        };
        let facts = Facts {
            event_id: Some(self.event()),
            sender: self.callee.clone(),
            device: None,
            protection: Protection::Clear,
            sent: None,
            age: Some(Duration::ZERO),
        };
        let event = Ok(CallMessage { header, body });
        let event_type = event_type.to_owned();
        let place = Place::Room { room: self.room.clone(), encrypted: false };
        let event = event.map(Content::Call);
        Delivery { place, events: vec![Parsed { facts, event, event_type }] }
    }

    fn event(&mut self) -> EventId {
        self.events += 1;
        EventId::parse(format!("$event{}", self.events)).unwrap()
    }

    /// Hands in an input, serves what comes out until nothing does, and lets a moment pass.
    fn feed(&mut self, input: Input) -> Verdict {
        let verdict = self.handle(input);
        self.serve();
        let due = self.engine.poll_timeout().is_some_and(|due| due <= self.step);
        self.now = self.now.plus(self.step);
        if due {
            self.wake();
            self.serve();
        }
        verdict
    }

    fn serve(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Request { id, op } => self.reply(id, op),
                Output::Voip(VoipEvent::CallAdded { snapshot, .. }) => {
                    self.latest = Some(snapshot.call_id);
                }
                Output::Voip(_) | Output::Cancel(_) => {
                    black_box(output);
                }
                Output::Call { .. } | Output::Group { .. } => {
                    black_box(output);
                }
            }
        }
    }

    fn reply(&mut self, id: OpId, op: Op) {
        let described = |kind| Reply::Description(Description { kind, sdp: self.sdp.clone() });
        let reply = match &op {
            Op::Matrix(matrix_voip::machine::io::MatrixOp::SendEvent { content, .. }) => {
                if let Some(kept) = &mut self.kept {
                    kept.push(content.clone());
                }
                Reply::Sent(self.event())
            }
            Op::Matrix(
                matrix_voip::machine::io::MatrixOp::SendState { .. }
                | matrix_voip::machine::io::MatrixOp::SendClear { .. }
                | matrix_voip::machine::io::MatrixOp::Redact { .. },
            ) => Reply::Sent(self.event()),
            Op::Matrix(matrix_voip::machine::io::MatrixOp::Delay(_)) => {
                panic!("a call of two schedules nothing")
            }
            Op::Matrix(matrix_voip::machine::io::MatrixOp::SendToDevice { .. })
            | Op::Fetch(Fetch::State(_) | Fetch::OpenId | Fetch::SfuToken(_))
            | Op::Fetch(Fetch::Transports | Fetch::KeyMaterial)
            | Op::Sfu(..)
            | Op::Keys(..) => panic!("a call of two asks for no such thing"),
            Op::Fetch(Fetch::Turn) => {
                Reply::Turn(TurnServers { servers: vec![], ttl: Duration::from_secs(86_400) })
            }
            Op::Fetch(Fetch::Members(_)) => Reply::Members([self.callee.clone()].into()),
            Op::Peer(_, PeerOp::Offer(_) | PeerOp::LocalDescription) => described(SdpKind::Offer),
            Op::Peer(_, PeerOp::Answer(_)) => described(SdpKind::Answer),
            Op::Peer(..) | Op::Track(..) | Op::Save(_) => Reply::Done,
        };
        black_box(self.handle(Input::Reply(id, Ok(reply))));
        match op {
            Op::Peer(peer, PeerOp::Open(_)) => self.peer = Some(peer),
            Op::Peer(peer, PeerOp::SetLocal(_)) => {
                self.handle(Input::Peer(peer, PeerNews::GatheringDone));
            }
            _ => {}
        }
    }
}

/// As long as a browser's offer of sound.
const SDP: &str = concat!(
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
    "a=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS 4f3Ks9\r\n",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n",
    "a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:4ZcD\r\na=ice-pwd:2/1muCWoOi3uLifh0NuRHlig\r\n",
    "a=ice-options:trickle\r\na=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:",
    "1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\na=setup:actpass\r\na=mid:0\r\n",
    "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\n",
    "a=msid:4f3Ks9 track0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 ",
    "transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n",
    "a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n",
    "a=ssrc:1001 cname:fake\r\na=ssrc:1001 msid:4f3Ks9 track0\r\n",
);
