//! The mesh of one group call: who calls whom, which leg is whose, when one is tried again.
//!
//! Each pair of members has one leg, a call of its own (`machine/call`). Of two members the one whose
//! id is smaller calls (`famedly-dart.md` §3.4, T-35): both know it without asking. What is here is
//! the plan; `legs.rs` carries it out.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::pace::Pace;
use crate::{
    id::{CallId, SessionId, UserId},
    machine::{
        bounds::{
            MAX_LEGS, MAX_PARKED_BYTES_PER_MEMBER, MAX_PARKED_MEMBERS, MAX_PARKED_PER_MEMBER,
            MAX_PARKED_PER_USER, MAX_SEEN_NUMBERS,
        },
        fingerprint::Fingerprint,
        io::ParticipantId,
    },
    time::{Deadline, Mono},
    wire::{call::CallMessage, delivery::Facts, member::Dialect},
};

/// How many calls of one member that are over are known again.
const MAX_OVER: usize = 8;

/// What there is between us and one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) member: ParticipantId,
    pub(super) leg: Option<Leg>,
    /// Which of his visits it is.
    theirs: Option<String>,
    /// How often a leg failed without having connected.
    failures: u32,
    /// When the next is placed, if it is not to be at once.
    retry: Option<Retry>,
    over: VecDeque<CallId>,
}

/// How long a leg may be on its way before it gives way, where there are too many.
const CHANCE: Duration = Duration::from_secs(10);

/// Whether there is a place for a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    /// The one that this member has, and makes nothing of.
    Of(ParticipantId),
    /// Not now; it is worth looking again then.
    Later(Mono),
}

/// What a seat waits for before its next leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retry {
    at: Mono,
    /// Or a place, whichever comes first.
    for_place: bool,
}

/// The leg of a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) session: SessionId,
    pub(super) call: CallId,
    begun: Mono,
    connected: bool,
    /// The numbers of their messages that were heard.
    heard: BTreeSet<u64>,
}

impl Leg {
    pub(super) fn new(session: SessionId, call: CallId, begun: Mono) -> Self {
        Self { session, call, begun, connected: false, heard: BTreeSet::new() }
    }

    /// Whether a message of that number was not heard before. Of very many the smallest are
    /// forgotten, and everything below them counts as heard.
    pub(super) fn is_new(&mut self, number: Option<u64>) -> bool {
        let Some(number) = number else { return true };
        let full = self.heard.len() >= MAX_SEEN_NUMBERS;
        if full && self.heard.first().is_some_and(|first| number < *first) {
            return false;
        }
        let new = self.heard.insert(number);
        if self.heard.len() > MAX_SEEN_NUMBERS {
            self.heard.pop_first();
        }
        new
    }
}

/// A message that came before the membership of whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parked {
    pub(super) since: Mono,
    pub(super) facts: Facts,
    pub(super) message: CallMessage,
}

/// The mesh of one group call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mesh {
    /// In the order in which members came: no id decides what happens first.
    seats: Vec<Seat>,
    parked: Vec<(ParticipantId, VecDeque<Parked>)>,
    pub(super) pace: Pace,
}

