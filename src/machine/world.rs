//! What all calls of an engine share: the present, the way out, timers, ids, memory.
//!
//! A call never holds any of this; it is handed a [`World`] with every input. So a call is a plain
//! value, and the borrow checker sees that calls cannot reach each other.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    Identity,
    book::Book,
    call::{CallTimer, leg::LegNews},
    event::{CallEvent, Transfer, VoipEvent},
    expected::{Caller, Expected},
    fingerprint::Fingerprint,
    group::event::GroupEvent,
    guard::{Guard, Guards},
    ids::Ids,
    io::{Ignored, Op, Output, ParticipantId},
    memory::Memory,
    roster::Roster,
    transferring::Joins,
    turn::Turn,
    vacant::Vacant,
};
use crate::{
    config::{Config, Unverified},
    id::{OpId, PartyId, PeerId, RoomId, SessionId, UserId},
    redact::Redacted,
    sdp,
    time::{Agenda, Now, Wall},
    wire::delivery::{Facts, Protection},
};

/// Everything that the machine waits for, with its unit in the deadline that is set for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// Of one call.
    Call(SessionId, CallTimer),
    /// The ledger changed a moment ago (`Timeouts::ledger`, monotonic): save it.
    Ledger,
}

/// Who awaits the reply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// A call.
    Call(SessionId),
    /// The TURN credentials.
    Turn,
    /// The ledger.
    Ledger,
    /// A room's group calls: our memberships, delayed leaves and posts there.
    Groups,
    /// The media of a group call.
    Group(SessionId),
    /// Its SFU: the token, our connection.
    Sfu(SessionId),
    /// Its media keys.
    Keys(SessionId),
    /// Nobody any more: a close or release whose call may be gone.
    Nobody,
}

/// What the host told of a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct RoomFacts {
    /// Who is joined; `None` while the host has not said.
    pub(super) members: Option<BTreeSet<UserId>>,
    /// Whether the room is encrypted; `None` while the host has not said.
    pub(super) encrypted: Option<bool>,
    /// Whether it is a direct chat.
    pub(super) direct: bool,
}

/// What all calls share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct World {
    pub(super) now: Now,
    pub(super) identity: Identity,
    pub(super) config: Config,
    /// Our party id: one per engine.
    pub(super) party: PartyId,
    pub(super) ids: Ids,
    pub(super) agenda: Agenda<Timer>,
    pub(super) turn: Turn,
    pub(super) book: Book,
    pub(super) memory: Memory,
    pub(super) expected: Expected,
    pub(super) vacant: Vacant,
    pub(super) joins: Joins,
    pub(super) rooms: BTreeMap<RoomId, RoomFacts>,
    pub(super) roster: Roster,
    pub(super) peers: BTreeMap<PeerId, SessionId>,
    pub(super) guards: Guards,
    /// Where in a ring the first media key of the next group call goes.
    pub(super) next_key: u8,
    awaited: BTreeMap<OpId, Owner>,
    out: VecDeque<Output>,
    /// What legs have to tell their group calls: it is told before anything else happens.
    leg_news: VecDeque<LegNews>,
}

impl World {
    pub(super) fn new(identity: Identity, config: Config, seed: u64) -> Self {
        let mut ids = Ids::new(seed);
        Self {
            now: Now::default(),
            identity,
            config,
            party: ids.party(),
            ids,
            agenda: Agenda::default(),
            turn: Turn::default(),
            book: Book::default(),
            memory: Memory::default(),
            expected: Expected::default(),
            vacant: Vacant::default(),
            joins: Joins::default(),
            rooms: BTreeMap::new(),
            roster: Roster::default(),
            peers: BTreeMap::new(),
            guards: Guards::default(),
            next_key: 0,
            awaited: BTreeMap::new(),
            out: VecDeque::new(),
            leg_news: VecDeque::new(),
        }
    }

    /// Time went on; by how much the wall clock was set back meanwhile. Less than a second is no more
    /// than clocks are corrected all the time.
    pub(super) fn set_now(&mut self, now: Now) -> Option<Duration> {
        let former = std::mem::replace(&mut self.now, now);
        let expected = former.wall.plus(now.mono.since(former.mono));
        Some(expected.since(now.wall)).filter(|by| *by >= Duration::from_secs(1))
    }

    /// Asks the world for something; the reply comes back to `owner`.
    pub(super) fn request(&mut self, owner: Owner, op: Op) -> OpId {
        let id = self.ids.op();
        self.awaited.insert(id, owner);
        self.out.push_back(Output::Request { id, op });
        id
    }

    /// No longer awaits a reply, and says so.
    pub(super) fn cancel(&mut self, id: OpId) {
        if self.awaited.remove(&id).is_some() {
            self.out.push_back(Output::Cancel(id));
        }
    }

    /// Who awaits this reply; once.
    pub(super) fn take_owner(&mut self, id: OpId) -> Option<Owner> {
        self.awaited.remove(&id)
    }

