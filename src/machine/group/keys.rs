//! Media keys in a group call: what is done with the ring of ours and with those of the others.
//!
//! Whatever changed touches the members that it concerns; [`tend_keys`](Engine::tend_keys) then does
//! what the two plans want (`keyring.rs`, `heard.rs`). A message about keys is bound on all sides before
//! it is believed (T-24): to a call that we are in, to a sender who is in the room, to the device that
//! Olm proves in an encrypted room, to a membership, and to the ring.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    GroupCall, Groups,
    delivery::Delivered,
    event::{GroupEvent, GroupState},
    giving::{Given, Giving},
    groups::GroupTimer,
    heard::HeardKeys,
    key_event::{KeyEvent, KeyName, Undelivered},
    keyring::{Deed, Gone, Keyring},
    roster::Participant,
};
use crate::{
    config::{KeyProfile, Unverified},
    id::{OpId, RoomId, SessionId, UserId},
    machine::{
        Engine,
        bounds::MAX_KEY_REQUESTS,
        event::Side,
        fingerprint::Fingerprint,
        io::{
            Fault, Fetch, Ignored, KeyOp, KeyOwner, KeyUse, MatrixOp, Op, ParticipantId, Refusal,
            Reply, Trust, Verdict,
        },
        world::{Owner, World},
    },
    redact::SecretBytes,
    time::{Deadline, Mono},
    wire::{
        focus::identities,
        keys::{KeyBody, KeyMessage},
        member::Backend,
    },
};

/// The media keys of one group call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Keys {
    /// How they are used; `None`: there are none.
    pub(super) profile: Option<KeyProfile>,
    pub(super) ring: Keyring,
    pub(super) heard: HeardKeys,
    pub(super) giving: Giving,
    /// Requests for others' keys that are on their way.
    asks: BTreeMap<OpId, BTreeSet<ParticipantId>>,
}

impl Keys {
    pub(super) fn new(profile: Option<KeyProfile>) -> Self {
        Self { profile, ..Self::default() }
    }

    /// To be said while we are not in the call.
    pub(super) const fn set_profile(&mut self, profile: Option<KeyProfile>) {
        self.profile = profile;
    }

    pub(super) const fn are_on(&self) -> bool {
        self.profile.is_some()
    }

    /// The homeserver takes what we write.
    pub(super) fn try_again(&mut self, now: Mono) {
        self.ring.try_again();
        self.heard.ask_unreached(now, 1);
    }

    /// For the others we were gone.
    pub(super) fn share_again(&mut self) {
        self.ring.share_again();
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value(self.profile);
        self.ring.fingerprint(print);
        self.heard.fingerprint(print);
        self.giving.fingerprint(print);
        for (op, asked) in &self.asks {
            print.op(*op);
            print.value(asked);
        }
    }

    /// Gives a key to the provider.
    fn give(&mut self, world: &mut World, session: SessionId, given: Given) {
        let Some(profile) = self.profile else { return };
        let Given { owner, key } = given.clone();
        let set = KeyOp::Set { profile, owner, key };
        let op = world.request(Owner::Keys(session), Op::Keys(session, set));
        self.giving.on_giving(op, given);
    }
}

impl GroupCall {
    /// A member with whom keys are shared: one who meets as we do, at whichever SFU.
    pub(super) fn shares_keys(&self, member: &ParticipantId) -> Option<&Participant> {
        let alike = |one: &&Participant| match (&one.backend, &self.shown.backend) {
            (Backend::Livekit { .. }, Backend::Livekit { .. }) => true,
            (theirs, ours) => theirs == ours,
        };
        let one = self.shown.participant(member).filter(alike)?;
        (one.dialect == self.shown.backend.dialect()).then_some(one)
    }

    /// Whose a key of this participant is.
    fn key_owner(&self, participant: ParticipantId) -> KeyOwner {
        let side = if participant == self.shown.ours { Side::Local } else { Side::Remote };
        let visit = match side {
            Side::Local => Some(self.sfu.visit.as_str()),
            Side::Remote => {
                self.shown.participant(&participant).and_then(|one| one.session.as_deref())
            }
        };
        let ParticipantId { user, device } = &participant;
        let identities = identities(user, device, visit.unwrap_or_default()).into();
        KeyOwner { participant, side, identities }
    }

