//! How loud sound is: root mean square and peak, and the level of RFC 6464.

/// The loudness of a stretch of sound; 1 is full scale.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Level {
    /// Root mean square, 0 to 1. A sine of amplitude `a` has `a / √2`.
    pub rms: f32,
    /// Greatest distance from zero, 0 to 1.
    pub peak: f32,
}

impl Level {
    /// Measures; no samples measure as silence.
    pub fn of(samples: &[f32]) -> Self {
        if samples.is_empty() {
            return Self::default();
        }
        let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let peak = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        Self { rms: (energy / samples.len() as f64).sqrt() as f32, peak }
    }

    /// The level for the RFC 6464 header extension: dB relative to overload, -127 (silence) to 0.
    pub fn dbov(self) -> i8 {
        if self.rms <= 0.0 {
            return -127;
        }
        (20.0 * self.rms.log10()).round().clamp(-127.0, 0.0) as i8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_scale_is_zero_and_silence_the_floor() {
        assert_eq!(Level::of(&[1.0, -1.0]).dbov(), 0);
        assert_eq!(Level::of(&[0.0; 960]).dbov(), -127);
        assert_eq!(Level::of(&[]), Level::default());
    }

    #[test]
    fn a_tenth_of_the_amplitude_is_twenty_decibels_less() {
        let level = Level::of(&[0.1, -0.1, 0.1]);
        assert_eq!(level.dbov(), -20);
        assert!((level.peak - 0.1).abs() < 1e-6);
    }
}
