//! The keys of all participants of all calls, and what became of their frames: one value that the
//! library gives keys to and that engines' frames pass by.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_voip::{
    config::{KeyDerivation, KeyProfile},
    host::Frame,
    id::SessionId,
    machine::io::ParticipantId,
};
use tokio::runtime::Handle;

use super::{
    coding::Coding,
    error::KeyError,
    lane::{Lane, Whose},
    ring::{MAX_WINDOW, Opened, Prepared},
    states::FrameState,
};

/// Most bytes of a room's trailer that are compared: LiveKit's have 43.
pub const MAX_TRAILER_BYTES: usize = 1024;

/// Calls that are remembered after we left them, so that no late frame of theirs is sent in the clear.
const MAX_CALLS: usize = 1024;

/// Steps of the ratchet that frames are tried under where they are cheap: LiveKit's own default for
/// browsers.
const WINDOW: u8 = 8;

/// Which calls have their frames encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Cover {
    /// Those that the application names ([`FrameKeys::switch_on`]) and those that the library gives keys
    /// for. All others pass unchanged.
    #[default]
    Chosen,
    /// All: nothing ever leaves in the clear. For programs that have no other calls.
    Every,
}

/// The keys of all calls of one device. Clones are the same value.
///
/// It is the library's [`KeyProvider`](matrix_voip::host::keys::KeyProvider), and with
/// [`SealedMedia`](super::SealedMedia) around the application's media any engine sends and receives
/// encrypted frames. In a call that is switched on nothing is sent before there is a key, and what came
/// in the clear is not played.
///
/// Nothing of it is printed; keys are wiped when they are replaced or forgotten.
#[derive(Clone)]
pub struct FrameKeys(Arc<Inner>);

struct Inner {
    me: ParticipantId,
    cover: Cover,
    window: Option<u8>,
    calls: Mutex<BTreeMap<SessionId, Call>>,
}

/// One call whose frames are encrypted.
#[derive(Default)]
struct Call {
    lanes: BTreeMap<ParticipantId, Arc<Lane>>,
    profile: Option<KeyProfile>,
    trailer: Arc<[u8]>,
    /// We left it: nothing passes until there is a key again.
    is_over: bool,
}

/// Settings of [`FrameKeys`]; made by [`FrameKeys::builder`].
#[derive(Debug, Clone)]
pub struct FrameKeysBuilder {
    me: ParticipantId,
    cover: Cover,
    window: Option<u8>,
}

impl FrameKeysBuilder {
    /// Which calls have their frames encrypted. [`Cover::Chosen`] unless it is said otherwise.
    #[must_use]
    pub fn cover(mut self, cover: Cover) -> Self {
        self.cover = cover;
        self
    }

    /// How many steps of a ratchet a received frame is tried under, at most [`MAX_WINDOW`]. Unless it is
    /// said otherwise 8 where keys are derived by HKDF, and 0 by PBKDF2: each step then costs 20 to
    /// 60 ms of a processor when a key arrives.
    #[must_use]
    pub fn window(mut self, steps: u8) -> Self {
        self.window = Some(steps.min(MAX_WINDOW));
        self
    }

    /// The keys, none yet.
    #[must_use]
    pub fn build(self) -> FrameKeys {
        let Self { me, cover, window } = self;
        FrameKeys(Arc::new(Inner { me, cover, window, calls: Mutex::default() }))
    }
}

/// What is to be done with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passage {
    /// The call is not covered: it passes as it is.
    Unchanged,
    /// These bytes pass in place of its own.
    Changed(Vec<u8>),
    /// It does not pass.
    Refused,
}

/// Where a frame belongs.
enum Found {
    Uncovered,
    Over,
    Lane(Arc<Lane>, Arc<[u8]>),
}

impl FrameKeys {
    /// For this device, with the settings that the builder begins with.
    pub fn new(me: ParticipantId) -> Self {
        Self::builder(me).build()
    }

