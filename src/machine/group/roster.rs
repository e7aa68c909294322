//! Who is in the group calls of one room: memberships in, participants out, as differences.
//!
//! A membership is believed as real state alone, for as long as it says but no longer than
//! [`LONGEST_MEMBERSHIP`] (of matrix-js-sdk: an hour) after it was written, and only while its user
//! is in the room. Work is in
//! proportion to what changed: each participant stands on the claims of a few state events, and only
//! those that an event speaks of are looked at.
//!
//! ```text
//! state event (dialect, state key) ──▶ claims ──newest that counts──▶ participant ──▶ Change
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    id::{DeviceId, EventId, UserId},
    machine::{
        bounds::{MAX_CLAIMS_PER_USER, MAX_MEMBER_EVENTS, MAX_MEMBERSHIPS_PER_ROOM},
        fingerprint::Fingerprint,
    },
    time::{Deadline, Now, Wall},
    wire::{
        member::{Backend, Dialect, GroupCallId, MemberEntry, Membership},
        metadata::Purpose,
        state::StateFacts,
    },
};

/// How long a membership is believed after it was written, whatever it says. 5 min: deployed
/// clients write theirs anew every 2 min.
pub const LONGEST_MEMBERSHIP: Duration = Duration::from_secs(300);

/// The same for memberships of matrix-js-sdk, which writes them anew every 45 min
/// (`matrix-js-sdk.md` §1.2). 1 h.
pub const LONGEST_LEGACY_MEMBERSHIP: Duration = Duration::from_secs(3600);

/// One device in a group call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParticipantId {
    /// Whose it is: who wrote the membership.
    pub user: UserId,
    /// The device, as the membership says.
    pub device: DeviceId,
}

/// Who is in a group call, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Participant {
    /// Which device of whom.
    pub id: ParticipantId,
    /// Which of its visits: a new one at each entering.
    pub session: Option<String>,
    /// What it takes the call to be about.
    pub application: String,
    /// How it meets the others. One with another backend than ours is in the call, and out of our
    /// reach.
    pub backend: Backend,
    /// What it shows.
    pub feeds: Vec<Purpose>,
    /// Since when it is there: when the first membership of this visit was written, as far as we
    /// saw it.
    pub since: Wall,
    /// Which generation of clients it is.
    pub dialect: Dialect,
}

/// What changed among the participants of one group call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A device is there.
    Joined(Participant),
    /// It is no more.
    Left(ParticipantId),
    /// It is still there, but otherwise: another visit, other feeds, another application.
    Updated(Participant),
}

/// A change, and in which group call.
pub(in crate::machine) type Changed = (GroupCallId, Change);

/// The state event that a membership stands in.
type Source = (Dialect, String);

/// What one state event says of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Claim {
    sent: Wall,
    event: EventId,
    until: Wall,
    membership: Membership,
}

/// One device: what is claimed of it, and what was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Seat {
    claims: BTreeMap<Source, Claim>,
    shown: Option<Participant>,
    /// The events that said it last, each with the visit that it spoke of: what refers to one of
    /// them belongs to that visit, also when the next has come.
    events: VecDeque<(Option<String>, EventId)>,
}

impl Seat {
    /// The newest claim that counts.
    fn claim(&self, now: Wall) -> Option<(&Source, &Claim)> {
        let counting = self.claims.iter().filter(|(_, claim)| claim.until > now);
        counting.max_by_key(|(_, claim)| (claim.sent, &claim.event))
    }

    fn note_event(&mut self, claim: &Claim) {
        let event = (claim.membership.session.clone(), claim.event.clone());
        if self.events.contains(&event) {
            return;
        }
        if self.events.len() == MAX_MEMBER_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Whether this event said that the device is there, in the visit in which it is there now.
    fn stands_on(&self, event: &EventId) -> bool {
        let present = self.shown.as_ref().map(|shown| &shown.session);
        self.events.iter().any(|(session, id)| id == event && present == Some(session))
    }
}

type Seats = BTreeMap<UserId, BTreeMap<DeviceId, Seat>>;

/// The participants of all group calls of one room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(in crate::machine) struct Roster {
    sources: BTreeMap<Source, BTreeSet<(GroupCallId, ParticipantId)>>,
    calls: BTreeMap<GroupCallId, Seats>,
    expiries: BTreeSet<(Wall, GroupCallId, ParticipantId, Source)>,
    /// How many claims each user has.
    counts: BTreeMap<UserId, usize>,
    claims: usize,
    /// Users who are not in the room: what they claim counts when they are again.
    outside: BTreeSet<UserId>,
}