impl Mesh {
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    pub(super) fn seat(&self, member: &ParticipantId) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.member == *member)
    }

    pub(super) fn seat_mut(&mut self, member: &ParticipantId) -> &mut Seat {
        let at = self.seats.iter().position(|seat| seat.member == *member).unwrap_or_else(|| {
            let (member, over) = (member.clone(), VecDeque::new());
            let seat = Seat { member, leg: None, theirs: None, failures: 0, retry: None, over };
            self.seats.push(seat);
            self.seats.len() - 1
        });
        &mut self.seats[at]
    }

    /// The legs that there are.
    pub(super) fn legs(&self) -> Vec<SessionId> {
        self.seats.iter().filter_map(|seat| Some(seat.leg.as_ref()?.session)).collect()
    }

    /// The same, with whose they are.
    pub(super) fn member_legs(&self) -> Vec<(ParticipantId, SessionId)> {
        let leg = |seat: &Seat| Some((seat.member.clone(), seat.leg.as_ref()?.session));
        self.seats.iter().filter_map(leg).collect()
    }

    /// Whether there are as many as there can be.
    pub(super) fn is_full(&self) -> bool {
        self.seats.iter().filter(|seat| seat.leg.is_some()).count() >= MAX_LEGS
    }

    /// A place became free: who waits for one is to be looked at.
    pub(super) fn on_place_free(&mut self) -> Vec<ParticipantId> {
        self.wake(|retry| retry.for_place)
    }

    /// Whether there is a place for a leg to this member. Where all are taken, a leg that has not
    /// connected in a while gives way to whoever was not tried yet: nobody keeps others out by
    /// pretending to be there.
    pub(super) fn place_for(&self, now: Mono, member: &ParticipantId) -> Place {
        if self.has_leg(member) || !self.is_full() {
            return Place::Free;
        }
        let pending = self.seats.iter().filter_map(|seat| {
            let leg = seat.leg.as_ref().filter(|leg| !leg.connected)?;
            Some((leg.begun.plus(CHANCE), seat))
        });
        let tried = self.seat(member).is_some_and(|seat| seat.failures > 0);
        match pending.min_by_key(|(at, _)| *at) {
            Some((at, seat)) if at <= now && !tried => Place::Of(seat.member.clone()),
            Some((at, _)) => Place::Later(at.max(now.plus(Duration::from_secs(1)))),
            None => Place::Later(now.plus(CHANCE)),
        }
    }

    pub(super) fn has_leg(&self, member: &ParticipantId) -> bool {
        self.seat(member).is_some_and(|seat| seat.leg.is_some())
    }

    /// Nothing is kept of a member who is gone.
    pub(super) fn forget(&mut self, member: &ParticipantId) {
        self.seats.retain(|seat| seat.member != *member);
    }

    /// We are not in the call any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the next leg is due to be placed anew.
    pub(super) fn next_retry(&self) -> Option<Mono> {
        self.seats.iter().filter_map(|seat| Some(seat.retry?.at)).min()
    }

    /// Members whose leg is due to be placed anew.
    pub(super) fn on_retry_due(&mut self, now: Mono) -> Vec<ParticipantId> {
        self.wake(|retry| retry.at <= now)
    }

    /// Whose seats have waited.
    fn wake(&mut self, has_waited: impl Fn(&Retry) -> bool) -> Vec<ParticipantId> {
        let waiting =
            self.seats.iter_mut().filter(|seat| seat.retry.as_ref().is_some_and(&has_waited));
        waiting.map(|seat| (seat.retry = None, seat.member.clone()).1).collect()
    }

    // --------------------------------------------------------------------------------- parked

    /// Keeps a message for the membership of whoever sent it; whether nothing had to go for it.
    pub(super) fn park(&mut self, member: &ParticipantId, message: Parked) -> bool {
        let place = self.parked.iter().position(|(of, _)| of == member);
        let at = match place {
            Some(at) => at,
            None if self.parked.len() >= MAX_PARKED_MEMBERS => return false,
            None if self.parked_of(&member.user) >= MAX_PARKED_PER_USER => return false,
            None => {
                self.parked.push((member.clone(), VecDeque::new()));
                self.parked.len() - 1
            }
        };
        let waiting = &mut self.parked[at].1;
        waiting.push_back(message);
        let bytes = |one: &Parked| one.message.body.bytes();
        let mut all_kept = true;
        while waiting.len() > MAX_PARKED_PER_MEMBER
            || waiting.iter().map(bytes).sum::<usize>() > MAX_PARKED_BYTES_PER_MEMBER
        {
            waiting.pop_front();
            all_kept = false;
        }
        all_kept
    }

    /// Of how many devices of this user something waits.
    fn parked_of(&self, user: &UserId) -> usize {
        self.parked.iter().filter(|(of, _)| of.user == *user).count()
    }

    /// What waits for this member's membership.
    pub(super) fn take_parked(&mut self, member: &ParticipantId) -> VecDeque<Parked> {
        let place = self.parked.iter().position(|(of, _)| of == member);
        place.map(|at| self.parked.remove(at).1).unwrap_or_default()
    }

    /// Drops what has waited for too long.
    pub(super) fn forget_parked(&mut self, now: Mono, patience: Duration) {
        for (_, waiting) in &mut self.parked {
            waiting.retain(|parked| now.since(parked.since) < patience);
        }
        self.parked.retain(|(_, waiting)| !waiting.is_empty());
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for seat in &self.seats {
            print.value((
                &seat.member,
                &seat.theirs,
                seat.failures,
                &seat.over,
                seat.leg.is_some(),
            ));
            if let Some(leg) = &seat.leg {
                print.session(leg.session);
                print.value((&leg.call, leg.connected, &leg.heard));
            }
            if let Some(Retry { at, .. }) = seat.retry {
                print.deadline(Deadline::Mono(at));
            }
        }
        for (member, waiting) in &self.parked {
            print.value(member);
            for parked in waiting {
                print.value((&parked.facts, &parked.message));
                print.since(parked.since);
            }
        }
    }
}

