//! Keys that are given, and what becomes of frames then.

use matrix_voip::{
    Side,
    host::{Codec, keys::KeyProvider},
    id::{DeviceId, UserId},
    machine::io::{Fault, KeyOwner},
    redact::SecretBytes,
    wire::keys::MediaKey,
};

use super::{
    super::{
        derive,
        states::{Fate, FrameCounts},
    },
    *,
};

const CALL: SessionId = SessionId(7);
const HKDF: KeyProfile = KeyProfile::ELEMENT_CALL;

fn person(name: &str) -> ParticipantId {
    let user = UserId::parse(format!("@{name}:example.org")).unwrap();
    ParticipantId { user, device: DeviceId::parse("PHONE").unwrap() }
}

fn key(index: u8, byte: u8) -> MediaKey {
    MediaKey { index, key: SecretBytes::new([byte; 32]) }
}

fn sound() -> Frame {
    Frame::new(Codec::Opus, 0, vec![0xf8, 1, 2, 3])
}

async fn give(keys: &FrameKeys, whose: &str, key: MediaKey) {
    keys.set_key(CALL, HKDF, KeyOwner::new(person(whose), Side::Remote), key).await.unwrap();
}

fn sealed(keys: &FrameKeys) -> Frame {
    match keys.seal(CALL, &sound()) {
        Passage::Changed(data) => Frame { data, ..sound() },
        other => panic!("{other:?}"),
    }
}

fn opened(keys: &FrameKeys, whose: &str, frame: &Frame) -> Passage {
    keys.open(CALL, Some(&person(whose)), frame)
}

/// Ada and Ben, who have each other's keys.
async fn two() -> (FrameKeys, FrameKeys) {
    let (ada, ben) = (FrameKeys::new(person("ada")), FrameKeys::new(person("ben")));
    for keys in [&ada, &ben] {
        give(keys, "ada", key(0, 1)).await;
        give(keys, "ben", key(5, 2)).await;
    }
    (ada, ben)
}

#[tokio::test]
async fn members_open_each_others_frames() {
    let (ada, ben) = two().await;
    assert_eq!(opened(&ben, "ada", &sealed(&ada)), Passage::Changed(sound().data));
    assert_eq!(opened(&ada, "ben", &sealed(&ben)), Passage::Changed(sound().data));
    assert_eq!(opened(&ada, "ada", &sealed(&ben)), Passage::Refused, "nobody else's");
}

#[tokio::test]
async fn a_call_that_is_not_switched_on_passes_unchanged() {
    let (ada, _) = two().await;
    assert_eq!(ada.seal(SessionId(8), &sound()), Passage::Unchanged);
    assert_eq!(ada.open(SessionId(8), Some(&person("ben")), &sound()), Passage::Unchanged);
    assert_eq!(ada.open(SessionId(8), None, &sound()), Passage::Unchanged);
    assert!(ada.states(SessionId(8)).is_empty());
}

#[tokio::test]
async fn nothing_leaves_before_there_is_a_key_and_nothing_plain_is_played() {
    let ada = FrameKeys::new(person("ada"));
    ada.switch_on(CALL);
    assert_eq!(ada.seal(CALL, &sound()), Passage::Refused);
    assert_eq!(opened(&ada, "ben", &sound()), Passage::Refused);
    assert_eq!(ada.open(CALL, None, &sound()), Passage::Refused);
    give(&ada, "ben", key(0, 2)).await;
    assert_eq!(ada.seal(CALL, &sound()), Passage::Refused, "the key of another is not ours");
    give(&ada, "ada", key(0, 1)).await;
    assert!(matches!(ada.seal(CALL, &sound()), Passage::Changed(_)));
}

#[tokio::test]
async fn where_every_call_is_covered_none_needs_to_be_named() {
    let ada = FrameKeys::builder(person("ada")).cover(Cover::Every).build();
    assert_eq!(ada.seal(CALL, &sound()), Passage::Refused);
    assert_eq!(ada.open(SessionId(9), None, &sound()), Passage::Refused);
    (0..3000).for_each(|n| assert_eq!(ada.seal(SessionId(n), &sound()), Passage::Refused));
    assert!(ada.remembered() <= MAX_CALLS);
}

#[tokio::test]
async fn after_leaving_nothing_passes_and_no_key_is_left() {
    let (ada, ben) = two().await;
    let frame = sealed(&ben);
    ada.forget(CALL, None).await.unwrap();
    assert_eq!(ada.seal(CALL, &sound()), Passage::Refused);
    assert_eq!(opened(&ada, "ben", &frame), Passage::Refused);
    assert_eq!(ada.export(CALL, person("ada"), 0).await, Ok(None));
    assert!(ada.states(CALL).is_empty());
    give(&ada, "ben", key(5, 2)).await;
    assert!(matches!(opened(&ada, "ben", &frame), Passage::Changed(_)), "entered again");
}

#[tokio::test]
async fn calls_that_were_left_are_remembered_within_bounds() {
    let ada = FrameKeys::new(person("ada"));
    for call in (0..3000).map(SessionId) {
        ada.switch_on(call);
        ada.forget(call, None).await.unwrap();
    }
    assert_eq!(ada.remembered(), MAX_CALLS);
    assert_eq!(ada.seal(SessionId(2999), &sound()), Passage::Refused);
}

