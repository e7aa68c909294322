//! Descriptions after the first: `m.call.negotiate`, both ways.
//!
//! `negotiation.rs` says whose turn it is; here it happens. The description itself is made by the
//! same steps as the first one (`setup.rs`). Nothing that goes wrong with it ends the call: the
//! old descriptions stay in force, and the application is told.

use super::{
    Ask, Call, CallTimer, Phase,
    negotiation::{Collision, SignalingState, TheirOffer},
    phase::Step,
};
use crate::{
    machine::{
        bounds::MAX_UNANSWERED_OFFERS,
        event::{CallEvent, MessageKind},
        guard::Guard,
        io::{Description, Fault, Ignored, PeerOp, Plan, Refusal, Reply, SdpKind, Verdict},
        world::World,
    },
    redact::Redacted,
    sdp,
    wire::{
        call::{Body, Capabilities, Negotiate, Version},
        delivery::Facts,
    },
};

impl Call {
    /// What our next description should say.
    pub(super) fn plan(&self) -> Plan {
        self.media.plan(self.negotiation.slots(), self.shown.hold.by_us)
    }

    /// What our next description says: it is being made now.
    pub(super) fn next_plan(&mut self) -> Plan {
        let plan = self.plan();
        self.negotiation.describe(plan.clone());
        plan
    }

