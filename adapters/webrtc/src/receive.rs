//! RTP → frames: packets of one source in the order of their numbers, whole frames out of them.
//!
//! A value without a clock. Sound goes on as it comes, also what was overtaken: whoever plays it evens out
//! its times anyway. What is missing of pictures is waited for until so many packets came after it
//! ([`MAX_LATE_PICTURE`]) or for [`MAX_WAIT`]; then it counts as lost.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use matrix_voip::{
    host::{Codec, Frame},
    machine::io::MediaKind,
};
use matrix_voip_engine::Losses;
use rtc::rtp::{
    codec::{h264::H264Packet, vp8::Vp8Packet},
    packetizer::Depacketizer,
};

/// Packets of a picture that a late one may come after: a retransmission takes a round trip, which
/// at 2 Mbit/s is some thirty packets.
const MAX_LATE_PICTURE: usize = 64;

/// How long a packet waits for one before it, as the arrivals tell.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// Largest frame that is put together, in bytes.
const MAX_FRAME: usize = 4 << 20;

/// Most packets that a frame is put together of: one of that size, in packets of a kilobyte.
const MAX_PARTS: usize = 4096;

/// A packet further away than this from the last one begins the source anew.
const MAX_JUMP: u64 = 3000;

/// One received packet.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) codec: Codec,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) is_last: bool,
    pub(crate) payload: Bytes,
    pub(crate) level: Option<i8>,
    pub(crate) arrival: Duration,
}

/// The packets of one source on their way to frames.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    waiting: BTreeMap<u64, Received>,
    /// The number of the packet that comes next.
    next: Option<u64>,
    /// The last number and time stamp, unwrapped.
    last: Option<(u64, u64)>,
    /// The packets of the frame that is being put together, and their bytes.
    parts: Vec<(u64, Received)>,
    size: usize,
    /// Something before the next frame is missing.
    is_broken: bool,
    /// What is lost of sound.
    losses: Losses,
    /// How many packets never came.
    pub(crate) lost: u64,
}

impl Assembly {
    /// Takes a packet; returns the frames that it completes.
    pub(crate) fn push(&mut self, packet: Received) -> Vec<Frame> {
        let sequence = self.unwrapped(packet.sequence);
        if packet.codec.kind() == MediaKind::Audio {
            return self.pass(sequence, packet).into_iter().collect();
        }
        let is_late = self.next.is_some_and(|next| sequence < next);
        if is_late && self.next.is_some_and(|next| next - sequence < MAX_JUMP) {
            return Vec::new();
        }
        let is_far = self.next.is_some_and(|next| sequence.abs_diff(next) >= MAX_JUMP);
        if is_far {
            self.restart();
        }
        let now = packet.arrival;
        self.next.get_or_insert(sequence);
        self.waiting.insert(sequence, packet);
        let mut frames = Vec::new();
        self.take_ready(&mut frames);
        let waits_too_long = |at: Duration| now > at + MAX_WAIT;
        while self.waiting.len() > MAX_LATE_PICTURE
            || self.waits_since().is_some_and(waits_too_long)
        {
            self.skip();
            self.take_ready(&mut frames);
        }
        frames
    }

    /// A packet of sound, which is a frame by itself.
    fn pass(&mut self, sequence: u64, packet: Received) -> Option<Frame> {
        let next = *self.next.get_or_insert(sequence);
        let before = self.losses.lost();
        let began_anew = self.losses.on_packets(sequence..=sequence);
        self.lost += self.losses.lost() - before;
        self.next = Some(if began_anew { sequence + 1 } else { next.max(sequence + 1) });
        if packet.payload.is_empty() {
            // Padding, by which the other side measures the way.
            return None;
        }
        Some(Frame {
            sequence: Some(sequence),
            contiguous: sequence == next,
            audio_level: packet.level,
            arrival: Some(packet.arrival),
            ..Frame::new(
                packet.codec,
                self.stamped(sequence, packet.timestamp),
                packet.payload.to_vec(),
            )
        })
    }

