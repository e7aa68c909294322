//! The Matrix side: an async, object-safe trait that an adapter implements over its client.

use std::{collections::BTreeSet, fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    id::{DelayId, EventId, RoomId, UserId},
    machine::io::{Fault, OpenIdToken, ParticipantId, Trust, TurnServers},
    wire::{delayed::DelayedPage, focus::Transport, state::StateBatch},
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

/// What is to become of a delayed event (MSC4140).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DelayUpdate {
    /// Its time begins anew.
    Restart,
    /// It is sent now.
    Send,
    /// It is never sent.
    Cancel,
}

impl DelayUpdate {
    /// How it is written: the last part of the path, or the `action` of the older form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Send => "send",
            Self::Cancel => "cancel",
        }
    }
}

/// A message for devices, each its own.
#[derive(Clone, PartialEq, Eq)]
pub struct SendToDevice {
    /// The room that it is about: encrypted by Olm where this room is encrypted, else in the clear.
    pub room: RoomId,
    /// For which devices.
    pub targets: BTreeSet<ParticipantId>,
    /// Which of them may have it. Where it is encrypted, one that may not counts as not reached.
    pub trust: Trust,
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
            .field("trust", &self.trust)
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

    /// A token by which another service can ask our homeserver who we are: what the token service of an
    /// SFU wants. A fresh one each time: `POST /_matrix/client/v3/user/{userId}/openid/request_token`
    /// with the body `{}`. A host without calls through an SFU need not have it.
    ///
    /// # Errors
    /// A [`Fault`]; what is passing is tried again. By default [`Fault::Unsupported`]: services that need
    /// none are asked without.
    async fn open_id_token(&self) -> Result<OpenIdToken, Fault> {
        Err(Fault::Unsupported)
    }

    /// The SFUs that our homeserver names, the best first: of `GET /.well-known/matrix/client`
    /// ([`read_well_known`]), then of `GET /_matrix/client/v1/rtc/transports` or, as long as that is
    /// young, `/_matrix/client/unstable/org.matrix.msc4143/rtc/transports` ([`read_transports`]). Asked
    /// for where nobody else says at which SFU a call is. A homeserver that names none: an empty list.
    ///
    /// # Errors
    /// A [`Fault`]; the call is then not entered. By default [`Fault::Unsupported`].
    ///
    /// [`read_well_known`]: crate::wire::focus::read_well_known
    /// [`read_transports`]: crate::wire::focus::read_transports
    async fn transports(&self) -> Result<Vec<Transport>, Fault> {
        Err(Fault::Unsupported)
    }

    /// Has the homeserver write a state event in the clear when `delay` has passed since now, or since
    /// the last [`DelayUpdate::Restart`]: our leave of a group call, for when we are gone without a
    /// word (MSC4140).
    ///
    /// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}?org.matrix.msc4140.delay={ms}`
    /// with the content as body; the answer is `{"delay_id": "…"}`.
    ///
    /// **Look first**: `GET /_matrix/client/versions` must say `true` for `org.matrix.msc4140` in
    /// `unstable_features` (the answer may be kept for hours). A homeserver that does not know the
    /// parameter would write the event *at once*. Without that: `Unsupported`, and no request.
    ///
    /// # Errors
    /// [`Fault::Unsupported`]: the homeserver has no delayed events: no such feature, an answer
    /// without a `delay_id`, `M_UNRECOGNIZED` (404 or 405), or an `org.matrix.msc4140.errcode` of
    /// `M_MAX_DELAY_UNSUPPORTED`; it is not asked again during this stay. [`Fault::RateLimited`] for
    /// 429. [`Fault::Forbidden`] with the code for all else that will not change by itself: the quota
    /// of scheduled events, a delay that is too long (`M_MAX_DELAY_EXCEEDED`,
    /// `ORG.MATRIX.MSC4140_DELAY_TOO_LARGE`). [`Fault::Unreachable`] only when the homeserver was not
    /// reached: for three tries a membership waits then. After all others it is written without. By
    /// default `Unsupported`.
    async fn schedule_state(&self, event: SendState, delay: Duration) -> Result<DelayId, Fault> {
        let _ = (event, delay);
        Err(Fault::Unsupported)
    }

    /// Restarts, sends or cancels a delayed event.
    ///
    /// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/{update}` without a
    /// body; where that is `M_UNRECOGNIZED`, the older `POST …/delayed_events/{delayId}` with the body
    /// `{"action": "{update}"}`, and the host may remember which works. Send our access token with
    /// either: limits then count for the user, not for the address that many share.
    ///
    /// # Errors
    /// [`Fault::NotFound`]: it was sent or cancelled already, which is 404 `M_NOT_FOUND` and, with
    /// newer homeservers, 409. It must not be taken for `M_UNRECOGNIZED`, which is also a 404. Else as
    /// [`schedule_state`](Self::schedule_state). The driver waits 5 s: a request that takes longer may
    /// be dropped by then. By default [`Fault::Unsupported`].
    async fn update_delayed(&self, id: DelayId, update: DelayUpdate) -> Result<(), Fault> {
        let _ = (id, update);
        Err(Fault::Unsupported)
    }

    /// One page of the delayed events that our user has scheduled, on any device, in any room:
    /// what a crash has left is found there.
    ///
    /// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events`, with `?from={from}` for
    /// another page than the first; where that does not answer with 200, the same with
    /// `…/delayed_events/scheduled`. [`DelayedPage::read`] reads the body of either. The library asks
    /// for the next page by itself, for a bounded number of them.
    ///
    /// # Errors
    /// As [`schedule_state`](Self::schedule_state); the library then cleans up nothing. By default
    /// [`Fault::Unsupported`].
    async fn delayed_events(&self, from: Option<String>) -> Result<DelayedPage, Fault> {
        let _ = from;
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
