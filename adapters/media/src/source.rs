//! Scripts, and the clock that turns a script into a source.
//!
//! A [`Script`] makes frames one after the other and says when each is due, in media time; it
//! knows no clock, so tests and simulations drive it directly. [`Paced`] plays a script in real
//! time: frame `n` is due at `start + media time of n`, so a late wake-up delays one frame and not
//! all that follow. After a longer stall at most [`MAX_BURST`] of media is caught up at once; the
//! rest is left out of the schedule, and the time stamps jump with the clock.

use std::{mem, time::Duration};

use async_trait::async_trait;
use matrix_voip::host::{Codec, Frame, FrameSource, SourceControl};
use tokio::{task::JoinHandle, time::Instant};

/// Most media time that is sent at once after a stall: five packets of sound.
pub const MAX_BURST: Duration = Duration::from_millis(100);

/// What a script made of the moment that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A frame, its time stamp in ticks since the script began.
    Frame(Frame),
    /// Nothing is to be sent now.
    Skipped,
}

/// How long a script works on one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Well under a millisecond: done in place.
    Light,
    /// Longer: done on a thread for blocking work.
    Heavy,
}

/// Makes the frames of one track, without a clock.
pub trait Script: Send + 'static {
    /// The codec of all its frames.
    fn codec(&self) -> Codec;

    /// When the next frame is due, in ticks of the codec's clock since the script began; never
    /// less than before. `None`: there are no more.
    fn due(&mut self) -> Option<u64>;

    /// Makes what is due, and goes on to the next.
    fn make(&mut self) -> Made;

    /// News about the way out.
    fn control(&mut self, _control: SourceControl) {}

    /// How long [`make`](Self::make) takes.
    fn weight(&self) -> Weight {
        Weight::Light
    }

    /// The script on the clock, as a source.
    fn paced(self) -> Paced<Self>
    where
        Self: Sized,
    {
        Paced::new(self)
    }
}

/// Lets frames through unless the track is muted; afterwards from the next key frame on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Gate {
    /// Everything passes.
    #[default]
    Open,
    /// Nothing passes.
    Shut,
    /// Nothing passes before a key frame.
    UntilKeyFrame,
}

impl Gate {
    pub(crate) fn control(&mut self, control: SourceControl) {
        match (control, *self) {
            (SourceControl::Enabled(false), _) => *self = Self::Shut,
            (SourceControl::Enabled(true), Self::Shut) => *self = Self::UntilKeyFrame,
            _ => {}
        }
    }

    pub(crate) fn pass(&mut self, frame: Frame) -> Made {
        if *self == Self::UntilKeyFrame && frame.key_frame {
            *self = Self::Open;
        }
        if *self == Self::Open { Made::Frame(frame) } else { Made::Skipped }
    }
}

/// When media time is due on a clock that started with the first question.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    rate: u32,
    start: Option<Instant>,
    jumped: Duration,
}

impl Schedule {
    fn new(rate: u32) -> Self {
        Self { rate, start: None, jumped: Duration::ZERO }
    }

    fn due(&mut self, ticks: u64, now: Instant) -> Instant {
        let start = *self.start.get_or_insert(now);
        start + self.jumped + ticks_to_duration(ticks, self.rate)
    }

    /// The time stamp for a frame that was due at `due` and is made at `now`.
    fn stamp(&mut self, ticks: u64, due: Instant, now: Instant) -> u64 {
        let late = now.saturating_duration_since(due);
        self.jumped += late.saturating_sub(MAX_BURST);
        ticks + duration_to_ticks(self.jumped, self.rate)
    }
}

fn ticks_to_duration(ticks: u64, rate: u32) -> Duration {
    let rate = u64::from(rate);
    let nanos = (ticks % rate) * 1_000_000_000 / rate;
    Duration::from_secs(ticks / rate) + Duration::from_nanos(nanos)
}

