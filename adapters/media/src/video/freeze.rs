//! How long a picture stood still, as browsers count it.
//!
//! A freeze is a time between two pictures shown, one after the other, of at least three times what
//! is usual, and at least 150 ms more than it; usual is the mean of the last 30
//! (`freezeCount` and `totalFreezesDuration` of W3C webrtc-stats). There is no clock here: whoever
//! watches says when, by whatever clock the frames carry. A picture that a muted camera left behind
//! stands still too: who is muted is not known here.

use std::{collections::VecDeque, time::Duration};

/// Times between pictures that are remembered.
const REMEMBERED: usize = 30;

/// Fewer tell nothing of what is usual.
const LEAST: usize = 5;

/// How much longer than usual a freeze is at least.
const LONGER: Duration = Duration::from_millis(150);

/// How often and how long a picture stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freezes {
    /// How often; that which goes on is one of them.
    pub count: u64,
    /// How long altogether; of that which goes on, until the last frame that came.
    pub total: Duration,
}

/// Watches the times at which pictures are shown.
#[derive(Debug, Clone, Default)]
pub(super) struct FreezeWatch {
    last: Option<Duration>,
    between: VecDeque<Duration>,
    over: Freezes,
}

impl FreezeWatch {
    /// A picture is shown; the freezes until now.
    pub(super) fn shown(&mut self, at: Duration) -> Freezes {
        self.over = self.still(at);
        if let Some(last) = self.last.filter(|last| *last <= at) {
            self.between.truncate(REMEMBERED - 1);
            self.between.push_front(at - last);
        }
        self.last = Some(at);
        self.over
    }

    /// Something came that cannot be shown; the freezes until now.
    pub(super) fn still(&self, at: Duration) -> Freezes {
        let gap = self.last.map_or(Duration::ZERO, |last| at.saturating_sub(last));
        if self.least().is_none_or(|least| gap < least) {
            return self.over;
        }
        Freezes { count: self.over.count + 1, total: self.over.total + gap }
    }

    /// The shortest time that is a freeze at present.
    fn least(&self) -> Option<Duration> {
        if self.between.len() < LEAST {
            return None;
        }
        let usual = self.between.iter().sum::<Duration>() / self.between.len() as u32;
        Some((3 * usual).max(usual + LONGER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Pictures at these times, in milliseconds.
    fn watched(times: impl IntoIterator<Item = u32>) -> (FreezeWatch, Freezes) {
        let mut watch = FreezeWatch::default();
        let seen = times.into_iter().map(|at| watch.shown(MS * at)).last();
        (watch, seen.unwrap_or_default())
    }

    fn steady(every: u32, count: u32) -> impl Iterator<Item = u32> {
        (0..count).map(move |n| n * every)
    }

    #[test]
    fn a_steady_picture_never_freezes_however_slow() {
        for every in [10, 33, 100, 1000, 10_000] {
            assert_eq!(watched(steady(every, 100)).1, Freezes::default(), "every {every} ms");
        }
    }

    #[test]
    fn a_slow_picture_freezes_from_three_times_the_usual_on_and_a_fast_one_from_150_ms_more() {
        for (every, least) in [(100, 300), (33, 183), (10, 160)] {
            let ends = 19 * every;
            let (_, short) = watched(steady(every, 20).chain([ends + least - 1]));
            assert_eq!(short, Freezes::default(), "every {every} ms");
            let (_, long) = watched(steady(every, 20).chain([ends + least]));
            assert_eq!(long, Freezes { count: 1, total: MS * least }, "every {every} ms");
        }
    }

    #[test]
    fn freezes_add_up() {
        let (_, seen) = watched(steady(100, 10).chain([1400, 1500, 1600, 1700, 1800, 2500]));
        assert_eq!(seen, Freezes { count: 2, total: 1200 * MS });
    }

    #[test]
    fn a_freeze_that_goes_on_grows_with_what_comes_and_is_counted_once() {
        let (mut watch, _) = watched(steady(100, 10));
        assert_eq!(watch.still(1000 * MS), Freezes::default());
        assert_eq!(watch.still(1500 * MS), Freezes { count: 1, total: 600 * MS });
        assert_eq!(watch.still(1900 * MS), Freezes { count: 1, total: 1000 * MS });
        assert_eq!(watch.shown(2000 * MS), Freezes { count: 1, total: 1100 * MS });
        assert_eq!(watch.still(2050 * MS), Freezes { count: 1, total: 1100 * MS });
    }

    #[test]
    fn the_first_pictures_are_no_freeze_and_a_clock_that_goes_back_is_none() {
        assert_eq!(watched([0, 5000, 5100, 5200]).1, Freezes::default());
        let (watch, seen) = watched(steady(100, 10).chain([3, 103, 203]));
        assert_eq!(seen, Freezes::default());
        assert_eq!(watch.last, Some(203 * MS));
    }

    #[test]
    fn a_day_of_pictures_takes_no_more_room_than_a_second() {
        let (watch, _) = watched(steady(40, 100_000));
        assert_eq!(watch.between.len(), REMEMBERED);
    }
}
