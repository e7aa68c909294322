//! The way between the callback of a sound card and the audio thread: one wait-free ring of mono sound at
//! the card's rate, and a [`Tally`].
//!
//! A callback is called by the system at its own pace with buffers of any length, and must be back before
//! the next one is due. So it only copies: no lock, no allocation, no clock, no log.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use cpal::{FromSample, SizedSample};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::audio::sound::Sample as _;

/// Most recorded sound that waits for the audio thread.
pub(super) const RECORDED_MS: u32 = 200;

/// Room for sound that waits to be played. Seldom more than a third of it is used, see
/// [`Tally::longest`].
pub(super) const PLAYED_MS: u32 = 200;

/// A card's channels beyond these are not heard and stay silent: front left and right.
const STEREO: usize = 2;

/// The loudest sample: a whole 1 is beyond the range of integers.
const LOUDEST: f32 = 1.0 - f32::EPSILON;

/// What a callback tells the audio thread beside sound.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Callbacks that had something to copy.
    pub(super) callbacks: AtomicU64,
    /// Samples that found no room, or were missing, at the card's rate.
    pub(super) lost: AtomicU64,
    /// How many samples the card asks for at once: the most of late, forgotten little by little.
    pub(super) longest: AtomicUsize,
    /// Why nothing will come any more.
    pub(super) fault: OnceLock<String>,
}

/// So many samples of one channel.
pub(super) const fn samples(milliseconds: u32, rate: u32) -> usize {
    (rate as usize * milliseconds as usize) / 1000
}

/// The callback's end of a microphone.
pub(super) struct FromCard {
    ring: Producer<f32>,
    channels: usize,
    tally: Arc<Tally>,
}

/// The callback's end of a loudspeaker.
pub(super) struct ToCard {
    ring: Consumer<f32>,
    channels: usize,
    has_begun: bool,
    tally: Arc<Tally>,
}

/// A microphone's ring.
pub(super) fn recording(rate: u32, channels: u16, tally: &Arc<Tally>) -> (FromCard, Consumer<f32>) {
    let (producer, consumer) = RingBuffer::new(samples(RECORDED_MS, rate));
    let channels = usize::from(channels.max(1));
    (FromCard { ring: producer, channels, tally: tally.clone() }, consumer)
}

/// A loudspeaker's ring.
pub(super) fn playing(rate: u32, channels: u16, tally: &Arc<Tally>) -> (Producer<f32>, ToCard) {
    let (producer, consumer) = RingBuffer::new(samples(PLAYED_MS, rate));
    let channels = usize::from(channels.max(1));
    (producer, ToCard { ring: consumer, channels, has_begun: false, tally: tally.clone() })
}

impl FromCard {
    /// Takes what the card recorded. What finds no room is lost: the ring's other end alone can make
    /// some, so it is the newest that goes.
    pub(super) fn take<T>(&mut self, buffer: &[T])
    where
        T: SizedSample,
        f32: FromSample<T>,
    {
        let frames = buffer.chunks_exact(self.channels);
        let count = frames.len();
        if count == 0 {
            return;
        }
        let room = count.min(self.ring.slots());
        if let Ok(chunk) = self.ring.write_chunk_uninit(room) {
            chunk.fill_from_iter(frames.map(mono));
        }
        self.tally.lost.fetch_add((count - room) as u64, Relaxed);
        self.tally.callbacks.fetch_add(1, Relaxed);
    }
}

impl ToCard {
    /// Fills the card's buffer; what is not there is silence.
    pub(super) fn fill<T>(&mut self, buffer: &mut [T])
    where
        T: SizedSample + FromSample<f32>,
    {
        buffer.fill(T::EQUILIBRIUM);
        let frames = buffer.chunks_exact_mut(self.channels);
        let count = frames.len();
        if count == 0 {
            return;
        }
        let there = count.min(self.ring.slots());
        if let Ok(chunk) = self.ring.read_chunk(there) {
            for (frame, sample) in frames.zip(chunk) {
                let sample = T::from_sample(sample.to_f32().min(LOUDEST));
                frame.iter_mut().take(STEREO).for_each(|channel| *channel = sample);
            }
        }
        self.has_begun |= there > 0;
        if self.has_begun {
            self.tally.lost.fetch_add((count - there) as u64, Relaxed);
        }
        let before = self.tally.longest.load(Relaxed);
        self.tally.longest.store(count.max(before - before.div_ceil(256)), Relaxed);
        self.tally.callbacks.fetch_add(1, Relaxed);
    }
}

