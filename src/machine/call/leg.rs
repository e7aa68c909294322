//! A call as one leg of a group call: between two devices that are in it, over to-device messages.
//!
//! Everything that a call does it does as a leg too. What differs: nobody rings, the media is the
//! group call's ([`lend`](Call::lend)), what happens is told to the group call, and no index knows of
//! it, so that an event of a room never finds it.

use super::{Call, CallTimer, Party, Phase, media::LocalMedia, phase};
use crate::{
    config::WireForm,
    id::{CallId, RoomId, SessionId},
    machine::{
        event::{CallDirection, CallEvent, CallSnapshot, CallState},
        fingerprint::Fingerprint,
        io::{CallMedia, Fault, ParticipantId, Reply, Slot},
        world::World,
    },
    time::Wall,
    wire::call::{Header, Invite, Leg},
};

/// Between whom a leg is, and how its messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct Place {
    /// The group call's session.
    pub(in crate::machine) group: SessionId,
    pub(in crate::machine) room: RoomId,
    /// With whom.
    pub(in crate::machine) member: ParticipantId,
    pub(in crate::machine) form: WireForm,
    pub(in crate::machine) conf_id: String,
    /// Our visit.
    pub(in crate::machine) ours: String,
    /// Theirs, where their membership names one.
    pub(in crate::machine) theirs: Option<String>,
}

/// What a call knows of being a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LegState {
    pub(super) place: Place,
    /// How many of our messages were numbered.
    sent: u64,
}

/// News of a leg for its group call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct LegNews {
    pub(in crate::machine) group: SessionId,
    pub(in crate::machine) leg: SessionId,
    pub(in crate::machine) member: ParticipantId,
    pub(in crate::machine) event: CallEvent,
}

impl LegState {
    /// Takes the next number: a reader waits for numbers that are missing.
    pub(super) fn number(&mut self) -> u64 {
        self.sent += 1;
        self.sent - 1
    }

    /// What every message of the leg says besides what calls say.
    pub(super) fn header(&self) -> Leg {
        let Place { form, conf_id, room, ours, theirs, .. } = &self.place;
        Leg {
            form: *form,
            conf_id: conf_id.clone(),
            room_id: Some(room.clone()),
            dest_session_id: theirs.clone(),
            sender_session_id: Some(ours.clone()),
            seq: None,
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        let Place { group, member, form, conf_id, ours, theirs, .. } = &self.place;
        print.session(*group);
        print.value((member, form, conf_id, ours, theirs, self.sent));
    }
}

/// An invite to a leg.
#[derive(Debug, Clone, Copy)]
pub(in crate::machine) struct LegInvite<'a> {
    pub(in crate::machine) header: &'a Header,
    pub(in crate::machine) invite: &'a Invite,
    /// When its lifetime is over.
    pub(in crate::machine) until: Wall,
}

impl Call {
    /// We call a member. `sharing`: he shows his screen, which our offer then has a line for.
    pub(in crate::machine) fn place_leg(
        world: &mut World,
        place: Place,
        media: &LocalMedia,
        sharing: bool,
    ) -> Self {
        let call_id = world.ids.call();
        let outgoing = Phase::Outgoing(phase::Outgoing::Preparing(phase::Step::Waiting));
        let mut call = Self::leg(world, place, (CallDirection::Outgoing, call_id), outgoing);
        // Also without sources of ours: theirs are to be seen.
        call.negotiation.want_line(Slot::Video);
        if sharing {
            call.negotiation.want_line(Slot::Screen);
        }
        call.media = media.lent();
        call.want_turn(world);
        call.advance(world);
        call
    }

    /// A member calls us: he is answered at once.
    pub(in crate::machine) fn arrive_leg(
        world: &mut World,
        place: Place,
        media: &LocalMedia,
        arrived: LegInvite<'_>,
    ) -> Self {
        let LegInvite { header, invite, until } = arrived;
        let incoming = Phase::Incoming(phase::Incoming::Ringing);
        let ids = (CallDirection::Incoming, header.call_id.clone());
        let mut call = Self::leg(world, place, ids, incoming);
        call.shown.remote_party.clone_from(&header.party_id);
        call.shown.remote_capabilities = invite.capabilities;
        call.party = Party::Chosen(header.party_id.clone());
        call.version = header.version;
        call.offer = Some(invite.offer.clone());
        call.remote_candidates.describe(invite.offer.expose());
        call.streams.set_metadata(invite.streams.clone());
        call.media = media.lent();
        call.await_answer(world, CallTimer::Ring, until);
        call.learn_from(world, &invite.offer);
        call.want_turn(world);
        call.take(world, None);
        call
    }

    fn leg(
        world: &mut World,
        place: Place,
        (direction, call_id): (CallDirection, CallId),
        phase: Phase,
    ) -> Self {
        let session = world.ids.session();
        let ids = (place.room.clone(), call_id, world.party.clone());
        let state = match direction {
            CallDirection::Outgoing => CallState::Preparing,
            CallDirection::Incoming => CallState::Ringing,
        };
        let mut shown = CallSnapshot::new(ids, direction, CallMedia::Video, state);
        shown.remote_user = Some(place.member.user.clone());
        let mut call = Self::new(world, session, shown, phase);
        call.gate = super::Gate::Open;
        call.callee_device = Some(place.member.device.clone());
        call.remote_device = Some(place.member.device.clone());
        call.leg = Some(Box::new(LegState { place, sent: 0 }));
        call
    }

    /// Whether it is a leg; then of what.
    pub(in crate::machine) fn leg_place(&self) -> Option<&Place> {
        self.leg.as_ref().map(|leg| &leg.place)
    }

    /// From now on it sends this: what the group call has open.
    pub(in crate::machine) fn lend(&mut self, world: &mut World, media: &LocalMedia) {
        if self.phase.is_ended() {
            return;
        }
        self.media = media.lent();
        self.refresh_streams(world);
        self.advance(world);
        self.want_negotiation(world);
        self.sync_metadata(world);
    }

    /// Other keys of the member's devices are known: what could not be encrypted is tried again.
    pub(in crate::machine) fn on_device_keys(&mut self, world: &mut World) {
        self.send_again(world);
    }
}

/// What became of a message to a device: one without keys got nothing.
pub(super) fn reached(result: Result<Reply, Fault>) -> Result<(), Fault> {
    match result? {
        Reply::ToDevice(unreached) if !unreached.is_empty() => Err(Fault::NoDeviceKeys),
        Reply::ToDevice(_) | Reply::Sent(_) => Ok(()),
        // The host answers something else than it was asked.
        Reply::Done | Reply::Turn(_) | Reply::Members(_) | Reply::State(_) => {
            Err(Fault::Unsupported)
        }
        Reply::Description(_) | Reply::Stats(_) | Reply::Scheduled(_) | Reply::Delayed(_) => {
            Err(Fault::Unsupported)
        }
        Reply::OpenId(_) | Reply::SfuToken(_) | Reply::Transports(_) => Err(Fault::Unsupported),
        Reply::KeyMaterial(_) | Reply::Key(_) => Err(Fault::Unsupported),
    }
}
