//! The port [`Signaling`] over a client.
//!
//! Each request is bounded by a deadline of ours around the whole of it: the SDK's own covers only
//! the last of the requests that an encrypted send makes, and no setting of it bounds its retries
//! (`matrix-sdk.md` §6, trap 7). It is told not to retry; when, the library decides. The same
//! transaction id gives the same event, so a send that was cut short can be repeated.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use matrix_sdk::{
    Client, HttpResult, Room,
    config::RequestConfig,
    futures::SendRequest,
    ruma::{self, TransactionId, events::AnyMessageLikeEventContent, serde::Raw},
};
use matrix_voip::{
    host::{SendEvent, Signaling},
    id::{EventId, RoomId, UserId},
    machine::io::{Fault, TurnServers},
};
use tokio::time::timeout;

use crate::{
    attached::Attached,
    fault::{fault, http_fault},
    inbox::Arrival,
    turn::TurnRequest,
};

/// For a send, with all that encrypting takes. The library gives it 30 s and hears of the
/// timeout from us.
const SEND: Duration = Duration::from_secs(25);
/// For TURN credentials; the library gives it 5 s.
const TURN: Duration = Duration::from_millis(4500);
/// For the members of a room; the library gives it 10 s.
const MEMBERS: Duration = Duration::from_secs(9);

/// One request, no retries.
fn once() -> RequestConfig {
    RequestConfig::new().disable_retry()
}

/// Carries out within `span`.
pub(crate) async fn within<T>(
    span: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(span, work).await.unwrap_or(Err(Fault::Timeout))
}

/// One request, without retries, within `span`.
pub(crate) async fn ask<R, T>(span: Duration, request: SendRequest<R>) -> Result<T, Fault>
where
    SendRequest<R>: IntoFuture<Output = HttpResult<T>>,
{
    let request = request.with_request_config(once().timeout(span));
    within(span, async { request.await.map_err(|error| http_fault(&error)) }).await
}

/// A room that the client knows.
pub(crate) fn known_room(client: &Client, room: &RoomId) -> Result<Room, Fault> {
    let id = <&ruma::RoomId>::try_from(room.as_str()).map_err(|_| Fault::NotFound)?;
    client.get_room(id).ok_or(Fault::NotFound)
}

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

/// The joined members. Counted here: the server's summary is often absent, and the store is
/// complete only after a request (`matrix-sdk.md` §10).
pub(crate) async fn joined(room: &Room) -> Result<BTreeSet<UserId>, Fault> {
    room.sync_members().await.map_err(|error| fault(&error))?;
    let users = room.joined_user_ids().await;
    let users = users.map_err(|_| Fault::Failed("the store failed".into()))?;
    Ok(users.iter().filter_map(|user| UserId::parse(user.as_str()).ok()).collect())
}
