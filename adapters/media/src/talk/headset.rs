//! [`Headset`]: a microphone and a loudspeaker for all calls of a person, on a thread of its own.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, Thread},
    time::Duration,
};

use matrix_voip::host::RemoteTrack;
use tokio::sync::{oneshot, watch};

use super::{
    AudioOptions, Devices, Which,
    clerk::{Clerk, ClerkThread, unattended},
    clock::Clock,
    core::AudioCore,
    device::{DeviceError, DeviceInfo, DeviceKind},
    ends::{Microphone, Speaker},
    rig::Rig,
    view::{DeviceState, HeadsetView, Talker},
    wishes::{Shared, Wake},
};
use crate::error::CodecError;

/// How often the thread looks at its devices while there is sound.
const TURN: Duration = Duration::from_millis(5);

/// What a [`Headset`] begins with; all of it can be changed in a call but `audio`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HeadsetOptions {
    /// What is done with sound.
    pub audio: AudioOptions,
    /// The microphone.
    pub microphone: Which,
    /// The loudspeaker.
    pub speaker: Which,
}

/// Why there is no headset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeadsetError {
    /// The codec refuses its settings.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The system gives no thread.
    #[error("no thread for sound: {0}")]
    Thread(#[from] io::Error),
}

/// A microphone and a loudspeaker for all calls of a person. Devices are open only while a call has
/// sound; what is missing is tried again each second, and the call goes on meanwhile.
///
/// A handle: clones are the same headset, and a [`Studio`](crate::Studio) has one. The thread ends with
/// the last of them, whatever [`Microphone`]s and [`Speaker`]s are left: the former give what waits to be
/// sent and then no more, the latter are silent. Where the thread panics, since a device of it does
/// ([`Recorder`](super::Recorder), [`Player`](super::Player)), it is the same, and both devices are
/// [`Missing`](DeviceState::Missing) from then on. Where [`Devices`] panic, what is open goes on; what would
/// have to be opened is missing.
///
/// ```
/// use matrix_voip_media::{Studio, talk::{Devices, Headset, HeadsetError, HeadsetOptions}};
///
/// # fn open(devices: impl Devices + 'static) -> Result<(), HeadsetError> {
/// let headset = Headset::start(devices, HeadsetOptions::default())?;
/// let studio = Studio::builder().headset(&headset).build();
/// // … hand the studio to an engine, and be in a call …
/// println!("{:?}", headset.view().microphone);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Headset {
    shared: Arc<Shared>,
    clock: Clock,
    _life: Arc<Life>,
}

/// Ends the thread when the last handle goes. Microphones that are left end then, and speakers are silent.
#[derive(Debug)]
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Held by the thread: when that panics, nobody is to wait for it, and nobody to believe that it plays.
struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let gone = DeviceState::Missing(ended());
            // First, so that whoever is woken by the end sees why.
            self.0.view.send_modify(|view| {
                (view.microphone, view.speaker) = (gone.clone(), gone);
            });
        }
        self.0.end();
    }
}

fn ended() -> DeviceError {
    DeviceError::System("the audio thread has ended".into())
}

/// The thread, as soon as it is known.
#[derive(Debug, Default)]
struct Sleeper(Arc<Mutex<Option<Thread>>>);

impl Wake for Sleeper {
    fn wake(&self) {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            thread.unpark();
        }
    }
}

impl Headset {
    /// Starts the thread of sound, and one that opens devices for it. None is opened yet.
    ///
    /// # Errors
    /// [`HeadsetError`]: the codec or the system refuses.
    pub fn start(
        devices: impl Devices + 'static,
        options: HeadsetOptions,
    ) -> Result<Self, HeadsetError> {
        Self::served(options, |shared| {
            Ok(Box::new(ClerkThread::start(devices, move || shared.wake())?))
        })
    }

