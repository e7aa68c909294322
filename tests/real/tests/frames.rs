//! Our encrypted frames before a judge that nobody of us wrote: the frame worker of npm
//! `livekit-client`, as browsers load it. Both directions, both derivations, all codings.
//!
//! Without Node or the package (`tests/real/setup` installs it) these are skipped and say so.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use matrix_voip::{
    Side,
    config::{KeyDerivation, KeyProfile},
    host::{Codec, Frame, FrameSink, Media, RemoteTrack, keys::KeyProvider},
    id::{DeviceId, PeerId, SessionId, UserId},
    machine::io::{KeyOwner, MediaKind, ParticipantId},
    redact::SecretBytes,
    wire::keys::MediaKey,
};
use matrix_voip_media::{
    Studio,
    e2ee::{Coding, FrameKeys, OpenError, Prepared, Ring, SealedMedia, Sealer, ratcheted},
};
use real::{Judge, JudgedCoding, NoJudge};

const DERIVATIONS: [(KeyDerivation, &str); 2] =
    [(KeyDerivation::Hkdf, "HKDF"), (KeyDerivation::Pbkdf2, "PBKDF2")];

/// Places of a ring of 256; the fifth is beyond a ring of 16.
const INDICES: [u8; 5] = [0, 1, 5, 15, 200];

/// A frame of each kind: as it is encoded, and as it arrives.
struct Sample {
    coding: Coding,
    judged: JudgedCoding,
    frame: Vec<u8>,
    arrives: Vec<u8>,
}

fn sample(coding: Coding, judged: JudgedCoding, frame: &[u8]) -> Sample {
    Sample { coding, judged, frame: frame.to_vec(), arrives: frame.to_vec() }
}

