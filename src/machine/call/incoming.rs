//! An incoming call: from the invite to our answer, or to our silence.

use super::{
    Call, CallTimer, Party, Phase,
    phase::{Incoming, Step},
};
use crate::{
    id::{DeviceId, RoomId, UserId},
    machine::{
        event::{
            CallDirection, CallSnapshot, CallState, EndReason, MessageKind, MissedWhy, RingStop,
            VoipEvent,
        },
        io::{CallMedia, Refusal, Tell},
        world::World,
    },
    redact::Redacted,
    time::Wall,
    wire::call::{Answer, Body, Header, Invite},
};

/// An invite that may ring: it is for us, alive and new.
#[derive(Debug, Clone)]
pub(in crate::machine) struct Arrival<'a> {
    pub(in crate::machine) room: &'a RoomId,
    pub(in crate::machine) caller: &'a UserId,
    /// From which device, where encryption proves it.
    pub(in crate::machine) device: Option<&'a DeviceId>,
    pub(in crate::machine) header: &'a Header,
    pub(in crate::machine) invite: &'a Invite,
    /// When its lifetime is over.
    pub(in crate::machine) until: Wall,
}

impl Arrival<'_> {
    /// From which device, as it is proven or said; nobody says it for another user's devices.
    pub(in crate::machine) fn calling_device(&self) -> Option<&DeviceId> {
        self.device.or(self.header.device_id.as_ref())
    }

    /// What the caller offers to talk by.
    pub(in crate::machine) fn media(&self) -> CallMedia {
        if self.invite.is_video() { CallMedia::Video } else { CallMedia::Voice }
    }

    /// Reports it as missed, without a session.
    pub(in crate::machine) fn miss(&self, world: &mut World, why: MissedWhy) {
        world.tell(VoipEvent::Missed {
            room: self.room.clone(),
            caller: self.caller.clone(),
            call_id: self.header.call_id.clone(),
            media: self.media(),
            why,
        });
    }
}

impl Call {
    /// A call arrives. It does not ring yet: glare may answer it at once.
    pub(in crate::machine) fn arrive(world: &mut World, arrival: &Arrival<'_>) -> Self {
        let session = world.ids.session();
        let call_id = arrival.header.call_id.clone();
        let ids = (arrival.room.clone(), call_id, world.party.clone());
        let (direction, state) = (CallDirection::Incoming, CallState::Ringing);
        let mut shown = CallSnapshot::new(ids, direction, arrival.media(), state);
        shown.remote_user = Some(arrival.caller.clone());
        shown.remote_party.clone_from(&arrival.header.party_id);
        shown.remote_capabilities = arrival.invite.capabilities;
        let phase = Phase::Incoming(Incoming::Ringing);
        let mut call = Self::new(world, session, shown, phase);
        call.party = Party::Chosen(arrival.header.party_id.clone());
        call.remote_device = arrival.device.cloned();
        call.version = arrival.header.version;
        call.offer = Some(arrival.invite.offer.clone());
        call.remote_candidates.describe(arrival.invite.offer.expose());
        call.streams.set_metadata(arrival.invite.streams.clone());
        call.await_answer(world, CallTimer::Ring, arrival.until);
        world.roster.add(arrival.room, &arrival.header.call_id, session);
        world.roster.add_user(arrival.room, arrival.caller, session);
        world.tell(VoipEvent::CallAdded { session, snapshot: Box::new(call.shown.clone()) });
        // May tell of a hold: nobody hears of a call before it is announced.
        call.learn_from(world, &arrival.invite.offer);
        call
    }

    /// It rings until its lifetime is over. Nothing is captured; TURN credentials are fetched
    /// meanwhile.
    pub(in crate::machine) fn ring(&mut self, world: &mut World, until: Wall) {
        world.roster.set_ringing(self.session, true);
        world.tell(VoipEvent::RingStarted { session: self.session, until });
        self.want_turn(world);
    }

    /// The user takes the call. Again: nothing happens.
    pub(in crate::machine) fn answer(
        &mut self,
        world: &mut World,
        media: Option<CallMedia>,
    ) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Incoming(Incoming::Ringing) => {}
            Phase::Incoming(Incoming::Answering(_)) => return Ok(()),
            Phase::Connecting | Phase::Connected if !self.is_outgoing() => return Ok(()),
            Phase::Outgoing(_) | Phase::Connecting | Phase::Connected => {
                return Err(Refusal::Outgoing);
            }
            Phase::Ended(_) => return Err(self.wrong_state()),
        }
        // Also one that only connects: both would talk in the end.
        if world.roster.other_taken(Some(self.session)) {
            return Err(Refusal::OtherCallConnected);
        }
        self.withdraw_estate(world);
        self.take(world, media);
        Ok(())
    }

    /// A ringing call is being answered from now on.
    pub(super) fn take(&mut self, world: &mut World, media: Option<CallMedia>) {
        self.sending = self.answerable(media.unwrap_or(self.shown.media));
        self.stop_ringing(world, RingStop::Answered);
        self.enter(world, Phase::Incoming(Incoming::Answering(Step::Waiting)));
        self.advance(world);
    }

    /// A picture that was not offered cannot be sent in the answer.
    pub(super) fn answerable(&self, media: CallMedia) -> CallMedia {
        match media {
            CallMedia::Video if self.negotiation.has_video() => CallMedia::Video,
            CallMedia::Video | CallMedia::Voice => CallMedia::Voice,
        }
    }

    /// The user wants to hear nothing of this caller any more: as if he had silently rejected.
    pub(in crate::machine) fn fall_silent(&mut self, world: &mut World) {
        self.end_by_reject(world, Tell::Nobody);
    }

    /// The user refuses the call.
    pub(super) fn reject(&mut self, world: &mut World, tell: Tell) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Incoming(Incoming::Ringing) => {}
            Phase::Outgoing(_) => return Err(Refusal::Outgoing),
            Phase::Incoming(Incoming::Answering(_)) | Phase::Connecting | Phase::Connected => {
                return Err(self.wrong_state());
            }
            Phase::Ended(_) => return Err(self.wrong_state()),
        }
        self.withdraw_estate(world);
        self.end_by_reject(world, tell);
        Ok(())
    }

    /// The lifetime is over: we stop silently, the caller hangs up (T-15).
    pub(super) fn on_ring_expired(&mut self, world: &mut World) {
        // Also while the answer is still being made: it would come too late.
        if let Phase::Incoming(_) = self.phase {
            self.end_by_them(world, EndReason::InviteTimeout);
        }
    }

    /// The answer is ready and leaves.
    pub(super) fn send_answer(&mut self, world: &mut World, sdp: Redacted) {
        let capabilities = self.capabilities(world, &sdp);
        let answer = Answer { sdp, capabilities, streams: Some(self.told.clone()) };
        self.negotiation.answered();
        self.await_answer_no_more(world);
        self.begin_connecting(world);
        self.send(world, MessageKind::Answer, Body::Answer(answer));
        // What was wanted while the answer was made.
        self.negotiate(world);
    }

    pub(super) fn stop_ringing(&mut self, world: &mut World, why: RingStop) {
        if world.roster.is_ringing(self.session) {
            world.roster.set_ringing(self.session, false);
            world.tell(VoipEvent::RingStopped { session: self.session, why });
        }
    }
}
