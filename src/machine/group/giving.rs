//! What the provider of a group call is given: keys of ours at once; those of the others few at a time,
//! each member's one after the other and no faster than an honest one makes them.
//!
//! A key costs whoever takes it up to 60 ms (PBKDF2), and all of a call's go one after the other: who
//! shares keys without end would hold up everybody else's, ours too. So his wait here, and of one place
//! in the ring only the newest.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use crate::{
    id::OpId,
    machine::{
        bounds::{MAX_KEYS_AT_ONCE, MAX_KEYS_GIVEN, MAX_KEYS_WAITING},
        fingerprint::Fingerprint,
        io::{KeyOwner, ParticipantId},
    },
    time::{Deadline, Mono},
    wire::keys::MediaKey,
};

/// After [`MAX_KEYS_AT_ONCE`] keys of a member one more in this time.
const PACE: Duration = Duration::from_secs(1);

/// What the provider was given, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Given {
    pub(super) owner: KeyOwner,
    pub(super) key: MediaKey,
}

/// Keys of one member that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Waiting {
    /// Oldest first, one of each place in the ring.
    keys: VecDeque<MediaKey>,
    /// When he would have shared as much as he has, at his pace.
    spent: Mono,
}

impl Waiting {
    /// When his next key may be given.
    fn at(&self) -> Mono {
        Mono(self.spent.0.saturating_sub(PACE * (MAX_KEYS_AT_ONCE - 1)))
    }
}

/// What is being given, and what waits for that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Giving {
    given: BTreeMap<OpId, Given>,
    waiting: BTreeMap<ParticipantId, Waiting>,
    /// Who had his turn last.
    last: Option<ParticipantId>,
}

impl Giving {
    /// A key of another member came.
    pub(super) fn wait(&mut self, now: Mono, member: &ParticipantId, key: MediaKey) {
        self.waiting.retain(|_, one| !one.keys.is_empty() || one.spent > now);
        let waiting = self.waiting.entry(member.clone()).or_default();
        match waiting.keys.iter_mut().find(|other| other.index == key.index) {
            Some(other) => *other = key,
            None => waiting.keys.push_back(key),
        }
        if waiting.keys.len() > MAX_KEYS_WAITING {
            waiting.keys.pop_front();
        }
    }

    /// Whose key is given now, and which.
    pub(super) fn next(&mut self, now: Mono) -> Option<(ParticipantId, MediaKey)> {
        let member = self.turn(now)?.clone();
        let waiting = self.waiting.get_mut(&member)?;
        let key = waiting.keys.pop_front()?;
        waiting.spent = waiting.spent.max(now).plus(PACE);
        self.last = Some(member.clone());
        Some((member, key))
    }

    /// Whose turn it is, after who had it last.
    fn turn(&self, now: Mono) -> Option<&ParticipantId> {
        let may = self.may_be_given()?;
        let from = self.last.as_ref().map_or(Unbounded, Excluded);
        let mut after = self.waiting.range((from, Unbounded)).chain(&self.waiting);
        let next = after.find(|(member, one)| may(member, one) && one.at() <= now);
        next.map(|(member, _)| member)
    }

