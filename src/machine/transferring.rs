//! The part of a transfer that concerns more than one call (MSC2747; `call/transfer.rs`).

use std::collections::BTreeMap;

use super::{
    Engine,
    call::{Call, transfer::Half},
    event::{EndReason, Transfer},
    expected::Caller,
    fingerprint::Fingerprint,
    io::{CallMedia, Callee, Refusal, Verdict},
};
use crate::id::{CallId, RoomId, SessionId, UserId};

/// The second half of a consultation, until the first is said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Join {
    /// Whose other side is to call.
    transferee: SessionId,
    /// Under which id.
    id: CallId,
    /// Whom.
    callee: UserId,
    /// Where, if both are known to be there.
    room: Option<RoomId>,
}

/// What became of the first half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is on its way: who is to wait knows, or is about to.
    Yes,
    /// It could not be said, or its call is over.
    No,
}

/// Consultations under way, by the call whose other side is to wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Joins {
    open: BTreeMap<SessionId, Join>,
    settled: Vec<(SessionId, Join, Told)>,
}

impl Joins {
    /// The first half was said in this call, or will not be; `false`: no consultation waits for it.
    pub(super) fn settle(&mut self, target: SessionId, told: Told) -> bool {
        let join = self.open.remove(&target);
        let found = join.is_some();
        self.settled.extend(join.map(|join| (target, join, told)));
        found
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for (target, Join { transferee, id, callee, room }) in &self.open {
            print.session(*target);
            print.session(*transferee);
            print.value((id, callee, room));
        }
    }
}

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
        if caller == callee {
            return Err(Refusal::NotATarget);
        }
        if let Some(join) = self.world.joins.open.get(&target) {
            let again = join.transferee == transferee;
            return if again { Ok(()) } else { Err(Refusal::WrongState(other.shown().state)) };
        }
        let room = other.shown().room.clone();
        let room = (one.shown().room == room).then_some(room);
        let id = self.world.ids.call();
        let join = Join { transferee, id: id.clone(), callee, room };
        self.world.joins.open.insert(target, join);
        self.with(target, |call, world| {
            call.ask_to_replace(world, Half::Await(id), &caller, None);
        });
        Ok(())
    }

    /// Who is to wait knows of it: now the other one is asked to call.
    pub(super) fn go_on_joining(&mut self) {
        while let Some((target, join, told)) = self.world.joins.settled.pop() {
            let Join { transferee, id, callee, room } = join;
            let asked = self.with(transferee, |call, world| {
                if told == Told::No || call.check_transferee().is_err() {
                    call.fail_transfer(world);
                    return false;
                }
                call.ask_to_replace(world, Half::Create(id), &callee, room.as_ref());
                true
            });
            match (told, asked) {
                (Told::Yes, Some(true)) => {
                    self.with(target, |call, world| call.fail(world, EndReason::Transferred));
                }
                // Nobody is left who could call: these two go on talking.
                (Told::Yes, Some(false) | None) => drop(self.with(target, Call::fail_transfer)),
                (Told::No, _) => {}
            }
        }
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
        self.world.expected.take(&Caller::Ourselves, &transfer.call_id, self.world.now);
        let call = Call::place(&mut self.world, room, callee, media, Some(transfer.call_id));
        Verdict::Started(self.keep(call))
    }
}
