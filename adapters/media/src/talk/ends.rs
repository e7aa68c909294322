//! The ends of a headset that an engine has: a microphone for a call, a loudspeaker for a remote track.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_voip::host::{Codec, Frame, FrameSink, FrameSource, Playout, SourceControl};

use super::{
    clock::Clock,
    lane::{Inbox, Outbox},
    view::Talker,
    wishes::Shared,
};

/// The microphone of a [`Headset`](super::Headset), as an engine has it. Dropped, it records no longer.
#[derive(Debug)]
pub struct Microphone {
    outbox: Arc<Outbox>,
    id: u64,
    shared: Arc<Shared>,
}

impl Microphone {
    pub(super) fn open(shared: Arc<Shared>) -> Self {
        let (id, outbox) = shared.open_lane();
        Self { outbox, id, shared }
    }
}

#[async_trait]
impl FrameSource for Microphone {
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    async fn next(&mut self) -> Option<Frame> {
        self.outbox.next().await
    }

    fn control(&mut self, control: SourceControl) {
        self.outbox.control(control);
    }

    fn has_device(&self) -> bool {
        !self.outbox.is_missing()
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        self.shared.close_lane(self.id);
    }
}

/// The loudspeaker of a [`Headset`](super::Headset) for one remote track, as an engine has it.
#[derive(Debug)]
pub struct Speaker {
    inbox: Arc<Inbox>,
    clock: Clock,
    id: u64,
    shared: Arc<Shared>,
}

impl Speaker {
    pub(super) fn open(shared: Arc<Shared>, talker: Talker, clock: Clock) -> Self {
        let (id, inbox) = shared.open_voice(talker);
        Self { inbox, clock, id, shared }
    }
}

impl FrameSink for Speaker {
    fn push(&mut self, frame: Frame) {
        self.inbox.put(self.clock.now(), frame);
    }

    fn playout(&self) -> Option<Playout> {
        Some(self.inbox.playout())
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.shared.close_voice(self.id);
    }
}
