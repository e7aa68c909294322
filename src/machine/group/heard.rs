//! The media keys of the other members of a group call: which came, which wait for a membership, and
//! whom to ask for his.
//!
//! The bytes go to the provider at once; what stays here is a fingerprint, which tells keys apart. A key
//! may come before the membership of whoever sent it: those wait, bounded. Whoever has shared none is
//! asked, a few times with growing pauses: clients of Famedly's generation do not share theirs with a
//! joiner by themselves (T-20).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    id::UserId,
    machine::{
        bounds::{
            KEY_MISS_PAUSE, MAX_EARLY_KEYS, MAX_KEY_REQUESTS, MAX_PARKED_MEMBERS,
            MAX_PARKED_PER_USER,
        },
        fingerprint::Fingerprint,
        io::ParticipantId,
    },
    time::{Deadline, Mono},
    wire::keys::MediaKey,
};

/// When a member is asked for his key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ask {
    at: Mono,
    tries: u32,
}

/// One member's keys, as far as we must know them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Member {
    visit: Option<String>,
    /// The provider may have a key of his, of this visit or one before.
    is_given: bool,
    /// Index and fingerprint of the key that came last.
    latest: Option<(u8, String)>,
    ask: Option<Ask>,
    /// How often the provider did not take what he shared.
    refused: u32,
    /// When it was said last that he cannot be read.
    missed: Option<Mono>,
    /// What asked him last did not go out.
    unsent: bool,
}

/// Keys that wait for a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Early {
    member: ParticipantId,
    since: Mono,
    keys: Vec<MediaKey>,
}

/// What a key of a member is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is for the provider.
    New,
    /// It is what he has shared before.
    Known,
    /// It waits for his membership.
    Parked,
    /// Too much waits already.
    TooMany,
}

/// Keys of all others in one group call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HeardKeys {
    members: BTreeMap<ParticipantId, Member>,
    early: Vec<Early>,
}

impl HeardKeys {
    /// A member is there, perhaps anew; gives the keys that came before him.
    pub(super) fn on_present(
        &mut self,
        now: Mono,
        (member, visit): (&ParticipantId, Option<&String>),
        first_ask: Duration,
    ) -> Vec<MediaKey> {
        let known = self.members.get(member).map(|known| known.visit.as_ref());
        if known == Some(visit) {
            return Vec::new();
        }
        let ask = Some(Ask { at: now.plus(first_ask), tries: 0 });
        let is_given = self.members.get(member).is_some_and(|former| former.is_given);
        let joined = Member { visit: visit.cloned(), is_given, ask, ..Member::default() };
        self.members.insert(member.clone(), joined);
        let place = self.early.iter().position(|early| early.member == *member);
        place.map(|at| self.early.remove(at).keys).unwrap_or_default()
    }

    /// A member is there no more; whether there was a key of his.
    pub(super) fn on_gone(&mut self, member: &ParticipantId) -> bool {
        self.members.remove(member).is_some_and(|former| former.is_given)
    }

    /// We leave.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A key came.
    pub(super) fn hear(&mut self, now: Mono, member: &ParticipantId, key: &MediaKey) -> Heard {
        let Some(known) = self.members.get_mut(member) else {
            return self.park(now, member, key.clone());
        };
        let latest = Some((key.index, key.fingerprint()));
        // Who is asked answers with what he has shared before, and whoever decrypts lacks it.
        let is_asked = known.ask.take().is_some();
        if known.latest == latest && !is_asked {
            return Heard::Known;
        }
        if known.latest != latest {
            known.refused = 0;
        }
        known.latest = latest;
        known.is_given = true;
        known.unsent = false;
        Heard::New
    }

