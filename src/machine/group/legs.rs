//! Legs of a mesh come and go: one to each member that is there, for as long as he is and we are.
//!
//! Whatever changed touches the seats that it concerns; [`tend_groups`](Engine::tend_groups) then
//! brings each of these to what should be: no leg, one that is to be placed, or the one that there is.

use super::{
    GroupCall,
    event::{Connection, GroupEvent, GroupState},
    groups::GroupTimer,
    keys, link,
    mesh::{Leg, Place as MeshPlace, we_call},
    roster::Participant,
};
use crate::{
    config::WireForm,
    id::{RoomId, SessionId, UserId},
    machine::{
        Engine,
        call::{
            Call,
            leg::{LegNews, Place},
        },
        event::{CallEvent, CallState, EndReason, Side, Stream},
        io::{Ignored, ParticipantId},
        world::World,
    },
    time::Deadline,
    wire::{member::Dialect, metadata::Purpose},
};

impl GroupCall {
    /// Whether we are in it, or about to be.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.shown.state, GroupState::Entering | GroupState::Entered)
    }

    /// A member whom we can meet: by a mesh, and of our generation of clients.
    pub(super) fn reachable(&self, member: &ParticipantId) -> Option<&Participant> {
        let ours = self.shown.backend.is_mesh();
        self.shown.participant(member).filter(|one| ours && self.shown.reaches(one))
    }

    /// Whether of two members this one is to call.
    pub(super) fn calls(&self, one: &ParticipantId, other: &ParticipantId) -> bool {
        we_call(self.shown.backend.dialect(), one, other)
    }

    /// Everything may be otherwise for everybody: we came or went.
    pub(super) fn touch_all(&mut self) {
        let seats = self.mesh.seats().map(|seat| seat.member.clone()).collect::<Vec<_>>();
        let members = self.shown.participants.iter().map(|one| one.id.clone());
        for member in members.chain(seats).collect::<Vec<_>>() {
            self.touched.touch(&member);
        }
    }

    /// A leg is over. Its place may be what somebody else has waited for.
    fn take_leg(&mut self, member: &ParticipantId) -> Option<Leg> {
        let was_full = self.mesh.is_full();
        let leg = self.mesh.seat_mut(member).on_leg_over();
        if was_full {
            self.mesh.on_place_free().iter().for_each(|member| self.touched.touch(member));
        }
        leg
    }

    /// How we are connected to a member, if that changed and he is there.
    pub(super) fn show_connection(
        &mut self,
        world: &mut World,
        member: &ParticipantId,
        connection: Connection,
    ) {
        let shown = self.shown.connections.get(member).copied().unwrap_or(Connection::Waiting);
        if shown != connection && self.shown.participant(member).is_some() {
            let participant = member.clone();
            self.tell(world, GroupEvent::ConnectionChanged { participant, connection });
        }
    }
}

impl Engine {
    /// Brings everything of a room's calls of which something changed to what should be: legs, what is
    /// known of an SFU, media keys.
    pub(super) fn tend_groups(&mut self, room: &RoomId) {
        for session in self.groups.sessions_of(room) {
            let next = |call: &mut GroupCall| call.touched.next();
            while let Some(member) = self.groups.calls.get_mut(&session).and_then(next) {
                self.tend_seat(session, &member);
                self.tend_sfu_of(session, &member);
                self.tend_keys_of(session, &member);
            }
            self.follow_elders(session);
            self.tend_keys(session);
        }
        self.groups.watch_legs(room);
        self.groups.watch_sfus(room);
        self.groups.watch_keys(room);
    }

    fn tend_seat(&mut self, session: SessionId, member: &ParticipantId) {
        let ourselves = *member == self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let present = call.reachable(member).filter(|_| call.is_wanted() && !ourselves).cloned();
        let Some(present) = present else {
            self.drop_leg(session, member, EndReason::Hangup);
            if let Some(call) = self.groups.calls.get_mut(&session) {
                call.mesh.forget(member);
            }
            return;
        };
        if call.mesh.seat_mut(member).is_another(present.session.as_ref()) {
            self.drop_leg(session, member, EndReason::Replaced);
            if let Some(call) = self.groups.calls.get_mut(&session) {
                call.mesh.seat_mut(member).start_over(present.session.clone());
            }
        }
        if self.is_to_be_called(session, member) {
            self.place_leg_in_time(session, &present);
        }
        self.hear_parked(session, member);
    }

    /// Places a leg, or puts it off where there are too many.
    fn place_leg_in_time(&mut self, session: SessionId, member: &Participant) {
        if self.make_place(session, &member.id) {
            self.place_leg(session, member);
        }
    }

