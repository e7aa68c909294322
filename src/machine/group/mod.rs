//! Group calls: who is in them, and our own place there.
//!
//! | file | holds |
//! | --- | --- |
//! | `event.rs` | what an application learns |
//! | `roster.rs` | memberships → participants, as differences |
//! | `membership.rs` | our own memberships in a room: one write at a time |
//! | `delayed.rs`, `arming.rs` | the leave that the homeserver writes when we are gone (MSC4140) |
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

mod arming;
mod delayed;
pub mod event;
mod groups;
mod inputs;
mod membership;
pub mod roster;
mod state;

use self::event::{GroupEvent, GroupSnapshot, GroupState};
pub(super) use self::groups::Groups;
use super::world::World;
use crate::id::SessionId;

/// One group call: what the application knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupCall {
    session: SessionId,
    shown: GroupSnapshot,
    /// Somebody was in it: with the last of them it ends.
    was_alive: bool,
}

impl GroupCall {
    pub(super) fn shown(&self) -> &GroupSnapshot {
        &self.shown
    }

    fn tell(&mut self, world: &mut World, event: GroupEvent) {
        self.shown.apply(&event);
        world.tell_group(self.session, event);
    }

    fn enter_state(&mut self, world: &mut World, state: GroupState) {
        if self.shown.state != state {
            self.tell(world, GroupEvent::StateChanged(state));
        }
    }
}
