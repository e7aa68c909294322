//! Time in steps of 10 ms, for sound that no device asks for.

use std::time::Duration;

/// One step.
const STEP: Duration = Duration::from_millis(10);

/// What is left out when nobody came by for so long: the machine slept.
const MAX_BEHIND: Duration = Duration::from_millis(200);

/// Counts steps.
#[derive(Debug, Default)]
pub(super) struct Metronome(Option<Duration>);

impl Metronome {
    /// How many steps have passed since it was asked last. It forgets steps rather than to catch up for
    /// long.
    pub(super) fn steps(&mut self, now: Duration) -> u32 {
        let last = *self.0.get_or_insert(now);
        let behind = now.saturating_sub(last);
        if now < last || behind > MAX_BEHIND {
            self.0 = Some(now);
            return 1;
        }
        let steps = (behind.as_micros() / STEP.as_micros()) as u32;
        self.0 = Some(last + STEP * steps);
        steps
    }

    pub(super) fn stop(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(times: &[u64]) -> Vec<u32> {
        let mut metronome = Metronome::default();
        times.iter().map(|now| metronome.steps(Duration::from_millis(*now))).collect()
    }

    #[test]
    fn each_ten_milliseconds_are_one_step_however_often_one_asks() {
        assert_eq!(steps(&[5, 10, 15, 20, 25, 45, 46]), [0, 0, 1, 0, 1, 2, 0]);
    }

    #[test]
    fn a_clock_that_jumps_is_followed_and_not_caught_up() {
        assert_eq!(steps(&[0, 10, 3_600_000, 3_600_010]), [0, 1, 1, 1]);
        assert_eq!(steps(&[5_000, 5_010, 20, 30]), [0, 1, 1, 1]);
    }
}
