//! Commands, replies and timers that concern group calls, and what rooms and users do.

use super::{
    GroupCall,
    event::{GroupEnd, GroupEvent, GroupRefusal, GroupSnapshot, GroupState},
    groups::{GroupTimer, Reading},
    media::Via,
    membership::{Awaited, Outcome, Visit},
    post::{Letter, Patience, Post, Purpose},
    roster::{LONGEST_MEMBERSHIP, ParticipantId},
};
use crate::{
    config::{DelayedLeave, Msc3401},
    id::{EventId, OpId, RoomId, SessionId, UserId},
    machine::{
        Engine, Service,
        event::{EndReason, RingStop, VoipEvent},
        io::{CallMedia, Fault, GroupCommand, Ignored, KeyUse, Refusal, Reply, Verdict},
    },
    wire::{
        ledger::LiveMembership,
        legacy,
        member::{Backend, Dialect, GroupCallId},
        power::POWER_LEVELS_TYPE,
    },
};

impl Engine {
    // ------------------------------------------------------------------------------- commands

    /// The group call of that id, which may be there already.
    pub(in crate::machine) fn open_group(
        &mut self,
        room: RoomId,
        call: GroupCallId,
        (backend, application, keys): (Backend, String, KeyUse),
    ) -> Verdict {
        if self.service == Service::ShuttingDown {
            return Verdict::Refused(Refusal::ShuttingDown);
        }
        if self.world.is_outside(&room, &self.world.identity.user) {
            return Verdict::Refused(Refusal::NotInRoom);
        }
        if let Err(refusal) = self.check_dialect(&backend) {
            return Verdict::Refused(refusal);
        }
        let backend = backend.named_by(&room);
        if let Some(session) = self.groups.find(&room, &call) {
            return match self.open_again(session, backend, keys) {
                Ok(()) => self.read_for(session, &room),
                Err(refusal) => Verdict::Refused(refusal),
            };
        }
        if !self.is_writable(&call, &application, &backend) {
            return Verdict::Refused(Refusal::NotWritable);
        }
        let session = self.add_group(&room, call, backend, application);
        self.use_keys(session, keys);
        self.read_for(session, &room)
    }

    /// The call is there already: in which others are, or that was opened before.
    fn open_again(
        &mut self,
        session: SessionId,
        backend: Backend,
        keys: KeyUse,
    ) -> Result<(), Refusal> {
        let Some(shown) = self.groups.calls.get(&session).map(GroupCall::shown) else {
            return Err(Refusal::UnknownSession);
        };
        let alone = shown.participants.is_empty() && shown.state == GroupState::Idle;
        if !backend.agrees_with(&shown.backend) {
            if !alone || backend.is_sfu() != shown.backend.is_sfu() {
                return Err(Refusal::OtherBackend);
            }
            self.take_focus(session, &backend);
        }
        self.use_keys(session, keys);
        Ok(())
    }

    /// Who opens a call hears who is in it, also where nothing was heard of the room yet.
    fn read_for(&mut self, session: SessionId, room: &RoomId) -> Verdict {
        if self.groups.read(&mut self.world, room) {
            self.tell_group(session, GroupEvent::ReadingChanged { reading: true });
        }
        Verdict::Started(session)
    }

    /// What was asked for when a call was opened came, or did not.
    fn on_room_read(&mut self, room: &RoomId, result: Result<Reply, Fault>) {
        self.groups.room(room).reading = Reading::NotYet;
        match result {
            Ok(Reply::State(state)) if state.room == *room => self.on_fetched_state(*state),
            // The host tells what it can when it can; whoever enters asks again.
            Ok(_) | Err(_) => self.tell_read(room),
        }
    }

