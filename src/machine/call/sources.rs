//! Sources that come, go and change in a call: camera, screen, another microphone; and tones.
//!
//! A source that cannot be had is told (`MediaMissing`) and never ends a call that talks.

use super::{Ask, Call};
use crate::{
    id::InputId,
    machine::{
        event::CallEvent,
        io::{Capture, Fault, MediaSource, Op, Refusal, Reply, Tones, TrackOp},
        world::{Owner, World},
    },
};

impl Call {
    /// Opens a source and shows it to the other side. Open already: nothing happens.
    pub(super) fn start(&mut self, world: &mut World, source: MediaSource) -> Result<(), Refusal> {
        self.check_negotiable()?;
        if self.media.is_open(source) {
            return Ok(());
        }
        // Without metadata nobody can tell a screen from a camera.
        if source == MediaSource::Screen && !self.streams.has_metadata() {
            return Err(Refusal::NoStreamMetadata);
        }
        if source != MediaSource::Microphone && self.media.is_muted(source) {
            // Whoever starts a picture wants it to be seen.
            self.media.set_muted(source, false);
            self.tell(world, CallEvent::MuteChanged { source, muted: false });
        }
        self.open_source(world, source);
        Ok(())
    }

    /// Asks for a source, with a track of its own.
    pub(super) fn open_source(&mut self, world: &mut World, source: MediaSource) {
        let track = world.ids.track();
        let own = source == MediaSource::Screen;
        let stream = own.then(|| world.ids.stream());
        if let Some(former) = self.media.ask(source, track, stream) {
            self.forget_asks_of(world, source);
            world.request(Owner::Nobody, Op::Track(former, TrackOp::Release));
        }
        let capture = TrackOp::Capture(self.session, Capture::of(source));
        self.ask(world, Ask::Capture(source), Op::Track(track, capture));
    }

    /// Closes a source. Closed already: nothing happens.
    pub(super) fn stop(&mut self, world: &mut World, source: MediaSource) -> Result<(), Refusal> {
        self.check_negotiable()?;
        if self.media.is_open(source) && self.media.ready(source).is_none() {
            self.tell(world, CallEvent::MediaMissing(source));
        }
        self.close_source(world, source);
        Ok(())
    }

    /// Takes a source out of the call, with what is asked about it.
    pub(super) fn close_source(&mut self, world: &mut World, source: MediaSource) {
        let Some(track) = self.media.close(source) else { return };
        self.forget_asks_of(world, source);
        world.request(Owner::Nobody, Op::Track(track, TrackOp::Release));
        self.refresh_streams(world);
        self.want_negotiation(world);
    }

    fn forget_asks_of(&mut self, world: &mut World, source: MediaSource) {
        let asked = |ask: &Ask| match ask {
            Ask::Capture(of) | Ask::Replace(of) | Ask::Switch(of, _) => *of == source,
            Ask::Members | Ask::Open | Ask::SetRemote | Ask::Describe | Ask::SetLocal => false,
            Ask::Read | Ask::Rollback | Ask::Tones | Ask::Nothing | Ask::Send => false,
        };
        for (op, _) in self.asks.extract_if(.., |_, ask| asked(ask)) {
            world.cancel(op);
        }
    }

    /// Takes another device for an open source: no negotiation, and the mute stays.
    pub(super) fn switch(
        &mut self,
        world: &mut World,
        source: MediaSource,
        input: Option<InputId>,
    ) -> Result<(), Refusal> {
        if self.phase.is_ended() {
            return Err(self.wrong_state());
        }
        let track = self.media.ready(source).ok_or(Refusal::NoSuchTrack)?;
        let capture = Capture { input, ..Capture::of(source) };
        let op = Op::Track(track, TrackOp::Replace(self.session, capture));
        self.ask(world, Ask::Replace(source), op);
        Ok(())
    }

    pub(super) fn on_replaced(
        &mut self,
        world: &mut World,
        source: MediaSource,
        result: &Result<Reply, Fault>,
    ) {
        if result.is_err() {
            self.tell(world, CallEvent::SwitchFailed(source));
        }
    }

    /// Sends tones beside the sound: they are RTP like it (RFC 4733), so where the other side takes
    /// nothing in (RFC 3264 §8.4) there is no way for them.
    pub(super) fn dial(&mut self, world: &mut World, tones: Tones) -> Result<(), Refusal> {
        match self.check_negotiable() {
            // An old party cannot renegotiate, but hears tones.
            Ok(()) | Err(Refusal::CannotRenegotiate) => {}
            Err(refusal) => return Err(refusal),
        }
        if !self.takes_tones {
            return Err(Refusal::TakesNoTones);
        }
        if self.shown.hold.by_them {
            return Err(Refusal::HeldByThem);
        }
        let track = self.media.ready(MediaSource::Microphone).ok_or(Refusal::NoSuchTrack)?;
        self.ask(world, Ask::Tones, Op::Track(track, TrackOp::Dtmf(tones)));
        Ok(())
    }

    pub(super) fn on_dialled(&mut self, world: &mut World, result: &Result<Reply, Fault>) {
        if result.is_err() {
            self.tell(world, CallEvent::TonesFailed);
        }
    }
}