#[tokio::test]
async fn who_left_is_not_opened_any_more() {
    let (ada, ben) = two().await;
    let frame = sealed(&ben);
    ada.forget(CALL, Some(person("ben"))).await.unwrap();
    assert_eq!(opened(&ada, "ben", &frame), Passage::Refused);
    assert!(matches!(ada.seal(CALL, &sound()), Passage::Changed(_)));
}

#[tokio::test]
async fn a_newer_key_of_ours_is_sent_with_at_once() {
    let (ada, ben) = two().await;
    give(&ada, "ada", key(1, 9)).await;
    let frame = sealed(&ada);
    assert_eq!(frame.data.last(), Some(&1));
    assert_eq!(opened(&ben, "ada", &frame), Passage::Refused);
    give(&ben, "ada", key(1, 9)).await;
    assert!(matches!(opened(&ben, "ada", &frame), Passage::Changed(_)));
}

fn nonce(frame: &Frame) -> Vec<u8> {
    let end = frame.data.len() - 2;
    frame.data[end - 12..end].to_vec()
}

#[tokio::test]
async fn all_tracks_under_a_key_share_its_nonces_and_a_key_that_comes_again_has_new_ones() {
    let (ada, _) = two().await;
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..100 {
        // The same key again, as after a crash: what was counted is forgotten.
        give(&ada, "ada", key(0, 1)).await;
        for codec in [Codec::Opus, Codec::Vp8, Codec::Opus] {
            let frame = Frame { codec, data: vec![0x91; 50], ..sound() };
            let Passage::Changed(data) = ada.seal(CALL, &frame) else { panic!("{codec:?}") };
            assert!(nonces.insert(nonce(&Frame { data, ..sound() })));
        }
    }
}

#[tokio::test]
async fn a_ratcheted_key_is_exported_and_others_follow_by_themselves() {
    let (ada, ben) = two().await;
    let new = ada.ratchet(CALL, person("ada"), 0).await.unwrap().expect("a key");
    assert_eq!(new, derive::ratcheted(KeyDerivation::Hkdf, &[1; 32]).unwrap());
    assert_eq!(ada.export(CALL, person("ada"), 0).await, Ok(Some(new.clone())));
    for _ in 0..20 {
        assert!(matches!(opened(&ben, "ada", &sealed(&ada)), Passage::Changed(_)));
        ada.ratchet(CALL, person("ada"), 0).await.unwrap();
    }
    assert_eq!(ada.ratchet(CALL, person("ada"), 3).await, Ok(None));
}

#[tokio::test]
async fn a_key_that_others_do_not_follow_is_ratcheted_to_where_a_joiner_begins() {
    let (ada, ben) = two().await;
    ben.ratchet(CALL, person("ada"), 0).await.unwrap();
    let joiner = ben.export(CALL, person("ada"), 0).await.unwrap().unwrap();
    ada.ratchet(CALL, person("ada"), 0).await.unwrap();
    let cat = FrameKeys::new(person("cat"));
    give(&cat, "ada", MediaKey { index: 0, key: joiner }).await;
    assert!(matches!(opened(&cat, "ada", &sealed(&ada)), Passage::Changed(_)));
}

#[tokio::test]
async fn pbkdf2_is_derived_beside_the_caller_and_opens_frames_too() {
    let (ada, ben) = (FrameKeys::new(person("ada")), FrameKeys::new(person("ben")));
    for keys in [&ada, &ben] {
        keys.set_key(
            CALL,
            KeyProfile::FAMEDLY,
            KeyOwner::new(person("ada"), Side::Remote),
            key(15, 1),
        )
        .await
        .unwrap();
    }
    assert_eq!(opened(&ben, "ada", &sealed(&ada)), Passage::Changed(sound().data));
    let ratcheted = ada.ratchet(CALL, person("ada"), 15).await;
    assert_eq!(ratcheted, Err(Fault::Unsupported), "nobody could follow");
    assert_eq!(opened(&ben, "ada", &sealed(&ada)), Passage::Changed(sound().data));
}

#[tokio::test]
async fn under_pbkdf2_a_window_that_is_asked_for_moves_beside_the_media_path() {
    let ada = FrameKeys::builder(person("ada")).window(1).build();
    let ben = FrameKeys::builder(person("ben")).window(1).build();
    for keys in [&ada, &ben] {
        keys.set_key(
            CALL,
            KeyProfile::FAMEDLY,
            KeyOwner::new(person("ada"), Side::Remote),
            key(0, 1),
        )
        .await
        .unwrap();
    }
    for _ in 0..2 {
        ada.ratchet(CALL, person("ada"), 0).await.unwrap().expect("a key");
        let lane = ben.lane(CALL, &person("ada")).unwrap();
        assert!(matches!(opened(&ben, "ada", &sealed(&ada)), Passage::Changed(_)));
        while lane.is_short(0, 1) {
            tokio::task::yield_now().await;
        }
    }
}

