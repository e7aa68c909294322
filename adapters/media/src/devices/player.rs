//! A card's loudspeaker, as the audio thread has it.

use std::{sync::mpsc::Sender, time::Duration};

use rtrb::Producer;

use super::{
    ring::{PLAYED_MS, samples},
    stream::Playing,
    watch::Life,
};
use crate::{
    audio::{resample::StreamResampler, sound::SAMPLE_RATE},
    talk::{DeviceError, Player},
};

/// What waits in the ring at least, for a card that asks for 10 ms at once.
const WAITING_MS: u32 = 20;

/// A card that asks for more at once gets that and so much besides: the audio thread wakes in between.
const BESIDES_MS: u32 = 10;

/// What is written beyond what is wanted is taken up to here.
const BEYOND_MS: u32 = 40;

/// Writes what a callback plays.
pub(super) struct CardPlayer {
    ring: Producer<f32>,
    /// To the card's rate, where that is another.
    resampler: Option<StreamResampler>,
    rate: u32,
    /// Sound at the card's rate, between two calls empty.
    converted: Vec<f32>,
    life: Life,
}

impl CardPlayer {
    /// The audio thread's end; `open` keeps the card open.
    pub(super) fn new(playing: Playing, open: Sender<()>) -> Self {
        let Playing { ring, resampler, rate, tally } = playing;
        let life = Life::new(tally, rate, open);
        Self { ring, resampler, rate, converted: Vec::new(), life }
    }

    /// How many samples should wait, at the card's rate.
    fn enough(&self) -> usize {
        let long = self.life.longest() + samples(BESIDES_MS, self.rate);
        let most = samples(PLAYED_MS - BEYOND_MS, self.rate);
        long.clamp(samples(WAITING_MS, self.rate), most)
    }

    fn waiting(&self) -> usize {
        self.ring.buffer().capacity() - self.ring.slots()
    }

    fn push(&mut self, sound: &[f32]) {
        let most = self.enough() + samples(BEYOND_MS, self.rate);
        let room = most.saturating_sub(self.waiting()).min(sound.len());
        let _ = self.ring.push_partial_slice(&sound[..room]);
    }
}

impl Player for CardPlayer {
    fn wanted(&mut self, now: Duration) -> Result<usize, DeviceError> {
        self.life.check(now)?;
        let missing = self.enough().saturating_sub(self.waiting());
        let missing = missing as u64 * u64::from(SAMPLE_RATE);
        let underway = self.resampler.as_ref().map_or(0, StreamResampler::waiting);
        Ok((missing.div_ceil(u64::from(self.rate)) as usize).saturating_sub(underway))
    }

    fn write(&mut self, sound: &[f32]) {
        let Some(resampler) = &mut self.resampler else { return self.push(sound) };
        let mut converted = std::mem::take(&mut self.converted);
        resampler.convert(sound, &mut converted);
        self.push(&converted);
        converted.clear();
        self.converted = converted;
    }

    fn lost(&self) -> u64 {
        self.life.lost()
    }
}
