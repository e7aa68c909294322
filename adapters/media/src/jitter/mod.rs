//! The jitter buffer: packets of one remote track come when they come, sound goes out steadily.
//!
//! ```text
//!  push(packet) -> packets, by time stamp -> decoder -> sound (a few ms) -> pull(10 ms)
//!                    |                        ^  what is missing: correction in the next packet,
//!                    v                        |  else concealed by the codec
//!                  Delay: how long to wait -> Stretch: shorter or longer by one period of the voice
//! ```
//!
//! A value without clock or thread: who calls says what time it is. What it does, by the cases:
//!
//! * **A packet is missing and a later one is there**: it is lost. The last 20 ms of a gap come from the
//!   correction that the later packet carries (Opus in-band FEC), what is before it is concealed.
//! * **Nothing is there**: sound is made up, and it is remembered how much, but the place in the stream does
//!   not move. If the packet was late it is played then, and the wait has grown by itself; if it turns
//!   out to be lost, what was made up has paid for it.
//! * **The next packet by its number is later in time**: the sender was silent (DTX). Nothing is
//!   missing, and the wait may be set anew, for in silence nobody hears it.
//! * **It plays later or earlier than it should**: the sound is made shorter or longer by a period of
//!   the voice. That also takes up the difference of both sides' clocks.
//!
//! What it does to speech is measured in `tests/jitter.rs`.

mod clock;
mod delay;
mod stats;
mod stretch;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use matrix_voip::host::{Codec, Frame};

pub use self::stats::JitterStats;
use self::{
    clock::{Samples, duration, media_time, millis, samples},
    delay::Delay,
    stretch::{Care, lengthen, shorten},
};
use crate::audio::{
    opus::{CONCEAL_STEP, Decoder, MAX_PACKET_BYTES, MAX_PACKET_SAMPLES, has_correction},
    sound::FRAME_SAMPLES,
};

/// Most packets that wait to be played: two seconds. Beyond it the oldest go.
pub const MAX_PACKETS: usize = 100;

/// How many played packets are remembered: more than a second.
const REMEMBERED: usize = 64;

/// Longest time that is made up in one piece: one second. After it there is silence until packets
/// come, and what was lost meanwhile stays lost.
pub const MAX_MADE_UP: Duration = Duration::from_secs(1);

/// A time stamp that is farther from the last ones is not believed, unless others agree.
const MAX_JUMP: Samples = millis(3_000);

/// Nor one that is so much farther ahead than time has passed.
const MAX_AHEAD: Samples = millis(1_000);

/// So many packets in a row that agree are a new beginning.
const AGREE: u32 = 3;

/// Sound that is made up at a time while nothing is there: 10 ms.
const STEP: usize = 480;

/// How much later than wanted is borne: 4 ms.
const TOO_LATE: Samples = millis(4);

/// How much earlier than wanted is borne: 10 ms.
const TOO_EARLY: Samples = millis(10);

/// Beyond twice the wait and this much the delay has to go, heard or not.
const FAR_TOO_LATE: Samples = millis(40);

/// Time between two changes of length, and where the delay has to go.
const REST: Samples = millis(60);
const SHORT_REST: Samples = millis(20);

/// A packet that waits.
#[derive(Debug)]
struct Packet {
    sequence: Option<u64>,
    data: Vec<u8>,
}

/// What follows what was decoded last.
#[derive(Debug, Clone, Copy)]
struct Next {
    timestamp: Samples,
    /// `None`: after something lost, or where the engine tells no numbers.
    sequence: Option<u64>,
}

