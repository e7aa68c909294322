//! Encrypted frames through two real engines, as a mesh would send them: `matrix-voip-media` around the
//! media of each. What one engine packs, the other must put together byte by byte.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::Side;
use matrix_voip::{
    config::KeyProfile,
    host::{
        Codec, Frame, FrameSink, FrameSource, Media, RemoteTrack, SourceControl, WebRtc,
        keys::KeyProvider,
    },
    id::{DeviceId, SessionId, TrackId, UserId},
    machine::io::{Capture, Fault, KeyOwner, MediaKind, ParticipantId},
    redact::SecretBytes,
    wire::keys::MediaKey,
};
use matrix_voip_media::e2ee::{FrameKeys, FrameState, SealedMedia};
use matrix_voip_str0m::{Interfaces, Str0m};
use testkit::studio::{connect, until};
use testkit::{heard, video, voice};

/// The session of `PeerConfig::default()` and of the studio's captures.
const CALL: SessionId = SessionId(1);

fn person(name: &str) -> ParticipantId {
    let user = UserId::parse(format!("@{name}:example.org")).unwrap();
    ParticipantId { user, device: DeviceId::parse("PHONE").unwrap() }
}

/// The engine of a member, who talks with the other one.
fn member(name: &str, other: &str, hertz: f32) -> (Side, FrameKeys) {
    let keys = FrameKeys::new(person(name));
    let around = keys.clone();
    let wrap = |media| engine(SealedMedia::new(media, around));
    (with(Side::over(hertz, wrap), other), keys)
}

fn engine(media: Arc<SealedMedia>) -> Str0m {
    Str0m::builder(media).interfaces(Interfaces::Loopback).build()
}

fn with(mut side: Side, other: &str) -> Side {
    side.config.session = CALL;
    side.config.member = Some(person(other));
    side
}

async fn give(keys: &FrameKeys, whose: &str, byte: u8) {
    let key = MediaKey { index: byte, key: SecretBytes::new([byte; 32]) };
    keys.set_key(
        CALL,
        KeyProfile::ELEMENT_CALL,
        KeyOwner::new(person(whose), matrix_voip::Side::Remote),
        key,
    )
    .await
    .unwrap();
}

/// Both have both keys.
async fn members() -> [(Side, FrameKeys); 2] {
    let both = [member("ada", "ben", 440.0), member("ben", "ada", 880.0)];
    for (_, keys) in &both {
        give(keys, "ada", 0).await;
        give(keys, "ben", 200).await;
    }
    both
}

fn state(keys: &FrameKeys, whose: &str) -> FrameState {
    keys.states(CALL).into_iter().find(|state| state.participant == person(whose)).unwrap()
}

#[tokio::test]
async fn members_of_a_mesh_hear_and_see_each_other() {
    let [(mut a, at_a), (mut b, at_b)] = members().await;
    connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
    until("a second of sound", || a.heard(MediaKind::Audio).len() > 55).await;
    until("pictures", || b.heard(MediaKind::Video).len() > 10).await;
    let (hertz, _) = heard(a.heard(MediaKind::Audio).iter());
    assert!((860.0..900.0).contains(&hertz), "a hears {hertz} Hz");
    let pictures = b.heard(MediaKind::Video);
    assert!(pictures.iter().all(|frame| frame.data.len() == 3000 && frame.key_frame));
    for counts in [state(&at_a, "ben").counts, state(&at_b, "ada").counts] {
        assert!(counts.opened > 0 && counts.wrong_key + counts.plain + counts.no_key == 0);
    }
}

#[tokio::test]
async fn who_has_no_key_gets_nothing_and_sees_why() {
    let (mut a, at_a) = member("ada", "ben", 440.0);
    let (mut b, at_b) = member("ben", "ada", 880.0);
    give(&at_a, "ada", 0).await;
    give(&at_b, "ben", 1).await;
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    let waits = || at_b.states(CALL).iter().any(|state| state.counts.no_key > 5);
    until("frames without a key", waits).await;
    assert!(b.heard(MediaKind::Audio).is_empty());
    give(&at_b, "ada", 0).await;
    until("sound", || b.heard(MediaKind::Audio).len() > 5).await;
    assert!(a.heard(MediaKind::Audio).is_empty());
}

