//! Which call gets a delivered event, and which invite may ring.
//!
//! Every event of a batch is judged by itself (T-1, T-2, T-46). Whether an invite's call is
//! already over is decided with everything that is known: what follows in the same batch, what
//! came before and was parked, and what was over before.

use std::{collections::BTreeMap, mem::discriminant};

use super::{
    Engine, Service,
    bounds::{MAX_PARTINGS, MAX_RINGING_PER_CALLER},
    call::{Arrival, Call, estate::Estate},
    crossing::Settled,
    event::{EndReason, MissedWhy, VoipEvent},
    expected::Caller,
    guard::Guard,
    io::{Ignored, Verdict},
    memory::Foreign,
    world::World,
};
use crate::{
    config::{Busy, OnAnswer, Unverified},
    id::{CallId, PartyId, RoomId, SessionId, UserId},
    time::Wall,
    wire::{
        call::{Body, CallMessage, Header, Invite, Reason, Version},
        delivery::{Delivery, Facts, Parsed, Place, Protection},
        ledger::LiveCall,
    },
};

/// An event that is known to be for us to judge.
#[derive(Clone, Copy)]
struct Event<'a> {
    room: &'a RoomId,
    facts: &'a Facts,
    message: &'a CallMessage,
    /// The call that it speaks of, if we have it.
    session: Option<SessionId>,
}

impl Engine {
    /// Judges every event of a batch, in order.
    pub(super) fn on_delivery(&mut self, delivery: Delivery) -> Verdict {
        let Delivery { place, events } = delivery;
        let ends = self.ends(&place, &events);
        let verdicts = events.iter().enumerate().map(|(at, event)| {
            let verdict = match self.admit(&place, event) {
                Ok(event) => {
                    let verdict = self.route(event, ends.after(at));
                    self.warn_of_unverified(event, &verdict);
                    self.on_answered(event, &verdict);
                    verdict
                }
                Err(reason) => Verdict::Ignored(reason),
            };
            if let Verdict::Ignored(reason) = verdict {
                let session = self.session_of(&place, event);
                self.note(&event.event_type, Some((&event.facts.sender, session)), reason);
            }
            verdict
        });
        Verdict::Batch(verdicts.collect())
    }

    /// The events of a batch that can end a call and may do so.
    fn ends<'a>(&self, place: &'a Place, events: &'a [Parsed]) -> Ends<'a> {
        let mut ends = Ends::default();
        for (at, event) in events.iter().enumerate() {
            if let Ok(Event { facts, message, .. }) = self.check(place, event)
                && can_end(&message.body)
            {
                ends.add(at, facts, message);
            }
        }
        ends
    }

    /// What holds for every event that has an effect: it is sound and new.
    fn admit<'a>(&mut self, place: &'a Place, event: &'a Parsed) -> Result<Event<'a>, Ignored> {
        let event = self.check(place, event)?;
        if let Some(id) = &event.facts.event_id
            && !self.world.memory.is_new(id)
            && self.world.holds(Guard::DuplicateIgnored)
        {
            return Err(Ignored::Duplicate);
        }
        Ok(event)
    }

    /// Whether an event is sound: readable, protected, from somebody who may speak.
    fn check<'a>(&self, place: &'a Place, event: &'a Parsed) -> Result<Event<'a>, Ignored> {
        let Place::Room { room, encrypted } = place else { return Err(Ignored::Unsupported) };
        let message = event.event.as_ref().map_err(|_| Ignored::Malformed)?;
        let world = &self.world;
        if message.header.leg.is_some() && world.holds(Guard::LegsElsewhere) {
            return Err(Ignored::WrongPlace);
        }
        let secret = *encrypted || world.is_encrypted(room);
        let protection = event.facts.protection;
        if secret && protection == Protection::Clear && world.holds(Guard::PlaintextRefused) {
            return Err(Ignored::PlaintextInEncryptedRoom);
        }
        let unverified = secret && protection == Protection::Unverified;
        let refused = unverified && world.config.unverified == Unverified::Refuse;
        if refused && world.holds(Guard::UnverifiedRefused) {
            return Err(Ignored::UnverifiedDevice);
        }
        // Whoever is in a call with us may still say goodbye.
        let session = self.find_call(room, &message.header.call_id);
        let ignored = self.ignored_users.contains(&event.facts.sender);
        if session.is_none() && ignored && world.holds(Guard::IgnoredUnheard) {
            return Err(Ignored::IgnoredUser);
        }
        let outside = world.is_outside(room, &event.facts.sender);
        if outside && world.holds(Guard::OutsidersUnheard) {
            return Err(Ignored::NotInRoom);
        }
        Ok(Event { room, facts: &event.facts, message, session })
    }

