//! Two users call each other at the same moment: what becomes of both calls.
//!
//! Who survives is decided in `call/glare.rs`. Here the one is ended, the other answered with what
//! the user had granted for his own call (`call/estate.rs`), or let ring where the policy says so.
//! A call of ours that gave way leaves nothing else behind; one that they ended as replaced waits
//! a moment for theirs (`vacant.rs`), because the two may come in either order.

use super::{
    Engine,
    call::{
        Arrival, Call,
        estate::Estate,
        glare::{self, Survivor},
    },
    event::EndReason,
    guard::Guard,
    io::Verdict,
};
use crate::{
    config::Glare,
    id::{RoomId, SessionId, UserId},
};

/// How glare ended for the incoming call.
pub(super) enum Settled {
    /// Ours goes on.
    Lost,
    /// Ours was ended, and left this if the incoming one is to be answered by itself.
    Won(Box<Option<Estate>>),
}

impl Engine {
    /// Decides between the invite and our own unanswered calls to the same user, if there are any.
    pub(super) fn settle_glare(&mut self, arrival: &Arrival<'_>) -> Option<Settled> {
        let with_caller = self.world.roster.with_user(arrival.room, arrival.caller);
        let ours: Vec<_> = with_caller
            .into_iter()
            .filter_map(|session| Some((session, self.survivor(session, arrival)?)))
            .collect();
        if ours.is_empty() {
            return None;
        }
        if ours.iter().any(|(_, survivor)| *survivor == Survivor::Ours) {
            if !self.world.holds(Guard::SurvivorKept) {
                self.end_as_replaced(&ours);
            }
            return Some(Settled::Lost);
        }
        let estate = if self.world.holds(Guard::LoserEnded) { self.replace(&ours) } else { None };
        Some(Settled::Won(Box::new(estate)))
    }

    /// Which of the two goes on; `None` where our call is not one that can meet another.
    fn survivor(&self, session: SessionId, arrival: &Arrival<'_>) -> Option<Survivor> {
        let call = self.calls.get(&session)?;
        let ours = call.glare().filter(|_| call.may_be_called_by(arrival.calling_device()))?;
        let survivor = glare::decide(ours, &arrival.header.call_id);
        let holds = self.world.holds(Guard::SmallerIdWins);
        Some(if holds { survivor } else { survivor.other() })
    }

    /// Ends our calls because another takes their place; what the first of them leaves to it.
    fn replace(&mut self, ours: &[(SessionId, Survivor)]) -> Option<Estate> {
        let first = ours.first().filter(|_| self.may_take_over());
        let estate = first.and_then(|(session, _)| self.with(*session, |call, _| call.hand_over()));
        self.end_as_replaced(ours);
        estate
    }

    fn end_as_replaced(&mut self, ours: &[(SessionId, Survivor)]) {
        for (session, _) in ours {
            self.with(*session, |call, world| call.fail(world, EndReason::Replaced));
        }
    }

    /// The incoming call survived glare: it is answered with what the user had granted, or rings.
    pub(super) fn take_over(&mut self, arrival: &Arrival<'_>, estate: Option<Estate>) -> Verdict {
        let call = Call::arrive(&mut self.world, arrival);
        let session = self.keep(call);
        match estate {
            Some(estate) => self.answer_in_place(session, estate),
            None => self.ring(session, arrival.until),
        }
        Verdict::Started(session)
    }

    /// Answers a call by itself, with what was granted for another.
    fn answer_in_place(&mut self, session: SessionId, estate: Estate) {
        self.replace_others_with_user(session);
        self.with(session, |call, world| call.take_place(world, estate));
    }

    /// Whether a call that survived glare is answered by itself. While he talks in a third
    /// call, or is about to, the user says which of the two he wants.
    pub(super) fn may_take_over(&self) -> bool {
        let at_once = match self.world.config.glare {
            Glare::AutoAnswer => true,
            Glare::Ring => false,
        };
        let talks = self.world.roster.other_taken(None) || self.groups.talking().next().is_some();
        at_once && !talks
    }

    /// They ended our call because theirs takes its place, and theirs rings here already.
    pub(super) fn fill_vacancy(&mut self, room: &RoomId, user: &UserId) {
        if self.world.vacant.is_empty() || !self.may_take_over() {
            return;
        }
        let Some(session) = self.world.roster.ringing_with(room, user) else { return };
        let device = self.calls.get(&session).and_then(|call| call.remote_device());
        let device = device.cloned();
        let left = self.world.vacant.take(room, user, self.world.now);
        if let Some(estate) = left.filter(|estate| estate.is_for(device.as_ref())) {
            self.answer_in_place(session, estate);
        }
    }

    /// Now we know whom we call, and his call may ring here already: it is as if both met.
    pub(super) fn on_callee_found(&mut self, session: SessionId) {
        let found = self.calls.get(&session).and_then(|call| {
            call.glare()?;
            Some((call.shown().room.clone(), call.shown().remote_user.clone()?))
        });
        let ringing = found.and_then(|(room, user)| self.world.roster.ringing_with(&room, &user));
        let Some(ringing) = ringing else { return };
        let device = self.calls.get(&ringing).and_then(|call| call.remote_device());
        if !self.calls.get(&session).is_some_and(|call| call.may_be_called_by(device)) {
            return;
        }
        let estate = self.replace(&[(session, Survivor::Theirs)]);
        if let Some(estate) = estate {
            self.answer_in_place(ringing, estate);
        }
    }
}
