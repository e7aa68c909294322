//! How a call ends, and what it leaves behind.
//!
//! Ending is unconditional and happens once (T-5, T-7): whatever is under way is cancelled, the
//! peer connection is closed, every track released, also those that nobody has granted yet. What
//! the other side must hear is put into the outbox, which outlives the call for a while.

use super::{
    Announced, Ask, Call, CallTimer, Phase, Role,
    phase::{Incoming, Outgoing},
};
use crate::{
    id::PartyId,
    machine::{
        event::{
            CallDirection, CallEvent, CallSnapshot, CallState, End, EndParty, EndReason,
            MessageKind, MissedWhy, RingStop, VoipEvent,
        },
        guard::Guard,
        io::{CallMedia, Op, PeerOp, Tell, TrackOp},
        transferring::Told,
        world::{Owner, World},
    },
    wire::{
        call::{Body, Reason, Version},
        ledger::LiveCall,
    },
};

impl Call {
    /// The user hangs up, whatever the state. Again: nothing happens.
    pub(in crate::machine) fn hang_up(&mut self, world: &mut World) {
        self.withdraw_estate(world);
        if self.phase.is_ringing() {
            return self.end_by_reject(world, Tell::Everyone);
        }
        self.fail(world, EndReason::Hangup);
    }

    pub(super) fn end_by_reject(&mut self, world: &mut World, tell: Tell) {
        let farewell = match tell {
            Tell::Everyone => Some(self.refusal(None)),
            Tell::Nobody => None,
        };
        self.end(world, EndParty::Local, EndReason::Rejected, farewell);
    }

    /// We end the call, and say so to whoever may know of it.
    pub(in crate::machine) fn fail(&mut self, world: &mut World, reason: EndReason) {
        let farewell = self.farewell(&reason);
        self.end(world, EndParty::Local, reason, farewell);
    }

    /// They, or our other device, or time ended the call: nothing is left to say (T-7).
    pub(in crate::machine) fn end_by_them(&mut self, world: &mut World, reason: EndReason) {
        self.end(world, EndParty::Remote, reason, None);
    }

    /// The callee refused: its other devices hear of it, as the specification asks.
    pub(super) fn end_refused(
        &mut self,
        world: &mut World,
        reason: EndReason,
        party: Option<PartyId>,
    ) {
        let others = party.map(|selected| Body::SelectAnswer { selected });
        self.end(world, EndParty::Remote, reason, others);
    }

    /// Nothing can be said any more: what waits to be sent is dropped, also of a call that ended.
    pub(in crate::machine) fn on_logged_out(&mut self, world: &mut World) {
        self.give_up_farewell(world);
        self.end(world, EndParty::Local, EndReason::LoggedOut, None);
    }

    fn end(
        &mut self,
        world: &mut World,
        party: EndParty,
        reason: EndReason,
        farewell: Option<Body>,
    ) {
        if self.phase.is_ended() {
            return;
        }
        let end = End { party, reason };
        self.end_ringing(world, &end);
        self.release(world);
        self.clear_timers(world);
        self.forget(world);
        self.enter(world, Phase::Ended(end.clone()));
        self.tell(world, CallEvent::Ended(end.clone()));
        if self.leg.is_none() {
            world.tell(VoipEvent::CallEnded { session: self.session, end });
        }
        self.outbox.drop_untried();
        self.outbox.resume();
        if let Some(body) = farewell
            && world.holds(Guard::FarewellSaid)
        {
            self.send(world, MessageKind::Farewell, body);
        }
        self.pump(world);
        if !self.outbox.is_empty() {
            let patience = world.now.mono_after(world.config.timeouts.farewell);
            self.set_timer(world, CallTimer::Farewell, patience);
        }
    }

    fn end_ringing(&mut self, world: &mut World, end: &End) {
        if !world.roster.is_ringing(self.session) {
            return;
        }
        let (why, missed) = ring_stop(end);
        self.stop_ringing(world, why);
        let (Some(why), Some(caller)) = (missed, self.remote_user().cloned()) else { return };
        world.tell(VoipEvent::Missed {
            room: self.shown.room.clone(),
            caller,
            call_id: self.shown.call_id.clone(),
            media: self.shown.media,
            why,
        });
    }

    /// Cancels what is under way, closes the connection, releases every track.
    fn release(&mut self, world: &mut World) {
        let asks = std::mem::take(&mut self.asks);
        for (op, ask) in asks {
            if ask == Ask::Send {
                self.asks.insert(op, ask);
            } else {
                world.cancel(op);
            }
        }
        world.turn.forget(self.session);
        if let Some(peer) = self.peer.take() {
            world.peers.remove(&peer);
            world.request(Owner::Nobody, Op::Peer(peer, PeerOp::Close));
        }
        for track in self.media.tracks() {
            world.request(Owner::Nobody, Op::Track(track, TrackOp::Release));
        }
    }

    /// Late events of this call are recognised as such while its invite could be alive.
    fn forget(&self, world: &mut World) {
        if self.leg.is_some() {
            return;
        }
        let until = world.longest_until();
        world.memory.note_over(&self.shown.room, &self.shown.call_id, until);
        if self.is_known() {
            world.note_change();
        }
        if let Some(user) = self.remote_user() {
            world.roster.remove_user(&self.shown.room, user, self.session);
        }
        world.roster.set_ringing(self.session, false);
        world.roster.set_connected(self.session, false);
        world.joins.settle(self.session, Told::No);
    }

