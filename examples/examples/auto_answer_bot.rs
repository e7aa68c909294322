//! A bot that answers: it plays a file to whoever calls and records what they say, each call into a
//! file of its own. One caller after the other: whoever calls meanwhile hears that it is busy.
//!
//! Run it: `cargo run -p matrix-voip-examples --features matrix --example auto_answer_bot --
//! https://HOMESERVER USER PASSWORD GREETING.wav NEW-FOLDER`

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use matrix_sdk::{Client, config::SyncSettings, ruma::api::error::ErrorKind};
use matrix_voip::{
    CallMedia, CallSession, Config, VoIP, VoipNews,
    config::Busy,
    host::{FrameSink, RemoteTrack},
    machine::io::MediaKind,
};
use matrix_voip_matrix_sdk::connect;
use matrix_voip_media::{AtEnd, MICROPHONE, Pcm, Studio, Threaded, WavFile, WavSink};
use matrix_voip_str0m::Str0m;
use tokio::time::{Instant, sleep_until};

/// What plays the greeting, and where what is said is kept.
fn studio(greeting: PathBuf, folder: PathBuf) -> Arc<Studio> {
    let play = move || WavFile::open(&greeting).map(|file| file.at_end(AtEnd::Again).source());
    let record = move |track: &RemoteTrack| {
        let path = folder.join(format!("call-{}.wav", track.session.0));
        match WavSink::create(&path) {
            Ok((sink, _)) => Some(Box::new(Threaded::new(sink)) as Box<dyn FrameSink>),
            Err(why) => {
                eprintln!("{}: {why}", path.display());
                None
            }
        }
    };
    Studio::builder().source(MICROPHONE, play).sink(MediaKind::Audio, record).build()
}

/// Takes each call that rings.
async fn answer_all(voip: VoIP) {
    let mut events = voip.events();
    while let Some(news) = events.next().await {
        if let VoipNews::RingStarted { call, .. } = news {
            serve(call).await;
        }
    }
}

async fn serve(call: CallSession) {
    let caller = call.snapshot().remote_user;
    let caller = caller.as_ref().map_or("somebody", |user| user.as_str());
    println!("{caller} calls: call {}", call.id().0);
    if let Err(why) = call.answer_with(CallMedia::Voice).await {
        println!("not answered: {why}");
    }
    println!("{caller} is gone: {}", call.ended().await);
}

/// Goes on, whatever happens to the homeserver, until the login is lost.
async fn sync(client: Client) {
    loop {
        let settings = SyncSettings::new().timeout(Duration::from_secs(30));
        let Err(error) = client.sync_once(settings).await else { continue };
        if matches!(error.client_api_error_kind(), Some(ErrorKind::UnknownToken { .. })) {
            return;
        }
        sleep_until(Instant::now() + Duration::from_secs(1)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [homeserver, user, password, greeting, folder] = arguments.as_slice() else {
        return Err("auto_answer_bot HOMESERVER USER PASSWORD GREETING.wav NEW-FOLDER".into());
    };
    // A file that cannot be played is told before anybody calls.
    WavFile::open(greeting)?;
    // Calls are counted from 1 at each start: in an old folder they would replace recordings.
    std::fs::create_dir(folder).map_err(|why| format!("{folder}: {why}"))?;
    let client = Client::builder().homeserver_url(homeserver).build().await?;
    client.matrix_auth().login_username(user, password).send().await?;

    let engine = Arc::new(Str0m::builder(studio(greeting.into(), folder.into())).build());
    let mut config = Config::default();
    // By default nothing is said, so that other devices of the user can still take the call.
    config.busy = Busy::Reject;
    let (voip, matrix) = connect(&client, |voip| voip.webrtc(engine).config(config))?;
    tokio::spawn(answer_all(voip.clone()));
    println!("waiting for calls to {}; Enter ends it", client.user_id().ok_or("no user")?);

    tokio::select! {
        () = sync(client.clone()) => println!("the login is lost"),
        _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())) => {}
    }
    matrix.detach().await;
    client.logout().await?;
    Ok(())
}
