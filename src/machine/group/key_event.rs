//! What an application learns of the media keys of a group call, and the part of the snapshot that it
//! folds to.
//!
//! Keys are named by their place in the ring and a fingerprint; their bytes go to the provider alone.

use std::collections::{BTreeMap, BTreeSet};

use super::roster::ParticipantId;

/// News of media keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyEvent {
    /// What we send is encrypted with this key of ours from now on: the provider has it.
    Used(KeyName),
    /// A key of a participant came, and is given to the provider.
    Received {
        /// Whose.
        participant: ParticipantId,
        /// Which.
        key: KeyName,
    },
    /// A participant shares no key, although he was asked: what he sends cannot be read.
    Missing(ParticipantId),
    /// The provider does not take a key of this participant; it may be ours.
    Refused(ParticipantId),
    /// A participant has our newest key: the homeserver took it for him.
    Delivered {
        /// Who.
        participant: ParticipantId,
        /// Which.
        key: KeyName,
    },
    /// A participant does not get our key.
    Undelivered {
        /// Who.
        participant: ParticipantId,
        /// Why, and what follows.
        why: Undelivered,
    },
}

/// Which of a participant's keys it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// Its place in the ring.
    pub index: u8,
    /// What tells it apart from others: eight hexadecimal digits.
    pub fingerprint: String,
}

impl From<&crate::wire::keys::MediaKey> for KeyName {
    fn from(key: &crate::wire::keys::MediaKey) -> Self {
        Self { index: key.index, fingerprint: key.fingerprint() }
    }
}

/// Why a participant does not get our media key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Undelivered {
    /// There are no keys to encrypt for his device. As soon as there are he gets it.
    NoDeviceKeys,
    /// It was tried several times; it is once more every two minutes, and with the next key.
    GivenUp,
}

/// How it stands with the media keys of a group call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct KeySnapshot {
    /// The key with which what we send is encrypted.
    pub own: Option<KeyName>,
    /// The key that came last of each of the others.
    pub theirs: BTreeMap<ParticipantId, KeyName>,
    /// Whose key did not come, although he was asked, or was not taken by the provider.
    pub missing: BTreeSet<ParticipantId>,
    /// Who does not get ours.
    pub undelivered: BTreeMap<ParticipantId, Undelivered>,
}

impl KeySnapshot {
    /// Takes an event into account.
    pub(super) fn apply(&mut self, event: &KeyEvent, ours: &ParticipantId) {
        match event {
            KeyEvent::Used(key) => {
                self.missing.remove(ours);
                self.own = Some(key.clone());
            }
            KeyEvent::Received { participant, key } => {
                self.missing.remove(participant);
                self.theirs.insert(participant.clone(), key.clone());
            }
            KeyEvent::Missing(who) | KeyEvent::Refused(who) => {
                self.missing.insert(who.clone());
            }
            KeyEvent::Delivered { participant, .. } => {
                self.undelivered.remove(participant);
            }
            KeyEvent::Undelivered { participant, why } => {
                self.undelivered.insert(participant.clone(), *why);
            }
        }
    }

    /// A participant left.
    pub(super) fn forget(&mut self, who: &ParticipantId) {
        self.theirs.remove(who);
        self.missing.remove(who);
        self.undelivered.remove(who);
    }
}
