//! The keys of one participant: a ring of places, and for each a window of ratcheted successors.
//!
//! A participant may ratchet his key without telling anybody: a frame that does not open under the
//! key of its place is tried under the next few steps. What that may cost is bounded twice. The
//! steps are derived beforehand, so a frame costs no derivation, only one pass of the cipher per step
//! (at most [`MAX_WINDOW`]); and after some failures in a row at a place its steps are tried no more until
//! a frame opens there or the key is replaced. The key itself is always tried: a frame that does not
//! open costs then as much as one that does, and nobody can make us give up a key that is right.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

use matrix_voip::{
    config::{KeyDerivation, KeyProfile},
    redact::SecretBytes,
    wire::keys::MediaKey,
};

use super::{
    coding::Coding,
    derive::{self, Step},
    error::{KeyError, OpenError},
    open::Sealed,
    seal::Sealer,
};

/// Most steps of the ratchet that a frame is tried under, beyond the key itself. LiveKit's clients
/// have 8 to 16.
pub const MAX_WINDOW: u8 = 16;

/// Failures in a row at a place, after which its window is left alone. LiveKit's clients for browsers
/// have the same.
const TOLERANCE: u32 = 10;

/// Frames that open under a newer key until the older ones go: whoever left knows them, and with the
/// server's help could speak as anybody. Some seconds of sound, so that what is on its way still opens.
const IN_FLIGHT: u32 = 250;

/// Most places of a ring: an index is one byte.
const MOST_PLACES: u16 = 256;

/// A key with all that is derived from it: made off the media path, put into a ring in no time.
pub struct Prepared {
    index: u8,
    step: Step,
    ahead: VecDeque<Step>,
}

impl Prepared {
    /// Derives a key and `window` steps of its ratchet. Under PBKDF2 each takes 20 to 60 ms.
    ///
    /// # Errors
    /// [`KeyError::Length`], [`KeyError::Derivation`].
    pub fn derive(derivation: KeyDerivation, window: u8, key: &MediaKey) -> Result<Self, KeyError> {
        derive::check_length(&key.key)?;
        let step = Step::from(derivation, key.key.clone())?;
        let ahead = steps_after(&step, derivation, window)?;
        Ok(Self { index: key.index, step, ahead })
    }

    /// Its place.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// What encrypts our own frames with this key.
    pub(super) fn sealer(&self) -> Sealer {
        Sealer::of(&self.step, self.index)
    }
}

fn steps_after(
    step: &Step,
    derivation: KeyDerivation,
    window: u8,
) -> Result<VecDeque<Step>, KeyError> {
    let mut ahead = VecDeque::new();
    for _ in 0..window.min(MAX_WINDOW) {
        let next = ahead.back().unwrap_or(step).ratcheted(derivation)?;
        ahead.push_back(next);
    }
    Ok(ahead)
}

/// A frame that opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The frame as it was before it was encrypted.
    pub frame: Vec<u8>,
    /// How far the key was ratcheted for it: 0, as a rule. Otherwise the window is shorter by that,
    /// and [`Ring::refill`] says what is to be derived.
    pub ratcheted: u8,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened {} bytes, ratcheted by {}", self.frame.len(), self.ratcheted)
    }
}

/// One place of a ring.
struct Place {
    step: Step,
    ahead: VecDeque<Step>,
    /// Frames in a row that did not open.
    failures: u32,
    /// The how manieth key of the ring it is.
    order: u64,
}

/// The keys of one participant.
///
/// ```
/// use matrix_voip::{config::{KeyDerivation, KeyProfile}, redact::SecretBytes, wire::keys::MediaKey};
/// use matrix_voip_media::e2ee::{Coding, Prepared, Ring, Sealer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = MediaKey { index: 3, key: SecretBytes::new([7; 32]) };
/// let sealed = Sealer::new(KeyDerivation::Hkdf, &key)?.seal(Coding::Opus, &[0xf8, 1, 2, 3])?;
///
/// let mut ring = Ring::new(KeyProfile::ELEMENT_CALL)?;
/// ring.set(Prepared::derive(KeyDerivation::Hkdf, 8, &key)?)?;
/// assert_eq!(ring.open(Coding::Opus, &sealed)?.frame, [0xf8, 1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub struct Ring {
    profile: KeyProfile,
    places: BTreeMap<u8, Place>,
    /// How many keys were put in.
    keys: u64,
    /// The newest of them under which a frame has opened, and how many have.
    newest: (u64, u32),
}

impl Ring {
    /// A ring without keys.
    ///
    /// # Errors
    /// [`KeyError::RingSize`].
    pub fn new(profile: KeyProfile) -> Result<Self, KeyError> {
        match profile.ring_size {
            1..=MOST_PLACES => {
                Ok(Self { profile, places: BTreeMap::new(), keys: 0, newest: (0, 0) })
            }
            other => Err(KeyError::RingSize(other)),
        }
    }

