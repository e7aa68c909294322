//! Group calls through an SFU: which one it is, and who of its participants is whom.
//!
//! The oldest members say which (`sfu.rs`). Who is there as somebody at the SFU is known by the names
//! that an SFU may give him.

use super::{
    GroupCall,
    event::{GroupEvent, GroupRefusal, GroupState, SfuStatus},
};
use crate::{
    id::SessionId,
    machine::{
        Engine,
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
    /// The focus of the oldest member whose word counts.
    fn focus_of_elders(&self) -> Option<&Backend> {
        let elders = self.shown.participants.iter().filter(|one| self.sfu.elders.contains(&one.id));
        elders.map(|one| &one.backend).find(|backend| backend.is_sfu())
    }

    /// Whoever of these is older than we are counts, as long as memberships cross.
    fn note_elders(&mut self, now: Mono, touched: &[ParticipantId]) {
        if self.sfu.settled.is_some_and(|until| until <= now) {
            return;
        }
        let Some(ours) = self.shown.participant(&self.shown.ours) else { return };
        let touched = touched.iter().filter_map(|id| self.shown.participant(id));
        let older = touched.filter(|one| (one.since, &one.id) < (ours.since, &ours.id));
        let older: Vec<_> = older.map(|one| one.id.clone()).collect();
        self.sfu.elders.extend(older);
    }
}

impl Engine {
    /// Which SFU the call is at, if it is known or need not be: the oldest members' before ours.
    /// `None`: the homeserver is asked, and we enter when it has answered.
    pub(super) fn choose_focus(&mut self, session: SessionId, media: CallMedia) -> Option<Backend> {
        let configured = self.world.config.livekit_service_url.clone();
        let ourselves = self.ourselves();
        let call = self.groups.calls.get_mut(&session)?;
        if !call.shown.backend.is_sfu() {
            return Some(call.shown.backend.clone());
        }
        let present = call.shown.participants.iter().map(|one| &one.id);
        call.sfu.elders = present.filter(|one| **one != ourselves).cloned().collect();
        let room = call.shown.room.clone();
        let of_elders = call.focus_of_elders().cloned();
        let known =
            of_elders.or_else(|| Some(call.shown.backend.clone()).filter(Backend::has_focus));
        let known = known.or_else(|| Some(Backend::livekit(configured?, room.as_str())));
        if known.is_none() {
            let op = self.world.request(Owner::Sfu(session), Op::Fetch(Fetch::Transports));
            call.sfu.choosing = Some((op, media));
            call.show_sfu(&mut self.world, SfuStatus::FindingFocus);
        }
        known
    }

    /// The homeserver names its SFUs, or none.
    pub(super) fn on_transports(&mut self, session: SessionId, result: Result<Reply, Fault>) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let Some((_, media)) = call.sfu.choosing.take() else { return };
        let room = call.shown.room.clone();
        let (named, why) = match result {
            Ok(Reply::Transports(transports)) => (transports, GroupRefusal::NoFocus),
            Err(fault) if fault.is_passing() => (Vec::new(), GroupRefusal::NotReached),
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
        if call.sfu.choosing.is_some() {
            // It is what we shall find.
            return;
        }
        let (room, group) = (call.shown.room.clone(), call.shown.call.clone());
        self.take_focus(session, &focus);
        if let Some(visit) = self.groups.room(&room).ours.change(&group) {
            visit.backend = focus;
        }
        self.leave_sfu(session);
        self.start_sfu(session);
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
            call.sfu.unname(member);
            call.sfu.elders.remove(member);
            if call.speaker.is(member) {
                call.speaker.name(None);
                self.tell_speaker(session);
            }
            return;
        };
        let visit = one.session.as_deref().unwrap_or_default();
        call.sfu.name(member, identities(&member.user, &member.device, visit));
        // Our own membership was seen: only now it is known who is older.
        let touched = match one.id == ourselves {
            true => call.shown.participants.iter().map(|one| one.id.clone()).collect(),
            false => vec![one.id],
        };
        call.note_elders(now, &touched);
        self.show_sfu_member(session, member);
    }
}
