//! What calls need of a homeserver besides sending events, as methods of [`Matrix`].
//!
//! The 1:1 calls of the library need none of it; group calls do, and applications may. Each is one
//! request without retries, within a deadline; a [`Fault`] says what helps. State is read from the
//! server: with sliding sync the store holds what the application's room list asked for, and that
//! is not the memberships of calls (`matrix-sdk.md` §4).

use std::{collections::BTreeSet, fmt, time::Duration};

use matrix_sdk::{
    Client,
    ruma::{
        OwnedEventId, OwnedRoomId, OwnedTransactionId,
        api::client::{
            account::request_openid_token,
            message::send_message_event,
            state::{get_state_event_for_key, get_state_events, send_state_event},
        },
        events::{AnyStateEvent, AnyStateEventContent},
        serde::Raw,
    },
};
use matrix_voip::{
    id::{EventId, RoomId, UserId},
    machine::io::{Fault, OpenIdToken},
    redact::Secret,
};
use serde_json::{Value, json};

use crate::{
    connect::Matrix,
    delayed::{self, Later},
    request::{ask, joined, known_room, within},
};

/// For each of them.
pub(crate) const SERVICE: Duration = Duration::from_secs(15);

/// One piece of a room's state. Its content prints as a length.
#[derive(Clone, PartialEq, Eq)]
pub struct StateEvent {
    /// The event type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The content as JSON text.
    pub content: String,
    /// Who wrote it; `None` in what is to be written.
    pub sender: Option<UserId>,
}

impl fmt::Debug for StateEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateEvent")
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// What becomes of a delayed event: the `action` of MSC4140.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DelayedAction {
    /// Its delay begins again.
    Restart,
    /// It is sent now.
    Send,
    /// It is never sent.
    Cancel,
}

/// What is known of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomFacts {
    /// Who is joined, ourselves included.
    pub joined: BTreeSet<UserId>,
    /// Whether it is encrypted; when that cannot be found out, it counts as encrypted.
    pub encrypted: bool,
    /// For whom it is a direct chat by our account data; nobody: it is none.
    pub direct_for: BTreeSet<UserId>,
    /// Whether our power level lets us place calls; unknown levels count as a new room's.
    pub may_call: bool,
}

impl Matrix {
    /// What is known of a room that we are in. May ask the server, for members and encryption.
    ///
    /// # Errors
    /// [`Fault::NotFound`] for a room that the client does not know, or another [`Fault`].
    pub async fn room_facts(&self, room: &RoomId) -> Result<RoomFacts, Fault> {
        let (client, room) = self.at(room)?;
        within(SERVICE, async {
            let encrypted = room.latest_encryption_state().await;
            let encrypted = encrypted.map_or(true, |state| state.is_encrypted());
            let event_type = if encrypted { "m.room.encrypted" } else { "m.call.invite" };
            let me = client.user_id().ok_or(Fault::LoggedOut)?;
            let levels = room.power_levels_or_default().await;
            let direct = room.direct_targets();
            Ok(RoomFacts {
                joined: joined(&room).await?,
                encrypted,
                direct_for: direct
                    .iter()
                    .filter_map(|id| UserId::parse(id.as_str()).ok())
                    .collect(),
                may_call: levels.user_can_send_message(me, event_type.into()),
            })
        })
        .await
    }