    /// The call of that id in that room.
    fn find_call(&self, room: &RoomId, call: &CallId) -> Option<SessionId> {
        let world = &self.world;
        match world.holds(Guard::RoomBound) {
            true => world.roster.find(room, call),
            false => world.roster.find_anywhere(call),
        }
    }

    fn route(&mut self, event: Event<'_>, later: Later<'_>) -> Verdict {
        let Event { room, facts, message, session } = event;
        let call_id = message.header.call_id.clone();
        let is_invite = matches!(message.body, Body::Invite(_));
        let is_second = is_invite && !self.world.holds(Guard::OneCallPerId);
        if let Some(session) = session.filter(|_| !is_second) {
            let verdict =
                self.with(session, |call, world| call.on_message(world, facts, message.clone()));
            self.fill_vacancy(room, &facts.sender);
            return verdict.unwrap_or(Verdict::Ignored(Ignored::UnknownCall));
        }
        if is_echo(&self.world, facts, &message.header) {
            return Verdict::Ignored(Ignored::Echo);
        }
        let over = self.world.memory.is_over(room, &call_id, self.world.now);
        if over && self.world.holds(Guard::OverStaysOver) {
            return Verdict::Ignored(Ignored::AlreadyOver);
        }
        let invite = (room.clone(), call_id, facts.sender.clone());
        let foreign = self.world.memory.foreign(invite, self.world.now);
        match foreign.filter(|_| self.world.holds(Guard::ForeignRemembered)) {
            Some(Foreign::Dead) => return Verdict::Ignored(Ignored::AlreadyOver),
            Some(Foreign::NotOurs) => return Verdict::Ignored(Ignored::NotForUs),
            None => {}
        }
        match &message.body {
            Body::Invite(invite) => {
                let header = &message.header;
                self.on_invite(Candidacy { room, facts, header, invite }, later)
            }
            Body::Negotiate(_) | Body::Replaces(_) | Body::AssertedIdentity(_)
                if self.world.holds(Guard::StraysNotKept) =>
            {
                Verdict::Ignored(Ignored::UnknownCall)
            }
            Body::Candidates(_)
            | Body::Negotiate(_)
            | Body::Replaces(_)
            | Body::AssertedIdentity(_)
            | Body::Answer(_)
            | Body::SelectAnswer { .. }
            | Body::Reject { .. }
            | Body::Hangup { .. }
            | Body::MetadataChanged(_) => self.park(room, facts, message),
        }
    }

    /// A call of ours was taken: the one in which the user talks gives way, or it does itself.
    fn on_answered(&mut self, event: Event<'_>, verdict: &Verdict) {
        if let (Some(session), Body::Answer(_), Verdict::Handled) =
            (event.session, &event.message.body, verdict)
        {
            let aside = self.put_others_aside(session);
            // They have answered: what cannot be held stays beside their call.
            if aside.is_err() && self.world.config.on_answer == OnAnswer::Refuse {
                self.with(session, |call, world| call.fail(world, EndReason::Busy));
            }
        }
    }

    /// An invite or answer that counts came from a device that is not verified.
    fn warn_of_unverified(&mut self, event: Event<'_>, verdict: &Verdict) {
        let Event { facts, message, session, .. } = event;
        let session = match verdict {
            Verdict::Started(session) => Some(*session),
            Verdict::Handled => session,
            Verdict::Ignored(_) | Verdict::Refused(_) | Verdict::Batch(_) => None,
        };
        let weighty = matches!(message.body, Body::Invite(_) | Body::Answer(_));
        if let Some(session) = session
            && weighty
            && facts.protection == Protection::Unverified
            && self.world.config.unverified == Unverified::Warn
        {
            let user = facts.sender.clone();
            self.world.tell(VoipEvent::UnverifiedDevice { session, user });
        }
    }