    pub(in crate::machine) fn on_group_command(
        &mut self,
        session: SessionId,
        command: GroupCommand,
    ) -> Verdict {
        let Some(call) = self.groups.calls.get(&session) else {
            return Verdict::Refused(Refusal::UnknownSession);
        };
        let (room, group) = (call.shown.room.clone(), call.shown.call.clone());
        match command {
            GroupCommand::Enter(media) => self.enter_group(session, &room, media),
            GroupCommand::AnnounceAs(how) => self.set_announcement(session, how),
            GroupCommand::React { key, stay } => self.react(session, (&room, &group), key, stay),
            GroupCommand::Unreact(key) => self.unreact(session, (&room, &group), key),
            GroupCommand::Leave => self.leave_group(session, &room, &group),
            GroupCommand::Mute(source) => done(self.mute_in_group(session, source, true)),
            GroupCommand::Unmute(source) => done(self.mute_in_group(session, source, false)),
            GroupCommand::Hold => done(self.hold_group(session, true)),
            GroupCommand::Unhold => done(self.unhold_group(session)),
            GroupCommand::Start(source) => done(self.start_in_group(session, source)),
            GroupCommand::Stop(source) => done(self.stop_in_group(session, source)),
            GroupCommand::Switch(source, input) => {
                done(self.switch_in_group(session, source, input))
            }
            GroupCommand::AllowEveryone => {
                let dialect = call.shown.backend.dialect();
                self.allow_everyone(&room, (group, dialect))
            }
            GroupCommand::RequestKeys(members) => done(self.request_keys(session, &members)),
            GroupCommand::SetApplication(application) => {
                self.set_application(session, (&room, &group), application)
            }
        }
    }

    fn check_dialect(&self, backend: &Backend) -> Result<(), Refusal> {
        match (backend.dialect(), self.world.config.msc3401) {
            (Dialect::Famedly, _) | (Dialect::Msc3401, Msc3401::On) => Ok(()),
            (Dialect::Msc3401, Msc3401::Off) => Err(Refusal::DialectOff),
        }
    }

    /// Whether others would read our membership as it is.
    fn is_writable(&self, group: &GroupCallId, application: &str, backend: &Backend) -> bool {
        let backend = if *backend == Backend::sfu() { Backend::Mesh } else { backend.clone() };
        // Which SFU it is to be and how the visit is called is found later: its id is ours, and short.
        let visit = Visit::new(String::new(), application.to_owned(), backend);
        visit.membership(group, &self.world.identity.device).is_writable()
    }

    fn set_application(
        &mut self,
        session: SessionId,
        (room, group): (&RoomId, &GroupCallId),
        application: String,
    ) -> Verdict {
        let Some(shown) = self.groups.calls.get(&session).map(GroupCall::shown) else {
            return Verdict::Refused(Refusal::UnknownSession);
        };
        if shown.application == application {
            return Verdict::Handled;
        }
        if !self.is_writable(group, &application, &shown.backend) {
            return Verdict::Refused(Refusal::NotWritable);
        }
        if let Some(visit) = self.groups.room(room).ours.change(group) {
            visit.application.clone_from(&application);
        }
        self.tell_group(session, GroupEvent::ApplicationChanged(application));
        self.groups.push(&mut self.world, room);
        Verdict::Handled
    }

    fn enter_group(&mut self, session: SessionId, room: &RoomId, media: CallMedia) -> Verdict {
        if self.service == Service::ShuttingDown {
            return Verdict::Refused(Refusal::ShuttingDown);
        }
        let Some(call) = self.groups.calls.get(&session) else {
            return Verdict::Refused(Refusal::UnknownSession);
        };
        match call.shown.state {
            GroupState::Idle | GroupState::Leaving => {}
            GroupState::Entering | GroupState::Entered => return Verdict::Handled,
            GroupState::Ended => return Verdict::Refused(Refusal::UnknownSession),
        }
        let (backend, via) = (call.shown.backend.clone(), call.media.via());
        if let Err(refusal) = self.check_entering(room, (&backend, via)) {
            return Verdict::Refused(refusal);
        }
        self.set_group_state(session, GroupState::Entering);
        self.begin_calling(session);
        self.end_rings(|ring| ring.session == session, RingStop::Answered);
        if let Some(backend) = self.choose_focus(session, media) {
            self.begin_visit(session, room, (backend, media));
        }
        Verdict::Handled
    }

