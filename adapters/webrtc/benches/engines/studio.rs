//! Media of a bench: devices that give frames of a certain size in time or as fast as they are
//! taken, and sinks that count.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Codec, Frame, FrameSink, FrameSource, Media, RemoteTrack, SourceControl},
    id::{SessionId, TrackId},
    machine::io::{Capture, Fault, MediaKind},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, Interval, interval_at, timeout},
};

/// Bytes of 20 ms of speech at 32 kbit/s.
const SOUND: usize = 80;

/// Bytes of one of 30 pictures a second at 1 Mbit/s.
const PICTURE: usize = 4_167;

/// Frames that are on their way at once where they go as fast as they are taken: less than what an
/// engine holds for a connection that does not follow.
const WINDOW: usize = 8;

/// After which time without an arrival all that is on its way counts as lost.
const LOST: Duration = Duration::from_millis(100);

/// What VP8's packetiser takes for the head of a key frame of 64 × 64.
const HEAD: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0];

/// When devices give frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As devices do: 50 sounds, 30 pictures a second.
    Live,
    /// As devices do, for so many frames, and then nothing any more.
    Brief(u64),
    /// The next one when an earlier one has arrived.
    Flood,
}

/// One way from devices to sinks: what went over it.
pub struct Lane {
    pace: Pace,
    window: Semaphore,
    packets: AtomicU64,
    frames: AtomicU64,
    lost: AtomicU64,
}

impl Lane {
    pub fn new(pace: Pace) -> Arc<Self> {
        Arc::new(Self {
            pace,
            window: Semaphore::new(WINDOW),
            packets: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// RTP packets that have arrived.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Frames that have arrived.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Frames that a flood waited for in vain.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The media of one side.
pub struct Studio {
    pub out: Arc<Lane>,
    pub back: Arc<Lane>,
}

#[async_trait]
impl Media for Studio {
    async fn capture(
        &self,
        _: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        let is_sound = what.kind == MediaKind::Audio;
        let every = Duration::from_nanos(1_000_000_000 / if is_sound { 50 } else { 30 });
        // Devices of many calls do not give their frames at the same moment.
        let begin = Instant::now() + every.mul_f64(track.0 as f64 * 0.618 % 1.0);
        let clock = interval_at(begin, every);
        Ok(Box::new(Device { is_sound, next: 0, clock, lane: self.out.clone() }))
    }

    fn sink(&self, _: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        Some(Box::new(Sink { last: None, lane: self.back.clone() }))
    }
}

struct Device {
    is_sound: bool,
    next: u64,
    clock: Interval,
    lane: Arc<Lane>,
}

impl Device {
    /// Until the next frame is due.
    async fn due(&mut self) {
        match self.lane.pace {
            Pace::Live => drop(self.clock.tick().await),
            Pace::Brief(frames) if self.next < frames => drop(self.clock.tick().await),
            Pace::Brief(_) => std::future::pending().await,
            Pace::Flood => match timeout(LOST, self.lane.window.acquire()).await {
                Ok(room) => room.expect("never closed").forget(),
                Err(_) => {
                    self.lane.lost.fetch_add(WINDOW as u64, Ordering::Relaxed);
                    self.lane.window.add_permits(WINDOW - 1);
                }
            },
        }
    }
}

#[async_trait]
impl FrameSource for Device {
    fn codec(&self) -> Codec {
        if self.is_sound { Codec::Opus } else { Codec::Vp8 }
    }

    async fn next(&mut self) -> Option<Frame> {
        self.due().await;
        let number = self.next;
        self.next += 1;
        if self.is_sound {
            return Some(Frame::new(Codec::Opus, number * 960, vec![0x78; SOUND]));
        }
        let mut data = HEAD.to_vec();
        data.resize(PICTURE, 7);
        Some(Frame::new(Codec::Vp8, number * 3_000, data))
    }

    fn control(&mut self, _: SourceControl) {}
}

struct Sink {
    /// The number of the last frame's first packet.
    last: Option<u64>,
    lane: Arc<Lane>,
}

impl FrameSink for Sink {
    fn push(&mut self, frame: Frame) {
        let last = std::mem::replace(&mut self.last, frame.sequence);
        let packets = frame.sequence.zip(last).map_or(0, |(this, last)| this.saturating_sub(last));
        self.lane.packets.fetch_add(packets, Ordering::Relaxed);
        self.lane.frames.fetch_add(1, Ordering::Relaxed);
        if self.lane.pace == Pace::Flood {
            self.lane.window.add_permits(1);
        }
    }
}
