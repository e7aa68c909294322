//! An outgoing call: from the command to the chosen answer.

use std::collections::BTreeSet;

use super::{
    Ask, Call, CallTimer, Party, Phase,
    phase::{Outgoing, Step},
};
use crate::{
    id::{CallId, DeviceId, PartyId, RoomId, UserId},
    machine::{
        event::{
            CallDirection, CallEvent, CallSnapshot, CallState, EndReason, MessageKind, VoipEvent,
        },
        guard::Guard,
        io::{CallMedia, Callee, Fault, Fetch, Ignored, Op, Reply, Slot, Verdict},
        world::World,
    },
    redact::Redacted,
    sdp,
    wire::{
        call::{Answer, Body, Capabilities, Header, Invite},
        delivery::Facts,
    },
};

impl Call {
    /// Places a call: it exists from now on, and begins as soon as it may. A transfer names its
    /// id.
    pub(in crate::machine) fn place(
        world: &mut World,
        room: RoomId,
        callee: Callee,
        media: CallMedia,
        id: Option<CallId>,
    ) -> Self {
        let session = world.ids.session();
        let (user, device) = named(callee);
        let id = id.unwrap_or_else(|| world.ids.call());
        let ids = (room, id, world.party.clone());
        let (direction, state) = (CallDirection::Outgoing, CallState::Preparing);
        let mut shown = CallSnapshot::new(ids, direction, media, state);
        shown.remote_user.clone_from(&user);
        let phase = Phase::Outgoing(Outgoing::Preparing(Step::Waiting));
        let mut call = Self::new(world, session, shown, phase);
        call.callee_device = device;
        if media == CallMedia::Video {
            // Also without a camera of ours: theirs is to be seen.
            call.negotiation.want_line(Slot::Video);
        }
        world.roster.add(&call.shown.room, &call.shown.call_id, session);
        world.tell(VoipEvent::CallAdded { session, snapshot: Box::new(call.shown.clone()) });
        match user {
            Some(user) => {
                world.roster.add_user(&call.shown.room, &user, session);
                call.withdraw_estate(world);
            }
            None => call.find_callee(world),
        }
        call.advance(world);
        call
    }

    /// Looks up the only other member of the room.
    fn find_callee(&mut self, world: &mut World) {
        let known = world.rooms.get(&self.shown.room).and_then(|facts| facts.members.clone());
        match known {
            Some(members) => self.on_callee(world, &members),
            None => {
                let fetch = Op::Fetch(Fetch::Members(self.shown.room.clone()));
                self.ask(world, Ask::Members, fetch);
            }
        }
    }

    pub(super) fn on_members(&mut self, world: &mut World, result: Result<Reply, Fault>) {
        match result {
            Ok(Reply::Members(members)) => self.on_callee(world, &members),
            Err(Fault::LoggedOut) => self.fail(world, EndReason::LoggedOut),
            Ok(_) | Err(_) => self.fail(world, EndReason::NoCallee),
        }
    }

    fn on_callee(&mut self, world: &mut World, members: &BTreeSet<UserId>) {
        let mut others = members.iter().filter(|user| **user != world.identity.user);
        let (Some(user), None) = (others.next().cloned(), others.next()) else {
            return self.fail(world, EndReason::NoCallee);
        };
        world.roster.add_user(&self.shown.room, &user, self.session);
        self.tell(world, CallEvent::CalleeFound(user));
        self.withdraw_estate(world);
        self.advance(world);
    }

    /// The offer is ready: the invite leaves, and its lifetime begins.
    pub(super) fn send_invite(&mut self, world: &mut World, offer: Redacted) {
        let lifetime = world.config.timeouts.invite;
        let capabilities = self.capabilities(world, &offer);
        let invite = Invite {
            offer,
            lifetime,
            invitee: self.remote_user().cloned(),
            invitee_device: self.callee_device.clone(),
            capabilities,
            streams: Some(self.told.clone()),
        };
        self.await_answer(world, CallTimer::Invite, world.now.wall.plus(lifetime));
        self.enter(world, Phase::Outgoing(Outgoing::Inviting));
        self.send(world, MessageKind::Invite, Body::Invite(invite));
    }

