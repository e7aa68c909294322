//! Where delayed leaves meet our memberships: when one is scheduled, what it says, and what its answers
//! mean for what stands in the room.

use super::{
    delayed::{Standing, Want},
    groups::{GroupRoom, GroupTimer, Groups},
    membership::Next,
};
use crate::{
    config::DelayedLeave,
    id::{OpId, RoomId},
    machine::{
        Engine,
        io::{DelayOp, Fault, MatrixOp, Op, Reply},
        world::{Owner, World},
    },
    wire::{
        delayed::{DelayedMember, write_leave},
        member::{Dialect, KeyLayout, MEMBER_TYPE},
    },
};

impl GroupRoom {
    /// What is to be asked of the homeserver about our delayed leave, if anything.
    fn next_of_leave(&mut self, world: &World) -> Option<Want> {
        let (now, config) = (world.now, &world.config);
        let on = config.delayed_leave == DelayedLeave::On;
        // Clients of matrix-js-sdk know nothing of it, and its event is another.
        let on = on && self.ours.dialect() == Dialect::Famedly;
        let on = on && !config.timeouts.delayed_leave.is_zero();
        self.delayed.set_needed(on && self.ours.is_in());
        if self.ours.is_out() {
            self.delayed.retire(now);
        }
        if self.delayed.lapse(now) {
            self.ours.doubt();
        }
        if self.ours.next() == Next::Write {
            self.delayed.on_write_wanted(now);
        }
        self.delayed.next(now, self.ours.others())
    }

    fn delay_op(&self, world: &World, room: &RoomId, want: &Want) -> DelayOp {
        match want {
            Want::Schedule(kept) => {
                let shared = self.layout(world) == KeyLayout::User;
                let leaving = Some(&world.identity.device).filter(|_| shared);
                DelayOp::Schedule {
                    room: room.clone(),
                    event_type: MEMBER_TYPE.to_owned(),
                    state_key: self.our_key(world),
                    content: write_leave(leaving, kept),
                    delay: world.config.timeouts.delayed_leave,
                }
            }
            Want::Restart(id) => DelayOp::Restart(id.clone()),
            Want::Cancel(id) => DelayOp::Cancel(id.clone()),
            Want::List(from) => DelayOp::List { from: from.clone() },
        }
    }

    /// Whether a leave that the homeserver lists is of this device in this room. Under a key that our
    /// devices share only those are that say so: the others' leaves are theirs (T-29).
    fn is_our_leave(&self, world: &World, room: &RoomId, leave: &DelayedMember) -> bool {
        let ours = leave.room == *room && leave.state_key == self.our_key(world);
        let shared = self.layout(world) == KeyLayout::User;
        ours && (!shared || leave.leaving.as_ref() == Some(&world.identity.device))
    }
}

impl Groups {
    /// Does for our delayed leave of a room what is to be done now.
    pub(super) fn push_delayed(&mut self, world: &mut World, room: &RoomId) {
        let Some(of_room) = self.rooms.get_mut(room) else { return };
        if let Some(want) = of_room.next_of_leave(world) {
            let op = of_room.delay_op(world, room, &want);
            let op = world.request(Owner::Groups, Op::Matrix(MatrixOp::Delay(op)));
            let delay = world.config.timeouts.delayed_leave;
            of_room.delayed.on_asked(op, want, world.now, delay);
            self.await_reply(op, room);
        }
        let Some(of_room) = self.rooms.get(room) else { return };
        let deadlines = of_room.delayed.deadlines(world.now);
        self.set_timer(room, GroupTimer::Heartbeat, deadlines.beat);
        self.set_timer(room, GroupTimer::Overslept, deadlines.over);
        self.set_timer(room, GroupTimer::Cancelling, deadlines.clear);
    }
}

impl Engine {
    /// Takes the answer to a request about our delayed leave, if it was one.
    pub(super) fn on_delay_reply(
        &mut self,
        room: &RoomId,
        op: OpId,
        result: &Result<Reply, Fault>,
    ) -> bool {
        let Some(of_room) = self.groups.rooms.get_mut(room) else { return false };
        if !of_room.delayed.awaits(op) {
            return false;
        }
        let mut delayed = std::mem::take(&mut of_room.delayed);
        let (now, timeouts) = (self.world.now, &self.world.config.timeouts);
        let is_ours = |leave: &DelayedMember| of_room.is_our_leave(&self.world, room, leave);
        let standing = delayed.on_reply(result.clone(), now, timeouts, is_ours);
        of_room.delayed = delayed;
        match standing {
            Standing::AsBefore => {}
            Standing::InDoubt => of_room.ours.doubt(),
        }
        true
    }
}
