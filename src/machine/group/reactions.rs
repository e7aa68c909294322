//! Reactions in group calls: applause that passes, hands that stay up until they are taken down.
//!
//! A permanent reaction belongs to a visit of its participant, and is named by what it shows: it
//! stays however often the membership is written anew, is sent once, and goes with the visit (T-42).
//! On the wire it refers to one member event of that visit, which may be an earlier one (T-43).
//!
//! ```text
//! React ─▶ shown ─▶ sent until accepted ─▶ Unreact: a redaction of every event that says it
//! event ─▶ of whose visit? ─▶ how many in this second? ─▶ shown, once for each key
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    event::{GroupEvent, GroupSnapshot, GroupState},
    post::{Letter, Patience, Post, Purpose},
    roster::ParticipantId,
};
use crate::{
    config::ReactionsSent,
    id::{EventId, RoomId, SessionId, UserId},
    machine::{
        Engine,
        bounds::{
            MAX_EARLY_REACTIONS, MAX_EARLY_REACTIONS_PER_USER, MAX_REACTION_EVENTS,
            MAX_REACTIONS_OF_CALL_PER_SECOND, MAX_REACTIONS_PER_PARTICIPANT,
            MAX_REACTIONS_PER_SECOND,
        },
        fingerprint::Fingerprint,
        guard::Guard,
        io::{Ignored, Refusal, Verdict},
    },
    time::Mono,
    wire::{
        delivery::Facts,
        member::GroupCallId,
        reaction::{MAX_REACTION_KEY_BYTES, Origin, Reaction, ReactionRemoval, Stay},
        rtc::RtcEvent,
    },
};

/// How long after it was sent an ephemeral reaction is still shown.
const FRESH: Duration = Duration::from_secs(2);

/// An ephemeral reaction of ours is refused while more than so many are outstanding; one passes each
/// second.
const MAX_OUTSTANDING: u32 = 10;

/// How many there were in the present second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rate {
    since: Mono,
    count: u32,
}

impl Rate {
    fn has_room(&mut self, now: Mono, most: u32) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, count: 0 };
        }
        self.count < most
    }
}

/// Our own ephemeral ones that have not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Outstanding {
    since: Mono,
    count: u32,
}

impl Outstanding {
    /// Whether one more may go out; then it has.
    fn take(&mut self, now: Mono) -> bool {
        let passed = now.since(self.since).as_secs();
        match u64::from(self.count) <= passed {
            true => *self = Self { since: now, count: 0 },
            false => {
                // Fewer than `count`, which is small.
                self.count -= passed as u32;
                self.since = self.since.plus(Duration::from_secs(passed));
            }
        }
        let may = self.count <= MAX_OUTSTANDING;
        self.count += u32::from(may);
        may
    }
}

/// What is shown in one group call. That it is shown stands in the snapshot; here is what it takes
/// to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reactions {
    /// The events that say it, oldest first.
    events: BTreeMap<ParticipantId, BTreeMap<String, VecDeque<EventId>>>,
    /// The posts that say ours.
    own: BTreeMap<String, u64>,
    heard: BTreeMap<ParticipantId, Rate>,
    heard_of_all: Rate,
    outstanding: Outstanding,
    /// Whether we were gone for the others meanwhile, who take what we showed to be gone with us.
    lapsed: bool,
}