    fn check_entering(
        &mut self,
        room: &RoomId,
        (backend, via): (&Backend, Via),
    ) -> Result<(), Refusal> {
        self.check_dialect(backend)?;
        let dialect = backend.dialect();
        let of_room = self.groups.room(room);
        if !of_room.rights(&self.world.identity.user, dialect).can_join {
            return Err(Refusal::MayNotJoin);
        }
        if !of_room.ours.can_speak(dialect) {
            return Err(Refusal::OtherDialect);
        }
        if via == Via::Application { Ok(()) } else { self.make_way_for_group() }
    }

    /// We are in the call from now on, whoever knows of it yet: membership, media, token and keys are
    /// made beside each other.
    pub(super) fn begin_visit(
        &mut self,
        session: SessionId,
        room: &RoomId,
        (backend, media): (Backend, CallMedia),
    ) {
        self.take_focus(session, &backend);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let group = call.shown.call.clone();
        let visit = (self.world.ids.visit(), call.shown.application.clone());
        // Our first key is used before our membership is seen.
        call.sfu.visit.clone_from(&visit.0);
        // Who calls us before our membership is accepted is on the visit that stands there now.
        call.touch_all();
        self.groups.room(room).ours.want(group, Visit::new(visit.0, visit.1, backend));
        self.announce_legacy_call(session);
        // Nothing is captured before whoever seals frames knows that there are keys.
        self.start_keys(session);
        self.open_group_media(session, media);
        self.start_sfu(session);
        self.tend_groups(room);
        self.groups.push(&mut self.world, room);
    }

    /// Clients of the generation of matrix-js-sdk enter what is announced alone.
    fn announce_legacy_call(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get(&session) else { return };
        let GroupSnapshot { room, call, backend, participants, .. } = call.shown().clone();
        if backend == Backend::Msc3401Mesh && participants.is_empty() {
            let (key, content) = (call.call_id.clone(), legacy::announcement());
            let letter = Letter::State(legacy::CALL_TYPE.to_owned(), key, content);
            let purpose = Purpose::LegacyAnnouncement(call);
            self.post(&room, Post { letter, purpose, patience: Patience::Endless });
        }
    }

    fn leave_group(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) -> Verdict {
        let state = self.groups.calls.get(&session).map(|call| call.shown.state);
        match state {
            Some(GroupState::Idle) => self.end_if_empty(session, room, group),
            Some(GroupState::Entering | GroupState::Entered) => {
                let known = self.groups.room(room).ours.unwant(group);
                self.set_group_state(session, GroupState::Leaving);
                self.come_out(session);
                if !known {
                    self.on_left_group(session, room, group);
                }
                self.groups.push(&mut self.world, room);
            }
            Some(GroupState::Leaving | GroupState::Ended) | None => {}
        }
        Verdict::Handled
    }

    /// Lowers what it takes to be in group calls of the room to what every member has. Asked for by the
    /// application, never done by itself (T-32).
    fn allow_everyone(
        &mut self,
        room: &RoomId,
        (group, dialect): (GroupCallId, Dialect),
    ) -> Verdict {
        let of_room = self.groups.room(room);
        let Some(levels) = &of_room.levels else {
            return Verdict::Refused(Refusal::UnknownPowerLevels);
        };
        let asked = of_room.posts.has_rights();
        if !asked && !levels.everybody_may_write_memberships(dialect) {
            let content = levels.allowing_everyone(dialect);
            let letter = Letter::State(POWER_LEVELS_TYPE.to_owned(), String::new(), content);
            // Once: what somebody else writes meanwhile a later try would undo.
            let (purpose, patience) = (Purpose::Rights(group), Patience::Once);
            self.post(room, Post { letter, purpose, patience });
        }
        Verdict::Handled
    }

