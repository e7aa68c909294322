//! [`AudioCore`]: one microphone and one loudspeaker, in calls with one or several others.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use matrix_voip::host::{Frame, SourceControl};

use super::{
    STEP_SAMPLES,
    cleaner::{Cleaner, CleanerOptions},
    limiter::Limiter,
};
use crate::{
    audio::{
        level::Level,
        opus::{Encoder, OpusOptions},
        sound::{FRAME_SAMPLES, SAMPLE_RATE, Sample},
    },
    error::CodecError,
    jitter::{JitterBuffer, JitterStats},
};

/// Most recorded sound that is taken at a time: 200 ms. Of more the oldest goes; somebody slept.
pub const MAX_RECORDED: usize = SAMPLE_RATE as usize / 5;

/// Longest time that is believed to be lost at once: a minute. Of more it is the device that is wrong.
const MAX_LOST: u64 = 60 * SAMPLE_RATE as u64;

/// Most packets that wait to be taken: 200 ms.
pub const MAX_READY: usize = 10;

/// Most voices at once: as many as a call has participants.
pub const MAX_VOICES: usize = 64;

/// The loudest that a voice can be made: twice as loud as it is.
pub const MAX_VOLUME: f32 = 2.0;

/// What is done with sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AudioOptions {
    /// What is done to the microphone's sound.
    pub clean: CleanerOptions,
    /// How it is encoded.
    pub opus: OpusOptions,
}

/// One voice of an [`AudioCore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoiceId(u64);

/// There are [`MAX_VOICES`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_VOICES} voices at once")]
pub struct TooManyVoices;

/// How somebody is heard.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct VoiceReport {
    /// How loud he is made, 1 as he is.
    pub volume: f32,
    /// Whether he is not to be heard here.
    pub is_muted: bool,
    /// How loud he spoke in the last 10 ms, whatever the volume.
    pub level: Level,
    /// What became of his packets.
    pub stats: JitterStats,
}

/// What became of the microphone's sound. Counters never go back.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct CaptureStats {
    /// How loud the last 10 ms were, as they were sent.
    pub level: Level,
    /// Samples recorded.
    pub recorded: u64,
    /// Samples that were not sent, since too many came at once, or nobody came to read them.
    pub dropped: u64,
    /// Packets that nobody took in time.
    pub untaken: u64,
}

#[derive(Debug)]
struct Person {
    jitter: JitterBuffer,
    volume: f32,
    is_muted: bool,
    level: Level,
}

/// The sound of one person in all calls. See the [module](super).
#[derive(Debug)]
pub struct AudioCore {
    cleaner: Cleaner,
    encoder: Encoder,
    /// Recorded, and not cleaned yet.
    recorded: VecDeque<f32>,
    /// Cleaned, and less than a packet.
    cleaned: Vec<f32>,
    is_muted: bool,
    /// The time stamp of the next packet: how much was recorded before.
    position: u64,
    packets: VecDeque<Frame>,
    capture: CaptureStats,
    people: BTreeMap<VoiceId, Person>,
    next: u64,
    limiter: Limiter,
}

impl AudioCore {
    /// Without voices, and not muted.
    ///
    /// # Errors
    /// [`CodecError::Opus`] when the codec refuses its own settings, which it never did.
    pub fn new(options: AudioOptions) -> Result<Self, CodecError> {
        Ok(Self {
            cleaner: Cleaner::new(options.clean),
            encoder: Encoder::with(options.opus)?,
            recorded: VecDeque::new(),
            cleaned: Vec::with_capacity(FRAME_SAMPLES),
            is_muted: false,
            position: 0,
            packets: VecDeque::new(),
            capture: CaptureStats::default(),
            people: BTreeMap::new(),
            next: 0,
            limiter: Limiter::new(),
        })
    }

    /// What the microphone recorded, of any length: 48 kHz, one channel.
    pub fn push_capture(&mut self, sound: &[f32]) {
        self.capture.recorded += sound.len() as u64;
        let excess = sound.len().saturating_sub(MAX_RECORDED);
        // What is dropped took its time all the same.
        self.position += excess as u64;
        self.capture.dropped += excess as u64;
        self.recorded.extend(sound[excess..].iter().map(|sample| sample.to_f32()));
        while self.recorded.len() >= STEP_SAMPLES {
            let mut step = [0.0; STEP_SAMPLES];
            step.iter_mut()
                .zip(self.recorded.drain(..STEP_SAMPLES))
                .for_each(|(to, from)| *to = from);
            self.record(step);
        }
    }

    /// So many samples were recorded and lost before anybody could push them: their time passes all the same, of
    /// [`MAX_LOST`] at most.
    pub(super) fn lose_capture(&mut self, samples: u64) {
        self.position += samples.min(MAX_LOST);
    }

    /// The microphone was closed: what is left of it, less than a packet, is not sent when it is opened
    /// again, which is for another call.
    pub(super) fn forget_capture(&mut self) {
        self.position += (self.recorded.len() + self.cleaned.len()) as u64;
        self.recorded.clear();
        self.cleaned.clear();
        self.packets.clear();
        // The canceller holds 9 ms back and the suppressor 6; the next packet would carry a correction for the
        // last one, and the encoder's delay.
        for _ in 0..2 {
            self.cleaner.clean(&mut [0.0; STEP_SAMPLES]);
        }
        for _ in 0..2 {
            drop(self.encoder.encode(&[0.0; FRAME_SAMPLES]));
        }
    }

