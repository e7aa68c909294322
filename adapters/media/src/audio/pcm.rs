//! Sound from and to the application: PCM in, PCM out.
//!
//! [`pcm_source`] gives a microphone that an application speaks into, [`pcm_sink`] a speaker that
//! it listens to. Both are bounded queues of 48 kHz, one channel: the application writes as far
//! ahead as the queue is long and then waits; what it does not read in time is dropped, the oldest
//! first, and counted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use matrix_voip::host::{Frame, FrameSink};
use tokio::sync::Notify;

use super::{
    sound::{FRAME_SAMPLES, SAMPLE_RATE, Sample},
    track::{TrackCounts, TrackDecoder},
    voice::{Filled, Pcm, Voice},
};
use crate::source::Paced;

/// Most sound that waits to be sent, in samples: one second. A writer waits for room beyond it.
pub const MAX_QUEUED: usize = SAMPLE_RATE as usize;

/// Most received sound that waits to be read, in samples: ten seconds.
pub const MAX_UNREAD: usize = 10 * SAMPLE_RATE as usize;

/// A queue of sound between two owners.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sound: VecDeque<f32>,
    closed: bool,
    dropped: u64,
    counts: TrackCounts,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Drops what waits; there is room again.
    fn clear(&self) {
        self.lock().sound.clear();
        self.changed.notify_one();
    }
}

/// A microphone that the application speaks into: what is written to the input is sent, and
/// silence while there is nothing. When the input is dropped, what is left is sent and the source
/// ends.
pub fn pcm_source() -> (PcmInput, Paced<Voice<PcmQueue>>) {
    let (input, queue) = pcm_input();
    (input, queue.source())
}

/// The same without a clock and a codec.
pub(crate) fn pcm_input() -> (PcmInput, PcmQueue) {
    let queue = Arc::new(Queue::default());
    (PcmInput(Arc::clone(&queue)), PcmQueue(queue))
}

/// Nobody takes sound any more: the call is over, or the headset has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes sound any more: the call, or the headset, has ended")]
pub struct PcmClosed;

/// The application's end of a [`pcm_source`].
#[derive(Debug)]
pub struct PcmInput(Arc<Queue>);

impl PcmInput {
    /// Queues sound, and waits while more than [`MAX_QUEUED`] is waiting to be sent: a long text
    /// takes about as long as it is to be spoken. Cancelled, it has queued the beginning.
    ///
    /// # Errors
    /// [`PcmClosed`] when the source is gone.
    pub async fn write<S: Sample>(&mut self, mut sound: &[S]) -> Result<(), PcmClosed> {
        loop {
            sound = &sound[self.try_write(sound)?..];
            if sound.is_empty() {
                return Ok(());
            }
            self.0.changed.notified().await;
        }
    }

    /// Queues as much as there is room for, and says how many samples that were.
    ///
    /// # Errors
    /// [`PcmClosed`] when the source is gone.
    pub fn try_write<S: Sample>(&mut self, sound: &[S]) -> Result<usize, PcmClosed> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(PcmClosed);
        }
        let taken = sound.len().min(MAX_QUEUED - state.sound.len().min(MAX_QUEUED));
        state.sound.extend(sound[..taken].iter().map(|sample| sample.to_f32()));
        Ok(taken)
    }

    /// Waits until all that was written is taken to be sent; then a bot that said goodbye can hang up. At a
    /// headset the last 40 ms are on the way to the encoder still. Cancel safe.
    ///
    /// # Errors
    /// [`PcmClosed`] when the source is gone before.
    pub async fn sent(&mut self) -> Result<(), PcmClosed> {
        loop {
            {
                let state = self.0.lock();
                if state.closed {
                    return Err(PcmClosed);
                }
                if state.sound.is_empty() {
                    return Ok(());
                }
            }
            self.0.changed.notified().await;
        }
    }

    /// Drops what is not sent yet: the other side interrupts.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How much waits to be sent.
    pub fn waiting(&self) -> Duration {
        let samples = self.0.lock().sound.len() as u64;
        Duration::from_nanos(samples * 1_000_000_000 / u64::from(SAMPLE_RATE))
    }
}