    /// When somebody's turn comes, if nothing is answered before.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let may = self.may_be_given()?;
        let waiting = self.waiting.iter().filter(|(member, one)| may(member, one));
        waiting.map(|(_, one)| one.at()).min()
    }

    /// Who may have his turn when it is time; `None`: as many as can be are under way.
    fn may_be_given(&self) -> Option<impl Fn(&ParticipantId, &Waiting) -> bool> {
        let busy: BTreeSet<_> = self.others().collect();
        (busy.len() < MAX_KEYS_GIVEN).then_some(move |member: &ParticipantId, one: &Waiting| {
            !one.keys.is_empty() && !busy.contains(member)
        })
    }

    /// Whose keys are under way but ours.
    fn others(&self) -> impl Iterator<Item = &ParticipantId> {
        let others = self.given.values().filter(|given| !given.owner.is_ours());
        others.map(|given| &given.owner.participant)
    }

    pub(super) fn on_giving(&mut self, op: OpId, given: Given) {
        self.given.insert(op, given);
    }

    /// The provider has answered.
    pub(super) fn on_given(&mut self, op: OpId) -> Option<Given> {
        self.given.remove(&op)
    }

    /// A member is there no more: what waits of his is dropped. Who comes again goes on at his pace.
    pub(super) fn on_gone(&mut self, member: &ParticipantId) {
        if let Some(waiting) = self.waiting.get_mut(member) {
            waiting.keys.clear();
        }
    }

    /// Nothing waits any more. Gives what nobody needs to answer.
    pub(super) fn stop(&mut self) -> Vec<OpId> {
        std::mem::take(self).given.into_keys().collect()
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for (op, given) in &self.given {
            print.op(*op);
            print.value(given);
        }
        for (member, waiting) in &self.waiting {
            print.value((member, &waiting.keys));
            print.deadline(Deadline::Mono(waiting.spent));
        }
        print.value(&self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{DeviceId, UserId},
        machine::event::Side,
        redact::SecretBytes,
    };

    fn member(user: &str) -> ParticipantId {
        let (user, device) = (UserId::parse(format!("@{user}:x")), DeviceId::parse("D"));
        ParticipantId { user: user.unwrap(), device: device.unwrap() }
    }

    fn key(index: u8, byte: u8) -> MediaKey {
        MediaKey { index, key: SecretBytes::new([byte; 32]) }
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    /// Gives what may be given now; what is given is answered at once.
    fn give(giving: &mut Giving, now: Mono) -> Vec<(String, u8)> {
        let mut given = Vec::new();
        while let Some((participant, key)) = giving.next(now) {
            given.push((participant.user.as_str()[1..4].to_owned(), key.index));
        }
        given
    }

    #[test]
    fn who_shares_without_end_waits_and_holds_up_nobody() {
        let mut giving = Giving::default();
        for round in 0..100 {
            for index in 0..=255 {
                giving.wait(at(0), &member("mal"), key(index, round));
            }
        }
        giving.wait(at(0), &member("ada"), key(3, 1));
        giving.wait(at(0), &member("zoe"), key(0, 1));
        assert_eq!(giving.waiting[&member("mal")].keys.len(), MAX_KEYS_WAITING);
        let first = give(&mut giving, at(0));
        assert_eq!(first[..3].iter().filter(|(who, _)| who == "mal").count(), 1);
        assert_eq!(first.len() as u32, MAX_KEYS_AT_ONCE + 2);
        assert_eq!(giving.next_deadline(), Some(at(1)));
        assert_eq!(give(&mut giving, at(1)).len(), 1);
        assert_eq!(give(&mut giving, at(4)).len(), 3);
        giving.on_gone(&member("mal"));
        assert_eq!((give(&mut giving, at(60)).len(), giving.next_deadline()), (0, None));
    }

    #[test]
    fn of_one_place_the_newest_is_given() {
        let mut giving = Giving::default();
        giving.wait(at(0), &member("ada"), key(3, 1));
        giving.wait(at(0), &member("ada"), key(3, 2));
        assert_eq!(giving.next(at(0)), Some((member("ada"), key(3, 2))));
        assert_eq!(giving.next(at(0)), None);
    }

    #[test]
    fn one_of_each_member_is_under_way_and_few_of_all() {
        let mut giving = Giving::default();
        let names: Vec<_> = (0..=MAX_KEYS_GIVEN).map(|n| member(&format!("ada{n}"))).collect();
        for name in &names {
            giving.wait(at(0), name, key(0, 1));
            giving.wait(at(0), name, key(1, 1));
        }
        let mut op = 0;
        while let Some((participant, key)) = giving.next(at(0)) {
            let owner = KeyOwner { participant, side: Side::Remote, identities: Vec::new() };
            op += 1;
            giving.on_giving(OpId(op), Given { owner, key });
        }
        assert_eq!((op as usize, giving.next_deadline()), (MAX_KEYS_GIVEN, None));
        assert!(giving.on_given(OpId(1)).is_some() && giving.on_given(OpId(1)).is_none());
        assert_eq!(giving.next_deadline(), Some(at(0)));
        assert_eq!(giving.next(at(0)), Some((names[MAX_KEYS_GIVEN].clone(), key(0, 1))));
    }
}