    /// The next packet to be sent, of 20 ms.
    pub fn poll_packet(&mut self) -> Option<Frame> {
        self.packets.pop_front()
    }

    /// What becomes of the microphone's packets on the way: muted or not, the way's width, its loss.
    pub fn control(&mut self, control: SourceControl) {
        match control {
            SourceControl::Enabled(on) => self.is_muted = !on,
            SourceControl::Bitrate(limit) => self.encoder.limit_bitrate(limit),
            SourceControl::Loss(share) => self.encoder.expect_loss(share),
            _ => {}
        }
    }

    /// What became of the microphone's sound.
    pub fn capture(&self) -> CaptureStats {
        self.capture
    }

    /// Somebody else is to be heard.
    ///
    /// # Errors
    /// [`TooManyVoices`]: it is to be tried again when somebody has left.
    pub fn add(&mut self) -> Result<VoiceId, TooManyVoices> {
        if self.people.len() >= MAX_VOICES {
            return Err(TooManyVoices);
        }
        let id = VoiceId(self.next);
        self.next += 1;
        let person = Person {
            jitter: JitterBuffer::new(),
            volume: 1.0,
            is_muted: false,
            level: Level::default(),
        };
        self.people.insert(id, person);
        Ok(id)
    }

    /// He has left.
    pub fn remove(&mut self, voice: VoiceId) {
        self.people.remove(&voice);
    }

    /// How somebody is heard. `None`: he has left.
    pub fn voice(&self, voice: VoiceId) -> Option<VoiceReport> {
        let Person { jitter, volume, is_muted, level } = self.people.get(&voice)?;
        let (volume, is_muted, level) = (*volume, *is_muted, *level);
        Some(VoiceReport { volume, is_muted, level, stats: jitter.stats() })
    }

    /// Makes somebody louder or softer: 1 as he is, at most [`MAX_VOLUME`].
    pub fn set_volume(&mut self, voice: VoiceId, volume: f32) {
        if let Some(person) = self.people.get_mut(&voice)
            && volume.is_finite()
        {
            person.volume = volume.clamp(0.0, MAX_VOLUME);
        }
    }

    /// Whether somebody is not to be heard here. His packets are taken all the same.
    pub fn set_muted(&mut self, voice: VoiceId, is_muted: bool) {
        if let Some(person) = self.people.get_mut(&voice) {
            person.is_muted = is_muted;
        }
    }

    /// A packet came at `arrival`, a time on the clock of [`pull_playout`](Self::pull_playout).
    pub fn push_packet(&mut self, arrival: Duration, voice: VoiceId, frame: &Frame) {
        if let Some(person) = self.people.get_mut(&voice) {
            person.jitter.push(arrival, frame);
        }
    }

    /// The next 10 ms to be played at `now`.
    pub fn pull_playout(&mut self, now: Duration, out: &mut [f32; STEP_SAMPLES]) {
        out.fill(0.0);
        for person in self.people.values_mut() {
            let mut sound = [0.0; STEP_SAMPLES];
            person.jitter.pull(now, &mut sound);
            person.level = Level::of(&sound);
            if !person.is_muted {
                out.iter_mut().zip(sound).for_each(|(sum, sample)| *sum += sample * person.volume);
            }
        }
        self.limiter.limit(out);
        self.cleaner.plays(out);
    }

    /// One step of the microphone; every other one makes a packet.
    fn record(&mut self, mut step: [f32; STEP_SAMPLES]) {
        self.cleaner.clean(&mut step);
        if self.is_muted {
            step.fill(0.0);
        }
        self.capture.level = Level::of(&step);
        self.cleaned.extend_from_slice(&step);
        let Some(packet) = self.cleaned.first_chunk::<FRAME_SAMPLES>() else { return };
        let frame = self.encoder.frame(packet, self.position);
        self.cleaned.clear();
        self.position += FRAME_SAMPLES as u64;
        if let Some(frame) = frame {
            self.queue(frame);
        }
    }

    fn queue(&mut self, frame: Frame) {
        if self.packets.len() == MAX_READY {
            self.packets.pop_front();
            self.capture.untaken += 1;
        }
        self.packets.push_back(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tone, talk::CleanerOptions};

    /// The canceller and the suppressor hold back the last of what was said: it is for no other call.
    #[test]
    fn what_was_said_in_one_call_is_not_in_the_first_packet_of_the_next() {
        for clean in [CleanerOptions::NOTHING, CleanerOptions::PERSON] {
            let mut core =
                AudioCore::new(AudioOptions { clean, ..AudioOptions::default() }).unwrap();
            let mut said: Vec<f32> = Tone::new(440.0, 0.3).take(48_000 / 2 + 700).collect();
            core.push_capture(&said);
            let last = std::iter::from_fn(|| core.poll_packet()).last().unwrap();
            let before = last.audio_level.unwrap();
            assert!(before > -40, "{clean:?}: {before}");
            core.forget_capture();
            said.fill(0.0);
            core.push_capture(&said[..960]);
            let first = core.poll_packet().unwrap();
            let first = first.audio_level.unwrap();
            assert!(first < before - 30, "{clean:?}: {before}, then {first}");
        }
    }
}
