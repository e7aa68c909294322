//! What we send in a group call: one capture of each source, lent to every leg of a mesh, or published
//! at the SFU.
//!
//! Sources are opened when we enter and released when we leave, whatever becomes of the legs and of the
//! homeserver (T-30, T-39). Mute, hold and another device change the one track; what legs have to tell
//! of it they tell when they are lent the media anew.

use std::collections::BTreeMap;

use super::event::GroupEvent;
use crate::{
    config::SfuClient,
    id::{InputId, OpId, SessionId, StreamId, TrackId},
    machine::{
        Engine,
        call::{Call, media::LocalMedia},
        fingerprint::Fingerprint,
        io::{
            CallMedia, Capture, Fault, Ignored, MediaSource, Op, Refusal, Reply, SfuOp, TrackOp,
            Verdict,
        },
        world::{Owner, World},
    },
    wire::{member::Backend, metadata::Purpose},
};

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ask {
    Capture(MediaSource),
    Replace(MediaSource),
    /// Whether the source is sent (`true`), or silence.
    Switch(MediaSource, bool),
}

impl Ask {
    const fn source(self) -> MediaSource {
        match self {
            Self::Capture(source) | Self::Replace(source) | Self::Switch(source, _) => source,
        }
    }
}

/// By whom our sources are opened, muted and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Via {
    /// By the WebRTC delegate: a mesh.
    Delegate,
    /// By the host that connects to the SFU.
    Sfu,
    /// By the application, which tells us nothing of it.
    Application,
}

impl Via {
    pub(super) const fn of(backend: &Backend, client: SfuClient) -> Self {
        match (backend, client) {
            (Backend::Mesh | Backend::Msc3401Mesh, _) => Self::Delegate,
            (Backend::Livekit { .. }, SfuClient::Host) => Self::Sfu,
            (Backend::Livekit { .. }, SfuClient::Application) => Self::Application,
            (Backend::Unknown(_), _) => Self::Application,
        }
    }

    fn op(self, session: SessionId, track: TrackId, op: TrackOp) -> Op {
        match self {
            Self::Delegate | Self::Application => Op::Track(track, op),
            Self::Sfu => Op::Sfu(session, SfuOp::Track(track, op)),
        }
    }
}

/// Our media in a group call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupMedia {
    session: SessionId,
    via: Via,
    local: LocalMedia,
    asks: BTreeMap<OpId, Ask>,
}

impl GroupMedia {
    pub(super) fn new(session: SessionId, via: Via, stream: StreamId) -> Self {
        Self { session, via, local: LocalMedia::new(stream), asks: BTreeMap::new() }
    }

    pub(super) const fn via(&self) -> Via {
        self.via
    }

    /// Whether sources are opened and closed at our word.
    pub(super) fn is_ours(&self) -> bool {
        self.via != Via::Application
    }

    /// Which source a track of ours is.
    pub(super) fn source_of(&self, track: TrackId) -> Option<MediaSource> {
        self.local.source_of(track)
    }

    /// For a leg.
    pub(super) const fn local(&self) -> &LocalMedia {
        &self.local
    }

    /// What our membership says that we show.
    fn feeds(&self) -> Vec<Purpose> {
        let screen = self.local.ready(MediaSource::Screen).map(|_| Purpose::Screenshare);
        [Purpose::UserMedia].into_iter().chain(screen).collect()
    }

    fn open(&mut self, world: &mut World, source: MediaSource) {
        let track = world.ids.track();
        let stream = (source == MediaSource::Screen).then(|| world.ids.stream());
        if let Some(former) = self.local.ask(source, track, stream) {
            self.forget_asks_of(world, source);
            world.request(Owner::Nobody, self.via.op(self.session, former, TrackOp::Release));
        }
        let capture = TrackOp::Capture(self.session, Capture::of(source));
        self.ask(world, Ask::Capture(source), (track, capture));
    }

    fn close(&mut self, world: &mut World, source: MediaSource) {
        let Some(track) = self.local.close(source) else { return };
        self.forget_asks_of(world, source);
        world.request(Owner::Nobody, self.via.op(self.session, track, TrackOp::Release));
    }