    /// Whether a leg to this member may begin now. If not it is looked again later, and counted.
    pub(super) fn make_place(&mut self, session: SessionId, member: &ParticipantId) -> bool {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else { return false };
        if let Some(at) = call.mesh.pace.next(now, &member.user) {
            call.mesh.seat_mut(member).retry_at(at);
            self.note("leg", Some((&member.user, Some(session))), Ignored::TooMany);
            return false;
        }
        match call.mesh.place_for(now, member) {
            MeshPlace::Free => true,
            MeshPlace::Of(other) => {
                self.drop_leg(session, &other, EndReason::IceFailed);
                self.put_off(session, &other);
                true
            }
            MeshPlace::Later(at) => {
                call.mesh.seat_mut(member).wait_for_place(at);
                let room = call.shown.room.clone();
                self.groups.watch_legs(&room);
                self.note("leg", Some((&member.user, Some(session))), Ignored::TooMany);
                false
            }
        }
    }

    /// A leg failed: the next is placed after a pause.
    fn put_off(&mut self, session: SessionId, member: &ParticipantId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let seat = call.mesh.seat_mut(member);
        let pause = self.world.config.timeouts.leg_retry_pause(seat.failures());
        seat.retry_at(self.world.now.mono.plus(pause));
    }

    /// Whether we are to call this member now.
    fn is_to_be_called(&self, session: SessionId, member: &ParticipantId) -> bool {
        let Some(call) = self.groups.calls.get(&session) else { return false };
        let waits = call.mesh.seat(member).is_none_or(|seat| seat.is_waiting());
        let known = call.shown.state == GroupState::Entered;
        known
            && !waits
            && !call.mesh.has_leg(member)
            && call.calls(&self.ourselves(), member)
            && !self.ignored_users.contains(&member.user)
    }

    fn place_leg(&mut self, session: SessionId, member: &Participant) {
        let Some(place) = self.leg_place(session, member) else { return };
        let Some(call) = self.groups.calls.get(&session) else { return };
        let sharing = member.feeds.contains(&Purpose::Screenshare);
        let leg = Call::place_leg(&mut self.world, place, call.media.local(), sharing);
        self.keep_leg(session, &member.id, (leg, None));
    }

    /// Between whom a leg to this member is.
    pub(super) fn leg_place(&mut self, group: SessionId, member: &Participant) -> Option<Place> {
        let shown = self.groups.calls.get(&group)?.shown();
        let (room, id) = (shown.room.clone(), shown.call.clone());
        let form = match shown.backend.dialect() {
            Dialect::Famedly => self.world.config.wire_form,
            Dialect::Msc3401 => WireForm::Readme,
        };
        let ours = self.groups.room(&room).ours.visit(&id)?.session.clone();
        Some(Place {
            group,
            room,
            member: member.id.clone(),
            form,
            conf_id: id.call_id,
            ours,
            theirs: member.session.clone(),
        })
    }