/// Whoever ratchets with every frame has us derive no faster than one step after the other.
#[tokio::test]
async fn a_window_is_derived_once_at_a_time() {
    let (ada, ben) = two().await;
    let lane = ben.lane(CALL, &person("ada")).unwrap();
    ada.ratchet(CALL, person("ada"), 0).await.unwrap();
    // As if the steps for this frame took long.
    let slow = lane.open(Some(Coding::Opus), &sealed(&ada).data, &[]).unwrap();
    assert_eq!(slow.ratcheted, 1);
    let refill = lane.refill(0, WINDOW).expect("a step is used up");
    ada.ratchet(CALL, person("ada"), 0).await.unwrap();
    assert!(matches!(opened(&ben, "ada", &sealed(&ada)), Passage::Changed(_)));
    assert!(lane.refill(0, WINDOW).is_none() && lane.is_short(0, WINDOW));
    lane.take(0, refill.derive().ok());
    assert!(lane.refill(0, WINDOW).is_some(), "the second step is next");
}

#[tokio::test]
async fn from_its_beginning_on_nothing_of_a_call_with_keys_goes_in_the_clear() {
    let ada = FrameKeys::new(person("ada"));
    assert_eq!(ada.seal(CALL, &sound()), Passage::Unchanged);
    ada.begin(CALL, HKDF).await.unwrap();
    assert_eq!(ada.seal(CALL, &sound()), Passage::Refused);
    assert_eq!(opened(&ada, "ben", &sound()), Passage::Refused);
    let ben = FrameKeys::new(person("ben"));
    let owner = KeyOwner::new(person("ben"), Side::Local);
    let refused = ben.set_key(CALL, KeyProfile::FAMEDLY, owner, key(16, 1)).await;
    assert!(refused.is_err());
    assert_eq!(ben.seal(CALL, &sound()), Passage::Refused, "also where the key is refused");
}

#[tokio::test]
async fn our_own_keys_go_when_we_send_with_a_newer_one() {
    let (ada, ben) = two().await;
    give(&ada, "ada", key(1, 9)).await;
    assert_eq!(ada.export(CALL, person("ada"), 0).await, Ok(None));
    assert!(ada.export(CALL, person("ada"), 1).await.unwrap().is_some());
    give(&ada, "ben", key(6, 4)).await;
    assert!(matches!(opened(&ada, "ben", &sealed(&ben)), Passage::Changed(_)), "others' stay");
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused_with_a_reason() {
    let ada = FrameKeys::new(person("ada"));
    let set =
        |profile, key| ada.set_key(CALL, profile, KeyOwner::new(person("ada"), Side::Remote), key);
    let outside = KeyError::OutsideRing { index: 16, ring_size: 16 };
    let failed = |error: KeyError| Err(Fault::Failed(error.to_string()));
    assert_eq!(set(KeyProfile::FAMEDLY, key(16, 1)).await, failed(outside));
    let short = MediaKey { index: 0, key: SecretBytes::new([1; 15]) };
    assert_eq!(set(HKDF, short).await, failed(KeyError::Length(15)));
    let none = KeyProfile { ring_size: 0, ..HKDF };
    assert_eq!(set(none, key(0, 1)).await, failed(KeyError::RingSize(0)));
    assert_eq!(set(HKDF, key(0, 1)).await, Ok(()));
    let other = KeyProfile { ring_size: 16, ..HKDF };
    assert_eq!(set(other, key(0, 1)).await, failed(KeyError::OtherProfile));
}

#[tokio::test]
async fn states_say_why_somebody_is_silent() {
    let (ada, ben) = two().await;
    ada.set_trailer(CALL, b"made by the server");
    opened(&ada, "ben", &sealed(&ben));
    give(&ben, "ben", key(6, 3)).await;
    opened(&ada, "ben", &sealed(&ben));
    give(&ada, "ben", key(6, 4)).await;
    opened(&ada, "ben", &sealed(&ben));
    opened(&ada, "ben", &sound());
    let made = Frame { data: b"\xf8\xff\xfemade by the server".to_vec(), ..sound() };
    opened(&ada, "ben", &made);
    ada.seal(CALL, &sound());
    ada.seal(CALL, &Frame { codec: Codec::Vp8, ..sound() });
    let states = ada.states(CALL);
    let [us, him] = states.as_slice() else { panic!("{states:?}") };
    let ours = FrameCounts { sealed: 1, unfit: 1, ..FrameCounts::default() };
    assert_eq!((us.counts, us.latest, us.keys.as_slice()), (ours, Some(Fate::Unfit), &[0][..]));
    let his = FrameCounts {
        opened: 1,
        no_key: 1,
        wrong_key: 1,
        plain: 1,
        injected: 1,
        ..FrameCounts::default()
    };
    assert_eq!((him.counts, him.latest), (his, Some(Fate::Injected)));
    assert_eq!((him.participant.clone(), him.keys.as_slice()), (person("ben"), &[5, 6][..]));
}

#[test]
fn nothing_of_keys_and_people_is_printed() {
    assert_eq!(format!("{:?}", FrameKeys::new(person("ada"))), "FrameKeys { cover: Chosen, .. }");
}
