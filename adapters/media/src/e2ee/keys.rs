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
/// Nothing of it is printed; keys are wiped when they are replaced or forgotten, our own when we send
/// with a newer one, and others' some seconds after they do.
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
    /// 60 ms of a processor when a key arrives. With 0 steps our own key is not ratcheted either, because
    /// others with the same setting could not follow: the library makes a fresh one instead.
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
    /// while there are no keys. There is no way back but to leave the call. The library does the same
    /// when it begins with keys ([`KeyProvider::begin`](matrix_voip::host::keys::KeyProvider::begin)), and
    /// so does each key, also one that is refused.
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
        if *of == self.0.me { 0 } else { self.steps(derivation) }
    }

    /// How many steps of a ratchet can be followed here: as many, for all we know, as others follow.
    pub(super) fn steps(&self, derivation: KeyDerivation) -> u8 {
        let by_cost = if derivation == KeyDerivation::Hkdf { WINDOW } else { 0 };
        self.0.window.unwrap_or(by_cost)
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

    /// Derives the steps that a ratchet has used up: at once, or beside the media path where it is slow;
    /// for one place once at a time, however often its owner ratchets.
    fn go_on(&self, lane: Arc<Lane>, member: &ParticipantId, index: u8) {
        let Some(derivation) = lane.profile().map(|profile| profile.derivation) else { return };
        let runtime = match derivation {
            KeyDerivation::Pbkdf2 => match Handle::try_current() {
                Ok(runtime) => Some(runtime),
                // Its window stays shorter.
                Err(_) => return,
            },
            _ => None,
        };
        let Some(refill) = lane.refill(index, self.window(derivation, member)) else { return };
        let derive = move || lane.take(index, refill.derive().ok());
        match runtime {
            Some(runtime) => drop(runtime.spawn_blocking(derive)),
            None => derive(),
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
mod tests;
