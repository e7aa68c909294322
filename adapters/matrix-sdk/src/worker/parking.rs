//! Events that wait for their room key.
//!
//! Bounded in number, in all and in each room, and in time: a call event that is older than any
//! invite can live is worth nothing. Nothing here has a timer; what is too old is left out when
//! somebody asks.

use std::collections::{BTreeSet, VecDeque};

use matrix_voip::{
    id::{EventId, RoomId},
    time::Now,
};

use super::LONGEST_LIFE;
use crate::intake::{Item, What};

/// Most events that wait for a key; the oldest goes first.
pub(crate) const MAX_PARKED: usize = 256;
/// Most of them in one room, so that one room cannot push out all others.
pub(crate) const MAX_PARKED_PER_ROOM: usize = 64;

/// Most sessions that are told apart; more than that are any.
pub(crate) const MAX_SESSIONS: usize = 64;

/// Of which sessions of a room keys came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sessions {
    /// Of these.
    These(BTreeSet<String>),
    /// Nobody knows.
    Any,
}

impl Sessions {
    /// Of one.
    pub(super) fn one(session: String) -> Self {
        Self::These([session].into())
    }

    /// Takes others in.
    pub(super) fn merge(&mut self, others: Self) {
        match (&mut *self, others) {
            (Self::These(these), Self::These(others)) => {
                these.extend(others);
                if these.len() > MAX_SESSIONS {
                    *self = Self::Any;
                }
            }
            (Self::Any, _) | (_, Self::Any) => *self = Self::Any,
        }
    }

    fn has(&self, session: &str) -> bool {
        match self {
            Self::These(these) => these.contains(session),
            Self::Any => true,
        }
    }
}

/// The events that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Parking {
    waiting: VecDeque<(RoomId, Item)>,
}

impl Parking {
    /// Keeps an event for its key.
    pub(super) fn park(&mut self, room: &RoomId, item: Item) {
        let in_room = self.waiting.iter().filter(|(parked, _)| parked == room).count();
        if in_room >= MAX_PARKED_PER_ROOM
            && let Some(oldest) = self.waiting.iter().position(|(parked, _)| parked == room)
        {
            self.waiting.remove(oldest);
        }
        if self.waiting.len() >= MAX_PARKED {
            self.waiting.pop_front();
        }
        self.waiting.push_back((room.clone(), item));
    }

    /// Takes out what waits in `room` for one of these sessions; what is too old is dropped.
    pub(super) fn take(&mut self, now: Now, room: &RoomId, sessions: &Sessions) -> Vec<Item> {
        let (taken, rest): (Vec<_>, Vec<_>) = self
            .waiting
            .drain(..)
            .filter(|(_, item)| item.age(now) < LONGEST_LIFE)
            .partition(|(parked, item)| parked == room && waits_for(item, sessions));
        self.waiting = rest.into();
        taken.into_iter().map(|(_, item)| item).collect()
    }

    /// Takes out one event, which came readable by another way.
    pub(super) fn remove(&mut self, id: &EventId) -> bool {
        let place = self.waiting.iter().position(|(_, item)| item.id.as_ref() == Some(id));
        place.and_then(|place| self.waiting.remove(place)).is_some()
    }

    /// Whether something waits in `room` for one of these sessions.
    pub(super) fn awaits(&self, room: &RoomId, sessions: &Sessions) -> bool {
        self.waiting.iter().any(|(parked, item)| parked == room && waits_for(item, sessions))
    }

    /// The rooms in which something waits.
    pub(super) fn rooms(&self) -> Vec<RoomId> {
        let mut rooms: Vec<RoomId> = self.waiting.iter().map(|(room, _)| room.clone()).collect();
        rooms.sort();
        rooms.dedup();
        rooms
    }

    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

fn waits_for(item: &Item, sessions: &Sessions) -> bool {
    match &item.what {
        What::Locked(locked) => sessions.has(&locked.session),
        _ => false,
    }
}
