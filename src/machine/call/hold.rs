//! Hold: whoever holds takes nothing in and sends silence; the lines stay and are only turned.
//!
//! Our own hold is a wish that every description of ours repeats, so that the directions come back
//! as they were. Theirs is read from what they describe: whoever receives nothing holds us
//! (`interop.md` §4, `matrix-js-sdk.md` §3.7).

use super::{Ask, Call, Phase, phase::Incoming};
use crate::{
    machine::{
        event::{CallEvent, EndReason, Hold},
        io::{Fault, MediaSource, Op, Refusal, Reply, TrackOp},
        world::World,
    },
    sdp::{Direction, LineKind, MediaLine},
    wire::call::Version,
};

impl Call {
    /// We put the other side on hold, or take it back.
    pub(in crate::machine) fn set_held(
        &mut self,
        world: &mut World,
        by_us: bool,
    ) -> Result<(), Refusal> {
        self.check_holdable()?;
        if self.shown.hold.by_us == by_us {
            return Ok(());
        }
        if !by_us && self.leg.is_none() && world.roster.other_taken(Some(self.session)) {
            return Err(Refusal::OtherCallConnected);
        }
        self.tell(world, CallEvent::HoldChanged(Hold { by_us, ..self.shown.hold }));
        if self.leg.is_none() {
            self.tell_roster(world);
        }
        for source in self.media.open_sources() {
            self.refresh_switch(world, source);
        }
        self.want_negotiation(world);
        Ok(())
    }

    /// A call that is being answered can be held too: its answer says so, or what follows it.
    fn check_holdable(&self) -> Result<(), Refusal> {
        let answering = matches!(self.phase, Phase::Incoming(Incoming::Answering(_)));
        if answering && self.version == Version::V1 { Ok(()) } else { self.check_negotiable() }
    }

    /// Their description is in force: do they receive anything?
    pub(super) fn on_their_directions(&mut self, world: &mut World, lines: &[MediaLine<'_>]) {
        if self.negotiation.asked_for_nothing() {
            return;
        }
        let mut media =
            lines.iter().filter(|line| matches!(line.kind, LineKind::Audio | LineKind::Video));
        let by_them = media.all(|line| match line.direction {
            Direction::SendOnly | Direction::Inactive => true,
            Direction::SendRecv | Direction::RecvOnly => false,
        });
        if by_them != self.shown.hold.by_them {
            self.tell(world, CallEvent::HoldChanged(Hold { by_them, ..self.shown.hold }));
        }
    }

    /// Whether a source is to give silence: muted, or on hold.
    pub(super) fn is_silent(&self, source: MediaSource) -> bool {
        self.shown.hold.by_us || self.media.is_muted(source)
    }

    /// Tells the engine whether an open source is sent.
    pub(super) fn refresh_switch(&mut self, world: &mut World, source: MediaSource) {
        if let Some(track) = self.media.own(source) {
            let on = !self.is_silent(source);
            self.ask(world, Ask::Switch(source, on), Op::Track(track, TrackOp::Enable(on)));
        }
    }

    /// A source that cannot be switched is given up: shown as muted it might be open, and what is
    /// shown must be true. An older try is outdone by the one that is under way.
    pub(super) fn on_switched(
        &mut self,
        world: &mut World,
        (source, on): (MediaSource, bool),
        result: &Result<Reply, Fault>,
    ) {
        let is_wanted = on != self.is_silent(source);
        if result.is_ok() || !is_wanted || self.media.ready(source).is_none() {
            return;
        }
        if source == MediaSource::Microphone && self.phase.step().is_some() {
            return self.fail(world, EndReason::UserMediaFailed);
        }
        self.tell(world, CallEvent::MediaMissing(source));
        self.close_source(world, source);
        self.sync_metadata(world);
    }
}
