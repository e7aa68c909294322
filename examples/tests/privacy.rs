//! A real call with the shipped engine, two `VoIP`s in this process: none of our packages logs
//! anything private above TRACE.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[path = "../../tests/privacy/watcher.rs"]
mod watcher;

use std::{sync::Arc, time::Duration};

use matrix_voip::{CallOptions, CallState, Identity, VoIP, VoipNews, testing::EmbeddedHomeserver};
use matrix_voip_media::{EarSink, Pcm, Studio, Tone};
use matrix_voip_str0m::Str0m;
use watcher::{Watcher, is_private};

/// Many times what a call on loopback takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn phone(homeserver: &EmbeddedHomeserver, user: &str) -> VoIP {
    let identity = Identity { user: user.parse().unwrap(), device: "PHONE".parse().unwrap() };
    let (ear, _) = EarSink::new();
    let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).speaker_once(ear);
    let engine = Arc::new(Str0m::builder(studio.build()).build());
    let account = homeserver.login(identity.clone());
    let signaling = Arc::new(account.clone());
    let voip = VoIP::builder(identity).signaling(signaling).webrtc(engine).start().unwrap();
    account.connect(voip.news());
    voip
}

#[tokio::test]
async fn a_real_call_logs_nothing_private() {
    let watcher = Watcher::default();
    tracing::subscriber::set_global_default(watcher.clone()).unwrap();
    tracing::info!("the watcher listens");
    assert_eq!(watcher.seen(), 1);
    let homeserver = EmbeddedHomeserver::new().with_room("!room:hs", ["@ada:hs", "@bob:hs"]);
    let passed = Arc::new(std::sync::Mutex::new(String::new()));
    let tape = Arc::clone(&passed);
    homeserver.tap(move |passage| tape.lock().unwrap().push_str(&passage.content));
    let (ada, bob) = (phone(&homeserver, "@ada:hs"), phone(&homeserver, "@bob:hs"));

    let mut arrivals = bob.events();
    let call = ada.invite("!room:hs", "@bob:hs", CallOptions::voice()).await.unwrap();
    let arrival = tokio::time::timeout(PATIENCE, arrivals.next()).await;
    let Some(VoipNews::CallAdded { call: ringing, .. }) = arrival.unwrap() else {
        panic!("no call arrived")
    };
    ringing.answer().await.unwrap();
    tokio::time::timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
    call.stats().await.unwrap();
    ada.shutdown().await;
    bob.shutdown().await;

    assert!(is_private(&passed.lock().unwrap()), "the watcher knows nothing that passed");
    assert!(watcher.seen() > 0, "nothing was logged at all");
    assert!(watcher.leaks().is_empty(), "{:?}", watcher.leaks());
}
