//! Ids that a transfer named: the call that somebody announced rings, also while the user talks, and
//! nobody else takes its id, nor that of the call that we are asked to place.
//!
//! Everybody in the room reads these ids, and an id names one call of a room: whoever used one first
//! would take the call away.

use std::collections::VecDeque;

use super::{bounds::MAX_EXPECTED, fingerprint::Fingerprint};
use crate::{
    id::{CallId, UserId},
    time::{Deadline, Now, Wall},
};

/// Who places a call that a transfer named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// We.
    Ourselves,
    /// This user.
    User(UserId),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Expected(VecDeque<(Caller, CallId, Wall)>);

impl Expected {
    /// This one will place this call until then.
    pub(super) fn note(&mut self, caller: Caller, call: CallId, until: Wall) {
        if self.0.len() == MAX_EXPECTED {
            self.0.pop_front();
        }
        self.0.push_back((caller, call, until));
    }

    /// Whether this call was announced of this one; once.
    pub(super) fn take(&mut self, caller: &Caller, call: &CallId, now: Now) -> bool {
        let mut found = false;
        self.0.retain(|(who, id, until)| {
            let is_it = who == caller && id == call;
            found |= is_it && now.wall <= *until;
            !is_it
        });
        found
    }

    /// Whether this id was named for somebody else than this user.
    pub(super) fn is_anothers(&self, user: &UserId, call: &CallId, now: Now) -> bool {
        let alive = self.0.iter().filter(|(_, id, until)| id == call && now.wall <= *until);
        let mut callers = alive.map(|(who, ..)| who).peekable();
        let named = callers.peek().is_some();
        named && !callers.any(|who| matches!(who, Caller::User(named) if named == user))
    }

    /// Whether anybody was announced with this call.
    pub(super) fn names(&self, call: &CallId) -> bool {
        self.0.iter().any(|(_, id, _)| id == call)
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint, now: Now) {
        for (caller, call, until) in self.0.iter().filter(|(_, _, until)| now.wall <= *until) {
            print.value((caller, call));
            print.deadline(Deadline::Wall(*until));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_expected_once_from_one_user_for_a_while() {
        let user = |name: &str| UserId::parse(name).unwrap();
        let of = |name: &str| Caller::User(user(name));
        let call = |id: &str| CallId::parse(id).unwrap();
        let at = |ms| Now { wall: Wall(ms), ..Now::default() };
        let mut expected = Expected::default();
        expected.note(of("@c:x"), call("n"), Wall(10));
        assert!(!expected.take(&of("@d:x"), &call("n"), at(0)));
        assert!(!expected.take(&of("@c:x"), &call("m"), at(0)));
        assert!(expected.take(&of("@c:x"), &call("n"), at(10)));
        assert!(!expected.take(&of("@c:x"), &call("n"), at(10)));
        expected.note(of("@c:x"), call("n"), Wall(10));
        assert!(!expected.take(&of("@c:x"), &call("n"), at(11)));
        for n in 0..=MAX_EXPECTED {
            expected.note(of("@c:x"), call(&n.to_string()), Wall(10));
        }
        assert!(!expected.take(&of("@c:x"), &call("0"), at(0)), "the oldest is forgotten");
        assert!(expected.take(&of("@c:x"), &call("1"), at(0)));
    }
    #[test]
    fn an_id_that_was_named_is_nobody_elses_for_a_while() {
        let user = |name: &str| UserId::parse(name).unwrap();
        let (theirs, ours) = (CallId::parse("t").unwrap(), CallId::parse("o").unwrap());
        let at = |ms| Now { wall: Wall(ms), ..Now::default() };
        let mut expected = Expected::default();
        expected.note(Caller::User(user("@c:x")), theirs.clone(), Wall(10));
        expected.note(Caller::Ourselves, ours.clone(), Wall(10));
        let anothers = |name, id, ms| expected.is_anothers(&user(name), id, at(ms));
        assert!(anothers("@d:x", &theirs, 10) && !anothers("@d:x", &theirs, 11));
        assert!(!anothers("@c:x", &theirs, 0));
        assert!(anothers("@c:x", &ours, 0) && anothers("@d:x", &ours, 0));
        assert!(!anothers("@d:x", &CallId::parse("x").unwrap(), 0), "nobody named it");
        expected.take(&Caller::Ourselves, &ours, at(0));
        assert!(!expected.is_anothers(&user("@d:x"), &ours, at(0)), "it was placed");
    }
}
