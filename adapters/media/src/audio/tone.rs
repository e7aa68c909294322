//! Sound made from nothing: a sine, and silence.

use std::f64::consts::TAU;

use super::{
    sound::{FRAME_SAMPLES, SAMPLE_RATE},
    voice::{Filled, Pcm},
};

/// A sine of one frequency that goes on for ever.
#[derive(Debug, Clone)]
pub struct Tone {
    step: f64,
    phase: f64,
    level: f32,
}

impl Tone {
    /// A sine of `hz` and amplitude `level` (0 to 1; brought into that range).
    pub fn new(hz: f32, level: f32) -> Self {
        let step = TAU * f64::from(hz) / f64::from(SAMPLE_RATE);
        Self { step, phase: 0.0, level: level.clamp(0.0, 1.0) }
    }
}

impl Iterator for Tone {
    type Item = f32;

    /// The next sample; never `None`.
    fn next(&mut self) -> Option<f32> {
        let sample = self.phase.sin() as f32 * self.level;
        self.phase = (self.phase + self.step) % TAU;
        Some(sample)
    }
}

impl Pcm for Tone {
    fn fill(&mut self, out: &mut [f32; FRAME_SAMPLES]) -> Filled {
        for (sample, value) in out.iter_mut().zip(self) {
            *sample = value;
        }
        Filled::Frame
    }
}

/// Silence that goes on for ever: packets flow, nothing is heard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silence;

impl Pcm for Silence {
    fn fill(&mut self, out: &mut [f32; FRAME_SAMPLES]) -> Filled {
        out.fill(0.0);
        Filled::Frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level::Level;

    #[test]
    fn a_tone_has_the_level_and_the_period_it_was_given() {
        let samples: Vec<f32> = Tone::new(480.0, 0.5).take(4800).collect();
        let level = Level::of(&samples);
        assert!((level.rms - 0.5 / 2.0_f32.sqrt()).abs() < 1e-4);
        assert!((level.peak - 0.5).abs() < 1e-4);
        assert!((samples[17] - samples[117]).abs() < 1e-4);
    }
}
