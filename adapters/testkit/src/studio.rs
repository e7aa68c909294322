//! A `Media` for the tests over real sockets: tones that pace themselves, sinks that remember,
//! devices that a person must grant.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use matrix_voip::{
    host::{
        Codec, Frame, FrameSink, FrameSource, Mailbox, Media, PeerEvents, RemoteTrack,
        SourceControl, WebRtc,
        mailbox::{self, DriverEnd},
    },
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Capture, Description, Fault, Input, MediaKind, MediaSource, PeerConfig, PeerNews,
        PeerState, Plan,
    },
};
use tokio::time::{Instant, Interval, timeout};

use crate::Tone;

/// Longer than anything takes that goes well.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happened at one side's devices.
#[derive(Default)]
pub struct Log {
    /// What came in.
    pub heard: Mutex<Vec<(RemoteTrack, Frame)>>,
    /// What the engine told the sources.
    pub controls: Mutex<Vec<SourceControl>>,
    /// Devices that somebody is asked for.
    pub opening: AtomicUsize,
    /// Devices that are open.
    pub open: AtomicUsize,
    /// Frames after which the sink panics.
    pub breaks_after: AtomicUsize,
    /// Frames after which a device ends by itself, as one that is unplugged; 0: it does not.
    pub ends_after: AtomicUsize,
}

/// Microphones give a tone (that of the input, where one is named), cameras a picture of numbers;
/// screens are never granted.
pub struct Studio {
    /// The tone of a microphone that nobody has named.
    pub hertz: f32,
    /// What happens here.
    pub log: Arc<Log>,
}

#[async_trait]
impl Media for Studio {
    async fn capture(
        &self,
        _: SessionId,
        _: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        let _asking = Counted::new(&self.log, |log| &log.opening);
        if what.source == MediaSource::Screen {
            std::future::pending::<()>().await;
        }
        // An input is named by its frequency.
        let hertz = match &what.input {
            Some(input) => input.as_str().parse().map_err(|_| Fault::NotFound)?,
            None => self.hertz,
        };
        let every = Duration::from_millis(if what.kind == MediaKind::Audio { 20 } else { 40 });
        Ok(Box::new(Source {
            kind: what.kind,
            tone: Tone::new(hertz),
            made: 0,
            clock: tokio::time::interval_at(Instant::now(), every),
            log: self.log.clone(),
            _open: Counted::new(&self.log, |log| &log.open),
        }))
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        Some(Box::new(Sink { track, log: self.log.clone(), pictures: 0 }))
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

struct Source {
    kind: MediaKind,
    tone: Tone,
    made: u64,
    clock: Interval,
    log: Arc<Log>,
    _open: Counted,
}

#[async_trait]
impl FrameSource for Source {
    fn codec(&self) -> Codec {
        if self.kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 }
    }

    async fn next(&mut self) -> Option<Frame> {
        self.clock.tick().await;
        let n = self.made;
        let ends_after = self.log.ends_after.load(Ordering::SeqCst) as u64;
        if ends_after > 0 && n >= ends_after {
            return None;
        }
        self.made += 1;
        Some(if self.kind == MediaKind::Audio { self.tone.frame(n) } else { picture(n) })
    }

    fn control(&mut self, control: SourceControl) {
        self.log.controls.lock().unwrap().push(control);
    }
}

/// Not a picture, but what VP8's packetiser takes for a key frame: 3000 bytes, so three packets.
pub fn picture(n: u64) -> Frame {
    let mut data = vec![0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 64, 0, 64, 0];
    data.resize(3000, n as u8);
    Frame::new(Codec::Vp8, n * 3600, data)
}

struct Sink {
    track: RemoteTrack,
    log: Arc<Log>,
    pictures: u32,
}

impl FrameSink for Sink {
    fn push(&mut self, frame: Frame) {
        assert!(
            self.log.heard.lock().unwrap().len() < self.log.breaks_after.load(Ordering::SeqCst)
        );
        self.pictures += u32::from(frame.codec.kind() == MediaKind::Video);
        self.log.heard.lock().unwrap().push((self.track.clone(), frame));
    }