    /// Takes a new leg in, and the number of the message that began it.
    pub(super) fn keep_leg(
        &mut self,
        session: SessionId,
        member: &ParticipantId,
        (leg, number): (Call, Option<u64>),
    ) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let mut of_seat = Leg::new(leg.session(), leg.shown().call_id.clone(), self.world.now.mono);
        of_seat.is_new(number);
        call.mesh.pace.note(self.world.now.mono, &member.user);
        call.mesh.seat_mut(member).begin(of_seat);
        call.show_connection(&mut self.world, member, Connection::Connecting);
        self.keep(leg);
    }

    /// Ends the leg to a member, if there is one.
    pub(super) fn drop_leg(
        &mut self,
        session: SessionId,
        member: &ParticipantId,
        reason: EndReason,
    ) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.mesh.has_leg(member) {
            return;
        }
        let leg = call.take_leg(member);
        self.show_leg_over(session, member);
        if let Some(leg) = leg {
            self.with(leg.session, |call, world| call.fail(world, reason));
        }
    }

    fn show_leg_over(&mut self, session: SessionId, member: &ParticipantId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.participant(member).is_some() {
            call.show_streams(&mut self.world, member.clone(), Vec::new());
            call.show_connection(&mut self.world, member, Connection::Waiting);
        }
        self.drop_unheard(session);
    }

    /// Something happened on a leg.
    pub(in crate::machine) fn on_leg_news(&mut self, news: LegNews) {
        let LegNews { group, leg, member, event } = news;
        let Some(call) = self.groups.calls.get_mut(&group) else { return };
        let present = call.mesh.seat(&member).and_then(|seat| seat.leg.as_ref());
        // One that was dropped has nothing to tell any more.
        if present.is_none_or(|present| present.session != leg) {
            return;
        }
        match event {
            CallEvent::StateChanged(state) => self.on_leg_state(group, &member, (leg, state)),
            CallEvent::StreamsChanged(mut streams) => {
                streams.retain(|stream: &Stream| stream.side == Side::Remote);
                call.show_streams(&mut self.world, member, streams);
            }
            CallEvent::MediaMissing(source) => self.lose_source(group, source),
            CallEvent::Ended(_) => self.on_leg_ended(group, &member),
            CallEvent::CalleeFound(_)
            | CallEvent::RemoteChosen { .. }
            | CallEvent::CapabilitiesChanged(_)
            | CallEvent::MuteChanged { .. }
            | CallEvent::SwitchFailed(_)
            | CallEvent::TonesFailed
            | CallEvent::HoldChanged(_)
            | CallEvent::NegotiationFailed
            | CallEvent::TransferFailed
            | CallEvent::IdentityAsserted(_) => {}
        }
    }

    fn on_leg_state(
        &mut self,
        group: SessionId,
        member: &ParticipantId,
        (leg, state): (SessionId, CallState),
    ) {
        let connection = match state {
            CallState::Connected => Connection::Connected,
            CallState::Preparing | CallState::InviteSent | CallState::Ringing => {
                Connection::Connecting
            }
            CallState::Answering | CallState::Connecting => Connection::Connecting,
            // `Ended` is told as such.
            CallState::Ended => return,
        };
        let Some(call) = self.groups.calls.get_mut(&group) else { return };
        call.show_connection(&mut self.world, member, connection);
        let (held, room) = (call.shown.held, call.shown.room.clone());
        if connection == Connection::Connected {
            call.mesh.seat_mut(member).on_connected();
            if !self.groups.is_set(&room, GroupTimer::Levels) {
                self.watch_levels(&room);
            }
        }
        if held {
            self.hold_leg(leg, true);
        }
    }

    /// A leg ended by itself, while we and he are there: whoever calls does so again after a pause.
    fn on_leg_ended(&mut self, group: SessionId, member: &ParticipantId) {
        let Some(call) = self.groups.calls.get_mut(&group) else { return };
        call.take_leg(member);
        let room = call.shown.room.clone();
        self.put_off(group, member);
        self.show_leg_over(group, member);
        self.groups.watch_legs(&room);
    }

    /// Legs of a room are due to be placed anew.
    pub(super) fn on_legs_due(&mut self, room: &RoomId) {
        let now = self.world.now.mono;
        for session in self.groups.sessions_of(room) {
            if let Some(call) = self.groups.calls.get_mut(&session) {
                let due = call.mesh.on_retry_due(now);
                due.iter().for_each(|member| call.touched.touch(member));
            }
        }
        self.tend_groups(room);
    }

    /// These users are ignored from now on, or no more. A leg goes on; a new one may begin or may not.
    pub(in crate::machine) fn on_group_ignored(&mut self, changed: &[UserId]) {
        self.groups.forget_waiting_rings_of(&self.ignored_users);
        for room in self.groups.all_rooms() {
            for session in self.groups.sessions_of(&room) {
                let Some(call) = self.groups.calls.get_mut(&session) else { continue };
                let members = call.shown.participants.iter().map(|one| one.id.clone());
                let members = members.filter(|one| changed.contains(&one.user));
                for member in members.collect::<Vec<_>>() {
                    call.touched.touch(&member);
                }
            }
            self.tend_groups(&room);
        }
    }

    /// Everything of a call ends: its legs, with this reason, its media, its SFU, its keys.
    pub(super) fn end_meeting(&mut self, call: &mut GroupCall, reason: &EndReason) {
        keys::stop(call, &mut self.world);
        link::stop(call, &mut self.world);
        call.media.release(&mut self.world);
        call.speaker.stop(&mut self.world);
        for leg in call.mesh.legs() {
            self.with(leg, |call, world| call.fail(world, reason.clone()));
        }
        call.mesh.clear();
    }
}

impl super::Groups {
    /// The timer of a room's next leg is set anew.
    pub(super) fn watch_legs(&mut self, room: &RoomId) {
        let next = self.of_room(room).filter_map(|call| call.mesh.next_retry()).min();
        self.set_timer(room, GroupTimer::Legs, next.map(Deadline::Mono));
    }
}
