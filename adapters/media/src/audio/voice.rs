//! From sound to Opus frames: anything that gives PCM becomes a script.
//!
//! [`Pcm`] gives 20 ms at a time; [`Voice`] encodes them. A muted voice goes on as silence, so
//! that the time stamps go on and the other side hears no click when it is unmuted.

use matrix_voip::host::{Codec, SourceControl};

use super::{
    opus::{Encoder, OpusOptions},
    sound::FRAME_SAMPLES,
};
use crate::source::{Made, Paced, Script};

/// What became of a request for 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The frame holds sound.
    Frame,
    /// There is no more; the frame is not to be used.
    Over,
}

/// Gives sound, 20 ms at a time. Knows no clock.
pub trait Pcm: Send + 'static {
    /// Fills the next 20 ms. Must not block for long.
    fn fill(&mut self, out: &mut [f32; FRAME_SAMPLES]) -> Filled;

    /// The source of this sound: Opus, on the clock.
    fn source(self) -> Paced<Voice<Self>>
    where
        Self: Sized,
    {
        Voice::new(self).paced()
    }
}

/// Encodes what a [`Pcm`] gives.
#[derive(Debug)]
pub struct Voice<P> {
    pcm: P,
    encoder: Encoder,
    position: u64,
    muted: bool,
    over: bool,
}

impl<P: Pcm> Voice<P> {
    /// A script of Opus frames with their audio levels.
    pub fn new(pcm: P) -> Self {
        Self::with(pcm, OpusOptions::default())
    }

    /// The same, encoded in another way.
    pub fn with(pcm: P, options: OpusOptions) -> Self {
        let encoder = Encoder::with(options).expect("invariant: ropus takes 48 kHz, one channel");
        Self { pcm, encoder, position: 0, muted: false, over: false }
    }
}

impl<P: Pcm> Script for Voice<P> {
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    fn due(&mut self) -> Option<u64> {
        (!self.over).then_some(self.position)
    }

    fn make(&mut self) -> Made {
        let mut sound = [0.0; FRAME_SAMPLES];
        if self.pcm.fill(&mut sound) == Filled::Over {
            self.over = true;
            return Made::Skipped;
        }
        if self.muted {
            sound.fill(0.0);
        }
        let timestamp = self.position;
        self.position += FRAME_SAMPLES as u64;
        self.encoder.frame(&sound, timestamp).map_or(Made::Skipped, Made::Frame)
    }

    fn control(&mut self, control: SourceControl) {
        match control {
            SourceControl::Enabled(on) => self.muted = !on,
            SourceControl::Bitrate(limit) => self.encoder.limit_bitrate(limit),
            SourceControl::Loss(share) => self.encoder.expect_loss(share),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{level::Level, tone::Tone, track::TrackDecoder};

    fn heard(voice: &mut Voice<Tone>, frames: usize) -> Level {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        for _ in 0..frames {
            if let Made::Frame(frame) = voice.make() {
                decoder.push(&frame, &mut sound);
            }
        }
        Level::of(&sound)
    }

    #[test]
    fn a_muted_voice_goes_on_as_silence() {
        let mut voice = Voice::new(Tone::new(440.0, 0.5));
        assert!(heard(&mut voice, 25).rms > 0.2);
        voice.control(SourceControl::Enabled(false));
        heard(&mut voice, 5);
        assert!(heard(&mut voice, 25).rms < 0.001);
        assert_eq!(voice.due(), Some(55 * 960), "time goes on");
        voice.control(SourceControl::Enabled(true));
        assert!(heard(&mut voice, 25).rms > 0.2);
    }

    #[test]
    fn frames_carry_their_level() {
        let mut voice = Voice::new(Tone::new(440.0, 0.1));
        let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
        assert_eq!(frame.audio_level, Some(-23));
    }
}
