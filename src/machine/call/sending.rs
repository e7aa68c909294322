//! What we say, and what becomes of it.

use super::{
    Announced, Ask, Call, CallTimer, leg,
    outbox::{Message, Outcome},
};
use crate::{
    id::OpId,
    machine::{
        event::{EndReason, MessageKind},
        guard::Guard,
        io::{Fault, MatrixOp, Op, Reply, Trust},
        world::World,
    },
    wire::{
        call::{Body, CallMessage, Header, Version},
        ledger::LiveCall,
    },
};

impl Call {
    /// Says something to the other side, as soon as what was said before is accepted.
    pub(super) fn send(&mut self, world: &mut World, kind: MessageKind, body: Body) {
        let leg = self.leg.as_ref().map(|leg| leg.header());
        // To a device comes nothing else that says from which one in the clear.
        let names_device =
            leg.is_some() || matches!(kind, MessageKind::Invite | MessageKind::Answer);
        let header = Header {
            call_id: self.shown.call_id.clone(),
            party_id: Some(self.shown.party_id.clone()),
            version: Version::V1,
            device_id: names_device.then(|| world.identity.device.clone()),
            leg,
        };
        let message = CallMessage { header, body };
        let transaction = world.ids.transaction(&world.party);
        self.outbox.push(Message { kind, message, transaction, tries: 0 });
        self.pump(world);
    }

    /// Sends the next message, unless one is in flight or a pause is on.
    pub(super) fn pump(&mut self, world: &mut World) {
        let Some(message) = self.outbox.next() else { return };
        let kind = message.kind;
        let numbered = message.message.header.leg.as_mut().filter(|leg| leg.seq.is_none());
        if let (Some(header), Some(leg)) = (numbered, &mut self.leg) {
            header.seq = Some(leg.number());
        }
        let (event_type, content) = message.message.write();
        let transaction = message.transaction.clone();
        let room = self.shown.room.clone();
        let op = match &self.leg {
            None => MatrixOp::SendEvent { room, event_type, content, transaction },
            Some(leg) => {
                let targets = [leg.place.member.clone()].into();
                let trust = Trust::Any;
                MatrixOp::SendToDevice { room, targets, trust, event_type, content, transaction }
            }
        };
        let op = Op::Matrix(op);
        let announces = matches!(kind, MessageKind::Invite | MessageKind::Answer);
        if announces && self.leg.is_none() {
            self.note_live(world);
        }
        let id = self.ask(world, Ask::Send, op);
        self.outbox.sent_as(id);
        self.history.sent = world.now.mono;
    }

    /// From now on a crash would leave the other side with a ghost.
    fn note_live(&self, world: &mut World) {
        let call = LiveCall {
            room: self.shown.room.clone(),
            call_id: self.shown.call_id.clone(),
            party_id: self.shown.party_id.clone(),
        };
        world.note_live(self.session, call);
    }

    pub(super) fn on_sent(&mut self, world: &mut World, op: OpId, result: Result<Reply, Fault>) {
        if !self.outbox.is_in_flight(op) {
            return;
        }
        let result = leg::reached(result);
        self.history.fault = result.as_ref().err().cloned();
        let silent = result.as_ref().is_err_and(Fault::is_ambiguous);
        let ambiguous = silent && world.holds(Guard::SilenceMayBeArrival);
        let outcome = self.outbox.on_reply(result, &world.config.timeouts);
        match outcome {
            Some(Outcome::Accepted(kind)) => self.on_accepted(world, kind),
            Some(Outcome::Later(pause)) => self.on_failed_try(world, pause, ambiguous),
            // The engine ends this call with all others.
            Some(Outcome::GivenUp(_, Fault::LoggedOut)) => {}
            Some(Outcome::GivenUp(kind, _)) => self.on_given_up(world, kind),
            None => {}
        }
        self.pump(world);
    }

    fn on_accepted(&mut self, world: &mut World, kind: MessageKind) {
        match kind {
            MessageKind::Invite => {
                self.announced = Announced::Yes;
                self.history.announced = Some(world.now.mono);
                self.on_invite_accepted(world);
                self.plan_candidates(world);
            }
            MessageKind::Answer => {
                self.announced = Announced::Yes;
                self.history.announced = Some(world.now.mono);
                self.plan_candidates(world);
            }
            MessageKind::Candidates
            | MessageKind::SelectAnswer
            | MessageKind::Metadata
            | MessageKind::Negotiate
            | MessageKind::Farewell => {}
            MessageKind::Replaces => self.on_replaces_accepted(world),
        }
    }

    fn on_failed_try(&mut self, world: &mut World, pause: std::time::Duration, ambiguous: bool) {
        let announces = self.outbox.is_announcing();
        if announces && ambiguous && self.announced == Announced::No {
            self.announced = Announced::Perhaps;
        }
        if self.phase.is_ended() && !self.outbox.is_saying_goodbye() {
            // The call is over: this message is not worth another try, only the goodbye is, and
            // that only if somebody may know of the call.
            self.outbox.abandon_first();
            if !self.is_known() {
                self.outbox.clear();
            }
            return;
        }
        self.set_timer(world, CallTimer::Retry, world.now.mono_after(pause));
    }

    fn on_given_up(&mut self, world: &mut World, kind: MessageKind) {
        if self.phase.is_ended() {
            if !self.is_known() {
                self.outbox.clear();
            }
            return;
        }
        match kind {
            MessageKind::Invite | MessageKind::Answer => {
                self.fail(world, EndReason::SignallingFailed)
            }
            // A call that talks already does not need them any more.
            MessageKind::Candidates if !self.was_connected() => {
                self.fail(world, EndReason::IceTimeout);
            }
            MessageKind::Negotiate => self.on_negotiation_failed(world),
            MessageKind::Replaces => self.on_replaces_given_up(world),
            MessageKind::Candidates
            | MessageKind::SelectAnswer
            | MessageKind::Metadata
            | MessageKind::Farewell => {}
        }
    }

    /// What failed is tried again at once: the network is back.
    pub(in crate::machine) fn on_network_back(&mut self, world: &mut World) {
        self.send_again(world);
        self.hasten_restart(world);
    }

    /// Ends the pause after a failed send.
    pub(super) fn send_again(&mut self, world: &mut World) {
        if self.outbox.is_pausing() {
            self.clear_timer(world, CallTimer::Retry);
            self.outbox.resume();
            self.pump(world);
        }
    }
}
