//! A source whose frames leave encrypted, or not at all.

use async_trait::async_trait;
use matrix_voip::{
    host::{Codec, Frame, FrameSource, SourceControl},
    id::SessionId,
    machine::io::MediaKind,
};

use super::keys::{FrameKeys, Passage};

/// A source around another.
pub(super) struct Sealing {
    source: Box<dyn FrameSource>,
    keys: FrameKeys,
    call: SessionId,
    is_muted: bool,
    /// Frames were held back: others have missed something.
    is_behind: bool,
}

impl Sealing {
    pub(super) fn new(source: Box<dyn FrameSource>, keys: FrameKeys, call: SessionId) -> Self {
        Self { source, keys, call, is_muted: false, is_behind: false }
    }

    /// The frame as it may leave.
    ///
    /// Engines send silence of their own making in place of a muted track's frames, in the clear.
    /// Where there are no frames they send nothing.
    fn pass(&mut self, frame: Frame) -> Option<Frame> {
        if self.is_muted && self.keys.covers(self.call) {
            return None;
        }
        let data = match self.keys.seal(self.call, &frame) {
            Passage::Unchanged => return Some(frame),
            Passage::Refused => {
                self.is_behind = true;
                return None;
            }
            Passage::Changed(data) => data,
        };
        if std::mem::take(&mut self.is_behind) && frame.codec.kind() == MediaKind::Video {
            self.source.control(SourceControl::KeyFrame);
        }
        Some(Frame { data, ..frame })
    }
}

#[async_trait]
impl FrameSource for Sealing {
    fn codec(&self) -> Codec {
        self.source.codec()
    }

    /// Cancel safe: between the source's frame and its end nothing waits but a frame that is held back.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.source.next().await?;
            if let Some(frame) = self.pass(frame) {
                return Some(frame);
            }
            // A source that is always ready must not keep others from running.
            tokio::task::yield_now().await;
        }
    }

    fn control(&mut self, control: SourceControl) {
        if let SourceControl::Enabled(on) = control {
            self.is_muted = !on;
        }
        self.source.control(control);
    }

    fn has_device(&self) -> bool {
        self.source.has_device()
    }
}
