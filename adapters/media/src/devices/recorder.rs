//! A card's microphone, as the audio thread has it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed, mpsc::Sender},
    time::Duration,
};

use rtrb::Consumer;

use super::{ring::Tally, stream::Recording, watch::Watch};
use crate::{
    audio::{resample::StreamResampler, sound::SAMPLE_RATE},
    talk::{DeviceError, Recorder},
};

/// Reads what a callback recorded.
pub(super) struct CardRecorder {
    ring: Consumer<f32>,
    /// From the card's rate, where that is another.
    resampler: Option<StreamResampler>,
    life: Life,
}

impl CardRecorder {
    /// The audio thread's end; `open` keeps the card open.
    pub(super) fn new(recording: Recording, open: Sender<()>) -> Self {
        let Recording { ring, resampler, rate, tally } = recording;
        Self { ring, resampler, life: Life::new(tally, rate, open) }
    }
}

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

impl Recorder for CardRecorder {
    fn read(&mut self, now: Duration, sound: &mut Vec<f32>) -> Result<(), DeviceError> {
        self.life.check(now)?;
        let there = self.ring.slots();
        let Ok(chunk) = self.ring.read_chunk(there) else { return Ok(()) };
        let (first, second) = chunk.as_slices();
        for part in [first, second] {
            match &mut self.resampler {
                Some(resampler) => resampler.convert(part, sound),
                None => sound.extend_from_slice(part),
            }
        }
        chunk.commit_all();
        Ok(())
    }

    fn lost(&self) -> u64 {
        self.life.lost()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_a_card_of_any_rate_loses_is_counted_as_sound_of_48_khz() {
        let tally: Arc<Tally> = Arc::default();
        tally.lost.store(4_410, Relaxed);
        assert_eq!(Life::new(tally, 44_100, mpsc::channel().0).lost(), 4_800);
    }
}