    /// We are in the call no more, for ourselves at once: what is written about it comes later, and
    /// whatever becomes of that, nothing of ours stays open (T-30).
    fn come_out(&mut self, session: SessionId) {
        let id = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.touch_all();
        let room = call.shown.room.clone();
        self.drop_our_reactions(session);
        self.close_group_media(session);
        self.stop_keys(session);
        self.stop_sfu(session);
        self.tend_groups(&room);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        // Whatever waited for a membership was for the visit that is over.
        call.mesh.clear();
        if call.shown.participant(&id).is_some() {
            call.tell(&mut self.world, GroupEvent::ParticipantLeft(id));
        }
    }

    /// Our membership is taken back, or believed no more.
    fn on_left_group(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) {
        self.set_group_state(session, GroupState::Idle);
        self.end_if_empty(session, room, group);
    }

    pub(super) fn end_if_empty(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) {
        let empty = self.groups.calls.get(&session).is_some_and(|call| {
            call.shown.participants.is_empty() && call.shown.state == GroupState::Idle
        });
        let wanted = self.groups.room(room).ours.visit(group).is_some();
        if empty && !wanted {
            self.end_group(session, GroupEnd::Empty);
        }
    }

    // -------------------------------------------------------------------------------- replies

    pub(in crate::machine) fn on_group_reply(
        &mut self,
        op: OpId,
        result: Result<Reply, Fault>,
    ) -> Verdict {
        let Some(room) = self.groups.take_asked(op) else {
            return Verdict::Ignored(Ignored::StaleReply);
        };
        if self.on_post_reply(&room, op, &result) {
            return Verdict::Handled;
        }
        if self.on_delay_reply(&room, op, &result) {
            self.groups.push(&mut self.world, &room);
            return Verdict::Handled;
        }
        let of_room = self.groups.room(&room);
        match (of_room.ours.awaits(op), result) {
            (None, result) if of_room.reading == Reading::Asked(op) => {
                self.on_room_read(&room, result);
            }
            (None, _) => return Verdict::Ignored(Ignored::StaleReply),
            (Some(Awaited::Write), Ok(Reply::Sent(event))) => {
                let outcome = of_room.ours.on_written(event);
                self.on_outcome(&room, outcome);
            }
            (Some(Awaited::Fetch), Ok(Reply::State(state))) if state.room == room => {
                of_room.ours.on_fetched();
                self.on_fetched_state(*state);
            }
            (Some(_), Ok(_)) => self.on_group_fault(&room, Fault::Unsupported),
            (Some(_), Err(fault)) => self.on_group_fault(&room, fault),
        }
        self.tend_groups(&room);
        self.groups.push(&mut self.world, &room);
        Verdict::Handled
    }

    fn on_group_fault(&mut self, room: &RoomId, fault: Fault) {
        let timeouts = &self.world.config.timeouts;
        let outcome = self.groups.room(room).ours.on_fault(self.world.now, fault, timeouts);
        self.on_outcome(room, outcome);
    }

    fn on_outcome(&mut self, room: &RoomId, outcome: Outcome) {
        self.groups.after(&self.world, room, &outcome);
        match outcome {
            Outcome::Accepted(in_it) => {
                self.groups.room(room).delayed.verify();
                for (group, visit) in in_it {
                    let present = self.groups.room(room).ours.visit(&group);
                    let same = present.is_some_and(|present| present.session == visit);
                    let session = self.groups.find(room, &group);
                    if let Some(session) = session.filter(|_| same) {
                        self.on_visit_accepted(session, room, &group);
                    }
                }
                self.settle_leaving(room);
            }
            Outcome::Later(_) => {}
            Outcome::GivenUp(over, fault) => {
                for group in over {
                    self.on_refused(room, &group, &fault);
                }
                self.settle_leaving(room);
            }
        }
    }

