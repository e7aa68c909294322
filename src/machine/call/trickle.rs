//! Candidates of both sides on their way, before and after the descriptions are in force.

use super::{Announced, Ask, Call, CallTimer, negotiation::SignalingState, phase::Step};
use crate::{
    machine::{
        event::MessageKind,
        io::{Candidate, Ignored, PeerOp, Verdict},
        world::World,
    },
    wire::call::Body,
};

impl Call {
    pub(super) fn on_local_candidate(
        &mut self,
        world: &mut World,
        candidate: Candidate,
    ) -> Verdict {
        if candidate.is_end() {
            return self.on_gathered(world);
        }
        if !self.local_candidates.push(candidate) {
            return Verdict::Ignored(Ignored::TooMany);
        }
        self.plan_candidates(world);
        Verdict::Handled
    }

    pub(super) fn on_gathered(&mut self, world: &mut World) -> Verdict {
        if self.local_candidates.is_gathered() {
            return Verdict::Ignored(Ignored::NoChange);
        }
        self.local_candidates.finish();
        if self.present_step() == Some(Step::Gathering) {
            self.read_description(world);
        }
        self.plan_candidates(world);
        Verdict::Handled
    }

    /// Theirs: applied at once when the description is in force, else kept for that moment.
    pub(super) fn apply_candidates(&mut self, world: &mut World) {
        // Behind an offer that waits for its turn they may be for that one.
        if !self.remote_in_force || self.negotiation.has_theirs() {
            return;
        }
        let candidates = match self.negotiation.turn() {
            // Some peers' candidates overtake the answer that they belong to.
            SignalingState::Offered => self.remote_candidates.take_known(),
            SignalingState::Stable
            | SignalingState::Offering(_)
            | SignalingState::Settling
            | SignalingState::Yielding
            | SignalingState::Answering(_) => self.remote_candidates.take(),
        };
        if !candidates.is_empty() {
            self.ask_peer(world, Ask::Nothing, PeerOp::Candidates(candidates));
        }
    }

    /// Sends our candidates at once when gathering is over, else a moment after the first; and
    /// never before the homeserver has the invite or answer (T-50).
    pub(super) fn plan_candidates(&mut self, world: &mut World) {
        // Those of a description that is not sent yet would come before it.
        let describing = self.negotiation.step().is_some();
        if self.announced != Announced::Yes || describing || self.phase.is_ended() {
            return;
        }
        if !self.local_candidates.is_due() {
            return;
        }
        if self.local_candidates.is_gathered() {
            self.send_candidates(world);
        } else if !self.has_timer(CallTimer::Candidates) {
            let timeouts = &world.config.timeouts;
            let pause = if self.is_outgoing() {
                timeouts.candidates_outgoing
            } else {
                timeouts.candidates_incoming
            };
            self.set_timer(world, CallTimer::Candidates, world.now.mono_after(pause));
        }
    }

    /// A batch was awaited for long enough. Meanwhile a description may have begun to be made:
    /// those that are left then leave behind it.
    pub(super) fn on_batch_due(&mut self, world: &mut World) {
        if self.negotiation.step().is_none() {
            self.send_candidates(world);
        }
    }

    fn send_candidates(&mut self, world: &mut World) {
        self.clear_timer(world, CallTimer::Candidates);
        let batch = self.local_candidates.take();
        if !batch.is_empty() {
            self.send(world, MessageKind::Candidates, Body::Candidates(batch));
        }
    }
}