    /// For this device: keys under its id are those that our own frames are encrypted with.
    pub fn builder(me: ParticipantId) -> FrameKeysBuilder {
        FrameKeysBuilder { me, cover: Cover::default(), window: None }
    }

    /// From now on frames of this call are encrypted, and what comes in the clear is refused, also
    /// while there are no keys. There is no way back but to leave the call. A key does the same.
    pub fn switch_on(&self, call: SessionId) {
        self.covered(&mut self.lock(), call);
    }

    /// What the SFU marks the frames with that it makes itself (`JoinResponse.sif_trailer`), in place
    /// of what was said before. They are dropped. Of a trailer that is longer than
    /// [`MAX_TRAILER_BYTES`] the end is compared.
    pub fn set_trailer(&self, call: SessionId, trailer: &[u8]) {
        let end = trailer.len().saturating_sub(MAX_TRAILER_BYTES);
        self.covered(&mut self.lock(), call).trailer = trailer[end..].into();
    }

    /// Who is known in a call, with his keys and what became of his frames: why somebody is black
    /// or silent. Ourselves too. Empty after we left the call.
    pub fn states(&self, call: SessionId) -> Vec<FrameState> {
        let calls = self.lock();
        let lanes = calls.get(&call).into_iter().flat_map(|call| &call.lanes);
        lanes.map(|(participant, lane)| lane.state(participant.clone())).collect()
    }

    /// How many steps of the ratchet frames of this participant are tried under. We receive none of
    /// our own.
    pub(super) fn window(&self, derivation: KeyDerivation, of: &ParticipantId) -> u8 {
        let by_cost = if derivation == KeyDerivation::Hkdf { WINDOW } else { 0 };
        if *of == self.0.me { 0 } else { self.0.window.unwrap_or(by_cost) }
    }

    /// Puts a key into its place.
    pub(super) fn put(
        &self,
        call: SessionId,
        profile: KeyProfile,
        participant: ParticipantId,
        key: Prepared,
    ) -> Result<(), KeyError> {
        let whose = if participant == self.0.me { Whose::Ours } else { Whose::Theirs };
        let mut calls = self.lock();
        let call = self.covered(&mut calls, call);
        if *call.profile.get_or_insert(profile) != profile {
            return Err(KeyError::OtherProfile);
        }
        call.is_over = false;
        call.lanes.entry(participant).or_default().set(profile, key, whose)
    }

    /// The keys of a participant, where there is anything of him.
    pub(super) fn lane(&self, call: SessionId, participant: &ParticipantId) -> Option<Arc<Lane>> {
        self.lock().get(&call)?.lanes.get(participant).cloned()
    }

    /// Wipes the keys of one or of all.
    pub(super) fn wipe(&self, call: SessionId, participant: Option<&ParticipantId>) {
        let mut calls = self.lock();
        let Some(call) = calls.get_mut(&call) else { return };
        match participant {
            Some(participant) => drop(call.lanes.remove(participant)),
            None => *call = Call { is_over: true, ..Call::default() },
        }
    }

    /// What becomes of a frame of ours.
    pub(super) fn seal(&self, call: SessionId, frame: &Frame) -> Passage {
        let lane = match self.find(call, &self.0.me) {
            Found::Uncovered => return Passage::Unchanged,
            Found::Over => return Passage::Refused,
            Found::Lane(lane, _) => lane,
        };
        let sealed = lane.seal(Coding::of(frame.codec), &frame.data);
        sealed.map_or(Passage::Refused, Passage::Changed)
    }

