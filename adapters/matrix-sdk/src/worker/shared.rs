//! What the lanes have in common: what has been seen, what waits for its key, where calls have been,
//! and what is to be done.

use std::collections::{BTreeSet, VecDeque};

use matrix_voip::{
    id::{RoomId, UserId},
    machine::io::{Chat, RoomNews},
    time::Now,
    wire::{
        delivery::{Batch, Place, RawEvent},
        state::Extent,
    },
};

use super::{
    Action, Ask, LONGEST_LIFE,
    known::Known,
    lane::{Continuity, Done, Reading, Sight, Work},
    parking::Parking,
    rooms::CallRooms,
    survey::{Outcome, Survey},
};
use crate::{
    counts::Counts,
    intake::{Fact, Item, RoomUpdate, What, WholeState, state_batch},
};

/// What the lanes have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    known: Known,
    pub(super) parking: Parking,
    pub(super) survey: Survey,
    /// The memberships of group calls that were seen: their redaction is news.
    memberships: Known,
    /// The direct chats, and those that the core takes for some.
    direct: BTreeSet<RoomId>,
    told_direct: BTreeSet<RoomId>,
    pub(super) call_rooms: CallRooms,
    pub(super) actions: VecDeque<Action>,
    pub(super) counts: Counts,
}

impl Shared {
    /// What has been done so far.
    pub(super) fn counts(&self) -> Counts {
        let waiting_for_key = self.parking.len() as u64;
        let unread_states = self.survey.resting() as u64;
        Counts { waiting_for_key, unread_states, ..self.counts }
    }