    /// Closes everything, also what nobody has granted yet.
    pub(super) fn release(&mut self, world: &mut World) {
        for source in [MediaSource::Microphone, MediaSource::Camera, MediaSource::Screen] {
            self.close(world, source);
        }
    }

    fn ask(&mut self, world: &mut World, ask: Ask, (track, op): (TrackId, TrackOp)) {
        let op = self.via.op(self.session, track, op);
        let id = world.request(Owner::Group(self.session), op);
        self.asks.insert(id, ask);
    }

    fn forget_asks_of(&mut self, world: &mut World, source: MediaSource) {
        for (op, _) in self.asks.extract_if(.., |_, ask| ask.source() == source) {
            world.cancel(op);
        }
    }

    /// Tells the engine whether an open source is sent.
    fn refresh_switch(&mut self, world: &mut World, held: bool, source: MediaSource) {
        if let Some(track) = self.local.own(source) {
            let on = !held && !self.local.is_muted(source);
            self.ask(world, Ask::Switch(source, on), (track, TrackOp::Enable(on)));
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value(self.via);
        self.local.fingerprint(print);
        for (op, ask) in &self.asks {
            print.op(*op);
            print.value(ask);
        }
    }
}

impl Engine {
    /// We are about to be in the call: its media is opened, where it is ours.
    pub(super) fn open_group_media(&mut self, session: SessionId, media: CallMedia) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.media.is_ours() {
            return;
        }
        for source in LocalMedia::sources_of(media) {
            call.media.open(&mut self.world, *source);
        }
    }

    /// We are not in it any more: nothing of ours stays open.
    pub(super) fn close_group_media(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.media.release(&mut self.world);
        if call.shown.held {
            call.tell(&mut self.world, GroupEvent::HoldChanged { held: false });
        }
        self.show_our_streams(session);
    }

    pub(super) fn mute_in_group(
        &mut self,
        session: SessionId,
        source: MediaSource,
        muted: bool,
    ) -> Result<(), Refusal> {
        let call = self.groups.with_media(session)?;
        if call.media.local.is_muted(source) == muted {
            return Ok(());
        }
        call.media.local.set_muted(source, muted);
        call.tell(&mut self.world, GroupEvent::MuteChanged { source, muted });
        if !call.shown.held {
            call.media.refresh_switch(&mut self.world, false, source);
        }
        self.on_group_media(session);
        Ok(())
    }

    pub(super) fn hold_group(&mut self, session: SessionId, held: bool) -> Result<(), Refusal> {
        let call = self.groups.entered(session)?;
        if call.shown.held == held {
            return Ok(());
        }
        call.tell(&mut self.world, GroupEvent::HoldChanged { held });
        for source in call.media.local.open_sources() {
            call.media.refresh_switch(&mut self.world, held, source);
        }
        call.subscribe(&mut self.world, held);
        for leg in call.mesh.legs() {
            self.hold_leg(leg, held);
        }
        Ok(())
    }

    /// Talks in it again: calls of two give way.
    pub(super) fn unhold_group(&mut self, session: SessionId) -> Result<(), Refusal> {
        if self.groups.entered(session)?.shown.held {
            self.make_way_for_group()?;
        }
        self.hold_group(session, false)
    }

    /// A leg follows the group call's hold, as soon as it can.
    pub(super) fn hold_leg(&mut self, leg: SessionId, held: bool) {
        // One that is still on its way follows when it is connected.
        let _ = self.with(leg, |call, world| call.set_held(world, held));
    }

    pub(super) fn start_in_group(
        &mut self,
        session: SessionId,
        source: MediaSource,
    ) -> Result<(), Refusal> {
        let call = self.groups.entered(session)?;
        if call.media.local.is_open(source) {
            return Ok(());
        }
        if source != MediaSource::Microphone && call.media.local.is_muted(source) {
            // Whoever starts a picture wants it to be seen.
            call.media.local.set_muted(source, false);
            call.tell(&mut self.world, GroupEvent::MuteChanged { source, muted: false });
        }
        call.media.open(&mut self.world, source);
        Ok(())
    }