/// A state event with memberships, as the roster takes it.
#[derive(Debug, Clone, Copy)]
pub(in crate::machine) struct Statement<'a> {
    pub(in crate::machine) dialect: Dialect,
    pub(in crate::machine) facts: &'a StateFacts,
    pub(in crate::machine) entries: &'a [MemberEntry],
    /// Whoever wrote it is not in the room.
    pub(in crate::machine) outside: bool,
}

impl Roster {
    /// Takes what a state event says in the place of what stood under its key before. Says also how
    /// many memberships found no room.
    pub(in crate::machine) fn state(
        &mut self,
        now: Now,
        statement: Statement<'_>,
    ) -> (Vec<Changed>, usize) {
        let Statement { dialect, facts, entries, outside } = statement;
        let source = (dialect, facts.state_key.clone());
        let withdrawn = self.withdraw(&source);
        // In the order of the event: ids of calls, which may be anything, decide about nothing.
        let mut touched = Vec::new();
        let mut left_out = 0;
        for membership in entries.iter().filter_map(|entry| entry.membership.as_ref().ok()) {
            let until = until(now, facts, membership);
            if until <= now.wall {
                continue;
            }
            match self.claim(until, &source, facts, membership) {
                Some(place) => touched.push(place),
                None => left_out += 1,
            }
        }
        if outside && self.counts.contains_key(&facts.sender) {
            self.outside.insert(facts.sender.clone());
        }
        touched.extend(withdrawn);
        (self.settle(now.wall, touched), left_out)
    }

    /// The whole state was told, and it holds these keys only.
    pub(in crate::machine) fn keep_only(
        &mut self,
        now: Now,
        told: &BTreeSet<(Dialect, String)>,
    ) -> Vec<Changed> {
        let gone: Vec<_> = self.sources.keys().filter(|key| !told.contains(key)).cloned().collect();
        let touched: BTreeSet<_> = gone.iter().flat_map(|source| self.withdraw(source)).collect();
        self.settle(now.wall, touched)
    }

    /// Whether this state event stood there when its user left the room: read again it does not say that
    /// he is back.
    pub(in crate::machine) fn is_of_a_leaver(&self, dialect: Dialect, facts: &StateFacts) -> bool {
        let source = (dialect, facts.state_key.clone());
        let places = self.sources.get(&source).into_iter().flatten();
        let mut claims = places.filter_map(|(group, id)| {
            self.calls.get(group)?.get(&id.user)?.get(&id.device)?.claims.get(&source)
        });
        self.outside.contains(&facts.sender) && claims.any(|claim| claim.event == facts.event_id)
    }

    /// Whether this user has claimed to be in a call, and left the room since.
    pub(in crate::machine) fn is_outside(&self, user: &UserId) -> bool {
        self.outside.contains(user)
    }

    /// A user left the room or came back to it.
    pub(in crate::machine) fn set_outside(
        &mut self,
        now: Now,
        user: &UserId,
        outside: bool,
    ) -> Vec<Changed> {
        let changed = match outside {
            // Of who claims nothing nothing is kept, or strangers would make it grow.
            true => self.counts.contains_key(user) && self.outside.insert(user.clone()),
            false => self.outside.remove(user),
        };
        if !changed {
            return Vec::new();
        }
        let mut touched = BTreeSet::new();
        for (group, seats) in &self.calls {
            let devices = seats.get(user).into_iter().flat_map(BTreeMap::keys);
            touched.extend(devices.map(|device| (group.clone(), id(user, device))));
        }
        self.settle(now.wall, touched)
    }

    /// Drops what has expired: rooms are full of the memberships of those who left without a word.
    pub(in crate::machine) fn expire(&mut self, now: Now) -> Vec<Changed> {
        let mut touched = BTreeSet::new();
        while self.expiries.first().is_some_and(|(at, ..)| *at <= now.wall) {
            let Some((_, group, id, source)) = self.expiries.pop_first() else { break };
            let place = (group, id);
            if let Some(places) = self.sources.get_mut(&source) {
                places.remove(&place);
                if places.is_empty() {
                    self.sources.remove(&source);
                }
            }
            self.drop_claim(&source, &place);
            touched.insert(place);
        }
        self.settle(now.wall, touched)
    }