impl Reactions {
    /// Forgets what this participant shows no more; of who has left, everything.
    pub(super) fn keep_shown(
        &mut self,
        shown: &GroupSnapshot,
        (who, left): (&ParticipantId, bool),
        ours: &ParticipantId,
    ) {
        let keys = shown.reactions.get(who);
        let stands = |key: &String| keys.is_some_and(|keys| keys.contains(key));
        if let Some(events) = self.events.get_mut(who) {
            events.retain(|key, _| stands(key));
            if events.is_empty() {
                self.events.remove(who);
            }
        }
        if who == ours {
            self.own.retain(|key, _| stands(key));
        }
        if left {
            self.heard.remove(who);
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.events, self.lapsed));
        for key in self.own.keys() {
            print.value(key);
        }
    }

    fn note_event(&mut self, who: &ParticipantId, key: &str, event: EventId) {
        let events = self.events.entry(who.clone()).or_default().entry(key.to_owned()).or_default();
        if events.len() == MAX_REACTION_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }

    fn take_events(&mut self, who: &ParticipantId, key: &str) -> VecDeque<EventId> {
        let keys = self.events.get_mut(who);
        keys.and_then(|keys| keys.remove(key)).unwrap_or_default()
    }

    /// Whose reaction this event is, and which.
    fn of_event(&self, event: &EventId) -> Option<(ParticipantId, String)> {
        let mut all =
            self.events.iter().flat_map(|(who, keys)| keys.iter().map(move |of| (who, of)));
        let (who, (key, _)) = all.find(|(_, (_, events))| events.contains(event))?;
        Some((who.clone(), key.clone()))
    }

    /// Whether one more is heard; then it is.
    fn hear(&mut self, who: &ParticipantId, now: Mono) -> bool {
        let one = self.heard.entry(who.clone()).or_default();
        let heard = one.has_room(now, MAX_REACTIONS_PER_SECOND)
            && self.heard_of_all.has_room(now, MAX_REACTIONS_OF_CALL_PER_SECOND);
        if heard {
            one.count += 1;
            self.heard_of_all.count += 1;
        }
        heard
    }
}

/// Events of a room that came before what they refer to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct EarlyReactions {
    /// Permanent reactions of whom no such membership was heard yet.
    waiting: VecDeque<(Facts, Reaction, Mono)>,
    /// What was removed before it was heard, and by whom.
    removed: VecDeque<(UserId, EventId)>,
}

impl EarlyReactions {
    /// Keeps a reaction for its membership; whether nobody else's had to go for it.
    fn wait(&mut self, facts: &Facts, reaction: &Reaction, now: Mono) -> bool {
        let of_user = self.waiting.iter().filter(|(it, ..)| it.sender == facts.sender).count();
        if of_user >= MAX_EARLY_REACTIONS_PER_USER || self.waiting.len() >= MAX_EARLY_REACTIONS {
            return false;
        }
        self.waiting.push_back((facts.clone(), reaction.clone(), now));
        true
    }

    fn note_removal(&mut self, user: &UserId, event: &EventId) {
        if self.removed.len() == MAX_EARLY_REACTIONS {
            self.removed.pop_front();
        }
        self.removed.push_back((user.clone(), event.clone()));
    }

    fn was_removed(&self, facts: &Facts) -> bool {
        let of_event = |event: &EventId| {
            self.removed.iter().any(|(user, of)| *user == facts.sender && of == event)
        };
        facts.event_id.as_ref().is_some_and(of_event)
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for (facts, reaction, since) in &self.waiting {
            print.value((&facts.event_id, &facts.sender, &reaction.key));
            print.since(*since);
        }
        print.value(&self.removed);
    }
}

impl Engine {
    // --------------------------------------------------------------------------------- ours

