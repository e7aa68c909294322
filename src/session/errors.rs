//! One small error per operation: what the caller of that operation can fix.
//!
//! Each is made of the machine's [`Refusal`]. A refusal that the operation should not meet is
//! kept as it is in `Refused`, so that nothing is hidden.

use crate::{
    driver::Unmeasured,
    id::InvalidId,
    machine::{
        event::{CallState, End},
        group::event::{GroupEnd, GroupRefusal},
        io::{Fault, InvalidTones, Refusal},
    },
};

/// Why a call was not placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The room or the callee is no Matrix id.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// We cannot call ourselves without naming a device.
    #[error("to call oneself, name a device")]
    CallingOurselves,
    /// We are not in that room, as far as the host told.
    #[error("not in the room")]
    NotInRoom,
    /// Another call is connected, and the policy is that it stays (`OnAnswer::Refuse`).
    #[error("another call is connected")]
    OtherCallConnected,
    /// A transfer names the id of a call that exists, or existed, in that room.
    #[error("there is a call of that id")]
    CallExists,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that placing a call should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for InviteError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::CallingOurselves => Self::CallingOurselves,
            Refusal::NotInRoom => Self::NotInRoom,
            Refusal::OtherCallConnected => Self::OtherCallConnected,
            Refusal::CallExists => Self::CallExists,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why a call was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The call is in a state in which it cannot be answered; usually it has ended.
    #[error("not possible while the call is {0}")]
    WrongState(CallState),
    /// Only an incoming call can be answered.
    #[error("the call is an outgoing one")]
    Outgoing,
    /// Another call is connected: end it first.
    #[error("another call is connected")]
    OtherCallConnected,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that answering should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for AnswerError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::WrongState(CallState::Ended),
            Refusal::WrongState(state) => Self::WrongState(state),
            Refusal::Outgoing => Self::Outgoing,
            Refusal::OtherCallConnected => Self::OtherCallConnected,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why a call was not rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectError {
    /// The call does not ring (any more): hang up instead.
    #[error("not possible while the call is {0}")]
    WrongState(CallState),
    /// Only an incoming call can be rejected.
    #[error("the call is an outgoing one")]
    Outgoing,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that rejecting should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for RejectError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::WrongState(CallState::Ended),
            Refusal::WrongState(state) => Self::WrongState(state),
            Refusal::Outgoing => Self::Outgoing,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why a call was not hung up. A call that is over already, for whatever reason, is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HangupError {
    /// Refused for a reason that hanging up should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

/// Why media was not let start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProceedError {
    /// The call has ended.
    #[error("not possible while the call is {0}")]
    WrongState(CallState),
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that proceeding should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for ProceedError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::WrongState(CallState::Ended),
            Refusal::WrongState(state) => Self::WrongState(state),
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why a source was not muted or unmuted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MuteError {
    /// The call is in a state in which nothing can be muted; usually it has ended.
    #[error("not possible while the call is {0}")]
    WrongState(CallState),
    /// The call sends nothing of that kind.
    #[error("the call sends nothing of that kind")]
    NoSuchTrack,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that muting should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for MuteError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::WrongState(CallState::Ended),
            Refusal::WrongState(state) => Self::WrongState(state),
            Refusal::NoSuchTrack => Self::NoSuchTrack,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why a call was not changed: held, shown more of, moved, dialled in or transferred.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The call is in a state in which this cannot be done: not yet answered, or over.
    #[error("not possible while the call is {0}")]
    WrongState(CallState),
    /// The other side speaks version 0, which cannot change a call.
    #[error("the other side cannot change a call")]
    CannotRenegotiate,
    /// The other side could not tell a screen from a camera.
    #[error("the other side cannot tell a screen from a camera")]
    NoStreamMetadata,
    /// The other side takes no tones, or our own engine has none.
    #[error("the call takes no tones: the other side has none, or our engine")]
    TakesNoTones,
    /// The other side holds the call, and takes no tones in until it no longer does.
    #[error("the other side holds the call")]
    HeldByThem,
    /// The text holds something else than tones.
    #[error(transparent)]
    InvalidTones(#[from] InvalidTones),
    /// The other side does not say that it can be transferred.
    #[error("the other side cannot be transferred")]
    CannotBeTransferred,
    /// A transfer is to somebody else: neither to us nor to the other side.
    #[error("a transfer is to somebody else")]
    NotATarget,
    /// Another call is connected: hold or end it first.
    #[error("another call is connected")]
    OtherCallConnected,
    /// The call sends nothing of that kind.
    #[error("the call sends nothing of that kind")]
    NoSuchTrack,
    /// The source could not be had: nobody granted it, or it is not there. The call goes on.
    #[error("the source could not be had")]
    MediaMissing,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that a change should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for ChangeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::WrongState(CallState::Ended),
            Refusal::WrongState(state) => Self::WrongState(state),
            Refusal::CannotRenegotiate => Self::CannotRenegotiate,
            Refusal::NoStreamMetadata => Self::NoStreamMetadata,
            Refusal::TakesNoTones => Self::TakesNoTones,
            Refusal::HeldByThem => Self::HeldByThem,
            Refusal::CannotBeTransferred => Self::CannotBeTransferred,
            Refusal::NotATarget => Self::NotATarget,
            Refusal::OtherCallConnected => Self::OtherCallConnected,
            Refusal::NoSuchTrack => Self::NoSuchTrack,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why there are no statistics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// The call has no peer connection: not yet, or not any more.
    #[error("the call has no peer connection")]
    NoPeerConnection,
    /// The engine did not give them.
    #[error("the engine did not measure: {0}")]
    Engine(Fault),
    /// The library has shut down.
    #[error("shut down")]
    ShutDown,
}

impl From<Unmeasured> for StatsError {
    fn from(unmeasured: Unmeasured) -> Self {
        match unmeasured {
            Unmeasured::NoPeer => Self::NoPeerConnection,
            Unmeasured::Fault(fault) => Self::Engine(fault),
            Unmeasured::Stopped => Self::ShutDown,
        }
    }
}

/// Why a state that was waited for will not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UntilError {
    /// The call ended first.
    #[error("the call ended: {0}")]
    Ended(End),
}

/// Why a group call is not at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupCallError {
    /// The room is no Matrix id.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The call is there, and its participants meet otherwise: join it with their backend, or take
    /// another id.
    #[error("the group call has another backend")]
    OtherBackend,
    /// The id, the application or the backend has a text that others would not read as it is: longer
    /// than 255 bytes, an application longer than 64 or empty.
    #[error("it cannot be written so that others read it")]
    NotWritable,
    /// We are not in that room, as far as the host told.
    #[error("not in the room")]
    NotInRoom,
    /// Group calls of matrix-js-sdk are switched off (`Config::msc3401`).
    #[error("group calls of matrix-js-sdk are switched off")]
    DialectOff,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that this should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for GroupCallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OtherBackend => Self::OtherBackend,
            Refusal::NotWritable => Self::NotWritable,
            Refusal::NotInRoom => Self::NotInRoom,
            Refusal::DialectOff => Self::DialectOff,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why we are not in a group call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// Our power level is too low, or the homeserver does not let us write our membership for another
    /// reason.
    #[error("not allowed to join")]
    MayNotJoin,
    /// A call of two is connected, and cannot be held.
    #[error("another call is connected")]
    OtherCallConnected,
    /// Group calls of matrix-js-sdk are switched off (`Config::msc3401`).
    #[error("group calls of matrix-js-sdk are switched off")]
    DialectOff,
    /// We are in a call of the room with clients of another generation.
    #[error("another dialect is spoken in that room now")]
    OtherDialect,
    /// The host cannot write or read state.
    #[error("the host does no group calls")]
    Unsupported,
    /// The homeserver was not reached.
    #[error("the homeserver was not reached")]
    NotReached,
    /// Nobody names an SFU: neither members of the call, nor `Config::livekit_service_url`, nor the
    /// homeserver.
    #[error("no SFU is known: name its token service (Config::livekit_service_url)")]
    NoFocus,
    /// The homeserver, asked for its SFUs, was not reached, again and again, and nobody else names one.
    #[error(
        "the homeserver could not be asked for an SFU: try again, or name one's token service (Config::livekit_service_url)"
    )]
    NoTransports,
    /// We left before we were in it.
    #[error("left meanwhile")]
    Left,
    /// The group call ended first.
    #[error("the group call is over: {0}")]
    Ended(GroupEnd),
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that entering should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<GroupRefusal> for EnterError {
    fn from(why: GroupRefusal) -> Self {
        match why {
            GroupRefusal::Forbidden => Self::MayNotJoin,
            GroupRefusal::Unsupported => Self::Unsupported,
            GroupRefusal::NotReached => Self::NotReached,
            GroupRefusal::LoggedOut => Self::Ended(GroupEnd::LoggedOut),
            GroupRefusal::NoFocus => Self::NoFocus,
            GroupRefusal::NoTransports => Self::NoTransports,
        }
    }
}