impl Seat {
    /// A leg to him begins.
    pub(super) fn begin(&mut self, leg: Leg) {
        self.leg = Some(leg);
        self.retry = None;
    }

    pub(super) fn on_connected(&mut self) {
        if let Some(leg) = &mut self.leg {
            leg.connected = true;
        }
    }

    /// His leg is over, by whatever; gives it back.
    pub(super) fn on_leg_over(&mut self) -> Option<Leg> {
        let leg = self.leg.take()?;
        if self.over.len() == MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back(leg.call.clone());
        self.failures = if leg.connected { 1 } else { self.failures.saturating_add(1) };
        Some(leg)
    }

    /// How often a leg failed, one after the other.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn retry_at(&mut self, at: Mono) {
        self.retry = Some(Retry { at, for_place: false });
    }

    /// There is no place now: the next try is then, or as soon as there is one.
    pub(super) fn wait_for_place(&mut self, at: Mono) {
        self.retry = Some(Retry { at, for_place: true });
    }

    /// Whether a new leg waits for its time.
    pub(super) const fn is_waiting(&self) -> bool {
        self.retry.is_some()
    }

    /// Whether he is there on another visit than before.
    pub(super) fn is_another(&self, visit: Option<&String>) -> bool {
        self.theirs.as_ref() != visit
    }

    /// He is there anew: what failed before is no matter.
    pub(super) fn start_over(&mut self, visit: Option<String>) {
        self.theirs = visit;
        self.failures = 0;
        self.retry = None;
    }

    /// Whether his leg is of this call.
    pub(super) fn is_of(&self, call: &CallId) -> bool {
        self.leg.as_ref().is_some_and(|leg| leg.call == *call)
    }

    /// Whether that call is over.
    pub(super) fn is_over(&self, call: &CallId) -> bool {
        self.over.contains(call)
    }
}

/// Whether we call this member, or are called. Between devices deployed clients compare the texts
/// `user:device`; matrix-js-sdk compares users, and devices of one user (`matrix-js-sdk.md` §2.3).
/// Both by UTF-16 units, as their languages do.
pub(super) fn we_call(dialect: Dialect, ours: &ParticipantId, theirs: &ParticipantId) -> bool {
    let order = match dialect {
        Dialect::Famedly => text(ours).encode_utf16().cmp(text(theirs).encode_utf16()),
        Dialect::Msc3401 => {
            let by = |one: &str, other: &str| one.encode_utf16().cmp(other.encode_utf16());
            by(ours.user.as_str(), theirs.user.as_str())
                .then_with(|| by(ours.device.as_str(), theirs.device.as_str()))
        }
    };
    order == Ordering::Less
}

