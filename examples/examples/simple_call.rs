//! A call over Matrix in a few lines: logs in, calls the other person in a room of two, plays a
//! tone for ten seconds and says what it hears.
//!
//! Run it: `cargo run -p matrix-voip-examples --features matrix --example simple_call --
//! https://HOMESERVER USER PASSWORD '!ROOM'`

use std::{error::Error, sync::Arc, time::Duration};

use matrix_sdk::{Client, config::SyncSettings, ruma::api::error::ErrorKind};
use matrix_voip::{CallOptions, CallState, Callee};
use matrix_voip_matrix_sdk::connect;
use matrix_voip_media::{EarSink, Pcm, Studio, Tone};
use matrix_voip_str0m::Str0m;
use tokio::time::{Instant, sleep_until, timeout};

async fn talk(client: &Client, room: &str) -> Result<(), Box<dyn Error>> {
    // What is said and heard, the engine between the two, and the library on top.
    let (ear, heard) = EarSink::new();
    let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).speaker_once(ear);
    let engine = Arc::new(Str0m::builder(studio.build()).build());
    let (voip, matrix) = connect(client, |voip| voip.webrtc(engine))?;

    client.sync_once(SyncSettings::new()).await?;
    let syncing = tokio::spawn(sync(client.clone()));
    let call = voip.invite(room, Callee::TheOther, CallOptions::voice()).await?;
    if call.until(CallState::Connected).await.is_ok() {
        println!("connected");
        drop(timeout(Duration::from_secs(10), call.ended()).await);
        println!("heard {:?}", heard.overall().tone);
    } else {
        println!("ended: {}", call.ended().await);
    }
    matrix.detach().await;
    syncing.abort();
    Ok(())
}

/// Goes on, whatever happens to the homeserver, until the login is lost.
async fn sync(client: Client) {
    loop {
        let Err(error) = client.sync_once(SyncSettings::new()).await else { continue };
        if matches!(error.client_api_error_kind(), Some(ErrorKind::UnknownToken { .. })) {
            return;
        }
        sleep_until(Instant::now() + Duration::from_secs(1)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [homeserver, user, password, room] = arguments.as_slice() else {
        return Err("simple_call HOMESERVER USER PASSWORD ROOM".into());
    };
    let client = Client::builder().homeserver_url(homeserver).build().await?;
    client.matrix_auth().login_username(user, password).send().await?;
    let talked = talk(&client, room).await;
    client.logout().await?;
    talked
}
