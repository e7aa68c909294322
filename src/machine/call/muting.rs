//! Mutes: at once at our engine, and told to the other side.

use super::{Ask, Call, Phase, outbox::Kind};
use crate::{
    machine::{
        event::CallEvent,
        io::{MediaSource, Op, Refusal, TrackOp},
        world::World,
    },
    wire::call::{Body, Version},
};

impl Call {
    pub(super) fn set_muted(
        &mut self,
        world: &mut World,
        source: MediaSource,
        muted: bool,
    ) -> Result<(), Refusal> {
        if self.phase.is_ended() {
            return Err(self.wrong_state());
        }
        if !self.has_source(source) {
            return Err(Refusal::NoSuchTrack);
        }
        if self.media.is_muted(source) == muted {
            return Ok(());
        }
        self.media.set_muted(source, muted);
        self.tell(world, CallEvent::MuteChanged { source, muted });
        if let Some(track) = self.media.ready(source) {
            self.ask(world, Ask::Nothing, Op::Track(track, TrackOp::Enable(!muted)));
        }
        self.refresh_streams(world);
        self.sync_metadata(world);
        Ok(())
    }

    /// A source that was muted before it was captured opens silent.
    pub(super) fn silence_if_muted(&mut self, world: &mut World, source: MediaSource) {
        if let (true, Some(track)) = (self.media.is_muted(source), self.media.ready(source)) {
            self.ask(world, Ask::Nothing, Op::Track(track, TrackOp::Enable(false)));
        }
    }

    /// Tells the other side what our streams are, if it knows something else.
    pub(super) fn sync_metadata(&mut self, world: &mut World) {
        let talking = match self.phase {
            Phase::Connecting | Phase::Connected => self.version == Version::V1,
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Ended(_) => false,
        };
        let metadata = self.media.metadata();
        if talking && metadata != self.told {
            self.told.clone_from(&metadata);
            self.send(world, Kind::Metadata, Body::MetadataChanged(metadata));
        }
    }
}