    /// The homeserver has our membership: whoever we are to call is called.
    fn on_entered(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.state != GroupState::Entered {
            call.enter_state(&mut self.world, GroupState::Entered);
            call.touch_all();
        }
        call.keys.try_again(self.world.now.mono);
        self.settle_sfu(session);
    }

    /// Whoever waits for his membership to be taken back waits no more, unless it has to be written.
    pub(super) fn settle_leaving(&mut self, room: &RoomId) {
        if self.groups.room(room).ours.retracts() {
            return;
        }
        let of_room = self.groups.of_room(room);
        let leaving = of_room.filter(|call| call.shown.state == GroupState::Leaving);
        let leaving: Vec<_> = leaving.map(|call| (call.session, call.shown.call.clone())).collect();
        for (session, group) in leaving {
            self.on_left_group(session, room, &group);
        }
    }

    fn on_refused(&mut self, room: &RoomId, group: &GroupCallId, fault: &Fault) {
        let Some(session) = self.groups.find(room, group) else { return };
        self.tell_group(session, GroupEvent::Refused(GroupRefusal::of(fault)));
        self.set_group_state(session, GroupState::Idle);
        self.come_out(session);
        self.end_if_empty(session, room, group);
    }

    // --------------------------------------------------------------------------------- timers

    pub(in crate::machine) fn on_group_timers(&mut self) {
        while let Some((room, timer)) = self.groups.pop_due(self.world.now) {
            match timer {
                GroupTimer::Expiry => {
                    let changes = self.groups.room(&room).roster.expire(self.world.now);
                    self.on_changes(&room, changes);
                    self.end_empty_groups(&room);
                    self.groups.watch_expiry(&room);
                }
                GroupTimer::Refresh | GroupTimer::RefreshAwake => {
                    let now = self.world.now.wall;
                    self.groups.room(&room).ours.on_refresh(now);
                }
                GroupTimer::Retry => {
                    let now = self.world.now.mono;
                    self.groups.room(&room).ours.on_pause_over(now);
                }
                // What is due then is seen below.
                GroupTimer::Heartbeat | GroupTimer::Overslept | GroupTimer::Cancelling => {}
                GroupTimer::Legs => self.on_legs_due(&room),
                GroupTimer::Sfus | GroupTimer::Tokens => self.on_sfus_due(&room),
                GroupTimer::Keys => self.on_keys_due(&room),
                GroupTimer::Levels => self.on_levels_due(&room),
                GroupTimer::Posts => self.on_posts_due(&room, self.world.now.mono),
                GroupTimer::Rings => self.on_rings_due(&room),
            }
            self.tend_groups(&room);
            self.groups.push(&mut self.world, &room);
        }
    }

    // ------------------------------------------------------------------------------- the world

    /// The network is back: what failed is tried at once.
    pub(in crate::machine) fn on_groups_network_back(&mut self) {
        for room in self.groups.all_rooms() {
            let now = self.world.now.mono;
            let of_room = self.groups.room(&room);
            of_room.ours.on_pause_over(now);
            of_room.delayed.on_network_back();
            of_room.posts.on_network_back(now);
            self.on_posts_due(&room, now);
            self.groups.push(&mut self.world, &room);
        }
        self.on_sfus_network_back();
        self.on_keys_network_back();
    }

    /// All members of a room were told.
    pub(in crate::machine) fn on_group_members(&mut self, room: &RoomId) {
        let Some(of_room) = self.groups.rooms.get(room) else { return };
        for user in of_room.roster.users() {
            let left = self.world.is_outside(room, &user);
            self.on_group_member(room, &user, left);
        }
    }

    /// A user left a room, or is in it again.
    pub(in crate::machine) fn on_group_member(&mut self, room: &RoomId, user: &UserId, left: bool) {
        if left && *user == self.world.identity.user {
            self.end_groups_of(room);
            return;
        }
        let now = self.world.now;
        let Some(of_room) = self.groups.rooms.get_mut(room) else { return };
        let changes = of_room.roster.set_outside(now, user, left);
        self.on_changes(room, changes);
        self.end_empty_groups(room);
        self.tend_groups(room);
    }