    /// Sends a message about keys.
    fn send_keys(
        &self,
        world: &mut World,
        body: KeyBody,
        targets: BTreeSet<ParticipantId>,
    ) -> OpId {
        let (room, conf_id) = (self.shown.room.clone(), self.shown.call.call_id.clone());
        let device = world.identity.device.clone();
        // Whom we would not hear gets no key of ours: a homeserver can add a device to a user, and a
        // membership for it.
        let strict = world.config.unverified == Unverified::Refuse;
        let trust = match body {
            KeyBody::Keys(_) if strict => Trust::Verified,
            KeyBody::Keys(_) | KeyBody::Request => Trust::Any,
        };
        let message = KeyMessage { room: room.clone(), conf_id, device, body };
        let (event_type, content) = message.write(world.config.wire_form);
        let transaction = world.ids.transaction(&world.party);
        let send =
            MatrixOp::SendToDevice { room, targets, trust, event_type, content, transaction };
        world.request(Owner::Keys(self.session), Op::Matrix(send))
    }
}

/// What keys a group call has.
pub(super) const fn profile(
    keys: KeyUse,
    backend: &Backend,
    usual: KeyProfile,
) -> Option<KeyProfile> {
    match keys {
        KeyUse::On(profile) => Some(profile),
        KeyUse::Off => None,
        KeyUse::Usual => match backend {
            Backend::Livekit { .. } => Some(usual),
            Backend::Mesh | Backend::Msc3401Mesh | Backend::Unknown(_) => None,
        },
    }
}

impl Engine {
    // ------------------------------------------------------------------------ coming and going

    /// Whether there are media keys: to be said before we enter.
    pub(super) fn use_keys(&mut self, session: SessionId, keys: KeyUse) {
        let usual = self.world.config.key_profile;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.is_wanted() {
            call.keys.set_profile(profile(keys, &call.shown.backend, usual));
        }
    }

    /// We are about to be in the call: our key is made and shared before anybody knows of us.
    pub(super) fn start_keys(&mut self, session: SessionId) {
        let ratchet = self.world.config.ratchet;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if let Some(profile) = call.keys.profile {
            call.keys.ring.begin_at(self.world.next_key);
            call.keys.ring.start(profile.ring_size, ratchet);
            let begin = Op::Keys(session, KeyOp::Begin(profile));
            self.world.request(Owner::Nobody, begin);
        }
    }

    /// We are in the call no more: nothing of it is used, shared or awaited (T-26).
    pub(super) fn stop_keys(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        stop(call, &mut self.world);
    }

    /// A member is there otherwise than before.
    pub(super) fn tend_keys_of(&mut self, session: SessionId, member: &ParticipantId) {
        let ourselves = *member == self.world.ourselves();
        let ignored = self.ignored_users.contains(&member.user);
        let (now, timeouts) = (self.world.now.mono, &self.world.config.timeouts);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.keys.ring.is_active() || ourselves {
            return;
        }
        let Some(present) = call.shares_keys(member).filter(|_| !ignored).cloned() else {
            let room = &call.shown.room;
            let of_room = self.groups.rooms.get(room);
            // Who all the members are not every host tells; who has left each does.
            let told = of_room.is_some_and(|it| it.roster.is_outside(&member.user));
            let how = match told || self.world.is_outside(room, &member.user) {
                true => Gone::Removed,
                false => Gone::Left,
            };
            call.keys.ring.on_gone(now, member, (how, timeouts));
            call.keys.giving.on_gone(member);
            if call.keys.heard.on_gone(now, member) {
                let forget = Op::Keys(session, KeyOp::Forget(Some(member.clone())));
                self.world.request(Owner::Nobody, forget);
            }
            return;
        };
        let visit = (member, present.session.as_ref());
        call.keys.ring.on_present(now, visit, timeouts);
        call.keys.heard.forget_early(now, timeouts.parked);
        // What is outside the ring was refused before it was kept.
        for key in call.keys.heard.on_present(now, visit, timeouts.key_request) {
            call.keys.giving.wait(now, member, key);
        }
    }

    /// Does what is to be done now.
    pub(super) fn tend_keys(&mut self, session: SessionId) {
        let now = self.world.now.mono;
        let next = |call: &mut GroupCall| call.keys.ring.next(now);
        while let Some(deed) = self.groups.calls.get_mut(&session).and_then(next) {
            self.do_with_keys(session, deed);
        }
        self.give_keys(session);
        self.ask_for_keys(session);
    }

    /// The provider gets what waits for it.
    fn give_keys(&mut self, session: SessionId) {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        while let Some((participant, key)) = call.keys.giving.next(now) {
            let (owner, name) = (call.key_owner(participant.clone()), KeyName::from(&key));
            call.keys.give(&mut self.world, session, Given { owner, key });
            let received = KeyEvent::Received { participant, key: name };
            call.tell(&mut self.world, GroupEvent::Key(received));
        }
    }

    /// The same, and sets the timer anew.
    pub(super) fn go_on_with_keys(&mut self, session: SessionId) {
        self.tend_keys(session);
        if let Some(room) = self.groups.calls.get(&session).map(|call| call.shown.room.clone()) {
            self.groups.watch_keys(&room);
        }
    }