impl From<Refusal> for EnterError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::MayNotJoin => Self::MayNotJoin,
            Refusal::OtherCallConnected => Self::OtherCallConnected,
            Refusal::OtherDialect => Self::OtherDialect,
            Refusal::DialectOff => Self::DialectOff,
            Refusal::ShuttingDown => Self::ShuttingDown,
            // How it ended its own handle knows.
            Refusal::UnknownSession => Self::Ended(GroupEnd::Empty),
            other => Self::Refused(other),
        }
    }
}

/// Why a group call was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeGroupError {
    /// The group call is over.
    #[error("the group call is over")]
    Ended,
    /// We are not in it.
    #[error("not in the group call")]
    NotEntered,
    /// The call's media is not ours: the application connects to the SFU by itself.
    #[error("the group call's media is somebody else's")]
    MediaNotOurs,
    /// The call has no media keys.
    #[error("the group call has no media keys")]
    NoKeys,
    /// None of them is in the call.
    #[error("no such participant")]
    NoSuchParticipant,
    /// The source could not be had.
    #[error("the source cannot be had")]
    MediaMissing,
    /// We send nothing of that kind.
    #[error("the call sends nothing of that kind")]
    NoSuchTrack,
    /// A call of two is connected, and cannot be held.
    #[error("another call is connected")]
    OtherCallConnected,
    /// It cannot be written so that others read it.
    #[error("it cannot be written so that others read it")]
    NotWritable,
    /// The room's power levels were not heard yet.
    #[error("the room's power levels are not known")]
    UnknownPowerLevels,
    /// The homeserver does not let us.
    #[error("the homeserver does not allow it")]
    Forbidden,
    /// The host cannot write such a thing.
    #[error("the host does no group calls")]
    Unsupported,
    /// The homeserver was not reached; it is not tried again.
    #[error("the homeserver was not reached")]
    NotReached,
    /// The library shuts down.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that it should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for ChangeGroupError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::Ended,
            Refusal::NotEntered => Self::NotEntered,
            Refusal::MediaNotOurs => Self::MediaNotOurs,
            Refusal::NoKeys => Self::NoKeys,
            Refusal::NoSuchParticipant => Self::NoSuchParticipant,
            Refusal::NoSuchTrack => Self::NoSuchTrack,
            Refusal::OtherCallConnected => Self::OtherCallConnected,
            Refusal::NotWritable => Self::NotWritable,
            Refusal::UnknownPowerLevels => Self::UnknownPowerLevels,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

