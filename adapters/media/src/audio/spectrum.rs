//! A power spectrum of one window of sound: Hann window, radix-2 Fourier transform.
//!
//! Scaled so that the powers add up to the mean square of the sound: a sine of amplitude `a`
//! spreads `a² / 2` over the few bins around its frequency.

use std::f64::consts::TAU;

/// Samples of one window: 85 ms at 48 kHz. A power of two.
pub(crate) const WINDOW: usize = 4096;

/// Bins of a spectrum, 11.7 Hz apart.
pub(crate) const BINS: usize = WINDOW / 2;

type Complex = (f64, f64);

/// Tables and working space.
#[derive(Debug, Clone)]
pub(crate) struct Spectrum {
    hann: Vec<f64>,
    twiddles: Vec<Complex>,
    work: Vec<Complex>,
    powers: Vec<f64>,
}

impl Spectrum {
    pub(crate) fn new() -> Self {
        let size = WINDOW as f64;
        Self {
            hann: (0..WINDOW).map(|n| 0.5 - 0.5 * (TAU * n as f64 / size).cos()).collect(),
            twiddles: (0..BINS).map(|n| (-TAU * n as f64 / size).sin_cos()).map(swap).collect(),
            work: vec![(0.0, 0.0); WINDOW],
            powers: vec![0.0; BINS],
        }
    }

    /// The powers of a window; what is missing at its end is silence.
    pub(crate) fn powers(&mut self, sound: &[f32]) -> &[f64] {
        self.load(sound);
        self.transform();
        // Both halves of the spectrum, and the energy that the Hann window (3/8) takes.
        let scale = 2.0 / (WINDOW as f64 * WINDOW as f64 * 0.375);
        for (power, value) in self.powers.iter_mut().zip(&self.work) {
            *power = (value.0 * value.0 + value.1 * value.1) * scale;
        }
        &self.powers
    }

    /// The windowed sound in bit-reversed order.
    fn load(&mut self, sound: &[f32]) {
        self.work.fill((0.0, 0.0));
        for (n, (sample, weight)) in sound.iter().zip(&self.hann).enumerate() {
            let at = n.reverse_bits() >> (usize::BITS - WINDOW.trailing_zeros());
            self.work[at] = (f64::from(*sample) * weight, 0.0);
        }
    }

    fn transform(&mut self) {
        let mut half = 1;
        while half < WINDOW {
            let stride = BINS / half;
            for block in self.work.chunks_exact_mut(half * 2) {
                let (low, high) = block.split_at_mut(half);
                for (n, (a, b)) in low.iter_mut().zip(high).enumerate() {
                    let turned = times(*b, self.twiddles[n * stride]);
                    (*a, *b) = ((a.0 + turned.0, a.1 + turned.1), (a.0 - turned.0, a.1 - turned.1));
                }
            }
            half *= 2;
        }
    }
}

fn swap((sin, cos): (f64, f64)) -> Complex {
    (cos, sin)
}

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

const _: () = assert!(WINDOW.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::tone::Tone;

    #[test]
    fn the_powers_add_up_to_the_mean_square() {
        let sound: Vec<f32> = Tone::new(1234.0, 0.4).take(WINDOW).collect();
        let total: f64 = Spectrum::new().powers(&sound).iter().sum();
        assert!((total - 0.08).abs() < 1e-4, "{total}");
    }

    #[test]
    fn a_sine_on_a_bin_stays_on_it_and_its_neighbours() {
        let sound: Vec<f32> = Tone::new(100.0 * 48_000.0 / 4096.0, 1.0).take(WINDOW).collect();
        let mut spectrum = Spectrum::new();
        let powers = spectrum.powers(&sound);
        assert!((powers[100] - 1.0 / 3.0).abs() < 1e-6);
        assert!(powers[90] < 1e-9);
    }
}
