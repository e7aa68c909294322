//! The ledger's keeper: which calls the other side knows of, saved a moment after each change.

use std::collections::BTreeMap;

use super::{
    bounds::MAX_LEDGER_ENTRIES,
    fingerprint::Fingerprint,
    io::Op,
    world::{Owner, Timer, World},
};
use crate::{
    id::{RoomId, SessionId},
    time::Deadline,
    wire::ledger::{EndedCall, Ledger, LiveCall, LiveMembership},
};

/// Live calls, and whether a save is under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Book {
    live: BTreeMap<SessionId, LiveCall>,
    memberships: BTreeMap<RoomId, Vec<LiveMembership>>,
    saving: bool,
    dirty: bool,
    /// When the next save begins.
    due: Option<Deadline>,
}

impl Book {
    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.saving, self.dirty));
        if let Some(due) = self.due {
            print.deadline(due);
        }
        for (session, call) in &self.live {
            print.session(*session);
            print.value(call);
        }
        print.value(&self.memberships);
    }

    /// The present ledger: the newest live calls and the newest ended ones, oldest first. Their
    /// bytes are bounded where they are written.
    fn ledger(&self, ended: impl Iterator<Item = EndedCall>) -> Ledger {
        let newest = self.live.values().rev().take(MAX_LEDGER_ENTRIES).cloned();
        let memberships = self.memberships.values().flatten().take(MAX_LEDGER_ENTRIES);
        let mut ledger = Ledger {
            live: newest.collect(),
            ended: ended.take(MAX_LEDGER_ENTRIES).collect(),
            memberships: memberships.cloned().collect(),
            left_out: self.live.len().saturating_sub(MAX_LEDGER_ENTRIES) as u64,
        };
        ledger.live.reverse();
        ledger.ended.reverse();
        ledger
    }
}

impl World {
    /// The other side may know of this call from now on.
    pub(super) fn note_live(&mut self, session: SessionId, call: LiveCall) {
        if self.book.live.insert(session, call).is_none() {
            self.note_change();
        }
    }

    /// The other side knows that this call is over, or never knew of it.
    pub(super) fn note_gone(&mut self, session: SessionId) {
        if self.book.live.remove(&session).is_some() {
            self.note_change();
        }
    }

    /// These are our memberships of group calls in a room that others may know of.
    pub(super) fn note_memberships(&mut self, room: &RoomId, live: Vec<LiveMembership>) {
        let memberships = &mut self.book.memberships;
        let before = match live.is_empty() {
            true => memberships.remove(room),
            false => memberships.insert(room.clone(), live.clone()),
        };
        if before.unwrap_or_default() != live {
            self.note_change();
        }
    }

    /// The ledger changed.
    pub(super) fn note_change(&mut self) {
        self.book.dirty = true;
        self.save_soon();
    }

    /// The moment after the first change is over. No save is under way: none is waited for then.
    pub(super) fn on_save_due(&mut self) {
        self.book.due = None;
        let ledger = self.book.ledger(self.memory.ended(self.now));
        self.book.dirty = false;
        self.book.saving = true;
        self.request(Owner::Ledger, Op::Save(ledger));
    }

    /// A save was answered. A failed one is made good by the next change.
    pub(super) fn on_saved(&mut self) {
        self.book.saving = false;
        if self.book.dirty {
            self.save_soon();
        }
    }

    fn save_soon(&mut self) {
        if self.book.due.is_none() && !self.book.saving {
            let due = self.now.mono_after(self.config.timeouts.ledger);
            self.book.due = Some(due);
            self.agenda.set(Timer::Ledger, due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::Config,
        id::{CallId, PartyId, RoomId},
        machine::Identity,
        time::Wall,
    };

    fn room() -> RoomId {
        RoomId::parse("!r").unwrap()
    }

    fn live(n: usize) -> LiveCall {
        let call_id = CallId::parse(format!("live{n}")).unwrap();
        LiveCall { room: room(), call_id, party_id: PartyId::parse("p").unwrap() }
    }

    fn ended(n: usize) -> EndedCall {
        let call_id = CallId::parse(format!("ended{n}")).unwrap();
        EndedCall { room: room(), call_id, until: Wall(1) }
    }

    fn book(calls: usize) -> Book {
        let live = (0..calls).map(|n| (SessionId(n as u64), live(n))).collect();
        Book { live, ..Book::default() }
    }

    #[test]
    fn the_newest_calls_stand_in_the_ledger_oldest_first() {
        let ledger = book(MAX_LEDGER_ENTRIES + 2).ledger((0..3).rev().map(ended));
        assert_eq!(ledger.live.len(), MAX_LEDGER_ENTRIES);
        assert_eq!(ledger.live.first(), Some(&live(2)));
        assert_eq!(ledger.live.last(), Some(&live(MAX_LEDGER_ENTRIES + 1)));
        assert_eq!(ledger.left_out, 2);
        assert_eq!(ledger.ended, [ended(0), ended(1), ended(2)]);
        assert_eq!(book(2).ledger(std::iter::empty()).left_out, 0);
    }

    fn world() -> World {
        let user = crate::id::UserId::parse("@a:x").unwrap();
        let device = crate::id::DeviceId::parse("D").unwrap();
        World::new(Identity { user, device }, Config::default(), 1)
    }

    fn is_due(world: &mut World, after: Duration) -> bool {
        world.agenda.pop_due(world.now.plus(after)) == Some(Timer::Ledger)
    }

    #[test]
    fn changes_in_a_row_are_saved_together_soon_after_the_first() {
        let mut world = world();
        let pause = world.config.timeouts.ledger;
        world.note_live(SessionId(1), live(1));
        world.now = world.now.plus(pause / 2);
        world.note_live(SessionId(2), live(2));
        assert!(is_due(&mut world, pause / 2), "the second change does not put it off");
        assert!(!is_due(&mut world, pause), "nor does it ask for a save of its own");
    }

    #[test]
    fn what_changes_while_a_save_is_under_way_is_saved_after_it() {
        let mut world = world();
        let pause = world.config.timeouts.ledger;
        world.note_live(SessionId(1), live(1));
        assert!(is_due(&mut world, pause));
        world.on_save_due();
        world.note_live(SessionId(1), live(1));
        world.on_saved();
        assert!(!is_due(&mut world, pause), "nothing changed");
        world.note_gone(SessionId(1));
        assert!(is_due(&mut world, pause));
        world.on_save_due();
        world.note_live(SessionId(2), live(2));
        assert!(!is_due(&mut world, pause), "one save at a time");
        world.on_saved();
        assert!(is_due(&mut world, pause));
    }

    #[test]
    fn a_full_ledger_fits_into_its_bytes() {
        let ledger = book(MAX_LEDGER_ENTRIES).ledger((0..MAX_LEDGER_ENTRIES).map(ended));
        assert!(ledger.to_bytes().len() <= crate::wire::ledger::MAX_LEDGER_BYTES);
    }
}
