//! What the machine remembers of events that need no session: ids seen, calls that are over, and
//! events that came before their invite. All bounded; the oldest goes first.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    bounds::{MAX_OVER, MAX_PARKED_PER_ROOM, MAX_PARKED_ROOMS, MAX_SEEN},
    fingerprint::Fingerprint,
    hashed::Hashed,
};
use crate::{
    id::{CallId, EventId, RoomId, UserId},
    redact::Redacted,
    time::{Deadline, Mono, Now, Wall},
    wire::{
        call::{Body, CallMessage},
        delivery::Facts,
        ledger::EndedCall,
    },
};

/// Why an invite was never taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Foreign {
    /// It came dead, or its end came with it.
    Dead,
    /// It was never for us.
    NotOurs,
}

type CallKey = Hashed<(RoomId, CallId)>;
/// Together with who sent the invite: others cannot spoil a call by using its id.
type Invite = (RoomId, CallId, UserId);
type InviteKey = Hashed<Invite>;

/// An event that came before its invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parked {
    pub(super) facts: Facts,
    pub(super) message: CallMessage,
    since: Mono,
}

impl Parked {
    fn is_old(&self, now: Now, patience: Duration) -> bool {
        now.mono.since(self.since) > patience
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Memory {
    seen: BTreeSet<Hashed<EventId>>,
    seen_order: VecDeque<Hashed<EventId>>,
    over: BTreeMap<CallKey, Wall>,
    over_order: VecDeque<CallKey>,
    /// Apart from what is over, so that a flood of invites that are nothing pushes no ended call
    /// out.
    foreign: BTreeMap<InviteKey, (Foreign, Wall)>,
    foreign_order: VecDeque<InviteKey>,
    parked: BTreeMap<RoomId, VecDeque<Parked>>,
}

impl Memory {
    pub(super) fn fingerprint(&self, print: &mut Fingerprint, now: Now, patience: Duration) {
        print.value(&self.seen);
        for (key, until) in self.over.iter().filter(|(_, until)| now.wall <= **until) {
            print.value(key);
            print.deadline(Deadline::Wall(*until));
        }
        for (key, (why, until)) in self.foreign.iter().filter(|(_, (_, u))| now.wall <= *u) {
            print.value((key, why));
            print.deadline(Deadline::Wall(*until));
        }
        for (room, events) in &self.parked {
            for event in events.iter().filter(|event| !event.is_old(now, patience)) {
                let Facts { event_id, sender, device, protection, sent, age: _ } = &event.facts;
                print.value((room, event_id, sender, device, protection, &event.message));
                print.value(sent.map(|sent| now.wall.since(sent)));
                print.value(now.mono.since(event.since));
            }
        }
    }

    /// Notes an event id; `false` when it was known.
    pub(super) fn is_new(&mut self, event: &EventId) -> bool {
        let event = Hashed::new(event.clone());
        if !self.seen.insert(event.clone()) {
            return false;
        }
        self.seen_order.push_back(event);
        if self.seen_order.len() > MAX_SEEN
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Forgets which of these events were heard: they never come again.
    #[cfg(feature = "testing")]
    pub(super) fn forget_seen(&mut self, comes_again: impl Fn(&EventId) -> bool) {
        self.seen.retain(|event| comes_again(event));
        self.seen_order.retain(|event| comes_again(event));
    }

    /// Notes that a call is over, until its invite cannot be alive any more.
    pub(super) fn note_over(&mut self, room: &RoomId, call: &CallId, until: Wall) {
        note(&mut self.over, &mut self.over_order, call_key(room, call), until);
    }

    /// Notes that an invite is nothing to us, for as long as it could be alive.
    pub(super) fn note_foreign(&mut self, invite: Invite, why: Foreign, until: Wall) {
        note(&mut self.foreign, &mut self.foreign_order, Hashed::new(invite), (why, until));
    }

    /// Whether a call is over.
    pub(super) fn is_over(&self, room: &RoomId, call: &CallId, now: Now) -> bool {
        let until = self.over.get(&call_key(room, call));
        until.is_some_and(|until| now.wall <= *until)
    }

    /// Why an invite of this user was nothing to us, if it was not.
    pub(super) fn foreign(&self, invite: Invite, now: Now) -> Option<Foreign> {
        let (why, until) = self.foreign.get(&Hashed::new(invite))?;
        (now.wall <= *until).then_some(*why)
    }

    /// Calls that are over and must not ring after a restart either, newest first.
    pub(super) fn ended(&self, now: Now) -> impl Iterator<Item = EndedCall> {
        self.over_order.iter().rev().filter_map(move |key| {
            let until = self.over.get(key)?;
            (now.wall <= *until).then(|| EndedCall {
                room: key.0.clone(),
                call_id: key.1.clone(),
                until: *until,
            })
        })
    }

    /// Whether nothing more can wait in this room, because something waits in too many others.
    pub(super) fn is_full_for(&self, room: &RoomId) -> bool {
        !self.parked.contains_key(room) && self.parked.len() >= MAX_PARKED_ROOMS
    }

    /// Keeps an event for its invite; `false` when the room's bound is reached.
    pub(super) fn park(
        &mut self,
        room: &RoomId,
        facts: &Facts,
        message: &CallMessage,
        now: Now,
    ) -> bool {
        let parked = self.parked.entry(room.clone()).or_default();
        let full = parked.len() >= MAX_PARKED_PER_ROOM;
        if full {
            make_room(parked);
        }
        let mut message = message.clone();
        // To a call that is not ours only matters that somebody answered.
        if let Body::Answer(answer) = &mut message.body {
            answer.sdp = Redacted::default();
        }
        parked.push_back(Parked { facts: facts.clone(), message, since: now.mono });
        !full
    }

    /// Takes what waits for this invite, in order; not what has waited for longer than `patience`.
    pub(super) fn take_parked(
        &mut self,
        (room, call): (&RoomId, &CallId),
        now: Now,
        patience: Duration,
    ) -> Vec<Parked> {
        let Some(parked) = self.parked.get_mut(room) else { return Vec::new() };
        let (taken, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(parked).into_iter().partition(|p| p.message.header.call_id == *call);
        if left.is_empty() {
            self.parked.remove(room);
        } else {
            *parked = left;
        }
        taken.into_iter().filter(|event| !event.is_old(now, patience)).collect()
    }

    /// Forgets what was parked in a room for longer than `patience`; in all rooms when there are too
    /// many. Events of a room are in the order of their arrival, so a flood costs no more each.
    pub(super) fn forget_parked(&mut self, room: &RoomId, now: Now, patience: Duration) {
        let is_old = |event: &Parked| event.is_old(now, patience);
        if let Some(events) = self.parked.get_mut(room) {
            while events.front().is_some_and(is_old) {
                events.pop_front();
            }
        } else if self.parked.len() >= MAX_PARKED_ROOMS {
            self.parked.retain(|_, events| events.back().is_some_and(|event| !is_old(event)));
        }
    }
}

fn call_key(room: &RoomId, call: &CallId) -> CallKey {
    Hashed::new((room.clone(), call.clone()))
}

/// Notes one thing more; beyond [`MAX_OVER`] the oldest goes.
fn note<K: Ord + Clone, V>(all: &mut BTreeMap<K, V>, order: &mut VecDeque<K>, key: K, value: V) {
    if all.insert(key.clone(), value).is_none() {
        order.push_back(key);
    }
    if order.len() > MAX_OVER
        && let Some(oldest) = order.pop_front()
    {
        all.remove(&oldest);
    }
}

/// Drops the oldest event of whoever has most events waiting: a flood of one sender costs no
/// other's.
fn make_room(parked: &mut VecDeque<Parked>) {
    let mut counts = BTreeMap::<&UserId, usize>::new();
    for event in parked.iter() {
        *counts.entry(&event.facts.sender).or_default() += 1;
    }
    let loudest = counts.into_iter().max_by_key(|(_, count)| *count);
    let loudest = loudest.map(|(sender, _)| sender.clone());
    let oldest = parked.iter().position(|event| Some(&event.facts.sender) == loudest.as_ref());
    parked.remove(oldest.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        machine::{Engine, Identity},
    };

    fn event(n: usize) -> EventId {
        EventId::parse(format!("${n}")).unwrap()
    }

    #[test]
    fn an_event_is_new_once_and_the_oldest_is_forgotten_first() {
        let mut memory = Memory::default();
        for n in 0..MAX_SEEN {
            assert!(memory.is_new(&event(n)));
        }
        assert!(!memory.is_new(&event(0)));
        assert!(memory.is_new(&event(MAX_SEEN)));
        assert!(!memory.is_new(&event(1)), "one more must forget one, not two");
        assert!(memory.is_new(&event(0)));
    }

    fn parked_at(memory: &mut Memory, room: &RoomId, second: u64) -> bool {
        let header = crate::wire::call::Header {
            call_id: CallId::parse("c").unwrap(),
            party_id: None,
            version: crate::wire::call::Version::V1,
            device_id: None,
            leg: None,
        };
        let body = crate::wire::call::Body::Hangup { reason: None };
        let facts = Facts {
            event_id: None,
            sender: UserId::parse("@u:x").unwrap(),
            device: None,
            protection: crate::wire::delivery::Protection::Clear,
            sent: None,
            age: None,
        };
        let now = Now { mono: Mono(Duration::from_secs(second)), wall: Wall(0) };
        memory.forget_parked(room, now, Duration::from_secs(10));
        !memory.is_full_for(room) && memory.park(room, &facts, &CallMessage { header, body }, now)
    }

    fn taken(memory: &mut Memory, room: &RoomId, second: u64) -> Vec<Parked> {
        let now = Now { mono: Mono(Duration::from_secs(second)), wall: Wall(0) };
        memory.take_parked((room, &CallId::parse("c").unwrap()), now, Duration::from_secs(10))
    }

    #[test]
    fn the_description_of_a_parked_answer_takes_no_memory() {
        let room = RoomId::parse("!r").unwrap();
        let mut memory = Memory::default();
        parked_at(&mut memory, &room, 0);
        let Parked { facts, mut message, .. } = taken(&mut memory, &room, 0).remove(0);
        message.body = Body::Answer(crate::wire::call::Answer {
            sdp: Redacted::new("v=0"),
            capabilities: crate::wire::call::Capabilities::default(),
            streams: None,
        });
        memory.park(&room, &facts, &message, Now::default());
        let parked = taken(&mut memory, &room, 0).remove(0);
        let Body::Answer(answer) = parked.message.body else { panic!("{:?}", parked.message) };
        assert!(answer.sdp.is_empty());
    }

    #[test]
    fn what_is_parked_is_forgotten_after_a_while() {
        let room = |n: usize| RoomId::parse(format!("!{n}")).unwrap();
        let mut memory = Memory::default();
        for second in [0, 5, 10] {
            assert!(parked_at(&mut memory, &room(0), second));
        }
        assert!(parked_at(&mut memory, &room(0), 16));
        assert_eq!(taken(&mut memory, &room(0), 16).len(), 2, "of 10 and of 16");
        for n in 0..MAX_PARKED_ROOMS {
            assert!(parked_at(&mut memory, &room(n), 20));
        }
        assert!(parked_at(&mut memory, &room(0), 25), "a room that is known may go on");
        assert!(!parked_at(&mut memory, &room(MAX_PARKED_ROOMS), 30), "one room too many");
        assert!(parked_at(&mut memory, &room(MAX_PARKED_ROOMS), 31), "the old rooms are forgotten");
        assert_eq!(taken(&mut memory, &room(1), 31).len(), 0);
        assert_eq!(taken(&mut memory, &room(0), 31).len(), 1, "its youngest is not old");
    }

    #[test]
    fn a_call_is_over_until_its_invite_is_dead() {
        let (room, call) = (RoomId::parse("!r").unwrap(), CallId::parse("c").unwrap());
        let mut memory = Memory::default();
        memory.note_over(&room, &call, Wall(1000));
        let at = |ms| Now { wall: Wall(ms), ..Now::default() };
        assert!(memory.is_over(&room, &call, at(1000)));
        assert!(!memory.is_over(&room, &call, at(1001)));
        assert_eq!(memory.ended(at(1000)).count(), 1);
        assert_eq!(memory.ended(at(1001)).count(), 0);
    }

    #[test]
    fn what_is_over_is_bounded() {
        let room = RoomId::parse("!r").unwrap();
        let mut memory = Memory::default();
        let call = |n: usize| CallId::parse(format!("c{n}")).unwrap();
        for n in 0..=MAX_OVER {
            memory.note_over(&room, &call(n), Wall(1));
            memory.note_over(&room, &call(n), Wall(1));
        }
        assert!(!memory.is_over(&room, &call(0), Now::default()));
        assert!(memory.is_over(&room, &call(1), Now::default()));
    }

    #[test]
    fn what_is_foreign_is_so_for_one_sender_and_not_ours_to_keep() {
        let invite = |user: &str| {
            let (room, call) = (RoomId::parse("!r").unwrap(), CallId::parse("c").unwrap());
            (room, call, UserId::parse(user).unwrap())
        };
        let mut memory = Memory::default();
        memory.note_foreign(invite("@a:x"), Foreign::NotOurs, Wall(1));
        assert_eq!(memory.foreign(invite("@a:x"), Now::default()), Some(Foreign::NotOurs));
        assert_eq!(memory.foreign(invite("@b:x"), Now::default()), None);
        let later = Now { wall: Wall(2), ..Now::default() };
        assert_eq!(memory.foreign(invite("@a:x"), later), None);
        assert_eq!(memory.ended(Now::default()).count(), 0);
    }

    /// The fingerprint of an engine that remembers this, at 1000 ms.
    fn print(act: impl FnOnce(&mut Memory)) -> u64 {
        let (user, device) = ("@a:x".parse().unwrap(), "D".parse().unwrap());
        let mut engine = Engine::new(Identity { user, device }, Config::default(), 1);
        engine.world.now.wall = Wall(1000);
        act(&mut engine.world.memory);
        engine.fingerprint()
    }

    fn note_foreign(memory: &mut Memory, why: Foreign, until: u64) {
        let invite = ("!r".parse().unwrap(), "c".parse().unwrap(), "@a:x".parse().unwrap());
        memory.note_foreign(invite, why, Wall(until));
    }

    #[test]
    fn engines_are_alike_when_they_remember_the_same_of_what_may_still_come() {
        let (room, call) = ("!r".parse().unwrap(), "c".parse().unwrap());
        let over = |until| print(|memory| memory.note_over(&room, &call, Wall(until)));
        let foreign = |why, until| print(|memory| note_foreign(memory, why, until));
        let nothing = print(|_| {});
        assert_eq!((over(999), foreign(Foreign::Dead, 999)), (nothing, nothing));
        let different = [
            nothing,
            over(1000),
            over(2000),
            foreign(Foreign::Dead, 1000),
            foreign(Foreign::Dead, 2000),
            foreign(Foreign::NotOurs, 2000),
            print(|memory| assert!(memory.is_new(&event(1)))),
            print(|memory| assert!(parked_at(memory, &room, 0))),
        ];
        assert_eq!(BTreeSet::from(different).len(), different.len());
    }
}
