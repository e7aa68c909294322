//! The part of a transfer that concerns more than one call (MSC2747; `call/transfer.rs`).

use super::{
    Engine,
    call::{Call, transfer::Half},
    event::{EndReason, Transfer},
    io::{CallMedia, Callee, Refusal, Verdict},
};
use crate::id::{RoomId, SessionId};

impl Engine {
    /// The other sides of two calls of ours are to talk to each other.
    pub(super) fn consult(&mut self, transferee: SessionId, target: SessionId) -> Verdict {
        match self.join(transferee, target) {
            Ok(()) => Verdict::Handled,
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    fn join(&mut self, transferee: SessionId, target: SessionId) -> Result<(), Refusal> {
        let known = |session| self.calls.get(&session).ok_or(Refusal::UnknownSession);
        let (one, other) = (known(transferee)?, known(target)?);
        if transferee == target {
            return Err(Refusal::UnknownSession);
        }
        one.check_transferee()?;
        let (caller, callee) = (one.check_target()?, other.check_target()?);
        let room = other.shown().room.clone();
        let shared = (one.shown().room == room).then_some(room);
        let id = self.world.ids.call();
        let (create, awaited) = (Half::Create(id.clone()), Half::Await(id));
        // Who is to wait hears of it first.
        self.with(target, |call, world| call.ask_to_replace(world, awaited, &caller, None));
        self.with(transferee, |call, world| {
            call.ask_to_replace(world, create, &callee, shared.as_ref());
        });
        Ok(())
    }

    /// Places the call that a transfer asked for; the former call ends.
    pub(super) fn follow(
        &mut self,
        session: SessionId,
        transfer: Transfer,
        room: RoomId,
        media: CallMedia,
    ) -> Verdict {
        let callee = Callee::User(transfer.user);
        if let Err(refusal) = self.check_invite_to(&room, &callee) {
            return Verdict::Refused(refusal);
        }
        let taken = self.world.roster.find(&room, &transfer.call_id).is_some()
            || self.world.memory.is_over(&room, &transfer.call_id, self.world.now);
        if taken {
            return Verdict::Refused(Refusal::CallExists);
        }
        self.with(session, |call, world| call.fail(world, EndReason::Transferred));
        let call = Call::place(&mut self.world, room, callee, media, Some(transfer.call_id));
        Verdict::Started(self.keep(call))
    }
}
