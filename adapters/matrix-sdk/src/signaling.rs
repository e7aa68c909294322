//! The port [`Signaling`] over a client.
//!
//! Each request is one try within a deadline, see `request.rs`; when to try again, the library
//! decides. The same transaction id gives the same event, so a send that was cut short can be
//! repeated.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use matrix_sdk::ruma::{
    OwnedRoomId, OwnedTransactionId, TransactionId,
    api::client::{message::send_message_event, state::send_state_event},
    events::AnyMessageLikeEventContent,
    exports::http::Method,
    serde::Raw,
};
use matrix_voip::{
    host::{DelayUpdate, Redact, SendEvent, SendState, SendToDevice, Signaling},
    id::{DelayId, EventId, RoomId, UserId},
    machine::io::{Fault, OpenIdToken, ParticipantId, TurnServers},
    wire::{delayed::DelayedPage, focus::Transport, state::StateBatch},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    attached::Attached,
    delayed::{self, Later},
    endpoint::{Call, Endpoint, Refusal},
    fault::fault,
    inbox::Arrival,
    request::{ask, joined, known_room, once, within},
    services,
    shell::{Clock, encrypted},
    state,
    to_device::{self, Letter},
    transports,
    turn::TurnRequest,
};

/// For a send, with all that encrypting takes. The library gives it 30 s and hears of the
/// timeout from us.
const SEND: Duration = Duration::from_secs(25);
/// For whether a room is encrypted, before a message to devices is sent.
const ENCRYPTION: Duration = Duration::from_secs(4);
/// For TURN credentials; the library gives it 5 s.
const TURN: Duration = Duration::from_millis(4500);
/// For the members of a room; the library gives it 10 s.
const MEMBERS: Duration = Duration::from_secs(9);
/// For an OpenID token; the library gives it 10 s.
const OPEN_ID: Duration = Duration::from_secs(9);

/// The homeserver, as one device of one user reaches it.
#[derive(Debug)]
pub(crate) struct Homeserver(pub(crate) Arc<Attached>);

#[async_trait]
impl Signaling for Homeserver {
    async fn send_event(&self, event: SendEvent) -> Result<EventId, Fault> {
        let room = known_room(&self.0.client()?, &event.room)?;
        self.0.inbox().put(Arrival::Sent(event.room));
        let content = Raw::<AnyMessageLikeEventContent>::from_json_string(event.content)
            .map_err(|_| Fault::Failed("no JSON".into()))?;
        let send = room
            .send_raw(&event.event_type, content)
            .with_transaction_id(<&TransactionId>::from(event.transaction.as_str()))
            .with_request_config(once().timeout(SEND));
        let sent = within(SEND, async { send.await.map_err(|error| fault(&error)) }).await?;
        event_id(sent.response.event_id.as_str())
    }

    async fn send_clear(&self, event: SendEvent) -> Result<EventId, Fault> {
        let client = self.0.client()?;
        let content = Raw::<AnyMessageLikeEventContent>::from_json_string(event.content);
        let request = send_message_event::v3::Request::new_raw(
            room_id(&event.room)?,
            OwnedTransactionId::from(event.transaction),
            event.event_type.into(),
            content.map_err(|_| Fault::Failed("no JSON".into()))?,
        );
        self.0.inbox().put(Arrival::Sent(event.room));
        event_id(ask(SEND, client.send(request)).await?.event_id.as_str())
    }

    /// By its own path: what ruma asks for has a reason and no more.
    async fn redact(&self, redaction: Redact) -> Result<EventId, Fault> {
        let Redact { room, redacts, content, transaction } = redaction;
        let client = self.0.client()?;
        let arguments = [room.as_str(), redacts.as_str(), &transaction];
        let request = Call::<Redacts>::new(arguments).body(content);
        let answer = ask(SEND, client.send(request)).await?.body(Refusal::fault)?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        event_id(answer["event_id"].as_str().unwrap_or_default())
    }

    async fn turn_servers(&self) -> Result<TurnServers, Fault> {
        let answer = ask(TURN, self.0.client()?.send(TurnRequest)).await?;
        TurnServers::read(&answer.0).map_err(|_| Fault::Failed("no JSON object".into()))
    }

    async fn members(&self, room: RoomId) -> Result<BTreeSet<UserId>, Fault> {
        let room = known_room(&self.0.client()?, &room)?;
        within(MEMBERS, joined(&room)).await
    }

