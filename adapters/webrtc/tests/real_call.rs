//! Real calls in one process, as an application makes them: two `VoIP` instances, signalling through
//! the embedded homeserver, media over UDP on loopback; also with the other engine at the other end.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::sync::{Arc, atomic::Ordering};

use matrix_voip::{
    CallOptions,
    config::Config,
    host::{Media, WebRtc},
    machine::{
        event::{CallState, EndReason},
        io::{MediaKind, MediaSource},
    },
};
use matrix_voip_str0m::Str0m;
use matrix_voip_webrtc::{Interfaces, Webrtc};
use testkit::{
    heard,
    person::{PATIENCE, Person, homeserver},
    studio::until,
};
use tokio::time::timeout;

type Engine = fn(Arc<dyn Media>) -> Arc<dyn WebRtc>;

fn webrtc(media: Arc<dyn Media>) -> Arc<dyn WebRtc> {
    Arc::new(Webrtc::builder(media).interfaces(Interfaces::Loopback).build())
}

fn str0m(media: Arc<dyn Media>) -> Arc<dyn WebRtc> {
    Arc::new(Str0m::builder(media).interfaces(Interfaces::Loopback).build())
}

/// Who calls whom.
const PAIRS: [(Engine, Engine); 3] = [(webrtc, webrtc), (webrtc, str0m), (str0m, webrtc)];

fn people((a, b): (Engine, Engine)) -> (Person, Person) {
    let home = homeserver();
    let person = |user, hertz, engine| Person::new(&home, user, (hertz, Config::default()), engine);
    (person("@ada:example", 440.0, a), person("@ben:example", 880.0, b))
}

#[tokio::test]
async fn two_people_talk_mute_and_hang_up() {
    for pair in PAIRS {
        let (ada, ben) = people(pair);
        let [outgoing, incoming] = ada.call(&ben, CallOptions::voice()).await;
        until("a second of sound", || {
            ada.heard(MediaKind::Audio).len().min(ben.heard(MediaKind::Audio).len()) > 60
        })
        .await;
        let of = |person: &Person| heard(person.heard(MediaKind::Audio).iter()).0;
        let (at_ada, at_ben) = (of(&ada), of(&ben));
        assert!((860.0..900.0).contains(&at_ada), "ada hears {at_ada} Hz");
        assert!((430.0..450.0).contains(&at_ben), "ben hears {at_ben} Hz");
        assert_eq!(outgoing.stats().await.unwrap().inbound[0].codec, "audio/opus");

        outgoing.mute(MediaSource::Microphone).await.unwrap();
        until("silence", || ben.heard(MediaKind::Audio).last().unwrap().data == [0xf8, 0xff, 0xfe])
            .await;
        outgoing.hangup().await.unwrap();
        let end = timeout(PATIENCE, incoming.ended()).await.unwrap();
        assert_eq!(end.reason, EndReason::Hangup);
        for person in [&ada, &ben] {
            until("the microphone is closed", || person.log.open.load(Ordering::SeqCst) == 0).await;
        }
    }
}

#[tokio::test]
async fn a_voice_call_becomes_a_video_call_is_held_and_finds_a_new_path() {
    for pair in PAIRS {
        let (ada, ben) = people(pair);
        let [outgoing, incoming] = ada.call(&ben, CallOptions::voice()).await;
        outgoing.start(MediaSource::Camera).await.unwrap();
        until("ada's picture", || ben.heard(MediaKind::Video).len() > 10).await;
        incoming.start(MediaSource::Camera).await.unwrap();
        until("ben's picture", || ada.heard(MediaKind::Video).len() > 10).await;
        incoming.hold().await.unwrap();
        incoming.unhold().await.unwrap();
        outgoing.restart_ice().await.unwrap();
        let before = [ada.count(), ben.count()];
        until("everything again", || {
            ada.count() > before[0] + 100 && ben.count() > before[1] + 100
        })
        .await;
        assert_eq!(outgoing.state(), CallState::Connected);
        incoming.hangup().await.unwrap();
    }
}
