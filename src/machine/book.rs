//! The ledger's keeper: which calls the other side knows of, saved a moment after each change.

use std::collections::BTreeMap;

use super::{
    fingerprint::Fingerprint,
    io::Op,
    world::{Owner, Timer, World},
};
use crate::{
    id::SessionId,
    wire::ledger::{EndedCall, Ledger, LiveCall, MAX_LEDGER_BYTES},
};

/// What a stored entry costs beyond its ids: names, quotes, numbers. An upper bound.
const ENTRY_OVERHEAD: usize = 64;
/// What a stored ledger costs without entries. An upper bound.
const LEDGER_OVERHEAD: usize = 128;

/// Live calls, and whether a save is under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Book {
    live: BTreeMap<SessionId, LiveCall>,
    saving: bool,
    dirty: bool,
}

impl Book {
    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.saving, self.dirty));
        for (session, call) in &self.live {
            print.session(*session);
            print.value(call);
        }
    }

    /// The present ledger: the newest live calls that fit, then the newest ended ones.
    fn ledger(&self, ended: impl Iterator<Item = EndedCall>) -> Ledger {
        let mut room = MAX_LEDGER_BYTES - LEDGER_OVERHEAD;
        let most = self.live.len().min(MAX_LEDGER_BYTES / ENTRY_OVERHEAD);
        let mut ledger = Ledger { live: Vec::with_capacity(most), ..Ledger::default() };
        for call in self.live.values().rev() {
            let Some(left) = room.checked_sub(live_cost(call)) else { break };
            room = left;
            ledger.live.push(call.clone());
        }
        ledger.left_out = (self.live.len() - ledger.live.len()) as u64;
        for call in ended {
            let Some(left) = room.checked_sub(ended_cost(&call)) else { break };
            room = left;
            ledger.ended.push(call);
        }
        ledger.live.reverse();
        ledger.ended.reverse();
        ledger
    }
}

fn live_cost(call: &LiveCall) -> usize {
    let ids = [call.room.as_str(), call.call_id.as_str(), call.party_id.as_str()];
    ENTRY_OVERHEAD + ids.iter().map(|id| escaped_len(id)).sum::<usize>()
}

fn ended_cost(call: &EndedCall) -> usize {
    ENTRY_OVERHEAD + escaped_len(call.room.as_str()) + escaped_len(call.call_id.as_str())
}

/// Upper bound of a text's length in JSON: a control character becomes six bytes, a quote two.
fn escaped_len(text: &str) -> usize {
    let escaped = text.bytes().filter(|b| *b < 0x20 || *b == b'"' || *b == b'\\').count();
    text.len() + 5 * escaped
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

    /// The ledger changed.
    pub(super) fn note_change(&mut self) {
        self.book.dirty = true;
        self.save_soon();
    }

    /// Saves the ledger, unless a save is under way: then its reply saves again.
    pub(super) fn save_ledger(&mut self) {
        if self.book.saving || !self.book.dirty {
            return;
        }
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
        if self.timers.get(&Timer::Ledger).is_none() && !self.book.saving {
            self.timers.set(Timer::Ledger, self.now.mono_after(self.config.timeouts.ledger));
        }
    }
}