    pub(super) fn react(
        &mut self,
        session: SessionId,
        (room, group): (&RoomId, &GroupCallId),
        key: String,
        stay: Stay,
    ) -> Verdict {
        if key.is_empty() || key.len() > MAX_REACTION_KEY_BYTES {
            return Verdict::Refused(Refusal::NotWritable);
        }
        let ours = self.ourselves();
        if self.groups.room(room).posts.is_full() {
            return Verdict::Refused(Refusal::TooManyReactions);
        }
        let Some(member_event) = self.our_member_event(room, group) else {
            return Verdict::Refused(Refusal::NotEntered);
        };
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Refused(Refusal::UnknownSession);
        };
        if call.shown.state != GroupState::Entered {
            return Verdict::Refused(Refusal::NotEntered);
        }
        let shown = call.shown.reactions.get(&ours);
        let many = match stay {
            Stay::Permanent if shown.is_some_and(|keys| keys.contains(&key)) => {
                return Verdict::Handled;
            }
            Stay::Permanent => shown.is_some_and(|of| of.len() >= MAX_REACTIONS_PER_PARTICIPANT),
            Stay::Ephemeral => !call.reactions.outstanding.take(self.world.now.mono),
        };
        if many {
            return Verdict::Refused(Refusal::TooManyReactions);
        }
        self.show_ours(session, &key, stay);
        let of = self.our_origin(group);
        let reaction = Reaction { key: key.clone(), stay, of, member_event };
        self.send_reaction(session, (room, group), &reaction);
        Verdict::Handled
    }

    fn show_ours(&mut self, session: SessionId, key: &str, stay: Stay) {
        let (participant, key) = (self.ourselves(), key.to_owned());
        self.tell_group(session, GroupEvent::ReactionAdded { participant, key, stay });
    }

    fn send_reaction(
        &mut self,
        session: SessionId,
        (room, group): (&RoomId, &GroupCallId),
        reaction: &Reaction,
    ) {
        let (event_type, content) = RtcEvent::Reaction(reaction.clone()).write();
        let letter = match self.world.config.reactions {
            ReactionsSent::InTheClear => Letter::Clear(event_type, content),
            ReactionsSent::AsTheRoomIs => Letter::Event(event_type, content),
        };
        let (purpose, patience) = match reaction.stay {
            Stay::Ephemeral => (Purpose::Nothing, Patience::Once),
            Stay::Permanent => {
                (Purpose::Reaction(group.clone(), reaction.key.clone()), Patience::Endless)
            }
        };
        let number = self.post(room, Post { letter, purpose, patience });
        if let (Stay::Permanent, Some(call)) = (reaction.stay, self.groups.calls.get_mut(&session))
        {
            call.reactions.own.insert(reaction.key.clone(), number);
        }
    }

    /// Takes our reaction back; one that is not there is back already.
    pub(super) fn unreact(
        &mut self,
        session: SessionId,
        (room, group): (&RoomId, &GroupCallId),
        key: String,
    ) -> Verdict {
        let participant = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Refused(Refusal::UnknownSession);
        };
        if call.shown.reactions.get(&participant).is_none_or(|keys| !keys.contains(&key)) {
            return Verdict::Handled;
        }
        // What is under way is taken back as soon as its id is known.
        call.reactions.own.remove(&key);
        let events = call.reactions.take_events(&participant, &key);
        let removed = GroupEvent::ReactionRemoved { participant, key: key.clone() };
        self.tell_group(session, removed);
        for event in events {
            self.redact_reaction(room, (group, &key), event);
        }
        Verdict::Handled
    }

    /// We leave: our reactions go with our visit.
    pub(super) fn drop_our_reactions(&mut self, session: SessionId) {
        let ours = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let (room, group) = (call.shown.room.clone(), call.shown.call.clone());
        for key in call.shown.reactions.get(&ours).cloned().unwrap_or_default() {
            let participant = ours.clone();
            call.tell(&mut self.world, GroupEvent::ReactionRemoved { participant, key });
        }
        self.groups.room(&room).posts.forget(&group);
    }

    /// For the others we are gone, although we want to be there.
    pub(super) fn on_lapsed(&mut self, session: SessionId) {
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.reactions.lapsed = true;
        }
    }

    /// We are there again for the others: what we have shown all the time is sent anew. Whoever has it
    /// still takes it for the same (T-42). So is our media key, which they have dropped.
    pub(super) fn on_back(&mut self, session: SessionId) {
        let ours = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !std::mem::take(&mut call.reactions.lapsed) {
            return;
        }
        call.keys.share_again();
        for key in call.shown.reactions.get(&ours).cloned().unwrap_or_default() {
            self.say_again(session, key);
        }
    }

    fn say_again(&mut self, session: SessionId, key: String) {
        let Some(call) = self.groups.calls.get(&session) else { return };
        let (room, group) = (call.shown.room.clone(), call.shown.call.clone());
        let full = self.groups.room(&room).posts.is_full();
        let event = self.our_member_event(&room, &group).filter(|_| !full);
        let Some(member_event) = event else { return };
        let (stay, of) = (Stay::Permanent, self.our_origin(&group));
        let reaction = Reaction { key, stay, of, member_event };
        self.send_reaction(session, (&room, &group), &reaction);
    }

    fn redact_reaction(
        &mut self,
        room: &RoomId,
        (group, key): (&GroupCallId, &str),
        redacts: EventId,
    ) {
        let of = self.our_origin(group);
        let removal = ReactionRemoval { redacts: redacts.clone(), of };
        let (_, content) = RtcEvent::ReactionRemoval(removal).write();
        let letter = Letter::Redaction(redacts, content);
        let purpose = Purpose::Removal(group.clone(), key.to_owned());
        self.post(room, Post { letter, purpose, patience: Patience::Endless });
    }

    /// What we took back is back. Where it is shown again by now, the others may have heard that
    /// before, and taken this to be the later word.
    pub(super) fn on_removal_sent(&mut self, room: &RoomId, group: &GroupCallId, key: String) {
        let ours = self.ourselves();
        let Some(session) = self.groups.find(room, group) else { return };
        let shown = self.groups.calls.get(&session).map(|call| &call.shown.reactions);
        if shown.and_then(|all| all.get(&ours)).is_some_and(|keys| keys.contains(&key)) {
            self.say_again(session, key);
        }
    }

    /// A permanent reaction of ours was accepted. Where it is wanted no more, it goes at once; where it
    /// was taken back and is shown again, it is one more event that says so.
    pub(super) fn on_reaction_sent(
        &mut self,
        room: &RoomId,
        group: &GroupCallId,
        key: String,
        event: EventId,
    ) {
        let ours = self.ourselves();
        let session = self.groups.find(room, group);
        let call = session.and_then(|session| self.groups.calls.get_mut(&session));
        match call.filter(|call| call.reactions.own.contains_key(&key)) {
            Some(call) => call.reactions.note_event(&ours, &key, event),
            None => self.redact_reaction(room, (group, &key), event),
        }
    }

    /// It will never be seen: it is shown to us no more either.
    pub(super) fn on_reaction_refused(
        &mut self,
        room: &RoomId,
        group: &GroupCallId,
        (number, key): (u64, String),
    ) {
        let participant = self.ourselves();
        let Some(session) = self.groups.find(room, group) else { return };
        let call = self.groups.calls.get(&session);
        if call.is_some_and(|call| call.reactions.own.get(&key) == Some(&number)) {
            self.tell_group(session, GroupEvent::ReactionRemoved { participant, key });
        }
    }

    /// Where our reactions belong.
    fn our_origin(&self, group: &GroupCallId) -> Origin {
        Origin {
            call_id: group.call_id.clone(),
            device_id: self.world.identity.device.clone(),
            scope: Some(group.scope.clone()),
        }
    }

    // -------------------------------------------------------------------------------- theirs

    pub(in crate::machine) fn on_reaction(
        &mut self,
        room: &RoomId,
        facts: &Facts,
        reaction: &Reaction,
    ) -> Verdict {
        let world = &self.world;
        let id =
            ParticipantId { user: facts.sender.clone(), device: reaction.of.device_id.clone() };
        if id == self.ourselves() && world.holds(Guard::EchoIgnored) {
            return Verdict::Ignored(Ignored::Echo);
        }
        let proven = facts.device.as_ref().is_none_or(|device| *device == id.device);
        if !proven && world.holds(Guard::DeviceBound) {
            return Verdict::Ignored(Ignored::WrongParty);
        }
        let late = reaction.stay == Stay::Ephemeral && world.age(facts) > FRESH;
        if late && world.holds(Guard::ReactionsFresh) {
            return Verdict::Ignored(Ignored::Expired);
        }
        if self.groups.room(room).early.was_removed(facts) {
            return Verdict::Ignored(Ignored::AlreadyOver);
        }
        let Some((session, who)) = self.reacting(room, &id, reaction) else {
            return self.keep_reaction(room, facts, reaction);
        };
        self.show_reaction(session, who, reaction, facts.event_id.clone())
    }

    /// A hand may be heard of before the membership of whoever raises it.
    fn keep_reaction(&mut self, room: &RoomId, facts: &Facts, reaction: &Reaction) -> Verdict {
        let (now, early) = (self.world.now.mono, &mut self.groups.room(room).early);
        let patience = self.world.config.timeouts.parked;
        early.waiting.retain(|(_, _, since)| now.since(*since) < patience);
        Verdict::Ignored(match reaction.stay {
            Stay::Ephemeral => Ignored::NoMembership,
            Stay::Permanent if early.wait(facts, reaction, now) => Ignored::Parked,
            Stay::Permanent => Ignored::TooMany,
        })
    }

    /// The room's state changed: perhaps the membership came that a reaction refers to.
    pub(super) fn react_waiting(&mut self, room: &RoomId) {
        let waiting = std::mem::take(&mut self.groups.room(room).early.waiting);
        for (facts, reaction, since) in waiting {
            let device = reaction.of.device_id.clone();
            let id = ParticipantId { user: facts.sender.clone(), device };
            match self.reacting(room, &id, &reaction) {
                Some((session, who)) => {
                    self.show_reaction(session, who, &reaction, facts.event_id.clone());
                }
                None => {
                    self.groups.room(room).early.waiting.push_back((facts, reaction, since));
                }
            }
        }
    }

    /// In which call a reaction is shown, and whose it is.
    fn reacting(
        &self,
        room: &RoomId,
        id: &ParticipantId,
        reaction: &Reaction,
    ) -> Option<(SessionId, ParticipantId)> {
        let Reaction { of, member_event, .. } = reaction;
        let bound = self.world.holds(Guard::ReactionBound);
        let roster = &self.groups.rooms.get(room)?.roster;
        let of_call = self.groups.of_room(room).filter(|call| {
            let group = &call.shown.call;
            group.call_id == of.call_id && of.scope.as_ref().is_none_or(|it| *it == group.scope)
        });
        let mut found = of_call.filter_map(|call| {
            let stands = roster.stands_on(&call.shown.call, id, member_event);
            let one = call.shown.participants.iter().find(|one| one.id == *id && stands);
            let one = one.or_else(|| call.shown.participants.first().filter(|_| !bound))?;
            Some((call.session, one.id.clone()))
        });
        found.next()
    }

    fn show_reaction(
        &mut self,
        session: SessionId,
        participant: ParticipantId,
        Reaction { key, stay, .. }: &Reaction,
        event: Option<EventId>,
    ) -> Verdict {
        let bounded = self.world.holds(Guard::ReactionsBounded);
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::NoMembership);
        };
        let shown = call.shown.reactions.get(&participant);
        let known = shown.is_some_and(|keys| keys.contains(key));
        let full = shown.is_some_and(|keys| keys.len() >= MAX_REACTIONS_PER_PARTICIPANT);
        let full = *stay == Stay::Permanent && full && !known;
        if (full || !call.reactions.hear(&participant, now)) && bounded {
            return Verdict::Ignored(Ignored::TooMany);
        }
        if *stay == Stay::Permanent
            && let Some(event) = event
        {
            call.reactions.note_event(&participant, key, event);
        }
        if *stay == Stay::Ephemeral || !known {
            let (key, stay) = (key.clone(), *stay);
            self.tell_group(session, GroupEvent::ReactionAdded { participant, key, stay });
        }
        Verdict::Handled
    }

    pub(in crate::machine) fn on_reaction_removal(
        &mut self,
        room: &RoomId,
        facts: &Facts,
        removal: &ReactionRemoval,
    ) -> Verdict {
        let of_room = self.groups.of_room(room);
        let mut shown = of_room.filter_map(|call| {
            let (who, key) = call.reactions.of_event(&removal.redacts)?;
            Some((call.session, who, key))
        });
        let Some((session, participant, key)) = shown.next() else {
            drop(shown);
            let early = &mut self.groups.room(room).early;
            early.note_removal(&facts.sender, &removal.redacts);
            let redacted = |it: &Facts| {
                it.sender == facts.sender && it.event_id.as_ref() == Some(&removal.redacts)
            };
            early.waiting.retain(|(it, ..)| !redacted(it));
            return Verdict::Ignored(Ignored::UnknownReaction);
        };
        drop(shown);
        if participant.user != facts.sender && self.world.holds(Guard::RemovalBound) {
            return Verdict::Ignored(Ignored::WrongSender);
        }
        self.tell_group(session, GroupEvent::ReactionRemoved { participant, key });
        Verdict::Handled
    }
}
