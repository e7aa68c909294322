//! What an application changes in a call that is answered: hold, sources, tones, path, transfer.
//!
//! Every change is agreed on with the other side behind the scenes; several at once are one
//! negotiation. A change that cannot be agreed on is `CallEvent::NegotiationFailed`, and what was
//! agreed before goes on.

use super::{call::CallSession, errors::ChangeError};
use crate::{
    driver::CallNews,
    id::{InputId, RoomId, UserId},
    machine::{
        event::{CallEvent, CallSnapshot, CallState, Side},
        io::{CallCommand, MediaSource, Tones, TransferTo},
    },
};

impl CallSession {
    /// Puts the other side on hold: nothing of theirs comes in, silence goes out. Idempotent.
    ///
    /// Meanwhile the snapshot has no stream of theirs, as nothing arrives; it comes back with
    /// [`unhold`](Self::unhold).
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn hold(&self) -> Result<(), ChangeError> {
        self.change(CallCommand::Hold).await
    }

    /// Takes a hold back: everything flows as it did before, mutes included. Idempotent.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn unhold(&self) -> Result<(), ChangeError> {
        self.change(CallCommand::Unhold).await
    }

    /// Opens a source and shows it to the other side: the camera makes a voice call a video call,
    /// the screen is shown beside it. Resolves when the source is open, which may take a person's
    /// consent. Idempotent.
    ///
    /// Cancel safe as every command is: dropped later, the source is opened all the same.
    ///
    /// # Errors
    /// [`ChangeError::MediaMissing`] when it cannot be had (the call goes on), or what else stands
    /// against it.
    pub async fn start(&self, source: MediaSource) -> Result<(), ChangeError> {
        let (_, mut events) = self.subscribe();
        self.change(CallCommand::Start(source)).await?;
        while !shows(&self.snapshot(), source) {
            match events.next().await {
                Some(CallNews::Event(CallEvent::MediaMissing(missing))) if missing == source => {
                    return Err(ChangeError::MediaMissing);
                }
                Some(CallNews::Event(CallEvent::Ended(_))) | None => {
                    return Err(ChangeError::WrongState(CallState::Ended));
                }
                Some(CallNews::Event(_) | CallNews::Skipped { .. }) => {}
            }
        }
        Ok(())
    }

    /// Closes a source; what the other side shows stays. Idempotent.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn stop(&self, source: MediaSource) -> Result<(), ChangeError> {
        self.change(CallCommand::Stop(source)).await
    }

    /// Takes another device for an open source, by the name that the engine's host gave it;
    /// `None`: the one that the host chooses. The other side notices nothing, a mute stays. When
    /// the device cannot be had, `CallEvent::SwitchFailed` tells, and the old one goes on.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn switch(
        &self,
        source: MediaSource,
        input: Option<InputId>,
    ) -> Result<(), ChangeError> {
        self.change(CallCommand::Switch(source, input)).await
    }

    /// Sends tones (`0`-`9`, `A`-`D`, `*`, `#`; at most 64) as RTP events (RFC 4733), 100 ms each
    /// with 70 ms between them. When the engine cannot send them after all,
    /// `CallEvent::TonesFailed` tells.
    ///
    /// # Errors
    /// [`ChangeError::InvalidTones`], [`ChangeError::TakesNoTones`], [`ChangeError::HeldByThem`],
    /// or what else stands against it.
    pub async fn dtmf(&self, tones: &str) -> Result<(), ChangeError> {
        self.change(CallCommand::Dtmf(Tones::parse(tones)?)).await
    }

    /// Looks for a new path with new ICE credentials. A path that is lost is looked for without
    /// being told.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn restart_ice(&self) -> Result<(), ChangeError> {
        self.change(CallCommand::RestartIce).await
    }

    /// Asks the other side to call this user instead, who knows nothing of it (MSC2747, "blind");
    /// `room`: where both can be found, if we know. When the request is on its way, our call ends
    /// with `EndReason::Transferred`, whether or not that user can be reached: it cannot be had back.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn transfer_to(&self, user: UserId, room: Option<RoomId>) -> Result<(), ChangeError> {
        self.change(CallCommand::Transfer(TransferTo::User(user, room))).await
    }

    /// Asks the other sides of two calls to talk to each other (MSC2747, "consultation"): the one
    /// of `self` calls the one of `target`. Both our calls end with `EndReason::Transferred`.
    ///
    /// # Errors
    /// [`ChangeError`] names what stands against it.
    pub async fn transfer_to_call(&self, target: &Self) -> Result<(), ChangeError> {
        self.change(CallCommand::Transfer(TransferTo::Call(target.id()))).await
    }

    async fn change(&self, command: CallCommand) -> Result<(), ChangeError> {
        Ok(self.command(command).await?)
    }
}

/// Whether a source of ours is open, as the snapshot shows it.
fn shows(snapshot: &CallSnapshot, source: MediaSource) -> bool {
    let mut ours = snapshot.streams.iter().filter(|stream| stream.side == Side::Local);
    ours.any(|stream| stream.carries(source))
}
