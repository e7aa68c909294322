//! The state of rooms, as it concerns group calls: whose memberships count, and what changes with them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    GroupCall,
    event::{GroupEvent, GroupSnapshot, GroupState, SfuStatus},
    groups::Told,
    key_event::KeySnapshot,
    keys::{self, Keys},
    media::{GroupMedia, Via},
    mesh::Mesh,
    order::StateKey,
    reactions::Reactions,
    ringing::Calling,
    roster::{Change, Changed, Participant, ParticipantId, Statement},
    sfu::Sfu,
    speaker::Speaker,
    touched::Touched,
};
use crate::{
    id::{RoomId, SessionId},
    machine::{
        Engine, Service,
        bounds::{MAX_GROUP_CALLS_PER_ROOM, MAX_MEMBERSHIPS_PER_ROOM},
        event::VoipEvent,
        guard::Guard,
        io::{Ignored, KeyUse, Verdict},
    },
    wire::{
        member::{Backend, Dialect, GroupCallId, names_another},
        state::{Extent, ParsedState, RoomState, StateContent, StateFacts},
    },
};

fn told(event: &ParsedState) -> Option<Told> {
    match &event.content {
        Ok(StateContent::Members(dialect, _)) => {
            Some(Told::Members((*dialect, event.facts.state_key.clone())))
        }
        Ok(StateContent::PowerLevels(_)) => Some(Told::PowerLevels),
        Ok(StateContent::Creation(_)) => Some(Told::Creation),
        Err(_) => None,
    }
}

impl Engine {
    /// Judges every event of a room's state, as a sync tells it.
    pub(in crate::machine) fn on_state(&mut self, state: RoomState) -> Verdict {
        let told = BTreeSet::new();
        self.judge_state(state, told)
    }

    /// The same of what we asked for. It says nothing of what was heard while it was on its way, and
    /// may be older: who came meanwhile stays.
    pub(super) fn on_fetched_state(&mut self, state: RoomState) {
        let overtaken = std::mem::take(&mut self.groups.room(&state.room).heard_meanwhile);
        let is_old = |event: &ParsedState| told(event).is_some_and(|it| overtaken.contains(&it));
        let events = state.events.into_iter().filter(|event| !is_old(event)).collect();
        let state = RoomState { extent: Extent::Whole, events, ..state };
        let of_members = overtaken.into_iter().filter_map(|told| match told {
            Told::Members(key) => Some(key),
            Told::PowerLevels | Told::Creation => None,
        });
        self.judge_state(state, of_members.collect());
    }

