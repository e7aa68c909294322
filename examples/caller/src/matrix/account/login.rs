//! `caller login`: a password or a token, then perhaps a recovery key. Nothing half-done: what
//! fails on the way, or is interrupted, is undone.

use std::{
    io::{BufRead, IsTerminal, stdin},
    pin::pin,
};

use matrix_sdk::{
    Client, ClientBuilder, SessionMeta,
    authentication::matrix::MatrixSession,
    ruma::{UserId, api::error::ErrorKind},
};
use matrix_voip::redact::Secret;
use tokio::time::timeout;

use super::{
    folder::{Folder, Kept},
    open::{build, restore, session, sync},
};
use crate::{
    cli::online::LoginOptions,
    matrix::{
        http::Http,
        patience::{FAREWELL, PATIENCE, within},
        refusal::Refusal,
        say::show,
        talk::keys::Keys,
        trust::Trust,
    },
};

/// How other devices of the user call this one.
const DEVICE_NAME: &str = "matrix-voip caller";

/// What the user types. Each is dropped, and wiped from memory, as soon as it was used; copies that
/// the SDK makes for its requests are its own.
struct Secrets {
    /// A password or an access token.
    first: Secret,
    recovery_key: Option<Secret>,
}

/// Logs in, and says as whom.
pub(crate) async fn login(options: &LoginOptions) -> Result<String, Refusal> {
    let folder = Folder::of(&options.profile.profile)?;
    nobody_in(&folder)?;
    let user = UserId::parse(&options.user);
    let user = user.map_err(|why| Refusal::new(format!("{:?}: {why}", options.user)))?;
    let trust = Trust::read(options.profile.trust.as_deref())?;
    let secrets = ask(options)?;
    let lock = folder.lock()?;
    // While something was typed, somebody else may have come in.
    nobody_in(&folder)?;
    // What an earlier try may have left.
    folder.clear()?;
    let entered = enter(options, &user, secrets, &folder, &trust).await;
    match entered {
        Ok(_) => lock.release()?,
        Err(_) => folder.remove()?,
    }
    entered
}

fn nobody_in(folder: &Folder) -> Result<(), Refusal> {
    match folder.read()? {
        None => Ok(()),
        Some(kept) => {
            let user = kept.session.meta.user_id;
            Err(Refusal::new(format!("logged in as {user} already: caller logout first")))
        }
    }
}

async fn enter(
    options: &LoginOptions,
    user: &UserId,
    Secrets { first, recovery_key }: Secrets,
    folder: &Folder,
    trust: &Trust,
) -> Result<String, Refusal> {
    // From now on a signal ends this through what undoes it.
    let mut stop = Keys::signals();
    let homeserver = options.homeserver.as_deref().unwrap_or(user.server_name().as_str());
    let store = folder.store();
    let building = within("login", PATIENCE, build(reach(homeserver), &store, trust));
    let client = unless_stopped(&mut stop, building).await?;
    let entering = async {
        match options.token {
            true => with_token(&client, user, first, trust).await,
            false => with_password(&client, user, first).await,
        }
    };
    let mut entering = pin!(within("login", PATIENCE, entering));
    let entered = tokio::select! {
        biased;
        entered = &mut entering => entered,
        _ = stop.next() => {
            // It may make a device, and only its answer tells how to be rid of that.
            drop(timeout(FAREWELL, entering).await);
            Err(interrupted())
        }
    };
    let settled = match entered {
        Ok(()) => unless_stopped(&mut stop, settle(&client, recovery_key, folder)).await,
        Err(why) => Err(why),
    };
    if settled.is_err() && !options.token && client.matrix_auth().logged_in() {
        // A device that was made just now is of no use to anybody.
        drop(timeout(FAREWELL, client.matrix_auth().logout()).await);
    }
    settled
}

/// A step that is given up at a signal.
async fn unless_stopped<T>(
    stop: &mut Keys,
    step: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        biased;
        done = step => done,
        _ = stop.next() => Err(interrupted()),
    }
}

fn interrupted() -> Refusal {
    Refusal::new("login: interrupted, nothing is kept")
}

