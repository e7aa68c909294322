//! What became of an input: handled, ignored for a reason, or refused.
//!
//! Every input of the machine gets a [`Verdict`]. Nonsense from a remote party is
//! [`Ignored`] and counted; a command of the application that makes no sense now is a [`Refusal`],
//! which names what the caller can fix.

use super::event::CallState;
use crate::id::SessionId;

/// What became of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect, or had already.
    Handled,
    /// It made this session.
    Started(SessionId),
    /// It had no effect, and that is nobody's fault here. Counted.
    Ignored(Ignored),
    /// A command that makes no sense now.
    Refused(Refusal),
    /// A delivery: one verdict per event, in order.
    Batch(Vec<Verdict>),
}

/// Why an input had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// The event's content cannot be read.
    Malformed,
    /// The event is our own, come back.
    Echo,
    /// The same event was seen before.
    Duplicate,
    /// The invite is for another user or another device.
    NotForUs,
    /// The invite is older than its lifetime.
    Expired,
    /// The call is over, and this event is about it.
    AlreadyOver,
    /// An invite for a call that exists.
    AlreadyExists,
    /// Nobody knows the call yet; the event waits for its invite.
    Parked,
    /// Nobody knows the call, and the event cannot wait.
    UnknownCall,
    /// The sender is not the user that this call is with.
    WrongSender,
    /// The sender's party is not the one that this call is with.
    WrongParty,
    /// The event makes no sense in the call's state.
    WrongState,
    /// The event makes no sense for the call's direction.
    WrongDirection,
    /// More calls ring than the configuration allows.
    TooManyRinging,
    /// A call is connected and the policy is to let the invite be.
    Busy,
    /// The invite lost against our own.
    LostGlare,
    /// Their offer crosses ours, which stands.
    Collision,
    /// The process is ending: the invite is left to our other devices.
    ShuttingDown,
    /// A bound was reached: candidates, parked events, parties.
    TooMany,
    /// The event was in the clear in an encrypted room.
    PlaintextInEncryptedRoom,
    /// The event came from a device that is not verified, and the policy is to refuse those.
    UnverifiedDevice,
    /// The sender is ignored.
    IgnoredUser,
    /// The sender is not in the room.
    NotInRoom,
    /// The state key names another user than the one who wrote the event.
    ForeignStateKey,
    /// The same user has written something newer under this key, and we have heard it.
    OutdatedState,
    /// The reaction belongs to no membership of its sender that we know.
    NoMembership,
    /// The redaction removes no reaction that we know.
    UnknownReaction,
    /// A decline of what does not ring, and was not sent by us.
    UnknownRing,
    /// A ring for a group call in which a device of ours is already.
    InTheCall,
    /// The event came by the wrong way: a room event with group fields, or to-device what is said in
    /// rooms.
    WrongPlace,
    /// A to-device event that names no room.
    NoRoom,
    /// A to-device event that names no group call, or none that we are in.
    NoConference,
    /// The event is of another visit to the group call than the one that stands in the room, or for
    /// another of ours.
    WrongSession,
    /// The event does not say from which device it is.
    NoDevice,
    /// The event claims another device than the one that encrypted it.
    WrongDevice,
    /// A media key for a place that the call's ring does not have.
    OutsideRing,
    /// A message about media keys for a call that has none.
    KeysOff,
    /// A track of an SFU that is not encrypted, although the call has media keys.
    NotEncrypted,
    /// News of an SFU of a call that we are not in, or that has none.
    UnknownSfu,
    /// Understood, but this version does nothing with it.
    Unsupported,
    /// A reply that nobody awaits.
    StaleReply,
    /// News of a peer connection that nobody holds.
    UnknownPeer,
    /// News that changes nothing.
    NoChange,
}

/// Why a command was refused. Each names what the caller can fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such session.
    #[error("there is no such call")]
    UnknownSession,
    /// The call is in a state in which this cannot be done.
    #[error("not possible while the call is {0}")]
    WrongState(CallState),
    /// Only an incoming call can be answered or rejected.
    #[error("the call is an outgoing one")]
    Outgoing,
    /// Another call is connected, and can or must not be held or ended for this one.
    #[error("another call is connected")]
    OtherCallConnected,
    /// The call has no such track.
    #[error("the call sends nothing of that kind")]
    NoSuchTrack,
    /// The other side speaks version 0, which cannot change a call.
    #[error("the other side cannot change a call")]
    CannotRenegotiate,
    /// The other side does not say what its streams are, so it could not tell a screen from a
    /// camera.
    #[error("the other side cannot tell a screen from a camera")]
    NoStreamMetadata,
    /// The call has no tones (RFC 4733): the other side's description takes none, or our own engine
    /// did not offer or accept them.
    #[error("the call takes no tones: the other side has none, or our engine")]
    TakesNoTones,
    /// The other side holds the call and takes nothing in, tones neither.
    #[error("the other side holds the call")]
    HeldByThem,
    /// The other side does not say that it can be transferred (`m.call.transferee`).
    #[error("the other side cannot be transferred")]
    CannotBeTransferred,
    /// A transfer is to somebody else: neither to us nor to the other side.
    #[error("a transfer is to somebody else")]
    NotATarget,
    /// There is a call of that id in that room.
    #[error("there is a call of that id")]
    CallExists,
    /// We cannot call ourselves without naming a device.
    #[error("to call oneself, name a device")]
    CallingOurselves,
    /// The group call that is there meets otherwise.
    #[error("the group call has another backend")]
    OtherBackend,
    /// We are in a group call of that room in another dialect, or were a moment ago.
    #[error("another dialect is spoken in that room now")]
    OtherDialect,
    /// Group calls of matrix-js-sdk are switched off (`Config::msc3401`).
    #[error("group calls of matrix-js-sdk are switched off")]
    DialectOff,
    /// Our power level is too low to be in group calls of this room.
    #[error("the power level is too low to join")]
    MayNotJoin,
    /// An id, an application or a backend is longer than others read, or means something else to
    /// them.
    #[error("it cannot be written so that others read it")]
    NotWritable,
    /// More reactions than others show: wait a moment, or take one back.
    #[error("too many reactions")]
    TooManyReactions,
    /// That does not ring (any more).
    #[error("that does not ring")]
    NoSuchRing,
    /// We are not in the group call.
    #[error("not in the group call")]
    NotEntered,
    /// What is sent in the group call is not encrypted beyond its connections: there are no media keys.
    #[error("the group call has no media keys")]
    NoKeys,
    /// None of them is in the group call.
    #[error("no such participant")]
    NoSuchParticipant,
    /// The group call's media is not ours: the application connects to the SFU by itself.
    #[error("the group call's media is somebody else's")]
    MediaNotOurs,
    /// The room's power levels are not known: what is not known is not changed.
    #[error("the room's power levels are not known")]
    UnknownPowerLevels,
    /// We are not in that room, as far as the host told.
    #[error("not in the room")]
    NotInRoom,
    /// The engine is shutting down.
    #[error("shutting down")]
    ShuttingDown,
}