    /// The homeserver has the invite: from now on it rings there.
    pub(super) fn on_invite_accepted(&mut self, world: &mut World) {
        if self.phase == Phase::Outgoing(Outgoing::Inviting) {
            let until = world.now.wall.plus(world.config.timeouts.invite);
            self.await_answer(world, CallTimer::Invite, until);
            self.enter(world, Phase::Outgoing(Outgoing::InviteSent));
        }
    }

    pub(super) fn on_invite_expired(&mut self, world: &mut World) {
        match self.phase {
            Phase::Outgoing(Outgoing::InviteSent) => self.fail(world, EndReason::InviteTimeout),
            Phase::Outgoing(Outgoing::Inviting) => self.fail(world, EndReason::SignallingFailed),
            Phase::Outgoing(Outgoing::Preparing(_))
            | Phase::Incoming(_)
            | Phase::Connecting
            | Phase::Connected
            | Phase::Ended(_) => {}
        }
    }

    /// The first answer wins: its party is chosen, the others are told.
    pub(super) fn on_answer(
        &mut self,
        world: &mut World,
        (facts, header): (&Facts, &Header),
        answer: &Answer,
    ) -> Verdict {
        if !self.is_outgoing() && world.holds(Guard::DirectionBound) {
            return Verdict::Ignored(Ignored::WrongDirection);
        }
        match &self.phase {
            Phase::Outgoing(Outgoing::Preparing(_)) if world.holds(Guard::UnsentUnheard) => {
                return Verdict::Ignored(Ignored::WrongState);
            }
            Phase::Connecting | Phase::Connected if world.holds(Guard::FirstAnswerWins) => {
                let same = self.party == Party::Chosen(header.party_id.clone());
                let reason = if same { Ignored::Duplicate } else { Ignored::WrongParty };
                return Verdict::Ignored(reason);
            }
            Phase::Ended(_) => return Verdict::Ignored(Ignored::WrongState),
            // An incoming call was turned away above.
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Connecting | Phase::Connected => {}
        }
        // Another device may still answer with something that can be used.
        if !world.is_sound(&answer.sdp) {
            return Verdict::Ignored(Ignored::Malformed);
        }
        self.remote_device.clone_from(&facts.device);
        self.choose(world, header, answer.capabilities);
        self.streams.set_metadata(answer.streams.clone());
        self.history.described = sdp::candidates(answer.sdp.expose());
        self.await_answer_no_more(world);
        self.begin_connecting(world);
        self.settle_with(world, answer.sdp.clone());
        if let Some(selected) = header.party_id.clone()
            && world.holds(Guard::AnswerSelected)
        {
            self.send(world, MessageKind::SelectAnswer, Body::SelectAnswer { selected });
        }
        self.sync_metadata(world);
        Verdict::Handled
    }

    /// Pins the other party: from now on only it is heard.
    pub(super) fn choose(&mut self, world: &mut World, header: &Header, can: Capabilities) {
        let Some(user) = self.remote_user().cloned() else { return };
        let party: Option<PartyId> = header.party_id.clone();
        if world.holds(Guard::EarlyCandidatesKept) {
            self.remote_candidates.choose(&party);
        }
        self.version = header.version;
        self.party = Party::Chosen(party.clone());
        self.tell(world, CallEvent::RemoteChosen { user, party, capabilities: can });
    }
}

fn named(callee: Callee) -> (Option<UserId>, Option<DeviceId>) {
    match callee {
        Callee::User(user) => (Some(user), None),
        Callee::Device(user, device) => (Some(user), Some(device)),
        Callee::TheOther => (None, None),
    }
}
