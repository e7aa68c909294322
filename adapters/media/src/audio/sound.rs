//! What sound is in this package: 48 kHz, one channel, `f32` from -1 to 1, in frames of 20 ms.
//!
//! Opus runs at 48 kHz whatever it carries (RFC 7587 §4.1), and other rates are converted where
//! they come in or go out (`resample.rs`). Applications may hand over and take `i16` as well; [`Sample`] converts.

use std::time::Duration;

/// Samples a second.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples of one frame: 20 ms, the packet time that every WebRTC peer uses.
pub const FRAME_SAMPLES: usize = 960;

/// How long one frame lasts.
pub const FRAME_DURATION: Duration = Duration::from_millis(20);

/// How many samples a time lasts, rounded down.
pub(crate) fn samples(time: Duration) -> u64 {
    let samples = time.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

/// One sample in a form that applications have: `f32` from -1 to 1, or `i16`.
pub trait Sample: Copy + Send + Sync {
    /// The sample as `f32`, from -1 to 1; out of range and NaN are brought into it.
    fn to_f32(self) -> f32;

    /// The sample from an `f32`; out of range is clamped.
    fn from_f32(value: f32) -> Self;
}

impl Sample for f32 {
    fn to_f32(self) -> f32 {
        if self.is_nan() { 0.0 } else { self.clamp(-1.0, 1.0) }
    }

    fn from_f32(value: f32) -> Self {
        value.to_f32()
    }
}

impl Sample for i16 {
    fn to_f32(self) -> f32 {
        f32::from(self) / 32_768.0
    }

    fn from_f32(value: f32) -> Self {
        // `as` saturates at the ends of the range and makes NaN zero.
        (value * 32_768.0).round() as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_i16_survives_the_way_through_f32() {
        for value in i16::MIN..=i16::MAX {
            assert_eq!(i16::from_f32(value.to_f32()), value);
        }
    }

    #[test]
    fn nonsense_floats_become_samples() {
        assert_eq!(f32::NAN.to_f32(), 0.0);
        assert_eq!(f32::INFINITY.to_f32(), 1.0);
        assert_eq!(i16::from_f32(-7.0), i16::MIN);
    }
}
