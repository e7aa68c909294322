//! Whose whole state is to be read, and when: of each joined room once, and again where changes may
//! have been missed.
//!
//! It goes beside the lanes: reading the state of a large room may take seconds, and no invite shall
//! wait for it. What changes meanwhile is handed over at once, and stands on top of what was read.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use matrix_voip::{
    id::RoomId,
    time::{Mono, Now},
};

use super::lane::{Ask, Reading, Source};
use crate::intake::{Item, WholeState};

/// How many rooms' states are read at once.
pub(crate) const MAX_READS: usize = 4;
/// How often the state of a room is asked for before others have their turn.
pub(crate) const MAX_TRIES: u32 = 3;
/// Before the second try; before the third it is twice as long.
const PAUSE: Duration = Duration::from_secs(2);
/// Before a room whose state could not be read has another turn, at the next sync after that.
pub(crate) const REST: Duration = Duration::from_secs(60);
/// Most changes that are kept while the state is read; beyond them it is read again.
pub(crate) const MAX_CHANGES: usize = 4096;

/// The states of all joined rooms.
#[derive(Debug, Default)]
pub(super) struct Survey {
    rooms: BTreeMap<RoomId, Standing>,
    queue: VecDeque<RoomId>,
    /// Those that are being read, also of rooms that we have left meanwhile.
    reads: BTreeMap<RoomId, Read>,
    /// Those that could not be read, and since when.
    resting: BTreeMap<RoomId, Mono>,
    /// Those in which we have written some of the state: there the store is behind.
    ours: BTreeSet<RoomId>,
}

/// What is known of one room's state.
#[derive(Debug, Default)]
struct Standing {
    /// When it was last asked for.
    asked: Option<Mono>,
    is_queued: bool,
}

/// The state of one room while it is read.
#[derive(Debug, Default)]
struct Read {
    tries: u32,
    /// What changed since it was asked for, by type and key.
    changed: BTreeMap<(String, String), Item>,
    /// Whether what is read is good for nothing.
    useless: bool,
    /// Whether to read once more.
    again: bool,
}

/// What becomes of an answer.
#[derive(Debug)]
pub(super) enum Outcome {
    /// That is the state.
    Known(WholeState),
    /// There is nothing to tell.
    Nothing,
    /// It is tried again at once.
    Again(Ask),
    /// It is tried again later.
    Rests,
}

impl Survey {
    /// We are in this room: the first time its state is to be read.
    pub(super) fn meet(&mut self, room: &RoomId) {
        if !self.rooms.contains_key(room) {
            self.rooms.insert(room.clone(), Standing::default());
            self.queue(room);
        }
    }

    /// Changes before `at` may have been missed, in a room that we are in.
    pub(super) fn doubt(&mut self, room: &RoomId, at: Now) {
        let asked = self.rooms.get(room).map(|standing| standing.asked);
        if asked.is_some_and(|asked| asked.is_none_or(|asked| asked < at.mono)) {
            self.queue(room);
        }
    }

    /// We write some of the state of this room, or have done so. What is read from before would
    /// tell us that it is not there.
    pub(super) fn wrote(&mut self, room: &RoomId) {
        self.ours.insert(room.clone());
        if let Some(read) = self.reads.get_mut(room) {
            (read.useless, read.again) = (true, true);
        }
    }

    /// We are in this room no more.
    pub(super) fn forget(&mut self, room: &RoomId) {
        self.rooms.remove(room);
        self.resting.remove(room);
        self.ours.remove(room);
        self.queue.retain(|queued| queued != room);
        if let Some(read) = self.reads.get_mut(room) {
            (read.useless, read.again) = (true, false);
        }
    }

    /// Whether we are in this room.
    pub(super) fn has(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    /// A sync succeeded: those that could not be read have another turn, when they have rested.
    pub(super) fn on_synced(&mut self, now: Now) {
        let rested = self.resting.extract_if(.., |_, since| now.mono.since(*since) >= REST);
        for room in rested.map(|(room, _)| room).collect::<Vec<_>>() {
            self.queue(&room);
        }
    }

    /// How many could not be read.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// The next room whose state is to be read now.
    pub(super) fn next(&mut self, now: Now) -> Option<(RoomId, Ask)> {
        if self.reads.len() >= MAX_READS {
            return None;
        }
        let room = self.queue.pop_front()?;
        let standing = self.rooms.entry(room.clone()).or_default();
        (standing.is_queued, standing.asked) = (false, Some(now.mono));
        self.resting.remove(&room);
        self.reads.insert(room.clone(), Read::default());
        let ask = self.ask(&room, Duration::ZERO);
        Some((room, ask))
    }

    /// The state of the room changed so.
    pub(super) fn note(&mut self, room: &RoomId, changes: &[Item]) {
        let Some(read) = self.reads.get_mut(room) else { return };
        let keyed = changes.iter().filter_map(|item| Some((item.place()?, item.clone())));
        read.changed.extend(keyed);
        if read.changed.len() > MAX_CHANGES {
            read.changed.clear();
            (read.useless, read.again) = (true, true);
        }
    }

    /// What was read of the state of the room.
    pub(super) fn on_answer(&mut self, now: Now, room: &RoomId, answer: Reading) -> Outcome {
        let Some(read) = self.reads.get_mut(room) else { return Outcome::Nothing };
        if let (Reading::Failed, false) = (&answer, read.useless) {
            read.tries += 1;
            if read.tries < MAX_TRIES {
                let after = PAUSE * read.tries;
                return Outcome::Again(self.ask(room, after));
            }
        }
        let Some(Read { changed, useless, again, .. }) = self.reads.remove(room) else {
            return Outcome::Nothing;
        };
        if again {
            self.queue(room);
        }
        match answer {
            _ if useless => Outcome::Nothing,
            Reading::Read(whole) => Outcome::Known(topped(whole, changed)),
            Reading::Refused => Outcome::Nothing,
            Reading::Failed => {
                self.resting.insert(room.clone(), now.mono);
                Outcome::Rests
            }
        }
    }

    fn ask(&self, room: &RoomId, after: Duration) -> Ask {
        let is_ours = self.ours.contains(room);
        let from = if is_ours { Source::Homeserver } else { Source::Nearest };
        Ask::State { from, after }
    }

    fn queue(&mut self, room: &RoomId) {
        if let Some(read) = self.reads.get_mut(room) {
            read.again = true;
        } else if let Some(standing) = self.rooms.get_mut(room)
            && !std::mem::replace(&mut standing.is_queued, true)
        {
            self.queue.push_back(room.clone());
        }
    }
}

/// What was read, with what changed meanwhile in its place.
fn topped(mut whole: WholeState, changed: BTreeMap<(String, String), Item>) -> WholeState {
    let is_told = |item: &Item| item.place().is_some_and(|place| changed.contains_key(&place));
    whole.items.retain(|item| !is_told(item));
    let writers: BTreeSet<_> = changed.values().filter_map(Item::writer).cloned().collect();
    whole.outside.retain(|user| !writers.contains(user));
    whole.items.extend(changed.into_values());
    whole
}
