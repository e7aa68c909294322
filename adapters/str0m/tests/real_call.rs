//! A real call in one process, as an application makes it: two `VoIP` instances, signalling
//! through the embedded homeserver, media over UDP on loopback.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;
#[path = "common/studio.rs"]
mod studio;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use common::heard;
use matrix_voip::{
    CallOptions, CallSession, VoIP, VoipNews,
    host::Frame,
    id::{DeviceId, UserId},
    machine::{
        Identity,
        event::{CallState, EndReason},
        io::{MediaKind, MediaSource},
    },
    testing::EmbeddedHomeserver,
};
use matrix_voip_str0m::{Impairment, Impairments, Interfaces, Str0m};
use studio::{Log, Studio, until};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// One person's side of the call.
struct Person {
    voip: VoIP,
    log: Arc<Log>,
    impairments: Impairments,
}

impl Person {
    fn new(home: &EmbeddedHomeserver, user: &str, hertz: f32) -> Self {
        let (user, device) = (UserId::parse(user).unwrap(), DeviceId::parse("PHONE").unwrap());
        let identity = Identity { user, device };
        let account = home.login(identity.clone());
        let (log, impairments) = (Arc::new(Log::default()), Impairments::default());
        log.breaks_after.store(usize::MAX, Ordering::SeqCst);
        let media = Arc::new(Studio { hertz, log: log.clone() });
        let engine = Str0m::builder(media)
            .interfaces(Interfaces::Loopback)
            .impairments(impairments.clone())
            .build();
        let voip = VoIP::builder(identity)
            .signaling(Arc::new(account.clone()))
            .webrtc(Arc::new(engine))
            .start()
            .unwrap();
        account.connect(voip.news());
        Self { voip, log, impairments }
    }

    fn heard(&self, kind: MediaKind) -> Vec<Frame> {
        let heard = self.log.heard.lock().unwrap();
        heard.iter().filter(|(track, _)| track.kind == kind).map(|(_, f)| f.clone()).collect()
    }
}

/// Ada calls Ben, who answers; both are connected.
async fn call(ada: &Person, ben: &Person, options: CallOptions) -> (CallSession, CallSession) {
    let mut events = ben.voip.events();
    let outgoing = ada.voip.invite("!room:example", "@ben:example", options).await.unwrap();
    let ringing = async {
        loop {
            if let Some(VoipNews::RingStarted { call, .. }) = events.next().await {
                return call;
            }
        }
    };
    let incoming = timeout(PATIENCE, ringing).await.unwrap();
    incoming.answer().await.unwrap();
    for call in [&outgoing, &incoming] {
        timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
    }
    (outgoing, incoming)
}

fn people() -> (Person, Person) {
    let home =
        EmbeddedHomeserver::new().with_room("!room:example", ["@ada:example", "@ben:example"]);
    (Person::new(&home, "@ada:example", 440.0), Person::new(&home, "@ben:example", 880.0))
}

#[tokio::test]
async fn two_people_talk_and_one_hangs_up() {
    let (ada, ben) = people();
    let (outgoing, incoming) = call(&ada, &ben, CallOptions::voice()).await;
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
    let (_outgoing, incoming) = call(&ada, &ben, CallOptions::video()).await;
    until("pictures", || {
        ada.heard(MediaKind::Video).len().min(ben.heard(MediaKind::Video).len()) > 10
    })
    .await;
    incoming.hangup().await.unwrap();
}

#[tokio::test]
async fn a_call_survives_a_second_in_which_nothing_gets_through() {
    let (ada, ben) = people();
    let (outgoing, _incoming) = call(&ada, &ben, CallOptions::voice()).await;
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
