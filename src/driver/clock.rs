//! The two clocks. Monotonic time is tokio's, so a paused runtime drives it in tests; wall time
//! comes from a [`WallClock`], which a test can set.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::time::{Mono, Now, Wall};

/// Where wall-clock time comes from.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Wall + Send + Sync>);

impl WallClock {
    /// The system's clock: the default.
    pub fn system() -> Self {
        Self::from_fn(system_time)
    }

    /// A clock that begins at `start`, at its first reading, and goes as tokio's clock goes: for
    /// tests on a paused runtime.
    pub fn with_tokio(start: Wall) -> Self {
        let origin = OnceLock::new();
        Self::from_fn(move || start.plus(origin.get_or_init(Instant::now).elapsed()))
    }

    /// Any other clock. It is read often and must not block.
    pub fn from_fn(read: impl Fn() -> Wall + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn read(&self) -> Wall {
        (self.0)()
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver is where clocks are read")]
fn system_time() -> Wall {
    let since_epoch = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(since_epoch.as_millis().try_into().unwrap_or(u64::MAX))
}

/// Both clocks, with the origin of monotonic time.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
    wall: WallClock,
}

impl Clock {
    /// Monotonic time begins now.
    pub(super) fn new(wall: WallClock) -> Self {
        Self { origin: Instant::now(), wall }
    }

    /// The present on both clocks.
    pub(super) fn now(&self) -> Now {
        Now { mono: Mono(self.origin.elapsed()), wall: self.wall.read() }
    }

    /// When tokio's clock will show `mono`; a century is as good as never.
    pub(super) fn instant(&self, mono: Mono) -> Instant {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        self.origin + mono.0.min(CENTURY)
    }
}