    /// What becomes of a received frame. Without a member nobody's key opens it.
    pub(super) fn open(
        &self,
        call: SessionId,
        member: Option<&ParticipantId>,
        frame: &Frame,
    ) -> Passage {
        let Some(member) = member else {
            return if self.covers(call) { Passage::Refused } else { Passage::Unchanged };
        };
        let (lane, trailer) = match self.find(call, member) {
            Found::Uncovered => return Passage::Unchanged,
            Found::Over => return Passage::Refused,
            Found::Lane(lane, trailer) => (lane, trailer),
        };
        match lane.open(Coding::of(frame.codec), &frame.data, &trailer) {
            Ok(Opened { frame: opened, ratcheted }) => {
                if let (true, Some(index)) = (ratcheted > 0, frame.data.last()) {
                    self.go_on(lane, member, *index);
                }
                Passage::Changed(opened)
            }
            Err(error) => {
                tracing::trace!(%error, "a frame was refused");
                Passage::Refused
            }
        }
    }

    /// Whether nothing of the call may be sent in the clear.
    pub(super) fn covers(&self, call: SessionId) -> bool {
        self.0.cover == Cover::Every || self.lock().contains_key(&call)
    }

    /// Derives the steps that a ratchet has used up: at once, or beside the media path where it is slow.
    fn go_on(&self, lane: Arc<Lane>, member: &ParticipantId, index: u8) {
        let Some(derivation) = lane.profile().map(|profile| profile.derivation) else { return };
        let Some(refill) = lane.refill(index, self.window(derivation, member)) else { return };
        let derive = move || refill.derive().map(|refill| lane.take(refill));
        match (derivation, Handle::try_current()) {
            (KeyDerivation::Pbkdf2, Ok(runtime)) => drop(runtime.spawn_blocking(derive)),
            // Its window stays shorter.
            (KeyDerivation::Pbkdf2, Err(_)) => {}
            _ => drop(derive()),
        }
    }

    fn find(&self, call: SessionId, participant: &ParticipantId) -> Found {
        if !self.covers(call) {
            return Found::Uncovered;
        }
        let mut calls = self.lock();
        let call = self.covered(&mut calls, call);
        if call.is_over {
            return Found::Over;
        }
        let trailer = call.trailer.clone();
        if let Some(lane) = call.lanes.get(participant) {
            return Found::Lane(lane.clone(), trailer);
        }
        let lane = call.lanes.entry(participant.clone()).or_default().clone();
        Found::Lane(lane, trailer)
    }

    /// The call, covered from now on.
    fn covered<'a>(
        &self,
        calls: &'a mut BTreeMap<SessionId, Call>,
        call: SessionId,
    ) -> &'a mut Call {
        if calls.len() >= MAX_CALLS && !calls.contains_key(&call) {
            let any = self.0.cover == Cover::Every;
            let useless = |kept: &Call| kept.is_over || (any && kept.profile.is_none());
            let oldest = calls.iter().find(|(_, kept)| useless(kept)).map(|(id, _)| *id);
            oldest.map(|id| calls.remove(&id));
        }
        calls.entry(call).or_default()
    }

    /// Nothing is left half done while the lock is held.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Call>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for FrameKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameKeys").field("cover", &self.0.cover).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl FrameKeys {
    /// How many calls are remembered.
    fn remembered(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
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
        ada.ratchet(CALL, person("ada"), 15).await.unwrap().expect("a key");
        assert_eq!(opened(&ben, "ada", &sealed(&ada)), Passage::Refused, "no window by itself");
    }

    #[tokio::test]
    async fn under_pbkdf2_a_window_that_is_asked_for_moves_beside_the_media_path() {
        let ada = FrameKeys::new(person("ada"));
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
            while lane.refill(0, 1).is_some() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn keys_that_cannot_be_are_refused_with_a_reason() {
        let ada = FrameKeys::new(person("ada"));
        let set = |profile, key| {
            ada.set_key(CALL, profile, KeyOwner::new(person("ada"), Side::Remote), key)
        };
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
        assert_eq!(
            format!("{:?}", FrameKeys::new(person("ada"))),
            "FrameKeys { cover: Chosen, .. }"
        );
    }
}
