//! A real call in one process, as an application makes it: two `VoIP` instances, signalling
//! through the embedded homeserver, media over UDP on loopback.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use common::Caller;
use matrix_voip::{
    CallOptions,
    config::Config,
    machine::{
        event::{CallState, EndReason},
        io::{MediaKind, MediaSource},
    },
};
use matrix_voip_str0m::{Impairment, Interfaces};
use testkit::heard;
use testkit::person::{PATIENCE, homeserver};
use testkit::studio::until;
use tokio::time::timeout;

fn people() -> (Caller, Caller) {
    let home = homeserver();
    let person =
        |user, hertz| Caller::new(&home, user, hertz, (Interfaces::Loopback, Config::default()));
    (person("@ada:example", 440.0), person("@ben:example", 880.0))
}

#[tokio::test]
async fn two_people_talk_and_one_hangs_up() {
    let (ada, ben) = people();
    let [outgoing, incoming] = ada.call(&ben, CallOptions::voice()).await;
    until("a second of sound", || {
        ada.heard(MediaKind::Audio).len().min(ben.heard(MediaKind::Audio).len()) > 60
    })
    .await;
    let (at_ada, at_ben) =
        (heard(ada.heard(MediaKind::Audio).iter()).0, heard(ben.heard(MediaKind::Audio).iter()).0);
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

#[tokio::test]
async fn a_video_call_brings_pictures_both_ways() {
    let (ada, ben) = people();
    let [_outgoing, incoming] = ada.call(&ben, CallOptions::video()).await;
    until("pictures", || {
        ada.heard(MediaKind::Video).len().min(ben.heard(MediaKind::Video).len()) > 10
    })
    .await;
    incoming.hangup().await.unwrap();
}

#[tokio::test]
async fn a_call_survives_a_second_in_which_nothing_gets_through() {
    let (ada, ben) = people();
    let [outgoing, _incoming] = ada.call(&ben, CallOptions::voice()).await;
    until("sound", || ben.heard(MediaKind::Audio).len() > 5).await;
    ada.impairments.set(Impairment::DROPS_ALL);
    let heard = ben.heard(MediaKind::Audio).len();
    let sent = |frames: usize| ada.heard(MediaKind::Audio).len() > frames;
    let before = ada.heard(MediaKind::Audio).len();
    until("a second of ben's sound", || sent(before + 50)).await;
    assert!(ben.heard(MediaKind::Audio).len() < heard + 5);
    ada.impairments.set(Impairment { delay: Duration::from_millis(30), ..Impairment::default() });
    until("sound again, later", || ben.heard(MediaKind::Audio).len() > heard + 10).await;
    assert_eq!(outgoing.state(), CallState::Connected);
}
