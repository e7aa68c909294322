//! What the machine wants of the homeserver: events, state, messages to devices.
//!
//! Contents leave as JSON text, so that hosts and bindings mirror nothing of `wire`; they print as
//! lengths.

use std::{collections::BTreeSet, time::Duration};

use super::group::roster::ParticipantId;
#[cfg(doc)]
use super::{fault::Fault, io::Reply};
use crate::id::{DelayId, EventId, RoomId};

/// Something for the homeserver.
#[derive(Clone, PartialEq, Eq)]
pub enum MatrixOp {
    /// Send a room event, encrypted where the room is. Reply: [`Reply::Sent`].
    SendEvent {
        /// The room.
        room: RoomId,
        /// The event type.
        event_type: String,
        /// The content as JSON text.
        content: String,
        /// Transaction id: the same in each retry, so that the server sends once.
        transaction: String,
    },
    /// Send a room event in the clear, in an encrypted room too: reactions in group calls, which
    /// deployed clients read so. Reply: [`Reply::Sent`].
    SendClear {
        /// The room.
        room: RoomId,
        /// The event type.
        event_type: String,
        /// The content as JSON text.
        content: String,
        /// Transaction id: the same in each retry.
        transaction: String,
    },
    /// Redact an event of ours: `PUT …/redact/{redacts}/{transaction}`. Reply: [`Reply::Sent`].
    Redact {
        /// The room.
        room: RoomId,
        /// What is redacted.
        redacts: EventId,
        /// The body of the request as JSON text: what others read in the redaction's content.
        content: String,
        /// Transaction id: the same in each retry.
        transaction: String,
    },
    /// Write a state event, in the clear. Reply: [`Reply::Sent`].
    SendState {
        /// The room.
        room: RoomId,
        /// The event type.
        event_type: String,
        /// The state key.
        state_key: String,
        /// The content as JSON text.
        content: String,
    },
    /// Send a message to devices, each its own, encrypted by Olm where the room is encrypted: there
    /// a device whose keys are not known gets nothing. Reply: [`Reply::ToDevice`].
    SendToDevice {
        /// The room that it is about: its members can read what is sent there.
        room: RoomId,
        /// For which devices.
        targets: BTreeSet<ParticipantId>,
        /// Which of them may have it.
        trust: Trust,
        /// The event type, inside the encryption.
        event_type: String,
        /// The content as JSON text.
        content: String,
        /// Transaction id: the same in each retry, so that the server sends once.
        transaction: String,
    },
    /// Something about events that the homeserver sends later (MSC4140).
    Delay(DelayOp),
}

/// Which devices a message may be encrypted for. Of a room that is not encrypted it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Trust {
    /// All whose keys are known.
    #[default]
    Any,
    /// Those that are verified. Others count as not reached.
    Verified,
}

/// Something about delayed events (MSC4140). A homeserver that has none: [`Fault::Unsupported`].
#[derive(Clone, PartialEq, Eq)]
pub enum DelayOp {
    /// Have a state event written when so much time has passed since this or the last
    /// [`Restart`](Self::Restart). Reply: [`Reply::Scheduled`].
    Schedule {
        /// The room.
        room: RoomId,
        /// The event type.
        event_type: String,
        /// The state key.
        state_key: String,
        /// The content as JSON text.
        content: String,
        /// How long it waits.
        delay: Duration,
    },
    /// Let its time begin anew. Reply: [`Reply::Done`]; [`Fault::NotFound`] when it was sent or
    /// cancelled.
    Restart(DelayId),
    /// Send it now. Reply: [`Reply::Done`]; [`Fault::NotFound`] as above.
    Send(DelayId),
    /// Never send it. Reply: [`Reply::Done`]; [`Fault::NotFound`] as above.
    Cancel(DelayId),
    /// Which there are of our user, one page of them. Reply: [`Reply::Delayed`].
    List {
        /// What the page before gave; `None`: the first page.
        from: Option<String>,
    },
}

impl std::fmt::Debug for DelayOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Schedule { room, event_type, state_key, content, delay } => f
                .debug_struct("Schedule")
                .field("room", room)
                .field("event_type", event_type)
                .field("state_key", state_key)
                .field("content_bytes", &content.len())
                .field("delay", delay)
                .finish(),
            Self::Restart(id) => f.debug_tuple("Restart").field(id).finish(),
            Self::Send(id) => f.debug_tuple("Send").field(id).finish(),
            Self::Cancel(id) => f.debug_tuple("Cancel").field(id).finish(),
            Self::List { from } => f.debug_struct("List").field("first", &from.is_none()).finish(),
        }
    }
}

impl std::fmt::Debug for MatrixOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SendEvent { room, event_type, content, transaction } => f
                .debug_struct("SendEvent")
                .field("room", room)
                .field("event_type", event_type)
                .field("content_bytes", &content.len())
                .field("transaction", transaction)
                .finish(),
            Self::SendClear { room, event_type, content, transaction } => f
                .debug_struct("SendClear")
                .field("room", room)
                .field("event_type", event_type)
                .field("content_bytes", &content.len())
                .field("transaction", transaction)
                .finish(),
            Self::Redact { room, redacts, content, transaction } => f
                .debug_struct("Redact")
                .field("room", room)
                .field("redacts", redacts)
                .field("content_bytes", &content.len())
                .field("transaction", transaction)
                .finish(),
            Self::SendState { room, event_type, state_key, content } => f
                .debug_struct("SendState")
                .field("room", room)
                .field("event_type", event_type)
                .field("state_key", state_key)
                .field("content_bytes", &content.len())
                .finish(),
            Self::Delay(op) => f.debug_tuple("Delay").field(op).finish(),
            Self::SendToDevice { room, targets, trust, event_type, content, transaction } => f
                .debug_struct("SendToDevice")
                .field("room", room)
                .field("targets", targets)
                .field("trust", trust)
                .field("event_type", event_type)
                .field("content_bytes", &content.len())
                .field("transaction", transaction)
                .finish(),
        }
    }
}