    fn wants_key_frame(&mut self) -> bool {
        self.pictures == 3
    }
}

/// One engine with its news.
pub struct Side<E> {
    /// The engine.
    pub engine: E,
    /// With what connections are opened.
    pub config: PeerConfig,
    /// What happens at its devices.
    pub log: Arc<Log>,
    driver: DriverEnd,
    mailbox: Mailbox,
    /// What its connections reported.
    pub news: Vec<(PeerId, PeerNews)>,
    /// What was reported besides.
    pub others: Vec<Input>,
}

impl<E: WebRtc> Side<E> {
    /// An engine over media of which the studio is the innermost part.
    pub fn over(hertz: f32, make: impl FnOnce(Arc<dyn Media>) -> E) -> Self {
        let log = Arc::new(Log::default());
        log.breaks_after.store(usize::MAX, Ordering::SeqCst);
        let engine = make(Arc::new(Studio { hertz, log: log.clone() }));
        let (driver, mailbox) = mailbox::pair();
        let config = PeerConfig::default();
        Self { engine, config, log, driver, mailbox, news: Vec::new(), others: Vec::new() }
    }

    /// Opens a connection.
    pub async fn open(&self, peer: u64) {
        let events = PeerEvents::new(PeerId(peer), self.mailbox.news());
        self.engine.open(PeerId(peer), self.config.clone(), events).await.unwrap();
    }

    /// Captures what the plan sends.
    pub async fn capture(&self, plan: &Plan) {
        for line in &plan.lines {
            let source = match line.slot.kind() {
                MediaKind::Audio => MediaSource::Microphone,
                MediaKind::Video => MediaSource::Camera,
            };
            let what = Capture::of(source);
            if let Some(track) = line.track {
                self.engine.capture(SessionId(1), track, what).await.unwrap();
            }
        }
    }

    /// Waits for news that fit, at most thirty seconds; all news are kept.
    pub async fn until(&mut self, fits: impl Fn(&PeerNews) -> bool) {
        let driver = &mut self.driver;
        let (news, others) = (&mut self.news, &mut self.others);
        let waiting = async {
            while let Some(input) = driver.next().await {
                let Input::Peer(peer, said) = input else {
                    others.push(input);
                    continue;
                };
                let found = fits(&said);
                news.push((peer, said));
                if found {
                    return;
                }
            }
        };
        let found = timeout(PATIENCE, waiting).await;
        assert!(found.is_ok(), "the news never came: {:?}", self.news);
    }

    /// Waits for a state of a connection.
    pub async fn until_state(&mut self, state: PeerState) {
        self.until(|news| *news == PeerNews::State(state)).await;
    }

    /// Frames received on lines of this kind.
    pub fn heard(&self, kind: MediaKind) -> Vec<Frame> {
        let heard = self.log.heard.lock().unwrap();
        heard.iter().filter(|(track, _)| track.kind == kind).map(|(_, f)| f.clone()).collect()
    }
}

/// Waits until it is so, at most thirty seconds.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !is_so() {
            looks.tick().await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Connects peer 1 of both sides by the trait's methods; returns offer and answer as sent.
pub async fn connect<A: WebRtc, B: WebRtc>(
    a: &mut Side<A>,
    b: &mut Side<B>,
    plans: (Plan, Plan),
) -> (String, String) {
    a.open(1).await;
    b.open(1).await;
    a.capture(&plans.0).await;
    b.capture(&plans.1).await;
    let sent = negotiate(a, b, plans).await;
    a.until_state(PeerState::Connected).await;
    b.until_state(PeerState::Connected).await;
    sent
}

/// Offers from `a`, answers from `b`; returns both as sent, with all candidates.
pub async fn negotiate<A: WebRtc, B: WebRtc>(
    a: &mut Side<A>,
    b: &mut Side<B>,
    plans: (Plan, Plan),
) -> (String, String) {
    let offer = offer(a, plans.0).await;
    let answer = answer(b, &offer, plans.1).await;
    a.engine.set_remote(PeerId(1), answer.clone()).await.unwrap();
    (offer.sdp.expose().to_owned(), answer.sdp.expose().to_owned())
}

/// An offer of peer 1 in force, with all its candidates.
pub async fn offer<E: WebRtc>(side: &Side<E>, plan: Plan) -> Description {
    let made = side.engine.offer(PeerId(1), plan).await.unwrap();
    in_force(side, made).await
}

/// The answer of peer 1 in force, with all its candidates.
pub async fn answer<E: WebRtc>(side: &Side<E>, offer: &Description, plan: Plan) -> Description {
    side.engine.set_remote(PeerId(1), offer.clone()).await.unwrap();
    let made = side.engine.answer(PeerId(1), plan).await.unwrap();
    in_force(side, made).await
}

async fn in_force<E: WebRtc>(side: &Side<E>, made: Description) -> Description {
    side.engine.set_local(PeerId(1), made).await.unwrap();
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let whole = async {
        loop {
            let read = side.engine.local_description(PeerId(1)).await.unwrap();
            if read.sdp.expose().contains("a=end-of-candidates") {
                return read;
            }
            looks.tick().await;
        }
    };
    timeout(PATIENCE, whole).await.expect("gathering never ended")
}
