//! `caller logout`: the homeserver forgets the device, this machine the session and the store.

use matrix_sdk::ruma::api::error::ErrorKind;

use super::{folder::Folder, open::open};
use crate::{
    cli::online::Profile,
    matrix::{
        patience::{FAREWELL, within},
        refusal::Refusal,
        trust::Trust,
    },
};

/// Logs out, and says who did.
pub(crate) async fn logout(profile: &Profile) -> Result<String, Refusal> {
    let trust = Trust::read(profile.trust.as_deref())?;
    let folder = Folder::of(&profile.profile)?;
    let Ok(kept) = folder.read() else {
        // Of a damaged session there is nothing to tell the homeserver.
        folder.remove()?;
        return Ok("removed a session that could not be read".to_owned());
    };
    let kept = kept.ok_or_else(|| Refusal::new("not logged in"))?;
    let user = kept.session.meta.user_id;
    let gone = within("logout", FAREWELL, leave(profile, &trust)).await;
    folder.remove()?;
    Ok(match gone {
        Ok(()) => format!("logged out {user}; session and store are removed"),
        Err(why) => format!(
            "session and store of {user} are removed; the homeserver may keep the device: {why}"
        ),
    })
}

/// The homeserver forgets the device, unless it has already.
async fn leave(profile: &Profile, trust: &Trust) -> Result<(), Refusal> {
    let client = open(profile, trust).await?;
    let Err(error) = client.matrix_auth().logout().await else { return Ok(()) };
    match error.client_api_error_kind() {
        Some(ErrorKind::UnknownToken { .. }) => Ok(()),
        _ => Err(Refusal::of_http("the homeserver", &error)),
    }
}
