//! Media, peer connection and description: the same steps for both directions.
//!
//! Each step asks for one thing and goes on when it is answered; a fault ends the call with a
//! reason of its own. Nothing here outlives the call: `ending.rs` cancels what is under way.

use super::{
    Ask, Call, CallTimer, Gate, Phase,
    phase::{Incoming, Step},
};
use crate::{
    machine::{
        event::{CallEvent, EndReason},
        io::{
            Capture, Description, Fault, MediaSource, Op, PeerConfig, PeerOp, Reply, SdpKind,
            TrackOp,
        },
        world::World,
    },
    sdp,
};

impl Call {
    /// Goes on from `Waiting` when all that it waits for is there.
    pub(in crate::machine) fn advance(&mut self, world: &mut World) {
        if self.phase.step() != Some(Step::Waiting) || !self.may_start() {
            return;
        }
        if !self.media.is_started() {
            self.capture(world);
        }
        if !self.media.is_asking() && !world.turn.is_awaited_by(self.session) {
            self.open(world);
        }
    }

    fn may_start(&self) -> bool {
        self.gate == Gate::Open && self.remote_user().is_some()
    }

    fn capture(&mut self, world: &mut World) {
        self.want_turn(world);
        for source in self.sources() {
            let track = world.ids.track();
            self.media.ask(*source, track);
            let capture = TrackOp::Capture(self.session, Capture::of(*source));
            self.ask(world, Ask::Capture(*source), Op::Track(track, capture));
        }
    }

    /// Asks for TURN credentials, once a call: a failed fetch must not delay the call again. Those
    /// that were had and ran out while it rang are had again.
    pub(super) fn want_turn(&mut self, world: &mut World) {
        if !self.turn_asked || world.has_stale_turn() {
            self.turn_asked = true;
            world.want_turn(self.session);
        }
    }

    pub(super) fn on_captured(
        &mut self,
        world: &mut World,
        source: MediaSource,
        result: Result<Reply, Fault>,
    ) {
        self.media.on_captured(source, result.is_ok());
        match (result, source) {
            (Ok(_), _) => self.silence_if_muted(world, source),
            (Err(_), MediaSource::Microphone) => {
                return self.fail(world, EndReason::UserMediaFailed);
            }
            (Err(_), MediaSource::Camera | MediaSource::Screen) => {
                self.tell(world, CallEvent::MediaMissing(source));
            }
        }
        self.refresh_streams(world);
        self.advance(world);
    }

    fn open(&mut self, world: &mut World) {
        let peer = world.ids.peer();
        self.peer = Some(peer);
        world.peers.insert(peer, self.session);
        let config = PeerConfig {
            session: self.session,
            ice_servers: world.turn.servers().to_vec(),
            relay_only: world.config.relay_only,
        };
        self.ask(world, Ask::Open, Op::Peer(peer, PeerOp::Open(config)));
        self.step(world, Step::Opening);
    }

    pub(super) fn on_opened(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if result.is_err() {
            return self.fail(world, EndReason::EngineFailed);
        }
        match self.offer.take() {
            Some(sdp) => {
                let offer = Description { kind: SdpKind::Offer, sdp };
                self.ask_peer(world, Ask::SetRemote, PeerOp::SetRemote(offer));
                self.step(world, Step::SettingRemote);
            }
            None => self.describe(world, PeerOp::Offer(self.media.plan(self.is_video()))),
        }
    }

    /// The remote description is in force: our offer was answered, or theirs can be.
    pub(super) fn on_remote_set(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if result.is_err() {
            return self.fail(world, EndReason::RemoteDescriptionFailed);
        }
        self.remote_in_force = true;
        self.apply_candidates(world);
        if let Phase::Incoming(Incoming::Answering(_)) = self.phase {
            self.describe(world, PeerOp::Answer(self.media.plan(self.offered_video)));
        }
    }

    fn describe(&mut self, world: &mut World, op: PeerOp) {
        self.ask_peer(world, Ask::Describe, op);
        self.step(world, Step::Describing);
    }

    pub(super) fn on_described(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        match result {
            Ok(Reply::Description(description)) => {
                self.ask_peer(world, Ask::SetLocal, PeerOp::SetLocal(description));
                self.step(world, Step::SettingLocal);
            }
            Ok(_) | Err(_) => self.fail(world, EndReason::LocalDescriptionFailed),
        }
    }

    pub(super) fn on_local_set(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if result.is_err() {
            return self.fail(world, EndReason::LocalDescriptionFailed);
        }
        self.step(world, Step::Gathering);
        if self.local_candidates.is_gathered() {
            return self.read_description(world);
        }
        let patience = world.now.mono_after(world.config.timeouts.gather);
        self.set_timer(world, CallTimer::Gather, patience);
    }

    /// Reads the description back with the candidates found so far (T-14).
    pub(super) fn read_description(&mut self, world: &mut World) {
        if self.phase.step() != Some(Step::Gathering) {
            return;
        }
        self.clear_timer(world, CallTimer::Gather);
        self.ask_peer(world, Ask::Read, PeerOp::LocalDescription);
        self.step(world, Step::Reading);
    }

    pub(super) fn on_read(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        let Ok(Reply::Description(description)) = result else {
            return self.fail(world, EndReason::LocalDescriptionFailed);
        };
        if description.sdp.len() > sdp::MAX_SDP_BYTES {
            return self.fail(world, EndReason::LocalDescriptionFailed);
        }
        self.local_candidates.forget_those_in(description.sdp.expose());
        self.told = self.media.metadata();
        if self.is_outgoing() {
            self.send_invite(world, description.sdp);
        } else {
            self.send_answer(world, description.sdp);
        }
    }

    pub(super) fn ask_peer(&mut self, world: &mut World, ask: Ask, op: PeerOp) {
        if let Some(peer) = self.peer {
            self.ask(world, ask, Op::Peer(peer, op));
        }
    }

    fn step(&mut self, world: &mut World, step: Step) {
        if let Some(phase) = self.phase.at(step) {
            self.enter(world, phase);
        }
    }

    /// Whether a source is, or will be, captured for this call.
    pub(super) fn has_source(&self, source: MediaSource) -> bool {
        let wanted = self.sources().contains(&source);
        self.media.ready(source).is_some()
            || (wanted && (self.media.is_asking() || !self.media.is_started()))
    }
}
