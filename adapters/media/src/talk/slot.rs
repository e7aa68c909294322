//! A device of an audio thread: open, being opened, or missing and tried again each second.

use std::time::Duration;

use super::{
    clerk::Ticket,
    device::{DeviceError, Player, Recorder, Which},
    metronome::Metronome,
    view::DeviceState,
};

/// How long a device may take to open until it is told that it does not.
const SLOW: Duration = Duration::from_secs(1);

/// How long until a missing device is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A device that may lose sound.
pub(super) trait Lossy {
    /// Samples so far.
    fn lost(&self) -> u64;
}

impl Lossy for dyn Recorder {
    fn lost(&self) -> u64 {
        Recorder::lost(self)
    }
}

impl Lossy for dyn Player {
    fn lost(&self) -> u64 {
        Player::lost(self)
    }
}

/// One device: open, or missing and to be tried again.
pub(super) struct Slot<D: Lossy + ?Sized> {
    pub(super) device: Option<Box<D>>,
    /// Which was opened, or tried.
    which: Which,
    pub(super) state: DeviceState,
    /// Which answer is waited for, if any, and since when.
    asked: Option<(Ticket, Duration)>,
    tickets: Ticket,
    /// When the last try failed.
    tried: Option<Duration>,
    pub(super) metronome: Metronome,
    /// Samples that those before this one have lost.
    lost: u64,
}

impl<D: Lossy + ?Sized> Slot<D> {
    pub(super) fn new() -> Self {
        Self {
            device: None,
            which: Which::Default,
            state: DeviceState::Idle,
            asked: None,
            tickets: 0,
            tried: None,
            metronome: Metronome::default(),
            lost: 0,
        }
    }

    /// Samples that were lost in all.
    pub(super) fn lost(&self) -> u64 {
        self.lost.saturating_add(self.device.as_ref().map_or(0, |device| device.lost()))
    }

    /// Asks for what is wanted, unless it is open, or asked for, or was tried a moment ago. What is not answered
    /// for long counts as missing until it is.
    pub(super) fn want(&mut self, now: Duration, which: &Which, ask: impl FnOnce(Ticket, Which)) {
        if self.which != *which {
            self.drop_device();
            (self.tried, self.asked, self.state) = (None, None, DeviceState::Idle);
            self.which = which.clone();
        }
        if self.state == DeviceState::Opening
            && self.asked.is_some_and(|(_, since)| now.saturating_sub(since) >= SLOW)
        {
            let slow = DeviceError::System("the sound system does not answer".into());
            self.state = DeviceState::Missing(slow);
        }
        let waits = self.tried.is_some_and(|tried| (tried..tried + RETRY).contains(&now));
        if self.device.is_some() || self.asked.is_some() || waits {
            return;
        }
        if self.state == DeviceState::Idle {
            self.state = DeviceState::Opening;
        }
        self.tickets += 1;
        self.asked = Some((self.tickets, now));
        ask(self.tickets, which.clone());
    }

    /// What came of asking; of what is not wanted any more, nothing.
    pub(super) fn on_answer(
        &mut self,
        now: Duration,
        ticket: Ticket,
        opened: Result<Box<D>, DeviceError>,
    ) {
        if self.asked.is_none_or(|(asked, _)| asked != ticket) {
            return;
        }
        self.asked = None;
        match opened {
            Ok(device) => {
                self.metronome.stop();
                (self.device, self.state) = (Some(device), DeviceState::Open);
            }
            Err(error) => self.miss(now, error),
        }
    }

    /// Nobody answers any more.
    pub(super) fn give_up(&mut self, now: Duration, error: &DeviceError) {
        if self.asked.take().is_some() {
            self.miss(now, error.clone());
        }
    }

    fn miss(&mut self, now: Duration, error: DeviceError) {
        (self.tried, self.state) = (Some(now), DeviceState::Missing(error));
    }

    pub(super) fn lose(&mut self, now: Duration, error: DeviceError) {
        tracing::info!(%error, which = %self.which, "an audio device is gone");
        self.drop_device();
        self.miss(now, error);
    }

    pub(super) fn close(&mut self) {
        self.drop_device();
        let (which, lost, tickets) = (self.which.clone(), self.lost, self.tickets);
        *self = Self { which, lost, tickets, ..Self::new() };
    }

    fn drop_device(&mut self) {
        self.lost = self.lost();
        self.device = None;
    }
}
