//! News of the peer connection: it comes, is lost, comes back or fails; tracks come and go.

use super::{Call, CallTimer, Phase};
use crate::machine::{
    event::CallEvent,
    io::{Ignored, PeerNews, PeerState, Verdict},
    world::World,
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
                    self.want_negotiation(world);
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
            (PeerState::Connected, Phase::Connecting | Phase::Connected) => {
                self.on_connected(world);
            }
            (PeerState::Disconnected | PeerState::Connecting, Phase::Connected) => {
                self.on_connection_lost(world);
            }
            (PeerState::Connected, Phase::Outgoing(_) | Phase::Incoming(_))
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
}

fn changed(changed: bool) -> Verdict {
    if changed { Verdict::Handled } else { Verdict::Ignored(Ignored::NoChange) }
}
