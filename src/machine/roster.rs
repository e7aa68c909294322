//! Which call is where: the indexes by which an event finds its call without looking at others.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash,
};

use super::hashed::Hashed;
use crate::id::{CallId, RoomId, SessionId, UserId};

/// Indexes over all calls of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Roster {
    by_id: BTreeMap<Hashed<(RoomId, CallId)>, SessionId>,
    by_user: BTreeMap<Hashed<(RoomId, UserId)>, BTreeSet<SessionId>>,
    ringing: BTreeSet<SessionId>,
    connected: BTreeSet<SessionId>,
    answered: BTreeSet<SessionId>,
    taken: BTreeSet<SessionId>,
    partings: BTreeSet<SessionId>,
}

impl Roster {
    /// A call exists.
    pub(super) fn add(&mut self, room: &RoomId, call: &CallId, session: SessionId) {
        self.by_id.insert(key(room, call), session);
    }

    /// A call is with this user.
    pub(super) fn add_user(&mut self, room: &RoomId, user: &UserId, session: SessionId) {
        self.by_user.entry(key(room, user)).or_default().insert(session);
    }

    /// A call is with nobody any more: it ended.
    pub(super) fn remove_user(&mut self, room: &RoomId, user: &UserId, session: SessionId) {
        let key = key(room, user);
        if let Some(sessions) = self.by_user.get_mut(&key) {
            sessions.remove(&session);
            if sessions.is_empty() {
                self.by_user.remove(&key);
            }
        }
    }

    /// A call is gone for good.
    pub(super) fn remove(&mut self, room: &RoomId, call: &CallId) {
        self.by_id.remove(&key(room, call));
    }

    /// The call of that id.
    pub(super) fn find(&self, room: &RoomId, call: &CallId) -> Option<SessionId> {
        self.by_id.get(&key(room, call)).copied()
    }

    /// A call of that id in any room: what `Guard::RoomBound` forbids.
    pub(super) fn find_anywhere(&self, call: &CallId) -> Option<SessionId> {
        let mut calls = self.by_id.iter();
        calls.find(|(key, _)| key.1 == *call).map(|(_, session)| *session)
    }

    /// The live calls with a user in a room.
    pub(super) fn with_user(&self, room: &RoomId, user: &UserId) -> Vec<SessionId> {
        let found = self.by_user.get(&key(room, user));
        found.into_iter().flatten().copied().collect()
    }

    /// The oldest of them that rings here. Few ring at once, however many are with him.
    pub(super) fn ringing_with(&self, room: &RoomId, user: &UserId) -> Option<SessionId> {
        let of_user = self.by_user.get(&key(room, user))?;
        self.ringing.iter().find(|session| of_user.contains(session)).copied()
    }

    /// Those of them that were answered, held ones too.
    pub(super) fn answered_with(&self, room: &RoomId, user: &UserId) -> Vec<SessionId> {
        let Some(of_user) = self.by_user.get(&key(room, user)) else { return Vec::new() };
        let (fewer, more) = match of_user.len() < self.answered.len() {
            true => (of_user, &self.answered),
            false => (&self.answered, of_user),
        };
        fewer.iter().filter(|session| more.contains(session)).copied().collect()
    }

    /// All live calls of a room, oldest first. Looks at every call: we leave rooms seldom.
    pub(super) fn in_room(&self, room: &RoomId) -> Vec<SessionId> {
        let of_room = self.by_id.iter().filter(|(key, _)| key.0 == *room);
        let sessions: BTreeSet<_> = of_room.map(|(_, session)| *session).collect();
        sessions.into_iter().collect()
    }

    pub(super) fn set_ringing(&mut self, session: SessionId, on: bool) {
        set(&mut self.ringing, session, on);
    }

    /// Whether a call rings: it may also have been answered at once by glare.
    pub(super) fn is_ringing(&self, session: SessionId) -> bool {
        self.ringing.contains(&session)
    }

    pub(super) fn set_connected(&mut self, session: SessionId, on: bool) {
        set(&mut self.connected, session, on);
    }

    /// The call was answered, by us or by them; it may be held.
    pub(super) fn set_answered(&mut self, session: SessionId, on: bool) {
        set(&mut self.answered, session, on);
    }

    /// The user took the call, or his call was taken: he talks or is about to.
    pub(super) fn set_taken(&mut self, session: SessionId, on: bool) {
        set(&mut self.taken, session, on);
    }

    /// Whether a call other than this one is taken.
    pub(super) fn other_taken(&self, session: Option<SessionId>) -> bool {
        self.taken.iter().any(|taken| Some(*taken) != session)
    }

    /// Only has something to say: see `Call::parting`.
    pub(super) fn set_parting(&mut self, session: SessionId, on: bool) {
        set(&mut self.partings, session, on);
    }

    /// How many sessions only have something to say.
    pub(in crate::machine) fn partings(&self) -> usize {
        self.partings.len()
    }

    /// The calls that ring.
    pub(super) fn ringing(&self) -> impl Iterator<Item = SessionId> {
        self.ringing.iter().copied()
    }

    /// The calls other than this one in which the user talks, or is about to.
    pub(super) fn others_taken(&self, session: SessionId) -> Vec<SessionId> {
        self.taken.iter().copied().filter(|connected| *connected != session).collect()
    }

    /// All of them.
    pub(super) fn taken(&self) -> Vec<SessionId> {
        self.taken.iter().copied().collect()
    }

    /// Whether a call other than this one is connected.
    pub(super) fn other_connected(&self, session: Option<SessionId>) -> bool {
        self.connected.iter().any(|connected| Some(*connected) != session)
    }
}

fn key<T: Clone + Hash>(room: &RoomId, id: &T) -> Hashed<(RoomId, T)> {
    Hashed::new((room.clone(), id.clone()))
}

fn set(set: &mut BTreeSet<SessionId>, session: SessionId, on: bool) {
    if on {
        set.insert(session);
    } else {
        set.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_by_id_by_user_and_by_room() {
        let (room, other) = (RoomId::parse("!a").unwrap(), RoomId::parse("!b").unwrap());
        let (call, user) = (CallId::parse("c").unwrap(), UserId::parse("@u:x").unwrap());
        let mut roster = Roster::default();
        roster.add(&room, &call, SessionId(1));
        roster.add(&other, &call, SessionId(2));
        roster.add_user(&room, &user, SessionId(1));
        assert_eq!(roster.find(&other, &call), Some(SessionId(2)));
        assert_eq!(roster.in_room(&room), [SessionId(1)]);
        assert_eq!(roster.with_user(&room, &user), [SessionId(1)]);
        assert!(roster.with_user(&other, &user).is_empty());
        roster.remove_user(&room, &user, SessionId(1));
        roster.remove(&room, &call);
        assert_eq!((roster.find(&room, &call), roster.with_user(&room, &user)), (None, vec![]));
    }

    #[test]
    fn a_call_is_not_busy_with_itself() {
        let mut roster = Roster::default();
        roster.set_connected(SessionId(1), true);
        assert!(!roster.other_connected(Some(SessionId(1))));
        assert!(roster.other_connected(None) && roster.other_connected(Some(SessionId(2))));
        roster.set_connected(SessionId(1), false);
        assert!(!roster.other_connected(None));
    }
}
