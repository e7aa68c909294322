//! Time as data: instants, deadlines, and ordered indexes of them.
//!
//! [`Mono`] may stop while the machine sleeps and serves retries and debounces; [`Wall`] goes on
//! and serves lifetimes that the other side counts too. Nothing here reads a clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Monotonic time since an origin that the driver chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub Duration);

/// Wall-clock time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub u64);

/// The present, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Now {
    /// Monotonic time.
    pub mono: Mono,
    /// Wall-clock time.
    pub wall: Wall,
}

/// When something is due, on the clock that its meaning demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deadline {
    /// Retries and debounces.
    Mono(Mono),
    /// Lifetimes of invites and memberships.
    Wall(Wall),
}

impl Deadline {
    /// The same deadline after the wall clock was set back.
    pub(crate) fn set_back(self, by: Duration) -> Self {
        match self {
            Self::Mono(at) => Self::Mono(at),
            Self::Wall(at) => Self::Wall(at.minus(by)),
        }
    }
}

impl Mono {
    /// This instant and then some.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long ago `earlier` was; zero if it is not in the past.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Wall {
    /// This instant and then some.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// This instant less some; not before the epoch.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is not in the past.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Now {
    /// A monotonic deadline after `span`.
    pub fn mono_after(self, span: Duration) -> Deadline {
        Deadline::Mono(self.mono.plus(span))
    }

    /// A wall-clock deadline after `span`.
    pub fn wall_after(self, span: Duration) -> Deadline {
        Deadline::Wall(self.wall.plus(span))
    }

    /// Both clocks `span` later.
    pub fn plus(self, span: Duration) -> Self {
        Self { mono: self.mono.plus(span), wall: self.wall.plus(span) }
    }

    /// How long until `deadline`; zero when it has passed.
    pub fn until(self, deadline: Deadline) -> Duration {
        match deadline {
            Deadline::Mono(at) => at.since(self.mono),
            Deadline::Wall(at) => at.since(self.wall),
        }
    }
}

/// Who waits until when, ordered by time. Whoever sets a deadline keeps it, and gives it back to
/// clear it: nothing is looked up here that its owner knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agenda<K: Ord> {
    mono: BTreeSet<(Mono, K)>,
    wall: BTreeSet<(Wall, K)>,
}

impl<K: Ord> Default for Agenda<K> {
    fn default() -> Self {
        Self { mono: BTreeSet::new(), wall: BTreeSet::new() }
    }
}

impl<K: Ord> Agenda<K> {
    /// From now on `key` waits until `deadline`.
    pub(crate) fn set(&mut self, key: K, deadline: Deadline) {
        match deadline {
            Deadline::Mono(at) => self.mono.insert((at, key)),
            Deadline::Wall(at) => self.wall.insert((at, key)),
        };
    }

    /// `key` waits until `deadline` no more.
    pub(crate) fn clear(&mut self, key: K, deadline: Deadline) {
        match deadline {
            Deadline::Mono(at) => self.mono.remove(&(at, key)),
            Deadline::Wall(at) => self.wall.remove(&(at, key)),
        };
    }

    /// Takes one timer that is due, the earliest of its clock first, monotonic before wall.
    pub(crate) fn pop_due(&mut self, now: Now) -> Option<K> {
        if self.mono.first().is_some_and(|(at, _)| *at <= now.mono) {
            return self.mono.pop_first().map(|(_, key)| key);
        }
        if self.wall.first().is_some_and(|(at, _)| *at <= now.wall) {
            return self.wall.pop_first().map(|(_, key)| key);
        }
        None
    }

    /// How long until the earliest deadline.
    pub(crate) fn next(&self, now: Now) -> Option<Duration> {
        let mono = self.mono.first().map(|(at, _)| at.since(now.mono));
        let wall = self.wall.first().map(|(at, _)| at.since(now.wall));
        match (mono, wall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether a wall-clock deadline is open: then the driver must not sleep too long, because the
    /// wall clock goes on in suspend.
    pub(crate) fn has_wall(&self) -> bool {
        !self.wall.is_empty()
    }
}

/// Deadlines by key, at most one per key, where the owners do not keep them. All operations are
/// logarithmic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timers<K: Ord> {
    by_key: BTreeMap<K, Deadline>,
    agenda: Agenda<K>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), agenda: Agenda::default() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub(crate) fn set(&mut self, key: K, deadline: Deadline) {
        self.clear(&key);
        self.by_key.insert(key.clone(), deadline);
        self.agenda.set(key, deadline);
    }

    /// Forgets the deadline of `key`.
    pub(crate) fn clear(&mut self, key: &K) {
        if let Some(deadline) = self.by_key.remove(key) {
            self.agenda.clear(key.clone(), deadline);
        }
    }

