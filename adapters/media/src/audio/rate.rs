//! Other rates than 48 kHz, converted by `rubato` (windowed sinc, `media.md` §6).

use std::ops::RangeInclusive;

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use super::sound::{FRAME_SAMPLES, SAMPLE_RATE};

/// Rates that are converted, in Hz.
pub const RATES: RangeInclusive<u32> = 8_000..=192_000;

/// Converts one channel to 48 kHz, 20 ms at a time. Adds less than a millisecond of delay to sound
/// of 44.1 kHz, 4 ms to sound of 8 kHz.
pub struct Rate {
    inner: Async<f32>,
    hz: u32,
}

impl Rate {
    /// A conversion from `hz`; `None` when it is not one of [`RATES`].
    pub fn of(hz: u32) -> Option<Self> {
        if !RATES.contains(&hz) {
            return None;
        }
        let ratio = f64::from(SAMPLE_RATE) / f64::from(hz);
        let filter = SincInterpolationParameters {
            sinc_len: 64,
            f_cutoff: None,
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Cubic,
            window: WindowFunction::BlackmanHarris2,
        };
        let inner =
            Async::new_sinc(ratio, 1.0, &filter, FRAME_SAMPLES, 1, FixedAsync::Output).ok()?;
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

impl std::fmt::Debug for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rate from {} Hz", self.hz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_stays_a_second() {
        for hz in [8_000, 11_025, 44_100, 192_000] {
            let mut rate = Rate::of(hz).unwrap();
            let mut out = [0.0; FRAME_SAMPLES];
            let taken: usize = (0..50)
                .map(|_| {
                    let wants = rate.wants();
                    rate.convert(&vec![0.5; wants], &mut out);
                    wants
                })
                .sum();
            assert!(taken.abs_diff(hz as usize) < 70, "{hz} Hz took {taken}");
            assert!((out[500] - 0.5).abs() < 0.001, "{}", out[500]);
        }
    }

    #[test]
    fn rates_that_nobody_has_and_wrong_lengths_do_no_harm() {
        assert!(Rate::of(0).is_none() && Rate::of(7_999).is_none());
        let mut rate = Rate::of(44_100).unwrap();
        let mut out = [1.0; FRAME_SAMPLES];
        rate.convert(&[0.5; 3], &mut out);
        assert_eq!(out, [0.0; FRAME_SAMPLES]);
    }
}
