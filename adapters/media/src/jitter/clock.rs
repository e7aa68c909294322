//! Time in samples of 48 kHz, in which time stamps and the clock of the call can be compared.

use std::time::Duration;

use crate::audio::sound::{self, SAMPLE_RATE};

/// A time or a length of time, in samples. Signed, since differences are what counts.
pub(super) type Samples = i64;

/// So many milliseconds.
pub(super) const fn millis(millis: i64) -> Samples {
    millis * (SAMPLE_RATE as i64) / 1_000
}

/// A time on the clock of the call. Times that no clock shows are the last one that can be told.
pub(super) fn samples(time: Duration) -> Samples {
    media_time(sound::samples(time))
}

/// The media time of a frame. Differences of two such times never overflow.
pub(super) fn media_time(timestamp: u64) -> Samples {
    Samples::try_from(timestamp).unwrap_or(FARTHEST).min(FARTHEST)
}

/// Three million years.
const FARTHEST: Samples = Samples::MAX / 4;

/// The other way, for what is told.
pub(super) fn duration(samples: Samples) -> Duration {
    let samples = u64::try_from(samples).unwrap_or(0);
    let rate = u64::from(SAMPLE_RATE);
    Duration::from_secs(samples / rate) + Duration::from_micros(samples % rate * 1_000_000 / rate)
}