    fn park(&mut self, now: Mono, member: &ParticipantId, key: MediaKey) -> Heard {
        let place = self.early.iter().position(|early| early.member == *member);
        let at = match place {
            Some(at) => at,
            None if self.early.len() >= MAX_PARKED_MEMBERS => return Heard::TooMany,
            None if self.early_of(&member.user) >= MAX_PARKED_PER_USER => return Heard::TooMany,
            None => {
                let member = member.clone();
                self.early.push(Early { member, since: now, keys: Vec::new() });
                self.early.len() - 1
            }
        };
        let early = &mut self.early[at];
        early.since = now;
        early.keys.retain(|other| other.index != key.index);
        if early.keys.len() == MAX_EARLY_KEYS {
            early.keys.remove(0);
        }
        early.keys.push(key);
        Heard::Parked
    }

    fn early_of(&self, user: &UserId) -> usize {
        self.early.iter().filter(|early| early.member.user == *user).count()
    }

    /// Drops what has waited for too long.
    pub(super) fn forget_early(&mut self, now: Mono, patience: Duration) {
        self.early.retain(|early| now.since(early.since) < patience);
    }

    /// The provider did not take a member's key: he is asked again after so long, and less and less.
    pub(super) fn ask_again(&mut self, now: Mono, member: &ParticipantId, pause: Duration) {
        let Some(known) = self.members.get_mut(member) else { return };
        known.refused = known.refused.saturating_add(1);
        if known.refused <= MAX_KEY_REQUESTS {
            let at = now.plus(pause.saturating_mul(1 << (known.refused - 1)));
            known.ask = Some(Ask { at, tries: 0 });
        }
    }

    /// A member cannot be read with the keys that there are; whether he is asked for that.
    pub(super) fn miss(&mut self, now: Mono, member: &ParticipantId) -> bool {
        let Some(known) = self.members.get_mut(member) else { return false };
        if known.ask.is_some() || known.missed.is_some_and(|at| now.since(at) < KEY_MISS_PAUSE) {
            return false;
        }
        known.missed = Some(now);
        known.ask = Some(Ask { at: now, tries: 0 });
        true
    }

    /// The application wants these members' keys; which of them are members.
    pub(super) fn request(&mut self, now: Mono, members: &BTreeSet<ParticipantId>) -> bool {
        let mut asked = false;
        for member in members {
            if let Some(known) = self.members.get_mut(member) {
                known.ask = Some(Ask { at: now, tries: 0 });
                asked = true;
            }
        }
        asked
    }

    /// Whoever is to be asked now; and whoever was asked for the last time and has not answered.
    pub(super) fn due(
        &mut self,
        now: Mono,
        pause: Duration,
    ) -> (BTreeSet<ParticipantId>, Vec<ParticipantId>) {
        let (mut asked, mut silent) = (BTreeSet::new(), Vec::new());
        for (member, known) in &mut self.members {
            let Some(ask) = known.ask.as_mut().filter(|ask| ask.at <= now) else { continue };
            if ask.tries >= MAX_KEY_REQUESTS {
                known.ask = None;
                silent.push(member.clone());
                continue;
            }
            ask.at = now.plus(pause.saturating_mul(1 << ask.tries.min(16)));
            ask.tries += 1;
            known.unsent = false;
            asked.insert(member.clone());
        }
        (asked, silent)
    }

    /// What asked these did not go out.
    pub(super) fn on_unsent(&mut self, members: &BTreeSet<ParticipantId>) {
        for member in members {
            if let Some(known) = self.members.get_mut(member) {
                known.unsent = true;
            }
        }
    }

    /// What could not be sent may be now: whoever was not reached is asked again, so often at most.
    pub(super) fn ask_unreached(&mut self, now: Mono, times: u32) {
        for known in self.members.values_mut().filter(|known| known.unsent) {
            known.unsent = false;
            known.ask = Some(Ask { at: now, tries: MAX_KEY_REQUESTS.saturating_sub(times) });
        }
    }

