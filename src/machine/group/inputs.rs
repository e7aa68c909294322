//! Commands, state, replies and timers that concern group calls.

use std::collections::BTreeSet;

use super::{
    GroupCall,
    event::{GroupEnd, GroupEvent, GroupRefusal, GroupSnapshot, GroupState},
    groups::GroupTimer,
    membership::{Outcome, Visit},
    roster::{Change, Changed, LONGEST_MEMBERSHIP, Participant, ParticipantId, Statement},
};
use crate::{
    id::{OpId, RoomId, SessionId, UserId},
    machine::{
        Engine, Service,
        bounds::MAX_GROUP_CALLS_PER_ROOM,
        event::VoipEvent,
        guard::Guard,
        io::{Fault, GroupCommand, Ignored, MatrixOp, Op, Refusal, Reply, Verdict},
        world::Owner,
    },
    wire::{
        ledger::LiveMembership,
        member::{Backend, Dialect, GroupCallId, names_another},
        power::POWER_LEVELS_TYPE,
        state::{Extent, ParsedState, RoomState, StateContent},
    },
};

impl Engine {
    // ------------------------------------------------------------------------------- commands

    /// The group call of that id, which may be there already.
    pub(in crate::machine) fn open_group(
        &mut self,
        room: RoomId,
        call: GroupCallId,
        (backend, application): (Backend, String),
    ) -> Verdict {
        if self.service == Service::ShuttingDown {
            return Verdict::Refused(Refusal::ShuttingDown);
        }
        if self.world.is_outside(&room, &self.world.identity.user) {
            return Verdict::Refused(Refusal::NotInRoom);
        }
        if let Some(session) = self.groups.find(&room, &call) {
            let shown = self.groups.calls.get(&session).map(GroupCall::shown);
            let another = shown.is_some_and(|shown| shown.backend != backend);
            return match another {
                true => Verdict::Refused(Refusal::OtherBackend),
                false => Verdict::Started(session),
            };
        }
        let visit = Visit::new(String::new(), application.clone(), backend.clone());
        if !visit.membership(&call, &self.world.identity.device).is_writable() {
            return Verdict::Refused(Refusal::NotWritable);
        }
        Verdict::Started(self.add_group(&room, call, backend, application))
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
            GroupCommand::Enter => self.enter_group(session, &room, group),
            GroupCommand::Leave => self.leave_group(session, &room, &group),
            GroupCommand::AllowEveryone => self.allow_everyone(&room),
            GroupCommand::SetApplication(application) => {
                self.set_application(session, (&room, &group), application)
            }
        }
    }

    fn set_application(
        &mut self,
        session: SessionId,
        (room, group): (&RoomId, &GroupCallId),
        application: String,
    ) -> Verdict {
        let visit = Visit::new(String::new(), application.clone(), Backend::Mesh);
        if !visit.membership(group, &self.world.identity.device).is_writable() {
            return Verdict::Refused(Refusal::NotWritable);
        }
        if let Some(visit) = self.groups.room(room).ours.change(group) {
            visit.application.clone_from(&application);
        }
        self.tell_group(session, GroupEvent::ApplicationChanged(application));
        self.groups.push(&mut self.world, room);
        Verdict::Handled
    }

    fn enter_group(&mut self, session: SessionId, room: &RoomId, group: GroupCallId) -> Verdict {
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
        let visit = (call.shown.application.clone(), call.shown.backend.clone());
        let of_room = self.groups.room(room);
        if !of_room.rights(&self.world.identity.user).can_join {
            return Verdict::Refused(Refusal::MayNotJoin);
        }
        let visit = Visit::new(self.world.ids.visit(), visit.0, visit.1);
        of_room.ours.want(group, visit);
        self.set_group_state(session, GroupState::Entering);
        self.groups.push(&mut self.world, room);
        Verdict::Handled
    }

    fn leave_group(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) -> Verdict {
        let state = self.groups.calls.get(&session).map(|call| call.shown.state);
        match state {
            Some(GroupState::Idle) => self.end_if_empty(session, room, group),
            Some(GroupState::Entering | GroupState::Entered) => {
                let known = self.groups.room(room).ours.unwant(group);
                self.set_group_state(session, GroupState::Leaving);
                self.drop_ourselves(session);
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
    fn allow_everyone(&mut self, room: &RoomId) -> Verdict {
        let of_room = self.groups.room(room);
        let Some(levels) = &of_room.levels else {
            return Verdict::Refused(Refusal::UnknownPowerLevels);
        };
        if !levels.everybody_may_write_memberships() {
            let write = MatrixOp::SendState {
                room: room.clone(),
                event_type: POWER_LEVELS_TYPE.to_owned(),
                state_key: String::new(),
                content: levels.allowing_everyone(),
            };
            // What the room says afterwards is told as `RightsChanged`.
            self.world.request(Owner::Nobody, Op::Matrix(write));
        }
        Verdict::Handled
    }

    /// We are in the call no more, for ourselves at once: what is written about it comes later.
    fn drop_ourselves(&mut self, session: SessionId) {
        let id = self.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.participant(&id).is_some() {
            call.tell(&mut self.world, GroupEvent::ParticipantLeft(id));
        }
    }

    /// Our membership is taken back, or believed no more.
    fn on_left_group(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) {
        self.set_group_state(session, GroupState::Idle);
        self.end_if_empty(session, room, group);
    }

    fn end_if_empty(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) {
        let empty = self.groups.calls.get(&session).is_some_and(|call| {
            call.shown.participants.is_empty() && call.shown.state == GroupState::Idle
        });
        let wanted = self.groups.room(room).ours.visit(group).is_some();
        if empty && !wanted {
            self.end_group(session, GroupEnd::Empty);
        }
    }

    // ---------------------------------------------------------------------------------- state

    /// Judges every event of a room's state.
    pub(in crate::machine) fn on_state(&mut self, state: RoomState) -> Verdict {
        let RoomState { room, extent, events } = state;
        let mut told = BTreeSet::new();
        let verdicts = events.iter().map(|event| {
            if let Ok(StateContent::Members(dialect, _)) = &event.content {
                told.insert((*dialect, event.facts.state_key.clone()));
            }
            let verdict = self.on_state_event(&room, event);
            if let Verdict::Ignored(reason) = verdict {
                self.note(&event.event_type, Some((&event.facts.sender, None)), reason);
            }
            verdict
        });
        let verdicts = verdicts.collect();
        if extent == Extent::Whole {
            self.on_whole_state(&room, &told);
        }
        self.tell_rights(&room);
        self.settle_leaving(&room);
        self.end_empty_groups(&room);
        self.groups.watch_expiry(&room);
        self.groups.push(&mut self.world, &room);
        Verdict::Batch(verdicts)
    }

    fn on_whole_state(&mut self, room: &RoomId, told: &BTreeSet<(Dialect, String)>) {
        let now = self.world.now;
        let of_room = self.groups.room(room);
        let changes = of_room.roster.keep_only(now, told);
        let key = of_room.our_key(&self.world);
        if !told.contains(&(Dialect::Famedly, key)) {
            of_room.ours.on_absent();
        }
        self.on_changes(room, changes);
    }

    fn on_state_event(&mut self, room: &RoomId, event: &ParsedState) -> Verdict {
        match &event.content {
            Err(_) => Verdict::Ignored(Ignored::Malformed),
            Ok(StateContent::PowerLevels(levels)) => {
                self.groups.room(room).levels = Some(levels.clone());
                Verdict::Handled
            }
            Ok(StateContent::Creation(creation)) => {
                self.groups.room(room).creation = Some(creation.clone());
                Verdict::Handled
            }
            Ok(StateContent::Members(dialect, entries)) => {
                let facts = &event.facts;
                let outside = self.world.is_outside(room, &facts.sender)
                    && self.world.holds(Guard::OutsidersUnheard);
                let statement = Statement { dialect: *dialect, facts, entries, outside };
                self.on_members_event(room, statement)
            }
        }
    }

    fn on_members_event(&mut self, room: &RoomId, statement: Statement<'_>) -> Verdict {
        let Statement { dialect, facts, entries, outside } = statement;
        let of_room = self.groups.rooms.entry(room.clone()).or_default();
        let our_key =
            dialect == Dialect::Famedly && facts.state_key == of_room.our_key(&self.world);
        let foreign = names_another(&facts.state_key, &facts.sender);
        if foreign && self.world.holds(Guard::StateKeyBound) {
            if our_key {
                of_room.ours.on_overwritten();
            }
            return Verdict::Ignored(Ignored::ForeignStateKey);
        }
        if our_key {
            let device = &self.world.identity.device;
            of_room.ours.on_seen(device, &facts.event_id, entries);
        }
        let mut changes = of_room.roster.set_outside(self.world.now, &facts.sender, outside);
        let (more, left_out) = of_room.roster.state(self.world.now, statement);
        changes.extend(more);
        self.on_changes(room, changes);
        if left_out > 0 {
            Verdict::Ignored(Ignored::TooMany)
        } else if outside {
            // What he says counts when he is in the room, if it has not expired by then.
            Verdict::Ignored(Ignored::NotInRoom)
        } else {
            Verdict::Handled
        }
    }

    /// Tells what changed among the participants of a room's calls.
    fn on_changes(&mut self, room: &RoomId, changes: Vec<Changed>) {
        for (group, change) in changes {
            match change {
                Change::Joined(who) | Change::Updated(who) => self.on_present(room, group, who),
                Change::Left(who) => self.on_absent(room, &group, &who),
            }
        }
    }

    fn on_present(&mut self, room: &RoomId, group: GroupCallId, who: Participant) {
        let ours = who.id == self.ourselves();
        let visit = self.groups.room(room).ours.visit(&group);
        let stale = visit.is_none_or(|visit| who.session.as_deref() != Some(&visit.session));
        // A visit of ours that is over, or of a dead process.
        if ours && stale {
            return;
        }
        let found = self.groups.find(room, &group);
        let Some(session) = found.or_else(|| self.discover(room, group, &who)) else { return };
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.was_alive = true;
        let known = call.shown.participant(&who.id).filter(|known| known.session == who.session);
        let who = Participant { since: known.map_or(who.since, |known| known.since), ..who };
        let event = match call.shown.participant(&who.id) {
            Some(known) if *known == who => return,
            Some(_) => GroupEvent::ParticipantChanged(who),
            None => GroupEvent::ParticipantJoined(who),
        };
        call.tell(&mut self.world, event);
    }

    fn on_absent(&mut self, room: &RoomId, group: &GroupCallId, who: &ParticipantId) {
        let Some(session) = self.groups.find(room, group) else { return };
        let wanted = self.groups.room(room).ours.visit(group).is_some();
        // We are about to write that we are there: nobody leaves and comes back.
        if *who == self.ourselves() && wanted {
            return;
        }
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.participant(who).is_some() {
            call.tell(&mut self.world, GroupEvent::ParticipantLeft(who.clone()));
        }
    }

    /// Tells the calls of a room who may be in them, if that changed.
    fn tell_rights(&mut self, room: &RoomId) {
        let rights = self.groups.room(room).rights(&self.world.identity.user);
        let other = self.groups.of_room(room).filter(|call| call.shown.rights != rights);
        for session in other.map(|call| call.session).collect::<Vec<_>>() {
            self.tell_group(session, GroupEvent::RightsChanged(rights));
        }
    }

    /// After all that came at once: who leaves and who enters may be in any order there.
    fn end_empty_groups(&mut self, room: &RoomId) {
        let of_room = self.groups.of_room(room);
        let empty = of_room.filter(|call| call.was_alive && call.shown.participants.is_empty());
        let empty: Vec<_> = empty.map(|call| (call.session, call.shown.call.clone())).collect();
        for (session, group) in empty {
            self.end_if_empty(session, room, &group);
        }
        self.discover_rest(room);
    }

    /// Calls that found no place among those of the room are shown as soon as there is one.
    fn discover_rest(&mut self, room: &RoomId) {
        let Some(of_room) = self.groups.rooms.get(room) else { return };
        let known = self.groups.of_room(room).count();
        if known >= MAX_GROUP_CALLS_PER_ROOM || of_room.roster.calls() <= known {
            return;
        }
        let hidden: Vec<_> = of_room
            .roster
            .alive()
            .filter(|group| self.groups.find(room, group).is_none())
            .cloned()
            .collect();
        for group in hidden {
            let first = self.groups.room(room).roster.participants(&group).into_iter().next();
            if let Some(first) = first.filter(|first| first.id != self.ourselves()) {
                self.discover(room, group, &first);
            }
        }
    }

    fn discover(
        &mut self,
        room: &RoomId,
        group: GroupCallId,
        first: &Participant,
    ) -> Option<SessionId> {
        if self.service == Service::ShuttingDown {
            return None;
        }
        if self.groups.of_room(room).count() >= MAX_GROUP_CALLS_PER_ROOM {
            self.note("group", Some((&first.id.user, None)), Ignored::TooMany);
            return None;
        }
        let (backend, application) = (first.backend.clone(), first.application.clone());
        Some(self.add_group(room, group, backend, application))
    }

    fn add_group(
        &mut self,
        room: &RoomId,
        call: GroupCallId,
        backend: Backend,
        application: String,
    ) -> SessionId {
        let session = self.world.ids.session();
        let ourselves = self.ourselves();
        let mut participants = self.groups.room(room).roster.participants(&call);
        // What stands of us there is of a visit that is over.
        participants.retain(|one| one.id != ourselves);
        let was_alive = !participants.is_empty();
        let shown = GroupSnapshot {
            room: room.clone(),
            call: call.clone(),
            backend,
            application,
            state: GroupState::Idle,
            participants,
            rights: self.groups.room(room).rights(&self.world.identity.user),
            end: None,
        };
        let snapshot = Box::new(shown.clone());
        self.world.tell(VoipEvent::GroupCallAdded { session, snapshot });
        self.groups.by_id.insert((room.clone(), call), session);
        self.groups.calls.insert(session, GroupCall { session, shown, was_alive });
        session
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
        if !self.groups.room(&room).ours.is_awaiting(op) {
            return Verdict::Ignored(Ignored::StaleReply);
        }
        match result {
            Ok(Reply::Sent(event)) => {
                let outcome = self.groups.room(&room).ours.on_written(event);
                self.on_outcome(&room, outcome);
            }
            Ok(Reply::State(state)) if state.room == room => {
                self.groups.room(&room).ours.on_fetched();
                let state = RoomState { extent: Extent::Whole, ..*state };
                self.on_state(state);
            }
            Ok(_) => self.on_group_fault(&room, Fault::Unsupported),
            Err(fault) => self.on_group_fault(&room, fault),
        }
        self.groups.push(&mut self.world, &room);
        Verdict::Handled
    }

    fn on_group_fault(&mut self, room: &RoomId, fault: Fault) {
        let timeouts = &self.world.config.timeouts;
        let pauses = (timeouts.retry_first, timeouts.retry_longest);
        let outcome = self.groups.room(room).ours.on_fault(self.world.now, fault, pauses);
        self.on_outcome(room, outcome);
    }

    fn on_outcome(&mut self, room: &RoomId, outcome: Outcome) {
        self.groups.after(&self.world, room, &outcome);
        match outcome {
            Outcome::Accepted(in_it) => {
                for (group, visit) in in_it {
                    let present = self.groups.room(room).ours.visit(&group);
                    let same = present.is_some_and(|present| present.session == visit);
                    let session = self.groups.find(room, &group);
                    if let Some(session) = session.filter(|_| same) {
                        self.set_group_state(session, GroupState::Entered);
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

    /// Whoever waits for his membership to be taken back waits no more, unless it has to be written.
    fn settle_leaving(&mut self, room: &RoomId) {
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
        let why = match fault {
            Fault::Forbidden(_) | Fault::NotFound | Fault::Denied => GroupRefusal::Forbidden,
            Fault::Timeout | Fault::Cancelled | Fault::Panicked | Fault::Unreachable => {
                GroupRefusal::Unsupported
            }
            Fault::RateLimited { .. } | Fault::LoggedOut => GroupRefusal::Unsupported,
            Fault::Unsupported | Fault::Failed(_) => GroupRefusal::Unsupported,
        };
        self.drop_ourselves(session);
        self.tell_group(session, GroupEvent::Refused(why));
        self.set_group_state(session, GroupState::Idle);
        self.end_if_empty(session, room, group);
    }

    // --------------------------------------------------------------------------------- timers

    pub(in crate::machine) fn on_group_timers(&mut self) {
        while let Some((room, timer)) = self.groups.timers.pop_due(self.world.now) {
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
                GroupTimer::Retry => self.groups.room(&room).ours.on_pause_over(),
            }
            self.groups.push(&mut self.world, &room);
        }
    }

    // ------------------------------------------------------------------------------- the world

    /// The network is back: what failed is tried at once.
    pub(in crate::machine) fn on_groups_network_back(&mut self) {
        let rooms: Vec<_> = self.groups.rooms.keys().cloned().collect();
        for room in rooms {
            self.groups.room(&room).ours.on_pause_over();
            self.groups.push(&mut self.world, &room);
        }
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
    }

    fn end_groups_of(&mut self, room: &RoomId) {
        for session in self.groups.of_room(room).map(|call| call.session).collect::<Vec<_>>() {
            self.end_group(session, GroupEnd::LeftRoom);
        }
        self.groups.forget_room(&mut self.world, room);
    }

    /// Nothing can be said any more.
    pub(in crate::machine) fn end_groups_silently(&mut self) {
        for session in self.groups.calls.keys().copied().collect::<Vec<_>>() {
            self.end_group(session, GroupEnd::LoggedOut);
        }
        for room in self.groups.rooms.keys().cloned().collect::<Vec<_>>() {
            self.groups.room(&room).ours.give_up();
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
        for LiveMembership { room, session } in memberships {
            self.groups.room(&room).ours.haunt(session, until);
            self.groups.push(&mut self.world, &room);
        }
    }

    fn ourselves(&self) -> ParticipantId {
        let identity = &self.world.identity;
        ParticipantId { user: identity.user.clone(), device: identity.device.clone() }
    }

    fn set_group_state(&mut self, session: SessionId, state: GroupState) {
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.enter_state(&mut self.world, state);
        }
    }

    fn tell_group(&mut self, session: SessionId, event: GroupEvent) {
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.tell(&mut self.world, event);
        }
    }

    fn end_group(&mut self, session: SessionId, end: GroupEnd) {
        let Some(mut call) = self.groups.calls.remove(&session) else { return };
        self.groups.by_id.remove(&(call.shown.room.clone(), call.shown.call.clone()));
        call.tell(&mut self.world, GroupEvent::Ended(end));
        self.world.tell(VoipEvent::GroupCallEnded { session, end });
    }
}
