//! Local tracks: from a device to every connection that sends it.
//!
//! One capture is one task (`pump.rs`), however many connections send it. A capture that is
//! released before the device has opened drops the opening future, so a camera that a person
//! grants after the hangup is never left on.
//!
//! A track may get another device: the new one is opened first, then a new pump takes over from
//! the old one, with the same switch, the same connections and the same time line.
//!
//! What an engine does with it, in the life of one connection:
//!
//! ```no_run
//! # use std::{collections::BTreeSet, sync::Arc};
//! # use matrix_voip::{host::{Media, PeerEvents}, id::{PeerId, SessionId, TrackId}};
//! # use matrix_voip::machine::io::{Capture, Fault, MediaSource, Plan};
//! use matrix_voip_engine::{Subscriber, Tracks};
//!
//! # async fn example(media: Arc<dyn Media>, events: PeerEvents, plan: Plan) -> Result<(), Fault> {
//! # let (peer, session, microphone) = (PeerId(1), SessionId(1), TrackId(1));
//! let tracks = Tracks::new(media); // one for the engine
//! // `WebRtc::capture`, `enable`, `replace`, `release`: at any time, without any connection.
//! tracks.capture(session, microphone, Capture::of(MediaSource::Microphone)).await?;
//! // `WebRtc::open`:
//! let (subscriber, mut frames) = Subscriber::new(events);
//! // `WebRtc::offer` and `WebRtc::answer`, each time, with every track of the plan:
//! let wanted: BTreeSet<TrackId> = plan.lines.iter().filter_map(|line| line.track).collect();
//! tracks.subscribe(peer, &wanted, &subscriber);
//! // The task of the connection, for as long as it lives:
//! while let Some((track, frame)) = frames.recv().await {
//!     // Into the line that sends this track, if one is agreed. Otherwise it is dropped.
//!     # let _ = (track, frame);
//! }
//! // At its end, however it comes:
//! tracks.unsubscribe(peer, &subscriber);
//! # Ok(())
//! # }
//! ```

mod pump;
mod rate;
mod timeline;

