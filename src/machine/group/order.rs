//! Memberships that come again after newer ones of the same key.
//!
//! A homeserver that tells the state *before* a sync's timeline tells that of the branch on which the
//! timeline begins. Where several people write at once, branches cross, and what somebody else has
//! replaced long since comes again, with nothing after it that would set it right. Synapse does so for
//! clients that do not ask for the state after the timeline (MSC4222). So what is older, by the
//! homeserver's clock, than what the same user wrote under the same key counts for nothing, for as
//! long as it could count at all; state resolution decides alike. The whole of a room's state is
//! taken as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::roster::longest;
use crate::{
    id::UserId,
    machine::bounds::MAX_MEMBERSHIPS_PER_ROOM,
    time::{Mono, Now, Wall},
    wire::{member::Dialect, state::StateFacts},
};

/// The key of a state event, with the generation whose event it is.
pub(super) type StateKey = (Dialect, String);

/// By how much later something has to be written than something else so that no network's delay
/// explains it.
const SURELY: Duration = Duration::from_secs(2);

/// What was heard last under each key. No part of a fingerprint: it decides about nothing where state
/// comes in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Order {
    latest: BTreeMap<StateKey, Latest>,
    /// Until when each is remembered.
    ends: BTreeSet<(Wall, StateKey)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Latest {
    sender: UserId,
    sent: Wall,
    /// When that was by our monotonic clock, as far as the event says how old it is.
    written: Option<Duration>,
    until: Wall,
}

impl Latest {
    /// Whether an event was surely written after this one, whatever its homeserver's clock says: that
    /// may have been set back.
    fn is_before(&self, now: Now, facts: &StateFacts) -> bool {
        let written = facts.age.map(|age| now.mono.since(Mono(age)));
        match (self.written, written) {
            (Some(latest), Some(written)) => written > latest + SURELY,
            (None, _) | (_, None) => false,
        }
    }
}

impl Order {
    /// Whether something newer of the same user was heard under this key.
    pub(super) fn is_outdated(&self, now: Now, dialect: Dialect, facts: &StateFacts) -> bool {
        let Some(latest) = self.latest.get(&(dialect, facts.state_key.clone())) else {
            return false;
        };
        let older = latest.sender == facts.sender && facts.sent < latest.sent;
        older && latest.until > now.wall && !latest.is_before(now, facts)
    }

    /// Our wall clock was set back: nothing is remembered longer for that.
    pub(super) fn on_clock_set_back(&mut self, by: Duration) {
        for latest in self.latest.values_mut() {
            latest.until = latest.until.minus(by);
        }
        let ends = std::mem::take(&mut self.ends).into_iter();
        self.ends = ends.map(|(at, key)| (at.minus(by), key)).collect();
    }

    /// This was heard.
    pub(super) fn note(&mut self, now: Now, dialect: Dialect, facts: &StateFacts) {
        while self.ends.first().is_some_and(|(at, _)| *at <= now.wall)
            || self.ends.len() >= MAX_MEMBERSHIPS_PER_ROOM
        {
            let Some((_, key)) = self.ends.pop_first() else { break };
            self.latest.remove(&key);
        }
        let key = (dialect, facts.state_key.clone());
        let until = now.wall.plus(longest(dialect));
        let written = facts.age.map(|age| now.mono.since(Mono(age)));
        let latest = Latest { sender: facts.sender.clone(), sent: facts.sent, written, until };
        if let Some(former) = self.latest.insert(key.clone(), latest) {
            self.ends.remove(&(former.until, key.clone()));
        }
        self.ends.insert((until, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventId;

    fn facts(user: &str, key: &str, sent: u64) -> StateFacts {
        StateFacts {
            event_id: EventId::parse("$e").unwrap(),
            sender: UserId::parse(user).unwrap(),
            state_key: key.to_owned(),
            sent: Wall(sent),
            age: None,
        }
    }

    fn at(wall: u64) -> Now {
        Now { mono: Mono(Duration::from_secs(1000)), wall: Wall(wall) }
    }

    #[test]
    fn a_homeserver_whose_clock_was_set_back_is_believed_when_it_says_how_old_something_is() {
        let (mut order, now) = (Order::default(), at(50_000));
        let aged = |sent, age| {
            let age = Some(Duration::from_secs(age));
            StateFacts { age, ..facts("@a:x", "@a:x", sent) }
        };
        order.note(now, Dialect::Famedly, &aged(30_000, 0));
        let later = now.plus(Duration::from_secs(10));
        assert!(!order.is_outdated(later, Dialect::Famedly, &aged(10_000, 0)), "written just now");
        assert!(order.is_outdated(later, Dialect::Famedly, &aged(10_000, 9)), "or about then");
        assert!(order.is_outdated(later, Dialect::Famedly, &facts("@a:x", "@a:x", 10_000)));
    }

    #[test]
    fn what_is_older_than_what_was_heard_of_the_same_user_is_outdated() {
        let (mut order, now) = (Order::default(), at(50_000));
        let is_outdated = |order: &Order, user, key, sent| {
            order.is_outdated(now, Dialect::Famedly, &facts(user, key, sent))
        };
        assert!(!is_outdated(&order, "@a:x", "@a:x", 1));
        order.note(now, Dialect::Famedly, &facts("@a:x", "@a:x", 20));
        assert!(is_outdated(&order, "@a:x", "@a:x", 19));
        assert!(!is_outdated(&order, "@a:x", "@a:x", 20), "itself again, or redacted");
        assert!(!is_outdated(&order, "@a:x", "@a:x", 21));
        assert!(!is_outdated(&order, "@a:x", "other", 19));
        assert!(!is_outdated(&order, "@b:x", "@a:x", 19), "his homeserver has another clock");
        assert!(!order.is_outdated(now, Dialect::Msc3401, &facts("@a:x", "@a:x", 19)));
    }

    #[test]
    fn it_is_forgotten_when_what_is_older_counts_for_nothing_anyway_and_when_there_is_too_much() {
        let (mut order, now) = (Order::default(), at(50_000));
        order.note(now, Dialect::Famedly, &facts("@a:x", "@a:x", 20));
        let later = now.plus(longest(Dialect::Famedly));
        assert!(!order.is_outdated(later, Dialect::Famedly, &facts("@a:x", "@a:x", 19)));
        for n in 0..2 * MAX_MEMBERSHIPS_PER_ROOM {
            order.note(now, Dialect::Famedly, &facts("@a:x", &n.to_string(), 20));
        }
        let kept = (order.latest.len(), order.ends.len());
        assert_eq!(kept, (MAX_MEMBERSHIPS_PER_ROOM, MAX_MEMBERSHIPS_PER_ROOM));
        order.note(later, Dialect::Famedly, &facts("@a:x", "new", 20));
        assert_eq!((order.latest.len(), order.ends.len()), (1, 1));
    }
}
