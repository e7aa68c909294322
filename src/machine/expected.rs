//! Calls that a transfer announced: they ring, also while the user talks.

use std::collections::VecDeque;

use super::{bounds::MAX_EXPECTED, fingerprint::Fingerprint};
use crate::{
    id::{CallId, UserId},
    time::{Deadline, Now, Wall},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Expected(VecDeque<(UserId, CallId, Wall)>);

impl Expected {
    /// This user will place this call until then.
    pub(super) fn note(&mut self, user: UserId, call: CallId, until: Wall) {
        if self.0.len() == MAX_EXPECTED {
            self.0.pop_front();
        }
        self.0.push_back((user, call, until));
    }

    /// Whether this call was announced; once.
    pub(super) fn take(&mut self, user: &UserId, call: &CallId, now: Now) -> bool {
        let mut found = false;
        self.0.retain(|(who, id, until)| {
            let is_it = who == user && id == call;
            found |= is_it && now.wall <= *until;
            !is_it
        });
        found
    }

    /// Whether anybody was announced with this call.
    pub(super) fn names(&self, call: &CallId) -> bool {
        self.0.iter().any(|(_, id, _)| id == call)
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint, now: Now) {
        for (user, call, until) in self.0.iter().filter(|(_, _, until)| now.wall <= *until) {
            print.value((user, call));
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
        let call = |id: &str| CallId::parse(id).unwrap();
        let at = |ms| Now { wall: Wall(ms), ..Now::default() };
        let mut expected = Expected::default();
        expected.note(user("@c:x"), call("n"), Wall(10));
        assert!(!expected.take(&user("@d:x"), &call("n"), at(0)));
        assert!(!expected.take(&user("@c:x"), &call("m"), at(0)));
        assert!(expected.take(&user("@c:x"), &call("n"), at(10)));
        assert!(!expected.take(&user("@c:x"), &call("n"), at(10)));
        expected.note(user("@c:x"), call("n"), Wall(10));
        assert!(!expected.take(&user("@c:x"), &call("n"), at(11)));
        for n in 0..=MAX_EXPECTED {
            expected.note(user("@c:x"), call(&n.to_string()), Wall(10));
        }
        assert!(!expected.take(&user("@c:x"), &call("0"), at(0)), "the oldest is forgotten");
        assert!(expected.take(&user("@c:x"), &call("1"), at(0)));
    }
}