    /// Our wall clock was set back: nothing counts longer for that.
    pub(in crate::machine) fn on_clock_set_back(&mut self, by: Duration) {
        let seats = self.calls.values_mut().flat_map(BTreeMap::values_mut);
        for claim in seats.flat_map(BTreeMap::values_mut).flat_map(|seat| seat.claims.values_mut())
        {
            claim.until = claim.until.minus(by);
        }
        let expiries = std::mem::take(&mut self.expiries).into_iter();
        self.expiries = expiries.map(|(at, a, b, c)| (at.minus(by), a, b, c)).collect();
    }

    /// Who is in a group call, oldest first.
    pub(in crate::machine) fn participants(&self, group: &GroupCallId) -> Vec<Participant> {
        let seats = self.calls.get(group).into_iter().flatten().flat_map(|(_, seats)| seats);
        let mut present: Vec<_> = seats.filter_map(|(_, seat)| seat.shown.clone()).collect();
        present.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        present
    }

    /// Whether a participant is there by this member event, or was in the same visit.
    pub(in crate::machine) fn stands_on(
        &self,
        group: &GroupCallId,
        id: &ParticipantId,
        event: &EventId,
    ) -> bool {
        let seat = self.calls.get(group).and_then(|seats| seats.get(&id.user)?.get(&id.device));
        seat.is_some_and(|seat| seat.stands_on(event))
    }

    /// Who is in which call by this member event, of this user alone where one is named.
    pub(in crate::machine) fn holders<'a>(
        &'a self,
        of: Option<&'a UserId>,
        event: &'a EventId,
    ) -> impl Iterator<Item = (&'a GroupCallId, &'a Participant)> {
        let users = self.calls.iter().flat_map(move |(group, seats)| {
            let of_user = of.and_then(|user| seats.get(user)).into_iter();
            let of_all = seats.values().filter(move |_| of.is_none());
            of_user.chain(of_all).map(move |devices| (group, devices))
        });
        let seats = users
            .flat_map(|(group, devices)| devices.values().map(move |seat| (group, seat)))
            .filter(move |(_, seat)| seat.stands_on(event));
        seats.filter_map(|(group, seat)| Some((group, seat.shown.as_ref()?)))
    }

    /// The newest member event by which a device is there.
    pub(in crate::machine) fn member_event(
        &self,
        now: Wall,
        group: &GroupCallId,
        id: &ParticipantId,
    ) -> Option<(&EventId, Option<&str>)> {
        let seat = self.calls.get(group)?.get(&id.user)?.get(&id.device)?;
        let (_, claim) = seat.claim(now)?;
        Some((&claim.event, claim.membership.session.as_deref()))
    }

    /// Of how many calls something is said.
    pub(in crate::machine) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The calls of which something is said.
    pub(in crate::machine) fn alive(&self) -> impl Iterator<Item = &GroupCallId> {
        self.calls.keys()
    }

    /// Whoever claims to be in a call.
    pub(in crate::machine) fn users(&self) -> Vec<UserId> {
        self.counts.keys().cloned().collect()
    }

    /// When the next membership expires.
    pub(in crate::machine) fn next_expiry(&self) -> Option<Wall> {
        self.expiries.first().map(|(at, ..)| *at)
    }

    pub(in crate::machine) fn fingerprint(&self, print: &mut Fingerprint, now: Now) {
        for (group, seats) in &self.calls {
            print.value(group);
            for (device, seat) in seats.values().flatten() {
                print.value((device, &seat.shown));
                for (source, claim) in &seat.claims {
                    print.value((source, &claim.membership.session, now.wall < claim.until));
                    print.deadline(Deadline::Wall(claim.until));
                }
            }
        }
        print.value(&self.outside);
    }

    /// What stood under a key stands no more; of whom that was said.
    fn withdraw(&mut self, source: &Source) -> BTreeSet<(GroupCallId, ParticipantId)> {
        let places = self.sources.remove(source).unwrap_or_default();
        for place in &places {
            self.drop_claim(source, place);
        }
        places
    }

    fn drop_claim(&mut self, source: &Source, (group, id): &(GroupCallId, ParticipantId)) {
        let Some(claim) = self.seat(group, id).claims.remove(source) else { return };
        self.expiries.remove(&(claim.until, group.clone(), id.clone(), source.clone()));
        self.claims -= 1;
        if let Some(count) = self.counts.get_mut(&id.user) {
            *count -= 1;
        }
    }

    /// Takes one claim that counts, if there is room for it.
    fn claim(
        &mut self,
        until: Wall,
        source: &Source,
        facts: &StateFacts,
        membership: &Membership,
    ) -> Option<(GroupCallId, ParticipantId)> {
        let id = id(&facts.sender, &membership.device);
        let of_user = self.counts.get(&id.user).copied().unwrap_or_default();
        if self.claims >= MAX_MEMBERSHIPS_PER_ROOM || of_user >= MAX_CLAIMS_PER_USER {
            return None;
        }
        let group = membership.group.clone();
        let (sent, event) = (facts.sent, facts.event_id.clone());
        let claim = Claim { sent, event, until, membership: membership.clone() };
        // The last of two entries of one device in one event counts.
        let seat = self.seat(&group, &id);
        seat.note_event(&claim);
        match seat.claims.insert(source.clone(), claim) {
            Some(earlier) => {
                let of = (earlier.until, group.clone(), id.clone(), source.clone());
                self.expiries.remove(&of);
            }
            None => {
                self.claims += 1;
                *self.counts.entry(id.user.clone()).or_default() += 1;
            }
        }
        self.expiries.insert((until, group.clone(), id.clone(), source.clone()));
        let place = (group, id);
        self.sources.entry(source.clone()).or_default().insert(place.clone());
        Some(place)
    }

    fn seat(&mut self, group: &GroupCallId, id: &ParticipantId) -> &mut Seat {
        let seats = self.calls.entry(group.clone()).or_default();
        let devices = seats.entry(id.user.clone()).or_default();
        devices.entry(id.device.clone()).or_default()
    }

    /// Compares what counts now with what was told, and forgets seats of which nothing is said.
    fn settle(
        &mut self,
        now: Wall,
        touched: impl IntoIterator<Item = (GroupCallId, ParticipantId)>,
    ) -> Vec<Changed> {
        let mut changes = Vec::new();
        for (group, id) in touched {
            let outside = self.outside.contains(&id.user);
            let seat = self.seat(&group, &id);
            let claim = seat.claim(now).filter(|_| !outside);
            let present = claim.map(|(source, claim)| present(&id, source.0, claim, seat));
            let change = difference(seat.shown.as_ref(), present.as_ref());
            seat.shown = present;
            if seat.claims.is_empty() {
                self.forget(&group, &id);
            }
            changes.extend(change.map(|change| (group, change)));
        }
        changes
    }

    fn forget(&mut self, group: &GroupCallId, id: &ParticipantId) {
        let Some(seats) = self.calls.get_mut(group) else { return };
        if let Some(devices) = seats.get_mut(&id.user) {
            devices.remove(&id.device);
            if devices.is_empty() {
                seats.remove(&id.user);
            }
        }
        if seats.is_empty() {
            self.calls.remove(group);
        }
        if self.counts.get(&id.user) == Some(&0) {
            self.counts.remove(&id.user);
            self.outside.remove(&id.user);
        }
    }
}

