//! Messages about media keys, and whose is believed (T-24).
//!
//! A message is bound on all sides: to a call that we are in, to a sender who is in the room, to the device
//! that Olm proves in an encrypted room, to a membership, and to the ring.

use super::heard::Heard;
use crate::{
    id::{DeviceId, SessionId},
    machine::{
        Engine,
        guard::Guard,
        io::{Ignored, ParticipantId, Verdict},
    },
    wire::{
        delivery::{Facts, Protection},
        keys::{KeyBody, KeyMessage, MediaKey},
    },
};

impl Engine {
    /// What a member sends cannot be read: perhaps his key did not arrive.
    pub(super) fn miss_key(&mut self, session: SessionId, member: &ParticipantId) -> Verdict {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        if !call.keys.heard.miss(now, member) {
            return Verdict::Ignored(Ignored::NoChange);
        }
        self.go_on_with_keys(session);
        Verdict::Handled
    }

    /// Judges a to-device message about keys.
    pub(super) fn on_key_message(&mut self, facts: &Facts, message: &KeyMessage) -> Verdict {
        let (session, member) = match self.check_key_message(facts, message) {
            Ok(found) => found,
            Err(reason) => return Verdict::Ignored(reason),
        };
        let verdict = match &message.body {
            KeyBody::Keys(keys) => self.hear_keys(session, &member, keys),
            KeyBody::Request => self.on_key_request(session, &member),
        };
        self.go_on_with_keys(session);
        verdict
    }

    /// What came in the clear, perhaps in a room that is not encrypted, is asked for when that is known.
    pub(super) fn note_unbelieved(&mut self, facts: &Facts, message: &KeyMessage) {
        let (user, device) = (facts.sender.clone(), message.device.clone());
        let member = [ParticipantId { user, device }].into();
        for session in self.groups.sessions_of(&message.room) {
            if let Some(call) = self.groups.calls.get_mut(&session) {
                call.keys.heard.on_unsent(&member);
            }
        }
    }

    fn check_key_message(
        &self,
        facts: &Facts,
        message: &KeyMessage,
    ) -> Result<(SessionId, ParticipantId), Ignored> {
        let world = &self.world;
        let of_id = self.groups.of_room(&message.room);
        let mut of_id = of_id.filter(|call| call.shown.call.call_id == message.conf_id);
        let call = of_id.find(|call| call.is_wanted()).ok_or(Ignored::NoConference)?;
        let member =
            ParticipantId { user: facts.sender.clone(), device: self.key_device(facts, message)? };
        if member == self.ourselves() {
            return Err(Ignored::Echo);
        }
        if !call.keys.ring.is_active() {
            return Err(Ignored::KeysOff);
        }
        world.check_protection(world.may_be_encrypted(&message.room), facts.protection)?;
        world.check_inside(&message.room, &facts.sender)?;
        self.check_unignored(&facts.sender)?;
        Ok((call.session, member))
    }

    /// From which device a message is: as Olm proves it, which must be as it says.
    fn key_device(&self, facts: &Facts, message: &KeyMessage) -> Result<DeviceId, Ignored> {
        match &facts.device {
            Some(proven) if *proven == message.device => Ok(proven.clone()),
            Some(_) if self.world.holds(Guard::KeyDeviceBound) => Err(Ignored::WrongDevice),
            Some(_) => Ok(message.device.clone()),
            // In the clear nothing is proven, which is refused where it could be. What was encrypted
            // and has no device that could be named proves nothing either.
            None if facts.protection == Protection::Clear => Ok(message.device.clone()),
            None if self.world.holds(Guard::KeyDeviceBound) => Err(Ignored::WrongDevice),
            None => Ok(message.device.clone()),
        }
    }

    fn hear_keys(
        &mut self,
        session: SessionId,
        member: &ParticipantId,
        keys: &[MediaKey],
    ) -> Verdict {
        let mut verdict = Verdict::Ignored(Ignored::OutsideRing);
        for key in keys {
            match self.take_key(session, member, key.clone()) {
                Ok(()) => verdict = Verdict::Handled,
                Err(reason) if verdict != Verdict::Handled => verdict = Verdict::Ignored(reason),
                Err(_) => {}
            }
        }
        verdict
    }

    fn take_key(
        &mut self,
        session: SessionId,
        member: &ParticipantId,
        key: MediaKey,
    ) -> Result<(), Ignored> {
        let now = self.world.now.mono;
        let call = self.groups.calls.get_mut(&session).ok_or(Ignored::NoConference)?;
        let Some(profile) = call.keys.profile else { return Err(Ignored::KeysOff) };
        let inside = u16::from(key.index) < profile.ring_size;
        if !inside && self.world.holds(Guard::KeyInRing) {
            return Err(Ignored::OutsideRing);
        }
        call.keys.heard.forget_early(now, self.world.config.timeouts.parked);
        match call.keys.heard.hear(now, member, &key) {
            Heard::New => {}
            Heard::Known if self.world.holds(Guard::DuplicateIgnored) => {
                return Err(Ignored::Duplicate);
            }
            Heard::Parked if self.world.holds(Guard::KeysOfMembers) => return Err(Ignored::Parked),
            Heard::TooMany => return Err(Ignored::TooMany),
            Heard::Known | Heard::Parked => {}
        }
        call.keys.giving.wait(now, member, key);
        Ok(())
    }

    fn on_key_request(&mut self, session: SessionId, member: &ParticipantId) -> Verdict {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        if call.shares_keys(member).is_some() {
            let answered = call.keys.ring.on_request(now, member);
            return if answered { Verdict::Handled } else { Verdict::Ignored(Ignored::TooMany) };
        }
        if !self.world.holds(Guard::KeysOfMembers) {
            let timeouts = &self.world.config.timeouts;
            call.keys.ring.on_present(now, (member, None), timeouts);
            return Verdict::Handled;
        }
        // Who is about to be a member gets it as one: his membership is looked for (T-25).
        let room = call.shown.room.clone();
        self.groups.read_again(&mut self.world, &room);
        Verdict::Ignored(Ignored::NoMembership)
    }
}
