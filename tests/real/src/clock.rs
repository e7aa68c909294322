//! The clock of the tests: what a log line says, and where a measurement begins. Peers stamp their
//! events with the same clock, since they run on the same machine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "real servers and browsers live in real time")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A moment from which time is measured, whatever happens to the wall clock.
#[must_use]
pub fn moment() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "real servers and browsers live in real time")]
    Instant::now()
}