    /// Starts the thread, with who opens devices for it.
    pub(super) fn served(
        options: HeadsetOptions,
        clerk: impl FnOnce(Arc<Shared>) -> io::Result<Box<dyn Clerk>>,
    ) -> Result<Self, HeadsetError> {
        let core = AudioCore::new(options.audio)?;
        let sleeper = Sleeper::default();
        let thread = Arc::clone(&sleeper.0);
        let shared = Shared::new(options.microphone, options.speaker, Box::new(sleeper));
        let (shared, clock) = (Arc::new(shared), Clock::start());
        let heard = Arc::clone(&shared);
        let rig = Rig::new(core, clerk(Arc::clone(&shared))?);
        let work = move || run(rig, clock, &heard);
        let handle = thread::Builder::new().name("audio".into()).spawn(work)?;
        *thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.thread().clone());
        // What was wished before the thread was known.
        handle.thread().unpark();
        let life = Arc::new(Life(Arc::clone(&shared)));
        Ok(Self { shared, clock, _life: life })
    }

    /// The microphone, for a call. From now on it is recorded.
    pub fn microphone(&self) -> Microphone {
        Microphone::open(Arc::clone(&self.shared))
    }

    /// The loudspeaker, for a remote track of sound.
    pub fn speaker(&self, track: &RemoteTrack) -> Speaker {
        Speaker::open(Arc::clone(&self.shared), Talker::from(track), self.clock)
    }

    /// Another device from now on, also in a call. One that is not there is waited for, and no other taken
    /// meanwhile: the device is [`Missing`](DeviceState::Missing), and tried again each second. Look
    /// with [`Which::among`] what a name means.
    pub fn choose(&self, kind: DeviceKind, which: Which) {
        self.shared.wish(|wishes| *wishes.device(kind) = which);
    }

    /// Which device was chosen.
    pub fn chosen(&self, kind: DeviceKind) -> Which {
        self.shared.lock().device(kind).clone()
    }

    /// All devices that are there. Cancel safe.
    ///
    /// # Errors
    /// [`DeviceError`]: the system does not tell, or nobody is left who could ask it.
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceError> {
        let (reply, told) = oneshot::channel();
        self.shared.ask(reply);
        told.await.unwrap_or_else(|_| Err(unattended()))
    }

    /// Sends silence, in all calls, without telling the others: push to talk. To be shown as muted,
    /// mute the call.
    pub fn set_muted(&self, is_muted: bool) {
        self.shared.wish(|wishes| wishes.is_muted = is_muted);
    }

    /// Makes somebody louder or softer here: 1 as he is, at most
    /// [`MAX_VOLUME`](super::MAX_VOLUME); what is no number is 1. Kept for as long as the call lasts,
    /// also before he is heard.
    pub fn set_volume(&self, talker: &Talker, volume: f32) {
        self.shared.set(talker, |setting| setting.volume = volume);
    }

    /// Whether somebody is not to be heard here.
    pub fn set_voice_muted(&self, talker: &Talker, is_muted: bool) {
        self.shared.set(talker, |setting| setting.is_muted = is_muted);
    }

    /// Devices, levels and figures of this moment.
    pub fn view(&self) -> HeadsetView {
        self.shared.view.borrow().clone()
    }

    /// News of the devices: opened, missing, there again.
    pub fn device_news(&self) -> DeviceNews {
        DeviceNews(self.shared.view.subscribe())
    }
}

/// Tells when a device of a [`Headset`] has come or gone.
#[derive(Debug)]
pub struct DeviceNews(watch::Receiver<HeadsetView>);

impl DeviceNews {
    /// How microphone and loudspeaker are, when that has changed; what changes twice before anybody
    /// asks is told once. `None`: the headset has ended, and no engine has a track of it any more. Cancel safe.
    pub async fn next(&mut self) -> Option<(DeviceState, DeviceState)> {
        self.0.changed().await.ok()?;
        let view = self.0.borrow_and_update();
        Some((view.microphone.clone(), view.speaker.clone()))
    }
}

/// The thread: turn after turn while there is sound, else it sleeps until it is woken.
fn run(mut rig: Rig, clock: Clock, shared: &Shared) {
    let _running = Running(shared);
    let mut next = clock.now();
    loop {
        let is_busy = rig.turn(clock.now(), shared);
        if shared.lock().is_over {
            return;
        }
        if !is_busy {
            thread::park();
            next = clock.now();
            continue;
        }
        let now = clock.now();
        next = next_turn(next, now);
        if let Some(wait) = next.checked_sub(now).filter(|wait| !wait.is_zero()) {
            thread::park_timeout(wait);
        }
    }
}

