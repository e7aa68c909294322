//! Group calls through an SFU: which one it is, and who of its participants is whom.
//!
//! The oldest members say which (`sfu.rs`). Who is there as somebody at the SFU is known by the names
//! that an SFU may give him.

use std::collections::BTreeSet;

use super::{
    GroupCall,
    event::{GroupEvent, GroupRefusal, GroupState, SfuStatus},
    sfu::Choosing,
};
use crate::{
    id::SessionId,
    machine::{
        Engine,
        bounds::MAX_TOKEN_TRIES,
        io::{CallMedia, Fault, Fetch, Op, ParticipantId, Reply},
        world::Owner,
    },
    time::Mono,
    wire::{
        focus::{Transport, identities},
        member::Backend,
    },
};

impl GroupCall {
    /// The focus of the oldest member whose word counts: of those whom we found, or if we found nobody
    /// of those who crossed us.
    fn focus_of_elders(&self) -> Option<&Backend> {
        self.focus_of(&self.sfu.found).or_else(|| self.focus_of(&self.sfu.crossed))
    }

    /// The focus of the oldest of these.
    fn focus_of(&self, elders: &BTreeSet<ParticipantId>) -> Option<&Backend> {
        let elders = self.shown.participants.iter().filter(|one| elders.contains(&one.id));
        elders.map(|one| &one.backend).find(|backend| backend.is_sfu())
    }

    fn everybody(&self) -> Vec<ParticipantId> {
        self.shown.participants.iter().map(|one| one.id.clone()).collect()
    }

    /// All who are there now were there before us.
    fn find_elders(&mut self) {
        let present = self.shown.participants.iter().map(|one| &one.id);
        self.sfu.found = present.filter(|one| **one != self.shown.ours).cloned().collect();
        self.sfu.has_found = self.focus_of(&self.sfu.found).is_some();
    }

    /// Whoever of these is older than we are counts, as long as memberships cross. How old he is his
    /// homeserver says: it moves nobody who found somebody there.
    fn note_elders(&mut self, now: Mono, touched: &[ParticipantId]) {
        if self.sfu.has_found || self.sfu.settled.is_some_and(|until| until <= now) {
            return;
        }
        let Some(ours) = self.shown.participant(&self.shown.ours) else { return };
        let touched = touched.iter().filter_map(|id| self.shown.participant(id));
        let older = touched.filter(|one| (one.since, &one.id) < (ours.since, &ours.id));
        let older: Vec<_> = older.map(|one| one.id.clone()).collect();
        self.sfu.crossed.extend(older);
    }
}

impl Engine {
    /// Which SFU the call is at, if it is known or need not be: the oldest members' before ours.
    /// `None`: the homeserver is asked, and we enter when it has answered.
    pub(super) fn choose_focus(&mut self, session: SessionId, media: CallMedia) -> Option<Backend> {
        let configured = self.world.config.livekit_service_url.clone();
        let call = self.groups.calls.get_mut(&session)?;
        if !call.shown.backend.is_sfu() {
            return Some(call.shown.backend.clone());
        }
        call.find_elders();
        let room = call.shown.room.clone();
        let of_elders = call.focus_of_elders().cloned();
        let known =
            of_elders.or_else(|| Some(call.shown.backend.clone()).filter(Backend::has_focus));
        let known = known.or_else(|| Some(Backend::livekit(configured?, room.as_str())));
        if known.is_none() {
            call.sfu.choosing_tries = 0;
            call.show_sfu(&mut self.world, SfuStatus::FindingFocus);
            self.ask_transports(session, media);
        }
        known
    }