    /// What a job in this room may look at.
    pub(super) fn sight(&self, now: Now, room: &RoomId) -> Sight<'_> {
        Sight { now, in_call: self.call_rooms.has(room), known: &self.known }
    }

    /// Has something found out.
    pub(super) fn ask(&mut self, room: RoomId, ask: Ask) {
        self.counts.note(&ask);
        self.actions.push_back(Action::Ask(room, ask));
    }

    /// The update that a piece of work is: without what was seen before, or with what waited.
    pub(super) fn begin(&mut self, now: Now, room: &RoomId, work: Work) -> RoomUpdate {
        match work {
            Work::Update(mut update) => {
                // Behind an event that is known nothing can be missing.
                if update.items.iter().any(|item| self.is_known(item)) {
                    update.gap = None;
                }
                update.items.retain(|item| self.is_news(item));
                update
            }
            Work::Keys(sessions) => {
                let items = self.parking.take(now, room, &sessions);
                RoomUpdate { gap: None, items, ..RoomUpdate::catch_up(room.clone(), now) }
            }
        }
    }

    fn is_known(&self, item: &Item) -> bool {
        item.id.as_ref().is_some_and(|id| self.known.has(id))
    }

    /// Whether an event was not seen before; one that waited for its key is news when it comes
    /// again and can be read.
    fn is_news(&mut self, item: &Item) -> bool {
        if !self.is_known(item) {
            return true;
        }
        let readable = !matches!(item.what, What::Locked(_));
        readable && item.id.as_ref().is_some_and(|id| self.parking.remove(id))
    }

    /// Hands everything of one update over, in its order.
    pub(super) fn finish(&mut self, now: Now, done: Done) {
        self.counts.late_keys += done.unlocked;
        self.counts.unfilled += done.unfilled;
        let mut doubts: Vec<Now> = Vec::new();
        if done.continuity == Continuity::Broken {
            doubts.push(done.received);
        }
        let mut events = Vec::new();
        for item in done.items {
            if let Some(id) = &item.id {
                self.known.note(id);
            }
            match item.what {
                What::Call(call) => {
                    // Whatever it says that it redacts.
                    if call.redacts.as_ref().is_some_and(|id| self.memberships.has(id)) {
                        doubts.push(item.received);
                    }
                    events.extend(Item { what: What::Call(call), ..item }.into_event(now));
                }
                What::Locked(_) if item.age(now) < LONGEST_LIFE => {
                    self.parking.park(&done.room, item);
                }
                What::Forged => self.counts.forged += 1,
                // What is left of it is read, not guessed.
                What::Redaction(id) if self.memberships.has(&id) => {
                    doubts.push(item.received);
                }
                What::Redaction(_) | What::State(_) => {}
                What::Locked(_) | What::Fact(_) | What::Other => {}
            }
        }
        self.hand_over_state(now, &done.room, done.state);
        for at in doubts {
            self.survey.doubt(&done.room, at);
        }
        self.hand_over(done.room, done.encrypted, events, &done.facts);
    }

    /// Changes go before the events of the same response: a ring comes after who is in the call.
    fn hand_over_state(&mut self, now: Now, room: &RoomId, changes: Vec<Item>) {
        // Of a room that we have left meanwhile the core shall know nothing.
        if changes.is_empty() || !self.survey.has(room) {
            return;
        }
        self.survey.note(room, &changes);
        self.note_memberships(now, room, &changes);
        self.counts.state_changes += 1;
        let batch = state_batch(now, room.clone(), Extent::Changes, changes);
        self.actions.push_back(Action::State(batch));
    }

    /// Where somebody is in a group call there are calls.
    fn note_memberships(&mut self, now: Now, room: &RoomId, state: &[Item]) {
        let mut live = state.iter().filter(|item| item.is_live_membership(now)).peekable();
        if live.peek().is_some() {
            self.call_rooms.note(room);
        }
        for id in live.filter_map(|item| item.id.as_ref()) {
            self.memberships.note(id);
        }
    }

    /// Takes what was read of a room's state.
    pub(super) fn on_state(&mut self, now: Now, room: &RoomId, reading: Reading) {
        match self.survey.on_answer(now, room, reading) {
            Outcome::Known(whole) => self.hand_over_whole(now, room, whole),
            Outcome::Again(ask) => self.ask(room.clone(), ask),
            Outcome::Nothing | Outcome::Rests => {}
        }
    }

    /// The core takes whoever wrote state for one who is in the room: who is not is told after it.
    fn hand_over_whole(&mut self, now: Now, room: &RoomId, whole: WholeState) {
        self.note_memberships(now, room, &whole.items);
        if whole.encrypted {
            self.actions.push_back(Action::Tell(room.clone(), RoomNews::Encrypted));
        }
        self.tell_chat(room);
        let live = whole.items.iter().filter(|item| item.is_live_membership(now));
        let writers: BTreeSet<_> = live.filter_map(Item::writer).cloned().collect();
        let outside: Vec<_> = whole.outside.intersection(&writers).cloned().collect();
        self.counts.states += 1;
        self.actions.push_back(Action::State(whole.into_batch(now, room.clone())));
        for user in outside {
            self.actions.push_back(Action::Tell(room.clone(), RoomNews::Left(user)));
        }
    }

    /// Of rooms whose state was not handed over yet it is told with that: an account may have
    /// thousands.
    pub(super) fn on_direct(&mut self, rooms: BTreeSet<RoomId>) {
        let before = std::mem::replace(&mut self.direct, rooms);
        let changed: Vec<_> = before.symmetric_difference(&self.direct).cloned().collect();
        for room in changed {
            if self.survey.has(&room) {
                self.tell_chat(&room);
            }
        }
    }

    /// What kind of room it is; a group's need not be told.
    fn tell_chat(&mut self, room: &RoomId) {
        let is_direct = self.direct.contains(room);
        let was_told = if is_direct {
            self.told_direct.insert(room.clone());
            true
        } else {
            self.told_direct.remove(room)
        };
        if was_told {
            let chat = if is_direct { Chat::Direct } else { Chat::Group };
            self.actions.push_back(Action::Tell(room.clone(), RoomNews::Chat(chat)));
        }
    }

    /// Has the states of the next rooms read.
    pub(super) fn survey(&mut self, now: Now) {
        while let Some((room, ask)) = self.survey.next(now) {
            self.ask(room, ask);
        }
    }

    /// The room's encryption goes before the events that it protects, departures after the last
    /// words of those who left.
    fn hand_over(&mut self, room: RoomId, encrypted: bool, events: Vec<RawEvent>, facts: &[Fact]) {
        if !events.is_empty() {
            self.call_rooms.note(&room);
        }
        // Of other rooms nobody needs to know: a large one would fill the core's mailbox.
        let in_call = self.call_rooms.has(&room);
        if in_call && facts.contains(&Fact::Encrypted) {
            self.actions.push_back(Action::Tell(room.clone(), RoomNews::Encrypted));
        }
        if !events.is_empty() {
            self.counts.batches += 1;
            self.counts.events += events.len() as u64;
            let place = Place::Room { room: room.clone(), encrypted };
            self.actions.push_back(Action::Deliver(Batch { place, events }));
        }
        if in_call {
            for user in departed(facts) {
                self.actions.push_back(Action::Tell(room.clone(), RoomNews::Left(user)));
            }
        }
    }
}

/// Who is outside after all of it; somebody may leave and come back within one response.
fn departed(facts: &[Fact]) -> BTreeSet<UserId> {
    let mut outside = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::Joined(user) => drop(outside.remove(user)),
            Fact::Outside(user) => drop(outside.insert(user.clone())),
            Fact::Encrypted => {}
        }
    }
    outside
}
