//! A sink that gets frames decrypted, or not at all.

use matrix_voip::{
    host::{Frame, FrameSink, Playout},
    id::SessionId,
    machine::io::{MediaKind, ParticipantId},
};

use super::keys::{FrameKeys, Passage};

/// A sink around another.
pub(super) struct Opening {
    sink: Box<dyn FrameSink>,
    keys: FrameKeys,
    call: SessionId,
    member: Option<ParticipantId>,
    /// Frames were refused: what comes next does not follow what the sink has.
    is_behind: bool,
    wants_key_frame: bool,
}

impl Opening {
    pub(super) fn new(
        sink: Box<dyn FrameSink>,
        keys: FrameKeys,
        call: SessionId,
        member: Option<ParticipantId>,
    ) -> Self {
        Self { sink, keys, call, member, is_behind: false, wants_key_frame: false }
    }
}

impl FrameSink for Opening {
    fn push(&mut self, frame: Frame) {
        let data = match self.keys.open(self.call, self.member.as_ref(), &frame) {
            Passage::Unchanged => return self.sink.push(frame),
            Passage::Refused => return self.is_behind = true,
            Passage::Changed(data) => data,
        };
        let follows = !std::mem::take(&mut self.is_behind);
        let is_video = frame.codec.kind() == MediaKind::Video;
        // The first picture that opens again leans on pictures that did not.
        self.wants_key_frame |= is_video && !follows && !frame.key_frame;
        let contiguous = frame.contiguous && follows;
        self.sink.push(Frame { data, contiguous, ..frame });
    }

    fn wants_key_frame(&mut self) -> bool {
        // Both wishes are reset by the question.
        let wanted = self.sink.wants_key_frame();
        std::mem::take(&mut self.wants_key_frame) | wanted
    }

    fn playout(&self) -> Option<Playout> {
        self.sink.playout()
    }
}
