//! Whole calls in virtual time: invite, ring, answer, sound, hangup; signalling as JSON through
//! the homeserver, media through ICE, DTLS and SRTP.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::time::Duration;

use matrix_voip::{
    id::RoomId,
    machine::{
        event::{CallEvent, CallState, End, EndReason},
        io::{CallCommand, CallMedia, Capture, Fault, MediaSource},
    },
};
use matrix_voip_str0m::sim::{Link, Phone, Phones, Scripted};
use testkit::{Tone, heard};

const MILLI: Duration = Duration::from_millis(1);

/// A phone whose microphone gives a tone and whose camera is missing.
fn microphone(hertz: f32) -> impl FnMut(Capture) -> Result<Scripted, Fault> {
    move |what| {
        if what.source != MediaSource::Microphone {
            return Err(Fault::NotFound);
        }
        let mut tone = Tone::new(hertz);
        Ok(Scripted { every: 20 * MILLI, make: Box::new(move |n| tone.frame(n)) })
    }
}

fn phones(seed: u64, link: Link) -> (Phones, Phone, Phone, RoomId) {
    let mut phones = Phones::new(seed, link);
    let ada = phones.phone("@ada:example", microphone(440.0));
    let ben = phones.phone("@ben:example", microphone(880.0));
    let room = phones.room("!room:example");
    (phones, ada, ben, room)
}

/// Ada calls, Ben answers as soon as it rings; returns when both are connected.
fn call(phones: &mut Phones, ada: Phone, ben: Phone, room: &RoomId) {
    phones.invite(ada, room, "@ben:example", CallMedia::Voice);
    let ringing = |phones: &Phones| phones.state(ben) == Some(CallState::Ringing);
    assert!(phones.run_until(Duration::from_secs(10), ringing), "{:?}", phones.events(ada));
    phones.act(ben, CallCommand::Answer(None));
    let connected = |phones: &Phones| {
        [ada, ben].into_iter().all(|phone| phones.state(phone) == Some(CallState::Connected))
    };
    let is_connected = phones.run_until(Duration::from_secs(30), connected);
    assert!(is_connected, "{:?}\n{:?}", phones.events(ada), phones.events(ben));
}

fn tone(phones: &Phones, phone: Phone) -> f32 {
    heard(phones.received(phone).map(|received| &received.frame)).0
}

fn assert_tones(phones: &Phones, ada: Phone, ben: Phone) {
    let (at_ada, at_ben) = (tone(phones, ada), tone(phones, ben));
    assert!((850.0..910.0).contains(&at_ada), "ada hears {at_ada} Hz");
    assert!((425.0..455.0).contains(&at_ben), "ben hears {at_ben} Hz");
}

#[test]
fn a_call_from_invite_to_hangup() {
    let (mut phones, ada, ben, room) = phones(1, Link::default());
    call(&mut phones, ada, ben, &room);
    println!("connected after {:?} (RTT 50 ms, homeserver 20 ms away)", phones.now());
    phones.run(Duration::from_secs(2));
    assert_tones(&phones, ada, ben);
    let stats = phones.stats(ada).unwrap();
    assert_eq!(stats.pair.unwrap().local.kind, "host");
    phones.act(ada, CallCommand::Hangup);
    let ended = |phones: &Phones| phones.state(ben) == Some(CallState::Ended);
    assert!(phones.run_until(Duration::from_secs(5), ended));
    let is_end = |event: &CallEvent| matches!(event, CallEvent::Ended(_));
    for phone in [ada, ben] {
        let ends = phones.events(phone).iter().filter(|(_, _, event)| is_end(event));
        assert_eq!(ends.count(), 1);
        let (_, _, CallEvent::Ended(End { reason, .. })) = phones.events(phone).last().unwrap()
        else {
            panic!("something follows the end");
        };
        assert_eq!(*reason, EndReason::Hangup);
    }
    let before = phones.received(ben).count();
    phones.run(Duration::from_secs(1));
    assert_eq!(phones.received(ben).count(), before, "nothing is sent after the hangup");
}

#[test]
fn a_call_with_tones_under_loss_and_delay() {
    let link = Link { delay: 60 * MILLI, jitter: 30 * MILLI, loss: 0.05 };
    for seed in 1..=5 {
        let (mut phones, ada, ben, room) = phones(seed, link);
        call(&mut phones, ada, ben, &room);
        println!("seed {seed}: connected after {:?}", phones.now());
        phones.run(Duration::from_secs(4));
        assert_tones(&phones, ada, ben);
        let lost = phones.stats(ada).unwrap().inbound[0].lost;
        assert!(lost.unwrap() > 0);
    }
}

#[test]
fn a_call_survives_five_seconds_without_link() {
    let (mut phones, ada, ben, room) = phones(3, Link::default());
    call(&mut phones, ada, ben, &room);
    phones.run(Duration::from_secs(2));
    phones.network().take_down();
    phones.run(Duration::from_secs(5));
    let before = (phones.received(ada).count(), phones.received(ben).count());
    phones.network().bring_up();
    let back = phones.now();
    let both = |phones: &Phones| {
        phones.received(ada).count() > before.0 && phones.received(ben).count() > before.1
    };
    assert!(phones.run_until(Duration::from_secs(5), both));
    println!("sound is back {:?} after the link", phones.now() - back);
    phones.run(Duration::from_secs(2));
    assert_eq!(phones.state(ada), Some(CallState::Connected));
    assert_tones(&phones, ada, ben);
}

#[test]
fn a_muted_phone_is_silent() {
    let (mut phones, ada, ben, room) = phones(4, Link::default());
    call(&mut phones, ada, ben, &room);
    phones.run(Duration::from_secs(1));
    phones.act(ada, CallCommand::Mute(MediaSource::Microphone));
    phones.run(Duration::from_secs(1));
    let last = phones.received(ben).last().unwrap();
    assert_eq!(last.frame.data, [0xf8, 0xff, 0xfe]);
    phones.act(ada, CallCommand::Unmute(MediaSource::Microphone));
    phones.run(Duration::from_secs(1));
    assert_tones(&phones, ada, ben);
}

#[test]
fn a_video_call_without_a_camera_is_a_voice_call_that_receives() {
    let (mut phones, ada, ben, room) = phones(5, Link::default());
    phones.invite(ada, &room, "@ben:example", CallMedia::Video);
    let ringing = |phones: &Phones| phones.state(ben) == Some(CallState::Ringing);
    assert!(phones.run_until(Duration::from_secs(10), ringing));
    phones.act(ben, CallCommand::Answer(Some(CallMedia::Voice)));
    let connected = |phones: &Phones| {
        [ada, ben].into_iter().all(|phone| phones.state(phone) == Some(CallState::Connected))
    };
    assert!(phones.run_until(Duration::from_secs(10), connected), "{:?}", phones.events(ada));
    phones.run(Duration::from_secs(2));
    assert_tones(&phones, ada, ben);
}

#[test]
fn the_same_seed_makes_the_same_call() {
    let link = Link { delay: 25 * MILLI, jitter: 40 * MILLI, loss: 0.2 };
    let trace = |seed| {
        let (mut phones, ada, ben, room) = phones(seed, link);
        call(&mut phones, ada, ben, &room);
        phones.run(Duration::from_secs(3));
        let times: Vec<_> = phones.events(ada).iter().map(|(at, _, _)| *at).collect();
        (phones.network().schedule(), phones.network().traffic(), times)
    };
    for seed in 1..=3 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}