    /// When the first of those that wait came in.
    fn waits_since(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(_, packet)| packet.arrival)
    }

    /// The source begins anew, with other numbers.
    fn restart(&mut self) {
        self.waiting.clear();
        self.break_off();
        self.next = None;
    }

    /// The frame that was being put together never becomes one.
    fn break_off(&mut self) {
        self.parts.clear();
        self.size = 0;
        self.is_broken = true;
    }

    /// Gives up what is missing before the first packet that is there.
    fn skip(&mut self) {
        let Some(first) = self.waiting.keys().next().copied() else { return };
        self.lost += self.next.map_or(0, |next| first.saturating_sub(next));
        self.next = Some(first);
        self.break_off();
    }

    fn take_ready(&mut self, frames: &mut Vec<Frame>) {
        while let Some(next) = self.next
            && let Some(packet) = self.waiting.remove(&next)
        {
            self.next = Some(next + 1);
            self.add(next, packet, frames);
        }
    }

    /// Adds the next packet to the frame.
    fn add(&mut self, sequence: u64, packet: Received, frames: &mut Vec<Frame>) {
        if packet.payload.is_empty() {
            // Padding, by which the other side measures the way: nothing is missing for it.
            return;
        }
        let is_new = self.parts.first().is_some_and(|(_, part)| part.timestamp != packet.timestamp);
        if is_new {
            // The mark at its end was missing; whole it may be nevertheless.
            frames.extend(self.finish());
        }
        let is_last = packet.is_last;
        if self.size > MAX_FRAME || self.parts.len() == MAX_PARTS {
            self.break_off();
        }
        self.size += packet.payload.len();
        self.parts.push((sequence, packet));
        if is_last {
            frames.extend(self.finish());
        }
    }

    /// The frame of the packets that are there, if they are one.
    fn finish(&mut self) -> Option<Frame> {
        let parts = std::mem::take(&mut self.parts);
        self.size = 0;
        let (first, packet) = parts.first()?.clone();
        let arrival = parts.iter().map(|(_, part)| part.arrival).max();
        let payloads = parts.iter().map(|(_, part)| &part.payload);
        let Some(data) = joined(packet.codec, payloads) else {
            self.is_broken = true;
            return None;
        };
        let frame = Frame {
            key_frame: is_key_frame(packet.codec, &data),
            sequence: Some(first),
            contiguous: !std::mem::take(&mut self.is_broken),
            audio_level: packet.level,
            arrival,
            ..Frame::new(packet.codec, self.stamped(first, packet.timestamp), data)
        };
        Some(frame)
    }

    fn unwrapped(&self, sequence: u16) -> u64 {
        // Room below the first number, so that late ones do not fall under zero.
        const START: u64 = 1 << 16;
        match self.last_number() {
            Some(last) => nearest(last, u64::from(sequence), 1 << 16),
            None => START + u64::from(sequence),
        }
    }

    fn last_number(&self) -> Option<u64> {
        self.waiting.keys().next_back().copied().or(self.next)
    }

    fn stamped(&mut self, sequence: u64, timestamp: u32) -> u64 {
        let stamp = match self.last {
            Some((_, last)) => nearest(last, u64::from(timestamp), 1 << 32),
            None => u64::from(timestamp) + (1 << 32),
        };
        self.last = Some((sequence, stamp));
        stamp
    }
}

/// The value next to `last` that is `low` modulo `modulus`.
fn nearest(last: u64, low: u64, modulus: u64) -> u64 {
    let base = last - last % modulus + low;
    let candidates = [base.checked_sub(modulus), Some(base), base.checked_add(modulus)];
    let distance = |candidate: &u64| candidate.abs_diff(last);
    candidates.into_iter().flatten().min_by_key(distance).unwrap_or(base)
}

/// The payloads of a frame's packets, put together; `None`: they are no frame.
fn joined<'a>(codec: Codec, payloads: impl Iterator<Item = &'a Bytes>) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    // Its state is that of one frame: fragments of one that was lost must not go into the next.
    let mut h264 = H264Packet::default();
    for (at, payload) in payloads.enumerate() {
        let part = match codec {
            Codec::Opus => payload.clone(),
            Codec::H264 if ends_in_half_a_length(payload) => return None,
            Codec::H264 => h264.depacketize(payload).ok()?,
            _ => part_of_vp8(payload, at == 0)?,
        };
        data.extend_from_slice(&part);
    }
    (!data.is_empty()).then_some(data)
}

/// Whether an aggregate of H.264 units (STAP-A, RFC 6184 §5.7.1) ends in the middle of a length.
///
/// Correction K: the crate reads on behind the end of the packet there, and panics.
fn ends_in_half_a_length(payload: &[u8]) -> bool {
    const STAP_A: u8 = 24;
    let Some((head, mut units)) = payload.split_first() else { return false };
    if head & 0x1f != STAP_A {
        return false;
    }
    while let &[high, low, ref rest @ ..] = units {
        let length = usize::from(u16::from_be_bytes([high, low]));
        units = rest.get(length..).unwrap_or_default();
    }
    !units.is_empty()
}