    fn end_groups_of(&mut self, room: &RoomId) {
        for session in self.groups.sessions_of(room) {
            self.end_group(session, GroupEnd::LeftRoom);
        }
        self.groups.forget_room(&mut self.world, room);
    }

    /// Nothing can be said any more.
    pub(in crate::machine) fn end_groups_silently(&mut self) {
        for session in self.groups.calls.keys().copied().collect::<Vec<_>>() {
            self.end_group(session, GroupEnd::LoggedOut);
        }
        for room in self.groups.all_rooms() {
            self.groups.forget_room(&mut self.world, &room);
        }
    }

    /// The process ends: we are in no call any more, and say so.
    pub(in crate::machine) fn leave_all_groups(&mut self) {
        for session in self.groups.calls.keys().copied().collect::<Vec<_>>() {
            self.on_group_command(session, GroupCommand::Leave);
            self.end_group(session, GroupEnd::ShutDown);
        }
    }

    /// Takes back what a dead process left behind.
    pub(in crate::machine) fn lay_ghosts(&mut self, memberships: Vec<LiveMembership>) {
        let until = self.world.now.wall.plus(LONGEST_MEMBERSHIP);
        for LiveMembership { room, session, dialect } in memberships {
            let on = self.world.config.delayed_leave == DelayedLeave::On;
            let of_room = self.groups.room(&room);
            of_room.ours.haunt(session, dialect, until);
            if on && dialect == Dialect::Famedly {
                of_room.delayed.cleanse();
            }
            self.groups.push(&mut self.world, &room);
        }
    }

    /// The event that says that we are in this call; `None` while we are not.
    pub(super) fn our_member_event(&self, room: &RoomId, group: &GroupCallId) -> Option<EventId> {
        let of_room = self.groups.rooms.get(room)?;
        let visit = of_room.ours.visit(group)?;
        let seen = of_room.roster.member_event(self.world.now.wall, group, &self.ourselves());
        let seen = seen.filter(|(_, session)| *session == Some(visit.session.as_str()));
        of_room.ours.member_event(seen.map(|(event, _)| event))
    }

    /// The homeserver has a visit of ours: others hear that the call begins, if it does.
    fn on_visit_accepted(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) {
        let state = self.groups.calls.get(&session).map(|call| call.shown.state);
        self.on_entered(session);
        if state == Some(GroupState::Entering) {
            self.announce(session, room, group);
        }
    }

    pub(super) fn ourselves(&self) -> ParticipantId {
        self.world.ourselves()
    }

    fn set_group_state(&mut self, session: SessionId, state: GroupState) {
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.enter_state(&mut self.world, state);
        }
    }

    pub(super) fn tell_group(&mut self, session: SessionId, event: GroupEvent) {
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.tell(&mut self.world, event);
        }
    }

    fn end_group(&mut self, session: SessionId, end: GroupEnd) {
        self.end_rings(|ring| ring.session == session, RingStop::Ended);
        let Some(mut call) = self.groups.calls.remove(&session) else { return };
        self.groups.by_id.remove(&(call.shown.room.clone(), call.shown.call.clone()));
        self.end_meeting(&mut call, &leg_reason(end));
        call.tell(&mut self.world, GroupEvent::Ended(end));
        self.world.tell(VoipEvent::GroupCallEnded { session, end });
    }
}

fn done(done: Result<(), Refusal>) -> Verdict {
    done.map_or_else(Verdict::Refused, |()| Verdict::Handled)
}

/// Why the legs of a group call end with it.
const fn leg_reason(end: GroupEnd) -> EndReason {
    match end {
        GroupEnd::Empty => EndReason::Hangup,
        GroupEnd::LeftRoom => EndReason::LeftRoom,
        GroupEnd::LoggedOut => EndReason::LoggedOut,
        GroupEnd::ShutDown => EndReason::ShutDown,
    }
}
