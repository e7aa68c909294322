//! To-device messages: which leg of which group call each is for, and whether it may be heard.
//!
//! A message is bound on all sides before it is believed (T-38): to the room and the group call that it
//! names, to the visit of ours that it is for, to the sender, to his device (which Olm proves in an
//! encrypted room), and to the visit of his that stands in the room's state. Of whoever has no
//! membership yet a little is kept: his membership may be on its way.

use super::{
    GroupCall,
    event::GroupEvent,
    mesh::{Parked, Seat},
    roster::Participant,
};
use crate::{
    config::Unverified,
    id::{DeviceId, RoomId, SessionId, UserId},
    machine::{
        Engine,
        call::{Call, leg::LegInvite},
        event::EndReason,
        guard::Guard,
        io::{Ignored, ParticipantId, Verdict},
    },
    time::Mono,
    wire::{
        call::{Body, CallMessage, Header, Invite, Leg},
        delivery::{Content, Facts, Malformed, Parsed, Protection},
        member::{Backend, Dialect},
    },
};

/// A message that is for a group call of ours.
struct Signal<'a> {
    group: SessionId,
    member: ParticipantId,
    facts: &'a Facts,
    message: &'a CallMessage,
    /// When it came.
    since: Mono,
}

/// In which room a message says that it belongs.
fn room_said(event: &Parsed) -> Option<RoomId> {
    match event.event.as_ref().ok()? {
        Content::Call(message) => message.header.leg.as_ref()?.room_id.clone(),
        Content::Key(message) => Some(message.room.clone()),
        Content::Rtc(_) => None,
    }
}

impl Engine {
    /// Judges a to-device message.
    pub(in crate::machine) fn on_to_device(&mut self, event: &Parsed) -> Verdict {
        let verdict = match &event.event {
            Ok(Content::Key(message)) => self.on_key_message(&event.facts, message),
            Ok(_) | Err(_) => match self.check_signal(event) {
                Ok(signal) => self.on_signal(signal),
                Err(reason) => Verdict::Ignored(reason),
            },
        };
        // Perhaps the room is not encrypted: what is read says so, and the message comes once more.
        let clear = verdict == Verdict::Ignored(Ignored::PlaintextInEncryptedRoom);
        if let Some(room) = room_said(event).filter(|room| clear && !self.world.is_encrypted(room))
        {
            if let Ok(Content::Key(message)) = &event.event {
                self.note_unbelieved(&event.facts, message);
            }
            self.groups.read_again(&mut self.world, &room);
        }
        verdict
    }

