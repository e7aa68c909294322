//! What one side hears and sees: the sinks for its remote tracks, and the views of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use matrix_voip::host::{Frame, FrameSink};
use matrix_voip_media::{Ear, Heard, Level, SAMPLE_RATE, TrackDecoder, VideoCheck, VideoView};

use super::{
    fact::{Fact, Pictures, Sound, Tone, Who},
    teller::Teller,
};

/// Root mean square above which 20 ms count as sound: -60 dB.
const AUDIBLE: f32 = 0.001;

/// The views of one side's sinks; they outlive the sinks.
#[derive(Debug, Clone)]
pub(crate) struct Senses {
    ear: SharedEar,
    eye: Option<VideoView>,
}

/// An ear, for who listens with it and for who asks what it heard.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedEar(Arc<Mutex<Ear>>);

impl SharedEar {
    /// What is heard at this moment.
    pub(crate) fn now(&self) -> Sound {
        sound(&self.0.lock().unwrap_or_else(PoisonError::into_inner).now())
    }

    /// What was heard in all.
    pub(crate) fn overall(&self) -> Sound {
        sound(&self.0.lock().unwrap_or_else(PoisonError::into_inner).overall())
    }

    fn push(&self, sound: &[f32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sound);
    }
}

/// The sinks for one call.
pub(crate) struct Sinks {
    /// For the remote microphone.
    pub(crate) sound: Listener,
    /// For the remote camera.
    pub(crate) picture: Option<Watcher>,
}

/// Whether pictures are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// A video call.
    Eyes,
    /// A voice call.
    Blind,
}

impl Senses {
    /// The sinks of this side, and the views of them.
    pub(crate) fn new(who: Who, sight: Sight, teller: &Teller) -> (Self, Sinks) {
        let (ear, told) = (SharedEar::default(), teller.clone());
        let sound = Listener::new(ear.clone(), move || told.tell(Fact::FirstSound(who)));
        let (picture, eye) = match sight {
            Sight::Blind => (None, None),
            Sight::Eyes => {
                let (check, view) = VideoCheck::new();
                let first = Some((who, teller.clone()));
                (Some(Watcher { check, view: view.clone(), first }), Some(view))
            }
        };
        (Self { ear, eye }, Sinks { sound, picture })
    }

    /// What is heard at this moment.
    pub(crate) fn now(&self) -> Sound {
        self.ear.now()
    }

    /// What was heard in all.
    pub(crate) fn overall(&self) -> Sound {
        self.ear.overall()
    }

    /// What was seen in all.
    pub(crate) fn pictures(&self) -> Option<Pictures> {
        let seen = self.eye.as_ref()?.report();
        Some(Pictures {
            shown: seen.shown,
            numbered: seen.numbered,
            missing: seen.missing,
            last_number: seen.last_number,
            size: seen.size,
        })
    }
}

fn sound(heard: &Heard) -> Sound {
    let tone = heard.tone.map(|tone| Tone { hz: tone.hz, level: tone.level, share: tone.share });
    let length = Duration::from_millis(heard.samples * 1000 / u64::from(SAMPLE_RATE));
    Sound { rms: heard.level.rms, tone, length }
}

/// Decodes remote sound and listens to it.
pub(crate) struct Listener {
    decoder: TrackDecoder,
    ear: SharedEar,
    on_first: Option<Box<dyn FnOnce() + Send>>,
}

impl Listener {
    /// Listens with `ear` to one remote track, and does `on_first` at the first sound of it.
    pub(crate) fn new(ear: SharedEar, on_first: impl FnOnce() + Send + 'static) -> Self {
        Self { decoder: TrackDecoder::new(), ear, on_first: Some(Box::new(on_first)) }
    }
}

impl FrameSink for Listener {
    fn push(&mut self, frame: Frame) {
        let mut sound = Vec::new();
        self.decoder.push(&frame, &mut sound);
        if Level::of(&sound).rms > AUDIBLE
            && let Some(on_first) = self.on_first.take()
        {
            on_first();
        }
        self.ear.push(&sound);
    }
}

/// Decodes remote pictures and looks at them.
#[derive(Debug)]
pub(crate) struct Watcher {
    check: VideoCheck,
    view: VideoView,
    first: Option<(Who, Teller)>,
}

impl FrameSink for Watcher {
    fn push(&mut self, frame: Frame) {
        self.check.push(frame);
        if self.view.report().shown > 0
            && let Some((who, teller)) = self.first.take()
        {
            teller.tell(Fact::FirstPicture(who));
        }
    }

    fn wants_key_frame(&mut self) -> bool {
        self.check.wants_key_frame()
    }
}
