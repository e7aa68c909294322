//! A real call with the shipped engine and a speaker for once, two `VoIP`s in this process: it hears
//! again after each hold, and is told of the end of the call.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{sync::Arc, time::Duration};

use matrix_voip::{CallOptions, CallState, Identity, VoIP, VoipNews, testing::EmbeddedHomeserver};
use matrix_voip_media::{EarSink, EarView, Pcm, PcmOutput, Studio, Tee, Tone, pcm_sink};
use matrix_voip_str0m::{Interfaces, Str0m};
use tokio::time::{interval, timeout};

/// Many times what a call on loopback takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at the ear: many frames.
const LOOK: Duration = Duration::from_millis(300);

/// Frames that are no rest of those from before.
const SOME: u64 = 25;

struct Phone {
    voip: VoIP,
    ear: EarView,
    sound: PcmOutput,
}

fn phone(homeserver: &EmbeddedHomeserver, user: &str) -> Phone {
    let identity = Identity { user: user.parse().unwrap(), device: "PHONE".parse().unwrap() };
    let ((sink, ear), (speaker, sound)) = (EarSink::new(), pcm_sink());
    let studio = Studio::builder().microphone(|| Tone::new(440.0, 0.2).source());
    let studio = studio.speaker_once(Tee::new().and(sink).and(speaker)).build();
    let engine = Arc::new(Str0m::builder(studio).interfaces(Interfaces::Loopback).build());
    let account = homeserver.login(identity.clone());
    let signaling = Arc::new(account.clone());
    let voip = VoIP::builder(identity).signaling(signaling).webrtc(engine).start().unwrap();
    account.connect(voip.news());
    Phone { voip, ear, sound }
}

/// Waits until the sound has stopped; how many frames there were.
async fn falls_silent(ear: &EarView) -> u64 {
    let mut looks = interval(LOOK);
    let mut before = u64::MAX;
    loop {
        looks.tick().await;
        let now = ear.counts().decoded;
        if now == before {
            return now;
        }
        before = now;
    }
}

async fn hears_more_than(ear: &EarView, frames: u64) {
    let mut looks = interval(LOOK);
    while ear.counts().decoded < frames + SOME {
        looks.tick().await;
    }
}

#[tokio::test]
async fn a_speaker_for_once_hears_again_after_each_hold_and_is_told_of_the_end() {
    let homeserver = EmbeddedHomeserver::new().with_room("!room:hs", ["@ada:hs", "@bob:hs"]);
    let (mut ada, bob) = (phone(&homeserver, "@ada:hs"), phone(&homeserver, "@bob:hs"));
    let mut arrivals = bob.voip.events();
    let call = ada.voip.invite("!room:hs", "@bob:hs", CallOptions::voice()).await.unwrap();
    let arrival = timeout(PATIENCE, arrivals.next()).await;
    let Some(VoipNews::CallAdded { call: ringing, .. }) = arrival.unwrap() else {
        panic!("no call arrived")
    };
    ringing.answer().await.unwrap();
    timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
    for _ in 0..2 {
        let hears = timeout(PATIENCE, hears_more_than(&ada.ear, 0)).await;
        hears.expect("sound before the hold");
        call.hold().await.unwrap();
        let silent = timeout(PATIENCE, falls_silent(&ada.ear)).await;
        let before = silent.expect("nothing comes in while the call is held");
        call.unhold().await.unwrap();
        let hears = timeout(PATIENCE, hears_more_than(&ada.ear, before)).await;
        hears.expect("sound after the hold");
    }
    assert!((ada.ear.overall().tone.unwrap().hz - 440.0).abs() < 5.0);

    call.hangup().await.unwrap();
    let ends = async { while ada.sound.read::<i16>().await.is_some() {} };
    timeout(PATIENCE, ends).await.expect("the end of the call, while the phone goes on");
    ada.voip.shutdown().await;
    bob.voip.shutdown().await;
}
