//! What everybody wants of an audio thread, as it is at the moment; the thread looks at it at each turn.
//! A state and not a list of orders, so nothing is lost and nothing piles up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{oneshot, watch};

use super::{
    core::MAX_VOLUME,
    device::{DeviceError, DeviceInfo, DeviceKind, Which},
    lane::{Inbox, Outbox},
    view::{HeadsetView, Talker},
};

/// Most talkers whose volume is remembered after they have left.
const MAX_TALKERS: usize = 256;

/// How loud somebody is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setting {
    pub(super) volume: f32,
    pub(super) is_muted: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { volume: 1.0, is_muted: false }
    }
}

/// The wishes, shared by a [`Headset`](super::Headset), its microphones and speakers, and its thread.
#[derive(Debug)]
pub(super) struct Shared {
    wishes: Mutex<Wishes>,
    pub(super) view: watch::Sender<HeadsetView>,
    /// Wakes the thread when there is something to do again.
    wake: Box<dyn Wake>,
}

/// Somebody who can be woken.
pub(super) trait Wake: std::fmt::Debug + Send + Sync {
    fn wake(&self);
}

/// An answer to who asked for the devices.
pub(super) type ListReply = oneshot::Sender<Result<Vec<DeviceInfo>, DeviceError>>;

/// What is wanted.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) lanes: BTreeMap<u64, Arc<Outbox>>,
    pub(super) voices: BTreeMap<u64, (Talker, Arc<Inbox>)>,
    settings: BTreeMap<Talker, Setting>,
    pub(super) is_muted: bool,
    pub(super) microphone: Which,
    pub(super) speaker: Which,
    pub(super) lists: Vec<ListReply>,
    pub(super) is_over: bool,
    next: u64,
}

impl Wishes {
    /// Whether there is sound to be recorded or played.
    pub(super) fn is_busy(&self) -> bool {
        !self.lanes.is_empty() || !self.voices.is_empty()
    }

    pub(super) fn setting(&self, talker: &Talker) -> Setting {
        self.settings.get(talker).copied().unwrap_or_default()
    }

    /// The device that is chosen.
    pub(super) fn device(&mut self, kind: DeviceKind) -> &mut Which {
        match kind {
            DeviceKind::Microphone => &mut self.microphone,
            DeviceKind::Speaker => &mut self.speaker,
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Shared {
    pub(super) fn new(microphone: Which, speaker: Which, wake: Box<dyn Wake>) -> Self {
        let wishes = Wishes { microphone, speaker, ..Wishes::default() };
        Self { wishes: Mutex::new(wishes), view: watch::Sender::default(), wake }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread looks at what there is to do.
    pub(super) fn wake(&self) {
        self.wake.wake();
    }

    /// Changes a wish and sees to it that it is heard.
    pub(super) fn wish<T>(&self, change: impl FnOnce(&mut Wishes) -> T) -> T {
        let told = change(&mut self.lock());
        self.wake.wake();
        told
    }

    /// Asks for the devices. Where there is no thread any more the answer is dropped, and who waits
    /// for it learns that.
    pub(super) fn ask(&self, reply: ListReply) {
        self.wish(|wishes| {
            if !wishes.is_over {
                wishes.lists.push(reply);
            }
        });
    }

    /// No thread does what is wished, from now on: nobody is to wait for it.
    pub(super) fn end(&self) {
        self.wish(|wishes| {
            wishes.is_over = true;
            wishes.lists.clear();
            wishes.lanes.values().for_each(|lane| lane.end());
            wishes.voices.values().for_each(|(_, inbox)| inbox.end());
        });
    }

    pub(super) fn open_lane(&self) -> (u64, Arc<Outbox>) {
        self.wish(|wishes| {
            let (id, outbox) = (wishes.next(), Arc::new(Outbox::default()));
            if wishes.is_over {
                outbox.end();
            } else {
                wishes.lanes.insert(id, Arc::clone(&outbox));
            }
            (id, outbox)
        })
    }

    pub(super) fn close_lane(&self, id: u64) {
        self.wish(|wishes| wishes.lanes.remove(&id));
    }

    pub(super) fn open_voice(&self, talker: Talker) -> (u64, Arc<Inbox>) {
        self.wish(|wishes| {
            let (id, inbox) = (wishes.next(), Arc::new(Inbox::default()));
            if wishes.is_over {
                inbox.end();
            }
            wishes.voices.insert(id, (talker, Arc::clone(&inbox)));
            (id, inbox)
        })
    }

    pub(super) fn close_voice(&self, id: u64) {
        self.wish(|wishes| wishes.voices.remove(&id));
    }

    pub(super) fn set(&self, talker: &Talker, change: impl FnOnce(&mut Setting)) {
        self.wish(|wishes| {
            if wishes.settings.len() >= MAX_TALKERS && !wishes.settings.contains_key(talker) {
                let here: Vec<&Talker> = wishes.voices.values().map(|(talker, _)| talker).collect();
                let gone = wishes.settings.keys().find(|kept| !here.contains(kept)).cloned();
                if let Some(gone) = gone {
                    wishes.settings.remove(&gone);
                }
            }
            let setting = wishes.settings.entry(talker.clone()).or_default();
            change(setting);
            setting.volume = if setting.volume.is_finite() {
                setting.volume.clamp(0.0, MAX_VOLUME)
            } else {
                1.0
            };
        });
    }
}
