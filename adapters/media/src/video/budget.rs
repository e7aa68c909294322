//! What may be sent within a bit rate, by a script whose encoder does not change its quality.

/// How far ahead of the rate a script may be, as a part of a second: else a picture that is a little
/// too large would cost the next one too.
const AHEAD: u64 = 4;

/// Counts what was sent, and says when there is room for more.
///
/// In any time at most the rate is sent, a quarter of a second of it, and one frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    /// Bits per second; `None`: nobody has said how many.
    limit: Option<u64>,
    /// Bits that were sent and are not paid for.
    owed: u64,
    /// Until when was paid, in ticks of 90 kHz.
    paid: u64,
}

impl Budget {
    /// From now on so many bits per second.
    pub(super) fn limit(&mut self, bits_per_second: u64) {
        self.limit = Some(bits_per_second);
    }

    /// Whether a frame may be sent at that time, in ticks of 90 kHz.
    pub(super) fn has_room(&mut self, at: u64) -> bool {
        let Some(limit) = self.limit else { return true };
        let paid = u128::from(limit) * u128::from(at.saturating_sub(self.paid)) / 90_000;
        self.owed = self.owed.saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX));
        self.paid = at;
        limit > 0 && self.owed <= limit / AHEAD
    }

    /// A frame of so many bytes is sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        if self.limit.is_some() {
            self.owed = self.owed.saturating_add((bytes as u64).saturating_mul(8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: u64 = 9_000;

    /// How many of a hundred frames of so many bytes, ten a second, leave.
    fn sent(limit: u64, bytes: usize) -> usize {
        let mut budget = Budget::default();
        budget.limit(limit);
        let leaves = |n: &u64| {
            let leaves = budget.has_room(n * TENTH);
            if leaves {
                budget.spend(bytes);
            }
            leaves
        };
        (0..100).filter(leaves).count()
    }

    #[test]
    fn the_rate_is_used_and_not_exceeded() {
        // 80 kbit/s of frames in ten seconds.
        assert_eq!(sent(100_000, 1000), 100);
        assert_eq!(sent(80_000, 1000), 100);
        // Half of them, and what may be ahead.
        assert!((50..=53).contains(&sent(40_000, 1000)));
        assert!((10..=12).contains(&sent(8_000, 1000)));
        assert_eq!(sent(0, 1000), 0);
    }

    #[test]
    fn without_a_limit_there_is_room_and_a_lower_one_does_not_look_back() {
        let mut budget = Budget::default();
        budget.spend(1_000_000);
        assert!(budget.has_room(TENTH));
        budget.limit(50_000);
        assert!(budget.has_room(2 * TENTH));
    }

    #[test]
    fn a_clock_that_goes_back_and_frames_without_end_do_not_panic() {
        let mut budget = Budget::default();
        budget.limit(u64::MAX);
        assert!(budget.has_room(u64::MAX));
        budget.spend(usize::MAX);
        assert!(budget.has_room(0) || budget.owed > 0);
    }
}