    pub(super) fn stop_in_group(
        &mut self,
        session: SessionId,
        source: MediaSource,
    ) -> Result<(), Refusal> {
        let call = self.groups.entered(session)?;
        call.media.close(&mut self.world, source);
        self.on_group_media(session);
        Ok(())
    }

    pub(super) fn switch_in_group(
        &mut self,
        session: SessionId,
        source: MediaSource,
        input: Option<InputId>,
    ) -> Result<(), Refusal> {
        let call = self.groups.entered(session)?;
        let track = call.media.local.own(source).ok_or(Refusal::NoSuchTrack)?;
        let capture = Capture { input, ..Capture::of(source) };
        let replace = TrackOp::Replace(session, capture);
        call.media.ask(&mut self.world, Ask::Replace(source), (track, replace));
        Ok(())
    }

    /// Takes the reply to a request about a group call's media.
    pub(in crate::machine) fn on_group_media_reply(
        &mut self,
        session: SessionId,
        op: OpId,
        result: &Result<Reply, Fault>,
    ) -> Verdict {
        if self.on_levels(session, op, result) {
            return Verdict::Handled;
        }
        let call = self.groups.calls.get_mut(&session);
        let asked = call.and_then(|call| Some((call.media.asks.remove(&op)?, call)));
        let Some((ask, call)) = asked else { return Verdict::Ignored(Ignored::StaleReply) };
        match ask {
            Ask::Capture(source) => {
                call.media.local.on_captured(source, result.is_ok());
                if result.is_err() {
                    call.tell(&mut self.world, GroupEvent::MediaMissing(source));
                } else if call.shown.held || call.media.local.is_muted(source) {
                    let held = call.shown.held;
                    call.media.refresh_switch(&mut self.world, held, source);
                }
                self.on_group_media(session);
            }
            Ask::Replace(source) if result.is_err() => {
                call.tell(&mut self.world, GroupEvent::SwitchFailed(source));
            }
            Ask::Switch(source, on) if result.is_err() => {
                let wanted = !call.shown.held && !call.media.local.is_muted(source);
                // Shown as muted it might be open, and what is shown must be true.
                if on == wanted {
                    self.lose_source(session, source);
                }
            }
            Ask::Replace(_) | Ask::Switch(..) => {}
        }
        Verdict::Handled
    }

    /// A source ended by itself: unplugged, revoked, its file over.
    pub(super) fn lose_source(&mut self, session: SessionId, source: MediaSource) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.media.local.is_open(source) {
            call.tell(&mut self.world, GroupEvent::MediaMissing(source));
            call.media.close(&mut self.world, source);
            self.on_group_media(session);
        }
    }

    /// Our media changed: every leg is lent it anew, the membership and the application hear of it.
    fn on_group_media(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get(&session) else { return };
        let media = call.media.local.clone();
        for leg in call.mesh.legs() {
            self.with(leg, |call: &mut Call, world| call.lend(world, &media));
        }
        self.show_our_streams(session);
        let Some(call) = self.groups.calls.get(&session) else { return };
        let (room, group) = (call.shown.room.clone(), call.shown.call.clone());
        let (backend, feeds) = (call.shown.backend.clone(), call.media.feeds());
        let ours = &mut self.groups.room(&room).ours;
        let other = ours.visit(&group).is_some_and(|visit| visit.feeds != feeds);
        if other
            && backend.is_mesh()
            && let Some(visit) = ours.change(&group)
        {
            visit.feeds = feeds;
            self.groups.push(&mut self.world, &room);
        }
    }

    fn show_our_streams(&mut self, session: SessionId) {
        let ourselves = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let mut streams: Vec<_> = call.media.local.streams().collect();
        streams.sort_by_key(crate::machine::event::Stream::display_order);
        call.show_streams(&mut self.world, ourselves, streams);
    }
}
