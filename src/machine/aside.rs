//! Which call gives way: a user talks in one call of two, or in group calls.

use super::{
    Engine,
    call::Call,
    event::EndReason,
    io::{GroupCommand, Refusal},
};
use crate::{config::OnAnswer, id::SessionId};

impl Engine {
    /// A ringing call is taken: the one in which the user talks gives way as the policy says.
    pub(super) fn make_way(&mut self, session: SessionId) -> Result<(), Refusal> {
        if !self.calls.get(&session).is_some_and(|call| call.is_ringing()) {
            return Ok(());
        }
        self.put_others_aside(session)
    }

    /// The user talks in this call from now on.
    pub(super) fn put_others_aside(&mut self, session: SessionId) -> Result<(), Refusal> {
        let groups: Vec<_> = self.groups.talking().collect();
        let others = self.world.roster.others_taken(session);
        if self.stays_alone() && !(others.is_empty() && groups.is_empty()) {
            return Err(Refusal::OtherCallConnected);
        }
        self.put_groups_aside(groups);
        self.replace_others_with_user(session);
        let others = self.world.roster.others_taken(session);
        self.put_calls_aside(others)
    }

    /// The user talks in a group call from now on, perhaps in several.
    pub(super) fn make_way_for_group(&mut self) -> Result<(), Refusal> {
        let calls = self.world.roster.taken();
        if self.stays_alone() && !calls.is_empty() {
            return Err(Refusal::OtherCallConnected);
        }
        self.put_calls_aside(calls)
    }

    fn stays_alone(&self) -> bool {
        self.world.config.on_answer == OnAnswer::Refuse
    }

    fn put_calls_aside(&mut self, calls: Vec<SessionId>) -> Result<(), Refusal> {
        for call in calls {
            match self.world.config.on_answer {
                OnAnswer::HoldOther => {
                    let held = self.with(call, |call, world| call.set_held(world, true));
                    held.transpose().map_err(|_| Refusal::OtherCallConnected)?;
                }
                OnAnswer::EndOther => drop(self.with(call, Call::hang_up)),
                OnAnswer::Refuse => {}
            }
        }
        Ok(())
    }

    fn put_groups_aside(&mut self, groups: Vec<SessionId>) {
        for group in groups {
            match self.world.config.on_answer {
                OnAnswer::HoldOther => drop(self.on_group_command(group, GroupCommand::Hold)),
                OnAnswer::EndOther => drop(self.on_group_command(group, GroupCommand::Leave)),
                OnAnswer::Refuse => {}
            }
        }
    }

    /// Two users have one call with each other: this one takes the place of the others.
    pub(super) fn replace_others_with_user(&mut self, session: SessionId) {
        let Some(call) = self.calls.get(&session) else { return };
        let place = (call.shown().room.clone(), call.shown().remote_user.clone());
        let (room, Some(user)) = place else { return };
        let answered = self.world.roster.answered_with(&room, &user);
        for other in answered.into_iter().filter(|other| *other != session) {
            self.with(other, |call, world| call.fail(world, EndReason::Replaced));
        }
    }
}
