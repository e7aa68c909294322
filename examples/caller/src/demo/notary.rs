//! Listens to an engine: it tells which certificate each side announces, and which one it is told
//! that the other side has.
//!
//! Fingerprints are the one thing in signalling that media's secrecy rests on; where the two do
//! not match, the demo can say whose was changed on the way.

use matrix_voip::{id::PeerId, machine::io::Description};

use super::{
    fact::{Fact, Who},
    teller::Teller,
};
use crate::overheard::Listener;

/// What stands before a fingerprint.
const MARK: &str = "a=fingerprint:";

/// Listens to one side's engine.
pub(crate) struct Notary {
    who: Who,
    teller: Teller,
}

impl Notary {
    /// Listens to the engine of `who`.
    pub(crate) fn new(who: Who, teller: Teller) -> Self {
        Self { who, teller }
    }
}

/// The first fingerprint that a description names.
pub(crate) fn fingerprint(description: &Description) -> Option<String> {
    let (_, rest) = description.sdp.expose().split_once(MARK)?;
    rest.lines().next().map(str::to_owned)
}

impl Listener for Notary {
    fn local_read(&self, _: PeerId, ours: &Description) {
        if let Some(fingerprint) = fingerprint(ours) {
            self.teller.tell(Fact::Announced(self.who, fingerprint));
        }
    }

    fn remote_told(&self, _: PeerId, theirs: &Description) {
        if let Some(fingerprint) = fingerprint(theirs) {
            self.teller.tell(Fact::ToldOf(self.who.other(), fingerprint));
        }
    }
}
