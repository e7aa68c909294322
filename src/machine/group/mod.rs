//! Group calls: who is in them, and our own place there.
//!
//! | file | holds |
//! | --- | --- |
//! | `event.rs` | what an application learns |
//! | `roster.rs` | memberships → participants, as differences |
//! | `membership.rs` | our own memberships in a room: one write at a time |
//! | `reactions.rs` | applause and raised hands |
//! | `ringing.rs` | how a call is announced, and how others' calls ring here |
//! | `post.rs` | events of ours that go out until they are accepted |
//! | `groups.rs` | all group calls: in which rooms, what is being written |
//! | `inputs.rs`, `state.rs` | commands, replies and timers that concern them; the state of rooms |
//!
//! ```text
//!           open            enter              accepted
//!  (nothing) ──▶ Idle ─────────────▶ Entering ──────────▶ Entered
//!                 ▲ ▲   refused          │ leave              │ leave
//!                 │ └────────────────────┤                    ▼
//!                 └──────────────────────┴──────────────── Leaving      Ended: nobody is in it, or
//!                        taken back, or believed no more                we can be in it no more
//! ```

pub mod event;
mod groups;
mod inputs;
mod membership;
mod post;
mod reactions;
pub mod ringing;
pub mod roster;
mod state;

pub(super) use self::groups::Groups;
use self::{
    event::{GroupEvent, GroupSnapshot, GroupState},
    reactions::Reactions,
    ringing::Calling,
    roster::ParticipantId,
};
use super::{Identity, world::World};
use crate::id::SessionId;

/// One group call: what the application knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupCall {
    session: SessionId,
    shown: GroupSnapshot,
    /// Somebody was in it: with the last of them it ends.
    was_alive: bool,
    reactions: Reactions,
    calling: Calling,
}

impl GroupCall {
    pub(super) fn shown(&self) -> &GroupSnapshot {
        &self.shown
    }

    fn tell(&mut self, world: &mut World, event: GroupEvent) {
        self.shown.apply(&event);
        if may_end_reactions(&event) {
            let Identity { user, device } = world.identity.clone();
            self.reactions.keep_shown(&self.shown, &ParticipantId { user, device });
        }
        world.tell_group(self.session, event);
    }

    fn enter_state(&mut self, world: &mut World, state: GroupState) {
        if self.shown.state != state {
            self.tell(world, GroupEvent::StateChanged(state));
        }
    }
}

/// Reactions go with their participants' visits.
fn may_end_reactions(event: &GroupEvent) -> bool {
    match event {
        GroupEvent::ReactionRemoved { .. }
        | GroupEvent::ParticipantJoined(_)
        | GroupEvent::ParticipantLeft(_)
        | GroupEvent::ParticipantChanged(_) => true,
        GroupEvent::ReactionAdded { .. }
        | GroupEvent::Declined(_)
        | GroupEvent::StateChanged(_)
        | GroupEvent::ApplicationChanged(_)
        | GroupEvent::RightsChanged(_)
        | GroupEvent::Refused(_)
        | GroupEvent::Ended(_) => false,
    }
}
