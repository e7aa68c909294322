//! Measurements: str0m's events, and what they leave out, folded into one snapshot.
//!
//! str0m reports once a second, per m-line and direction, without codec, without the types of the
//! chosen candidates and without a count of lost packets; those are kept here from the frames
//! themselves.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::Codec,
    machine::io::{CandidateInfo, CandidatePair, PeerStats, StreamStats},
};
use matrix_voip_engine::Losses;
use str0m::{
    net::Protocol,
    stats::{CandidatePairStats, MediaEgressStats, MediaIngressStats},
};

/// What was measured on one connection.
#[derive(Debug, Default)]
pub(crate) struct Measurements {
    /// When str0m counted last, since the connection was opened.
    counted: Duration,
    path: Option<Path>,
    round_trip: Option<Duration>,
    inbound: BTreeMap<String, Counters>,
    outbound: BTreeMap<String, Counters>,
}

/// The chosen pair of addresses.
#[derive(Debug, Clone, Copy)]
struct Path {
    protocol: Protocol,
    local: SocketAddr,
    remote: SocketAddr,
}

/// One m-line in one direction.
#[derive(Debug, Default)]
struct Counters {
    codec: Option<Codec>,
    bytes: u64,
    packets: u64,
    /// Of what we sent, as the other side says.
    lost: Option<u64>,
    /// Of what came.
    losses: Option<Losses>,
    jitter: Option<Duration>,
    key_frame_requests: u64,
    /// How loud the last sound was, 0 to 1.
    level: Option<f32>,
    /// When the last packet arrived.
    arrived: Option<Instant>,
}

impl Measurements {
    /// Something other than a connectivity check was sent: this is the chosen path.
    pub(crate) fn on_route(&mut self, protocol: Protocol, local: SocketAddr, remote: SocketAddr) {
        self.path = Some(Path { protocol, local, remote });
    }

    /// The chosen path: our address and theirs.
    pub(crate) fn route(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.path.as_ref().map(|path| (path.local, path.remote))
    }

    /// str0m counted everything, so long after the connection was opened.
    pub(crate) fn on_counted(&mut self, at: Duration) {
        self.counted = at;
    }

    /// The chosen path was measured.
    pub(crate) fn on_path(&mut self, pair: Option<&CandidatePairStats>, rtt: Option<Duration>) {
        let measured = pair.and_then(|pair| pair.current_round_trip_time);
        self.round_trip = measured.or(rtt).or(self.round_trip);
    }

    /// Received media was counted.
    pub(crate) fn on_ingress(&mut self, stats: &MediaIngressStats) {
        let counters = self.inbound.entry(stats.mid.to_string()).or_default();
        counters.bytes = counters.bytes.max(stats.bytes);
        counters.packets = counters.packets.max(stats.packets);
        counters.key_frame_requests = counters.key_frame_requests.max(stats.plis + stats.firs);
        counters.jitter = counters.codec.map(|codec| ticks(stats.jitter, codec));
    }

    /// Sent media was counted.
    pub(crate) fn on_egress(&mut self, stats: &MediaEgressStats) {
        let counters = self.outbound.entry(stats.mid.to_string()).or_default();
        counters.bytes = counters.bytes.max(stats.bytes);
        counters.packets = counters.packets.max(stats.packets);
        counters.key_frame_requests = counters.key_frame_requests.max(stats.plis + stats.firs);
        if let Some(remote) = &stats.remote {
            counters.lost = counters.lost.max(Some(remote.packets_lost));
            counters.jitter = counters.codec.map(|codec| ticks(remote.jitter, codec));
        }
    }

    /// A frame arrived, made of packets with these sequence numbers.
    pub(crate) fn on_received(&mut self, mid: &str, codec: Codec, packets: RangeInclusive<u64>) {
        self.on_event(mid, packets);
        entry(&mut self.inbound, mid).codec = Some(codec);
    }

    /// Something else than a frame arrived among them, with these sequence numbers.
    pub(crate) fn on_event(&mut self, mid: &str, packets: RangeInclusive<u64>) {
        entry(&mut self.inbound, mid).losses.get_or_insert_default().on_packets(packets);
    }

    /// The last packet of what was received arrived then.
    pub(crate) fn on_arrival(&mut self, mid: &str, at: Instant) {
        let counters = entry(&mut self.inbound, mid);
        counters.arrived = counters.arrived.max(Some(at));
    }

    /// How loud a received frame is, in decibels below the loudest (RFC 6464).
    pub(crate) fn on_level(&mut self, mid: &str, level: Option<i8>) {
        if let Some(decibels) = level {
            entry(&mut self.inbound, mid).level = Some(10_f32.powf(f32::from(decibels) / 20.0));
        }
    }