    /// What must be said when we end the call; nothing to those who cannot know of it.
    fn farewell(&self, reason: &EndReason) -> Option<Body> {
        if matches!(reason, EndReason::LoggedOut | EndReason::LeftRoom) {
            return None;
        }
        let hangup = || Body::Hangup { reason: Some(wire_reason(reason)) };
        match &self.phase {
            Phase::Outgoing(Outgoing::Preparing(_)) | Phase::Ended(_) => None,
            Phase::Outgoing(Outgoing::Inviting | Outgoing::InviteSent) => {
                self.may_be_known().then(hangup)
            }
            // Our other devices may still take it.
            Phase::Incoming(Incoming::Ringing) => None,
            Phase::Incoming(Incoming::Answering(_)) if *reason == EndReason::Hangup => {
                Some(self.refusal(None))
            }
            Phase::Incoming(Incoming::Answering(_)) => Some(hangup()),
            Phase::Connecting | Phase::Connected => Some(hangup()),
        }
    }

    /// Whether the other side may know of the call: a caller does, whatever becomes of our answer.
    pub(super) fn is_known(&self) -> bool {
        !self.is_outgoing() || self.announced != Announced::No
    }

    /// Whether the other side may know of it already, or is about to.
    pub(super) fn may_be_known(&self) -> bool {
        self.is_known() || self.outbox.is_announcing_now()
    }

    /// A version 0 caller knows no reject.
    fn refusal(&self, reason: Option<Reason>) -> Body {
        match self.version {
            Version::V1 => Body::Reject { reason },
            Version::V0 => Body::Hangup { reason },
        }
    }

    /// The farewell was tried for long enough.
    pub(super) fn give_up_farewell(&mut self, world: &mut World) {
        if let Some(op) = self.outbox.clear() {
            self.asks.remove(&op);
            world.cancel(op);
        }
    }

    /// Takes the last trace of a finished call out of the world.
    pub(in crate::machine) fn leave(&mut self, world: &mut World) {
        self.clear_timers(world);
        if self.leg.is_some() {
            return;
        }
        world.roster.remove(&self.shown.room, &self.shown.call_id);
        world.roster.set_parting(self.session, false);
        world.note_gone(self.session);
    }

    /// A call that never was one here and only has something to say: a refusal of an invite that
    /// must not ring, or the hangup of a call that a dead process left behind.
    pub(in crate::machine) fn parting(world: &mut World, call: &LiveCall, body: Body) -> Self {
        let session = world.ids.session();
        let end = End { party: EndParty::Local, reason: EndReason::ShutDown };
        let ids = (call.room.clone(), call.call_id.clone(), call.party_id.clone());
        let (direction, state) = (CallDirection::Incoming, CallState::Ended);
        let mut shown = CallSnapshot::new(ids, direction, CallMedia::Voice, state);
        shown.end = Some(end.clone());
        let mut parting = Self::new(world, session, shown, Phase::Ended(end));
        parting.role = Role::Parting;
        world.roster.add(&call.room, &call.call_id, session);
        world.roster.set_parting(session, true);
        let until = world.longest_until();
        world.memory.note_over(&call.room, &call.call_id, until);
        parting.send(world, MessageKind::Farewell, body);
        let patience = world.now.mono_after(world.config.timeouts.farewell);
        parting.set_timer(world, CallTimer::Farewell, patience);
        parting
    }
}

/// Why the ringing stopped, and whether somebody should be told that he missed a call.
fn ring_stop(end: &End) -> (RingStop, Option<MissedWhy>) {
    match (&end.reason, end.party) {
        (
            EndReason::AnsweredElsewhere
            | EndReason::RejectedElsewhere
            | EndReason::Remote(Reason::AnsweredElsewhere),
            _,
        ) => (RingStop::Elsewhere, None),
        (EndReason::InviteTimeout, EndParty::Remote) => {
            (RingStop::Expired, Some(MissedWhy::Expired))
        }
        (EndReason::Rejected, EndParty::Local) => (RingStop::Rejected, None),
        // Another call of the same user takes its place, and rings in its stead.
        (EndReason::Replaced | EndReason::Remote(Reason::Replaced), _) => (RingStop::Ended, None),
        (_, EndParty::Remote) => (RingStop::CallerGone, Some(MissedWhy::CallerGone)),
        (_, EndParty::Local) => (RingStop::Ended, None),
    }
}

/// What the other side reads as the reason.
fn wire_reason(reason: &EndReason) -> Reason {
    match reason {
        EndReason::Hangup | EndReason::Rejected | EndReason::RejectedElsewhere => {
            Reason::UserHangup
        }
        EndReason::ShutDown => Reason::UserHangup,
        EndReason::InviteTimeout => Reason::InviteTimeout,
        EndReason::AnsweredElsewhere => Reason::AnsweredElsewhere,
        EndReason::Replaced => Reason::Replaced,
        EndReason::Transferred => Reason::Transferred,
        EndReason::Busy => Reason::UserBusy,
        EndReason::IceFailed => Reason::IceFailed,
        EndReason::IceTimeout => Reason::IceTimeout,
        EndReason::UserMediaFailed => Reason::UserMediaFailed,
        EndReason::LocalDescriptionFailed
        | EndReason::RemoteDescriptionFailed
        | EndReason::EngineFailed
        | EndReason::SignallingFailed
        | EndReason::NoCallee
        | EndReason::LeftRoom
        | EndReason::LoggedOut => Reason::UnknownError,
        EndReason::Remote(reason) => reason.clone(),
    }
}
