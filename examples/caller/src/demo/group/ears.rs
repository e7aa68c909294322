//! The ears of one participant: one for the sound of each other, by whose track it is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use matrix_voip::host::{FrameSink, RemoteTrack};
use tokio::sync::watch;

use super::{
    Teller,
    cast::Who,
    fact::{Fact, Track},
};
use crate::demo::{
    fact::Sound,
    senses::{Listener, SharedEar},
};

/// How many of all the others are heard by anybody: counted up, waited for.
#[derive(Debug, Clone)]
pub(crate) struct Tally(Arc<watch::Sender<usize>>);

impl Tally {
    /// Nobody has heard anything.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Waits for so many. Cancel safe.
    pub(crate) async fn reaches(&self, all: usize) {
        // The sender is ours: it cannot be gone.
        drop(self.0.subscribe().wait_for(|heard| *heard >= all).await);
    }
}

/// An ear, and whether it has ever heard anything.
#[derive(Debug, Clone, Default)]
struct Pair {
    ear: SharedEar,
    heard: Arc<AtomicBool>,
}

/// The ears of one participant.
#[derive(Debug, Clone)]
pub(crate) struct Ears {
    who: Who,
    pairs: Arc<BTreeMap<Who, Pair>>,
    tally: Tally,
    teller: Teller,
}

impl Ears {
    /// Ears for all others among so many.
    pub(crate) fn new(who: Who, size: usize, tally: Tally, teller: Teller) -> Self {
        let pairs = Arc::new(who.others(size).map(|of| (of, Pair::default())).collect());
        Self { who, pairs, tally, teller }
    }

    /// The sink for a remote track; none for one of nobody who takes part.
    pub(crate) fn sink(&self, track: &RemoteTrack) -> Option<Box<dyn FrameSink>> {
        let of = track.member.as_ref().and_then(Who::of);
        let Some((of, pair)) = of.and_then(|of| Some((of, self.pairs.get(&of)?))) else {
            self.teller.tell(Fact::Stray(self.who));
            return None;
        };
        let (peer, stream) = (track.peer, track.stream.clone());
        self.teller.tell(Fact::Track(self.who, of, Track { peer, stream }));
        let (ears, heard) = (self.clone(), Arc::clone(&pair.heard));
        let on_first = move || {
            // A second track of the same participant is heard first no more.
            if !heard.swap(true, Ordering::Relaxed) {
                ears.teller.tell(Fact::FirstSound(ears.who, of));
                ears.tally.0.send_modify(|heard| *heard += 1);
            }
        };
        Some(Box::new(Listener::new(pair.ear.clone(), on_first)))
    }

    /// What is heard of another: at this moment, and in all.
    pub(crate) fn of(&self, other: Who) -> (Sound, Sound) {
        let pair = self.pairs.get(&other);
        pair.map(|pair| (pair.ear.now(), pair.ear.overall())).unwrap_or_default()
    }
}