    fn ask_transports(&mut self, session: SessionId, media: CallMedia) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let op = self.world.request(Owner::Sfu(session), Op::Fetch(Fetch::Transports));
        call.sfu.choosing = Choosing::Asked(op, media);
    }

    /// It is time to ask the homeserver once more, unless somebody has come meanwhile.
    pub(super) fn on_transports_due(&mut self, session: SessionId, media: CallMedia) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.find_elders();
        if call.sfu.has_found {
            let nobody = Reply::Transports(Vec::new());
            self.enter_where_named(session, (Ok(nobody), media));
        } else {
            self.ask_transports(session, media);
        }
    }

    /// The homeserver names its SFUs, or none.
    pub(super) fn on_transports(&mut self, session: SessionId, result: Result<Reply, Fault>) {
        let (now, timeouts) = (self.world.now.mono, &self.world.config.timeouts);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let Choosing::Asked(_, media) = std::mem::take(&mut call.sfu.choosing) else { return };
        call.find_elders();
        let tries = call.sfu.choosing_tries.saturating_add(1);
        match result {
            Err(fault) if fault.is_passing() && tries < MAX_TOKEN_TRIES && !call.sfu.has_found => {
                let at = now.plus(fault.pause_before(tries, timeouts));
                call.sfu.choosing_tries = tries;
                call.sfu.choosing = Choosing::Pausing(at, media);
            }
            result => self.enter_where_named(session, (result, media)),
        }
    }

    fn enter_where_named(
        &mut self,
        session: SessionId,
        (result, media): (Result<Reply, Fault>, CallMedia),
    ) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.sfu.choosing = Choosing::Not;
        let room = call.shown.room.clone();
        let (named, why) = match result {
            Ok(Reply::Transports(transports)) => (transports, GroupRefusal::NoFocus),
            Err(fault) if fault.is_passing() => (Vec::new(), GroupRefusal::NoTransports),
            Ok(_) | Err(_) => (Vec::new(), GroupRefusal::NoFocus),
        };
        let address = named.iter().find_map(Transport::address);
        let of_elders = call.focus_of_elders().cloned();
        let found = of_elders.or_else(|| Some(Backend::livekit(address?, room.as_str())));
        match found {
            Some(backend) => self.begin_visit(session, &room, (backend, media)),
            None => {
                call.show_sfu(&mut self.world, SfuStatus::Off);
                call.tell(&mut self.world, GroupEvent::Refused(why));
                call.enter_state(&mut self.world, GroupState::Idle);
                let group = self.groups.calls.get(&session).map(|call| call.shown.call.clone());
                if let Some(group) = group {
                    self.end_if_empty(session, &room, &group);
                }
            }
        }
    }

    /// The call is at this focus from now on.
    pub(super) fn take_focus(&mut self, session: SessionId, backend: &Backend) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.backend != *backend {
            call.tell(&mut self.world, GroupEvent::BackendChanged(backend.clone()));
        }
    }

    /// Who is older than we are and elsewhere is followed, after all that changed at once.
    pub(super) fn follow_elders(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get(&session) else { return };
        let focus = call.focus_of_elders().filter(|focus| **focus != call.shown.backend);
        let Some(focus) = focus.filter(|_| call.is_wanted()).cloned() else { return };
        if call.sfu.choosing != Choosing::Not {
            // It is what we shall find.
            return;
        }
        let (room, group) = (call.shown.room.clone(), call.shown.call.clone());
        self.take_focus(session, &focus);
        if let Some(visit) = self.groups.room(&room).ours.change(&group) {
            visit.backend = focus;
        }
        self.leave_sfu(session);
        self.follow_sfu(session);
        self.groups.push(&mut self.world, &room);
    }

    /// A member is there otherwise than before.
    pub(super) fn tend_sfu_of(&mut self, session: SessionId, member: &ParticipantId) {
        let ourselves = self.ourselves();
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.shown.backend.is_sfu() {
            return;
        }
        // Who is in a call that we are only shown is nobody at an SFU to us.
        let there = call.shown.participant(member).filter(|_| call.is_wanted());
        let Some(one) = there.cloned() else {
            let namesakes = call.sfu.unname(member);
            call.sfu.found.remove(member);
            call.sfu.crossed.remove(member);
            if call.sfu.has_found && call.focus_of(&call.sfu.found).is_none() {
                // Whom we found has gone: as long as memberships cross we are as who found nobody.
                call.sfu.has_found = false;
                let all = call.everybody();
                call.note_elders(now, &all);
            }
            if call.speaker.is(member) {
                call.speaker.name(None);
                self.tell_speaker(session);
            }
            namesakes.iter().for_each(|other| self.show_sfu_member(session, other));
            return;
        };
        let visit = one.session.as_deref().unwrap_or_default();
        let names = identities(&member.user, &member.device, visit);
        let namesakes = call.sfu.name(member, names);
        // Our own membership was seen: only now it is known who is older.
        let touched = match one.id == ourselves {
            true => call.everybody(),
            false => vec![one.id],
        };
        call.note_elders(now, &touched);
        self.show_sfu_member(session, member);
        namesakes.iter().for_each(|other| self.show_sfu_member(session, other));
    }
}