    /// Forgets the deadlines of all keys that are meant.
    pub(crate) fn clear_where(&mut self, meant: impl Fn(&K) -> bool) {
        let keys: Vec<_> = self.by_key.keys().filter(|key| meant(key)).cloned().collect();
        for key in keys {
            self.clear(&key);
        }
    }

    /// The wall clock was set back: nobody waits longer for that.
    pub(crate) fn set_back(&mut self, by: Duration) {
        for (key, deadline) in std::mem::take(self).by_key {
            self.set(key, deadline.set_back(by));
        }
    }

    /// All of them, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, Deadline)> {
        self.by_key.iter().map(|(key, deadline)| (key, *deadline))
    }

    /// Whether `key` has a deadline.
    pub(crate) fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// Takes one timer that is due, in the order of [`Agenda::pop_due`].
    pub(crate) fn pop_due(&mut self, now: Now) -> Option<K> {
        let due = self.agenda.pop_due(now)?;
        self.by_key.remove(&due);
        Some(due)
    }

    /// How long until the earliest deadline.
    pub(crate) fn next(&self, now: Now) -> Option<Duration> {
        self.agenda.next(now)
    }

    /// Whether a wall-clock deadline is open.
    pub(crate) fn has_wall(&self) -> bool {
        self.agenda.has_wall()
    }

    /// Whether no deadline is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Now {
        Now { mono: Mono(Duration::from_millis(ms)), wall: Wall(1_000_000 + ms) }
    }

    #[test]
    fn the_earliest_of_both_clocks_comes_first() {
        let mut agenda = Agenda::default();
        assert!(agenda.next(at(0)).is_none() && !agenda.has_wall());
        agenda.set("wall", at(0).wall_after(Duration::from_millis(50)));
        assert!(agenda.has_wall());
        agenda.set("mono", at(0).mono_after(Duration::from_millis(80)));
        assert_eq!(agenda.next(at(20)), Some(Duration::from_millis(30)));
        assert_eq!(agenda.pop_due(at(49)), None);
        assert_eq!(agenda.pop_due(at(50)), Some("wall"));
        assert!(!agenda.has_wall());
        assert_eq!(agenda.next(at(50)), Some(Duration::from_millis(30)));
        assert_eq!(agenda.pop_due(at(79)), None);
        assert_eq!(agenda.pop_due(at(80)), Some("mono"));
        assert_eq!(agenda, Agenda::default());
    }

    #[test]
    fn of_what_is_due_on_both_clocks_the_monotonic_comes_first() {
        let mut agenda = Agenda::default();
        agenda.set("wall", at(0).wall_after(Duration::from_millis(1)));
        agenda.set("mono", at(0).mono_after(Duration::from_millis(2)));
        assert_eq!([agenda.pop_due(at(9)), agenda.pop_due(at(9))], [Some("mono"), Some("wall")]);
    }

    #[test]
    fn what_is_given_back_is_not_waited_for() {
        let mut agenda = Agenda::default();
        let deadlines = [at(1).wall_after(Duration::ZERO), at(1).mono_after(Duration::ZERO)];
        for deadline in deadlines {
            agenda.set((), deadline);
            agenda.clear((), deadline);
        }
        assert_eq!(agenda, Agenda::default());
    }

    #[test]
    fn wall_deadlines_pass_while_monotonic_time_stands_still() {
        let mut agenda = Agenda::default();
        agenda.set((), at(0).wall_after(Duration::from_secs(60)));
        let slept = Now { mono: at(0).mono, wall: at(60_000).wall };
        assert_eq!(agenda.pop_due(slept), Some(()));
    }

    #[test]
    fn setting_again_moves_the_deadline() {
        let mut timers = Timers::default();
        assert!(timers.is_empty());
        timers.set(1, at(0).mono_after(Duration::from_millis(10)));
        timers.set(1, at(0).wall_after(Duration::from_millis(90)));
        assert_eq!(timers.pop_due(at(60)), None);
        assert_eq!(timers.next(at(60)), Some(Duration::from_millis(30)));
        timers.clear(&1);
        timers.clear(&1);
        assert!(timers.is_empty() && timers.next(at(60)).is_none());
        timers.set(2, at(0).mono_after(Duration::ZERO));
        assert!(!timers.is_empty());
        assert_eq!(timers.pop_due(at(0)), Some(2));
        assert!(timers.is_empty());
    }

    #[test]
    fn both_clocks_go_on_together() {
        let span = Duration::from_millis(250);
        assert_eq!(at(100).plus(span), at(350));
        assert_eq!(at(100).until(at(0).mono_after(span)), Duration::from_millis(150));
        assert_eq!(at(100).until(at(0).wall_after(span)), Duration::from_millis(150));
        assert_eq!(at(300).until(at(0).wall_after(span)), Duration::ZERO);
    }
}
