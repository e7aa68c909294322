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

    // Checks of what others say. Each has a row in `tests/hostile/forgery`.
    /// Room events with the fields of a group call are not for 1:1 calls; without: they are.
    LegsElsewhere,
    /// In an encrypted room nothing counts that came in the clear; without: it does.
    PlaintextRefused,
    /// With `Unverified::Refuse` unverified devices are not heard; without: they are.
    UnverifiedRefused,
    /// Whoever is ignored begins nothing; without: he does.
    IgnoredUnheard,
    /// Whoever is not in the room is not heard; without: he is.
    OutsidersUnheard,
    /// A call id names a call of its own room; without: of any room.
    RoomBound,
    /// A call that is over does not ring again; without: it does.
    OverStaysOver,
    /// What is said about an invite that is nothing to us is dropped; without: it is kept.
    ForeignRemembered,
    /// What cannot precede an invite is not kept for one; without: it is.
    StraysNotKept,
    /// Events wait in so many rooms only; without: in any number.
    ParkedRoomsBounded,
    /// An invite for another user does not ring; without: it does.
    InviteeObeyed,
    /// An invite for another device does not ring; without: it does.
    InviteeDeviceObeyed,
    /// An invite of our own user rings only where it names this device; without: anywhere.
    OwnInviteNamesUs,
    /// Descriptions are looked at before they are believed; without: they are not.
    SdpChecked,
    /// Only the caller and our devices end a call before its invite; without: anybody.
    EndBound,
    /// A process that ends takes no call; without: it does.
    ShutDownTakesNone,
    /// While a call is connected an invite meets the busy policy; without: it rings.
    BusyObeyed,
    /// An announced call is expected of one user, and its id is his; without: anybody's.
    ExpectedBound,
    /// The place of a replaced call is kept for one user; without: for anybody.
    VacancyBound,
    /// So many calls ring at once; without: any number.
    RingingBounded,
    /// So many calls of one caller ring at once; without: any number.
    CallerBounded,
    /// A media key is of the device that encrypted it; without: of the one that it names.
    KeyDeviceBound,
    /// A media key has a place in the ring; without: any.
    KeyInRing,
    /// Media keys are taken from members, and given to them; without: from and to everybody.
    KeysOfMembers,
    /// So many invites are refused at once; without: any number.
    PartingsBounded,
    /// A call that has ended hears nothing; without: it does.
    EndedUnheard,
    /// Only the user that a call is with is heard; without: everybody.
    SenderBound,
    /// An id names one call of a room; without: a second invite rings too.
    OneCallPerId,
    /// Once we have answered our other devices end nothing; without: they do.
    AnsweredStays,
    /// Only the device that was called answers; without: every one of that user.
    CalleeDeviceBound,
    /// Answers go to callers, selections to callees; without: to both.
    DirectionBound,
    /// Nobody can answer or end what was never sent; without: everybody.
    UnsentUnheard,
    /// In a call only the chosen party is heard; without: every party of that user.
    PartyPinned,
    /// A party speaks from one device, where that is proven; without: from every one.
    DeviceBound,
    /// Candidates of so many parties are kept; without: of any number.
    PartiesBounded,
    /// So many candidates are taken; without: any number.
    CandidatesBounded,
    /// A reject comes before an answer; without: it ends a call in which we talk.
    RejectBeforeAnswer,
    /// Before an answer nobody describes streams or transfers; without: everybody who is called.
    ChosenOnly,
    /// Streams without tracks are not shown; without: they are.
    StreamsHaveTracks,
    /// Negotiations and transfers belong to a call that is answered; without: to any.
    InCallOnly,
    /// An offer whose lifetime is over is not answered; without: it is.
    OfferExpires,
    /// Of two offers that cross the caller's stands; without: theirs always.
    OffersTakeTurns,
    /// An answer within a call answers an offer of ours; without: it comes when it likes.
    AnswerAwaited,
    /// With `Transfers::Refuse` nobody transfers us; without: they do.
    TransfersRefused,
    /// One call asks for so many transfers; without: any number.
    TransfersBounded,
    /// Nobody transfers us to ourselves; without: they do.
    NotToOurselves,
    /// A message to this device names the visit that we are on; without: any of ours.
    OurSessionBound,
    /// A message of a member names the visit that stands in the room; without: any.
    TheirSessionBound,
    /// Only members of a group call are heard in it; without: everybody.
    MembersHeard,
    /// The member with the smaller id calls; without: whoever likes.
    SmallerCalls,
    /// A membership whose state key names somebody else counts for nothing; without: it counts.
    StateKeyBound,
    /// What is older than what was heard of the same user under the same key counts for nothing;
    /// without: it takes the place of the newer.
    StateInOrder,
    /// A reaction belongs to a membership of its sender; without: to any participant's.
    ReactionBound,
    /// Applause that is late is not shown; without: it is.
    ReactionsFresh,
    /// So many reactions are shown; without: any number.
    ReactionsBounded,
    /// Only who reacted takes it back; without: everybody.
    RemovalBound,
    /// A group call rings if its caller is in it; without: if anybody is.
    CallerPresent,
    /// A call in which we are does not ring; without: it does.
    PresentUnrung,
    /// Only our own devices stop our ringing; without: everybody's.
    DeclineBound,
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
