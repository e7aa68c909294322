//! Notices a card that is gone: by an error, or since it has stopped without a word.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed, mpsc::Sender},
    time::Duration,
};

use super::ring::Tally;
use crate::{audio::sound::SAMPLE_RATE, talk::DeviceError};

/// Longest time without a callback. The slowest cards call ten times a second.
const SILENCE: Duration = Duration::from_secs(2);

/// The audio thread has to have looked so often meanwhile: a machine that slept, or was too busy to look,
/// says nothing about its card.
const LOOKS: u32 = 100;

/// Whether a card still calls, and the end of it.
pub(super) struct Life {
    tally: Arc<Tally>,
    /// Of the card, in Hz.
    rate: u32,
    watch: Watch,
    is_told: bool,
    /// Closed with this value: that closes the card, see `system.rs`.
    _open: Sender<()>,
}

impl Life {
    pub(super) fn new(tally: Arc<Tally>, rate: u32, open: Sender<()>) -> Self {
        Self { tally, rate, watch: Watch::default(), is_told: false, _open: open }
    }

    /// [`DeviceError::Gone`] when nothing will come any more.
    pub(super) fn check(&mut self, now: Duration) -> Result<(), DeviceError> {
        let callbacks = self.tally.callbacks.load(Relaxed);
        let fault = match self.tally.fault.get() {
            Some(fault) => fault.as_str(),
            None if self.watch.is_alive(callbacks, now) => return Ok(()),
            None => "it is silent without a word",
        };
        if !self.is_told {
            tracing::info!(fault, "a sound card is gone");
            self.is_told = true;
        }
        Err(DeviceError::Gone)
    }

    /// Samples that were lost, of 48 kHz whatever the card's rate.
    pub(super) fn lost(&self) -> u64 {
        let lost = self.tally.lost.load(Relaxed);
        lost.saturating_mul(u64::from(SAMPLE_RATE)) / u64::from(self.rate.max(1))
    }

    /// How many samples the card asks for at once.
    pub(super) fn longest(&self) -> usize {
        self.tally.longest.load(Relaxed)
    }
}

/// Compares the number of callbacks with what it was.
#[derive(Debug, Default)]
struct Watch {
    callbacks: u64,
    /// When it was seen first that the number stands still, and how often it was since.
    since: Duration,
    looks: u32,
}

impl Watch {
    /// Whether the card may still be alive, having called so often until now.
    fn is_alive(&mut self, callbacks: u64, now: Duration) -> bool {
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
    use std::sync::mpsc;

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

    #[test]
    fn what_a_card_of_any_rate_loses_is_counted_as_sound_of_48_khz() {
        let tally: Arc<Tally> = Arc::default();
        tally.lost.store(4_410, Relaxed);
        assert_eq!(Life::new(tally, 44_100, mpsc::channel().0).lost(), 4_800);
    }
}