    fn check_signal<'a>(&mut self, event: &'a Parsed) -> Result<Signal<'a>, Ignored> {
        let content = event.event.as_ref().map_err(|fault| match fault {
            Malformed::Missing("room_id") => Ignored::NoRoom,
            Malformed::Missing("conf_id") => Ignored::NoConference,
            Malformed::NotAnObject
            | Malformed::Missing(_)
            | Malformed::Wrong(_)
            | Malformed::TooLarge(_) => Ignored::Malformed,
        })?;
        let message = match content {
            Content::Call(message) => message,
            // Said in rooms alone.
            Content::Rtc(_) => return Err(Ignored::WrongPlace),
            // Judged before.
            Content::Key(_) => return Err(Ignored::NoChange),
        };
        let leg = message.header.leg.as_ref().ok_or(Ignored::NoConference)?;
        let facts = &event.facts;
        let room = match &leg.room_id {
            Some(room) => room.clone(),
            None => self.room_of(leg).ok_or(Ignored::NoRoom)?,
        };
        let group = self.addressed(&room, leg)?;
        let device = self.speaking_device(group, facts, &message.header);
        let device = device.ok_or(Ignored::NoDevice)?;
        let member = ParticipantId { user: facts.sender.clone(), device };
        if member == self.ourselves() {
            return Err(Ignored::Echo);
        }
        self.check_speaker(&room, group, (facts, &message.header))?;
        Ok(Signal { group, member, facts, message, since: self.world.now.mono })
    }

    /// Whether whoever sent a message may be heard at all.
    fn check_speaker(
        &self,
        room: &RoomId,
        group: SessionId,
        (facts, header): (&Facts, &Header),
    ) -> Result<(), Ignored> {
        let world = &self.world;
        world.check_protection(world.may_be_encrypted(room), facts.protection)?;
        world.check_inside(room, &facts.sender)?;
        // Whoever is in a leg with us may go on there, and say goodbye.
        match self.seat_of(group, &facts.sender, header) {
            Some(_) => Ok(()),
            None => self.check_unignored(&facts.sender),
        }
    }

    /// The seat of this user whose leg is the call that a message speaks of.
    fn seat_of(&self, group: SessionId, user: &UserId, header: &Header) -> Option<&Seat> {
        let call = self.groups.calls.get(&group)?;
        let mut seats = call.mesh.seats().filter(|seat| seat.member.user == *user);
        seats.find(|seat| seat.is_of(&header.call_id))
    }

    /// The room of a message that names none, as matrix-js-sdk sends them: ids of its calls are in one
    /// room alone.
    fn room_of(&self, leg: &Leg) -> Option<RoomId> {
        // What others call so elsewhere is no matter, as long as we are not in it.
        let wanted = self.groups.calls.values().filter(|call| call.is_wanted());
        let of_id = wanted.map(GroupCall::shown).filter(|shown| {
            shown.backend == Backend::Msc3401Mesh && shown.call.call_id == leg.conf_id
        });
        let mut rooms = of_id.map(|shown| &shown.room);
        let room = rooms.next()?;
        rooms.next().is_none().then(|| room.clone())
    }

    /// The group call that a message is for: one that we are in, by the visit that it names.
    fn addressed(&mut self, room: &RoomId, leg: &Leg) -> Result<SessionId, Ignored> {
        let of_id = self.groups.of_room(room).filter(|call| call.shown.call.call_id == leg.conf_id);
        let of_id = of_id.filter(|call| call.is_wanted());
        let calls: Vec<_> = of_id.map(|call| (call.session, call.shown.call.clone())).collect();
        let first = calls.first().ok_or(Ignored::NoConference)?.0;
        let ours = &self.groups.room(room).ours;
        let visit = |call| ours.visit(call).map(|visit| &visit.session);
        let named = calls.iter().find(|(_, call)| visit(call) == leg.dest_session_id.as_ref());
        match named {
            Some((session, _)) => Ok(*session),
            None if !self.world.holds(Guard::OurSessionBound) => Ok(first),
            None => Err(Ignored::WrongSession),
        }
    }

    /// From which device a message is: as Olm proves it, else as it says, else the one with which its
    /// call is.
    fn speaking_device(
        &self,
        group: SessionId,
        facts: &Facts,
        header: &Header,
    ) -> Option<DeviceId> {
        let said = facts.device.as_ref().or(header.device_id.as_ref());
        let of_call = || Some(&self.seat_of(group, &facts.sender, header)?.member.device);
        said.or_else(of_call).cloned()
    }

    fn on_signal(&mut self, signal: Signal<'_>) -> Verdict {
        let Some(call) = self.groups.calls.get(&signal.group) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        let leg = signal.message.header.leg.as_ref();
        let said = leg.and_then(|leg| leg.sender_session_id.as_ref());
        let present = call.reachable(&signal.member).cloned();
        let bound = |one: &Participant| {
            one.session.is_none()
                || one.session.as_ref() == said
                || !self.world.holds(Guard::TheirSessionBound)
        };
        match present {
            Some(present) if bound(&present) => self.hear(signal, &present),
            // His call goes on as the visit that stands in the room.
            Some(_) if self.is_call_of(&signal) => Verdict::Ignored(Ignored::WrongSession),
            None if !self.world.holds(Guard::MembersHeard) => self.hear_anybody(signal),
            Some(_) | None => self.park_signal(&signal),
        }
    }

    /// Without `Guard::MembersHeard`: as if he were there as he says.
    fn hear_anybody(&mut self, signal: Signal<'_>) -> Verdict {
        let leg = signal.message.header.leg.as_ref();
        let session = leg.and_then(|leg| leg.sender_session_id.clone());
        let present = Participant {
            id: signal.member.clone(),
            session,
            application: String::new(),
            backend: Backend::Mesh,
            feeds: Vec::new(),
            since: self.world.now.wall,
            dialect: Dialect::Famedly,
        };
        self.hear(signal, &present)
    }

    fn is_call_of(&self, signal: &Signal<'_>) -> bool {
        let seat = self.groups.calls.get(&signal.group);
        let seat = seat.and_then(|call| call.mesh.seat(&signal.member));
        seat.is_some_and(|seat| seat.is_of(&signal.message.header.call_id))
    }

    /// Keeps a message for what it waits for: a membership, or the invite that it follows.
    fn park_signal(&mut self, signal: &Signal<'_>) -> Verdict {
        let (now, patience) = (self.world.now.mono, self.world.config.timeouts.parked);
        let Some(call) = self.groups.calls.get_mut(&signal.group) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        call.mesh.forget_parked(now, patience);
        let (facts, message) = (signal.facts.clone(), signal.message.clone());
        let parked = Parked { since: signal.since, facts, message };
        let kept = call.mesh.park(&signal.member, parked);
        Verdict::Ignored(if kept { Ignored::Parked } else { Ignored::TooMany })
    }

    /// What waited for this member's membership, or for his invite, is heard now.
    pub(super) fn hear_parked(&mut self, group: SessionId, member: &ParticipantId) {
        let (now, patience) = (self.world.now.mono, self.world.config.timeouts.parked);
        let Some(call) = self.groups.calls.get_mut(&group) else { return };
        call.mesh.forget_parked(now, patience);
        let room = call.shown.room.clone();
        for Parked { since, facts, message } in call.mesh.take_parked(member) {
            // What holds may be otherwise than when it came.
            if self.check_speaker(&room, group, (&facts, &message.header)).is_err() {
                continue;
            }
            let member = member.clone();
            self.on_signal(Signal { group, member, facts: &facts, message: &message, since });
        }
    }

    /// A member says something.
    fn hear(&mut self, signal: Signal<'_>, present: &Participant) -> Verdict {
        let Some(call) = self.groups.calls.get_mut(&signal.group) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        let header = &signal.message.header;
        // Nobody is transferred out of a group call.
        if let Body::Replaces(_) = signal.message.body {
            return Verdict::Ignored(Ignored::Unsupported);
        }
        let number = header.leg.as_ref().and_then(|leg| leg.seq);
        let seat = call.mesh.seat_mut(&signal.member);
        if let Some(leg) = seat.leg.as_mut().filter(|leg| leg.call == header.call_id) {
            if !leg.is_new(number) && self.world.holds(Guard::DuplicateIgnored) {
                return Verdict::Ignored(Ignored::Duplicate);
            }
            let session = leg.session;
            return self.hear_on_leg(session, &signal);
        }
        if seat.is_over(&header.call_id) && self.world.holds(Guard::OverStaysOver) {
            return Verdict::Ignored(Ignored::AlreadyOver);
        }
        match &signal.message.body {
            Body::Invite(invite) => self.on_leg_invite(&signal, invite, present),
            Body::Candidates(_)
            | Body::Answer(_)
            | Body::SelectAnswer { .. }
            | Body::Reject { .. }
            | Body::Hangup { .. }
            | Body::Negotiate(_)
            | Body::MetadataChanged(_)
            | Body::AssertedIdentity(_)
            | Body::Replaces(_) => self.park_signal(&signal),
        }
    }

    fn hear_on_leg(&mut self, leg: SessionId, signal: &Signal<'_>) -> Verdict {
        let (facts, message) = (signal.facts, signal.message.clone());
        let answers = matches!(message.body, Body::Answer(_));
        let verdict = self.with(leg, |call, world| call.on_message(world, facts, message));
        let verdict = verdict.unwrap_or(Verdict::Ignored(Ignored::UnknownCall));
        if answers && verdict == Verdict::Handled {
            self.warn_of_unverified_member(signal.group, signal.facts);
        }
        verdict
    }

    fn on_leg_invite(
        &mut self,
        signal: &Signal<'_>,
        invite: &Invite,
        present: &Participant,
    ) -> Verdict {
        let Signal { group, member, facts, message, since } = signal;
        let waited = self.world.now.mono.since(*since);
        let lifetime = invite.lifetime.min(self.world.config.timeouts.longest_invite);
        if let Err(reason) = self.check_leg_invite(*group, member, invite) {
            return Verdict::Ignored(reason);
        }
        if !self.make_place(*group, member) {
            // As long as it is alive a place may become free.
            self.park_signal(signal);
            return Verdict::Ignored(Ignored::TooMany);
        }
        if waited >= lifetime && self.world.holds(Guard::InviteExpires) {
            return Verdict::Ignored(Ignored::Expired);
        }
        let until = self.world.now.wall.plus(lifetime.saturating_sub(waited));
        self.drop_leg(*group, member, EndReason::Replaced);
        let Some(place) = self.leg_place(*group, present) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        let Some(call) = self.groups.calls.get(group) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        let arrived = LegInvite { header: &message.header, invite, until };
        let leg = Call::arrive_leg(&mut self.world, place, call.media.local(), arrived);
        let number = message.header.leg.as_ref().and_then(|leg| leg.seq);
        self.keep_leg(*group, member, (leg, number));
        self.warn_of_unverified_member(*group, facts);
        self.hear_parked(*group, member);
        Verdict::Handled
    }

    /// Whether an invite is for us, and from whom we are to be called.
    fn check_leg_invite(
        &self,
        group: SessionId,
        member: &ParticipantId,
        invite: &Invite,
    ) -> Result<(), Ignored> {
        let (world, ours) = (&self.world, self.ourselves());
        let another = |user: &UserId| *user != ours.user;
        if invite.invitee.as_ref().is_some_and(another) && world.holds(Guard::InviteeObeyed) {
            return Err(Ignored::NotForUs);
        }
        let other_device = invite.invitee_device.as_ref().is_some_and(|it| *it != ours.device);
        if other_device && world.holds(Guard::InviteeDeviceObeyed) {
            return Err(Ignored::NotForUs);
        }
        if !world.is_sound(&invite.offer) {
            return Err(Ignored::Malformed);
        }
        let call = self.groups.calls.get(&group).ok_or(Ignored::NoConference)?;
        if call.calls(&ours, member) && world.holds(Guard::SmallerCalls) {
            return Err(Ignored::WrongDirection);
        }
        Ok(())
    }

    /// An invite or answer that counts came from a device that is not verified.
    fn warn_of_unverified_member(&mut self, session: SessionId, facts: &Facts) {
        let warns = self.world.config.unverified == Unverified::Warn;
        if warns && facts.protection == Protection::Unverified {
            self.tell_group(session, GroupEvent::UnverifiedDevice(facts.sender.clone()));
        }
    }
}