    /// Keeps an event for its invite, which may come later.
    fn park(&mut self, room: &RoomId, facts: &Facts, message: &CallMessage) -> Verdict {
        let (now, patience) = (self.world.now, self.world.config.timeouts.parked);
        self.world.memory.forget_parked(room, now, patience);
        let full = self.world.memory.is_full_for(room);
        if full && self.world.holds(Guard::ParkedRoomsBounded) {
            return Verdict::Ignored(Ignored::TooMany);
        }
        let kept = self.world.memory.park(room, facts, message, now);
        Verdict::Ignored(if kept { Ignored::Parked } else { Ignored::TooMany })
    }

    // ---------------------------------------------------------------------------------- invites

    fn on_invite(&mut self, candidacy: Candidacy<'_>, later: Later<'_>) -> Verdict {
        let Candidacy { room, facts, header, invite } = candidacy;
        let until = match self.check_invite(&candidacy) {
            Ok(until) => until,
            Err(reason) => {
                if !matches!(reason, Ignored::Malformed | Ignored::WrongSender) {
                    self.note_foreign(&candidacy, reason);
                }
                return Verdict::Ignored(reason);
            }
        };
        let (now, patience) = (self.world.now, self.world.config.timeouts.parked);
        let waiting = (room, &header.call_id);
        let parked = self.world.memory.take_parked(waiting, now, patience);
        let world = &self.world;
        let ours = &world.identity.user;
        let over = parked.iter().any(|p| candidacy.is_ended_by(world, &p.facts, &p.message))
            || later.of(&candidacy, ours).any(|(f, m)| candidacy.is_ended_by(world, f, m));
        if over && self.world.holds(Guard::EndBeforeInvite) {
            self.world.memory.note_over(room, &header.call_id, until);
            return Verdict::Ignored(Ignored::AlreadyOver);
        }
        let (caller, device) = (&facts.sender, facts.device.as_ref());
        let arrival = Arrival { room, caller, device, header, invite, until };
        let verdict = self.take_in(&arrival);
        for event in parked {
            if let Some(session) = self.world.roster.find(room, &header.call_id) {
                self.with(session, |call, world| {
                    call.on_message(world, &event.facts, event.message)
                });
            }
        }
        verdict
    }

    /// Whether an invite is for us, honest and alive; then, until when.
    fn check_invite(&self, candidacy: &Candidacy<'_>) -> Result<Wall, Ignored> {
        let Candidacy { facts, invite, .. } = candidacy;
        let (world, identity) = (&self.world, &self.world.identity);
        let another = invite.invitee.as_ref().is_some_and(|user| *user != identity.user);
        if another && world.holds(Guard::InviteeObeyed) {
            return Err(Ignored::NotForUs);
        }
        match &invite.invitee_device {
            Some(device)
                if *device != identity.device && world.holds(Guard::InviteeDeviceObeyed) =>
            {
                return Err(Ignored::NotForUs);
            }
            // A call of ours to somebody, placed on another device.
            None if facts.sender == identity.user && world.holds(Guard::OwnInviteNamesUs) => {
                return Err(Ignored::NotForUs);
            }
            Some(_) | None => {}
        }
        if !world.is_sound(&invite.offer) {
            return Err(Ignored::Malformed);
        }
        let anothers =
            world.expected.is_anothers(&facts.sender, &candidacy.header.call_id, world.now);
        if anothers && world.holds(Guard::ExpectedBound) {
            return Err(Ignored::WrongSender);
        }
        let lifetime = invite.lifetime.min(self.world.config.timeouts.longest_invite);
        let age = self.world.age(facts);
        if age >= lifetime && self.world.holds(Guard::InviteExpires) {
            return Err(Ignored::Expired);
        }
        Ok(self.world.now.wall.plus(lifetime.saturating_sub(age)))
    }

    /// What the sender of such an invite says about it need not be parked. What others say may be
    /// about another call of the same id: anybody can use an id that he has seen.
    fn note_foreign(&mut self, candidacy: &Candidacy<'_>, reason: Ignored) {
        let Candidacy { room, facts, header, .. } = candidacy;
        let why = if reason == Ignored::NotForUs { Foreign::NotOurs } else { Foreign::Dead };
        let until = self.world.longest_until();
        let invite = ((*room).clone(), header.call_id.clone(), facts.sender.clone());
        self.world.memory.note_foreign(invite, why, until);
    }

