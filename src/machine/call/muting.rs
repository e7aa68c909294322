//! Mutes: at once at our engine, and told to the other side.

use super::{Call, Phase};
use crate::{
    machine::{
        event::{CallEvent, MessageKind},
        io::{MediaSource, Refusal},
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
        if !self.shown.hold.by_us {
            self.refresh_switch(world, source);
        }
        self.refresh_streams(world);
        self.sync_metadata(world);
        Ok(())
    }

    /// A source that was muted or on hold before it was captured opens silent.
    pub(super) fn silence_if_muted(&mut self, world: &mut World, source: MediaSource) {
        if self.is_silent(source) {
            self.refresh_switch(world, source);
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
            self.send(world, MessageKind::Metadata, Body::MetadataChanged(metadata));
        }
    }
}
