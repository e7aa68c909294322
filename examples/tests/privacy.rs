//! Real calls with the shipped engines, two `VoIP`s in this process: none of our packages logs
//! anything private above TRACE.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[path = "../../tests/privacy/watcher.rs"]
mod watcher;

use std::{sync::Arc, time::Duration};

use matrix_voip::{
    CallOptions, CallState, Identity, VoIP, VoipNews, WebRtc, host::Media,
    testing::EmbeddedHomeserver,
};
use matrix_voip_media::{EarSink, Pcm, Studio, Tone};
use matrix_voip_str0m::{Interfaces, Str0m};
use matrix_voip_webrtc::Webrtc;
use watcher::{Watcher, is_private};

/// Many times what a call on loopback takes.
const PATIENCE: Duration = Duration::from_secs(20);

type Make = fn(Arc<dyn Media>) -> Arc<dyn WebRtc>;

/// On loopback: its addresses are among those that the watcher knows.
const STR0M: Make =
    |media| Arc::new(Str0m::builder(media).interfaces(Interfaces::Loopback).build());
const WEBRTC: Make =
    |media| Arc::new(Webrtc::builder(media).interfaces(Interfaces::Loopback).build());

fn phone(homeserver: &EmbeddedHomeserver, user: &str, make: Make) -> VoIP {
    let identity = Identity { user: user.parse().unwrap(), device: "PHONE".parse().unwrap() };
    let (ear, _) = EarSink::new();
    let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source()).speaker_once(ear);
    let account = homeserver.login(identity.clone());
    let signaling = Arc::new(account.clone());
    let voip =
        VoIP::builder(identity).signaling(signaling).webrtc(make(studio.build())).start().unwrap();
    account.connect(voip.news());
    voip
}

#[tokio::test]
async fn a_real_call_logs_nothing_private() {
    let watcher = Watcher::default();
    tracing::subscriber::set_global_default(watcher.clone()).unwrap();
    tracing::info!("the watcher listens");
    assert_eq!(watcher.seen(), 1);
    for engines in [[STR0M, WEBRTC], [WEBRTC, STR0M]] {
        let seen = watcher.seen();
        let passed = call(engines).await;
        assert!(is_private(&passed), "the watcher knows nothing that passed");
        assert!(watcher.seen() > seen, "nothing was logged at all");
        assert!(watcher.leaks().is_empty(), "{:?}", watcher.leaks());
    }
}

/// A call between two engines; all that passed the homeserver.
async fn call([caller, callee]: [Make; 2]) -> String {
    let homeserver = EmbeddedHomeserver::new().with_room("!room:hs", ["@ada:hs", "@bob:hs"]);
    let passed = Arc::new(std::sync::Mutex::new(String::new()));
    let tape = Arc::clone(&passed);
    homeserver.tap(move |passage| tape.lock().unwrap().push_str(&passage.content));
    let (ada, bob) = (phone(&homeserver, "@ada:hs", caller), phone(&homeserver, "@bob:hs", callee));

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
    let passed = passed.lock().unwrap();
    passed.clone()
}
