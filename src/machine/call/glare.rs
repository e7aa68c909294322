//! Two users call each other at the same moment: which call survives.
//!
//! A pure function, so that its whole table stands in a test. The rule is the specification's
//! ("Glare"): an invite that was not sent yet gives way, otherwise the smaller call id survives.

use crate::id::CallId;

/// How far our own call to that user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::machine) enum OurCall<'a> {
    /// Nothing of it is on the wire.
    Preparing,
    /// Its invite was sent, or may have been.
    Sent(&'a CallId),
}

/// Which call goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::machine) enum Survivor {
    /// Ours.
    Ours,
    /// The incoming one.
    Theirs,
}

impl Survivor {
    /// The one that does not survive.
    pub(in crate::machine) fn other(self) -> Self {
        match self {
            Self::Ours => Self::Theirs,
            Self::Theirs => Self::Ours,
        }
    }
}

/// Decides between our call and an incoming one of the same two users.
pub(in crate::machine) fn decide(ours: OurCall<'_>, theirs: &CallId) -> Survivor {
    match ours {
        OurCall::Preparing => Survivor::Theirs,
        OurCall::Sent(id) if id < theirs => Survivor::Ours,
        OurCall::Sent(_) => Survivor::Theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_id_survives_and_what_was_not_sent_gives_way() {
        let (a, b) = (CallId::parse("a").unwrap(), CallId::parse("b").unwrap());
        assert_eq!(decide(OurCall::Sent(&a), &b), Survivor::Ours);
        assert_eq!(decide(OurCall::Sent(&b), &a), Survivor::Theirs);
        assert_eq!(decide(OurCall::Preparing, &b), Survivor::Theirs);
        assert_eq!(decide(OurCall::Preparing, &a), Survivor::Theirs);
    }
}
