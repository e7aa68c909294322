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
        io::{Description, Fault, MediaSource, Op, PeerConfig, PeerOp, Reply, SdpKind},
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
            self.open_source(world, *source);
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
            (Err(_), MediaSource::Microphone) if self.phase.step().is_some() => {
                return self.fail(world, EndReason::UserMediaFailed);
            }
            (Err(_), MediaSource::Microphone | MediaSource::Camera | MediaSource::Screen) => {
                self.tell(world, CallEvent::MediaMissing(source));
            }
        }
        self.refresh_streams(world);
        self.advance(world);
        self.want_negotiation(world);
    }

    fn open(&mut self, world: &mut World) {
        let peer = world.ids.peer();
        self.peer = Some(peer);
        world.peers.insert(peer, self.session);
        self.note_servers(world.turn.given());
        let place = self.leg_place();
        let config = PeerConfig {
            session: place.map_or(self.session, |place| place.group),
            member: place.map(|place| place.member.clone()),
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
            None => {
                let plan = self.next_plan();
                self.describe(world, PeerOp::Offer(plan));
            }
        }
    }

    /// The remote description is in force: our offer was answered, or theirs can be.
    pub(super) fn on_remote_set(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if self.remote_in_force {
            return self.on_later_remote_set(world, &result);
        }
        if result.is_err() {
            return self.fail(world, EndReason::RemoteDescriptionFailed);
        }
        self.remote_in_force = true;
        self.apply_candidates(world);
        match self.phase {
            Phase::Incoming(Incoming::Answering(_)) => {
                let plan = self.next_plan();
                self.describe(world, PeerOp::Answer(plan));
            }
            Phase::Incoming(Incoming::Ringing)
            | Phase::Outgoing(_)
            | Phase::Connecting
            | Phase::Connected
            | Phase::Ended(_) => self.on_later_remote_set(world, &result),
        }
    }

    fn describe(&mut self, world: &mut World, op: PeerOp) {
        self.ask_peer(world, Ask::Describe, op);
        self.step(world, Step::Describing);
    }

    pub(super) fn on_described(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if self.gives_way(world) {
            return;
        }
        match result {
            Ok(Reply::Description(description)) => {
                let is_anew = self.local_candidates.describe(description.sdp.expose());
                if is_anew && description.kind == SdpKind::Answer {
                    self.renew_servers(world);
                }
                self.ask_peer(world, Ask::SetLocal, PeerOp::SetLocal(description));
                self.step(world, Step::SettingLocal);
            }
            Ok(_) | Err(_) => self.on_no_description(world),
        }
    }

    /// Our description could not be made or put into force.
    fn on_no_description(&mut self, world: &mut World) {
        if self.phase.step().is_some() {
            self.fail(world, EndReason::LocalDescriptionFailed);
        } else {
            self.on_negotiation_failed(world);
        }
    }

    pub(super) fn on_local_set(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if self.gives_way(world) {
            return;
        }
        if result.is_err() {
            return self.on_no_description(world);
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
        if self.present_step() != Some(Step::Gathering) {
            return;
        }
        self.clear_timer(world, CallTimer::Gather);
        self.ask_peer(world, Ask::Read, PeerOp::LocalDescription);
        self.step(world, Step::Reading);
    }

    pub(super) fn on_read(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        if self.gives_way(world) {
            return;
        }
        let Some(description) = readable(result) else {
            return self.on_no_description(world);
        };
        self.local_candidates.forget_those_in(description.sdp.expose());
        if description.kind == SdpKind::Answer {
            // They may offer tones that we cannot make: on another clock, for another codec.
            self.takes_tones &= sdp::has_telephone_events(description.sdp.expose());
        }
        self.told = self.media.metadata();
        match self.phase {
            Phase::Outgoing(_) => self.send_invite(world, description.sdp),
            Phase::Incoming(_) => self.send_answer(world, description.sdp),
            Phase::Connecting | Phase::Connected | Phase::Ended(_) => {
                self.send_negotiate(world, description.kind, description.sdp);
            }
        }
    }

    pub(super) fn ask_peer(&mut self, world: &mut World, ask: Ask, op: PeerOp) {
        if let Some(peer) = self.peer {
            self.ask(world, ask, Op::Peer(peer, op));
        }
    }

    /// The step of the first description, or of a later one, that is being made.
    pub(super) fn present_step(&self) -> Option<Step> {
        self.phase.step().or_else(|| self.negotiation.step())
    }

    fn step(&mut self, world: &mut World, step: Step) {
        match self.phase.at(step) {
            Some(phase) => self.enter(world, phase),
            None => self.negotiation.advance(step),
        }
    }

    /// Whether a source is, or will be, captured for this call.
    pub(super) fn has_source(&self, source: MediaSource) -> bool {
        let wanted = self.sources().contains(&source);
        self.media.ready(source).is_some()
            || (wanted && (self.media.is_asking() || !self.media.is_started()))
    }
}

/// A description that can be sent.
fn readable(result: Result<Reply, Fault>) -> Option<Description> {
    let Ok(Reply::Description(description)) = result else { return None };
    (description.sdp.len() <= sdp::MAX_SDP_BYTES).then_some(description)
}