fn duration_to_ticks(duration: Duration, rate: u32) -> u64 {
    (duration.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
}

/// Plays a script in real time. Wants a tokio runtime with time enabled.
#[derive(Debug)]
pub struct Paced<S> {
    codec: Codec,
    stage: Stage<S>,
    schedule: Schedule,
    waiting: Waiting,
}

#[derive(Debug)]
enum Stage<S> {
    Here(S),
    /// The script is at work on another thread; with the frame's time stamp.
    Away(JoinHandle<(S, Made)>, u64),
    Gone,
}

/// Controls that came while the script was away; the newest of each kind.
#[derive(Debug, Default)]
struct Waiting {
    enabled: Option<SourceControl>,
    key_frame: Option<SourceControl>,
    bitrate: Option<SourceControl>,
    loss: Option<SourceControl>,
}

impl Waiting {
    fn keep(&mut self, control: SourceControl) {
        match control {
            SourceControl::Enabled(_) => self.enabled = Some(control),
            SourceControl::KeyFrame => self.key_frame = Some(control),
            SourceControl::Bitrate(_) => self.bitrate = Some(control),
            SourceControl::Loss(_) => self.loss = Some(control),
            _ => {}
        }
    }

    fn tell(&mut self, script: &mut impl Script) {
        let waiting = mem::take(self);
        [waiting.enabled, waiting.key_frame, waiting.bitrate, waiting.loss]
            .into_iter()
            .flatten()
            .for_each(|control| script.control(control));
    }
}

impl<S: Script> Paced<S> {
    /// The script on a clock that starts when the first frame is asked for.
    pub fn new(script: S) -> Self {
        let codec = script.codec();
        Self {
            codec,
            stage: Stage::Here(script),
            schedule: Schedule::new(codec.clock_rate()),
            waiting: Waiting::default(),
        }
    }

    /// Waits until something is due, and has it made. `None`: there are no more.
    async fn step(&mut self) -> Option<Made> {
        if let Stage::Here(script) = &mut self.stage {
            let ticks = script.due()?;
            let due = self.schedule.due(ticks, Instant::now());
            tokio::time::sleep_until(due).await;
            let stamp = self.schedule.stamp(ticks, due, Instant::now());
            if script.weight() == Weight::Light {
                return Some(stamped(script.make(), stamp));
            }
            self.send_away(stamp);
        }
        self.fetch_back().await
    }

    fn send_away(&mut self, stamp: u64) {
        if let Stage::Here(mut script) = mem::replace(&mut self.stage, Stage::Gone) {
            let work = move || {
                let made = script.make();
                (script, made)
            };
            self.stage = Stage::Away(tokio::task::spawn_blocking(work), stamp);
        }
    }

    async fn fetch_back(&mut self) -> Option<Made> {
        let Stage::Away(work, stamp) = &mut self.stage else { return None };
        let (result, stamp) = (work.await, *stamp);
        self.stage = Stage::Gone;
        match result {
            Ok((mut script, made)) => {
                self.waiting.tell(&mut script);
                self.stage = Stage::Here(script);
                Some(stamped(made, stamp))
            }
            Err(error) => {
                tracing::error!(%error, "a source ended");
                None
            }
        }
    }
}

fn stamped(made: Made, timestamp: u64) -> Made {
    match made {
        Made::Frame(frame) => Made::Frame(Frame { timestamp, ..frame }),
        Made::Skipped => Made::Skipped,
    }
}

#[async_trait]
impl<S: Script> FrameSource for Paced<S> {
    fn codec(&self) -> Codec {
        self.codec
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Made::Frame(frame) = self.step().await? {
                return Some(frame);
            }
        }
    }

    fn control(&mut self, control: SourceControl) {
        match &mut self.stage {
            Stage::Here(script) => script.control(control),
            Stage::Away(..) => self.waiting.keep(control),
            Stage::Gone => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{
        tone::{Silence, Tone},
        voice::Pcm,
    };

    #[tokio::test(start_paused = true)]
    async fn sound_comes_every_twenty_milliseconds_and_does_not_drift() {
        let mut source = Tone::new(440.0, 0.2).source();
        let start = Instant::now();
        for n in 0..100_u64 {
            let frame = source.next().await.unwrap();
            assert_eq!(frame.timestamp, n * 960);
            assert_eq!(start.elapsed().as_millis() as u64, n * 20);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_stall_is_caught_up() {
        let mut source = Silence.source();
        let start = Instant::now();
        source.next().await.unwrap();
        tokio::time::advance(Duration::from_millis(90)).await;
        for n in 1..=4_u64 {
            assert_eq!(source.next().await.unwrap().timestamp, n * 960);
            assert_eq!(start.elapsed().as_millis(), 90);
        }
        assert_eq!(source.next().await.unwrap().timestamp, 5 * 960);
        assert_eq!(start.elapsed().as_millis(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_stall_the_burst_is_bounded_and_the_time_stamps_jump() {
        let mut source = Silence.source();
        source.next().await.unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
        let stalled = Instant::now();
        let mut at_once = 0;
        let mut stamps = Vec::new();
        loop {
            stamps.push(source.next().await.unwrap().timestamp);
            if stalled.elapsed() > Duration::ZERO {
                break;
            }
            at_once += 1;
        }
        assert_eq!(at_once, 6, "the late one and five more");
        assert_eq!(stamps[0], 48_000 * 29 / 10);
        assert!(stamps.windows(2).all(|pair| pair[1] == pair[0] + 960), "{stamps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_loses_no_frame() {
        let mut source = Silence.source();
        let mut stamps = Vec::new();
        while stamps.len() < 10 {
            tokio::select! {
                frame = source.next() => stamps.push(frame.unwrap().timestamp / 960),
                () = tokio::time::sleep_until(Instant::now() + Duration::from_millis(7)) => {}
            }
        }
        assert_eq!(stamps, (0..10).collect::<Vec<_>>());
    }

    /// Counts, slowly.
    struct Slow {
        made: u64,
        controls: Vec<SourceControl>,
    }

    impl Script for Slow {
        fn codec(&self) -> Codec {
            Codec::Vp8
        }
        fn due(&mut self) -> Option<u64> {
            (self.made < 5).then_some(self.made * 9_000)
        }
        fn make(&mut self) -> Made {
            self.made += 1;
            Made::Frame(Frame::new(Codec::Vp8, 0, vec![self.controls.len() as u8]))
        }
        fn control(&mut self, control: SourceControl) {
            self.controls.push(control);
        }
        fn weight(&self) -> Weight {
            Weight::Heavy
        }
    }

    #[tokio::test(start_paused = true)]
    async fn heavy_work_is_done_elsewhere_and_controls_wait_for_it() {
        let mut source = Slow { made: 0, controls: Vec::new() }.paced();
        source.next().await.unwrap();
        source.send_away(0);
        (0..9).for_each(|n| source.control(SourceControl::Bitrate(n)));
        source.control(SourceControl::KeyFrame);
        source.next().await.unwrap();
        assert_eq!(source.next().await.unwrap().data, [2], "one of each kind waited");
        while source.next().await.is_some() {}
        assert!(source.next().await.is_none(), "the end is the end");
    }
}
