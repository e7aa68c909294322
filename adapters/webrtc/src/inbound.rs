//! Received packets to the sinks of their m-lines.
//!
//! A packet belongs to the line that names its source, or that it names itself (RFC 9143), or that
//! alone has its payload type; so it is remembered for its source while its line brings something.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::{Codec, FrameSink},
    machine::io::{MediaKind, StreamStats},
};

use crate::{
    negotiate::Agreed,
    receive::{Assembly, Received},
    stats::Jitter,
};

/// Most sources that are told apart; a call has four.
const MAX_SOURCES: usize = 32;

/// Shortest time between two key frame requests for one source: a round trip and an encoder need
/// about that long, more requests only make more key frames.
const KEY_FRAME_PAUSE: Duration = Duration::from_millis(300);

/// What comes in on one line.
#[derive(Default)]
struct Lane {
    sink: Option<Box<dyn FrameSink>>,
    kind: Option<MediaKind>,
    codec: Option<Codec>,
    packets: u64,
    bytes: u64,
    lost: u64,
    jitter: Jitter,
    key_frame_requests: u64,
    level: Option<f32>,
    /// When the last packet came in.
    arrived: Option<Instant>,
}

/// One source of theirs.
struct Remote {
    mid: String,
    /// When its last packet came in.
    seen: Instant,
    assembly: Assembly,
    asked: Option<Instant>,
}

/// Everything that comes in on one connection.
#[derive(Default)]
pub(crate) struct Inbound {
    lines: Vec<Agreed>,
    sources: BTreeMap<u32, Remote>,
    /// Also of lines on which nothing comes now: counters never go back.
    lanes: BTreeMap<String, Lane>,
}

impl Inbound {
    /// From now on packets belong to these lines.
    pub(crate) fn agree(&mut self, lines: &[Agreed]) {
        self.lines = lines.to_vec();
        let comes =
            |mid: &str| lines.iter().any(|line| line.form.mid == mid && line.receives.is_some());
        for (ssrc, source) in &mut self.sources {
            // What a description says now counts for more than what a packet said once.
            if let Some(line) = lines.iter().find(|line| line.sources.contains(ssrc)) {
                source.mid.clone_from(&line.form.mid);
            }
        }
        self.sources.retain(|_, source| comes(&source.mid));
    }

    /// Frames of this line go there; `None`: nobody wants them.
    pub(crate) fn open(&mut self, mid: &str, kind: MediaKind, sink: Option<Box<dyn FrameSink>>) {
        let lane = self.lanes.entry(mid.to_owned()).or_default();
        (lane.sink, lane.kind) = (sink, Some(kind));
    }

    /// Nothing comes on this line any more.
    pub(crate) fn close(&mut self, mid: &str) {
        if let Some(lane) = self.lanes.get_mut(mid) {
            lane.sink = None;
        }
        self.sources.retain(|_, source| source.mid != mid);
    }

    /// Takes a packet; returns the source that a key frame is wanted of.
    pub(crate) fn take(
        &mut self,
        packet: rtc::rtp::Packet,
        at: Instant,
        epoch: Instant,
    ) -> Option<u32> {
        let header = &packet.header;
        let ssrc = header.ssrc;
        let mid = self.line_of(header)?;
        let line = self.lines.iter().find(|line| line.form.mid == mid)?;
        line.receives.as_ref()?;
        let payloads = &line.form.payloads;
        let codec = payloads.iter().find(|(number, _)| *number == header.payload_type)?.1;
        let level = line.form.level.and_then(|number| header.get_extension(number));
        let level = level.and_then(|level| Some(-((*level.first()? & 0x7f) as i8)));
        let received = Received {
            codec,
            sequence: header.sequence_number,
            timestamp: header.timestamp,
            is_last: header.marker,
            payload: packet.payload.clone(),
            level,
            arrival: at.saturating_duration_since(epoch),
        };
        self.count(&mid, &received, at);
        self.pass(ssrc, mid, received, at)
    }

    fn count(&mut self, mid: &str, received: &Received, at: Instant) {
        let Some(lane) = self.lanes.get_mut(mid) else { return };
        lane.codec = Some(received.codec);
        lane.packets += 1;
        lane.arrived = Some(at);
        lane.bytes += received.payload.len() as u64;
        lane.jitter.on_packet(received.codec, received.timestamp, received.arrival);
        if let Some(level) = received.level {
            lane.level = Some(10_f32.powf(f32::from(level) / 20.0));
        }
    }

    fn pass(&mut self, ssrc: u32, mid: String, received: Received, at: Instant) -> Option<u32> {
        if !self.sources.contains_key(&ssrc) && self.sources.len() == MAX_SOURCES {
            // Whoever changes sources so often loses the one that was silent for longest.
            let silent = self.sources.iter().min_by_key(|(_, source)| source.seen);
            if let Some(ssrc) = silent.map(|(ssrc, _)| *ssrc) {
                self.sources.remove(&ssrc);
            }
        }
        let fresh = || Remote { mid, seen: at, assembly: Assembly::default(), asked: None };
        let source = self.sources.entry(ssrc).or_insert_with(fresh);
        source.seen = at;
        // An empty packet only fills the line.
        let frames = source.assembly.push(received);
        let lane = self.lanes.get_mut(&source.mid)?;
        lane.lost += std::mem::take(&mut source.assembly.lost);
        let sink = lane.sink.as_mut()?;
        let mut wants = false;
        for frame in frames {
            let is_video = frame.codec.kind() == MediaKind::Video;
            sink.push(frame);
            wants |= is_video && sink.wants_key_frame();
        }
        let is_early = source.asked.is_some_and(|asked| at < asked + KEY_FRAME_PAUSE);
        if !wants || is_early {
            return None;
        }
        source.asked = Some(at);
        lane.key_frame_requests += 1;
        Some(ssrc)
    }

    /// The line of a packet.
    fn line_of(&self, header: &rtc::rtp::Header) -> Option<String> {
        if let Some(source) = self.sources.get(&header.ssrc) {
            return Some(source.mid.clone());
        }
        let named = self.lines.iter().find(|line| line.sources.contains(&header.ssrc));
        let names = || {
            self.lines.iter().find(|line| {
                let name = line.form.mid_extension.and_then(|number| header.get_extension(number));
                name.is_some_and(|name| name.as_ref() == line.form.mid.as_bytes())
            })
        };
        let alone = || {
            let has = |line: &&Agreed| {
                line.receives.is_some()
                    && line.form.payloads.iter().any(|(number, _)| *number == header.payload_type)
            };
            let mut fitting = self.lines.iter().filter(has);
            fitting.next().filter(|_| fitting.next().is_none())
        };
        named.or_else(names).or_else(alone).map(|line| line.form.mid.clone())
    }

    /// What was counted, per line, and how its sink says that it is heard.
    pub(crate) fn stats(&self, now: Instant) -> Vec<StreamStats> {
        let known = self.lanes.iter().filter_map(|(mid, lane)| {
            let mut stats = StreamStats::new(mid, lane.kind?, lane.codec?.mime());
            stats.bytes = lane.bytes;
            stats.packets = lane.packets;
            stats.lost = Some(lane.lost);
            stats.jitter = lane.jitter.value();
            stats.key_frame_requests = lane.key_frame_requests;
            stats.level = lane.level;
            stats.silence = lane.arrived.map(|at| now.saturating_duration_since(at));
            stats.playout = lane.sink.as_ref().and_then(|sink| sink.playout());
            Some(stats)
        });
        known.collect()
    }
}
