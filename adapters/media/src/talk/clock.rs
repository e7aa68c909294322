//! The audio thread's clock: time since a headset began.

use std::time::{Duration, Instant};

/// A clock that begins at nothing and never goes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell's clock; everything behind it is told the time"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }
}
