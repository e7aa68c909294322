//! Push to talk: the others hear what is said as long as a key is held. Pure.
//!
//! Most terminals do not tell when a key is let go, only that it is pressed, again and again while it is
//! held; then it counts as let go when it is not pressed any more.

use std::time::Duration;

/// Longest time between the first press of a key that is held and the second.
const FIRST_REPEAT: Duration = Duration::from_millis(700);

/// Longest time between two more.
const REPEAT: Duration = Duration::from_millis(250);

/// A key that is held or not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Push {
    /// When it counts as let go.
    until: Option<Duration>,
}

impl Push {
    /// The key was pressed at this time.
    pub(super) fn press(&mut self, now: Duration) {
        let is_held = self.is_held(now);
        self.until = Some(now + if is_held { REPEAT } else { FIRST_REPEAT }).max(self.until);
    }

    /// The terminal says that it was let go.
    pub(super) fn release(&mut self) {
        self.until = None;
    }

    /// Whether it is held.
    pub(super) fn is_held(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn a_key_that_repeats_is_held_and_soon_after_the_last_time_no_longer() {
        let mut push = Push::default();
        assert!(!push.is_held(ms(0)));
        for pressed in [0, 500, 530, 560, 590, 900, 930] {
            push.press(ms(pressed));
            assert!(push.is_held(ms(pressed)));
        }
        assert!(push.is_held(ms(1_100)));
        assert!(!push.is_held(ms(1_650)));
        push.press(ms(2_000));
        push.release();
        assert!(!push.is_held(ms(2_001)));
    }
}