    /// An invite that may ring meets our own calls.
    fn take_in(&mut self, arrival: &Arrival<'_>) -> Verdict {
        let ending = self.service == Service::ShuttingDown;
        if ending && self.world.holds(Guard::ShutDownTakesNone) {
            return Verdict::Ignored(Ignored::ShuttingDown);
        }
        let vacant = self.vacancy_for(arrival);
        match self.settle_glare(arrival) {
            Some(Settled::Lost) => {
                self.part(arrival, Body::Hangup { reason: Some(Reason::Replaced) });
                return Verdict::Ignored(Ignored::LostGlare);
            }
            Some(Settled::Won(estate)) => return self.take_over(arrival, *estate),
            None => {}
        }
        if let Some(estate) = vacant {
            let at_once = self.may_take_over();
            return self.take_over(arrival, at_once.then_some(estate));
        }
        let expected = self.is_expected(arrival);
        // Who is about to talk with us and calls once more lost glare, and says so in a moment.
        let again = !self.taken_with(arrival.room, arrival.caller).is_empty();
        let busy = (self.world.roster.other_connected(None) || again) && !expected;
        if busy && self.world.holds(Guard::BusyObeyed) {
            match self.world.config.busy {
                Busy::Ring => {}
                Busy::Ignore => {
                    self.note_over(arrival);
                    arrival.miss(&mut self.world, MissedWhy::Busy);
                    return Verdict::Ignored(Ignored::Busy);
                }
                Busy::Reject => {
                    arrival.miss(&mut self.world, MissedWhy::Busy);
                    self.part(arrival, refusal(arrival.header.version));
                    return Verdict::Ignored(Ignored::Busy);
                }
            }
        }
        if !self.may_ring(arrival.caller) {
            // The machine may have slept while they rang.
            self.handle_timeout(self.world.now);
        }
        if !self.may_ring(arrival.caller) {
            return Verdict::Ignored(Ignored::TooManyRinging);
        }
        let call = Call::arrive(&mut self.world, arrival);
        let session = self.keep(call);
        self.ring(session, arrival.until);
        Verdict::Started(session)
    }

    /// What a call of ours left for a call of this user that takes its place.
    fn vacancy_for(&mut self, arrival: &Arrival<'_>) -> Option<Estate> {
        let world = &mut self.world;
        match world.holds(Guard::VacancyBound) {
            true => world.vacant.take(arrival.room, arrival.caller, world.now),
            false => world.vacant.take_for_anybody(arrival.room, world.now),
        }
    }

    /// Whether a transfer announced this call.
    fn is_expected(&mut self, arrival: &Arrival<'_>) -> bool {
        let (world, id) = (&mut self.world, &arrival.header.call_id);
        let of_anybody = world.expected.names(id) && !world.holds(Guard::ExpectedBound);
        world.expected.take(&Caller::User(arrival.caller.clone()), id, world.now) || of_anybody
    }

    fn may_ring(&self, caller: &UserId) -> bool {
        let mut of_caller = 0;
        let mut ringing = 0;
        for session in self.world.roster.ringing() {
            ringing += 1;
            of_caller += usize::from(self.is_with(session, caller));
        }
        let world = &self.world;
        let bounded = ringing < world.config.max_ringing || !world.holds(Guard::RingingBounded);
        let fair = of_caller < MAX_RINGING_PER_CALLER || !world.holds(Guard::CallerBounded);
        bounded && fair
    }

    pub(super) fn ring(&mut self, session: SessionId, until: Wall) {
        self.with(session, |call, world| call.ring(world, until));
    }

    fn note_over(&mut self, arrival: &Arrival<'_>) {
        let until = self.world.longest_until();
        self.world.memory.note_over(arrival.room, &arrival.header.call_id, until);
    }

    /// Says something about a call that never rings here, unless that is being done too often.
    fn part(&mut self, arrival: &Arrival<'_>, body: Body) {
        let many = self.world.roster.partings() >= MAX_PARTINGS;
        if many && self.world.holds(Guard::PartingsBounded) {
            return self.note_over(arrival);
        }
        let call = LiveCall {
            room: arrival.room.clone(),
            call_id: arrival.header.call_id.clone(),
            party_id: self.world.party.clone(),
        };
        let parting = Call::parting(&mut self.world, &call, body);
        self.keep(parting);
    }