    /// When somebody is to be asked next.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.members.values().filter_map(|known| Some(known.ask?.at)).min()
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for (member, known) in &self.members {
            print.value((member, &known.visit, known.is_given, &known.latest, known.refused));
            print.value(known.unsent);
            if let Some(ask) = known.ask {
                print.value(ask.tries);
                print.deadline(Deadline::Mono(ask.at));
            }
            known.missed.into_iter().for_each(|at| print.since(at));
        }
        for early in &self.early {
            print.value((&early.member, &early.keys));
            print.since(early.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::DeviceId, redact::SecretBytes};

    fn member(user: usize, device: usize) -> ParticipantId {
        ParticipantId {
            user: UserId::parse(format!("@u{user}:x")).unwrap(),
            device: DeviceId::parse(format!("D{device}")).unwrap(),
        }
    }

    fn key(index: u8, byte: u8) -> MediaKey {
        MediaKey { index, key: SecretBytes::new(vec![byte; 32]) }
    }

    const START: Mono = Mono(Duration::ZERO);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    #[test]
    fn a_key_that_came_before_its_owner_waits_for_him() {
        let mut heard = HeardKeys::default();
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 7)), Heard::Parked);
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 8)), Heard::Parked);
        let early = heard.on_present(START, (&member(1, 1), None), SECOND);
        assert_eq!(early, [key(0, 8)], "of one place the newest");
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 8)), Heard::New);
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 8)), Heard::Known);
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 9)), Heard::New, "the same place");
    }

    #[test]
    fn what_waits_is_bounded_and_passes() {
        let mut heard = HeardKeys::default();
        for index in 0..=MAX_EARLY_KEYS {
            heard.hear(START, &member(1, 1), &key(index as u8, 7));
        }
        assert_eq!(heard.early[0].keys.len(), MAX_EARLY_KEYS);
        for device in 2..=MAX_PARKED_PER_USER {
            assert_eq!(heard.hear(START, &member(1, device), &key(0, 1)), Heard::Parked);
        }
        assert_eq!(heard.hear(START, &member(1, 99), &key(0, 1)), Heard::TooMany);
        for user in 2..=MAX_PARKED_MEMBERS {
            heard.hear(START, &member(user, 1), &key(0, 1));
        }
        assert_eq!(heard.hear(START, &member(999, 1), &key(0, 1)), Heard::TooMany);
        heard.forget_early(at(300), at(300).0);
        assert!(heard.early.is_empty());
    }

    #[test]
    fn who_shares_nothing_is_asked_with_growing_pauses_and_then_given_up() {
        let mut heard = HeardKeys::default();
        let ben = member(1, 1);
        heard.on_present(START, (&ben, None), SECOND);
        let mut asked = Vec::new();
        while let Some(next) = heard.next_deadline() {
            let (due, silent) = heard.due(next, SECOND);
            asked.push((next.0.as_secs(), due.len(), silent.len()));
        }
        let expected = [(1, 1, 0), (2, 1, 0), (4, 1, 0), (8, 1, 0), (16, 1, 0), (32, 0, 1)];
        assert_eq!(asked, expected);
        assert!(heard.request(at(40), &BTreeSet::from([ben.clone(), member(2, 2)])));
        assert_eq!(heard.due(at(40), SECOND).0, BTreeSet::from([ben.clone()]));
        assert!(!heard.request(at(40), &BTreeSet::from([member(2, 2)])), "no member");
        heard.hear(at(41), &ben, &key(0, 1));
        assert_eq!(heard.next_deadline(), None, "he has answered");
    }

    #[test]
    fn who_comes_anew_has_another_key() {
        let mut heard = HeardKeys::default();
        let (ben, visits) = (member(1, 1), ["a".to_owned(), "b".to_owned()]);
        heard.on_present(START, (&ben, Some(&visits[0])), SECOND);
        heard.hear(START, &ben, &key(0, 1));
        assert_eq!(heard.next_deadline(), None);
        heard.on_present(START, (&ben, Some(&visits[0])), SECOND);
        assert_eq!(heard.next_deadline(), None, "nothing changed");
        heard.on_present(at(9), (&ben, Some(&visits[1])), SECOND);
        assert_eq!(heard.next_deadline(), Some(at(10)));
        assert_eq!(heard.hear(at(9), &ben, &key(0, 1)), Heard::New);
        heard.on_present(at(9), (&ben, None), SECOND);
        assert!(heard.on_gone(&ben), "the provider has a key of a former visit");
        assert!(!heard.on_gone(&ben));
    }
}
