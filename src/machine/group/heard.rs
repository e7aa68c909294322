//! The media keys of the other members of a group call: which came, which wait for a membership, and
//! whom to ask for his.
//!
//! The bytes go to the provider at once; what stays here is a fingerprint, which tells keys apart. A key
//! may come before the membership of whoever sent it: those wait, bounded. It may also come before we
//! hear that he has left and come again: what came in the last seconds is kept for that. Whoever has
//! shared none is asked, a few times with growing pauses: clients of Famedly's generation do not share theirs with a
//! joiner by themselves (T-20).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    machine::{
        bounds::{
            KEY_MISS_PAUSE, KEY_OVERTAKES, MAX_EARLY_KEYS, MAX_KEY_REQUESTS, MAX_PARKED_MEMBERS,
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
    /// What came in the last seconds: it may be of a visit of which we have not heard yet.
    recent: Option<Early>,
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
    since: Mono,
    keys: Vec<MediaKey>,
    /// They came during a visit that was known: they are of that one, or of the next.
    is_doubtful: bool,
}

impl Early {
    const fn new(since: Mono, is_doubtful: bool) -> Self {
        Self { since, keys: Vec::new(), is_doubtful }
    }

    fn is_recent(&self, now: Mono) -> bool {
        now.since(self.since) < KEY_OVERTAKES
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.keys, self.is_doubtful));
        print.since(self.since);
    }

    fn add(&mut self, now: Mono, key: MediaKey) {
        self.since = now;
        self.keys.retain(|other| other.index != key.index);
        if self.keys.len() == MAX_EARLY_KEYS {
            self.keys.remove(0);
        }
        self.keys.push(key);
    }
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
    early: BTreeMap<ParticipantId, Early>,
}

impl HeardKeys {
    /// A member is there, perhaps anew; gives the keys that came before him. Whoever may have shared
    /// them before he came is asked nevertheless.
    pub(super) fn on_present(
        &mut self,
        now: Mono,
        (member, visit): (&ParticipantId, Option<&String>),
        first_ask: Duration,
    ) -> Vec<MediaKey> {
        if self.members.get(member).is_some_and(|known| known.visit.as_ref() == visit) {
            return Vec::new();
        }
        let former = self.members.remove(member).unwrap_or_default();
        let recent = former.recent.filter(|recent| recent.is_recent(now));
        let early = self.early.remove(member).or(recent);
        let is_asked = early.as_ref().is_none_or(|early| early.is_doubtful);
        let keys = early.as_ref().map(|early| early.keys.clone()).unwrap_or_default();
        let joined = Member {
            visit: visit.cloned(),
            is_given: former.is_given || !keys.is_empty(),
            latest: keys.last().map(name),
            recent: early,
            ask: is_asked.then(|| Ask { at: now.plus(first_ask), tries: 0 }),
            ..Member::default()
        };
        self.members.insert(member.clone(), joined);
        keys
    }

    /// A member is there no more; whether there was a key of his.
    pub(super) fn on_gone(&mut self, now: Mono, member: &ParticipantId) -> bool {
        let Some(former) = self.members.remove(member) else { return false };
        let recent = former.recent.filter(|recent| recent.is_recent(now));
        if let Some(recent) = recent.filter(|_| self.has_room(member)) {
            self.early.insert(member.clone(), recent);
        }
        former.is_given
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
        let latest = Some(name(key));
        // Who is asked answers with what he has shared before, and whoever decrypts lacks it.
        let is_asked = known.ask.take().is_some();
        if known.latest == latest && !is_asked {
            return Heard::Known;
        }
        if known.latest != latest {
            known.refused = 0;
        }
        let recent = known.recent.take().filter(|recent| recent.is_recent(now));
        let mut recent = recent.unwrap_or_else(|| Early::new(now, true));
        recent.add(now, key.clone());
        known.recent = Some(recent);
        known.latest = latest;
        known.is_given = true;
        known.unsent = false;
        Heard::New
    }

