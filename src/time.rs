//! Time as data: instants, deadlines, and the one ordered index of timers.
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

/// Deadlines by key, ordered; at most one per key. All operations are logarithmic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timers<K: Ord + Clone> {
    by_key: BTreeMap<K, Deadline>,
    mono: BTreeSet<(Mono, K)>,
    wall: BTreeSet<(Wall, K)>,
}

impl<K: Ord + Clone> Default for Timers<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), mono: BTreeSet::new(), wall: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets or moves the deadline of `key`.
    pub(crate) fn set(&mut self, key: K, deadline: Deadline) {
        self.clear(&key);
        match deadline {
            Deadline::Mono(at) => self.mono.insert((at, key.clone())),
            Deadline::Wall(at) => self.wall.insert((at, key.clone())),
        };
        self.by_key.insert(key, deadline);
    }

    /// Forgets the deadline of `key`.
    pub(crate) fn clear(&mut self, key: &K) {
        match self.by_key.remove(key) {
            Some(Deadline::Mono(at)) => self.mono.remove(&(at, key.clone())),
            Some(Deadline::Wall(at)) => self.wall.remove(&(at, key.clone())),
            None => false,
        };
    }

    /// The deadline of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<Deadline> {
        self.by_key.get(key).copied()
    }

    /// Takes one timer that is due, the earliest of its clock first, monotonic before wall.
    pub(crate) fn pop_due(&mut self, now: Now) -> Option<K> {
        let mono = self.mono.first().filter(|(at, _)| *at <= now.mono).map(|(_, key)| key.clone());
        let due = mono.or_else(|| {
            self.wall.first().filter(|(at, _)| *at <= now.wall).map(|(_, key)| key.clone())
        })?;
        self.clear(&due);
        Some(due)
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

    /// Whether no deadline is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// All deadlines, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, Deadline)> {
        self.by_key.iter().map(|(key, deadline)| (key, *deadline))
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
        let mut timers = Timers::default();
        timers.set("wall", at(0).wall_after(Duration::from_millis(50)));
        timers.set("mono", at(0).mono_after(Duration::from_millis(80)));
        assert_eq!(timers.next(at(20)), Some(Duration::from_millis(30)));
        assert_eq!(timers.pop_due(at(49)), None);
        assert_eq!(timers.pop_due(at(50)), Some("wall"));
        assert_eq!(timers.pop_due(at(79)), None);
        assert_eq!(timers.pop_due(at(80)), Some("mono"));
        assert!(timers.is_empty());
    }

    #[test]
    fn setting_again_moves_the_deadline() {
        let mut timers = Timers::default();
        timers.set(1, at(0).mono_after(Duration::from_millis(10)));
        timers.set(1, at(0).wall_after(Duration::from_millis(90)));
        assert_eq!(timers.pop_due(at(60)), None);
        assert_eq!(timers.get(&1), Some(Deadline::Wall(Wall(1_000_090))));
        timers.clear(&1);
        assert!(timers.is_empty() && !timers.has_wall());
    }

    #[test]
    fn wall_deadlines_pass_while_monotonic_time_stands_still() {
        let mut timers = Timers::default();
        timers.set((), at(0).wall_after(Duration::from_secs(60)));
        let slept = Now { mono: at(0).mono, wall: at(60_000).wall };
        assert_eq!(timers.pop_due(slept), Some(()));
    }

    #[test]
    fn both_clocks_go_on_together() {
        let span = Duration::from_millis(250);
        assert_eq!(at(100).plus(span), at(350));
        assert_eq!(at(100).until(at(0).mono_after(span)), Duration::from_millis(150));
        assert_eq!(at(100).until(at(0).wall_after(span)), Duration::from_millis(150));
        assert_eq!(at(300).until(at(0).wall_after(span)), Duration::ZERO);
    }

    #[test]
    fn all_deadlines_are_listed_by_key() {
        let mut timers = Timers::default();
        assert!(timers.is_empty());
        timers.set("b", at(1).mono_after(Duration::ZERO));
        assert!(!timers.is_empty() && !timers.has_wall());
        timers.set("a", at(2).wall_after(Duration::ZERO));
        assert!(timers.has_wall());
        let listed: Vec<_> = timers.iter().collect();
        let expected = [
            (&"a", Deadline::Wall(Wall(1_000_002))),
            (&"b", Deadline::Mono(Mono(Duration::from_millis(1)))),
        ];
        assert_eq!(listed, expected);
    }
}
