//! Whether an invite may ring: is it for us, honest and alive, and what is there beside it?

use super::batch::{Candidacy, Later};
use crate::{
    config::Busy,
    id::{SessionId, UserId},
    machine::{
        Engine, Service,
        bounds::{MAX_PARTINGS, MAX_RINGING_PER_CALLER},
        call::{Arrival, Call, estate::Estate},
        crossing::Settled,
        event::MissedWhy,
        expected::Caller,
        guard::Guard,
        io::{Ignored, Verdict},
        memory::Foreign,
    },
    time::Wall,
    wire::{
        call::{Body, Reason, Version},
        ledger::LiveCall,
    },
};

impl Engine {
    pub(super) fn on_invite(&mut self, candidacy: Candidacy<'_>, later: Later<'_>) -> Verdict {
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
        match self.settle_glare(arrival) {
            Some(Settled::Lost) => {
                self.part(arrival, Body::Hangup { reason: Some(Reason::Replaced) });
                return Verdict::Ignored(Ignored::LostGlare);
            }
            Some(Settled::Won(estate)) => return self.take_over(arrival, *estate),
            None => {}
        }
        if let Some(estate) = self.vacancy_for(arrival) {
            let at_once = self.may_take_over();
            return self.take_over(arrival, at_once.then_some(estate));
        }
        if self.is_busy_for(arrival) && self.turns_away(arrival) {
            return Verdict::Ignored(Ignored::Busy);
        }
        self.let_ring(arrival)
    }

    fn is_busy_for(&mut self, arrival: &Arrival<'_>) -> bool {
        let expected = self.is_expected(arrival);
        // Who is about to talk with us and calls once more lost glare, and says so in a moment.
        let roster = &self.world.roster;
        let again = !roster.answered_with(arrival.room, arrival.caller).is_empty();
        let talks = roster.other_connected(None) || self.groups.talking().next().is_some();
        let busy = (talks || again) && !expected;
        busy && self.world.holds(Guard::BusyObeyed)
    }

    /// Does what the policy says of whoever calls while the user talks; `false`: he may ring.
    fn turns_away(&mut self, arrival: &Arrival<'_>) -> bool {
        match self.world.config.busy {
            Busy::Ring => return false,
            Busy::Ignore => {
                self.note_over(arrival);
                arrival.miss(&mut self.world, MissedWhy::Busy);
            }
            Busy::Reject => {
                arrival.miss(&mut self.world, MissedWhy::Busy);
                self.part(arrival, refusal(arrival.header.version));
            }
        }
        true
    }

    fn let_ring(&mut self, arrival: &Arrival<'_>) -> Verdict {
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
        let left = match world.holds(Guard::VacancyBound) {
            true => world.vacant.take(arrival.room, arrival.caller, world.now),
            false => world.vacant.take_for_anybody(arrival.room, world.now),
        };
        left.filter(|estate| estate.is_for(arrival.calling_device()))
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

    pub(in crate::machine) fn ring(&mut self, session: SessionId, until: Wall) {
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
}

/// "Busy", in the words that the caller knows.
fn refusal(version: Version) -> Body {
    let reason = Some(Reason::UserBusy);
    match version {
        Version::V1 => Body::Reject { reason },
        Version::V0 => Body::Hangup { reason },
    }
}