    /// A frame was sent.
    pub(crate) fn on_sent(&mut self, mid: &str, codec: Codec) {
        entry(&mut self.outbound, mid).codec = Some(codec);
    }

    /// Everything measured so far; the functions name the type of a local and a remote address.
    pub(crate) fn snapshot(
        &self,
        now: Instant,
        local: impl Fn(SocketAddr) -> &'static str,
        remote: impl Fn(SocketAddr) -> &'static str,
    ) -> PeerStats {
        let mut stats = PeerStats::default();
        stats.pair = self.path.as_ref().map(|path| {
            CandidatePair::new(
                end(path.protocol, local(path.local), path.local),
                end(path.protocol, remote(path.remote), path.remote),
            )
        });
        stats.counted = Some(self.counted);
        stats.round_trip = self.round_trip;
        stats.inbound = streams(now, &self.inbound);
        stats.outbound = streams(now, &self.outbound);
        stats
    }
}

/// The counters of an m-line; the name is copied only the first time.
fn entry<'a>(map: &'a mut BTreeMap<String, Counters>, mid: &str) -> &'a mut Counters {
    if !map.contains_key(mid) {
        map.insert(mid.to_owned(), Counters::default());
    }
    map.get_mut(mid).expect("invariant: inserted above")
}

fn streams(now: Instant, counters: &BTreeMap<String, Counters>) -> Vec<StreamStats> {
    let known = counters.iter().filter_map(|(mid, counters)| {
        let codec = counters.codec?;
        let mut stats = StreamStats::new(mid, codec.kind(), codec.mime());
        stats.bytes = counters.bytes;
        stats.packets = counters.packets;
        stats.lost = counters.losses.as_ref().map(Losses::lost).or(counters.lost);
        stats.jitter = counters.jitter;
        stats.key_frame_requests = counters.key_frame_requests;
        stats.level = counters.level;
        stats.silence = counters.arrived.map(|at| now.saturating_duration_since(at));
        Some(stats)
    });
    known.collect()
}

fn end(protocol: Protocol, kind: &'static str, address: SocketAddr) -> CandidateInfo {
    let protocol = if protocol == Protocol::Udp { "udp" } else { "tcp" };
    CandidateInfo::new(kind, protocol, address.to_string())
}

/// A jitter in ticks of the codec's clock as time.
fn ticks(jitter: u32, codec: Codec) -> Duration {
    Duration::from_secs_f64(f64::from(jitter) / f64::from(codec.clock_rate()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::clock;

    #[test]
    fn gaps_in_the_sequence_are_counted_as_lost() {
        let mut measured = Measurements::default();
        for packets in [10..=10, 11..=13, 16..=16, 15..=15, 17..=60] {
            measured.on_received("0", Codec::Opus, packets);
        }
        let stats = measured.snapshot(clock(), |_| "host", |_| "prflx");
        assert_eq!(stats.inbound[0].lost, Some(1), "14; 15 was late");
        assert_eq!(stats.inbound[0].codec, "audio/opus");
        assert_eq!(stats.pair, None);
    }

    #[test]
    fn the_loudness_is_what_the_sender_says() {
        let mut measured = Measurements::default();
        measured.on_received("0", Codec::Opus, 1..=1);
        measured.on_level("0", None);
        let level =
            |measured: &Measurements| measured.snapshot(clock(), |_| "", |_| "").inbound[0].level;
        assert_eq!(level(&measured), None);
        measured.on_level("0", Some(-20));
        assert!((level(&measured).unwrap() - 0.1).abs() < 1e-6);
        measured.on_level("0", None);
        assert!(level(&measured).is_some(), "a frame that says nothing unsays nothing");
    }

    #[test]
    fn silence_is_since_the_last_packet_that_arrived() {
        let (now, mut measured) = (clock(), Measurements::default());
        let silence = |measured: &Measurements, ms| {
            let at = now + Duration::from_millis(ms);
            measured.snapshot(at, |_| "", |_| "").inbound[0].silence
        };
        measured.on_received("0", Codec::Opus, 1..=1);
        assert_eq!(silence(&measured, 0), None);
        measured.on_arrival("0", now + Duration::from_millis(40));
        measured.on_arrival("0", now + Duration::from_millis(20));
        assert_eq!(silence(&measured, 3_040), Some(Duration::from_secs(3)));
    }

    #[test]
    fn jitter_is_time_and_not_ticks() {
        assert_eq!(ticks(480, Codec::Opus), Duration::from_millis(10));
        assert_eq!(ticks(900, Codec::Vp8), Duration::from_millis(10));
    }
}
