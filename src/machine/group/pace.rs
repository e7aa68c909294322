//! How fast legs to one user begin. A leg costs a connection, and a member can make us begin one: by an
//! invite, or by being there anew. Whoever does so faster than anybody needs waits.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{id::UserId, machine::bounds::MAX_LEGS_BEGUN_PER_USER, time::Mono};

/// The time in which [`MAX_LEGS_BEGUN_PER_USER`] legs may begin.
const SPAN: Duration = Duration::from_secs(60);

/// When legs to each user began, of the last [`SPAN`]. No part of a fingerprint: it decides about
/// nothing but in a flood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pace {
    begun: BTreeMap<UserId, VecDeque<Mono>>,
}

impl Pace {
    /// A leg to this user began.
    pub(super) fn note(&mut self, now: Mono, user: &UserId) {
        for times in self.begun.values_mut() {
            while times.front().is_some_and(|at| now.since(*at) >= SPAN) {
                times.pop_front();
            }
        }
        self.begun.retain(|_, times| !times.is_empty());
        self.begun.entry(user.clone()).or_default().push_back(now);
    }

    /// From when on the next may begin; `None`: from now on.
    pub(super) fn next(&self, now: Mono, user: &UserId) -> Option<Mono> {
        let times = self.begun.get(user)?;
        let at = times.iter().rev().nth(MAX_LEGS_BEGUN_PER_USER - 1)?.plus(SPAN);
        (at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_begin_in_a_minute_and_no_more_and_only_the_users_own_count() {
        let [ada, ben] = ["@ada:x", "@ben:x"].map(|user| UserId::parse(user).unwrap());
        let at = |seconds| Mono(Duration::from_secs(seconds));
        let mut pace = Pace::default();
        for n in 0..MAX_LEGS_BEGUN_PER_USER as u64 {
            assert_eq!(pace.next(at(n), &ada), None);
            pace.note(at(n), &ada);
        }
        assert_eq!(pace.next(at(50), &ada), Some(at(60)));
        assert_eq!(pace.next(at(50), &ben), None);
        assert_eq!(pace.next(at(60), &ada), None);
        pace.note(at(60), &ada);
        assert_eq!(pace.next(at(60), &ada), Some(at(61)));
        pace.note(at(200), &ben);
        assert_eq!(pace.begun.len(), 1, "what is past is forgotten");
    }
}