    /// How the keys are used.
    pub fn profile(&self) -> KeyProfile {
        self.profile
    }

    /// Puts a key into its place; what stood there is wiped, its failures are forgotten.
    ///
    /// # Errors
    /// [`KeyError::OutsideRing`].
    pub fn set(&mut self, key: Prepared) -> Result<(), KeyError> {
        let Prepared { index, step, ahead } = key;
        self.check(index)?;
        self.keys += 1;
        self.places.insert(index, Place { step, ahead, failures: 0, order: self.keys });
        Ok(())
    }

    /// Wipes all keys but that of this place.
    pub fn keep_only(&mut self, index: u8) {
        self.places.retain(|place, _| *place == index);
    }

    /// Whether there is such a place.
    ///
    /// # Errors
    /// [`KeyError::OutsideRing`].
    pub fn check(&self, index: u8) -> Result<(), KeyError> {
        let outside = KeyError::OutsideRing { index, ring_size: self.profile.ring_size };
        if self.has_place(index) { Ok(()) } else { Err(outside) }
    }

    /// Where there are keys.
    pub fn indices(&self) -> impl Iterator<Item = u8> {
        self.places.keys().copied()
    }

    /// The key at a place as it is now, ratcheted or not.
    pub fn export(&self, index: u8) -> Option<SecretBytes> {
        self.places.get(&index).map(|place| place.step.material.clone())
    }

    /// Decrypts a frame; an empty one stays empty.
    ///
    /// # Errors
    /// [`OpenError`]: the frame must not be played.
    pub fn open(&mut self, coding: Coding, frame: &[u8]) -> Result<Opened, OpenError> {
        if frame.is_empty() {
            return Ok(Opened { frame: Vec::new(), ratcheted: 0 });
        }
        let sealed = Sealed::parse(coding, frame)?;
        let index = sealed.index;
        if !self.has_place(index) {
            return Err(OpenError::OutsideRing(index));
        }
        let place = self.places.get_mut(&index).ok_or(OpenError::NoKey(index))?;
        let opened = place.open(&sealed).ok_or(OpenError::Tag(index))?;
        let order = place.order;
        self.note_opened(order);
        Ok(opened)
    }

    /// A frame has opened under this key: after some, those that are older are wiped.
    fn note_opened(&mut self, order: u64) {
        let (newest, frames) = &mut self.newest;
        match order.cmp(newest) {
            Ordering::Less => return,
            Ordering::Equal => *frames = frames.saturating_add(1),
            Ordering::Greater => (*newest, *frames) = (order, 1),
        }
        if *frames == IN_FLIGHT {
            self.places.retain(|_, place| place.order >= order);
        }
    }

    /// What is to be derived so that the window at a place is as long as it should be; `None`:
    /// nothing. For a place that [`open`](Self::open) has ratcheted.
    pub fn refill(&self, index: u8, window: u8) -> Option<Refill> {
        let place = self.places.get(&index)?;
        let steps = window.min(MAX_WINDOW).saturating_sub(place.last().1);
        let after = place.last().0.material.clone();
        let derivation = self.profile.derivation;
        (steps > 0).then_some(Refill { index, after, derivation, steps, derived: VecDeque::new() })
    }

    /// Takes what was derived, unless the key was replaced or ratcheted on meanwhile.
    pub fn take(&mut self, refill: Refill) {
        if let Some(place) = self.places.get_mut(&refill.index)
            && place.last().0.material == refill.after
        {
            place.ahead.extend(refill.derived);
        }
    }

    fn has_place(&self, index: u8) -> bool {
        u16::from(index) < self.profile.ring_size
    }
}

