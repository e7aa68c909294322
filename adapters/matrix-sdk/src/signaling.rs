//! The port [`Signaling`] over a client.
//!
//! Each request is one try within a deadline, see `request.rs`; when to try again, the library
//! decides. The same transaction id gives the same event, so a send that was cut short can be
//! repeated.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use matrix_sdk::ruma::{TransactionId, events::AnyMessageLikeEventContent, serde::Raw};
use matrix_voip::{
    host::{SendEvent, Signaling},
    id::{EventId, RoomId, UserId},
    machine::io::{Fault, TurnServers},
};

use crate::{
    attached::Attached,
    fault::fault,
    inbox::Arrival,
    request::{ask, joined, known_room, once, within},
    turn::TurnRequest,
};

/// For a send, with all that encrypting takes. The library gives it 30 s and hears of the
/// timeout from us.
const SEND: Duration = Duration::from_secs(25);
/// For TURN credentials; the library gives it 5 s.
const TURN: Duration = Duration::from_millis(4500);
/// For the members of a room; the library gives it 10 s.
const MEMBERS: Duration = Duration::from_secs(9);

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
        EventId::parse(sent.response.event_id.as_str())
            .map_err(|_| Fault::Failed("no event id".into()))
    }

    async fn turn_servers(&self) -> Result<TurnServers, Fault> {
        let answer = ask(TURN, self.0.client()?.send(TurnRequest)).await?;
        TurnServers::read(&answer.0).map_err(|_| Fault::Failed("no JSON object".into()))
    }

    async fn members(&self, room: RoomId) -> Result<BTreeSet<UserId>, Fault> {
        let room = known_room(&self.0.client()?, &room)?;
        within(MEMBERS, joined(&room)).await
    }
}
