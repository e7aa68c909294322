//! Media keys in a group call: what is done with the ring of ours and with those of the others.
//!
//! Whatever changed touches the members that it concerns; [`tend_keys`](Engine::tend_keys) then does
//! what the two plans want (`keyring.rs`, `heard.rs`). A message about keys is bound on all sides before
//! it is believed (T-24): to a call that we are in, to a sender who is in the room, to the device that
//! Olm proves in an encrypted room, to a membership, and to the ring.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    GroupCall, Groups,
    event::{GroupEvent, GroupState},
    groups::GroupTimer,
    heard::{Heard, HeardKeys},
    key_event::{KeyEvent, KeyName, Undelivered},
    keyring::{Deed, Delivered, Gone, Keyring},
    roster::Participant,
};
use crate::{
    config::{KeyProfile, Unverified},
    id::{DeviceId, OpId, RoomId, SessionId, UserId},
    machine::{
        Engine,
        event::Side,
        fingerprint::Fingerprint,
        guard::Guard,
        io::{
            Fault, Fetch, Ignored, KeyOp, KeyOwner, KeyUse, MatrixOp, Op, ParticipantId, Refusal,
            Reply, Trust, Verdict,
        },
        world::{Owner, World},
    },
    redact::SecretBytes,
    time::Deadline,
    wire::{
        delivery::{Facts, Protection},
        focus::identities,
        keys::{KeyBody, KeyMessage, MediaKey},
        member::Backend,
    },
};

/// What the provider was given, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Given {
    owner: KeyOwner,
    key: MediaKey,
}

/// The media keys of one group call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Keys {
    /// How they are used; `None`: there are none.
    profile: Option<KeyProfile>,
    ring: Keyring,
    heard: HeardKeys,
    given: BTreeMap<OpId, Given>,
    /// Requests for others' keys that are on their way.
    asks: BTreeSet<OpId>,
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

    /// For the others we were gone.
    pub(super) fn share_again(&mut self) {
        self.ring.share_again();
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value(self.profile);
        self.ring.fingerprint(print);
        self.heard.fingerprint(print);
        for (op, given) in &self.given {
            print.op(*op);
            print.value(given);
        }
        self.asks.iter().for_each(|op| print.op(*op));
    }

    /// Gives a key to the provider.
    fn give(&mut self, world: &mut World, session: SessionId, given: Given) {
        let Some(profile) = self.profile else { return };
        let Given { owner, key } = given.clone();
        let set = KeyOp::Set { profile, owner, key };
        let op = world.request(Owner::Keys(session), Op::Keys(session, set));
        self.given.insert(op, given);
    }
}