impl Place {
    fn open(&mut self, sealed: &Sealed<'_>) -> Option<Opened> {
        if let Some(frame) = sealed.open(&self.step.key) {
            self.failures = 0;
            return Some(Opened { frame, ratcheted: 0 });
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures > TOLERANCE {
            return None;
        }
        let mut ahead = self.ahead.iter().enumerate();
        let (at, frame) = ahead.find_map(|(at, step)| Some((at, sealed.open(&step.key)?)))?;
        self.step = self.ahead.drain(..=at).next_back()?;
        self.failures = 0;
        Some(Opened { frame, ratcheted: u8::try_from(at + 1).unwrap_or(MAX_WINDOW) })
    }

    /// The last step that is derived, and how far ahead it is.
    fn last(&self) -> (&Step, u8) {
        let count = u8::try_from(self.ahead.len()).unwrap_or(MAX_WINDOW);
        (self.ahead.back().unwrap_or(&self.step), count)
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Steps of a ratchet that are to be derived off the media path.
pub struct Refill {
    index: u8,
    after: SecretBytes,
    derivation: KeyDerivation,
    steps: u8,
    derived: VecDeque<Step>,
}

impl Refill {
    /// How the keys are derived: under PBKDF2 it is slow.
    pub fn derivation(&self) -> KeyDerivation {
        self.derivation
    }

    /// Derives them.
    ///
    /// # Errors
    /// [`KeyError::Derivation`].
    pub fn derive(mut self) -> Result<Self, KeyError> {
        let last = Step::from(self.derivation, self.after.clone())?;
        self.derived = steps_after(&last, self.derivation, self.steps)?;
        Ok(self)
    }
}

impl std::fmt::Debug for Refill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refill").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testkit::{CODINGS, frame},
        *,
    };

    const HKDF: KeyDerivation = KeyDerivation::Hkdf;

    fn key(index: u8, byte: u8) -> MediaKey {
        MediaKey { index, key: SecretBytes::new([byte; 32]) }
    }

    fn ring(window: u8, keys: &[MediaKey]) -> Ring {
        let mut ring = Ring::new(KeyProfile { ring_size: 16, derivation: HKDF }).unwrap();
        for key in keys {
            ring.set(Prepared::derive(HKDF, window, key).unwrap()).unwrap();
        }
        ring
    }

    /// A frame of somebody who has ratcheted his key so often.
    fn sealed(key: &MediaKey, ratcheted: usize) -> Vec<u8> {
        let mut key = key.clone();
        for _ in 0..ratcheted {
            key.key = derive::ratcheted(HKDF, key.key.expose()).unwrap();
        }
        Sealer::new(HKDF, &key).unwrap().seal(Coding::Opus, &frame(Coding::Opus, b"x")).unwrap()
    }

    fn opens(ring: &mut Ring, sealed: &[u8]) -> Result<u8, OpenError> {
        ring.open(Coding::Opus, sealed).map(|opened| opened.ratcheted)
    }

    #[test]
    fn each_place_has_a_key_of_its_own() {
        let (first, second) = (key(0, 1), key(15, 2));
        let mut ring = ring(0, &[first.clone(), second.clone()]);
        assert_eq!(opens(&mut ring, &sealed(&first, 0)), Ok(0));
        assert_eq!(opens(&mut ring, &sealed(&second, 0)), Ok(0));
        assert_eq!(opens(&mut ring, &sealed(&key(7, 1), 0)), Err(OpenError::NoKey(7)));
        assert_eq!(ring.indices().collect::<Vec<_>>(), [0, 15]);
    }

    /// Whoever left the call has the older ones, and with the server's help could go on as its owner.
    #[test]
    fn older_keys_go_some_seconds_after_their_owner_sends_with_a_newer_one() {
        let (old, new, next) = (key(9, 1), key(0, 2), key(1, 3));
        let mut ring = ring(0, &[old.clone(), new.clone(), next.clone()]);
        let late = sealed(&old, 0);
        for _ in 1..IN_FLIGHT {
            assert_eq!(opens(&mut ring, &sealed(&new, 0)), Ok(0));
            assert_eq!(opens(&mut ring, &late), Ok(0), "what is on its way opens");
        }
        assert_eq!(opens(&mut ring, &sealed(&new, 0)), Ok(0));
        assert_eq!(opens(&mut ring, &late), Err(OpenError::NoKey(9)));
        assert_eq!(ring.indices().collect::<Vec<_>>(), [0, 1], "a key that is not used yet stays");
        assert_eq!(opens(&mut ring, &sealed(&next, 0)), Ok(0));
    }

    #[test]
    fn an_index_outside_the_ring_is_an_error_and_no_other_place() {
        let mut ring = ring(0, &[key(0, 1)]);
        let outside = Prepared::derive(HKDF, 0, &key(16, 1)).unwrap();
        let error = KeyError::OutsideRing { index: 16, ring_size: 16 };
        assert_eq!(ring.set(outside), Err(error));
        assert_eq!(opens(&mut ring, &sealed(&key(16, 1), 0)), Err(OpenError::OutsideRing(16)));
    }

    #[test]
    fn a_ring_has_one_to_256_places() {
        let ring = |ring_size| Ring::new(KeyProfile { ring_size, derivation: HKDF }).map(drop);
        assert_eq!([0, 257].map(ring), [Err(KeyError::RingSize(0)), Err(KeyError::RingSize(257))]);
        assert_eq!([1, 256].map(ring), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_key_in_the_place_of_another_opens_only_what_is_its_own() {
        let (old, new) = (key(3, 1), key(3, 2));
        let mut ring = ring(8, std::slice::from_ref(&old));
        (0..1000).for_each(|_| assert!(opens(&mut ring, &sealed(&new, 0)).is_err()));
        ring.set(Prepared::derive(HKDF, 8, &new).unwrap()).unwrap();
        assert_eq!(opens(&mut ring, &sealed(&new, 0)), Ok(0));
        assert_eq!(opens(&mut ring, &sealed(&old, 0)), Err(OpenError::Tag(3)));
        assert_eq!(opens(&mut ring, &sealed(&new, 5)), Ok(5), "its failures are its own");
    }

    #[test]
    fn a_ratcheted_key_is_found_within_the_window_and_not_beyond() {
        let key = key(3, 1);
        for (ratcheted, outcome) in [(1, Ok(1)), (4, Ok(4)), (5, Err(OpenError::Tag(3)))] {
            let mut ring = ring(4, std::slice::from_ref(&key));
            assert_eq!(opens(&mut ring, &sealed(&key, ratcheted)), outcome);
        }
        assert!(opens(&mut ring(0, std::slice::from_ref(&key)), &sealed(&key, 1)).is_err());
    }

    #[test]
    fn what_was_ratcheted_stays_so_and_the_window_moves_with_it() {
        let key = key(3, 1);
        let mut ring = ring(2, std::slice::from_ref(&key));
        assert_eq!(opens(&mut ring, &sealed(&key, 2)), Ok(2));
        assert!(opens(&mut ring, &sealed(&key, 0)).is_err(), "it does not go back");
        assert!(opens(&mut ring, &sealed(&key, 3)).is_err(), "nothing is derived here");
        let refill = ring.refill(3, 2).expect("two steps are used up").derive().unwrap();
        ring.take(refill);
        assert!(ring.refill(3, 2).is_none());
        assert_eq!(opens(&mut ring, &sealed(&key, 3)), Ok(1));
        let ratcheted =
            (0..3).fold(key.key, |key, _| derive::ratcheted(HKDF, key.expose()).unwrap());
        assert_eq!(ring.export(3), Some(ratcheted));
    }

    #[test]
    fn steps_of_a_key_that_was_replaced_meanwhile_are_not_taken() {
        let old = key(3, 1);
        let mut ring = ring(2, std::slice::from_ref(&old));
        assert_eq!(opens(&mut ring, &sealed(&old, 1)), Ok(1));
        let late = ring.refill(3, 2).unwrap().derive().unwrap();
        ring.set(Prepared::derive(HKDF, 0, &key(3, 2)).unwrap()).unwrap();
        ring.take(late);
        assert!(opens(&mut ring, &sealed(&old, 2)).is_err());
    }

    #[test]
    fn after_ten_failures_only_the_key_itself_is_tried_until_a_frame_opens() {
        let right = key(3, 1);
        let mut ring = ring(4, std::slice::from_ref(&right));
        let stranger = sealed(&key(3, 9), 0);
        (0..10).for_each(|_| assert!(opens(&mut ring, &stranger).is_err()));
        assert!(opens(&mut ring, &sealed(&right, 1)).is_err(), "the window is left alone");
        assert_eq!(opens(&mut ring, &sealed(&right, 0)), Ok(0), "the key is not given up");
        assert_eq!(opens(&mut ring, &sealed(&right, 1)), Ok(1));
    }

    #[test]
    fn a_changed_index_opens_nothing_elsewhere_in_the_ring() {
        let keys: Vec<_> = (0..16).map(|index| key(index, index + 1)).collect();
        let mut ring = ring(2, &keys);
        for coding in CODINGS {
            let sealer = Sealer::new(HKDF, &keys[5]).unwrap();
            let mut sealed = sealer.seal(coding, &frame(coding, b"content")).unwrap();
            for index in (0..=255).filter(|index| *index != 5) {
                *sealed.last_mut().unwrap() = index;
                assert!(ring.open(coding, &sealed).is_err(), "{coding:?} {index}");
            }
        }
    }

    #[test]
    fn nothing_of_keys_and_frames_is_printed() {
        let mut ring = ring(1, &[key(3, 0x41)]);
        let opened = ring.open(Coding::Opus, &sealed(&key(3, 0x41), 1)).unwrap();
        let refill = ring.refill(3, 1);
        let prepared = Prepared::derive(HKDF, 1, &key(3, 0x41));
        let text = format!("{ring:?} {opened:?} {refill:?} {prepared:?}");
        assert!(!text.contains("65") && !text.contains('['), "{text}");
    }

    proptest! {
        #[test]
        fn hostile_frames_are_only_refused(
            bytes in proptest::collection::vec(prop_oneof![0_u8..4, Just(12), any::<u8>()], 1..200),
            coding in 0..CODINGS.len()
        ) {
            let mut ring = ring(2, &[key(0, 1), key(1, 1), key(12, 3)]);
            prop_assert!(ring.open(CODINGS[coding], &bytes).is_err());
        }
    }
}
