//! Transfer (MSC2747): whoever talks to us is asked to call somebody else instead, or we are.
//!
//! | kind | to the transferee | to the target |
//! | --- | --- | --- |
//! | blind | `create_call` | nothing |
//! | consultation | `create_call` | `await_call`, the same id |
//!
//! Whoever transfers ends his own call when the request is on its way. Of a consultation the target
//! is asked first and the transferee when that is on its way, or his call would come unannounced. Whoever is transferred
//! decides: nothing is placed or answered by itself, whatever the other side asks for.

use super::Call;
use crate::{
    id::{CallId, RoomId, UserId},
    machine::{
        bounds::MAX_TRANSFERS,
        event::{CallEvent, EndReason, MessageKind, Transfer, VoipEvent},
        expected::Caller,
        guard::Guard,
        io::{Ignored, Refusal, TransferTo, Verdict},
        transferring::Told,
        world::World,
    },
    wire::call::{Body, Identity, Replaces},
};

/// Which half of a transfer a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) enum Half {
    /// Place this call.
    Create(CallId),
    /// Expect this call.
    Await(CallId),
}

impl Call {
    /// Whether the other side says that it can be transferred.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(in crate::machine) fn check_transferee(&self) -> Result<(), Refusal> {
        self.check_negotiable()?;
        match self.shown.remote_capabilities.transferee {
            true => Ok(()),
            false => Err(Refusal::CannotBeTransferred),
        }
    }

    /// Whether the other side can be told whom to expect.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::machine) fn check_target(&self) -> Result<UserId, Refusal> {
        self.check_negotiable()?;
        self.remote_user().cloned().ok_or(Refusal::WrongState(self.phase.state()))
    }

    /// The other side is to call this user instead, who knows nothing of it.
    pub(super) fn transfer(&mut self, world: &mut World, to: &TransferTo) -> Result<(), Refusal> {
        self.check_transferee()?;
        match to {
            TransferTo::User(user, _)
                if self.remote_user() == Some(user) || *user == world.identity.user =>
            {
                Err(Refusal::NotATarget)
            }
            TransferTo::User(user, room) => {
                let half = Half::Create(world.ids.call());
                self.ask_to_replace(world, half, user, room.as_ref());
                Ok(())
            }
            // Two calls are the engine's.
            TransferTo::Call(_) => Err(Refusal::UnknownSession),
        }
    }

    /// Asks the other side for its half; our call ends when that is on its way.
    pub(in crate::machine) fn ask_to_replace(
        &mut self,
        world: &mut World,
        half: Half,
        other: &UserId,
        room: Option<&RoomId>,
    ) {
        let (create_call, await_call) = match half {
            Half::Create(id) => (Some(id.to_string()), None),
            Half::Await(id) => (None, Some(id.to_string())),
        };
        let replaces = Replaces {
            replacement_id: Some(world.ids.call().to_string()),
            target_user: Some(Identity { id: Some(other.to_string()), ..Identity::default() }),
            create_call,
            await_call,
            target_room: room.map(ToString::to_string),
        };
        self.send(world, MessageKind::Replaces, Body::Replaces(replaces));
    }

    /// The homeserver has our request: the rest is theirs. Of a consultation the other call has its
    /// half to say first.
    pub(super) fn on_replaces_accepted(&mut self, world: &mut World) {
        if !world.joins.settle(self.session, Told::Yes) {
            self.fail(world, EndReason::Transferred);
        }
    }

    pub(super) fn on_replaces_given_up(&mut self, world: &mut World) {
        world.joins.settle(self.session, Told::No);
        self.fail_transfer(world);
    }

    /// The transfer came to nothing; the call goes on, if it still does.
    pub(in crate::machine) fn fail_transfer(&mut self, world: &mut World) {
        if !self.phase.is_ended() {
            self.tell(world, CallEvent::TransferFailed);
        }
    }

    /// `m.call.replaces`: the application is told, and decides.
    pub(super) fn on_replaces(&mut self, world: &mut World, replaces: &Replaces) -> Verdict {
        if !world.config.can_be_transferred() && world.holds(Guard::TransfersRefused) {
            return Verdict::Ignored(Ignored::Unsupported);
        }
        if self.check_negotiable().is_err() && world.holds(Guard::InCallOnly) {
            return Verdict::Ignored(Ignored::WrongState);
        }
        if self.transfers >= MAX_TRANSFERS && world.holds(Guard::TransfersBounded) {
            return Verdict::Ignored(Ignored::TooMany);
        }
        let ourselves = world.holds(Guard::NotToOurselves).then_some(&world.identity.user);
        let Some(asked) = read(replaces, ourselves) else {
            return Verdict::Ignored(Ignored::Malformed);
        };
        self.transfers += 1;
        let (half, transfer) = asked;
        let (session, transfer) = (self.session, Box::new(transfer));
        match half {
            Half::Create(_) => {
                world.expect_call(Caller::Ourselves, &transfer);
                world.tell(VoipEvent::TransferRequested { session, transfer });
            }
            Half::Await(_) => {
                world.expect_call(Caller::User(transfer.user.clone()), &transfer);
                world.tell(VoipEvent::TransferAnnounced { session, transfer });
            }
        }
        Verdict::Handled
    }
}

/// What is asked for, if it makes sense: somebody else, and one call.
fn read(replaces: &Replaces, ourselves: Option<&UserId>) -> Option<(Half, Transfer)> {
    let target = replaces.target_user.as_ref()?;
    let user = UserId::parse(target.id.as_deref()?).ok().filter(|user| Some(user) != ourselves)?;
    let half = match (&replaces.create_call, &replaces.await_call) {
        (Some(create), None) => Half::Create(CallId::parse(create).ok()?),
        (None, Some(awaited)) => Half::Await(CallId::parse(awaited).ok()?),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let call_id = match &half {
        Half::Create(id) | Half::Await(id) => id.clone(),
    };
    let room = replaces.target_room.as_deref().and_then(|room| RoomId::parse(room).ok());
    let display_name = target.display_name.clone().map(Into::into);
    Some((half, Transfer { call_id, user, room, display_name }))
}
