//! A scheduler of tests, by how much of the machine they need: every test has a thread, and waits
//! for a place. Tests that work take one of few places, so that two cores are enough; those that
//! mostly wait have places of their own beside them; who measures is alone.

use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// Tests that work at once, unless `--test-threads` says otherwise: two clients in a call keep half
/// a core busy, and two that log in a whole one.
pub(crate) const AT_WORK: usize = 2;

/// Tests that wait at once.
const WAITING: usize = 4;

/// How a test uses the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As one call does.
    Work,
    /// Hardly, for a long time.
    Wait,
    /// As nobody else may meanwhile.
    Alone,
}

/// The places.
pub(crate) struct Floor {
    work: Places,
    wait: Places,
    quiet: RwLock<()>,
}

/// The right to play, until it is dropped.
pub(crate) enum Turn<'a> {
    Alone { _quiet: RwLockWriteGuard<'a, ()> },
    Beside { _place: Place<'a>, _quiet: RwLockReadGuard<'a, ()> },
}

impl Floor {
    /// A floor with so many places for work.
    pub(crate) fn new(at_work: usize) -> Self {
        Self { work: Places::new(at_work), wait: Places::new(WAITING), quiet: RwLock::default() }
    }

    /// Waits for a place.
    pub(crate) fn turn(&self, effort: Effort) -> Turn<'_> {
        let places = match effort {
            Effort::Work => &self.work,
            Effort::Wait => &self.wait,
            Effort::Alone => {
                let quiet = self.quiet.write().unwrap_or_else(PoisonError::into_inner);
                return Turn::Alone { _quiet: quiet };
            }
        };
        let place = places.take();
        let quiet = self.quiet.read().unwrap_or_else(PoisonError::into_inner);
        Turn::Beside { _place: place, _quiet: quiet }
    }
}

struct Places {
    free: Mutex<usize>,
    given_back: Condvar,
}

pub(crate) struct Place<'a>(&'a Places);

impl Places {
    fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), given_back: Condvar::new() }
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Place<'_> {
        let free = self.given_back.wait_while(self.free(), |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.given_back.notify_one();
    }
}
