//! News of the peer connection, candidates in both directions, and mutes.

use super::{Ask, Call, CallTimer, Phase, phase::Step};
use crate::{
    machine::{
        event::{CallEvent, EndReason},
        io::{
            Candidate, Ignored, MediaSource, Op, PeerNews, PeerOp, PeerState, Refusal, TrackOp,
            Verdict,
        },
        world::World,
    },
    wire::call::{Body, Version},
};

impl Call {
    /// Takes unasked news of the peer connection.
    pub(in crate::machine) fn on_peer(&mut self, world: &mut World, news: PeerNews) -> Verdict {
        match news {
            PeerNews::Candidate(candidate) => self.on_local_candidate(world, candidate),
            PeerNews::GatheringDone => self.on_gathered(world),
            PeerNews::State(state) => self.on_peer_state(world, state),
            PeerNews::TrackAdded { mid, stream, kind } => {
                let added = self.streams.add_track(mid, stream, kind);
                self.refresh_streams(world);
                added.map_or_else(Verdict::Ignored, |()| Verdict::Handled)
            }
            PeerNews::TrackRemoved { mid } => {
                let removed = self.streams.remove_track(&mid);
                self.refresh_streams(world);
                changed(removed)
            }
            PeerNews::TrackEnded(track) => match self.media.on_track_ended(track) {
                Some(source) => {
                    self.tell(world, CallEvent::MediaMissing(source));
                    self.refresh_streams(world);
                    self.sync_metadata(world);
                    Verdict::Handled
                }
                None => Verdict::Ignored(Ignored::NoChange),
            },
        }
    }

    // ------------------------------------------------------------------------------ connection

    fn on_peer_state(&mut self, world: &mut World, state: PeerState) -> Verdict {
        if self.peer_state == Some(state) {
            return Verdict::Ignored(Ignored::NoChange);
        }
        self.peer_state = Some(state);
        match (state, &self.phase) {
            (PeerState::Failed, _) => self.on_engine_failed(world),
            (PeerState::Connected, Phase::Connecting) => self.on_connected(world),
            (PeerState::Disconnected | PeerState::Connecting, Phase::Connected) => {
                self.on_connection_lost(world);
            }
            (PeerState::Connected, Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Connected)
            | (PeerState::Disconnected | PeerState::Connecting, _)
            | (_, Phase::Ended(_)) => {}
        }
        Verdict::Handled
    }

    /// Descriptions are exchanged: now media must come.
    pub(super) fn begin_connecting(&mut self, world: &mut World) {
        let patience = world.now.mono_after(world.config.timeouts.connect);
        self.set_timer(world, CallTimer::Connect, patience);
        self.enter(world, Phase::Connecting);
        if self.peer_state == Some(PeerState::Connected) {
            self.on_connected(world);
        }
    }

    fn on_connected(&mut self, world: &mut World) {
        self.clear_timer(world, CallTimer::Connect);
        self.clear_timer(world, CallTimer::Lost);
        self.enter(world, Phase::Connected);
    }

    /// The path is gone; it may come back by itself.
    fn on_connection_lost(&mut self, world: &mut World) {
        let patience = world.now.mono_after(world.config.timeouts.lost);
        self.set_timer(world, CallTimer::Lost, patience);
        self.enter(world, Phase::Connecting);
    }

    pub(super) fn on_no_connection(&mut self, world: &mut World) {
        if self.phase == Phase::Connecting {
            self.fail(world, EndReason::IceFailed);
        }
    }

    fn on_engine_failed(&mut self, world: &mut World) {
        let reason = match self.phase {
            Phase::Connecting | Phase::Connected => EndReason::IceFailed,
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Ended(_) => EndReason::EngineFailed,
        };
        self.fail(world, reason);
    }

    // ------------------------------------------------------------------------------ candidates

    fn on_local_candidate(&mut self, world: &mut World, candidate: Candidate) -> Verdict {
        if candidate.is_end() {
            return self.on_gathered(world);
        }
        if !self.local_candidates.push(candidate) {
            return Verdict::Ignored(Ignored::TooMany);
        }
        self.plan_candidates(world);
        Verdict::Handled
    }

    fn on_gathered(&mut self, world: &mut World) -> Verdict {
        if self.local_candidates.is_gathered() {
            return Verdict::Ignored(Ignored::NoChange);
        }
        self.local_candidates.finish();
        if self.phase.step() == Some(Step::Gathering) {
            self.read_description(world);
        }
        self.plan_candidates(world);
        Verdict::Handled
    }

    /// Theirs: applied at once when the description is in force, else kept for that moment.
    pub(super) fn apply_candidates(&mut self, world: &mut World) {
        if !self.remote_in_force {
            return;
        }
        let candidates = self.remote_candidates.take();
        if !candidates.is_empty() {
            self.ask_peer(world, Ask::Nothing, PeerOp::Candidates(candidates));
        }
    }

    // ----------------------------------------------------------------------------------- mutes

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
            self.send(world, super::outbox::Kind::Metadata, Body::MetadataChanged(metadata));
        }
    }
}

fn changed(changed: bool) -> Verdict {
    if changed { Verdict::Handled } else { Verdict::Ignored(Ignored::NoChange) }
}
