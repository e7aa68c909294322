//! The client of a session that is kept.

use std::path::Path;

use matrix_sdk::{
    Client, ClientBuilder, SessionMeta, SessionTokens,
    authentication::matrix::MatrixSession,
    config::SyncSettings,
    ruma::OwnedUserId,
    store::{RoomLoadSettings, StateStoreDataKey, StateStoreDataValue},
};

use super::folder::{Folder, Kept};
use crate::{
    cli::online::Profile,
    matrix::{
        patience::{PATIENCE, within},
        refusal::Refusal,
        trust::Trust,
    },
};

/// A client that is logged in, with what it knew when it was last used.
pub(crate) async fn open(profile: &Profile, trust: &Trust) -> Result<Client, Refusal> {
    let folder = Folder::of(&profile.profile)?;
    let Some(Kept { homeserver, session }) = folder.read()? else {
        return Err(Refusal::new("not logged in: caller login @you:server"));
    };
    let builder = Client::builder().homeserver_url(&homeserver);
    let client = build(builder, &folder.store(), trust).await?;
    restore(&client, session).await.map_err(|why| Refusal::of("the session", &why))?;
    Ok(client)
}

/// The session of an access token that the homeserver gave to that device.
pub(crate) fn session(user_id: OwnedUserId, device: &str, token: &str) -> MatrixSession {
    let meta = SessionMeta { user_id, device_id: device.into() };
    let tokens = SessionTokens { access_token: token.to_owned(), refresh_token: None };
    MatrixSession { meta, tokens }
}

/// Puts a client into a session.
pub(crate) async fn restore(client: &Client, session: MatrixSession) -> matrix_sdk::Result<()> {
    client.matrix_auth().restore_session(session, RoomLoadSettings::default()).await
}

/// One sync that the next run gets again: a call that came with it rings in a later `answer`.
pub(crate) async fn glance(client: &Client) -> Result<(), Refusal> {
    let store = client.state_store();
    let failed = |why: matrix_sdk::StoreError| Refusal::new(format!("the store: {why}"));
    let before = store.get_kv_data(StateStoreDataKey::SyncToken).await.map_err(failed)?;
    sync(client).await?;
    // Without a token nothing could ring: what comes then is the state of all rooms.
    if let Some(token) = before.and_then(StateStoreDataValue::into_sync_token) {
        let token = StateStoreDataValue::SyncToken(token);
        store.set_kv_data(StateStoreDataKey::SyncToken, token).await.map_err(failed)?;
    }
    Ok(())
}

/// One sync that waits for nothing.
pub(crate) async fn sync(client: &Client) -> Result<(), Refusal> {
    let settings = SyncSettings::new().timeout(std::time::Duration::ZERO);
    within("sync", PATIENCE, async {
        let synced = client.sync_once(settings).await;
        synced.map(drop).map_err(|why| Refusal::of("sync", &why))
    })
    .await
}

/// A client without a session, with a store in that folder. Only a login looks the homeserver up:
/// later its address is known.
pub(crate) async fn build(
    builder: ClientBuilder,
    store: &Path,
    trust: &Trust,
) -> Result<Client, Refusal> {
    let builder = builder.http_client(trust.http()?).sqlite_store(store, None);
    Ok(builder.build().await?)
}