    /// A reply that is awaited goes to somebody else.
    pub(super) fn hand_over(&mut self, id: OpId, owner: Owner) {
        if let Some(awaiting) = self.awaited.get_mut(&id) {
            *awaiting = owner;
        }
    }

    /// Tells about all calls.
    pub(super) fn tell(&mut self, event: VoipEvent) {
        self.out.push_back(Output::Voip(event));
    }

    /// Tells about one call.
    pub(super) fn tell_call(&mut self, session: SessionId, event: CallEvent) {
        self.out.push_back(Output::Call { session, event });
    }

    /// Tells a group call about one of its legs.
    pub(super) fn tell_leg(&mut self, news: LegNews) {
        self.leg_news.push_back(news);
    }

    pub(super) fn next_leg_news(&mut self) -> Option<LegNews> {
        self.leg_news.pop_front()
    }

    /// Tells about one group call.
    pub(super) fn tell_group(&mut self, session: SessionId, event: GroupEvent) {
        self.out.push_back(Output::Group { session, event });
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// How old an event is: the host's figure if there is one, which trusts one clock; else the
    /// difference of two.
    pub(super) fn age(&self, facts: &Facts) -> Duration {
        let by_clocks = || facts.sent.map(|sent| self.now.wall.since(sent));
        facts.age.or_else(by_clocks).unwrap_or_default()
    }

    /// A transfer named a call that this one is to place.
    pub(super) fn expect_call(&mut self, of: Caller, transfer: &Transfer) {
        let until = self.longest_until();
        self.expected.note(of, transfer.call_id.clone(), until);
    }

    /// Until when an invite that is sent now can be alive.
    pub(super) fn longest_until(&self) -> Wall {
        self.now.wall.plus(self.config.timeouts.longest_invite)
    }

    /// Whether a description of theirs can be worked with.
    pub(super) fn is_sound(&self, sdp: &Redacted) -> bool {
        sdp::check(sdp.expose()).is_ok() || !self.holds(Guard::SdpChecked)
    }

    /// Whether this room is known to be encrypted.
    pub(super) fn is_encrypted(&self, room: &RoomId) -> bool {
        self.rooms.get(room).and_then(|facts| facts.encrypted) == Some(true)
    }

    /// Whether this room may be encrypted, as far as is known. What can only come to-device counts
    /// as it would in an encrypted room until the host says that it is none.
    pub(super) fn may_be_encrypted(&self, room: &RoomId) -> bool {
        self.rooms.get(room).and_then(|facts| facts.encrypted) != Some(false)
    }

    /// The host tells whether this room is encrypted; one that is stays so.
    pub(super) fn note_encryption(&mut self, room: &RoomId, encrypted: bool) {
        let known = &mut self.rooms.entry(room.clone()).or_default().encrypted;
        *known = Some(encrypted || *known == Some(true));
    }

    /// Whether this user is known *not* to be in this room.
    pub(super) fn is_outside(&self, room: &RoomId, user: &UserId) -> bool {
        let members = self.rooms.get(room).and_then(|facts| facts.members.as_ref());
        members.is_some_and(|members| !members.contains(user))
    }

    /// Whether an event came as its room (`secret`: an encrypted one) and the policy want it.
    pub(super) fn check_protection(
        &self,
        secret: bool,
        protection: Protection,
    ) -> Result<(), Ignored> {
        if secret && protection == Protection::Clear && self.holds(Guard::PlaintextRefused) {
            return Err(Ignored::PlaintextInEncryptedRoom);
        }
        let unverified = secret && protection == Protection::Unverified;
        let refused = unverified && self.config.unverified == Unverified::Refuse;
        if refused && self.holds(Guard::UnverifiedRefused) {
            return Err(Ignored::UnverifiedDevice);
        }
        Ok(())
    }

    /// Whether this user may speak in this room, as far as is known.
    pub(super) fn check_inside(&self, room: &RoomId, user: &UserId) -> Result<(), Ignored> {
        match self.is_outside(room, user) && self.holds(Guard::OutsidersUnheard) {
            true => Err(Ignored::NotInRoom),
            false => Ok(()),
        }
    }

    /// As what we are in group calls.
    pub(super) fn ourselves(&self) -> ParticipantId {
        let Identity { user, device } = self.identity.clone();
        ParticipantId { user, device }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint, now: Now) {
        // What calls wait for is theirs, and printed with them.
        for (op, owner) in &self.awaited {
            match owner {
                Owner::Call(_) => continue,
                Owner::Turn => print.value("turn"),
                Owner::Ledger => print.value("ledger"),
                Owner::Groups => print.value("groups"),
                Owner::Group(session) | Owner::Sfu(session) | Owner::Keys(session) => {
                    print.session(*session);
                }
                Owner::Nobody => print.value("nobody"),
            }
            print.op(*op);
        }
        self.turn.fingerprint(print);
        self.book.fingerprint(print);
        self.memory.fingerprint(print, now, self.config.timeouts.parked);
        self.expected.fingerprint(print, now);
        self.vacant.fingerprint(print, now);
        self.joins.fingerprint(print);
        print.value((&self.rooms, self.next_key));
        print.value(self.out.len());
    }
}