    fn do_with_keys(&mut self, session: SessionId, deed: Deed) {
        let ourselves = self.world.ourselves();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let (owner, world) = (Owner::Keys(session), &mut self.world);
        match deed {
            Deed::Make => {
                let op = world.request(owner, Op::Fetch(Fetch::KeyMaterial));
                call.keys.ring.on_making(op);
            }
            Deed::Drop(op) => world.cancel(op),
            Deed::Ratchet(index) => {
                let ratchet = KeyOp::Ratchet { participant: ourselves, index };
                let op = world.request(owner, Op::Keys(session, ratchet));
                call.keys.ring.on_ratcheting(op);
            }
            Deed::Send(key, to) => {
                let op = call.send_keys(world, KeyBody::Keys(vec![key]), to.clone());
                call.keys.ring.on_sending(op, &to);
            }
            Deed::Use(key) => {
                let owner = call.key_owner(ourselves);
                call.keys.give(world, session, Given { owner, key });
            }
        }
    }

    /// Whoever has shared no key is asked, once he can know that we are there.
    fn ask_for_keys(&mut self, session: SessionId) {
        let (now, pause) = (self.world.now.mono, self.world.config.timeouts.key_request);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.state != GroupState::Entered {
            return;
        }
        let (asked, silent) = call.keys.heard.due(now, pause);
        if !asked.is_empty() {
            let op = call.send_keys(&mut self.world, KeyBody::Request, asked.clone());
            call.keys.asks.insert(op, asked);
        }
        for member in silent {
            call.tell(&mut self.world, GroupEvent::Key(KeyEvent::Missing(member)));
        }
    }

    /// The application wants these participants' keys again.
    pub(super) fn request_keys(
        &mut self,
        session: SessionId,
        members: &BTreeSet<ParticipantId>,
    ) -> Result<(), Refusal> {
        let now = self.world.now.mono;
        let call = self.groups.calls.get_mut(&session).ok_or(Refusal::UnknownSession)?;
        if !call.is_wanted() {
            return Err(Refusal::NotEntered);
        }
        if !call.keys.are_on() {
            return Err(Refusal::NoKeys);
        }
        if !call.keys.heard.request(now, members) {
            return Err(Refusal::NoSuchParticipant);
        }
        self.go_on_with_keys(session);
        Ok(())
    }

    // --------------------------------------------------------------------------------- replies

