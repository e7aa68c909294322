//! A number that is equal for engines that will behave alike.
//!
//! Deadlines count from now, ids that we count up are renamed by the order of their first use,
//! counters are left out: so two histories that lead to the same situation are one state to an
//! exhaustive search. Texts (call and party ids) stay as they are: glare compares them.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use super::Engine;
use crate::{
    id::{OpId, PeerId, SessionId, TrackId},
    time::{Deadline, Mono, Now},
};

/// What a renamed number names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Space {
    Session,
    Peer,
    Track,
    Op,
}

/// Eight bytes at a time, by folded multiplication: a search asks for a fingerprint with each of
/// its millions of steps, and nobody chooses what it sees there.
#[derive(Debug, Clone, Copy, Default)]
struct Mix(u64);

impl Mix {
    const fn fold(word: u64) -> u64 {
        let wide = (word ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xd6e8_feb8_6659_fd93_u128;
        (wide as u64) ^ (wide >> 64) as u64
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = Self::fold(self.0.rotate_left(23) ^ word);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        Self::fold(self.0)
    }
}

/// Deadlines further away are all alike: a call does not live to see them.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// A hash in the making.
pub(super) struct Fingerprint {
    now: Now,
    hasher: Mix,
    names: BTreeMap<(Space, u64), u64>,
}

impl Fingerprint {
    fn new(now: Now) -> Self {
        Self { now, hasher: Mix::default(), names: BTreeMap::new() }
    }

    /// What a part alone makes of it.
    #[cfg(test)]
    pub(super) fn of(act: impl FnOnce(&mut Self)) -> u64 {
        let mut print = Self::new(Now::default());
        act(&mut print);
        print.hasher.finish()
    }

    /// Takes a value that means the same in every history.
    pub(super) fn value(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    pub(super) fn session(&mut self, id: SessionId) {
        self.renamed(Space::Session, id.0);
    }

    pub(super) fn peer(&mut self, id: PeerId) {
        self.renamed(Space::Peer, id.0);
    }

    pub(super) fn track(&mut self, id: TrackId) {
        self.renamed(Space::Track, id.0);
    }

    pub(super) fn op(&mut self, id: OpId) {
        self.renamed(Space::Op, id.0);
    }

    pub(super) fn deadline(&mut self, deadline: Deadline) {
        self.value(self.now.until(deadline).min(FAR));
    }

    /// Takes how long ago something was.
    pub(super) fn since(&mut self, at: Mono) {
        self.value(self.now.mono.since(at));
    }

    fn renamed(&mut self, space: Space, number: u64) {
        let next = self.names.len() as u64;
        let name = *self.names.entry((space, number)).or_insert(next);
        self.value((space, name));
    }
}

impl Engine {
    /// A number that is equal for engines of the same identity and configuration that will behave
    /// alike: deadlines relative, ids renamed by first use, counters left out (diagnostics, and
    /// what makes new ids). Drain the outputs first: of those that wait only the number counts.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint_at(self.world.now)
    }

    /// Forgets which events it heard, but those that come again: what was heard once makes no
    /// difference then.
    #[cfg(feature = "testing")]
    pub(crate) fn forget_seen(&mut self, comes_again: impl Fn(&crate::id::EventId) -> bool) {
        self.world.memory.forget_seen(comes_again);
    }

    /// The same for engines that will also mint the same ids from now on, beside what a test holds
    /// of their peer connections. With these, which of two histories led to an engine makes no
    /// difference to anybody who hears of it.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn fingerprint_beside<T: Hash>(&self, peers: &BTreeMap<PeerId, T>) -> u64 {
        let mut print = self.print(self.world.now);
        self.world.ids.fingerprint(&mut print);
        let name = |peer: &PeerId| print.names.get(&(Space::Peer, peer.0)).copied();
        let mut held: Vec<_> = peers.iter().map(|(peer, it)| (name(peer), it)).collect();
        held.sort_by_key(|(name, _)| *name);
        print.value(held);
        print.hasher.finish()
    }

    /// The same, a while after the engine last heard the time.
    pub(crate) fn fingerprint_at(&self, now: Now) -> u64 {
        self.print(now).hasher.finish()
    }

    fn print(&self, now: Now) -> Fingerprint {
        let mut print = Fingerprint::new(now);
        print.value(self.service);
        print.value(&self.ignored_users);
        for (session, call) in &self.calls {
            print.session(*session);
            call.fingerprint(&mut print, &self.world);
        }
        self.groups.fingerprint(&mut print, now);
        self.world.fingerprint(&mut print, now);
        print
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Mono, Wall};
    use std::time::Duration;

    fn print(now: u64, act: impl FnOnce(&mut Fingerprint)) -> u64 {
        let mono = Mono(Duration::from_secs(now));
        let mut print = Fingerprint::new(Now { mono, wall: Wall(now * 1000) });
        act(&mut print);
        print.hasher.finish()
    }

    #[test]
    fn counted_ids_are_renamed_by_first_use() {
        let one = print(0, |p| [7, 9, 7].map(|id| p.session(SessionId(id))).into_iter().collect());
        let same = print(0, |p| [1, 4, 1].map(|id| p.session(SessionId(id))).into_iter().collect());
        let other =
            print(0, |p| [1, 4, 4].map(|id| p.session(SessionId(id))).into_iter().collect());
        assert_eq!(one, same);
        assert_ne!(one, other);
        let spaces = [
            print(0, |_| {}),
            print(0, |p| p.session(SessionId(1))),
            print(0, |p| p.peer(PeerId(1))),
            print(0, |p| p.track(TrackId(1))),
            print(0, |p| p.op(OpId(1))),
        ];
        let different: std::collections::BTreeSet<_> = spaces.into_iter().collect();
        assert_eq!(different.len(), spaces.len());
    }

    #[test]
    fn deadlines_count_from_now() {
        let at = |s| Deadline::Mono(Mono(Duration::from_secs(s)));
        assert_eq!(print(1, |p| p.deadline(at(5))), print(3, |p| p.deadline(at(7))));
        assert_ne!(print(1, |p| p.deadline(at(5))), print(3, |p| p.deadline(at(5))));
    }
}