fn text(one: &ParticipantId) -> String {
    format!("{}:{}", one.user, one.device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::DeviceId,
        wire::{
            call::{Body, Description, Header, Negotiate, SdpKind, Version},
            delivery::Protection,
        },
    };

    fn member(user: &str, device: &str) -> ParticipantId {
        ParticipantId {
            user: UserId::parse(user).unwrap(),
            device: DeviceId::parse(device).unwrap(),
        }
    }

    #[test]
    fn of_two_members_exactly_one_calls() {
        let members = [
            member("@ada:x", "A"),
            member("@ada:x", "B"),
            member("@ada:x", "b"),
            member("@ada:x.y", "A"),
            member("@adam:x", "A"),
            member("@Zoe:x", "LONGER"),
            member("@zoe:x", "A"),
        ];
        for dialect in [Dialect::Famedly, Dialect::Msc3401] {
            for (at, one) in members.iter().enumerate() {
                assert!(!we_call(dialect, one, one));
                for other in &members[at + 1..] {
                    assert_ne!(we_call(dialect, one, other), we_call(dialect, other, one));
                }
            }
        }
    }

    #[test]
    fn the_smaller_text_calls_and_the_dialects_differ_where_one_server_begins_like_another() {
        use Dialect::{Famedly, Msc3401};
        let calls = |dialect, one: (&str, &str), other: (&str, &str)| {
            we_call(dialect, &member(one.0, one.1), &member(other.0, other.1))
        };
        for dialect in [Famedly, Msc3401] {
            assert!(calls(dialect, ("@ada:x", "Z"), ("@ben:x", "A")), "users go first");
            assert!(calls(dialect, ("@ada:x", "A"), ("@ada:x", "B")), "then devices");
            assert!(calls(dialect, ("@Zed:x", "A"), ("@ada:x", "A")), "capitals go first");
        }
        let (short, long) = (("@ada:x", "A"), ("@ada:x.y", "A"));
        assert!(calls(Famedly, long, short), "a full stop goes before a colon");
        assert!(calls(Msc3401, short, long), "a beginning goes before the whole");
    }

    #[test]
    fn numbers_are_heard_once_and_remembered_within_a_bound() {
        let call = CallId::parse("c").unwrap();
        let mut leg = Leg::new(SessionId(1), call, Mono::default());
        assert!(leg.is_new(Some(0)) && leg.is_new(Some(2)) && leg.is_new(Some(1)));
        assert!(!leg.is_new(Some(2)) && !leg.is_new(Some(0)));
        assert!(leg.is_new(None) && leg.is_new(None), "who does not number is heard");
        let many = MAX_SEEN_NUMBERS as u64;
        assert!((3..many + 5).all(|number| leg.is_new(Some(number))));
        assert_eq!(leg.heard.len(), MAX_SEEN_NUMBERS);
        assert!(!leg.is_new(Some(0)), "forgotten, and yet not new");
    }

    fn parked(sdp: &str) -> Parked {
        let description = Description { kind: SdpKind::Offer, sdp: sdp.into() };
        let (lifetime, capabilities, streams) = (None, None, None);
        let header = Header {
            call_id: CallId::parse("c").unwrap(),
            party_id: None,
            version: Version::V1,
            device_id: None,
            leg: None,
        };
        let facts = Facts {
            event_id: None,
            sender: UserId::parse("@ada:x").unwrap(),
            device: None,
            protection: Protection::Clear,
            sent: None,
            age: None,
        };
        let body = Body::Negotiate(Negotiate { description, lifetime, capabilities, streams });
        Parked { since: Mono::default(), facts, message: CallMessage { header, body } }
    }

    #[test]
    fn nobody_takes_all_places_for_what_waits_nor_more_than_so_many_bytes() {
        let mut mesh = Mesh::default();
        for device in 0..MAX_PARKED_PER_USER {
            assert!(mesh.park(&member("@ada:x", &device.to_string()), parked("v=0")));
        }
        assert!(!mesh.park(&member("@ada:x", "another"), parked("v=0")));
        assert!(mesh.park(&member("@ada:x", "0"), parked("v=0")), "known ones are heard");
        let (ben, long) = (member("@ben:x", "B"), "x".repeat(MAX_PARKED_BYTES_PER_MEMBER / 4));
        for _ in 0..6 {
            mesh.park(&ben, parked(&long));
        }
        assert!(!mesh.park(&ben, parked("v=0")), "one had to go");
        assert_eq!(mesh.take_parked(&ben).len(), 4, "the oldest are dropped");
    }

    #[test]
    fn legs_that_fail_wait_longer_and_one_that_connected_begins_anew() {
        let mut mesh = Mesh::default();
        let ben = member("@ben:x", "B");
        let seat = mesh.seat_mut(&ben);
        let mut fail = |connected: bool| {
            let call = CallId::parse("c").unwrap();
            let mut leg = Leg::new(SessionId(1), call, Mono::default());
            leg.connected = connected;
            seat.begin(leg);
            seat.on_leg_over();
            seat.failures()
        };
        assert_eq!([false, false, false, true].map(&mut fail), [1, 2, 3, 1]);
        seat.retry_at(Mono(Duration::from_secs(5)));
        assert_eq!(mesh.next_retry(), Some(Mono(Duration::from_secs(5))));
        assert_eq!(mesh.on_retry_due(Mono(Duration::from_secs(4))), []);
        assert_eq!(mesh.on_retry_due(Mono(Duration::from_secs(5))), [ben]);
        assert_eq!(mesh.next_retry(), None);
    }
}
