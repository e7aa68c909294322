//! Events around group calls (announcements, declines, reactions): whether one is sound, and who in
//! the engine hears of it.
//!
//! Reactions and their removals are heard in the clear in encrypted rooms too: deployed clients
//! write them so, a redaction cannot be encrypted, and an emoji says little. Everything else is
//! as protected as its room wants.

use crate::{
    id::RoomId,
    machine::{
        Engine,
        io::{Ignored, Verdict},
    },
    wire::{
        delivery::{Facts, Place},
        rtc::RtcEvent,
    },
};

impl Engine {
    pub(super) fn on_rtc_event(
        &mut self,
        place: &Place,
        facts: &Facts,
        event: &RtcEvent,
    ) -> Verdict {
        let room = match self.admit_rtc(place, facts, event) {
            Ok(room) => room,
            Err(reason) => return Verdict::Ignored(reason),
        };
        match event {
            RtcEvent::Reaction(reaction) => self.on_reaction(room, facts, reaction),
            RtcEvent::ReactionRemoval(removal) => self.on_reaction_removal(room, facts, removal),
            RtcEvent::Notification(notification) => self.on_ring(room, facts, notification),
            RtcEvent::Decline(decline) => self.on_decline(room, facts, decline),
            RtcEvent::SfuReject(reject) => self.on_sfu_reject(room, facts, reject),
        }
    }

    /// What holds for every event that has an effect, as for call events: it is protected, from
    /// somebody who may speak, and new.
    fn admit_rtc<'a>(
        &mut self,
        place: &'a Place,
        facts: &Facts,
        event: &RtcEvent,
    ) -> Result<&'a RoomId, Ignored> {
        let Place::Room { room, encrypted } = place else { return Err(Ignored::WrongPlace) };
        let world = &self.world;
        let secret = *encrypted || world.is_encrypted(room);
        match event {
            RtcEvent::Reaction(_) | RtcEvent::ReactionRemoval(_) => {}
            RtcEvent::Notification(_) | RtcEvent::Decline(_) | RtcEvent::SfuReject(_) => {
                world.check_protection(secret, facts.protection)?;
            }
        }
        self.check_unignored(&facts.sender)?;
        world.check_inside(room, &facts.sender)?;
        self.check_new(facts)?;
        Ok(room)
    }
}