    fn session_of(&self, place: &Place, event: &Parsed) -> Option<SessionId> {
        let (Place::Room { room, .. }, Ok(message)) = (place, &event.event) else { return None };
        self.world.roster.find(room, &message.header.call_id)
    }
}

/// An event at its place in the batch.
type End<'a> = (usize, &'a Facts, &'a CallMessage);

/// Which call, and who speaks of it.
type Speaker<'a> = (&'a CallId, &'a UserId, &'a Option<PartyId>);

/// The events of a batch that can end a call, of each speaker the last of its kind: so that a
/// batch is read once, however many invites and ends it holds.
#[derive(Default)]
struct Ends<'a>(BTreeMap<Speaker<'a>, Vec<End<'a>>>);

impl<'a> Ends<'a> {
    fn add(&mut self, at: usize, facts: &'a Facts, message: &'a CallMessage) {
        let Header { call_id, party_id, .. } = &message.header;
        let said = self.0.entry((call_id, &facts.sender, party_id)).or_default();
        said.retain(|(_, _, old)| discriminant(&old.body) != discriminant(&message.body));
        said.push((at, facts, message));
    }

    fn after(&'a self, at: usize) -> Later<'a> {
        Later { ends: self, at }
    }
}

/// What follows an event in its batch.
#[derive(Clone, Copy)]
struct Later<'a> {
    ends: &'a Ends<'a>,
    at: usize,
}

impl<'a> Later<'a> {
    /// What the caller and our other devices say of this call.
    fn of(
        self,
        candidacy: &Candidacy<'a>,
        ours: &'a UserId,
    ) -> impl Iterator<Item = (&'a Facts, &'a CallMessage)> {
        let (Self { ends, at: now }, call) = (self, &candidacy.header.call_id);
        let caller = ends.0.get(&(call, &candidacy.facts.sender, &candidacy.header.party_id));
        let by_us = ends.0.range((call, ours, &None)..);
        let by_us = by_us.take_while(move |((c, user, _), _)| (*c, *user) == (call, ours));
        let said = caller.into_iter().chain(by_us.map(|(_, said)| said)).flatten();
        said.filter(move |(at, ..)| *at > now).map(|(_, facts, message)| (*facts, *message))
    }
}

fn can_end(body: &Body) -> bool {
    match body {
        Body::Hangup { .. } | Body::SelectAnswer { .. } | Body::Answer(_) | Body::Reject { .. } => {
            true
        }
        Body::Invite(_)
        | Body::Candidates(_)
        | Body::Negotiate(_)
        | Body::MetadataChanged(_)
        | Body::AssertedIdentity(_)
        | Body::Replaces(_) => false,
    }
}

/// An invite that may or may not ring.
struct Candidacy<'a> {
    room: &'a RoomId,
    facts: &'a Facts,
    header: &'a Header,
    invite: &'a Invite,
}

impl Candidacy<'_> {
    /// Whether this other event of the same room means that the invite must not ring: the caller
    /// gave up or chose another party, or a device of ours took or refused it.
    fn is_ended_by(&self, world: &World, facts: &Facts, message: &CallMessage) -> bool {
        if message.header.call_id != self.header.call_id {
            return false;
        }
        let party: &Option<PartyId> = &message.header.party_id;
        let by_caller = (facts.sender == self.facts.sender && *party == self.header.party_id)
            || !world.holds(Guard::EndBound);
        let by_us = facts.sender == world.identity.user && !by_caller;
        match &message.body {
            Body::Hangup { .. } => by_caller || by_us,
            Body::SelectAnswer { .. } => by_caller,
            Body::Answer(_) | Body::Reject { .. } => by_us,
            Body::Invite(_)
            | Body::Candidates(_)
            | Body::Negotiate(_)
            | Body::MetadataChanged(_)
            | Body::AssertedIdentity(_)
            | Body::Replaces(_) => false,
        }
    }
}

/// Our own event, come back: told by user and party (T-17).
fn is_echo(world: &World, facts: &Facts, header: &Header) -> bool {
    let ours = facts.sender == world.identity.user;
    ours && header.party_id.as_ref() == Some(&world.party) && world.holds(Guard::EchoIgnored)
}

/// "Busy", in the words that the caller knows.
fn refusal(version: Version) -> Body {
    let reason = Some(Reason::UserBusy);
    match version {
        Version::V1 => Body::Reject { reason },
        Version::V0 => Body::Hangup { reason },
    }
}