/// What a packet of VP8 carries; `None`: nothing, or it does not begin a frame and should.
///
/// Correction J: the crate refuses packets of less than four bytes, which RFC 7741 allows and other
/// engines send as the last of a frame. So it is given four.
fn part_of_vp8(payload: &Bytes, is_first: bool) -> Option<Bytes> {
    const LEAST: usize = 4;
    let missing = LEAST.saturating_sub(payload.len());
    let mut filled = payload.clone();
    if missing > 0 {
        filled = [payload.as_ref(), &[0; LEAST][..missing]].concat().into();
    }
    let mut vp8 = Vp8Packet::default();
    let mut part = vp8.depacketize(&filled).ok()?;
    let length = part.len().checked_sub(missing).filter(|length| *length > 0)?;
    part.truncate(length);
    let begins = vp8.s == 1 && vp8.pid == 0;
    (!is_first || begins).then_some(part)
}

/// Whether a frame can be decoded without those before it.
fn is_key_frame(codec: Codec, data: &[u8]) -> bool {
    const IDR: u8 = 5;
    match codec {
        Codec::Opus => true,
        Codec::H264 => {
            let starts = data.windows(4).filter(|window| window[..3] == [0, 0, 1]);
            starts.map(|window| window[3] & 0x1f).any(|kind| kind == IDR)
        }
        _ => data.first().is_some_and(|first| first & 1 == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(sequence: u16) -> Received {
        Received {
            codec: Codec::Opus,
            sequence,
            timestamp: u32::from(sequence) * 960,
            is_last: false,
            payload: Bytes::from(sequence.to_be_bytes().to_vec()),
            level: None,
            arrival: Duration::ZERO,
        }
    }

    /// A part of picture `n`: the first one has the mark of a partition's start.
    fn part(sequence: u16, n: u32, is_first: bool, is_last: bool) -> Received {
        let descriptor = if is_first { 0x10 } else { 0 };
        Received {
            codec: Codec::Vp8,
            timestamp: n * 3000,
            is_last,
            payload: Bytes::from(vec![descriptor, 0, 1, 2]),
            ..sound(sequence)
        }
    }

    fn numbers(frames: &[Frame]) -> Vec<u64> {
        frames.iter().map(|frame| frame.sequence.unwrap() % (1 << 16)).collect()
    }

    #[test]
    fn sound_comes_out_as_it_comes_and_what_was_overtaken_too() {
        let mut assembly = Assembly::default();
        let out: Vec<_> =
            [10, 12, 11, 13].into_iter().flat_map(|n| assembly.push(sound(n))).collect();
        assert_eq!(numbers(&out), [10, 12, 11, 13]);
        let contiguous: Vec<_> = out.iter().map(|frame| frame.contiguous).collect();
        assert_eq!(contiguous, [true, false, false, true]);
        assert!(out.windows(2).all(|two| two[0].timestamp != two[1].timestamp));
        (14..60).for_each(|n| drop(assembly.push(sound(n))));
        assert_eq!(assembly.lost, 0);
    }

    #[test]
    fn what_is_missing_too_long_is_lost_and_said_so() {
        let mut assembly = Assembly::default();
        let out: Vec<_> =
            [1].into_iter().chain(3..30).flat_map(|n| assembly.push(sound(n))).collect();
        assert_eq!(out.iter().filter(|frame| !frame.contiguous).count(), 1);
        assert!(!out[1].contiguous);
        assert_eq!(assembly.lost, 1);
    }

    #[test]
    fn numbers_and_stamps_go_on_when_they_wrap() {
        let mut assembly = Assembly::default();
        let mut out = Vec::new();
        for n in 65_530..65_550_u32 {
            let mut packet = sound(n as u16);
            packet.timestamp = u32::MAX.wrapping_sub(4 * 960).wrapping_add((n - 65_530) * 960);
            out.extend(assembly.push(packet));
        }
        assert_eq!(out.len(), 20);
        assert!(out.windows(2).all(|two| two[1].sequence.unwrap() == two[0].sequence.unwrap() + 1));
        assert!(out.windows(2).all(|two| two[1].timestamp == two[0].timestamp + 960));
    }

    #[test]
    fn a_picture_is_whole_or_not_there() {
        let mut assembly = Assembly::default();
        let mut out = Vec::new();
        for packet in [part(1, 1, true, false), part(2, 1, false, true), part(3, 2, true, false)] {
            out.extend(assembly.push(packet));
        }
        assert_eq!((out.len(), out[0].data.len(), out[0].key_frame), (1, 6, true));
        // The end of picture 2 (number 4) never comes.
        for n in 5..100_u16 {
            out.extend(assembly.push(part(n, u32::from(n), true, true)));
        }
        assert_eq!(numbers(&out)[..3], [1, 5, 6]);
        assert_eq!(out.iter().filter(|frame| !frame.contiguous).count(), 1);
    }

    #[test]
    fn padding_breaks_nothing_and_never_piles_up() {
        let mut assembly = Assembly::default();
        let padding =
            |sequence| Received { payload: Bytes::new(), ..part(sequence, 1, false, false) };
        let mut out = Vec::new();
        for packet in [
            part(1, 1, true, true),
            padding(2),
            part(3, 2, true, false),
            padding(4),
            part(5, 2, false, true),
        ] {
            out.extend(assembly.push(packet));
        }
        assert_eq!(out.len(), 2);
        assert!(out.iter().all(|frame| frame.contiguous), "nothing was lost");
        for n in 6..20_000 {
            assert!(assembly.push(padding(n)).is_empty());
        }
        assert_eq!(assembly.parts.len(), 0);
    }

    #[test]
    fn a_frame_without_an_end_is_given_up() {
        let mut assembly = Assembly::default();
        let first = part(1, 1, true, false);
        assembly.push(first);
        for n in 2..20_000 {
            assert!(assembly.push(part(n, 1, false, false)).is_empty());
            assert!(assembly.parts.len() <= MAX_PARTS);
        }
        let next = assembly.push(part(20_000, 2, true, true));
        assert_eq!((next.len(), next[0].contiguous), (1, false));
    }

    /// Correction K.
    #[test]
    fn an_aggregate_that_ends_in_half_a_length_is_no_frame() {
        let mut assembly = Assembly::default();
        let of = |sequence, payload: &[u8]| Received {
            codec: Codec::H264,
            payload: Bytes::copy_from_slice(payload),
            ..part(sequence, u32::from(sequence), true, true)
        };
        assert!(assembly.push(of(1, &[24, 0, 0, 0])).is_empty());
        assert!(assembly.push(of(2, &[24, 0, 1, 0x65, 9])).is_empty());
        let whole = assembly.push(of(3, &[24, 0, 2, 0x65, 7, 0, 1, 9]));
        assert_eq!(whole[0].data, [0, 0, 0, 1, 0x65, 7, 0, 0, 0, 1, 9]);
        assert!(whole[0].key_frame);
        let mut random = fastrand::Rng::with_seed(1);
        for n in 4..40_000 {
            let payload: Vec<u8> = (0..random.usize(1..40)).map(|_| random.u8(..)).collect();
            let head = [24, 28, payload[0]][random.usize(..3)];
            assembly.push(of(n, &[&[head][..], &payload[1..]].concat()));
        }
    }

    /// Correction J.
    #[test]
    fn the_last_packet_of_a_picture_may_have_one_byte() {
        let mut assembly = Assembly::default();
        let last = Received { payload: Bytes::from_static(&[0, 9]), ..part(2, 1, false, true) };
        assert!(assembly.push(part(1, 1, true, false)).is_empty());
        assert_eq!(assembly.push(last)[0].data, [0, 1, 2, 9]);
        let nothing =
            Received { payload: Bytes::from_static(&[0x80, 0x80]), ..part(3, 2, true, true) };
        assert!(assembly.push(nothing).is_empty());
    }

    #[test]
    fn a_source_that_begins_anew_is_followed_and_garbage_makes_no_frame() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.push(sound(10)).len(), 1);
        let anew = assembly.push(sound(40_000));
        assert_eq!((anew.len(), anew[0].contiguous), (1, false));
        let empty = Received { payload: Bytes::new(), ..sound(40_001) };
        assert!(assembly.push(empty).is_empty());
        let short =
            Received { payload: Bytes::from_static(&[0xff]), ..part(40_002, 1, true, true) };
        assert!(assembly.push(short).is_empty());
        assert_eq!(assembly.push(sound(40_003)).len(), 1);
    }
}
