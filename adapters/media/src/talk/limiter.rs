//! Keeps the sum of several voices within what can be played, without a click and almost without being
//! heard: the gain falls before a peak, and comes back within half a second.

use super::STEP_SAMPLES;

/// The loudest that comes out.
const CEILING: f32 = 0.95;

/// The gain comes back by so much with each step of 10 ms: 12 dB in half a second.
const RELEASE: f32 = 1.028;

/// The gain changes over so many samples: 2.5 ms.
const RAMP: usize = 120;

/// The gain between two steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limiter {
    gain: f32,
}

impl Limiter {
    pub(super) const fn new() -> Self {
        Self { gain: 1.0 }
    }

    /// Brings one step into range. What is no number becomes silence.
    pub(super) fn limit(&mut self, sound: &mut [f32; STEP_SAMPLES]) {
        sound.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        let peak = sound.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let bearable = if peak > CEILING { CEILING / peak } else { 1.0 };
        let (from, to) = (self.gain, (self.gain * RELEASE).min(bearable));
        for (at, sample) in sound.iter_mut().enumerate() {
            let share = at.min(RAMP) as f32 / RAMP as f32;
            // A peak within the ramp is louder than the gain allows for yet.
            *sample = (*sample * (from + (to - from) * share)).clamp(-CEILING, CEILING);
        }
        self.gain = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone::Tone;

    fn through(limiter: &mut Limiter, loudness: f32, steps: usize) -> Vec<f32> {
        let mut tone = Tone::new(500.0, 1.0);
        let mut all = Vec::new();
        for _ in 0..steps {
            let mut step = [0.0; STEP_SAMPLES];
            step.iter_mut().zip(&mut tone).for_each(|(sample, tone)| *sample = tone * loudness);
            limiter.limit(&mut step);
            all.extend_from_slice(&step);
        }
        all
    }

    fn peak(sound: &[f32]) -> f32 {
        sound.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
    }

    #[test]
    fn what_is_in_range_is_left_as_it_is() {
        let sound = through(&mut Limiter::new(), 0.9, 20);
        let tone: Vec<f32> =
            Tone::new(500.0, 1.0).take(sound.len()).map(|tone| tone * 0.9).collect();
        assert_eq!(sound, tone);
    }

    #[test]
    fn four_loud_voices_keep_their_wave_and_one_is_as_loud_as_ever_soon_after() {
        let mut limiter = Limiter::new();
        let loud = through(&mut limiter, 4.0, 50);
        assert!(peak(&loud) <= CEILING);
        // A wave that is cut off has many samples at the ceiling; one that is made softer has few.
        let cut = loud[4_800..].iter().filter(|sample| sample.abs() > CEILING * 0.999).count();
        assert!(cut * 20 < loud.len() - 4_800, "{cut} samples are cut");
        let soft = through(&mut limiter, 0.5, 60);
        assert!(peak(&soft[soft.len() - 960..]) > 0.49);
        assert!(peak(&soft[..480]) < 0.2, "the gain comes back slowly");
    }

    #[test]
    fn the_gain_changes_without_a_click_whether_it_falls_or_comes_back() {
        // Loud where a step begins, and slow enough that neighbouring samples hardly differ by themselves.
        let wave = |at: usize| (std::f32::consts::TAU * 50.0 * at as f32 / 48_000.0).cos();
        // It falls at once where the wave is at zero.
        let loudness = |at: usize| if at < 24_240 { 0.5 + at as f32 / 8_000.0 } else { 0.5 };
        let mut limiter = Limiter::new();
        let mut heard = Vec::new();
        for begin in (0..48_000).step_by(STEP_SAMPLES) {
            let mut step = [0.0; STEP_SAMPLES];
            for (at, sample) in (begin..).zip(&mut step) {
                *sample = wave(at) * loudness(at);
            }
            limiter.limit(&mut step);
            heard.extend_from_slice(&step);
        }
        let steepest = |sound: &[f32]| {
            sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
        };
        let (falls, comes_back) = (steepest(&heard[..24_000]), steepest(&heard[24_480..]));
        assert!(falls < 0.02, "{falls}");
        assert!(comes_back < 0.004, "{comes_back}");
        assert!(peak(&heard[47_000..]) > 0.49, "it did come back");
    }

    #[test]
    fn what_is_no_number_is_silence() {
        let mut step = [f32::NAN; STEP_SAMPLES];
        (step[3], step[4]) = (f32::INFINITY, 0.5);
        let mut limiter = Limiter::new();
        limiter.limit(&mut step);
        assert_eq!((step[0], step[3], step[4]), (0.0, 0.0, 0.5));
        step.fill(1e30);
        limiter.limit(&mut step);
        assert!(peak(&step) <= CEILING);
    }
}
