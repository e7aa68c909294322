//! A loudspeaker that takes much at a time is given it a little faster than time passes.
//!
//! A card with large buffers takes 40 ms and then nothing for 40 ms. Given all of it at once, the jitter
//! buffer would have to play at one moment what is due within the next 40 ms, whose packets are still on
//! their way. What the card has taken it plays for that long; so it gets the rest step by step, and all of it
//! is there before the card asks again.

use std::time::Duration;

use super::{
    STEP_SAMPLES,
    device::{DeviceError, Player},
};
use crate::audio::sound::samples;

/// A loudspeaker that wants as much as the one within, but no sooner than it needs it.
pub(super) struct PacedPlayer {
    player: Box<dyn Player>,
    /// When it was asked last. `None`: never, so it is empty and gets all that it wants.
    asked: Option<Duration>,
    /// How many samples may be given.
    credit: usize,
}

impl PacedPlayer {
    pub(super) fn new(player: Box<dyn Player>) -> Self {
        Self { player, asked: None, credit: 0 }
    }
}

impl Player for PacedPlayer {
    fn wanted(&mut self, now: Duration) -> Result<usize, DeviceError> {
        let wanted = self.player.wanted(now)?;
        let Some(asked) = self.asked.replace(now) else { return Ok(wanted) };
        let passed = samples(now.saturating_sub(asked));
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        // An eighth faster, since the card's clock is another, and turns are late at times.
        let earned = passed.saturating_add(passed / 8);
        // Of a time in which nothing was wanted, no more than a step is left.
        self.credit = self.credit.min(STEP_SAMPLES).saturating_add(earned);
        Ok(wanted.min(self.credit / STEP_SAMPLES * STEP_SAMPLES))
    }

    fn write(&mut self, sound: &[f32]) {
        self.credit = self.credit.saturating_sub(sound.len());
        self.player.write(sound);
    }

    fn lost(&self) -> u64 {
        self.player.lost()
    }
}