impl GroupCall {
    /// A member with whom keys are shared: one who meets as we do, at whichever SFU.
    fn shares_keys(&self, member: &ParticipantId) -> Option<&Participant> {
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
        let visit = self.shown.participant(&participant).and_then(|one| one.session.as_deref());
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
            call.keys.ring.start(profile.ring_size, ratchet);
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
            if call.keys.heard.on_gone(member) {
                let forget = Op::Keys(session, KeyOp::Forget(Some(member.clone())));
                self.world.request(Owner::Nobody, forget);
            }
            return;
        };
        let visit = (member, present.session.as_ref());
        call.keys.ring.on_present(now, visit, timeouts);
        call.keys.heard.forget_early(now, timeouts.parked);
        for key in call.keys.heard.on_present(now, visit, timeouts.key_request) {
            // What is outside the ring was refused before it was kept.
            let _ = self.take_key(session, member, key);
        }
    }

    /// Does what is to be done now.
    pub(super) fn tend_keys(&mut self, session: SessionId) {
        let now = self.world.now.mono;
        let next = |call: &mut GroupCall| call.keys.ring.next(now);
        while let Some(deed) = self.groups.calls.get_mut(&session).and_then(next) {
            self.do_with_keys(session, deed);
        }
        self.ask_for_keys(session);
    }

    /// The same, and sets the timer anew.
    fn go_on_with_keys(&mut self, session: SessionId) {
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
            let op = call.send_keys(&mut self.world, KeyBody::Request, asked);
            call.keys.asks.insert(op);
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

    // -------------------------------------------------------------------------------- messages

    /// What a member sends cannot be read: perhaps his key did not arrive.
    pub(super) fn miss_key(&mut self, session: SessionId, member: &ParticipantId) -> Verdict {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::UnknownSfu);
        };
        if !call.keys.heard.miss(now, member) {
            return Verdict::Ignored(Ignored::NoChange);
        }
        self.go_on_with_keys(session);
        Verdict::Handled
    }

    /// Judges a to-device message about keys.
    pub(super) fn on_key_message(&mut self, facts: &Facts, message: &KeyMessage) -> Verdict {
        let (session, member) = match self.check_key_message(facts, message) {
            Ok(found) => found,
            Err(reason) => return Verdict::Ignored(reason),
        };
        let verdict = match &message.body {
            KeyBody::Keys(keys) => self.hear_keys(session, &member, keys),
            KeyBody::Request => self.on_key_request(session, &member),
        };
        self.go_on_with_keys(session);
        verdict
    }

    fn check_key_message(
        &self,
        facts: &Facts,
        message: &KeyMessage,
    ) -> Result<(SessionId, ParticipantId), Ignored> {
        let world = &self.world;
        let of_id = self.groups.of_room(&message.room);
        let mut of_id = of_id.filter(|call| call.shown.call.call_id == message.conf_id);
        let call = of_id.find(|call| call.is_wanted()).ok_or(Ignored::NoConference)?;
        let member =
            ParticipantId { user: facts.sender.clone(), device: self.key_device(facts, message)? };
        if member == self.ourselves() {
            return Err(Ignored::Echo);
        }
        if !call.keys.ring.is_active() {
            return Err(Ignored::KeysOff);
        }
        world.check_protection(world.may_be_encrypted(&message.room), facts.protection)?;
        world.check_inside(&message.room, &facts.sender)?;
        self.check_unignored(&facts.sender)?;
        Ok((call.session, member))
    }

    /// From which device a message is: as Olm proves it, which must be as it says.
    fn key_device(&self, facts: &Facts, message: &KeyMessage) -> Result<DeviceId, Ignored> {
        match &facts.device {
            Some(proven) if *proven == message.device => Ok(proven.clone()),
            Some(_) if self.world.holds(Guard::KeyDeviceBound) => Err(Ignored::WrongDevice),
            Some(_) => Ok(message.device.clone()),
            // In the clear nothing is proven, which is refused where it could be. What was encrypted
            // and has no device that could be named proves nothing either.
            None if facts.protection == Protection::Clear => Ok(message.device.clone()),
            None if self.world.holds(Guard::KeyDeviceBound) => Err(Ignored::WrongDevice),
            None => Ok(message.device.clone()),
        }
    }

    fn hear_keys(
        &mut self,
        session: SessionId,
        member: &ParticipantId,
        keys: &[MediaKey],
    ) -> Verdict {
        let mut verdict = Verdict::Ignored(Ignored::OutsideRing);
        for key in keys {
            match self.take_key(session, member, key.clone()) {
                Ok(()) => verdict = Verdict::Handled,
                Err(reason) if verdict != Verdict::Handled => verdict = Verdict::Ignored(reason),
                Err(_) => {}
            }
        }
        verdict
    }

    fn take_key(
        &mut self,
        session: SessionId,
        member: &ParticipantId,
        key: MediaKey,
    ) -> Result<(), Ignored> {
        let now = self.world.now.mono;
        let call = self.groups.calls.get_mut(&session).ok_or(Ignored::NoConference)?;
        let Some(profile) = call.keys.profile else { return Err(Ignored::KeysOff) };
        let inside = u16::from(key.index) < profile.ring_size;
        if !inside && self.world.holds(Guard::KeyInRing) {
            return Err(Ignored::OutsideRing);
        }
        call.keys.heard.forget_early(now, self.world.config.timeouts.parked);
        match call.keys.heard.hear(now, member, &key) {
            Heard::New => {}
            Heard::Known if self.world.holds(Guard::DuplicateIgnored) => {
                return Err(Ignored::Duplicate);
            }
            Heard::Parked if self.world.holds(Guard::KeysOfMembers) => return Err(Ignored::Parked),
            Heard::TooMany => return Err(Ignored::TooMany),
            Heard::Known | Heard::Parked => {}
        }
        let (participant, name) = (member.clone(), KeyName::from(&key));
        let owner = call.key_owner(participant.clone());
        call.keys.give(&mut self.world, session, Given { owner, key });
        let received = KeyEvent::Received { participant, key: name };
        call.tell(&mut self.world, GroupEvent::Key(received));
        Ok(())
    }

    fn on_key_request(&mut self, session: SessionId, member: &ParticipantId) -> Verdict {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::NoConference);
        };
        if call.shares_keys(member).is_some() {
            let answered = call.keys.ring.on_request(now, member);
            return if answered { Verdict::Handled } else { Verdict::Ignored(Ignored::TooMany) };
        }
        if !self.world.holds(Guard::KeysOfMembers) {
            let timeouts = &self.world.config.timeouts;
            call.keys.ring.on_present(now, (member, None), timeouts);
            return Verdict::Handled;
        }
        // Who is about to be a member gets it as one: his membership is looked for (T-25).
        let room = call.shown.room.clone();
        self.groups.read_again(&mut self.world, &room);
        Verdict::Ignored(Ignored::NoMembership)
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
        } else if ring.awaits_delivery(op) {
            let delivered = ring.on_sent(now, op, (unreached(result), timeouts));
            self.tell_delivered(session, delivered);
        } else if let Some(given) = call.keys.given.remove(&op) {
            self.on_given(session, given, result);
        } else if !call.keys.asks.remove(&op) {
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
        let Err(fault) = result else {
            if ours {
                let used = KeyEvent::Used(KeyName::from(&key));
                call.tell(&mut self.world, GroupEvent::Key(used));
            }
            return;
        };
        let pause = timeouts.key_request;
        if fault.is_passing() && ours {
            call.keys.ring.use_again(now.plus(pause), key);
        } else if fault.is_passing() {
            call.keys.heard.ask_again(now, &participant, pause);
        }
        call.tell(&mut self.world, GroupEvent::Key(KeyEvent::Refused(participant)));
    }

    // ------------------------------------------------------------------------ timers, the world

    /// Something of a room's keys is due.
    pub(super) fn on_keys_due(&mut self, room: &RoomId) {
        for session in self.groups.sessions_of(room) {
            self.tend_keys(session);
        }
        self.groups.watch_keys(room);
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
        for call in self.groups.calls.values_mut() {
            call.keys.ring.on_network_back();
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
    let asked = call.keys.ring.stop();
    let given = std::mem::take(&mut call.keys.given).into_keys();
    let asks = std::mem::take(&mut call.keys.asks);
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
            [call.keys.ring.next_deadline(), asks].into_iter().flatten().min()
        });
        let next = next.min();
        self.set_timer(room, GroupTimer::Keys, next.map(Deadline::Mono));
    }
}