fn id(user: &UserId, device: &DeviceId) -> ParticipantId {
    ParticipantId { user: user.clone(), device: device.clone() }
}

/// How long a membership counts at most.
pub(super) const fn longest(dialect: Dialect) -> Duration {
    match dialect {
        Dialect::Famedly => LONGEST_MEMBERSHIP,
        Dialect::Msc3401 => LONGEST_LEGACY_MEMBERSHIP,
    }
}

/// Until when a membership counts, by our clock. What it says is taken as a time from when it was
/// written, so that only the difference of the sender's clock to his homeserver's matters.
fn until(now: Now, facts: &StateFacts, membership: &Membership) -> Wall {
    let longest = longest(membership.backend.dialect());
    let lifetime = membership.expires.since(facts.sent).min(longest);
    match facts.age {
        Some(age) => now.wall.plus(lifetime.saturating_sub(age)),
        None => facts.sent.min(now.wall).plus(lifetime),
    }
}

/// A participant as the claim says. Who was there in the same visit is there since then.
fn present(id: &ParticipantId, dialect: Dialect, claim: &Claim, seat: &Seat) -> Participant {
    let Membership { application, session, backend, feeds, .. } = &claim.membership;
    let same = seat.shown.as_ref().filter(|shown| shown.session == *session);
    Participant {
        id: id.clone(),
        session: session.clone(),
        application: application.clone(),
        backend: backend.clone(),
        feeds: feeds.clone(),
        since: same.map_or(claim.sent, |shown| shown.since),
        dialect,
    }
}

fn difference(before: Option<&Participant>, after: Option<&Participant>) -> Option<Change> {
    match (before, after) {
        (None, Some(after)) => Some(Change::Joined(after.clone())),
        (Some(before), None) => Some(Change::Left(before.id.clone())),
        (Some(before), Some(after)) if before != after => Some(Change::Updated(after.clone())),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