    fn park(&mut self, now: Mono, member: &ParticipantId, key: MediaKey) -> Heard {
        if !self.has_room(member) {
            return Heard::TooMany;
        }
        let early = self.early.entry(member.clone()).or_insert_with(|| Early::new(now, false));
        early.add(now, key);
        early.is_doubtful = false;
        Heard::Parked
    }

    /// Whether keys of this one can wait.
    fn has_room(&self, member: &ParticipantId) -> bool {
        let of_user = self.early.keys().filter(|other| other.user == member.user).count();
        let is_full = self.early.len() >= MAX_PARKED_MEMBERS || of_user >= MAX_PARKED_PER_USER;
        !is_full || self.early.contains_key(member)
    }

    /// Drops what has waited for too long.
    pub(super) fn forget_early(&mut self, now: Mono, patience: Duration) {
        self.early.retain(|_, early| match early.is_doubtful {
            true => early.is_recent(now),
            false => now.since(early.since) < patience,
        });
        for known in self.members.values_mut() {
            known.recent.take_if(|recent| !recent.is_recent(now));
        }
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
            known.recent.iter().for_each(|recent| recent.fingerprint(print));
        }
        for (member, early) in &self.early {
            print.value(member);
            early.fingerprint(print);
        }
    }
}

/// What tells a key from others.
fn name(key: &MediaKey) -> (u8, String) {
    (key.index, key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{DeviceId, UserId},
        redact::SecretBytes,
    };

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
        assert_eq!(heard.next_deadline(), None, "he need not be asked");
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 8)), Heard::Known);
        assert_eq!(heard.hear(START, &member(1, 1), &key(0, 9)), Heard::New, "the same place");
    }

    #[test]
    fn what_waits_is_bounded_and_passes() {
        let mut heard = HeardKeys::default();
        for index in 0..=MAX_EARLY_KEYS {
            heard.hear(START, &member(1, 1), &key(index as u8, 7));
        }
        assert_eq!(heard.early[&member(1, 1)].keys.len(), MAX_EARLY_KEYS);
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
        let early = heard.on_present(at(10), (&ben, Some(&visits[1])), SECOND);
        assert_eq!((early, heard.next_deadline()), (Vec::new(), Some(at(11))));
        assert_eq!(heard.hear(at(10), &ben, &key(0, 1)), Heard::New);
        heard.on_present(at(20), (&ben, None), SECOND);
        assert!(heard.on_gone(at(20), &ben), "the provider has a key of a former visit");
        assert!(!heard.on_gone(at(20), &ben));
    }

    #[test]
    fn a_key_that_overtakes_the_news_that_its_owner_comes_again_is_used_and_he_is_asked() {
        let (ben, visits) = (member(1, 1), ["a".to_owned(), "b".to_owned()]);
        for leaves in [true, false] {
            let mut heard = HeardKeys::default();
            heard.on_present(START, (&ben, Some(&visits[0])), SECOND);
            heard.hear(at(1), &ben, &key(0, 7));
            heard.hear(at(12), &ben, &key(1, 8));
            assert!(!leaves || heard.on_gone(at(13), &ben));
            let early = heard.on_present(at(21), (&ben, Some(&visits[1])), SECOND);
            assert_eq!(early, [key(1, 8)], "and none that came before");
            assert_eq!(heard.next_deadline(), Some(at(22)), "it may be of his former visit");
            assert_eq!(
                heard.hear(at(22), &ben, &key(1, 8)),
                Heard::New,
                "whoever decrypts lacks it"
            );
        }
    }

    #[test]
    fn what_may_be_of_another_visit_is_kept_for_seconds_alone() {
        let mut heard = HeardKeys::default();
        let (ben, cleo) = (member(1, 1), member(2, 1));
        for one in [&ben, &cleo] {
            heard.on_present(START, (one, None), SECOND);
            heard.hear(START, one, &key(0, 7));
        }
        heard.on_gone(START, &ben);
        heard.forget_early(at(9), at(60).0);
        assert!(heard.early.contains_key(&ben) && heard.members[&cleo].recent.is_some());
        heard.forget_early(at(10), at(60).0);
        assert!(heard.early.is_empty() && heard.members[&cleo].recent.is_none());
    }
}