    /// In the clear: state is never encrypted. Whoever reads the room's state meanwhile must not
    /// take it for the one in which ours stands.
    async fn send_state(&self, event: SendState) -> Result<EventId, Fault> {
        let client = self.0.client()?;
        let content = Raw::from_json_string(event.content);
        let request = send_state_event::v3::Request::new_raw(
            room_id(&event.room)?,
            event.event_type.into(),
            event.state_key,
            content.map_err(|_| Fault::Failed("no JSON".into()))?,
        );
        let _done = Writing::begin(&self.0, event.room);
        let answer = ask(SEND, client.send(request)).await?;
        event_id(answer.event_id.as_str())
    }

    /// Where nobody can say whether the room is encrypted, the message is.
    async fn send_to_device(
        &self,
        message: SendToDevice,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let client = self.0.client()?;
        let room = known_room(&client, &message.room)?;
        self.0.inbox().put(Arrival::Sent(message.room));
        let letter = Letter {
            event_type: &message.event_type,
            content: to_device::read(message.content)?,
            targets: message.targets,
            trust: message.trust,
        };
        // In classic sync nobody knows of a room that is not encrypted before it was asked.
        drop(timeout(ENCRYPTION, room.latest_encryption_state()).await);
        match encrypted(&room) {
            Some(false) => letter.clear(&client, &message.transaction).await,
            Some(true) | None => letter.encrypted(&client, self.0.inbox()).await,
        }
    }

    async fn schedule_state(&self, event: SendState, delay: Duration) -> Result<DelayId, Fault> {
        let later = Later {
            room: event.room.as_str(),
            event_type: &event.event_type,
            state_key: &event.state_key,
            content: event.content,
            delay,
        };
        let id = delayed::schedule(&self.0.client()?, later).await?;
        DelayId::parse(id).map_err(|_| Fault::Failed("no delay id".into()))
    }

    async fn update_delayed(&self, id: DelayId, update: DelayUpdate) -> Result<(), Fault> {
        delayed::update(&self.0, id.as_str(), update.as_str()).await
    }

    async fn delayed_events(&self, from: Option<String>) -> Result<DelayedPage, Fault> {
        let page = delayed::list(&self.0.client()?, from.as_deref()).await?;
        DelayedPage::read(&page).map_err(|_| Fault::Failed("no JSON object".into()))
    }

    async fn open_id_token(&self) -> Result<OpenIdToken, Fault> {
        services::open_id(&self.0.client()?, OPEN_ID).await
    }

    async fn transports(&self) -> Result<Vec<Transport>, Fault> {
        transports::named(&self.0.client()?).await
    }

    async fn room_state(&self, room: RoomId) -> Result<StateBatch, Fault> {
        let id = room_id(&room)?;
        let clock = Clock::start();
        let client = self.0.client()?;
        let mut whole = state::fetched(&client, &id, || clock.now()).await?;
        // What was once encrypted stays so, whatever the homeserver leaves out.
        whole.encrypted |= client.get_room(&id).and_then(|room| encrypted(&room)) == Some(true);
        Ok(whole.into_batch(clock.now(), room))
    }
}

/// `PUT …/redact/…`
#[derive(Clone)]
struct Redacts;

impl Endpoint for Redacts {
    const METHOD: Method = Method::PUT;
    const PATH: &'static str = "/_matrix/client/v3/rooms/{room}/redact/{event}/{transaction}";
}

fn room_id(room: &RoomId) -> Result<OwnedRoomId, Fault> {
    OwnedRoomId::try_from(room.as_str()).map_err(|_| Fault::NotFound)
}

fn event_id(id: &str) -> Result<EventId, Fault> {
    EventId::parse(id).map_err(|_| Fault::Failed("no event id".into()))
}

/// State that is being written. Its end is told however it ends, also when nobody waits for it any
/// more: then too it may have been written.
struct Writing<'a>(&'a Attached, RoomId);

impl<'a> Writing<'a> {
    fn begin(attached: &'a Attached, room: RoomId) -> Self {
        attached.inbox().put(Arrival::Wrote(room.clone()));
        Self(attached, room)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.inbox().put(Arrival::Wrote(self.1.clone()));
    }
}

#[cfg(test)]
mod tests;
