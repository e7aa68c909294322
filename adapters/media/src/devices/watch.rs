//! Notices a card that has stopped without a word.

use std::time::Duration;

/// Longest time without a callback. The slowest cards call ten times a second.
const SILENCE: Duration = Duration::from_secs(2);

/// The audio thread has to have looked so often meanwhile: a machine that slept, or was too busy to look,
/// says nothing about its card.
const LOOKS: u32 = 100;

/// Compares the number of callbacks with what it was.
#[derive(Debug, Default)]
pub(super) struct Watch {
    callbacks: u64,
    /// When it was seen first that the number stands still, and how often it was since.
    since: Duration,
    looks: u32,
}

impl Watch {
    /// Whether the card may still be alive, having called so often until now.
    pub(super) fn is_alive(&mut self, callbacks: u64, now: Duration) -> bool {
        if callbacks != self.callbacks {
            *self = Self { callbacks, ..Self::default() };
            return true;
        }
        if self.looks == 0 {
            self.since = now;
        }
        self.looks = self.looks.saturating_add(1);
        self.looks < LOOKS || now.saturating_sub(self.since) < SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(5);

    #[test]
    fn a_card_that_stops_is_gone_after_two_seconds_and_a_machine_that_slept_has_not_lost_its_card()
    {
        let mut now = Duration::from_secs(77);
        let mut watch = Watch::default();
        for callbacks in 0..1000 {
            now += STEP;
            assert!(watch.is_alive(callbacks / 20, now));
        }
        now += Duration::from_secs(3600);
        assert!(watch.is_alive(49, now), "nobody looked for an hour");
        assert!(watch.is_alive(50, now));
        let lasted = (0..1000).take_while(|_| {
            now += STEP;
            watch.is_alive(50, now)
        });
        assert_eq!(lasted.count(), 400);
    }
}