impl Drop for PcmInput {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The sending end of a [`pcm_source`].
#[derive(Debug)]
pub struct PcmQueue(Arc<Queue>);

impl PcmQueue {
    /// Drops what is written and not sent.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

impl Pcm for PcmQueue {
    fn fill(&mut self, out: &mut [f32; FRAME_SAMPLES]) -> Filled {
        let mut state = self.0.lock();
        if state.closed && state.sound.is_empty() {
            return Filled::Over;
        }
        let ready = state.sound.len().min(out.len());
        for (sample, value) in out.iter_mut().zip(state.sound.drain(..ready)) {
            *sample = value;
        }
        out[ready..].fill(0.0);
        drop(state);
        self.0.changed.notify_one();
        Filled::Frame
    }
}

impl Drop for PcmQueue {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A speaker that the application listens to.
pub fn pcm_sink() -> (PcmSink, PcmOutput) {
    let (ear, output) = pcm_output();
    (PcmSink { decoder: TrackDecoder::new(), sound: Vec::new(), ear }, output)
}

/// The same for sound that is decoded already.
pub(crate) fn pcm_output() -> (PcmEar, PcmOutput) {
    let queue = Arc::new(Queue::default());
    (PcmEar(Arc::clone(&queue)), PcmOutput(queue))
}

/// The engine's end of a [`pcm_sink`].
#[derive(Debug)]
pub struct PcmSink {
    decoder: TrackDecoder,
    sound: Vec<f32>,
    ear: PcmEar,
}

impl FrameSink for PcmSink {
    fn push(&mut self, frame: Frame) {
        self.sound.clear();
        self.decoder.push(&frame, &mut self.sound);
        self.ear.0.lock().counts = self.decoder.counts();
        self.ear.hear(&self.sound);
    }
}

impl Drop for PcmSink {
    /// What waits for a packet before it is heard, too: there will be none.
    fn drop(&mut self) {
        self.sound.clear();
        self.decoder.finish(&mut self.sound);
        self.ear.0.lock().counts = self.decoder.counts();
        self.ear.hear(&self.sound);
    }
}

/// Where decoded sound waits to be read. When it is dropped the application has heard all.
#[derive(Debug)]
pub(crate) struct PcmEar(Arc<Queue>);

impl PcmEar {
    /// Adds sound, and drops the oldest that was not read in time.
    pub(crate) fn hear(&self, sound: &[f32]) {
        let mut state = self.0.lock();
        if state.closed {
            return;
        }
        state.sound.extend(sound);
        let excess = state.sound.len().saturating_sub(MAX_UNREAD);
        state.sound.drain(..excess);
        state.dropped += excess as u64;
        drop(state);
        self.0.changed.notify_one();
    }
}

impl Drop for PcmEar {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The application's end of a [`pcm_sink`].
#[derive(Debug)]
pub struct PcmOutput(Arc<Queue>);

impl PcmOutput {
    /// The next 20 ms (960 samples) that were heard, gaps concealed; the last one may be shorter.
    /// `None`: the call, or the headset, has ended, and all was read. Cancel safe.
    pub async fn read<S: Sample>(&mut self) -> Option<Vec<S>> {
        loop {
            if let Some(sound) = self.take() {
                return (!sound.is_empty()).then_some(sound);
            }
            self.0.changed.notified().await;
        }
    }

    /// 20 ms if there are any; nothing at the end; `None` when it is to be waited for.
    pub(crate) fn take<S: Sample>(&self) -> Option<Vec<S>> {
        let mut state = self.0.lock();
        if state.sound.len() < FRAME_SAMPLES && !state.closed {
            return None;
        }
        let ready = state.sound.len().min(FRAME_SAMPLES);
        Some(state.sound.drain(..ready).map(S::from_f32).collect())
    }

    /// Samples that were dropped because they were not read in time.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }

    /// What became of the received packets.
    pub fn counts(&self) -> TrackCounts {
        self.0.lock().counts
    }
}

impl Drop for PcmOutput {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.sound = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::host::FrameSource;
    use tokio::time::Instant;

    use super::*;
    use crate::audio::{ear::Ear, level::Level, tone::Tone};

    async fn play(source: &mut impl FrameSource, sink: &mut PcmSink, frames: usize) {
        for _ in 0..frames {
            sink.push(source.next().await.expect("the source ended"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_heard_on_the_other_side() {
        let (mut input, mut source) = pcm_source();
        let (mut sink, mut output) = pcm_sink();
        let tone: Vec<i16> = Tone::new(523.0, 0.3).take(48_000).map(i16::from_f32).collect();
        input.write(&tone).await.unwrap();
        drop(input);
        while let Some(frame) = source.next().await {
            sink.push(frame);
        }
        drop(sink);
        let mut ear = Ear::new();
        let mut samples = 0;
        while let Some(sound) = output.read::<f32>().await {
            samples += sound.len();
            ear.push(&sound);
        }
        assert_eq!(samples, 48_000);
        let tone = ear.overall().tone.unwrap();
        assert!((tone.hz - 523.0).abs() < 2.0 && (tone.level - 0.3).abs() < 0.05, "{tone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_is_held_to_real_time() {
        let (mut input, mut source) = pcm_source();
        let start = Instant::now();
        let speak = async {
            input.write(&[0.1_f32; 3 * MAX_QUEUED]).await.unwrap();
            assert_eq!(start.elapsed().as_millis(), 1_980, "two of three seconds are on their way");
            assert_eq!(input.waiting(), Duration::from_secs(1));
            input.sent().await.unwrap();
            assert_eq!(start.elapsed().as_millis(), 2_980);
        };
        tokio::select! {
            biased;
            () = speak => {}
            () = async { while source.next().await.is_some() {} } => panic!("ended early"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_sent_while_nothing_is_written() {
        let (mut input, mut source) = pcm_source();
        let (mut sink, mut output) = pcm_sink();
        play(&mut source, &mut sink, 3).await;
        let sound = output.read::<f32>().await.unwrap();
        assert_eq!(sound.len(), FRAME_SAMPLES);
        assert!(Level::of(&sound).peak < 0.001);
        input.write(&[0.5_f32; 10]).await.unwrap();
        input.clear();
        input.sent().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn both_ends_learn_that_the_call_is_over() {
        let (mut input, source) = pcm_source();
        drop(source);
        assert_eq!(input.write(&[0_i16; 5]).await, Err(PcmClosed));
        assert_eq!(input.sent().await, Err(PcmClosed));
        let (sink, mut output) = pcm_sink();
        drop(sink);
        assert_eq!(output.read::<i16>().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_read_is_dropped_from_its_beginning_and_counted() {
        let (_input, mut source) = pcm_source();
        let (mut sink, mut output) = pcm_sink();
        play(&mut source, &mut sink, 510).await;
        assert_eq!(output.dropped(), 10 * FRAME_SAMPLES as u64);
        drop(sink);
        let mut frames = 0;
        while output.read::<i16>().await.is_some() {
            frames += 1;
        }
        assert_eq!(frames, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_left_costs_no_memory() {
        let (_input, mut source) = pcm_source();
        let (mut sink, output) = pcm_sink();
        drop(output);
        play(&mut source, &mut sink, 5).await;
        assert!(sink.ear.0.lock().sound.is_empty());
    }
}