/// When the turn after this one is, which was due at one time and has ended at another: never later than a
/// turn from now, for it may have been woken before it was due, nor in the past, where it was too slow or
/// the machine slept.
fn next_turn(due: Duration, now: Duration) -> Duration {
    (due + TURN).clamp(now, now + TURN)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::mpsc,
        task::{Context, Waker},
    };

    use matrix_voip::host::{FrameSink, FrameSource, PlayoutOutput};

    use super::{
        super::{Player, Recorder, testkit::talker},
        *,
    };

    /// Sound cards with no microphone, whose loudspeaker opens as this says.
    struct Cards<F>(F);

    impl<F: FnMut() -> Result<Box<dyn Player>, DeviceError> + Send> Devices for Cards<F> {
        fn list(&mut self) -> Result<Vec<DeviceInfo>, DeviceError> {
            Ok(Vec::new())
        }

        fn open_recorder(&mut self, _: &Which) -> Result<Box<dyn Recorder>, DeviceError> {
            Err(DeviceError::Gone)
        }

        fn open_player(&mut self, _: &Which) -> Result<Box<dyn Player>, DeviceError> {
            (self.0)()
        }
    }

    /// A driver that says that it is at work, waits until it may go on, and panics.
    struct Broken(mpsc::Sender<()>, mpsc::Receiver<()>);

    impl Broken {
        fn work(&self) -> ! {
            self.0.send(()).unwrap();
            self.1.recv().unwrap();
            panic!("a driver that is broken, for the test")
        }
    }

    impl Player for Broken {
        fn wanted(&mut self, _: Duration) -> Result<usize, DeviceError> {
            self.work()
        }

        fn write(&mut self, _: &[f32]) {}
    }

    #[test]
    fn who_wakes_the_thread_early_makes_no_later_turn_and_after_a_sleep_none_is_caught_up() {
        let at = Duration::from_millis;
        let mut next = at(100);
        for now in 100..300 {
            next = next_turn(next, at(now));
            assert!(next <= at(now) + TURN, "woken each millisecond");
        }
        assert_eq!(next_turn(at(100), at(102)), at(105), "a turn that took a while");
        assert_eq!(next_turn(at(100), at(109)), at(109));
        assert_eq!(next_turn(at(100), at(3_600_000)), at(3_600_000));
        assert_eq!(next_turn(at(100), at(20)), at(25), "a clock that went back");
    }

    #[tokio::test]
    async fn after_a_panic_of_its_thread_a_headset_says_so_and_nobody_waits() {
        let ((at_work, begun), (go, may)) = (mpsc::channel(), mpsc::channel());
        let mut player = Some(Box::new(Broken(at_work, may)) as Box<dyn Player>);
        let cards = Cards(move || player.take().ok_or(DeviceError::Gone));
        let headset = Headset::start(cards, HeadsetOptions::default()).unwrap();
        let speaker = Speaker::open(Arc::clone(&headset.shared), talker(1), headset.clock);
        let mut microphone = headset.microphone();
        begun.recv().unwrap();
        let mut devices = pin!(headset.devices());
        assert!(devices.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go.send(()).unwrap();
        assert_eq!(devices.await, Err(unattended()), "who asked while it was at work");
        let gone = DeviceState::Missing(ended());
        let view = headset.view();
        assert_eq!((&view.microphone, &view.speaker), (&gone, &gone));
        while microphone.next().await.is_some() {}
        assert_eq!(headset.devices().await, Err(unattended()));
        assert_eq!(headset.microphone().next().await, None);
        assert_eq!(speaker.playout().unwrap().output, PlayoutOutput::NoDevice);
        let later = Speaker::open(Arc::clone(&headset.shared), talker(1), headset.clock);
        assert_eq!(later.playout().unwrap().output, PlayoutOutput::NoDevice);
    }

    #[tokio::test]
    async fn while_devices_take_their_time_and_after_they_have_panicked_sound_goes_on() {
        let ((at_work, begun), (go, may)) = (mpsc::channel(), mpsc::channel());
        let driver = Broken(at_work, may);
        let headset = Headset::start(Cards(move || driver.work()), HeadsetOptions::default());
        let headset = headset.unwrap();
        let mut news = headset.device_news();
        let speaker = Speaker::open(Arc::clone(&headset.shared), talker(1), headset.clock);
        let mut microphone = headset.microphone();
        begun.recv().unwrap();
        for _ in 0..5 {
            assert!(microphone.next().await.is_some(), "a driver is at work, and sound goes on");
        }
        let mut devices = pin!(headset.devices());
        assert!(devices.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go.send(()).unwrap();
        assert_eq!(devices.await, Err(unattended()), "who asked while it was at work");
        while !matches!(headset.view().speaker, DeviceState::Missing(DeviceError::System(_))) {
            assert!(news.next().await.is_some());
        }
        for _ in 0..15 {
            assert!(microphone.next().await.is_some());
        }
        assert_eq!(headset.devices().await, Err(unattended()));
        assert_eq!(speaker.playout().unwrap().output, PlayoutOutput::NoDevice);
    }
}
