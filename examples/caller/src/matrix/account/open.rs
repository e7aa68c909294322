//! The client of a session that is kept.

use std::path::Path;

use matrix_sdk::{Client, ClientBuilder, config::SyncSettings, store::RoomLoadSettings};

use super::folder::{Folder, Kept};
use crate::{
    cli::online::Profile,
    matrix::{refusal::Refusal, trust::Trust},
};

/// A client that is logged in, with what it knew when it was last used.
pub(crate) async fn open(profile: &Profile, trust: &Trust) -> Result<Client, Refusal> {
    let folder = Folder::of(&profile.profile)?;
    let Some(Kept { homeserver, session }) = folder.read()? else {
        return Err(Refusal::new("not logged in: caller login @you:server"));
    };
    let builder = Client::builder().homeserver_url(&homeserver);
    let client = build(builder, &folder.store(), trust).await?;
    let auth = client.matrix_auth();
    let restored = auth.restore_session(session, RoomLoadSettings::default()).await;
    restored.map_err(|why| Refusal::of("the session", &why))?;
    Ok(client)
}

/// The same, brought up to date by one sync.
pub(crate) async fn open_synced(profile: &Profile, trust: &Trust) -> Result<Client, Refusal> {
    let client = open(profile, trust).await?;
    sync(&client).await?;
    Ok(client)
}

/// One sync that waits for nothing.
pub(crate) async fn sync(client: &Client) -> Result<(), Refusal> {
    let settings = SyncSettings::new().timeout(std::time::Duration::ZERO);
    let synced = client.sync_once(settings).await;
    synced.map(drop).map_err(|why| Refusal::of("sync", &why))
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
