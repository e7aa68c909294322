//! The media of the suite: devices whose frames are numbered, and sinks that remember them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, Interval};

use crate::{
    host::{Codec, Frame, FrameSink, FrameSource, Media, Playout, RemoteTrack, SourceControl},
    id::{PeerId, SessionId, TrackId},
    machine::io::{Capture, Fault, MediaKind, MediaSource},
};

/// The device that is asked for and never granted.
pub(super) const NEVER: &str = "never";
/// The device that is refused.
pub(super) const DENIED: &str = "denied";
/// The device that ends by itself after some frames.
pub(super) const SHORT: &str = "short";

/// Frames that the device [`SHORT`] gives.
const SHORT_FRAMES: u32 = 10;
/// Frames that are remembered of one side; more are of no use to any cell.
const MAX_HEARD: usize = 20_000;
/// An Opus packet of 20 ms of silence, as a muted microphone sends it.
pub(super) const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// How long the picture of that number is, in bytes: three packets, the last of them of any length.
pub(super) const fn picture_bytes(number: u32) -> usize {
    2_900 + number as usize * 7 % 200
}

/// A frame that came in.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) track: RemoteTrack,
    pub(super) frame: Frame,
}

impl Heard {
    /// Which device made it, and its number there; `None` for silence.
    pub(super) fn made(&self) -> Option<(u8, u32)> {
        let at = if self.frame.codec.kind() == MediaKind::Video { HEAD.len() } else { 1 };
        let mark: &[u8; 5] = self.frame.data.get(at..at + 5)?.try_into().ok()?;
        let [device, number @ ..] = *mark;
        Some((device, u32::from_be_bytes(number)))
    }
}

/// What happened at the devices of one side.
#[derive(Default)]
pub(super) struct Log {
    heard: Mutex<Vec<Heard>>,
    /// The connections by which something came in, however much it was.
    heard_by: Mutex<BTreeSet<PeerId>>,
    /// Samples of sound that were played.
    played: AtomicU64,
    controls: Mutex<Vec<(u8, SourceControl)>>,
    /// Whether microphones are unplugged.
    pub(super) unplugged: AtomicBool,
    /// Devices that somebody is asked for, and those that are open.
    pub(super) asked: AtomicUsize,
    pub(super) open: AtomicUsize,
    /// Whether the next sink that is asked wants a key frame.
    pub(super) wish: AtomicBool,
    /// Sinks that are there.
    pub(super) sinks: AtomicUsize,
    made: AtomicUsize,
}

impl Log {
    /// Looks at all that came in.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[Heard]) -> T) -> T {
        look(&lock(&self.heard))
    }

    /// By how many connections something came in.
    pub(super) fn connections(&self) -> usize {
        lock(&self.heard_by).len()
    }

    /// How many samples of sound were played, as the sinks say.
    pub(super) fn played(&self) -> u64 {
        self.played.load(Ordering::SeqCst)
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.heard).len()
    }

    /// What the engine told the devices.
    pub(super) fn controls(&self) -> Vec<SourceControl> {
        lock(&self.controls).iter().map(|(_, control)| *control).collect()
    }

    /// How many devices were opened so far; the newest has this number.
    pub(super) fn devices(&self) -> u8 {
        self.made.load(Ordering::SeqCst) as u8
    }
}

/// Gives devices at once, but for those whose name says otherwise.
pub(super) struct Studio {
    pub(super) log: Arc<Log>,
}

#[async_trait]
impl Media for Studio {
    async fn capture(
        &self,
        _: SessionId,
        _: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        let _asked = Counted::new(&self.log, |log| &log.asked);
        let name = what.input.as_ref().map(|input| input.as_str());
        match name {
            Some(NEVER) => std::future::pending().await,
            Some(DENIED) => return Err(Fault::Denied),
            Some(_) | None => {}
        }
        let is_picture = what.kind == MediaKind::Video || what.source == MediaSource::Screen;
        let every = Duration::from_millis(if is_picture { 40 } else { 20 });
        Ok(Box::new(Device {
            number: self.log.made.fetch_add(1, Ordering::SeqCst) as u8 + 1,
            is_picture,
            next: 0,
            ends: (name == Some(SHORT)).then_some(SHORT_FRAMES),
            clock: tokio::time::interval_at(Instant::now(), every),
            log: self.log.clone(),
            _open: Counted::new(&self.log, |log| &log.open),
        }))
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        let here = Counted::new(&self.log, |log| &log.sinks);
        Some(Box::new(Sink { track, log: self.log.clone(), _here: here }))
    }
}

/// Counts something for as long as it lives.
struct Counted(Arc<Log>, fn(&Log) -> &AtomicUsize);

impl Counted {
    fn new(log: &Arc<Log>, which: fn(&Log) -> &AtomicUsize) -> Self {
        which(log).fetch_add(1, Ordering::SeqCst);
        Self(log.clone(), which)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::SeqCst);
    }
}

/// A device whose frames say which device made them, and the how manieth each is.
struct Device {
    number: u8,
    is_picture: bool,
    next: u32,
    ends: Option<u32>,
    clock: Interval,
    log: Arc<Log>,
    _open: Counted,
}

/// What packetisers take for the head of a VP8 key frame of 64 × 64.
const HEAD: [u8; 10] = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0];

#[async_trait]
impl FrameSource for Device {
    fn codec(&self) -> Codec {
        if self.is_picture { Codec::Vp8 } else { Codec::Opus }
    }

    async fn next(&mut self) -> Option<Frame> {
        self.clock.tick().await;
        if self.ends == Some(self.next) {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let mark = [&[self.number][..], &number.to_be_bytes()].concat();
        let stamp = u64::from(number) * if self.is_picture { 3_600 } else { 960 };
        if self.is_picture {
            let mut data = [&HEAD[..], &mark].concat();
            data.resize(picture_bytes(number), self.number);
            return Some(Frame::new(Codec::Vp8, stamp, data));
        }
        let data = [&[SILENCE[0]][..], &mark, &[7; 60]].concat();
        Some(Frame { audio_level: Some(LEVEL), ..Frame::new(Codec::Opus, stamp, data) })
    }

    fn control(&mut self, control: SourceControl) {
        lock(&self.log.controls).push((self.number, control));
    }

    fn has_device(&self) -> bool {
        self.is_picture || !self.log.unplugged.load(Ordering::SeqCst)
    }
}

/// How loud all microphones are, in dBov.
pub(super) const LEVEL: i8 = -31;

/// How long all sinks say that sound waits.
pub(super) const DELAY: Duration = Duration::from_millis(42);

/// Remembers; wants a key frame when the cell does.
struct Sink {
    track: RemoteTrack,
    log: Arc<Log>,
    _here: Counted,
}

impl FrameSink for Sink {
    fn push(&mut self, frame: Frame) {
        lock(&self.log.heard_by).insert(self.track.peer);
        if self.track.kind == MediaKind::Audio {
            self.log.played.fetch_add(960, Ordering::SeqCst);
        }
        let mut heard = lock(&self.log.heard);
        if heard.len() < MAX_HEARD {
            heard.push(Heard { track: self.track.clone(), frame });
        }
    }

    fn wants_key_frame(&mut self) -> bool {
        self.log.wish.swap(false, Ordering::SeqCst)
    }

    fn playout(&self) -> Option<Playout> {
        let played = self.log.played();
        let sound = Playout { played, decoded: played, delay: DELAY, ..Playout::default() };
        (self.track.kind == MediaKind::Audio).then_some(sound)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