    /// Whether descriptions can be exchanged with this party at all, now or soon.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check_negotiable(&self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Connecting | Phase::Connected if self.version == Version::V0 => {
                Err(Refusal::CannotRenegotiate)
            }
            Phase::Connecting | Phase::Connected => Ok(()),
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Ended(_) => Err(self.wrong_state()),
        }
    }

    /// Something of ours changed that a description has to say.
    pub(super) fn want_negotiation(&mut self, world: &mut World) {
        self.negotiation.want();
        self.negotiate(world);
    }

    /// Begins what is due: their offer first, then ours.
    pub(super) fn negotiate(&mut self, world: &mut World) {
        let settled = self.check_negotiable().is_ok() && self.remote_in_force;
        if !settled || self.negotiation.turn() != SignalingState::Stable {
            return;
        }
        if self.negotiation.has_theirs() {
            return self.answer_theirs(world);
        }
        if self.negotiation.wants_restart() && self.awaits_servers(world) {
            return;
        }
        let plan = self.plan();
        if self.negotiation.is_due(&plan) {
            self.offer_ours(world, plan);
        } else {
            self.negotiation.want_nothing();
        }
    }

    // ---------------------------------------------------------------------------------- ours

    fn offer_ours(&mut self, world: &mut World, plan: Plan) {
        if self.negotiation.begin_offer(plan.clone()) {
            self.ask_peer(world, Ask::Nothing, PeerOp::RestartIce);
        }
        self.ask_peer(world, Ask::Describe, PeerOp::Offer(plan));
    }

    /// Our description of a negotiation was read back and leaves.
    pub(super) fn send_negotiate(&mut self, world: &mut World, kind: SdpKind, sdp: Redacted) {
        let lifetime = world.config.timeouts.negotiate;
        let capabilities = match kind {
            SdpKind::Offer => Some(self.capabilities(world, &sdp)),
            SdpKind::Answer => None,
        };
        let negotiate = Negotiate {
            description: Description { kind, sdp },
            lifetime: Some(lifetime),
            capabilities,
            streams: Some(self.told.clone()),
        };
        match kind {
            SdpKind::Offer => {
                self.negotiation
                    .offer_sent(sdp::media_lines(negotiate.description.sdp.expose()).len());
                let patience = world.now.mono_after(lifetime);
                self.set_timer(world, CallTimer::Negotiate, patience);
            }
            SdpKind::Answer => self.negotiation.answered(),
        }
        // Whoever made a newer offer took this one back, and waits for no answer to it.
        let answers_nothing = kind == SdpKind::Answer && self.negotiation.has_theirs();
        if !answers_nothing {
            self.send(world, MessageKind::Negotiate, Body::Negotiate(negotiate));
        }
        self.plan_candidates(world);
        self.negotiate(world);
    }

    /// What we can do, as far as this description of ours shows it (T-45).
    pub(super) fn capabilities(&self, world: &World, ours: &Redacted) -> Capabilities {
        let dtmf = sdp::has_telephone_events(ours.expose());
        Capabilities { transferee: world.config.can_be_transferred(), dtmf }
    }

    /// Nobody answered our offer: it is made anew, with what has changed meanwhile. Not for ever:
    /// somebody who never answers does not negotiate, and the user is to know.
    pub(super) fn on_offer_expired(&mut self, world: &mut World) {
        if self.negotiation.turn() != SignalingState::Offered {
            return;
        }
        if self.negotiation.count_unanswered() < MAX_UNANSWERED_OFFERS {
            self.roll_back(world);
        } else {
            self.on_negotiation_failed(world);
        }
    }

    /// Takes our offer back.
    pub(super) fn roll_back(&mut self, world: &mut World) {
        self.clear_timer(world, CallTimer::Negotiate);
        self.clear_timer(world, CallTimer::Gather);
        let was_out = self.negotiation.turn() == SignalingState::Offered;
        let may_have_left = self.outbox.drop_offer() && was_out;
        self.negotiation.give_way(may_have_left);
        self.ask_peer(world, Ask::Rollback, PeerOp::Rollback);
    }

    pub(super) fn on_rolled_back(&mut self, world: &mut World) {
        // Whether or not the engine could: its next refusal ends that negotiation, not the call.
        self.negotiation.stop();
        self.plan_candidates(world);
        self.negotiate(world);
    }

    /// Whether our offer that is being made has to stop here, because theirs goes first.
    pub(super) fn gives_way(&mut self, world: &mut World) -> bool {
        let yields = matches!(self.negotiation.turn(), SignalingState::Offering(_))
            && self.negotiation.has_theirs();
        if yields {
            self.roll_back(world);
        }
        yields
    }

    // -------------------------------------------------------------------------------- theirs

    /// `m.call.negotiate`.
    pub(super) fn on_negotiate(
        &mut self,
        world: &mut World,
        facts: &Facts,
        theirs: Negotiate,
    ) -> Verdict {
        let in_call = matches!(self.phase, Phase::Connecting | Phase::Connected);
        if !in_call && world.holds(Guard::InCallOnly) {
            return Verdict::Ignored(Ignored::WrongState);
        }
        if !world.is_sound(&theirs.description.sdp) {
            return Verdict::Ignored(Ignored::Malformed);
        }
        match theirs.description.kind {
            SdpKind::Offer => self.on_their_offer(world, facts, theirs),
            SdpKind::Answer => self.on_their_answer(world, theirs),
        }
    }

    fn on_their_offer(&mut self, world: &mut World, facts: &Facts, theirs: Negotiate) -> Verdict {
        let lifetime = theirs.lifetime.unwrap_or(world.config.timeouts.negotiate);
        let lifetime = lifetime.min(world.config.timeouts.longest_invite);
        let age = world.age(facts);
        if age >= lifetime && world.holds(Guard::OfferExpires) {
            return Verdict::Ignored(Ignored::Expired);
        }
        let collision = self.negotiation.collision(self.is_polite());
        if collision == Collision::Ignore && world.holds(Guard::OffersTakeTurns) {
            return Verdict::Ignored(Ignored::Collision);
        }
        let until = world.now.mono_after(lifetime.saturating_sub(age));
        self.remote_candidates.describe(theirs.description.sdp.expose());
        self.negotiation.take_in(TheirOffer { sdp: theirs.description.sdp, until });
        self.streams.set_metadata(theirs.streams);
        self.refresh_streams(world);
        let step_under_way = matches!(self.negotiation.turn(), SignalingState::Offering(step) if step != Step::Gathering);
        match collision {
            // A step of ours is under way, and gives way when it is answered.
            Collision::Yield if step_under_way => {}
            Collision::Yield => self.roll_back(world),
            Collision::None | Collision::Ignore => self.negotiate(world),
        }
        Verdict::Handled
    }

    fn answer_theirs(&mut self, world: &mut World) {
        let Some(theirs) = self.negotiation.begin_answer() else { return };
        let old = world.now.until(theirs.until).is_zero();
        if old && world.holds(Guard::OfferExpires) {
            self.negotiation.stop();
            return self.negotiate(world);
        }
        self.offer = Some(theirs.sdp.clone());
        let offer = Description { kind: SdpKind::Offer, sdp: theirs.sdp };
        self.ask_peer(world, Ask::SetRemote, PeerOp::SetRemote(offer));
        self.apply_candidates(world);
    }

    fn on_their_answer(&mut self, world: &mut World, theirs: Negotiate) -> Verdict {
        let lines = sdp::media_lines(theirs.description.sdp.expose()).len();
        let awaited = self.negotiation.is_answered_by(lines);
        if !awaited && world.holds(Guard::AnswerAwaited) {
            if self.negotiation.take_doubt() {
                self.restart_ice(world);
            }
            return Verdict::Ignored(Ignored::WrongState);
        }
        self.clear_timer(world, CallTimer::Negotiate);
        self.streams.set_metadata(theirs.streams);
        self.refresh_streams(world);
        self.settle_with(world, theirs.description.sdp);
        Verdict::Handled
    }

    /// Puts the answer to our offer into force.
    pub(super) fn settle_with(&mut self, world: &mut World, answer: Redacted) {
        self.negotiation.begin_settling();
        self.remote_candidates.describe(answer.expose());
        self.offer = Some(answer.clone());
        let answer = Description { kind: SdpKind::Answer, sdp: answer };
        self.ask_peer(world, Ask::SetRemote, PeerOp::SetRemote(answer));
        self.apply_candidates(world);
    }

    /// Their description of a later negotiation is in force, or cannot be.
    pub(super) fn on_later_remote_set(&mut self, world: &mut World, result: &Result<Reply, Fault>) {
        let theirs = self.offer.take();
        if result.is_err() {
            return self.on_negotiation_failed(world);
        }
        if let Some(theirs) = theirs {
            self.learn_from(world, &theirs);
        }
        match self.negotiation.turn() {
            SignalingState::Answering(_) => {
                self.negotiation.advance(Step::Describing);
                let plan = self.next_plan();
                self.ask_peer(world, Ask::Describe, PeerOp::Answer(plan));
            }
            SignalingState::Settling => {
                self.negotiation.settle();
                self.negotiate(world);
            }
            SignalingState::Stable
            | SignalingState::Offering(_)
            | SignalingState::Offered
            | SignalingState::Yielding => {}
        }
    }

    /// What their description says beside media: its lines, hold, whether tones are taken.
    pub(super) fn learn_from(&mut self, world: &mut World, theirs: &Redacted) {
        self.history.described = sdp::candidates(theirs.expose());
        let lines = sdp::media_lines(theirs.expose());
        self.negotiation.adopt(&lines);
        self.takes_tones = sdp::has_telephone_events(theirs.expose());
        self.on_their_directions(world, &lines);
    }

    /// A description could not be made or put into force: the former ones stay.
    pub(super) fn on_negotiation_failed(&mut self, world: &mut World) {
        self.clear_timer(world, CallTimer::Negotiate);
        self.clear_timer(world, CallTimer::Gather);
        if !self.negotiation.try_again(MAX_UNANSWERED_OFFERS) {
            self.tell(world, CallEvent::NegotiationFailed);
            self.negotiation.drop_offer();
        }
        // Whatever the engine holds of it, it is to hold no longer.
        self.ask_peer(world, Ask::Nothing, PeerOp::Rollback);
        self.plan_candidates(world);
        self.negotiate(world);
    }

    /// Of two offers that cross, the caller's stands.
    pub(super) fn is_polite(&self) -> bool {
        !self.is_outgoing()
    }
}