/// Content that does not repeat.
fn noise(length: u32) -> Vec<u8> {
    (1..=length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn samples() -> Vec<Sample> {
    let video = JudgedCoding::Video;
    let opus = |body: &[u8]| sample(Coding::Opus, JudgedCoding::Opus, &[&[0xf8], body].concat());
    let key = [&[0x90, 1, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1][..], &noise(11_000)].concat();
    let delta = [&[0xb1, 2, 3][..], &noise(1_500)].concat();
    let sets = [&[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f][..], &[0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80]];
    let slice = [&[0, 0, 0, 1, 0x65, 0x88][..], &noise(5_000), &[0, 0, 1, 0x65, 0x40, 0, 0, 3, 7]];
    let picture = [sets.concat(), slice.concat()].concat();
    let plain = [&[0, 0, 0, 1, 0x41, 0x9a][..], &noise(700)].concat();
    // A delimiter and short start codes, as some encoders write them.
    let untidy = [&[0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 0x9a][..], &noise(50)].concat();
    let tidy = [&[0, 0, 0, 1, 0x41, 0x9a][..], &noise(50)].concat();
    vec![
        opus(&noise(160)),
        opus(&[]),
        opus(&[0xff, 0xfe]),
        sample(Coding::Vp8, video("vp8", "key"), &key),
        sample(Coding::Vp8, video("vp8", "key"), &key[..10]),
        sample(Coding::Vp8, video("vp8", "delta"), &delta),
        sample(Coding::Vp8, video("vp8", "delta"), &delta[..3]),
        sample(Coding::Vp9, video("vp9", "key"), &noise(3_000)),
        sample(Coding::Vp9, video("vp9", "delta"), &noise(1)),
        sample(Coding::H264, video("h264", "key"), &picture),
        sample(Coding::H264, video("h264", "delta"), &plain),
        Sample { arrives: tidy, ..sample(Coding::H264, video("h264", "delta"), &untidy) },
    ]
}

/// The judge; `None`: there is none, and it was said.
fn judge() -> Option<Judge> {
    match Judge::start() {
        Ok(judge) => Some(judge),
        Err(NoJudge::Missing(why)) => {
            // libtest swallows what is printed.
            std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
            None
        }
        Err(NoJudge::Failed(why)) => panic!("{why}"),
    }
}

fn media_key(index: u8, byte: u8) -> MediaKey {
    MediaKey { index, key: SecretBytes::new([byte; 32]) }
}

fn ring(derivation: KeyDerivation, window: u8, keys: &[MediaKey]) -> Ring {
    let mut ring = Ring::new(KeyProfile { ring_size: 256, derivation }).unwrap();
    for key in keys {
        ring.set(Prepared::derive(derivation, window, key).unwrap()).unwrap();
    }
    ring
}

#[test]
fn the_worker_opens_what_we_seal() {
    let Some(mut judge) = judge() else { return };
    judge.profile(256, 0).unwrap();
    for (derivation, name) in DERIVATIONS {
        for index in INDICES {
            let key = media_key(index, index + 1);
            judge.key(name, index, key.key.expose(), name).unwrap();
            let sealer = Sealer::new(derivation, &key).unwrap();
            for sample in samples() {
                let sealed = sealer.seal(sample.coding, &sample.frame).unwrap();
                let opened = judge.open(name, sample.judged, &sealed).unwrap();
                let what = (name, index, sample.judged);
                assert_eq!(opened, Some(sample.arrives), "{what:?}");
            }
        }
    }
}

#[test]
fn we_open_what_the_worker_seals() {
    let Some(mut judge) = judge() else { return };
    judge.profile(256, 0).unwrap();
    for (derivation, name) in DERIVATIONS {
        let keys = INDICES.map(|index| media_key(index, index + 1));
        let mut ring = ring(derivation, 0, &keys);
        for key in keys {
            judge.key(name, key.index, key.key.expose(), name).unwrap();
            for sample in samples() {
                let sealed = judge.seal(name, sample.judged, &sample.frame).unwrap().unwrap();
                let opened = ring.open(sample.coding, &sealed).unwrap();
                // The worker makes start codes long and leaves delimiters where they are.
                let what = (name, key.index, sample.judged);
                match sample.coding {
                    Coding::H264 => {
                        assert!(opened.frame.ends_with(&sample.arrives[2..]), "{what:?}")
                    }
                    _ => assert_eq!(opened.frame, sample.arrives, "{what:?}"),
                }
            }
        }
    }
}

#[test]
fn keys_of_16_bytes_and_many_frames_go_both_ways() {
    let Some(mut judge) = judge() else { return };
    judge.profile(16, 0).unwrap();
    let key = MediaKey { index: 3, key: SecretBytes::new((0..16).collect::<Vec<u8>>()) };
    judge.key("ada", 3, key.key.expose(), "HKDF").unwrap();
    let sealer = Sealer::new(KeyDerivation::Hkdf, &key).unwrap();
    let mut ring = ring(KeyDerivation::Hkdf, 0, std::slice::from_ref(&key));
    let h264 = JudgedCoding::Video("h264", "delta");
    // Of pictures of less than eight bytes the worker does not find the slice.
    for length in 2..300 {
        let frame = [&[0, 0, 0, 1, 0x41, 0x9a][..], &noise(length)].concat();
        let sealed = sealer.seal(Coding::H264, &frame).unwrap();
        assert_eq!(judge.open("ada", h264, &sealed).unwrap().as_ref(), Some(&frame));
        let sealed = judge.seal("ada", h264, &frame).unwrap().unwrap();
        assert_eq!(ring.open(Coding::H264, &sealed).unwrap().frame, frame);
    }
}

#[test]
fn a_wrong_key_another_derivation_and_a_changed_frame_open_nowhere() {
    let Some(mut judge) = judge() else { return };
    judge.profile(256, 4).unwrap();
    judge.key("right", 5, &[6; 32], "HKDF").unwrap();
    judge.key("wrong", 5, &[7; 32], "HKDF").unwrap();
    judge.key("other", 5, &[6; 32], "PBKDF2").unwrap();
    let sealer = Sealer::new(KeyDerivation::Hkdf, &media_key(5, 6)).unwrap();
    let mut wrong = ring(KeyDerivation::Hkdf, 4, &[media_key(5, 7)]);
    let mut other = ring(KeyDerivation::Pbkdf2, 0, &[media_key(5, 6)]);
    for sample in samples() {
        let sealed = sealer.seal(sample.coding, &sample.frame).unwrap();
        for who in ["wrong", "other", "nobody"] {
            assert_eq!(judge.open(who, sample.judged, &sealed).unwrap(), None, "{who}");
        }
        let mut changed = sealed.clone();
        changed[sealed.len() - 20] ^= 1;
        assert_eq!(judge.open("right", sample.judged, &changed).unwrap(), None);
        assert!(judge.open("right", sample.judged, &sealed).unwrap().is_some());
        let theirs = judge.seal("right", sample.judged, &sample.frame).unwrap().unwrap();
        assert_eq!(wrong.open(sample.coding, &theirs).err(), Some(OpenError::Tag(5)));
        assert_eq!(other.open(sample.coding, &theirs).err(), Some(OpenError::Tag(5)));
    }
}

#[test]
fn both_ratchet_to_the_same_keys_and_follow_each_other() {
    let Some(mut judge) = judge() else { return };
    for (derivation, name) in DERIVATIONS {
        judge.profile(16, 4).unwrap();
        let mut key = media_key(3, 9);
        // The worker once as sender and once as receiver.
        let (sender, receiver) = (format!("{name} sends"), format!("{name} receives"));
        for who in [&sender, &receiver] {
            judge.key(who, 3, key.key.expose(), name).unwrap();
        }
        let mut ring = ring(derivation, 4, std::slice::from_ref(&key));
        let frame = [&[0xf8][..], &noise(40)].concat();
        // One step at a time: with whatever window, the worker never tries a second.
        for step in 1..=3 {
            key.key = ratcheted(derivation, key.key.expose()).unwrap();
            assert_eq!(judge.ratchet(&sender, 3).unwrap(), key.key.expose(), "{name} {step}");
            let sealer = Sealer::new(derivation, &key).unwrap();
            let ours = sealer.seal(Coding::Opus, &frame).unwrap();
            let opened = judge.open(&receiver, JudgedCoding::Opus, &ours).unwrap();
            assert_eq!(opened.as_ref(), Some(&frame), "{name} {step}");
        }
        let theirs = judge.seal(&sender, JudgedCoding::Opus, &frame).unwrap().unwrap();
        let opened = ring.open(Coding::Opus, &theirs).unwrap();
        assert_eq!((opened.frame, opened.ratcheted), (frame, 3), "{name}");
    }
}

/// Media whose sinks collect.
#[derive(Default, Clone)]
struct Collected(Arc<Mutex<Vec<Vec<u8>>>>);

impl FrameSink for Collected {
    fn push(&mut self, frame: Frame) {
        self.0.lock().unwrap().push(frame.data);
    }
}

#[test]
fn silence_of_the_server_is_known_by_the_worker_and_dropped_by_us() {
    let Some(mut judge) = judge() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let trailer = b"a trailer of the room, of forty-three bytes";
    let silence = [&[0xf8, 0xff, 0xfe][..], &[0; 77]].concat();
    let injected = [&silence[..], trailer].concat();
    judge.profile(256, 0).unwrap();
    judge.key("ada", 5, &[6; 32], "HKDF").unwrap();
    judge.trailer(trailer).unwrap();
    assert_eq!(judge.open("ada", JudgedCoding::Opus, &injected).unwrap(), Some(silence.clone()));

    let person = |name: &str| ParticipantId {
        user: UserId::parse(format!("@{name}:example.org")).unwrap(),
        device: DeviceId::parse("PHONE").unwrap(),
    };
    let (call, keys) = (SessionId(1), FrameKeys::new(person("ben")));
    let key = media_key(5, 6);
    let set = keys.set_key(
        call,
        KeyProfile::ELEMENT_CALL,
        KeyOwner::new(person("ada"), Side::Remote),
        key,
    );
    runtime.block_on(set).unwrap();
    keys.set_trailer(call, trailer);
    let heard = Collected::default();
    let speaker = heard.clone();
    let studio = Studio::builder().speaker(move |_| speaker.clone()).build();
    let (peer, mid, member) = (PeerId(1), "0".to_owned(), Some(person("ada")));
    let kind = MediaKind::Audio;
    let track = RemoteTrack { session: call, member, peer, mid, stream: None, kind };
    let mut sink = SealedMedia::new(studio, keys.clone()).sink(track).unwrap();
    let frame = [&[0xf8][..], &noise(40)].concat();
    let sealed = judge.seal("ada", JudgedCoding::Opus, &frame).unwrap().unwrap();
    for data in [sealed, injected, silence, frame.clone()] {
        sink.push(Frame::new(Codec::Opus, 0, data));
    }
    assert_eq!(*heard.0.lock().unwrap(), [frame]);
    let counts = keys.states(call)[0].counts;
    assert_eq!((counts.opened, counts.injected, counts.plain), (1, 1, 2));
}
