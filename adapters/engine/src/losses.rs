//! How many packets never came: those that are missing from the numbers of what came, less those that
//! come late after all. The count never goes back, so a packet counts only when nobody waits for it any
//! more.

use std::{collections::BTreeSet, ops::RangeInclusive};

/// A packet that this many were sent after counts as lost: a third of a second of sound.
const LATE: u64 = 16;

/// Numbers that are farther apart are those of a source that began anew (RFC 3550 A.1).
const MAX_DROPOUT: u64 = 3_000;

/// Counts what is lost on one line.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// The greatest number that came.
    last: Option<u64>,
    /// What is missing among the last ones.
    missing: BTreeSet<u64>,
    lost: u64,
}

impl Losses {
    /// Packets of these numbers (unwrapped) came. Whether their source began anew with them: what is missing
    /// of its old numbers stays so.
    pub fn on_packets(&mut self, numbers: RangeInclusive<u64>) -> bool {
        let (first, end) = (*numbers.start(), *numbers.end());
        let began_anew = self.last.is_some_and(|last| first.abs_diff(last) >= MAX_DROPOUT);
        if began_anew {
            self.lost += self.missing.len() as u64;
            self.missing.clear();
            self.last = None;
        }
        let Some(last) = self.last else {
            self.last = Some(end);
            return began_anew;
        };
        if first <= last {
            self.missing.retain(|number| !numbers.contains(number));
        }
        let next = last.saturating_add(1);
        let kept = first.saturating_sub(LATE).max(next);
        self.lost += kept.min(first).saturating_sub(next);
        self.missing.extend(kept..first);
        self.last = Some(last.max(end));
        self.age(last.max(end));
        false
    }

    /// How many never came.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn age(&mut self, last: u64) {
        while self.missing.first().is_some_and(|number| last - number > LATE) {
            self.missing.pop_first();
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(numbers: impl IntoIterator<Item = u64>) -> u64 {
        let mut losses = Losses::default();
        for number in numbers {
            losses.on_packets(number..=number);
        }
        losses.lost()
    }

    #[test]
    fn what_never_comes_is_lost_when_nobody_waits_for_it_any_more() {
        assert_eq!(lost((0..50).filter(|n| n % 10 != 5)), 3, "35 and 45 may come yet");
        assert_eq!(lost(0..50), 0);
        assert_eq!(lost([0, 1_000]), 983, "of a long gap the last may come yet");
        assert_eq!(lost((0..2).chain(1_000..1_040)), 998);
    }

    #[test]
    fn what_comes_late_is_not_lost() {
        assert_eq!(lost([0, 2, 3, 1].into_iter().chain(4..40)), 0);
        assert_eq!(lost((0..5).chain(6..30).chain([5]).chain(30..40)), 1, "far too late");
        assert_eq!(lost([7, 7, 7, 3, 8]), 0, "twice, and before the first");
    }

    #[test]
    fn a_source_that_begins_anew_has_lost_nothing_between() {
        assert_eq!(lost((100..150).chain(40_000..40_020)), 0);
        assert_eq!(lost((40_000..40_020).chain((100..2_000).filter(|n| n % 2 == 0))), 941);
    }

    #[test]
    fn several_packets_of_one_picture_are_one_range() {
        let mut losses = Losses::default();
        for numbers in [10..=10, 11..=13, 16..=16, 15..=15, 17..=60] {
            losses.on_packets(numbers);
        }
        assert_eq!(losses.lost(), 1);
        assert!(losses.on_packets(9_003..=9_003), "it began anew");
        assert_eq!(losses.lost(), 1);
    }

    #[test]
    fn any_numbers_are_borne() {
        let mut losses = Losses::default();
        let last = u64::MAX;
        for (first, end) in [(5, 5), (last, last), (0, 0), (9, 3), (last - 1, last)] {
            losses.on_packets(first..=end);
            assert!(losses.missing.len() <= LATE as usize);
        }
    }
}
