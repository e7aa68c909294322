//! Connecting a client to the library, and taking the two apart again.

use std::{sync::Arc, time::Duration};

use matrix_sdk::Client;
use matrix_voip::{
    Identity, StartError, VoIP, VoIPBuilder,
    host::News,
    id::{DeviceId, UserId},
    machine::io::Lifecycle,
};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    attached::{Attached, State},
    counts::Counts,
    inbox::inbox,
    shell::{Parts, Shell},
    signaling::Homeserver,
};

/// Longest time that a detaching library may take for its farewells; it takes at most 5 s.
const FAREWELL: Duration = Duration::from_secs(6);

/// Why a client was not connected. Nothing is left behind then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The client has no session: calls belong to a device of a user.
    #[error("the client is not logged in")]
    NotLoggedIn,
    /// The library did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Gives calls to an application's client.
///
/// `build` gets a builder that has the user, the device and the homeserver already; it adds the
/// WebRTC engine and whatever else the application wants, such as a `Config` or a ledger.
///
/// The application goes on owning and syncing the client: with `sync_once` in a loop or with the
/// sliding `SyncService`. Nothing that arrives from now on is missed; what was synced before is not
/// looked at, so connect first. Connect a client once: two libraries on one client would both ring.
///
/// Everything ends by itself when the library stops (`VoIP::shutdown`, or the last `VoIP` and
/// `CallSession` dropped); [`Matrix::detach`] waits for that. Dropping the [`Matrix`] changes
/// nothing.
///
/// # Errors
/// [`ConnectError`]: no session, no tokio runtime, no engine.
pub fn connect(
    client: &Client,
    build: impl FnOnce(VoIPBuilder) -> VoIPBuilder,
) -> Result<(VoIP, Matrix), ConnectError> {
    let me = identity(client)?;
    let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
    let (to, outlet) = inbox();
    let attached = Arc::new(Attached::new(client.clone(), to));
    let builder = VoIP::builder(me.clone());
    let builder = builder.signaling(Arc::new(Homeserver(Arc::clone(&attached))));
    let voip = build(builder).start()?;

    let news = voip.news();
    let parts = Parts::of(client, &attached, outlet, news.clone());
    runtime.spawn(Shell::new(me.user, parts).run());
    Ok((voip, Matrix { attached, news }))
}

fn identity(client: &Client) -> Result<Identity, ConnectError> {
    let meta = client.session_meta().ok_or(ConnectError::NotLoggedIn)?;
    let user = UserId::parse(meta.user_id.as_str()).map_err(|_| ConnectError::NotLoggedIn)?;
    let device = DeviceId::parse(meta.device_id.as_str()).map_err(|_| ConnectError::NotLoggedIn)?;
    Ok(Identity { user, device })
}

/// A connected client. Clones are handles to the same; holding one keeps nothing alive but, while
/// attached, the client.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub(crate) attached: Arc<Attached>,
    news: News,
}

impl Matrix {
    /// Hangs up every call, stops the library and lets go of the client: no handler, no task and
    /// no clone of the client is left when this resolves. Takes at most 6 s, while hangups leave.
    /// Idempotent. Cancel safe: once polled, the library stops and the rest follows.
    ///
    /// From then on whatever is asked of this handle is answered [`Fault::Unsupported`]: nothing was
    /// tried, and nothing will help.
    ///
    /// [`Fault::Unsupported`]: matrix_voip::machine::io::Fault::Unsupported
    ///
    /// Before `Client::logout` this lets the other side know; after it, calls just end.
    pub async fn detach(&self) {
        self.news.lifecycle(Lifecycle::Ending);
        if timeout(FAREWELL, self.news.closed()).await.is_err() {
            tracing::warn!("the library did not stop in time");
        }
        self.attached.end();
        self.attached.reaches(State::Detached).await;
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.attached.counts()
    }

    /// Resolves when the figures are such, or never. For the tests of this package: applications
    /// wait for the library's events.
    #[doc(hidden)]
    pub async fn counted(&self, reached: impl FnMut(&Counts) -> bool) {
        self.attached.counted(reached).await;
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::{ruma::room_id, test_utils::mocks::MatrixMockServer};
    use matrix_voip::testing::EmbeddedWebRtc;
    use serde_json::json;
    use wiremock::{Mock, ResponseTemplate, matchers};

    use super::*;
    use crate::inbox::Arrival;

    /// Far more than it takes.
    const PATIENCE: Duration = Duration::from_secs(15);

    async fn connected() -> (MatrixMockServer, Client, VoIP, Matrix) {
        let server = MatrixMockServer::new().await;
        let client = server.client_builder().build().await;
        let engine = Arc::new(EmbeddedWebRtc::new().engine());
        let (voip, matrix) = connect(&client, |voip| voip.webrtc(engine)).unwrap();
        (server, client, voip, matrix)
    }

    /// `tests/mock/life.rs` sees that no clone of the client is left; here the rest: the handler
    /// and the tasks all hold the inbox.
    #[tokio::test]
    async fn detaching_leaves_no_handler_and_no_task() {
        let (_server, _client, _voip, matrix) = connected().await;
        assert!(matrix.attached.inbox().holders() > 1);
        matrix.detach().await;
        assert_eq!(matrix.attached.inbox().holders(), 1, "the one that was asked");
    }

    /// The SDK's broadcast has 32 places; what was in those that were lost is in the history.
    #[tokio::test]
    async fn lost_updates_are_read_from_the_history_of_the_rooms() {
        let (server, client, _voip, matrix) = connected().await;
        server.sync_joined_room(&client, room_id!("!r:x")).await;
        let hangup = json!({ "type": "m.call.hangup", "sender": "@ben:x", "event_id": "$1",
            "origin_server_ts": 1, "unsigned": { "age": 9 },
            "content": { "call_id": "c", "party_id": "p", "version": "1" } });
        let page = json!({ "start": "t0", "chunk": [hangup] });
        Mock::given(matchers::path_regex("/rooms/!r:x/messages$"))
            .and(matchers::query_param_is_missing("from"))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .mount(server.server())
            .await;
        matrix.attached.inbox().put(Arrival::Lagged);
        let caught_up = matrix.counted(|counts| counts.events > 0);
        timeout(PATIENCE, caught_up).await.expect("it is delivered");
        assert_eq!((matrix.counts().lags, matrix.counts().pages), (1, 1));
    }
}
