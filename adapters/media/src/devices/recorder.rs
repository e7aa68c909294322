//! A card's microphone, as the audio thread has it.

use std::{sync::mpsc::Sender, time::Duration};

use rtrb::Consumer;

use super::{stream::Recording, watch::Life};
use crate::{
    audio::resample::StreamResampler,
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
