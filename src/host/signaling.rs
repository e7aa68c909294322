//! The Matrix side: an async, object-safe trait that an adapter implements over its client.

use std::{collections::BTreeSet, fmt};

use async_trait::async_trait;

use crate::{
    id::{EventId, RoomId, UserId},
    machine::io::{Fault, ParticipantId, TurnServers},
    wire::state::StateBatch,
};

/// A room event to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct SendEvent {
    /// The room.
    pub room: RoomId,
    /// The event type.
    pub event_type: String,
    /// The content as JSON text.
    pub content: String,
    /// Transaction id: the same in each retry.
    pub transaction: String,
}

impl fmt::Debug for SendEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendEvent")
            .field("room", &self.room)
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .field("transaction", &self.transaction)
            .finish()
    }
}

/// A state event to be written, in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct SendState {
    /// The room.
    pub room: RoomId,
    /// The event type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The content as JSON text.
    pub content: String,
}

impl fmt::Debug for SendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendState")
            .field("room", &self.room)
            .field("event_type", &self.event_type)
            .field("state_key", &self.state_key)
            .field("content_bytes", &self.content.len())
            .finish()
    }
}

/// An event of ours to be redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Redact {
    /// The room.
    pub room: RoomId,
    /// What is redacted.
    pub redacts: EventId,
    /// The body of the request as JSON text: an object whose fields others read in the content of
    /// the redaction. To be sent whole, unknown fields too.
    pub content: String,
    /// Transaction id: the same in each retry.
    pub transaction: String,
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redact")
            .field("room", &self.room)
            .field("redacts", &self.redacts)
            .field("content_bytes", &self.content.len())
            .field("transaction", &self.transaction)
            .finish()
    }
}

/// A message for devices, each its own.
#[derive(Clone, PartialEq, Eq)]
pub struct SendToDevice {
    /// The room that it is about: encrypted by Olm where this room is encrypted, else in the clear.
    pub room: RoomId,
    /// For which devices.
    pub targets: BTreeSet<ParticipantId>,
    /// The event type; where it is encrypted, inside of it.
    pub event_type: String,
    /// The content as JSON text.
    pub content: String,
    /// Transaction id: the same in each retry.
    pub transaction: String,
}

impl fmt::Debug for SendToDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendToDevice")
            .field("room", &self.room)
            .field("targets", &self.targets)
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .field("transaction", &self.transaction)
            .finish()
    }
}

/// What the library needs of a homeserver. Incoming events go the other way, through
/// [`News::deliver`](super::mailbox::News::deliver).
///
/// Each call runs in a task of its own: it may be slow (the driver has a deadline, after which
/// the future is dropped at its await), and a panic is a [`Fault::Panicked`] of that one request.
#[async_trait]
pub trait Signaling: Send + Sync + 'static {
    /// Sends a room event, encrypted if the room is. Retries are the library's.
    ///
    /// # Errors
    /// A [`Fault`]; what is passing is tried again under the same transaction id.
    async fn send_event(&self, event: SendEvent) -> Result<EventId, Fault>;

    /// Sends a room event in the clear, in an encrypted room too: a reaction in a group call
    /// ([`ReactionsSent::InTheClear`]), `PUT …/send/{type}/{transaction}` without encryption. A host
    /// that cannot sends it as it sends others.
    ///
    /// # Errors
    /// As [`send_event`](Self::send_event), which is what it does by default.
    ///
    /// [`ReactionsSent::InTheClear`]: crate::config::ReactionsSent::InTheClear
    async fn send_clear(&self, event: SendEvent) -> Result<EventId, Fault> {
        self.send_event(event).await
    }

    /// Redacts an event of ours: `PUT …/redact/{redacts}/{transaction}` with `content` as its body,
    /// for a reaction in a group call that is taken back. Gives the id of the redaction. A host for
    /// calls without reactions need not have it.
    ///
    /// # Errors
    /// A [`Fault`]; what is passing is tried again under the same transaction id. By default
    /// [`Fault::Unsupported`]: others go on seeing what was taken back, until we leave the call.
    async fn redact(&self, redaction: Redact) -> Result<EventId, Fault> {
        let _ = redaction;
        Err(Fault::Unsupported)
    }

    /// Fetches TURN credentials: [`TurnServers::read`] reads the homeserver's answer. A homeserver
    /// without TURN (or a host that does not ask): `TurnServers::read("{}")`, an empty list.
    ///
    /// # Errors
    /// A [`Fault`]; the call then goes on without TURN.
    async fn turn_servers(&self) -> Result<TurnServers, Fault>;

    /// The joined members of a room, ourselves included. Asked only for `Callee::TheOther`.
    ///
    /// # Errors
    /// A [`Fault`]; the call then ends with `NoCallee`.
    async fn members(&self, room: RoomId) -> Result<BTreeSet<UserId>, Fault>;

    /// Writes a state event: our membership of a group call. A host for 1:1 calls alone need not
    /// have it.
    ///
    /// # Errors
    /// A [`Fault`]; what is passing is tried again. By default [`Fault::Unsupported`].
    async fn send_state(&self, event: SendState) -> Result<EventId, Fault> {
        let _ = event;
        Err(Fault::Unsupported)
    }

    /// Sends a message to devices, encrypted by Olm if the room is encrypted; gives back those that
    /// get nothing because there are no keys to encrypt for them (not an error: the others get it).
    /// A host for 1:1 calls alone need not have it.
    ///
    /// # Errors
    /// A [`Fault`]; what is passing is tried again under the same transaction id. By default
    /// [`Fault::Unsupported`].
    async fn send_to_device(
        &self,
        message: SendToDevice,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let _ = message;
        Err(Fault::Unsupported)
    }

    /// The present state of a room, at least what is of [`STATE_TYPES`]. Asked for where a group
    /// call is entered before the host handed it in ([`News::state`]). A host for 1:1 calls alone
    /// need not have it.
    ///
    /// # Errors
    /// A [`Fault`]; what is passing is tried again. By default [`Fault::Unsupported`].
    ///
    /// [`STATE_TYPES`]: crate::wire::state::STATE_TYPES
    /// [`News::state`]: super::mailbox::News::state
    async fn room_state(&self, room: RoomId) -> Result<StateBatch, Fault> {
        let _ = room;
        Err(Fault::Unsupported)
    }
}

/// Where the ledger survives a crash: a file, a row, a keychain entry.
#[async_trait]
pub trait LedgerStore: Send + Sync + 'static {
    /// Replaces the stored bytes (at most 16 KiB), atomically, also when the future is dropped at
    /// its await.
    ///
    /// # Errors
    /// A [`Fault`]; it is saved again at the next change.
    async fn save(&self, bytes: Vec<u8>) -> Result<(), Fault>;
}