    /// A token by which another service, such as an SFU's, can ask our homeserver who we are.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn open_id_token(&self) -> Result<OpenIdToken, Fault> {
        open_id(&self.attached.client()?, SERVICE).await
    }

    /// The whole present state of a room, as the server has it. What is not understood of it is
    /// left out.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn state(&self, room: &RoomId) -> Result<Vec<StateEvent>, Fault> {
        let request = get_state_events::v3::Request::new(room_id(room)?);
        let answer = ask(SERVICE, self.attached.client()?.send(request)).await?;
        Ok(answer.room_state.iter().filter_map(read_state).collect())
    }

    /// The content of one piece of a room's state, as the server has it; `None` when there is none.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn state_event(
        &self,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<String>, Fault> {
        let (room, key) = (room_id(room)?, state_key.to_owned());
        let request = get_state_event_for_key::v3::Request::new(room, event_type.into(), key);
        match ask(SERVICE, self.attached.client()?.send(request)).await {
            Ok(answer) => Ok(Some(answer.event_or_content.get().to_owned())),
            Err(Fault::NotFound) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Writes a piece of a room's state, in the clear: state is never encrypted.
    ///
    /// # Errors
    /// A [`Fault`]. Repeating it is harmless.
    pub async fn send_state(&self, room: &RoomId, state: StateEvent) -> Result<EventId, Fault> {
        let request = send_state_event::v3::Request::new_raw(
            room_id(room)?,
            state.event_type.into(),
            state.state_key,
            content(state.content)?,
        );
        event_id(&ask(SERVICE, self.attached.client()?.send(request)).await?.event_id)
    }

    /// Has the server write a piece of a room's state after `delay`, unless that is begun again or
    /// cancelled by then (MSC4140). Gives the id of the delayed event. There are no delayed
    /// messages: nothing could encrypt them.
    ///
    /// # Errors
    /// A [`Fault`]; for a server without delayed events [`Fault::Unsupported`].
    pub async fn send_delayed_state(
        &self,
        room: &RoomId,
        state: StateEvent,
        delay: Duration,
    ) -> Result<String, Fault> {
        let client = self.attached.client()?;
        let later = Later {
            room: room.as_str(),
            event_type: &state.event_type,
            state_key: &state.state_key,
            content: content::<AnyStateEventContent>(state.content)?.into_json().get().to_owned(),
            delay,
        };
        delayed::schedule(&client, later).await
    }

    /// Says what becomes of a delayed event.
    ///
    /// # Errors
    /// [`Fault::NotFound`] when it was sent or cancelled already, or another [`Fault`].
    pub async fn update_delayed(&self, id: &str, action: DelayedAction) -> Result<(), Fault> {
        let update = match action {
            DelayedAction::Restart => "restart",
            DelayedAction::Send => "send",
            DelayedAction::Cancel => "cancel",
        };
        delayed::update(&self.attached, id, update).await
    }

    /// Redacts an event, under our transaction id. `extra` is a JSON object of further keys for the
    /// redaction's content.
    ///
    /// A redaction is never encrypted: also in an encrypted room `extra` goes out in the clear, and
    /// the homeserver and everybody in the room can read it for good.
    ///
    /// # Errors
    /// A [`Fault`]. Repeating it under the same transaction id is harmless.
    pub async fn redact(
        &self,
        room: &RoomId,
        event: &EventId,
        extra: Option<&str>,
        transaction: &str,
    ) -> Result<EventId, Fault> {
        let Ok(Value::Object(mut redaction)) = serde_json::from_str(extra.unwrap_or("{}")) else {
            return Err(Fault::Failed("no JSON object".into()));
        };
        redaction.insert("redacts".into(), json!(event.as_str()));
        let request = send_message_event::v3::Request::new_raw(
            room_id(room)?,
            OwnedTransactionId::from(transaction),
            "m.room.redaction".into(),
            content(Value::Object(redaction).to_string())?,
        );
        event_id(&ask(SERVICE, self.attached.client()?.send(request)).await?.event_id)
    }

    fn at(&self, room: &RoomId) -> Result<(Client, matrix_sdk::Room), Fault> {
        let client = self.attached.client()?;
        let room = known_room(&client, room)?;
        Ok((client, room))
    }
}

/// A fresh token for a service that asks our homeserver who we are.
pub(crate) async fn open_id(client: &Client, span: Duration) -> Result<OpenIdToken, Fault> {
    let me = client.user_id().ok_or(Fault::LoggedOut)?.to_owned();
    let token = ask(span, client.send(request_openid_token::v3::Request::new(me))).await?;
    Ok(OpenIdToken {
        access_token: Secret::new(token.access_token),
        token_type: token.token_type.to_string(),
        server_name: token.matrix_server_name.to_string(),
        expires_in: token.expires_in,
    })
}

fn room_id(room: &RoomId) -> Result<OwnedRoomId, Fault> {
    OwnedRoomId::try_from(room.as_str()).map_err(|_| Fault::NotFound)
}

fn event_id(id: &OwnedEventId) -> Result<EventId, Fault> {
    EventId::parse(id.as_str()).map_err(|_| Fault::Failed("no event id".into()))
}

fn content<T>(json: String) -> Result<Raw<T>, Fault> {
    Raw::from_json_string(json).map_err(|_| Fault::Failed("no JSON".into()))
}

fn read_state(event: &Raw<AnyStateEvent>) -> Option<StateEvent> {
    let content = event.get_field::<Box<serde_json::value::RawValue>>("content").ok()??;
    let sender = event.get_field::<String>("sender").ok()?;
    Some(StateEvent {
        event_type: event.get_field("type").ok()??,
        state_key: event.get_field("state_key").ok()??,
        content: content.get().to_owned(),
        sender: sender.and_then(|sender| UserId::parse(sender).ok()),
    })
}