    /// Takes the reply to a request about a group call's keys.
    pub(in crate::machine) fn on_key_reply(
        &mut self,
        session: SessionId,
        op: OpId,
        result: Result<Reply, Fault>,
    ) -> Verdict {
        let (now, timeouts) = (self.world.now.mono, &self.world.config.timeouts);
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::StaleReply);
        };
        let ring = &mut call.keys.ring;
        if ring.awaits_material(op) {
            ring.on_material(now, material(result), timeouts);
        } else if ring.awaits_ratchet(op) {
            ring.on_ratcheted(now, ratcheted(result));
            if let Some(key) = ring.in_use().filter(|key| call.shown.keys.own.as_ref() != Some(key))
            {
                call.tell(&mut self.world, GroupEvent::Key(KeyEvent::Used(key)));
            }
        } else if ring.awaits_delivery(op) {
            let delivered = ring.on_sent(now, op, (unreached(result), timeouts));
            self.tell_delivered(session, delivered);
        } else if let Some(given) = call.keys.giving.on_given(op) {
            self.on_given(session, given, result);
        } else if let Some(asked) = call.keys.asks.remove(&op) {
            if result.is_err() {
                call.keys.heard.on_unsent(&asked);
            }
        } else {
            return Verdict::Ignored(Ignored::StaleReply);
        }
        self.go_on_with_keys(session);
        Verdict::Handled
    }

    fn tell_delivered(&mut self, session: SessionId, delivered: Delivered) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let Delivered { reached, without_keys, given_up } = delivered;
        for participant in reached {
            if let Some(key) = call.keys.ring.newest_of(&participant) {
                let delivered = KeyEvent::Delivered { participant, key };
                call.tell(&mut self.world, GroupEvent::Key(delivered));
            }
        }
        let keyless = without_keys.iter().map(|member| (member, Undelivered::NoDeviceKeys));
        let failed = given_up.iter().filter(|member| !without_keys.contains(member));
        let failed = failed.map(|member| (member, Undelivered::GivenUp));
        for (member, why) in keyless.chain(failed) {
            if call.shown.keys.undelivered.get(member) != Some(&why) {
                let participant = member.clone();
                let undelivered = KeyEvent::Undelivered { participant, why };
                call.tell(&mut self.world, GroupEvent::Key(undelivered));
            }
        }
    }

    /// The provider has a key, or did not take it.
    fn on_given(&mut self, session: SessionId, given: Given, result: Result<Reply, Fault>) {
        let (now, timeouts) = (self.world.now.mono, &self.world.config.timeouts);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let Given { owner, key } = given;
        let (ours, participant) = (owner.is_ours(), owner.participant);
        match result {
            Ok(_) if ours => {
                call.keys.ring.on_used();
                let used = KeyEvent::Used(KeyName::from(&key));
                return call.tell(&mut self.world, GroupEvent::Key(used));
            }
            Ok(_) => return,
            Err(fault) if !fault.is_passing() => {}
            Err(_) if ours => call.keys.ring.use_again(now, key, timeouts),
            Err(_) => call.keys.heard.ask_again(now, &participant, timeouts.key_request),
        }
        let refuses = !call.shown.keys.missing.contains(&participant);
        if refuses && (ours || call.shown.participant(&participant).is_some()) {
            call.tell(&mut self.world, GroupEvent::Key(KeyEvent::Refused(participant)));
        }
    }

    // ------------------------------------------------------------------------ timers, the world

    /// Something of a room's keys is due.
    pub(super) fn on_keys_due(&mut self, room: &RoomId) {
        for session in self.groups.sessions_of(room) {
            self.tend_keys(session);
        }
        self.groups.watch_keys(room);
    }

    /// It is known now that a room is not encrypted: whose keys were not believed for that are asked.
    pub(super) fn on_clear_room(&mut self, room: &RoomId) {
        let now = self.world.now.mono;
        for session in self.groups.sessions_of(room) {
            if let Some(call) = self.groups.calls.get_mut(&session) {
                call.keys.heard.ask_unreached(now, MAX_KEY_REQUESTS);
            }
        }
    }

    /// A user is in a room no more; his memberships are looked at next.
    pub(in crate::machine) fn on_keys_of_removed(&mut self, room: &RoomId, user: &UserId) {
        for session in self.groups.sessions_of(room) {
            if let Some(call) = self.groups.calls.get_mut(&session) {
                call.keys.ring.on_removed(user);
            }
        }
    }

    /// Keys to encrypt for devices of this user came; whether somebody waited for them.
    pub(in crate::machine) fn on_device_keys_of_groups(&mut self, user: &UserId) -> bool {
        let mut waited = false;
        for call in self.groups.calls.values_mut() {
            waited |= call.keys.ring.on_device_keys(user);
        }
        if waited {
            self.tend_all_keys();
        }
        waited
    }

    /// The network is back: what failed is tried at once.
    pub(super) fn on_keys_network_back(&mut self) {
        let now = self.world.now.mono;
        for call in self.groups.calls.values_mut() {
            call.keys.ring.on_network_back();
            call.keys.heard.ask_unreached(now, MAX_KEY_REQUESTS);
        }
        self.tend_all_keys();
    }

    fn tend_all_keys(&mut self) {
        for room in self.groups.all_rooms() {
            self.on_keys_due(&room);
        }
    }
}

/// Nothing of a call's keys is used, shared or awaited any more.
pub(super) fn stop(call: &mut GroupCall, world: &mut World) {
    if !call.keys.ring.is_active() {
        return;
    }
    world.next_key = call.keys.ring.next_index();
    let asked = call.keys.ring.stop();
    let given = call.keys.giving.stop();
    let asks = std::mem::take(&mut call.keys.asks).into_keys();
    for op in asked.into_iter().chain(given).chain(asks) {
        world.cancel(op);
    }
    call.keys.heard.clear();
    let forget = Op::Keys(call.session, KeyOp::Forget(None));
    world.request(Owner::Nobody, forget);
}

fn material(result: Result<Reply, Fault>) -> Result<SecretBytes, Fault> {
    let Reply::KeyMaterial(bytes) = result? else { return Err(Fault::Unsupported) };
    Ok(bytes)
}

fn ratcheted(result: Result<Reply, Fault>) -> Result<Option<SecretBytes>, Fault> {
    let Reply::Key(key) = result? else { return Err(Fault::Unsupported) };
    Ok(key)
}

fn unreached(result: Result<Reply, Fault>) -> Result<BTreeSet<ParticipantId>, Fault> {
    let Reply::ToDevice(unreached) = result? else { return Err(Fault::Unsupported) };
    Ok(unreached)
}

impl Groups {
    /// The timer of a room's keys is set anew.
    pub(super) fn watch_keys(&mut self, room: &RoomId) {
        let next = self.of_room(room).filter_map(|call| {
            let entered = call.shown.state == GroupState::Entered;
            let asks = entered.then(|| call.keys.heard.next_deadline()).flatten();
            let keys = &call.keys;
            [keys.ring.next_deadline(), keys.giving.next_deadline(), asks]
                .into_iter()
                .flatten()
                .min()
        });
        let next = next.min();
        self.set_timer(room, GroupTimer::Keys, next.map(Deadline::Mono));
    }
}
