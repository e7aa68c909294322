//! The rules of the machine by name, so that a test can switch one off and show that it is missed.
//!
//! A rule's site asks `world.holds(Guard::…)`. Without the feature `testing` the answer is a plain
//! `true` and costs nothing; with it, `Engine::without(guard)` makes an engine that lacks that one
//! rule. The exhaustive search and the table of forgeries are run against such engines: whoever
//! finds nothing there has not looked. Nothing but tests may use it.
//!
//! A new guard is a variant here and an `if` where the rule stands.

#[cfg(feature = "testing")]
use std::collections::BTreeSet;

#[cfg(feature = "testing")]
use super::Engine;
use super::world::World;

/// One rule or check of the machine. What happens without it stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Of two invites that were sent the smaller call id survives, and what was not sent gives way;
    /// without: the other one.
    SmallerIdWins,
    /// The call that loses a glare is ended; without: it goes on.
    LoserEnded,
    /// The call that survives a glare goes on; without: both are ended.
    SurvivorKept,
    /// Our own events that come back are ignored; without: they are taken for the other side's.
    EchoIgnored,
    /// An event is taken once; without: as often as it comes.
    DuplicateIgnored,
    /// An invite whose lifetime is over does not ring; without: it does.
    InviteExpires,
    /// The end of a call that came before its invite counts; without: the invite rings.
    EndBeforeInvite,
    /// Candidates that came before their answer are used; without: they are dropped.
    EarlyCandidatesKept,
    /// The party whose answer we take is told to all; without: nobody is.
    AnswerSelected,
    /// The first answer is taken; without: each one.
    FirstAnswerWins,
    /// Who was not selected ends the call; without: he goes on.
    SelectionObeyed,
    /// Only the chosen party can hang up; without: every party of that user.
    PartyBound,
    /// An answer of another device of ours stops our ringing; without: it rings on.
    ElsewhereStopsRinging,
    /// Whoever may know of a call hears of its end; without: nobody does.
    FarewellSaid,
    /// A send without an answer may have arrived; without: it is taken for lost.
    SilenceMayBeArrival,
}

/// Which rules are switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Guards {
    #[cfg(feature = "testing")]
    off: BTreeSet<Guard>,
}

impl World {
    /// Whether a rule holds: always, but in tests that show that it is needed.
    #[cfg(feature = "testing")]
    pub(super) fn holds(&self, guard: Guard) -> bool {
        !self.guards.off.contains(&guard)
    }

    /// Whether a rule holds: always.
    #[cfg(not(feature = "testing"))]
    #[inline]
    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn holds(&self, _guard: Guard) -> bool {
        true
    }
}

#[cfg(feature = "testing")]
impl Engine {
    /// The same engine without one of its rules, for tests that show that the rule is needed.
    #[doc(hidden)]
    #[must_use]
    pub fn without(mut self, guard: Guard) -> Self {
        self.world.guards.off.insert(guard);
        self
    }
}
