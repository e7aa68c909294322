//! One participant of one call: his keys, and what became of his frames. Shared by all his tracks and
//! by whoever sets keys; locked for no longer than one frame.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_voip::{config::KeyProfile, machine::io::ParticipantId, redact::SecretBytes};

use super::{
    coding::Coding,
    error::{KeyError, OpenError, SealError},
    open,
    ring::{Opened, Prepared, Refill, Ring},
    seal::Sealer,
    states::{Fate, FrameCounts, FrameState},
};

/// A participant of a call.
#[derive(Default)]
pub(super) struct Lane(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    ring: Option<Ring>,
    /// What our own frames are encrypted with.
    sealer: Option<Arc<Sealer>>,
    /// Places whose window is being derived.
    refilling: BTreeSet<u8>,
    counts: FrameCounts,
    latest: Option<Fate>,
}

/// Whose key it is: with ours we also send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    Theirs,
}

impl Lane {
    /// Puts a key into its place; ours is sent with from now on.
    pub(super) fn set(
        &self,
        profile: KeyProfile,
        key: Prepared,
        whose: Whose,
    ) -> Result<(), KeyError> {
        let sealer = (whose == Whose::Ours).then(|| Arc::new(key.sealer()));
        let mut inside = self.lock();
        let ring = match &mut inside.ring {
            Some(ring) => ring,
            none => none.insert(Ring::new(profile)?),
        };
        if ring.profile() != profile {
            return Err(KeyError::OtherProfile);
        }
        let index = key.index();
        ring.set(key)?;
        if sealer.is_some() {
            // What we sent with before nobody asks us for any more.
            ring.keep_only(index);
            inside.sealer = sealer;
        }
        Ok(())
    }

    /// Puts a ratcheted key in the place of the one it was made from. Ours is sent with from now on
    /// where that one was.
    pub(super) fn ratcheted(&self, from: &SecretBytes, key: Prepared) -> Result<(), KeyError> {
        let index = key.index();
        let mut inside = self.lock();
        let ring = inside.ring.as_mut().ok_or(KeyError::NoKey(index))?;
        if ring.export(index).as_ref() != Some(from) {
            return Err(KeyError::Replaced(index));
        }
        let sealer = key.sealer();
        ring.set(key)?;
        if inside.sealer.as_ref().is_some_and(|sealer| sealer.index() == index) {
            inside.sealer = Some(Arc::new(sealer));
        }
        Ok(())
    }

    pub(super) fn export(&self, index: u8) -> Option<SecretBytes> {
        self.lock().ring.as_ref()?.export(index)
    }

    pub(super) fn profile(&self) -> Option<KeyProfile> {
        self.lock().ring.as_ref().map(Ring::profile)
    }

    /// Decrypts a received frame and counts what became of it.
    pub(super) fn open(
        &self,
        coding: Option<Coding>,
        frame: &[u8],
        trailer: &[u8],
    ) -> Result<Opened, OpenError> {
        let mut inside = self.lock();
        let result = match (coding, &mut inside.ring) {
            _ if open::is_injected(frame, trailer) => Err(OpenError::Injected),
            (None, _) => Err(OpenError::BadTrailer),
            (Some(coding), Some(ring)) => ring.open(coding, frame),
            (Some(coding), None) => without_keys(coding, frame),
        };
        inside.count(result.as_ref().map_or_else(|error| received(*error), |_| Fate::Opened));
        result
    }

    /// What is to be derived after a key was ratcheted, unless that is being done: then until
    /// [`take`](Self::take) nothing.
    pub(super) fn refill(&self, index: u8, window: u8) -> Option<Refill> {
        let mut inside = self.lock();
        let refill = inside.ring.as_ref()?.refill(index, window)?;
        inside.refilling.insert(index).then_some(refill)
    }

    /// Takes what was derived for a place, if it could be.
    pub(super) fn take(&self, index: u8, refill: Option<Refill>) {
        let mut inside = self.lock();
        inside.refilling.remove(&index);
        if let (Some(ring), Some(refill)) = (&mut inside.ring, refill) {
            ring.take(refill);
        }
    }

    /// Whether fewer steps than these are derived for a place.
    #[cfg(test)]
    pub(super) fn is_short(&self, index: u8, window: u8) -> bool {
        self.lock().ring.as_ref().is_some_and(|ring| ring.refill(index, window).is_some())
    }

    /// Encrypts a frame of ours and counts what became of it; `None`: it must not be sent.
    pub(super) fn seal(&self, coding: Option<Coding>, frame: &[u8]) -> Option<Vec<u8>> {
        let sealer = self.lock().sealer.clone();
        let result = match (sealer, coding) {
            (None, _) => Err(Fate::Held),
            (Some(_), None) => Err(Fate::Unfit),
            (Some(sealer), Some(coding)) => sealer.seal(coding, frame).map_err(sent),
        };
        self.lock().count(*result.as_ref().map_or_else(|fate| fate, |_| &Fate::Sealed));
        result.ok()
    }

    pub(super) fn state(&self, participant: ParticipantId) -> FrameState {
        let inside = self.lock();
        let keys = inside.ring.as_ref().map(|ring| ring.indices().collect()).unwrap_or_default();
        FrameState { participant, keys, counts: inside.counts, latest: inside.latest }
    }

    /// Nothing is left half done while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn count(&mut self, fate: Fate) {
        self.counts.add(fate);
        self.latest = Some(fate);
    }
}

/// A frame of somebody who has no key here.
fn without_keys(coding: Coding, frame: &[u8]) -> Result<Opened, OpenError> {
    if frame.is_empty() {
        return Ok(Opened { frame: Vec::new(), ratcheted: 0 });
    }
    open::Sealed::parse(coding, frame).and_then(|sealed| Err(OpenError::NoKey(sealed.index)))
}

const fn received(error: OpenError) -> Fate {
    match error {
        OpenError::TooShort | OpenError::BadTrailer | OpenError::NoSlice => Fate::Plain,
        OpenError::NoKey(_) | OpenError::OutsideRing(_) => Fate::NoKey,
        OpenError::Tag(_) => Fate::WrongKey,
        OpenError::Injected => Fate::Injected,
    }
}

const fn sent(error: SealError) -> Fate {
    match error {
        SealError::Exhausted => Fate::Held,
        SealError::TooShort | SealError::NoSlice | SealError::Cipher => Fate::Unfit,
    }
}