/// A URL is where the user wants to go, whatever that homeserver says of itself; a name is looked
/// up.
fn reach(homeserver: &str) -> ClientBuilder {
    let builder = Client::builder();
    let scheme = homeserver.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
        return builder.homeserver_url(homeserver).respect_login_well_known(false);
    }
    builder.server_name_or_homeserver_url(homeserver)
}

async fn with_password(client: &Client, user: &UserId, password: Secret) -> Result<(), Refusal> {
    let login = client.matrix_auth().login_username(user, password.expose());
    let login = login.initial_device_display_name(DEVICE_NAME).send().await;
    login.map(drop).map_err(|error| match error.client_api_error_kind() {
        Some(ErrorKind::Forbidden) => Refusal::new("login: the user or the password is wrong"),
        _ => Refusal::of("login", &error),
    })
}

async fn with_token(
    client: &Client,
    user: &UserId,
    token: Secret,
    trust: &Trust,
) -> Result<(), Refusal> {
    let http = Http::new(trust.http()?, client.homeserver().as_str())?;
    let me = http.with_token(token.expose()).get("/account/whoami").await;
    let me = me.map_err(|why| Refusal::new(format!("login: the token is not accepted: {why}")))?;
    if me["user_id"] != user.as_str() {
        return Err(Refusal::new(format!("login: the token belongs to {}", me["user_id"])));
    }
    let device = me["device_id"].as_str();
    let device = device.ok_or_else(|| Refusal::new("login: the token belongs to no device"))?;
    let restored = restore(client, session(user.to_owned(), device, token.expose())).await;
    restored.map_err(|why| Refusal::of("login", &why))
}

/// The first sync, the recovery, and the session's file: after this the login stands.
async fn settle(
    client: &Client,
    recovery_key: Option<Secret>,
    folder: &Folder,
) -> Result<String, Refusal> {
    sync(client).await?;
    within("encryption", PATIENCE, async {
        client.encryption().wait_for_e2ee_initialization_tasks().await;
        Ok(())
    })
    .await?;
    if let Some(key) = recovery_key {
        within("the recovery key", PATIENCE, async {
            let recovered = client.encryption().recovery().recover(key.expose()).await;
            recovered.map_err(|why| Refusal::new(format!("the recovery key: {why}")))
        })
        .await?;
        // The signature of this device comes back with the next sync.
        sync(client).await?;
    }
    let session = client.matrix_auth().session().ok_or_else(|| Refusal::new("no session"))?;
    let MatrixSession { meta, .. } = session.clone();
    folder.write(&Kept { homeserver: client.homeserver().to_string(), session })?;
    let SessionMeta { user_id, device_id } = meta;
    let signed = if is_cross_signed(client).await { "cross-signed" } else { "not cross-signed" };
    Ok(format!("logged in as {user_id}, device {device_id}, {signed}"))
}

/// Whether other people's clients will see this device as its owner's.
pub(crate) async fn is_cross_signed(client: &Client) -> bool {
    let device = client.encryption().get_own_device().await;
    device.ok().flatten().is_some_and(|device| device.is_cross_signed_by_owner())
}

/// At a terminal with a question and without an echo; else line by line.
fn ask(options: &LoginOptions) -> Result<Secrets, Refusal> {
    let what = if options.token { "Access token" } else { "Password" };
    let first = secret(&format!("{what} of {}: ", options.user))?;
    let recovery_key = options.recovery_key.then(|| secret("Recovery key: ")).transpose()?;
    let is_empty = |secret: &Secret| secret.expose().is_empty();
    if is_empty(&first) || recovery_key.as_ref().is_some_and(is_empty) {
        return Err(Refusal::new("nothing was typed"));
    }
    Ok(Secrets { first, recovery_key })
}

fn secret(question: &str) -> Result<Secret, Refusal> {
    let failed = |why: std::io::Error| Refusal::new(format!("standard input: {why}"));
    if !stdin().is_terminal() {
        let mut line = String::new();
        stdin().lock().read_line(&mut line).map_err(failed)?;
        line.truncate(line.trim_end_matches(['\n', '\r']).len());
        return Ok(Secret::new(line));
    }
    show(question);
    rpassword::read_password().map(Secret::new).map_err(failed)
}