#[tokio::test]
async fn a_muted_member_sends_nothing_in_the_clear_and_is_heard_again() {
    let [(mut a, _), (mut b, at_b)] = members().await;
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    until("sound", || b.heard(MediaKind::Audio).len() > 5).await;
    a.engine.enable(TrackId(1), false).await.unwrap();
    let others = a.heard(MediaKind::Audio).len();
    until("half a second of the other", || a.heard(MediaKind::Audio).len() > others + 25).await;
    let before = b.heard(MediaKind::Audio).len();
    a.engine.enable(TrackId(1), true).await.unwrap();
    until("sound again", || b.heard(MediaKind::Audio).len() > before + 5).await;
    // The engine may have one frame in its hands when it is muted.
    assert!(state(&at_b, "ada").counts.plain <= 1, "{:?}", state(&at_b, "ada"));
}

/// Media that sends one H.264 frame again and again, and collects what comes.
#[derive(Clone, Default)]
struct Films(Arc<Mutex<Vec<Frame>>>);

/// A unit with a start code of three bytes.
fn unit(head: &[u8], length: u8) -> Vec<u8> {
    let body = (0..length).flat_map(|n| [n, 0, 0, 3, 1, n.wrapping_mul(77)]);
    [0, 0, 1].into_iter().chain(head.iter().copied()).chain(body).chain([0x80]).collect()
}

/// A delimiter, information, both parameter sets, and a picture of two slices.
fn film() -> Vec<u8> {
    let head = [vec![0, 0, 1, 9, 0xf0], unit(&[6], 2), unit(&[0x67, 0x42], 3), unit(&[0x68], 1)];
    [head.concat(), unit(&[0x65, 0x88], 255), unit(&[0x65, 0x40], 250)].concat()
}

struct Projector(tokio::time::Interval, u64);

#[async_trait]
impl FrameSource for Projector {
    fn codec(&self) -> Codec {
        Codec::H264
    }

    async fn next(&mut self) -> Option<Frame> {
        self.0.tick().await;
        self.1 += 3_600;
        Some(Frame::new(Codec::H264, self.1, film()))
    }

    fn control(&mut self, _: SourceControl) {}
}

#[async_trait]
impl Media for Films {
    async fn capture(
        &self,
        _: SessionId,
        _: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        let every = tokio::time::interval(std::time::Duration::from_millis(40));
        let projector = Projector(every, 0);
        if what.kind == MediaKind::Video { Ok(Box::new(projector)) } else { Err(Fault::NotFound) }
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        (track.kind == MediaKind::Video).then(|| Box::new(self.clone()) as _)
    }
}

impl FrameSink for Films {
    fn push(&mut self, frame: Frame) {
        self.0.lock().unwrap().push(frame);
    }
}

#[tokio::test]
async fn pictures_of_h264_arrive_in_the_form_that_engines_give_them() {
    let films = Films::default();
    let side = |name: &str, other: &str| {
        let keys = FrameKeys::new(person(name));
        let (around, films) = (keys.clone(), films.clone());
        let wrap = |_| engine(SealedMedia::new(Arc::new(films), around));
        (with(Side::over(1.0, wrap), other), keys)
    };
    let ((mut a, at_a), (mut b, at_b)) = (side("ada", "ben"), side("ben", "ada"));
    for keys in [&at_a, &at_b] {
        give(keys, "ada", 0).await;
        give(keys, "ben", 3).await;
    }
    let only_pictures = |first, stream| {
        let mut plan = video(first, stream);
        plan.lines.iter_mut().for_each(|line| {
            if line.slot.kind() == MediaKind::Audio {
                line.track = None;
            }
        });
        plan
    };
    connect(&mut a, &mut b, (only_pictures(1, "ours"), only_pictures(3, "theirs"))).await;
    until("pictures", || films.0.lock().unwrap().len() > 10).await;
    let start = |unit: Vec<u8>| [vec![0], unit].concat();
    let sets = [start(unit(&[0x67, 0x42], 3)), start(unit(&[0x68], 1)), start(unit(&[6], 2))];
    let slices = [start(unit(&[0x65, 0x88], 255)), unit(&[0x65, 0x40], 250)];
    let expected = [sets.concat(), slices.concat()].concat();
    assert!(films.0.lock().unwrap().iter().all(|frame| frame.data == expected && frame.key_frame));
    let counts = state(&at_b, "ada").counts;
    assert!(counts.opened > 0 && counts.wrong_key + counts.plain == 0, "{counts:?}");
}
