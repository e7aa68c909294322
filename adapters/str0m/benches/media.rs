//! What media costs: packets that one core carries, CPU of a stream, memory of a call.
//!
//! Two peers of this crate hand each other their packets in memory, on one core and in virtual time:
//! ICE, DTLS, SRTP and RTP are the real ones; sockets, encoders and decoders are not counted. The
//! baseline of the same run is what no engine can do without: AES-128-GCM over as many packets of
//! the same size, sealed once and opened once.
//!
//! Run with `cargo bench -p matrix-voip-str0m --features testing --bench media`. First come figures
//! of one long run: packets per second and core, share of a core per stream, and memory per
//! connected call, which is how much the resident size of this program grows by calls that are
//! connected, have spoken for a second and stay.

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use divan::{Bencher, counter::ItemsCount};
use matrix_voip::{
    host::{Codec, Frame},
    id::{StreamId, TrackId},
    machine::io::{Description, Direction, PeerOp, Plan, PlanLine, Reply, Slot},
};
use matrix_voip_str0m::{
    Peer, PeerSetup,
    peer::{Input, Output},
};

/// Bytes of 20 ms of speech at 32 kbit/s.
const SOUND: usize = 80;

/// Bytes of one of 25 pictures a second at 1 Mbit/s: five packets.
const PICTURE: usize = 5000;

/// Calls that are held for the measurement of memory.
const CALLS: usize = 200;

const STEP: Duration = Duration::from_millis(20);

/// What a device gives in a step, if it gives something.
type Kind = fn(u64) -> Option<(TrackId, Frame)>;

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a bench measures, and peers want some instant")]
    Instant::now()
}

struct End {
    peer: Peer,
    address: SocketAddr,
    wakes: Instant,
    frames: usize,
}

impl End {
    fn new(now: Instant, port: u16) -> Self {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        let peer = Peer::new(now, PeerSetup::new(now, vec![address]));
        Self { peer, address, wakes: now, frames: 0 }
    }

    fn describe(&mut self, now: Instant, op: PeerOp) -> Description {
        match self.peer.perform(now, op) {
            Ok(Reply::Description(description)) => description,
            other => panic!("no description: {other:?}"),
        }
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            match self.peer.poll() {
                Output::Timeout(at) => {
                    self.wakes = at;
                    return packets;
                }
                Output::Datagram { data, .. } => packets.push(data),
                Output::Frame { frame, .. } => {
                    black_box(frame);
                    self.frames += 1;
                }
                _ => {}
            }
        }
    }
}

/// Two connected peers.
struct Pair {
    now: Instant,
    ends: [End; 2],
    packets: usize,
    steps: u64,
}

impl Pair {
    fn connected() -> Self {
        let now = clock();
        let ends = [End::new(now, 1), End::new(now, 2)];
        let mut pair = Self { now, ends, packets: 0, steps: 0 };
        let [one, two] = &mut pair.ends;
        let offer = one.describe(now, PeerOp::Offer(plan()));
        two.peer.perform(now, PeerOp::SetRemote(offer)).expect("its own offer");
        let answer = two.describe(now, PeerOp::Answer(plan()));
        one.peer.perform(now, PeerOp::SetRemote(answer)).expect("its own answer");
        while pair.ends.iter().any(|end| end.frames < 2) {
            pair.step(&[sound]);
        }
        pair
    }

    /// Twenty milliseconds: each sends what there is of each kind.
    fn step(&mut self, kinds: &[Kind]) {
        self.now += STEP;
        for end in &mut self.ends {
            for (track, frame) in kinds.iter().filter_map(|kind| kind(self.steps)) {
                end.peer.handle(self.now, Input::Frame { track, frame: &frame });
            }
            if end.wakes <= self.now {
                end.peer.handle(self.now, Input::Timeout);
            }
        }
        self.steps += 1;
        self.exchange();
    }