    fn judge_state(&mut self, state: RoomState, mut told: BTreeSet<StateKey>) -> Verdict {
        let RoomState { room, extent, encrypted, events } = state;
        let was_in_doubt = self.world.may_be_encrypted(&room);
        if let Some(encrypted) = encrypted {
            self.world.note_encryption(&room, encrypted);
        }
        if was_in_doubt && !self.world.may_be_encrypted(&room) {
            self.on_clear_room(&room);
        }
        // Whose keys are whose depends on the room's version, wherever in the batch that is said.
        for event in &events {
            if let Ok(StateContent::Creation(creation)) = &event.content {
                self.groups.room(&room).creation = Some(creation.clone());
            }
            self.groups.note_clock(self.world.now.wall, &event.facts);
        }
        let verdicts = events.iter().map(|event| {
            if let Ok(StateContent::Members(dialect, _)) = &event.content {
                told.insert((*dialect, event.facts.state_key.clone()));
            }
            let verdict = self.on_state_event(&room, extent, event);
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
        if extent == Extent::Whole {
            self.tell_read(&room);
        }
        self.ring_waiting(&room);
        self.react_waiting(&room);
        self.settle_leaving(&room);
        self.end_empty_groups(&room);
        self.tend_groups(&room);
        self.groups.watch_expiry(&room);
        self.groups.push(&mut self.world, &room);
        Verdict::Batch(verdicts)
    }

    fn on_whole_state(&mut self, room: &RoomId, told: &BTreeSet<StateKey>) {
        self.groups.on_read(&mut self.world, room);
        let now = self.world.now;
        let of_room = self.groups.room(room);
        let changes = of_room.roster.keep_only(now, told);
        let key = of_room.our_key(&self.world);
        if !told.contains(&(of_room.ours.dialect(), key)) {
            of_room.ours.on_absent();
        }
        self.on_changes(room, changes);
    }

    fn on_state_event(&mut self, room: &RoomId, extent: Extent, event: &ParsedState) -> Verdict {
        let of_room = self.groups.room(room);
        let heard = told(event).filter(|_| of_room.is_being_read());
        if of_room.heard_meanwhile.len() < MAX_MEMBERSHIPS_PER_ROOM {
            of_room.heard_meanwhile.extend(heard);
        }
        match &event.content {
            Err(_) => Verdict::Ignored(Ignored::Malformed),
            Ok(StateContent::PowerLevels(levels)) => {
                self.groups.room(room).levels = Some(levels.clone());
                Verdict::Handled
            }
            Ok(StateContent::Creation(_)) => Verdict::Handled,
            Ok(StateContent::Members(dialect, entries)) => {
                let facts = &event.facts;
                if extent == Extent::Changes && self.is_outdated(room, *dialect, facts) {
                    return Verdict::Ignored(Ignored::OutdatedState);
                }
                let outside = self.world.is_outside(room, &facts.sender)
                    && self.world.holds(Guard::OutsidersUnheard);
                let statement = Statement { dialect: *dialect, facts, entries, outside };
                self.on_members_event(room, statement)
            }
        }
    }

    fn is_outdated(&mut self, room: &RoomId, dialect: Dialect, facts: &StateFacts) -> bool {
        let now = self.world.now;
        let outdated = self.groups.room(room).order.is_outdated(now, dialect, facts);
        outdated && self.world.holds(Guard::StateInOrder)
    }

    fn on_members_event(&mut self, room: &RoomId, statement: Statement<'_>) -> Verdict {
        let Statement { dialect, facts, entries, outside } = statement;
        let of_room = self.groups.room(room);
        let our_key =
            dialect == of_room.ours.dialect() && facts.state_key == of_room.our_key(&self.world);
        let foreign = names_another(&facts.state_key, &facts.sender);
        if foreign && self.world.holds(Guard::StateKeyBound) {
            if our_key {
                of_room.ours.on_overwritten();
            }
            return Verdict::Ignored(Ignored::ForeignStateKey);
        }
        of_room.order.note(self.world.now, dialect, facts);
        if our_key {
            let device = &self.world.identity.device;
            of_room.ours.on_seen(device, &facts.event_id, entries);
        }
        let outside = outside || of_room.roster.is_of_a_leaver(dialect, facts);
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
    pub(super) fn on_changes(&mut self, room: &RoomId, changes: Vec<Changed>) {
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
        let found = self.groups.find(room, &group);
        // A visit of ours that is over, or of a dead process: for the others we are on that one now.
        if ours && stale {
            if let Some(session) = found {
                self.on_lapsed(session);
            }
            return;
        }
        let Some(session) = found.or_else(|| self.discover(room, group, &who)) else { return };
        self.on_our_device_in(session, &who);
        if ours {
            self.on_back(session);
        }
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.was_alive = true;
        call.touched.touch(&who.id);
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
        // We are about to write that we are there: for us nobody leaves and comes back.
        if *who == self.ourselves() && wanted {
            self.on_lapsed(session);
            return;
        }
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.touched.touch(who);
        if call.shown.participant(who).is_some() {
            call.tell(&mut self.world, GroupEvent::ParticipantLeft(who.clone()));
        }
        self.on_caller_gone(session, &who.user);
    }

    /// Tells the calls of a room who may be in them, if that changed.
    fn tell_rights(&mut self, room: &RoomId) {
        let of_room = self.groups.rooms.get(room);
        let Some(of_room) = of_room else { return };
        let rights = |call: &GroupCall| {
            let dialect = call.shown.backend.dialect();
            (call.session, of_room.rights(&self.world.identity.user, dialect))
        };
        let calls = self.groups.of_room(room);
        let other = calls.filter(|call| call.shown.rights != rights(call).1).map(rights);
        for (session, rights) in other.collect::<Vec<_>>() {
            self.tell_group(session, GroupEvent::RightsChanged(rights));
        }
    }

    /// Nobody waits for the room's state any more.
    pub(super) fn tell_read(&mut self, room: &RoomId) {
        let reading = self.groups.of_room(room).filter(|call| call.shown.reading);
        for session in reading.map(|call| call.session).collect::<Vec<_>>() {
            self.tell_group(session, GroupEvent::ReadingChanged { reading: false });
        }
    }

    /// After all that came at once: who leaves and who enters may be in any order there.
    pub(super) fn end_empty_groups(&mut self, room: &RoomId) {
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

    pub(super) fn add_group(
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
        let of_room = self.groups.room(room);
        let rights = of_room.rights(&self.world.identity.user, backend.dialect());
        let profile = keys::profile(KeyUse::Usual, &backend, self.world.config.key_profile);
        let shown = GroupSnapshot {
            ours: ourselves,
            room: room.clone(),
            call: call.clone(),
            backend,
            application,
            state: GroupState::Idle,
            refused: None,
            reading: false,
            participants,
            reactions: BTreeMap::new(),
            rights,
            connections: BTreeMap::new(),
            streams: BTreeMap::new(),
            muted: BTreeMap::new(),
            held: false,
            active_speaker: None,
            sfu: SfuStatus::Off,
            token: None,
            keys: KeySnapshot::default(),
            end: None,
        };
        let snapshot = Box::new(shown.clone());
        self.world.tell(VoipEvent::GroupCallAdded { session, snapshot });
        self.groups.by_id.insert((room.clone(), call), session);
        let via = Via::of(&shown.backend, self.world.config.sfu_client);
        let media = GroupMedia::new(session, via, self.world.ids.stream());
        let call = GroupCall {
            session,
            shown,
            was_alive,
            reactions: Reactions::default(),
            calling: Calling::default(),
            touched: Touched::default(),
            mesh: Mesh::default(),
            sfu: Sfu::default(),
            keys: Keys::new(profile),
            media,
            speaker: Speaker::default(),
        };
        self.groups.calls.insert(session, call);
        session
    }
}
