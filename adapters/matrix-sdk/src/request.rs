//! How anything is asked of the homeserver: once, and within a deadline.
//!
//! The deadline is ours and around the whole: the SDK's own covers only the last of the requests
//! that an encrypted send makes, and no setting of it bounds its retries (`matrix-sdk.md` §6,
//! trap 7). So it is told not to retry.

use std::{collections::BTreeSet, time::Duration};

use matrix_sdk::{
    Client, HttpResult, Room, config::RequestConfig, futures::SendRequest,
    ruma::RoomId as RumaRoomId,
};
use matrix_voip::{
    id::{RoomId, UserId},
    machine::io::Fault,
};
use tokio::time::timeout;

use crate::fault::{fault, http_fault};

/// One request, no retries.
pub(crate) fn once() -> RequestConfig {
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
    let id = <&RumaRoomId>::try_from(room.as_str()).map_err(|_| Fault::NotFound)?;
    client.get_room(id).ok_or(Fault::NotFound)
}

/// The joined members. Counted here: the server's summary is often absent, and the store is
/// complete only after a request (`matrix-sdk.md` §10).
pub(crate) async fn joined(room: &Room) -> Result<BTreeSet<UserId>, Fault> {
    room.sync_members().await.map_err(|error| fault(&error))?;
    let users = room.joined_user_ids().await;
    let users = users.map_err(|_| Fault::Failed("the store failed".into()))?;
    Ok(users.iter().filter_map(|user| UserId::parse(user.as_str()).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 7: the SDK has no setting that bounds all of a send.
    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_a_timeout_after_the_deadline_and_no_sooner() {
        let (begun, span) = (tokio::time::Instant::now(), Duration::from_secs(25));
        let hangs = within(span, std::future::pending::<Result<(), Fault>>()).await;
        assert_eq!((hangs, begun.elapsed()), (Err(Fault::Timeout), span));
        assert_eq!(within(span, async { Ok(7) }).await, Ok(7));
    }
}
