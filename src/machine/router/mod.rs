//! Which call gets a delivered event, and which invite may ring.
//!
//! Every event of a batch is judged by itself (T-1, T-2, T-46). Whether an invite's call is
//! already over is decided with everything that is known: what follows in the same batch, what
//! came before and was parked, and what was over before.
//!
//! | file | holds |
//! | --- | --- |
//! | `batch.rs` | what else a batch says of a call |
//! | `invites.rs` | whether an invite may ring |
//! | `rtc.rs` | events around group calls: whether they are sound |

mod batch;
mod invites;
mod rtc;

use self::batch::{Candidacy, Ends, Later, can_end};
use super::{
    Engine,
    event::{EndReason, VoipEvent},
    guard::Guard,
    io::{Ignored, Verdict},
    memory::Foreign,
    world::World,
};
use crate::{
    config::{OnAnswer, Unverified},
    id::{CallId, RoomId, SessionId, UserId},
    wire::{
        call::{Body, CallMessage, Header},
        delivery::{Content, Delivery, Facts, Parsed, Place, Protection},
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
        if place == Place::ToDevice {
            return self.on_to_device_batch(&events);
        }
        let ends = self.ends(&place, &events);
        let verdicts = events.iter().enumerate().map(|(at, event)| {
            let verdict = match &event.event {
                Ok(Content::Rtc(said)) => self.on_rtc_event(&place, &event.facts, said),
                // A key that the whole room can read is none.
                Ok(Content::Key(_)) => Verdict::Ignored(Ignored::WrongPlace),
                Ok(Content::Call(_)) | Err(_) => self.on_event(&place, event, ends.after(at)),
            };
            if let Verdict::Ignored(reason) = verdict {
                let session = self.session_of(&place, event);
                self.note(&event.event_type, Some((&event.facts.sender, session)), reason);
            }
            verdict
        });
        Verdict::Batch(verdicts.collect())
    }

    fn on_event(&mut self, place: &Place, event: &Parsed, later: Later<'_>) -> Verdict {
        match self.admit(place, event) {
            Ok(event) => {
                let verdict = self.route(event, later);
                self.warn_of_unverified(event, &verdict);
                self.on_answered(event, &verdict);
                verdict
            }
            Err(reason) => Verdict::Ignored(reason),
        }
    }

    fn on_to_device_batch(&mut self, events: &[Parsed]) -> Verdict {
        let verdicts = events.iter().map(|event| {
            let verdict = self.on_to_device(event);
            if let Verdict::Ignored(reason) = verdict {
                self.note(&event.event_type, Some((&event.facts.sender, None)), reason);
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
        self.check_new(event.facts)?;
        Ok(event)
    }

    /// Whether an event is sound: readable, protected, from somebody who may speak.
    fn check<'a>(&self, place: &'a Place, event: &'a Parsed) -> Result<Event<'a>, Ignored> {
        let Place::Room { room, encrypted } = place else { return Err(Ignored::Unsupported) };
        let message = event.call().ok_or(Ignored::Malformed)?;
        let world = &self.world;
        if message.header.leg.is_some() && world.holds(Guard::LegsElsewhere) {
            return Err(Ignored::WrongPlace);
        }
        let secret = *encrypted || world.is_encrypted(room);
        world.check_protection(secret, event.facts.protection)?;
        // Whoever is in a call with us may still say goodbye.
        let session = self.find_call(room, &message.header.call_id);
        if session.is_none() {
            self.check_unignored(&event.facts.sender)?;
        }
        world.check_inside(room, &event.facts.sender)?;
        Ok(Event { room, facts: &event.facts, message, session })
    }

    /// Whether this user may be heard, as far as ours goes.
    pub(super) fn check_unignored(&self, user: &UserId) -> Result<(), Ignored> {
        match self.ignored_users.contains(user) && self.world.holds(Guard::IgnoredUnheard) {
            true => Err(Ignored::IgnoredUser),
            false => Ok(()),
        }
    }

    /// Whether an event comes for the first time; one without an id always does.
    fn check_new(&mut self, facts: &Facts) -> Result<(), Ignored> {
        let known = facts.event_id.as_ref().is_some_and(|id| !self.world.memory.is_new(id));
        match known && self.world.holds(Guard::DuplicateIgnored) {
            true => Err(Ignored::Duplicate),
            false => Ok(()),
        }
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

    fn session_of(&self, place: &Place, event: &Parsed) -> Option<SessionId> {
        let (Place::Room { room, .. }, Some(message)) = (place, event.call()) else { return None };
        self.world.roster.find(room, &message.header.call_id)
    }
}

/// Our own event, come back: told by user and party (T-17).
fn is_echo(world: &World, facts: &Facts, header: &Header) -> bool {
    let ours = facts.sender == world.identity.user;
    ours && header.party_id.as_ref() == Some(&world.party) && world.holds(Guard::EchoIgnored)
}
