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
    clock::Clock,
    core::AudioCore,
    device::{DeviceError, DeviceInfo, DeviceKind},
    lane::{Microphone, Speaker},
    rig::Rig,
    wishes::{DeviceState, HeadsetView, Shared, Talker, Wake},
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
/// A handle: clones are the same headset. Its thread ends with the last of them and of its
/// [`Microphone`]s and [`Speaker`]s.
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

/// Ends the thread when the last handle goes. Microphones and speakers that are left are silent then.
#[derive(Debug)]
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.wish(|wishes| {
            wishes.is_over = true;
            wishes.lanes.values().for_each(|lane| lane.end());
        });
    }
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
    /// Starts the thread. No device is opened yet.
    ///
    /// # Errors
    /// [`HeadsetError`]: the codec or the system refuses.
    pub fn start(
        devices: impl Devices + 'static,
        options: HeadsetOptions,
    ) -> Result<Self, HeadsetError> {
        let core = AudioCore::new(options.audio)?;
        let sleeper = Sleeper::default();
        let thread = Arc::clone(&sleeper.0);
        let shared = Shared::new(options.microphone, options.speaker, Box::new(sleeper));
        let (shared, clock) = (Arc::new(shared), Clock::start());
        let heard = Arc::clone(&shared);
        let work = move || run(Rig::new(core, Box::new(devices)), clock, &heard);
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

    /// Another device from now on, also in a call.
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
    /// [`DeviceError`]: the system does not tell.
    pub async fn devices(&self) -> Result<Vec<DeviceInfo>, DeviceError> {
        let (reply, told) = oneshot::channel();
        self.shared.wish(|wishes| wishes.lists.push(reply));
        told.await.unwrap_or_else(|_| Err(DeviceError::System("the audio thread has ended".into())))
    }

    /// Sends silence, in all calls, without telling the others: push to talk. To be shown as muted,
    /// mute the call.
    pub fn set_muted(&self, is_muted: bool) {
        self.shared.wish(|wishes| wishes.is_muted = is_muted);
    }

    /// Makes somebody louder or softer here: 1 as he is, at most
    /// [`MAX_VOLUME`](super::MAX_VOLUME). Kept for as long as the call lasts, also before he is heard.
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
    /// asks is told once. `None`: the headset has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<(DeviceState, DeviceState)> {
        self.0.changed().await.ok()?;
        let view = self.0.borrow_and_update();
        Some((view.microphone.clone(), view.speaker.clone()))
    }
}

/// The thread: turn after turn while there is sound, else it sleeps until it is woken.
fn run(mut rig: Rig, clock: Clock, shared: &Shared) {
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
        next += TURN;
        let now = clock.now();
        match next.checked_sub(now) {
            Some(wait) if !wait.is_zero() => thread::park_timeout(wait),
            // Too slow, or the machine slept: from here on.
            _ => next = now,
        }
    }
}
