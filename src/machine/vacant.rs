//! Calls of ours that the other side ended because its own takes their place.
//!
//! The end of the one and the invite of the other leave the other side at the same moment, and may
//! come in either order. So what was granted for the one is kept for a moment for the other.

use std::{collections::BTreeMap, time::Duration};

use super::{bounds::MAX_VACANT, call::estate::Estate, fingerprint::Fingerprint};
use crate::{
    id::{RoomId, UserId},
    time::{Deadline, Mono, Now},
};

/// Where a call was, and with whom.
type Place = (RoomId, UserId);

/// A place that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    until: Mono,
    estate: Estate,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Vacant(BTreeMap<Place, Waiting>);

impl Vacant {
    /// A call ended now: what it leaves waits for so long.
    pub(super) fn note(&mut self, place: Place, estate: Estate, now: Now, patience: Duration) {
        self.0.retain(|_, waiting| now.mono < waiting.until);
        if self.0.len() >= MAX_VACANT
            && let Some(oldest) = self.0.iter().min_by_key(|(_, waiting)| waiting.until)
        {
            let oldest = oldest.0.clone();
            self.0.remove(&oldest);
        }
        self.0.insert(place, Waiting { until: now.mono.plus(patience), estate });
    }

    /// What waits for a call of this user, once.
    pub(super) fn take(&mut self, room: &RoomId, user: &UserId, now: Now) -> Option<Estate> {
        if self.is_empty() {
            return None;
        }
        let waiting = self.0.remove(&(room.clone(), user.clone()))?;
        (now.mono < waiting.until).then_some(waiting.estate)
    }

    /// The user took back what he had granted, or grants something else now.
    pub(super) fn withdraw(&mut self, room: &RoomId, user: &UserId) {
        if !self.is_empty() {
            self.0.remove(&(room.clone(), user.clone()));
        }
    }

    /// What waits in this room, whoever comes: what `Guard::VacancyBound` forbids.
    pub(super) fn take_for_anybody(&mut self, room: &RoomId, now: Now) -> Option<Estate> {
        let mut places = self.0.keys();
        let user = places.find(|(at, _)| at == room).map(|(_, user)| user.clone())?;
        self.take(room, &user, now)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint, now: Now) {
        for (place, waiting) in self.0.iter().filter(|(_, waiting)| now.mono < waiting.until) {
            print.value(place);
            print.deadline(Deadline::Mono(waiting.until));
            waiting.estate.fingerprint(print);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        machine::{
            Identity,
            call::Call,
            io::{CallMedia, Callee},
            world::World,
        },
    };

    const PATIENCE: Duration = Duration::from_secs(5);

    fn at(second: u64) -> Now {
        Now { mono: Mono(Duration::from_secs(second)), ..Now::default() }
    }

    fn place(n: usize) -> Place {
        (RoomId::parse("!r").unwrap(), UserId::parse(format!("@{n}:x")).unwrap())
    }

    fn estate(media: CallMedia) -> Estate {
        let (user, device) = ("@me:x".parse().unwrap(), "D".parse().unwrap());
        let mut world = World::new(Identity { user, device }, Config::default(), 1);
        let (room, user) = place(0);
        Call::place(&mut world, room, Callee::User(user), media, None).granted()
    }

    #[test]
    fn what_waits_is_taken_once_and_in_time() {
        let mut vacant = Vacant::default();
        let (room, user) = place(1);
        vacant.note(place(1), estate(CallMedia::Voice), at(10), PATIENCE);
        assert_eq!(vacant.take(&room, &place(2).1, at(10)), None);
        assert_eq!(vacant.take(&room, &user, at(14)), Some(estate(CallMedia::Voice)));
        assert_eq!(vacant.take(&room, &user, at(14)), None);
        vacant.note(place(1), estate(CallMedia::Voice), at(10), PATIENCE);
        assert_eq!(vacant.take(&room, &user, at(15)), None);
        assert!(vacant.is_empty());
    }

    #[test]
    fn the_oldest_is_forgotten_first_and_what_is_late_takes_no_place() {
        let mut vacant = Vacant::default();
        for n in 0..=MAX_VACANT {
            vacant.note(place(n), estate(CallMedia::Voice), at(n as u64 / 4), PATIENCE);
        }
        assert_eq!(vacant.0.len(), MAX_VACANT);
        assert!(!vacant.0.contains_key(&place(0)) && vacant.0.contains_key(&place(1)));
        vacant.note(place(0), estate(CallMedia::Voice), at(60), PATIENCE);
        assert_eq!(vacant.0.len(), 1);
    }

    #[test]
    fn what_may_still_be_taken_is_part_of_the_fingerprint() {
        let print = |media, now| {
            let mut vacant = Vacant::default();
            vacant.note(place(1), estate(media), at(10), PATIENCE);
            Fingerprint::of(|print| vacant.fingerprint(print, at(now)))
        };
        let nothing = Fingerprint::of(|_| {});
        assert_eq!(print(CallMedia::Voice, 15), nothing);
        let different = [nothing, print(CallMedia::Voice, 12), print(CallMedia::Video, 12)];
        assert_eq!(std::collections::BTreeSet::from(different).len(), 3);
    }
}