impl From<GroupRefusal> for ChangeGroupError {
    fn from(why: GroupRefusal) -> Self {
        match why {
            GroupRefusal::Forbidden => Self::Forbidden,
            GroupRefusal::Unsupported => Self::Unsupported,
            GroupRefusal::NotReached => Self::NotReached,
            GroupRefusal::LoggedOut => Self::Ended,
            GroupRefusal::NoFocus | GroupRefusal::NoTransports => Self::Unsupported,
        }
    }
}

/// Why a state of a group call did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupUntilError {
    /// The group call ended first.
    #[error("the group call is over: {0}")]
    Ended(GroupEnd),
}

/// Why a group call was not left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// Refused for a reason that it should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

/// Why a reaction was not shown, or not taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReactError {
    /// We are not in the group call: enter it first.
    #[error("not in the group call")]
    NotEntered,
    /// Too many ephemeral ones in a short time, of which one passes each second; or more permanent ones
    /// than others show.
    #[error("too many reactions")]
    TooMany,
    /// What is to be shown is empty, or longer than others read (255 bytes).
    #[error("it cannot be written so that others read it")]
    NotWritable,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// The group call is over.
    #[error("the group call is over")]
    Ended,
    /// Refused for a reason that a reaction should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for ReactError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSession => Self::Ended,
            Refusal::NotEntered => Self::NotEntered,
            Refusal::TooManyReactions => Self::TooMany,
            Refusal::NotWritable => Self::NotWritable,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}

/// Why a ring was not declined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclineError {
    /// That does not ring (any more).
    #[error("that does not ring")]
    NoSuchRing,
    /// The library is shutting down, or has.
    #[error("shutting down")]
    ShuttingDown,
    /// Refused for a reason that declining should not meet.
    #[error(transparent)]
    Refused(Refusal),
}

impl From<Refusal> for DeclineError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchRing => Self::NoSuchRing,
            Refusal::ShuttingDown => Self::ShuttingDown,
            other => Self::Refused(other),
        }
    }
}
