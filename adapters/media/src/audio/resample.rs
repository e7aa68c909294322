//! Other rates than 48 kHz, converted by `rubato` (windowed sinc).

use std::ops::RangeInclusive;

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use super::sound::{FRAME_SAMPLES, SAMPLE_RATE};

/// Rates that are converted, in Hz.
pub const RATES: RangeInclusive<u32> = 8_000..=192_000;

/// A converter of one channel, in steps of so many samples on the side that is fixed.
fn sinc(from: u32, to: u32, step: usize, fixed: FixedAsync) -> Option<Async<f32>> {
    if !RATES.contains(&from) || !RATES.contains(&to) {
        return None;
    }
    let filter = SincInterpolationParameters {
        sinc_len: 64,
        f_cutoff: None,
        oversampling_factor: 128,
        interpolation: SincInterpolationType::Cubic,
        window: WindowFunction::BlackmanHarris2,
    };
    Async::new_sinc(f64::from(to) / f64::from(from), 1.0, &filter, step, 1, fixed).ok()
}

/// Converts one channel to 48 kHz, 20 ms at a time. Adds less than a millisecond of delay to sound
/// of 44.1 kHz, 4 ms to sound of 8 kHz.
pub struct FrameResampler {
    inner: Async<f32>,
    hz: u32,
}

impl FrameResampler {
    /// A conversion from `hz`; `None` when it is not one of [`RATES`].
    pub fn of(hz: u32) -> Option<Self> {
        let inner = sinc(hz, SAMPLE_RATE, FRAME_SAMPLES, FixedAsync::Output)?;
        Some(Self { inner, hz })
    }

    /// How many samples the next [`convert`](Self::convert) takes.
    pub fn wants(&self) -> usize {
        self.inner.input_frames_next()
    }

    /// Makes the next 20 ms of [`wants`](Self::wants) samples; of any other number, silence.
    pub fn convert(&mut self, sound: &[f32], out: &mut [f32; FRAME_SAMPLES]) {
        out.fill(0.0);
        let frames = sound.len();
        let (Ok(input), Ok(mut output)) = (
            SequentialSlice::new(sound, 1, frames),
            SequentialSlice::new_mut(&mut out[..], 1, FRAME_SAMPLES),
        ) else {
            return;
        };
        if let Err(error) = self.inner.process_into_buffer(&input, &mut output, None) {
            tracing::warn!(%error, "20 ms not converted");
        }
        // The filter overshoots at steps.
        out.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
    }
}

impl std::fmt::Debug for FrameResampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameResampler from {} Hz", self.hz)
    }
}

/// Converts one channel as it comes, in pieces of any length: what a sound card of another rate records and
/// plays. Adds up to 5 ms of delay beside that of the filter (see [`FrameResampler`]).
#[cfg(feature = "devices")]
pub struct StreamResampler {
    inner: Async<f32>,
    /// Less than a step that waits for the rest of it.
    waiting: Vec<f32>,
    made: Vec<f32>,
}

#[cfg(feature = "devices")]
impl StreamResampler {
    /// A conversion between two rates; `None` when one is not of [`RATES`].
    pub fn between(from: u32, to: u32) -> Option<Self> {
        let step = from as usize / 200;
        let inner = sinc(from, to, step, FixedAsync::Input)?;
        let made = vec![0.0; inner.output_frames_max()];
        Some(Self { inner, waiting: Vec::with_capacity(2 * step), made })
    }

    /// How many samples wait for more of them.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes these samples and appends what can be made of them and of those before.
    pub fn convert(&mut self, sound: &[f32], out: &mut Vec<f32>) {
        let mut rest = sound;
        while !rest.is_empty() {
            let step = self.inner.input_frames_next();
            let (taken, later) = rest.split_at(rest.len().min(step - self.waiting.len()));
            self.waiting.extend_from_slice(taken);
            rest = later;
            if self.waiting.len() == step {
                let made = self.step();
                // The filter overshoots at steps.
                out.extend(self.made[..made].iter().map(|sample| sample.clamp(-1.0, 1.0)));
                self.waiting.clear();
            }
        }
    }

    /// Converts what waits, which is a whole step. How many samples it made.
    fn step(&mut self) -> usize {
        let (frames, room) = (self.waiting.len(), self.made.len());
        let (Ok(input), Ok(mut output)) = (
            SequentialSlice::new(&self.waiting[..], 1, frames),
            SequentialSlice::new_mut(&mut self.made[..], 1, room),
        ) else {
            return 0;
        };
        match self.inner.process_into_buffer(&input, &mut output, None) {
            Ok((_, made)) => made,
            Err(error) => {
                tracing::warn!(%error, "5 ms not converted");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "devices")]
    #[test]
    fn sound_that_flows_keeps_its_length_and_its_tone_whatever_the_pieces() {
        use crate::audio::{level::Level, tone::Tone};

        for (from, to) in [(44_100, 48_000), (48_000, 44_100), (8_000, 48_000), (48_000, 192_000)] {
            let hz = 1000.0 * 48_000.0 / from as f32;
            let mut tone = Tone::new(hz, 0.5);
            let mut resampler = StreamResampler::between(from, to).unwrap();
            let mut out = Vec::new();
            let mut given = 0;
            for length in (0..).map(|piece| [0, 1, 7, 441, 960, 3000][piece % 6]) {
                let piece: Vec<f32> = tone.by_ref().take(length).collect();
                resampler.convert(&piece, &mut out);
                assert!(resampler.waiting() < from as usize / 200);
                given += length;
                if given > from as usize {
                    break;
                }
            }
            let seconds = (given - resampler.waiting()) as f64 / f64::from(from);
            let due = seconds * f64::from(to);
            assert!(
                (out.len() as f64 - due).abs() < 64.0,
                "{from} to {to}: {} of {due}",
                out.len()
            );
            let later = &out[to as usize / 2..to as usize];
            let ups = later.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
            assert!(ups.abs_diff(500) <= 1, "{from} to {to}: {ups} periods in half a second");
            let level = Level::of(later);
            assert!((level.rms - 0.5 / 2.0_f32.sqrt()).abs() < 0.005, "{from} to {to}: {level:?}");
            assert!(level.peak < 0.51, "{from} to {to}: no clicks: {level:?}");
        }
        assert!(
            StreamResampler::between(44_100, 0).is_none()
                && StreamResampler::between(1_000_000, 48_000).is_none()
        );
    }

    #[test]
    fn a_second_stays_a_second() {
        for hz in [8_000, 11_025, 44_100, 192_000] {
            let mut resampler = FrameResampler::of(hz).unwrap();
            let mut out = [0.0; FRAME_SAMPLES];
            let taken: usize = (0..50)
                .map(|_| {
                    let wants = resampler.wants();
                    resampler.convert(&vec![0.5; wants], &mut out);
                    wants
                })
                .sum();
            assert!(taken.abs_diff(hz as usize) < 70, "{hz} Hz took {taken}");
            assert!((out[500] - 0.5).abs() < 0.001, "{}", out[500]);
        }
    }

    #[test]
    fn rates_that_nobody_has_and_wrong_lengths_do_no_harm() {
        assert!(FrameResampler::of(0).is_none() && FrameResampler::of(7_999).is_none());
        let mut resampler = FrameResampler::of(44_100).unwrap();
        let mut out = [1.0; FRAME_SAMPLES];
        resampler.convert(&[0.5; 3], &mut out);
        assert_eq!(out, [0.0; FRAME_SAMPLES]);
    }
}