/// The sound of one frame. What is no number is silence.
fn mono<T>(frame: &[T]) -> f32
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let heard = frame.len().min(STEREO);
    let sum: f32 = frame.iter().take(heard).map(|sample| sample.to_sample::<f32>()).sum();
    (sum / heard as f32).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn lost(tally: &Tally) -> u64 {
        tally.lost.load(Relaxed)
    }

    fn drain(ring: &mut Consumer<f32>) -> Vec<f32> {
        let there = ring.slots();
        ring.read_chunk(there).unwrap().into_iter().collect()
    }

    #[test]
    fn a_recorded_buffer_of_any_length_does_no_harm_and_what_has_no_room_is_counted() {
        let tally = Arc::default();
        let (mut card, mut ring) = recording(RATE, 2, &tally);
        card.take::<f32>(&[]);
        card.take(&[0.5_f32]);
        assert_eq!((ring.slots(), tally.callbacks.load(Relaxed)), (0, 0), "no whole frame");
        card.take(&[0.5_f32, 0.25]);
        assert_eq!(drain(&mut ring), [0.375]);
        card.take(&vec![0.5_f32; 2_000_000]);
        assert_eq!(lost(&tally), 1_000_000 - 9_600);
        card.take(&[1.0_f32, 1.0]);
        assert_eq!(drain(&mut ring), [0.5; 9_600], "the newest is lost, not what waits");
        card.take(&[1.0_f32, 1.0]);
        assert_eq!(drain(&mut ring), [1.0], "and it goes on as soon as there is room");
        assert_eq!(lost(&tally), 1_000_000 - 9_600 + 1);
    }

    #[test]
    fn a_played_buffer_of_any_length_does_no_harm_and_what_is_missing_is_silent_and_counted() {
        let tally = Arc::default();
        let (mut ring, mut card) = playing(RATE, 1, &tally);
        let mut huge = vec![1.0_f32; 1_000_000];
        card.fill(&mut huge);
        assert_eq!(huge, [0.0; 1_000_000]);
        assert_eq!(lost(&tally), 0, "nobody has played anything yet");
        card.fill::<f32>(&mut []);
        assert_eq!(tally.callbacks.load(Relaxed), 1, "an empty buffer is no sign of life");

        ring.push_entire_slice(&[0.1, 0.2, 0.3, 0.4, 0.5]).unwrap();
        let mut one = [9.0_f32; 1];
        card.fill(&mut one);
        assert_eq!(one, [0.1]);
        let mut ten = [9.0_f32; 10];
        card.fill(&mut ten);
        assert_eq!(ten, [0.2, 0.3, 0.4, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(lost(&tally), 6);
    }

    #[test]
    fn one_long_buffer_is_forgotten_after_many_short_ones() {
        let tally = Arc::default();
        let (_ring, mut card) = playing(RATE, 1, &tally);
        card.fill(&mut [0.0_f32; 960]);
        card.fill(&mut [0.0_f32; 480]);
        assert!(tally.longest.load(Relaxed) > 950);
        (0..400).for_each(|_| card.fill(&mut [0.0_f32; 480]));
        assert_eq!(tally.longest.load(Relaxed), 480);
    }

    #[test]
    fn every_kind_of_sample_and_number_of_channels_is_heard_and_played() {
        let tally = Arc::default();
        let (mut card, mut ring) = recording(RATE, 6, &tally);
        card.take(&[16_384_i16, -16_384, 99, 99, 99, 99, 16_384, 16_384, 0, 0, 0, 0]);
        card.take(&[192_u8; 6]);
        card.take(&[f32::NAN; 6]);
        assert_eq!(drain(&mut ring), [0.0, 0.5, 0.5, 0.0]);

        let (mut ring, mut card) = playing(RATE, 3, &tally);
        ring.push_entire_slice(&[0.5, 1.0, -1.0, f32::NAN, 0.5]).unwrap();
        let mut wide = [7_i16; 3];
        card.fill(&mut wide);
        assert_eq!(wide, [16_384, 16_384, 0]);
        let mut most = [cpal::I24::new(0).unwrap(); 9];
        card.fill(&mut most);
        let most = most.map(cpal::I24::inner);
        assert_eq!(most, [8_388_607, 8_388_607, 0, -8_388_608, -8_388_608, 0, 0, 0, 0]);
        let mut unsigned = [0_u8; 6];
        card.fill(&mut unsigned);
        assert_eq!(unsigned, [192, 192, 128, 128, 128, 128]);
    }
}