    fn exchange(&mut self) {
        let [one, two] = &mut self.ends;
        loop {
            let ways = [one.drain(), two.drain()];
            if ways.iter().all(Vec::is_empty) {
                return;
            }
            self.packets += ways.iter().map(Vec::len).sum::<usize>();
            let (from_one, from_two) = (one.address, two.address);
            give(self.now, two, from_one, &ways[0]);
            give(self.now, one, from_two, &ways[1]);
        }
    }

    fn second(&mut self, kinds: &[Kind]) {
        (0..50).for_each(|_| self.step(kinds));
    }
}

fn give(now: Instant, to: &mut End, from: SocketAddr, packets: &[Vec<u8>]) {
    for data in packets {
        to.peer.handle(now, Input::Datagram { local: to.address, from, data });
    }
}

fn plan() -> Plan {
    let stream = StreamId::parse("stream").ok();
    let line = |slot, track| PlanLine {
        slot,
        direction: Direction::SendRecv,
        track: Some(TrackId(track)),
        stream: stream.clone(),
    };
    Plan { lines: vec![line(Slot::Audio, 1), line(Slot::Video, 2)] }
}

fn sound(step: u64) -> Option<(TrackId, Frame)> {
    Some((TrackId(1), Frame::new(Codec::Opus, step * 960, vec![0x78; SOUND])))
}

/// Every second step one, so that 25 a second are sent.
fn picture(step: u64) -> Option<(TrackId, Frame)> {
    let mut data = vec![0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0];
    data.resize(PICTURE, 7);
    let frame = Frame::new(Codec::Vp8, step * 1800, data);
    step.is_multiple_of(2).then_some((TrackId(2), frame))
}

/// The resident size of this program in bytes; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.map_or(0, |kilobytes: usize| kilobytes * 1024)
}

/// What one long run costs, per packet and per stream in one direction, both ends together.
fn measure(what: &str, kind: Kind) {
    const SECONDS: u32 = 60;
    let mut pair = Pair::connected();
    pair.packets = 0;
    let begin = clock();
    (0..SECONDS).for_each(|_| pair.second(&[kind]));
    let spent = begin.elapsed();
    let per_packet = spent / pair.packets as u32;
    println!(
        "{what}: {per_packet:?} per packet sent and received, {:.0} packets a second and core; \
         {:.3} % of a core per stream and end",
        pair.packets as f64 / spent.as_secs_f64(),
        100.0 * spent.as_secs_f64() / f64::from(SECONDS) / 4.0,
    );
}

fn measure_memory() {
    drop(Pair::connected());
    let before = resident();
    let calls: Vec<Pair> = (0..CALLS)
        .map(|_| {
            let mut pair = Pair::connected();
            pair.second(&[sound, picture]);
            pair
        })
        .collect();
    let grown = resident().saturating_sub(before);
    println!("memory: {} KiB per connected end, of {CALLS} calls", grown / 1024 / 2 / calls.len());
}

fn main() {
    measure("sound", sound);
    measure("pictures", picture);
    measure_memory();
    divan::main();
}

#[divan::bench]
fn baseline_encryption_of_a_second_of_sound_both_ways(bencher: Bencher) {
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of 16 bytes");
    let key = LessSafeKey::new(key);
    let nonce = || Nonce::assume_unique_for_key([1; 12]);
    bencher.counter(ItemsCount::new(100_u32)).bench_local(|| {
        for _ in 0..100 {
            let mut packet = vec![0x78; SOUND];
            key.seal_in_place_append_tag(nonce(), Aad::from([0; 12]), &mut packet).expect("sealed");
            let opened = key.open_in_place(nonce(), Aad::from([0; 12]), &mut packet);
            black_box(opened.expect("opened").len());
        }
    });
}

#[divan::bench]
fn a_second_of_sound_both_ways(bencher: Bencher) {
    let mut pair = Pair::connected();
    bencher.counter(ItemsCount::new(100_u32)).bench_local(|| pair.second(&[sound]));
}

#[divan::bench]
fn a_second_of_pictures_both_ways(bencher: Bencher) {
    let mut pair = Pair::connected();
    bencher.counter(ItemsCount::new(250_u32)).bench_local(|| pair.second(&[picture]));
}