pub use pump::gate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use matrix_voip::{
    host::{Frame, FrameSource, Media, PeerEvents, SourceControl},
    id::{PeerId, SessionId, TrackId},
    machine::io::{Capture, Fault, MediaKind, PeerNews},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use self::{pump::Told, rate::Rate, timeline::Timeline};

/// A frame of a track on its way to a connection.
pub type Outgoing = (TrackId, Arc<Frame>);

/// Frames that may wait for a connection: a third of a second of sound. Beyond them frames are
/// lost, as on a network that is too slow.
const MAX_WAITING_FRAMES: usize = 16;

/// News that may wait for a source. The other side causes some of it (key frame requests).
const MAX_WAITING_CONTROLS: usize = 64;

/// Of these, what only a switch may take: an unmuting must not be lost to a flood of requests.
const ROOM_FOR_SWITCHES: usize = 32;

/// A connection that sends tracks.
#[derive(Clone)]
pub struct Subscriber {
    /// What it cannot take at once is lost.
    frames: mpsc::Sender<Outgoing>,
    events: PeerEvents,
}

impl Subscriber {
    /// A connection, and where it gets its frames; its `events` are told when a source has ended.
    pub fn new(events: PeerEvents) -> (Self, mpsc::Receiver<Outgoing>) {
        let (frames, received) = mpsc::channel(MAX_WAITING_FRAMES);
        (Self { frames, events }, received)
    }

    /// Whether both are one connection: its id may be another one's by now.
    pub fn is_same(&self, other: &Self) -> bool {
        self.frames.same_channel(&other.frames)
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

/// Who sends a track.
#[derive(Default)]
struct Audience {
    of: BTreeMap<PeerId, Subscriber>,
    /// The source ended by itself: whoever comes now is told so, nobody would hear it otherwise.
    is_over: bool,
}

type Subscribers = Arc<Mutex<Audience>>;

/// One local track.
struct Track {
    enabled: Arc<AtomicBool>,
    subscribers: Subscribers,
    timeline: Arc<Mutex<Timeline>>,
    has_device: Arc<AtomicBool>,
    capture: Capturing,
    /// Another device is being opened; dropping this cancels it.
    replacing: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
enum Capturing {
    #[default]
    Idle,
    /// The device is being opened; dropping this cancels it.
    Opening { _cancel: oneshot::Sender<()> },
    /// Frames flow; dropping the sender ends the pump.
    Running { kind: MediaKind, controls: mpsc::Sender<Told>, pump: JoinHandle<()> },
}

/// All local tracks of an engine.
pub struct Tracks {
    media: Arc<dyn Media>,
    tracks: Mutex<BTreeMap<TrackId, Track>>,
}

impl Tracks {
    /// No track yet; devices come from `media`.
    pub fn new(media: Arc<dyn Media>) -> Self {
        Self { media, tracks: Mutex::default() }
    }

    /// Opens the device and lets its frames flow.
    ///
    /// # Errors
    /// [`Fault::Cancelled`] when the track was released meanwhile, the application's own fault, or
    /// [`Fault::Failed`] when the track is captured already.
    pub async fn capture(
        &self,
        session: SessionId,
        id: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        let cancelled = self.begin(id)?;
        let opening = Opening { tracks: self, id };
        let source = tokio::select! {
            _ = cancelled => Err(Fault::Cancelled),
            source = self.media.capture(session, id, what) => source,
        }?;
        opening.finish(source)
    }

    /// Takes another device for a captured track. What was muted stays so; connections and their
    /// lines do not notice but for the content.
    ///
    /// # Errors
    /// The old device goes on then: [`Fault::NotFound`] when the track was never captured,
    /// [`Fault::Cancelled`] when it was released or replaced again meanwhile, [`Fault::Failed`]
    /// when the new device gives another kind of media, or the application's own fault.
    pub async fn replace(
        &self,
        session: SessionId,
        id: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        let cancelled = self.begin_replacing(id)?;
        let source = tokio::select! {
            _ = cancelled => Err(Fault::Cancelled),
            source = self.media.capture(session, id, what) => source,
        }?;
        self.swap(id, source)
    }

    /// Sends the track, or silence and no picture. Takes effect with the next frame.
    pub fn enable(&self, id: TrackId, on: bool) {
        let mut tracks = self.lock();
        let track = tracks.entry(id).or_default();
        track.enabled.store(on, Ordering::SeqCst);
        track.control(SourceControl::Enabled(on));
        if on {
            track.control(SourceControl::KeyFrame);
        }
    }

    /// Closes the device, or cancels its opening; resolves when it is closed.
    pub async fn release(&self, id: TrackId) {
        let track = self.lock().remove(&id);
        if let Some(Track { capture: Capturing::Running { controls, pump, .. }, .. }) = track {
            drop(controls);
            // The pump ends by itself; if the source panicked there is nothing left to close.
            drop(pump.await);
        }
    }

    /// Tells a source what a connection found out about the way. Of several connections that send it, it
    /// learns the worst loss.
    pub fn control(&self, peer: PeerId, id: TrackId, control: SourceControl) {
        if let Some(track) = self.lock().get(&id) {
            match control {
                SourceControl::Loss(loss) => track.tell(Told::Loss(peer, loss)),
                _ => track.control(control),
            }
        }
    }

    /// From now on the connection gets the frames of these tracks as well. It goes on getting those of
    /// former plans, and sends what is agreed: an offer that is answered or taken back later changes
    /// nothing now.
    pub fn subscribe(&self, peer: PeerId, wanted: &BTreeSet<TrackId>, to: &Subscriber) {
        let mut tracks = self.lock();
        for id in wanted {
            let track = tracks.entry(*id).or_default();
            let mut subscribers = lock(&track.subscribers);
            subscribers.of.insert(peer, to.clone());
            if subscribers.is_over {
                to.events.report(PeerNews::TrackEnded(*id));
            }
        }
    }

    /// This connection is gone; one of the same id that was opened since goes on. Tracks that were
    /// never captured go with their last connection, but for those that are muted already: that must
    /// not be forgotten before the device opens.
    pub fn unsubscribe(&self, peer: PeerId, gone: &Subscriber) {
        self.lock().retain(|_, track| {
            let mut subscribers = lock(&track.subscribers);
            let was_sent = subscribers.of.get(&peer).is_some_and(|known| known.is_same(gone));
            if !was_sent {
                return true;
            }
            subscribers.of.remove(&peer);
            let is_muted = !track.enabled.load(Ordering::SeqCst);
            is_muted || !track.is_idle() || !subscribers.of.is_empty()
        });
    }

    /// The connections that the track goes to.
    pub fn listeners(&self, id: TrackId) -> Vec<PeerId> {
        let tracks = self.lock();
        let track = tracks.get(&id);
        track.map(|track| lock(&track.subscribers).of.keys().copied().collect()).unwrap_or_default()
    }

    /// The tracks of this connection whose sources say that their device is gone: for
    /// [`PeerStats::without_device`](matrix_voip::machine::io::PeerStats::without_device).
    pub fn without_device(&self, peer: PeerId) -> Vec<TrackId> {
        let tracks = self.lock();
        let gone = tracks.iter().filter(|(_, track)| {
            !track.has_device.load(Ordering::SeqCst)
                && lock(&track.subscribers).of.contains_key(&peer)
        });
        gone.map(|(id, _)| *id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TrackId, Track>> {
        lock(&self.tracks)
    }

    fn begin_replacing(&self, id: TrackId) -> Result<oneshot::Receiver<()>, Fault> {
        let mut tracks = self.lock();
        let captured = tracks.get_mut(&id).filter(|track| !track.is_idle());
        let track = captured.ok_or(Fault::NotFound)?;
        let (cancel, cancelled) = oneshot::channel();
        track.replacing = Some(cancel);
        Ok(cancelled)
    }

    /// From now on the track is what this source gives.
    fn swap(&self, id: TrackId, source: Box<dyn FrameSource>) -> Result<(), Fault> {
        let mut tracks = self.lock();
        let track = tracks.get_mut(&id).ok_or(Fault::Cancelled)?;
        let Capturing::Running { kind, .. } = track.capture else { return Err(Fault::Cancelled) };
        if source.codec().kind() != kind {
            return Err(Fault::Failed("the new device gives another kind of media".to_owned()));
        }
        lock(&track.timeline).cut();
        track.replacing = None;
        track.run(id, source);
        Ok(())
    }

    fn begin(&self, id: TrackId) -> Result<oneshot::Receiver<()>, Fault> {
        let mut tracks = self.lock();
        let track = tracks.entry(id).or_default();
        if !matches!(track.capture, Capturing::Idle) {
            return Err(Fault::Failed("the track is captured already".to_owned()));
        }
        let (cancel, cancelled) = oneshot::channel();
        track.capture = Capturing::Opening { _cancel: cancel };
        Ok(cancelled)
    }
}

impl fmt::Debug for Tracks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracks({})", self.lock().len())
    }
}

impl Default for Track {
    /// A track that is sent as soon as it is captured.
    fn default() -> Self {
        let enabled = Arc::new(AtomicBool::new(true));
        Self {
            enabled,
            subscribers: Subscribers::default(),
            timeline: Arc::default(),
            has_device: Arc::new(AtomicBool::new(true)),
            capture: Capturing::default(),
            replacing: None,
        }
    }
}

impl Track {
    const fn is_idle(&self) -> bool {
        matches!(self.capture, Capturing::Idle)
    }

    /// Lets the frames of a device flow, behind those of the one before it.
    fn run(&mut self, id: TrackId, source: Box<dyn FrameSource>) {
        let (controls, received) = mpsc::channel(MAX_WAITING_CONTROLS);
        lock(&self.subscribers).is_over = false;
        let kind = source.codec().kind();
        let pump = pump::Pump {
            id,
            enabled: self.enabled.clone(),
            subscribers: self.subscribers.clone(),
            timeline: self.timeline.clone(),
            controls: received,
            rate: Rate::new(kind),
            has_device: self.has_device.clone(),
        };
        let last = match std::mem::take(&mut self.capture) {
            Capturing::Running { pump, .. } => Some(pump),
            Capturing::Idle | Capturing::Opening { .. } => None,
        };
        let pump = tokio::spawn(pump.run(source, last));
        self.capture = Capturing::Running { kind, controls, pump };
        if !self.enabled.load(Ordering::SeqCst) {
            self.control(SourceControl::Enabled(false));
        }
    }

    fn control(&self, control: SourceControl) {
        self.tell(Told::Control(control));
    }

    fn tell(&self, told: Told) {
        let Capturing::Running { controls, .. } = &self.capture else { return };
        let is_switch = matches!(told, Told::Control(SourceControl::Enabled(_)));
        let kept_free = if is_switch { 0 } else { ROOM_FOR_SWITCHES };
        if controls.capacity() <= kept_free || controls.try_send(told).is_err() {
            tracing::trace!(?told, "the source has ended, or does not follow");
        }
    }
}

/// A device being opened. Dropped unfinished (refused, cancelled, the request aborted), the track
/// can be captured again.
struct Opening<'a> {
    tracks: &'a Tracks,
    id: TrackId,
}

impl Opening<'_> {
    /// The device is open: its frames flow, unless the track was released at the last moment.
    fn finish(self, source: Box<dyn FrameSource>) -> Result<(), Fault> {
        let mut tracks = self.tracks.lock();
        let track = tracks.get_mut(&self.id).ok_or(Fault::Cancelled)?;
        track.run(self.id, source);
        Ok(())
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut tracks = self.tracks.lock();
        let Some(track) = tracks.get_mut(&self.id) else { return };
        if matches!(track.capture, Capturing::Opening { .. }) {
            track.capture = Capturing::Idle;
        }
    }
}

/// Nothing is left half done while one of these locks is held, so a panic elsewhere is no reason
/// to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix_voip::host::mailbox;
    use testkit::studio::Studio;

    fn tracks() -> Tracks {
        Tracks::new(Arc::new(Studio { hertz: 440.0, log: Arc::default() }))
    }

    #[test]
    fn a_connection_that_is_gone_takes_no_track_from_one_of_the_same_id() {
        let (tracks, peer, track) = (tracks(), PeerId(1), TrackId(1));
        let (_, mailbox) = mailbox::pair();
        let subscriber = || Subscriber::new(PeerEvents::new(peer, mailbox.news())).0;
        let (old, new, wanted) = (subscriber(), subscriber(), BTreeSet::from([track]));
        tracks.subscribe(peer, &wanted, &old);
        tracks.subscribe(peer, &wanted, &new);
        tracks.unsubscribe(peer, &old);
        assert_eq!(tracks.listeners(track), [peer]);
        tracks.unsubscribe(peer, &new);
        assert!(tracks.listeners(track).is_empty());
        assert_eq!(format!("{tracks:?}"), "Tracks(0)", "what nobody captures goes with them");
    }

    #[test]
    fn what_was_muted_before_its_device_opens_stays_muted_when_connections_end() {
        let (tracks, peer, [track, sent]) = (tracks(), PeerId(1), [TrackId(1), TrackId(2)]);
        let (_, mailbox) = mailbox::pair();
        let subscriber = Subscriber::new(PeerEvents::new(peer, mailbox.news())).0;
        tracks.enable(track, false);
        tracks.enable(sent, false);
        tracks.subscribe(peer, &BTreeSet::from([sent]), &subscriber);
        tracks.unsubscribe(peer, &subscriber);
        for track in [track, sent] {
            assert!(!tracks.lock()[&track].enabled.load(Ordering::SeqCst), "{track}");
        }
    }
}