impl Next {
    /// Whether a packet of that time stamp comes too late. One that is off by less than the shortest packet
    /// does not: some senders' time stamps are not quite the length of their packets.
    fn is_after(self, timestamp: Samples) -> bool {
        timestamp + CONCEAL_STEP as Samples <= self.timestamp
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until the first packet is due: at the beginning, and after each silence.
    Waiting,
    Playing,
}

/// Makes steady sound of the packets of one remote track.
#[derive(Debug)]
pub struct JitterBuffer {
    decoder: Decoder,
    delay: Delay,
    packets: BTreeMap<Samples, Packet>,
    /// The time stamps of the last ones that were decoded: what comes again with one of them was not late.
    played: VecDeque<Samples>,
    /// Decoded and not played yet.
    sound: VecDeque<f32>,
    next: Option<Next>,
    phase: Phase,
    /// How long the last packet was.
    packet: usize,
    /// Samples made up of which it is not known yet in place of what.
    unexplained: usize,
    /// The latest time stamp and when it came, and how many in a row were far from it.
    newest: Option<(Samples, Samples)>,
    jumps: u32,
    /// When the length was changed last.
    changed: Option<Samples>,
    stats: JitterStats,
}

impl JitterBuffer {
    /// A buffer for a track of which nothing was heard yet.
    pub fn new() -> Self {
        let decoder = Decoder::new().expect("invariant: ropus takes 48 kHz, one channel");
        Self {
            decoder,
            delay: Delay::new(),
            packets: BTreeMap::new(),
            played: VecDeque::with_capacity(REMEMBERED),
            sound: VecDeque::new(),
            next: None,
            phase: Phase::Waiting,
            packet: FRAME_SAMPLES,
            unexplained: 0,
            newest: None,
            jumps: 0,
            changed: None,
            stats: JitterStats::default(),
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> JitterStats {
        JitterStats { target: duration(self.delay.wait()), ..self.stats }
    }

    /// A packet came at `arrival`, on the same clock as `now` of [`pull`](Self::pull). Packets may come in
    /// any order and more than once; nothing is decoded here.
    pub fn push(&mut self, arrival: Duration, frame: &Frame) {
        let is_sound = frame.codec == Codec::Opus && !frame.data.is_empty();
        if !is_sound || frame.data.len() > MAX_PACKET_BYTES {
            self.stats.strange += 1;
            return;
        }
        let timestamp = media_time(frame.timestamp);
        let arrival = samples(arrival);
        if !self.believes(timestamp, arrival) {
            self.stats.strange += 1;
            return;
        }
        if self.played.contains(&timestamp) || self.packets.contains_key(&timestamp) {
            self.stats.duplicates += 1;
            return;
        }
        self.newest = self.newest.max(Some((timestamp, arrival)));
        self.delay.saw(timestamp, arrival);
        if self.next.is_some_and(|next| next.is_after(timestamp)) {
            self.stats.late += 1;
            return;
        }
        let packet = Packet { sequence: frame.sequence, data: frame.data.clone() };
        self.packets.insert(timestamp, packet);
        if self.packets.len() > MAX_PACKETS {
            self.packets.pop_first();
            self.stats.overrun += 1;
        }
    }

    /// The next sound to be played at `now`: as much as there is room for in `out`.
    pub fn pull(&mut self, now: Duration, out: &mut [f32]) {
        let now = samples(now);
        if self.phase == Phase::Waiting {
            self.begin(now);
        }
        while self.sound.len() < out.len() {
            match self.phase {
                Phase::Waiting => self.wait(),
                Phase::Playing => self.decode_more(),
            }
        }
        if self.phase == Phase::Playing {
            self.keep_time(now);
        }
        self.stats.played += out.len() as u64;
        let ready = self.sound.drain(..out.len());
        out.iter_mut().zip(ready).for_each(|(out, sample)| *out = sample);
    }

    /// Whether a time stamp can be of this stream. One that is far from the others is not, until a few in
    /// a row are: then the sender has begun anew, and so does the buffer.
    fn believes(&mut self, timestamp: Samples, arrival: Samples) -> bool {
        let Some((newest, came)) = self.newest else { return true };
        let passed = (arrival - came).max(0) + MAX_AHEAD;
        let is_idle = self.phase == Phase::Waiting && self.packets.is_empty();
        // After an outage, or a silence, of whatever length it goes on where time is.
        let farthest = if is_idle { passed } else { MAX_JUMP.min(passed) };
        if (-MAX_JUMP..=farthest).contains(&(timestamp - newest)) {
            self.jumps = 0;
            return true;
        }
        self.jumps += 1;
        if !is_idle && self.jumps < AGREE {
            return false;
        }
        self.packets.clear();
        (self.next, self.newest, self.phase, self.jumps) = (None, None, Phase::Waiting, 0);
        self.delay = Delay::new();
        true
    }

    /// Plays from the first packet on, when that is due.
    fn begin(&mut self, now: Samples) {
        let Some((timestamp, packet)) = self.packets.first_key_value() else { return };
        if self.delay.due(*timestamp).is_some_and(|due| due > now) {
            return;
        }
        let pause = match self.next {
            None => usize::MAX,
            Some(next) => pause(next, *timestamp, packet, self.packet).unwrap_or(0),
        };
        let next = Next { timestamp: *timestamp, sequence: packet.sequence };
        self.explain(pause);
        (self.next, self.phase) = (Some(next), Phase::Playing);
    }

    /// Nothing is due yet: what the codec makes of silence, for a while.
    fn wait(&mut self) {
        if self.unexplained > samples(MAX_MADE_UP) as usize {
            self.sound.extend([0.0; STEP]);
            self.unexplained += STEP;
            return;
        }
        self.make_up();
    }

    /// The next packet, or what stands in for it. Adds sound, or goes back to waiting.
    fn decode_more(&mut self) {
        let Some(next) = self.next else { return self.phase = Phase::Waiting };
        while self.packets.first_key_value().is_some_and(|(first, _)| next.is_after(*first)) {
            self.packets.pop_first();
            self.stats.late += 1;
        }
        let Some((timestamp, packet)) = self.packets.first_key_value() else {
            return self.nothing_there();
        };
        let gap = timestamp - next.timestamp;
        // Nor is a sender silent between such time stamps.
        if gap < CONCEAL_STEP as Samples {
            self.explain(0);
            self.play_first();
        } else if pause(next, *timestamp, packet, self.packet).is_some_and(|pause| pause > 0) {
            self.phase = Phase::Waiting;
        } else if gap > self.unexplained as Samples && gap <= samples(MAX_MADE_UP) {
            self.bridge(next, gap as usize);
        } else {
            self.explain(0);
            self.play_first();
        }
    }

    fn nothing_there(&mut self) {
        if self.unexplained > samples(MAX_MADE_UP) as usize {
            self.phase = Phase::Waiting;
        } else {
            self.make_up();
        }
    }

    /// Something before the first packet is lost: the last of it is recovered from that packet, what is
    /// before is concealed. What was made up already has paid for a part.
    fn bridge(&mut self, next: Next, gap: usize) {
        let left = gap - self.unexplained;
        self.explain(0);
        let timestamp = next.timestamp + (gap - left) as Samples;
        let made = if left <= self.packet {
            self.recover(left.max(CONCEAL_STEP));
            left
        } else {
            let made = self.packet.min(left - self.packet).max(CONCEAL_STEP);
            self.conceal(made);
            self.stats.concealed += made as u64;
            made
        };
        // Whole packets keep the count.
        let done = gap - left + made;
        let sequence = next.sequence.filter(|_| done.is_multiple_of(self.packet));
        let sequence =
            sequence.map(|sequence| sequence.saturating_add((done / self.packet) as u64));
        self.next = Some(Next { timestamp: timestamp + made as Samples, sequence });
    }

    fn recover(&mut self, samples: usize) {
        let Some((_, packet)) = self.packets.first_key_value() else { return };
        // As long as a packet, also where half of it was made up already: what is said twice makes the delay
        // grow by that half, and the next time less has to be made up. Cut to what is missing, delay fell by
        // 9 ms and twice as much was concealed (10 % lost, `tests/jitter.rs`).
        let whole = samples.max(self.packet);
        if has_correction(&packet.data)
            && let Ok(made) = self.decoder.recover(&packet.data, whole)
        {
            self.stats.recovered += made.len() as u64;
            self.sound.extend(made);
        } else {
            self.conceal(samples);
            self.stats.concealed += samples as u64;
        }
    }

    fn play_first(&mut self) {
        let Some((timestamp, packet)) = self.packets.pop_first() else { return };
        match self.decoder.decode(&packet.data) {
            Ok(made) => {
                self.packet = made.len().clamp(CONCEAL_STEP, MAX_PACKET_SAMPLES);
                self.stats.decoded += made.len() as u64;
                self.sound.extend(made);
            }
            Err(error) => {
                tracing::debug!(%error, "a packet concealed");
                self.conceal(self.packet);
                self.stats.broken += 1;
                self.stats.concealed += self.packet as u64;
            }
        }
        if self.played.len() == REMEMBERED {
            self.played.pop_front();
        }
        self.played.push_back(timestamp);
        let timestamp = timestamp + self.packet as Samples;
        let sequence = packet.sequence.map(|sequence| sequence.saturating_add(1));
        self.next = Some(Next { timestamp, sequence });
    }

    /// Sound in place of something of which it is not known yet what it is.
    fn make_up(&mut self) {
        self.conceal(STEP);
        self.unexplained += STEP;
    }

    /// At most so much of what was made up stood for the sender's silence; the rest for packets that
    /// were lost or late.
    fn explain(&mut self, pause: usize) {
        let made_up = std::mem::take(&mut self.unexplained);
        let pause = made_up.min(pause);
        self.stats.concealed += (made_up - pause) as u64;
        self.stats.pauses += pause as u64;
    }

    /// Exactly so many samples out of what was before; silence where the codec cannot.
    fn conceal(&mut self, samples: usize) {
        let end = self.sound.len() + samples;
        while self.sound.len() + CONCEAL_STEP <= end {
            match self.decoder.conceal((end - self.sound.len()).min(FRAME_SAMPLES)) {
                Ok(made) if !made.is_empty() => self.sound.extend(made),
                _ => break,
            }
        }
        self.sound.resize(end, 0.0);
    }

    /// Makes the sound shorter or longer where it is played too late or too early. What is made up has
    /// no time of its own.
    fn keep_time(&mut self, now: Samples) {
        if self.unexplained > 0 {
            return;
        }
        let Some(delay) = self.played_after(now) else { return };
        self.stats.delay = duration(delay);
        let wait = self.delay.wait();
        let is_far = delay > 2 * wait + FAR_TOO_LATE;
        let rest = if is_far { SHORT_REST } else { REST };
        if self.changed.is_some_and(|changed| (now - changed).abs() < rest) {
            return;
        }
        let care = if is_far { Care::Forced } else { Care::Unheard };
        let by = if delay > wait + TOO_LATE {
            self.have_enough_to_stretch();
            let by = shorten(&mut self.sound, care);
            self.stats.shortened += by.unwrap_or(0) as u64;
            by
        } else if delay < wait - TOO_EARLY {
            self.have_enough_to_stretch();
            let by = lengthen(&mut self.sound);
            self.stats.lengthened += by.unwrap_or(0) as u64;
            by
        } else {
            None
        };
        if by.is_some() {
            self.changed = Some(now);
        }
    }

    /// How long the sound that is next has waited at `now`, against the fastest packet.
    fn played_after(&self, now: Samples) -> Option<Samples> {
        let timestamp = self.next?.timestamp - self.sound.len() as Samples;
        let due = self.delay.due(timestamp)?;
        Some((now - due + self.delay.wait()).max(0))
    }

    fn have_enough_to_stretch(&mut self) {
        while self.sound.len() < stretch::NEEDED
            && !self.packets.is_empty()
            && self.phase == Phase::Playing
        {
            self.decode_more();
        }
    }
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// For how many samples the sender was silent before this packet: the time between, less what the packets
/// held that are missing by their numbers. `None`: the engine tells no numbers, or there is no telling since
/// something was concealed in part.
fn pause(next: Next, timestamp: Samples, packet: &Packet, length: usize) -> Option<usize> {
    let missing = packet.sequence?.checked_sub(next.sequence?)?;
    let lost = usize::try_from(missing).ok()?.saturating_mul(length);
    let gap = usize::try_from(timestamp - next.timestamp).unwrap_or(0);
    Some(gap.saturating_sub(lost))
}

#[cfg(test)]
mod tests;
