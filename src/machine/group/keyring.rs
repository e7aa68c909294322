//! Our media key in one group call: made, shared with every member, used, and made anew when who may
//! have it changes.
//!
//! ```text
//!            material              accepted                      use delay over
//!  (need) ─▶ Making ─────▶ newest ──────────▶ each member has it ──────────────▶ in use
//!    ▲                       │ again after a pause, superseded by a newer one
//!    │  a member joined: after the join window (within it he gets the newest), or ratcheted for him
//!    └─ a member left: after a pause that further leaves prolong, up to a cap; removed: at once
//! ```
//!
//! Everybody has a key of his own (`famedly-dart.md` §3.5). Who gets ours are the members after the
//! change, so that a joiner need not ask (T-20) and a leaver gets nothing more. A fresh key follows on
//! every leave, also where joins ratchet: what is ratcheted the leaver could compute.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    delivery::{Delivered, Delivery, Generation},
    key_event::KeyName,
};
use crate::{
    config::{Ratchet, Timeouts},
    id::{OpId, UserId},
    machine::{
        bounds::{KEY_PAUSE, MAX_KEY_TRIES, MAX_RATCHETS},
        fingerprint::Fingerprint,
        io::{Fault, ParticipantId},
    },
    redact::SecretBytes,
    time::{Deadline, Mono},
    wire::keys::MediaKey,
};

/// How long a key is that we make.
const KEY_BYTES: usize = 32;

/// The newest key of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Newest {
    key: MediaKey,
    name: KeyName,
    made: Mono,
    generation: Generation,
}

/// What is needed before anything more is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Need {
    Fresh,
    Ratchet,
}

/// How far a key is that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Making {
    #[default]
    Rest,
    Fresh(OpId),
    Ratchet(OpId),
    Pausing(Mono),
}

/// A fresh key follows on leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rotation {
    at: Mono,
    /// Whatever follows, not later.
    latest: Mono,
    /// Who left.
    left: BTreeSet<ParticipantId>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Nobody need answer this any more.
    Drop(OpId),
    /// Material for a fresh key is to be had.
    Make,
    /// The provider is to ratchet our key at this index.
    Ratchet(u8),
    /// This key goes to these devices.
    Send(MediaKey, BTreeSet<ParticipantId>),
    /// What we send is encrypted with this key from now on.
    Use(MediaKey),
}

/// How a member went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// He left the call, or his membership expired.
    Left,
    /// He is not in the room any more: kicked, banned.
    Removed,
}

/// Our key in one group call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Keyring {
    /// We are in the call: keys are made and shared.
    active: bool,
    ring_size: u16,
    ratchet: Ratchet,
    next_index: u8,
    newest: Option<Newest>,
    generation: Generation,
    need: Option<Need>,
    making: Making,
    tries: u32,
    rotation: Option<Rotation>,
    /// Keys that wait for their time, oldest first.
    uses: VecDeque<(Mono, MediaKey)>,
    in_use: Option<MediaKey>,
    /// How often in a row the provider did not take the one in use.
    refused: u32,
    delivery: Delivery,
}

impl Keyring {
    /// Where the next key goes.
    pub(super) const fn next_index(&self) -> u8 {
        self.next_index
    }

    /// The first key of this call goes there: keys of a former call may be on their way still, and
    /// must not take the place of those of this one.
    pub(super) const fn begin_at(&mut self, index: u8) {
        if self.generation == 0 {
            self.next_index = index;
        }
    }

    /// We enter the call: a key is needed at once, before anybody knows of us.
    pub(super) fn start(&mut self, ring_size: u16, ratchet: Ratchet) {
        self.active = true;
        self.ring_size = ring_size.clamp(1, 256);
        self.next_index = self.inside_ring(u16::from(self.next_index));
        self.ratchet = ratchet;
        self.need = Some(Need::Fresh);
    }

    /// A place in the ring, which may have had another size before.
    fn inside_ring(&self, index: u16) -> u8 {
        u8::try_from(index % self.ring_size).unwrap_or_default()
    }

    /// We leave: nothing is used or shared any more (T-26). Gives what nobody needs to answer.
    pub(super) fn stop(&mut self) -> Vec<OpId> {
        let (next_index, generation) = (self.next_index, self.generation);
        let former = std::mem::take(self);
        self.next_index = next_index;
        self.generation = generation;
        let making = match former.making {
            Making::Fresh(op) | Making::Ratchet(op) => Some(op),
            Making::Rest | Making::Pausing(_) => None,
        };
        making.into_iter().chain(former.delivery.into_sends()).collect()
    }

    pub(super) const fn is_active(&self) -> bool {
        self.active
    }

    /// A member is there, perhaps on another visit than before.
    pub(super) fn on_present(
        &mut self,
        now: Mono,
        (member, visit): (&ParticipantId, Option<&String>),
        timeouts: &Timeouts,
    ) {
        if !self.active || !self.delivery.on_present(member, visit) {
            return;
        }
        let Some(newest) = &self.newest else { return };
        let is_young = now.since(newest.made) < timeouts.key_reuse;
        if !is_young && self.need.is_none() && matches!(self.making, Making::Rest) {
            self.need = Some(match self.ratchet {
                Ratchet::OnJoin => Need::Ratchet,
                Ratchet::Off => Need::Fresh,
            });
        }
    }

    /// A member is there no more.
    pub(super) fn on_gone(
        &mut self,
        now: Mono,
        member: &ParticipantId,
        (how, timeouts): (Gone, &Timeouts),
    ) {
        let told = self.delivery.on_gone(member);
        // What is being made he does not get.
        if !self.active || !told || matches!(self.making, Making::Fresh(_)) {
            return;
        }
        match how {
            Gone::Removed => self.need = Some(Need::Fresh),
            Gone::Left => {
                let longest = now.plus(timeouts.key_on_leave_longest);
                let former = self.rotation.take();
                let latest = former.as_ref().map_or(longest, |rotation| rotation.latest);
                let at = now.plus(timeouts.key_on_leave).min(latest);
                let mut left = former.map(|rotation| rotation.left).unwrap_or_default();
                left.insert(member.clone());
                self.rotation = Some(Rotation { at, latest, left });
            }
        }
    }

    /// A user is not in the room any more: whoever of his devices has left the call a moment ago gains no
    /// time by it.
    pub(super) fn on_removed(&mut self, user: &UserId) {
        let left =
            self.rotation.as_ref().is_some_and(|it| it.left.iter().any(|of| of.user == *user));
        if left {
            self.need = Some(Need::Fresh);
        }
    }

    /// A member asks for our key. Whether he is answered.
    pub(super) fn on_request(&mut self, now: Mono, member: &ParticipantId) -> bool {
        self.delivery.on_request(now, member)
    }

    /// Keys to encrypt for devices of this user came; whether somebody waited for them.
    pub(super) fn on_device_keys(&mut self, user: &UserId) -> bool {
        self.delivery.on_device_keys(user)
    }

    /// For the others we were gone: they have dropped what they had of us.
    pub(super) fn share_again(&mut self) {
        self.delivery.share_again();
    }

    /// The homeserver takes what we write: who was given up is tried once more.
    pub(super) fn try_again(&mut self) {
        self.delivery.try_again();
    }

    /// What failed for want of a network is tried at once.
    pub(super) fn on_network_back(&mut self) {
        self.delivery.on_network_back();
        if let Making::Pausing(at) = &mut self.making {
            *at = Mono::default();
        }
    }

    /// What is to be done now, one thing after the other.
    pub(super) fn next(&mut self, now: Mono) -> Option<Deed> {
        if !self.active {
            return None;
        }
        if self.uses.front().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.uses.pop_front()?;
            self.in_use = Some(key.clone());
            return Some(Deed::Use(key));
        }
        let is_due = self.make_at().is_some_and(|at| at <= now);
        if let Making::Ratchet(op) = self.making
            && is_due
        {
            // Whoever has gone could compute what it gives.
            self.making = Making::Rest;
            return Some(Deed::Drop(op));
        }
        if self.is_making() {
            return None;
        }
        if is_due {
            self.making = Making::Rest;
            // Who has gone until now does not get it.
            let rotates = self.rotation.as_ref().is_some_and(|rotation| rotation.at <= now);
            let ratchets = self.need.take() == Some(Need::Ratchet) && !rotates;
            return Some(match self.newest.as_ref().filter(|_| ratchets) {
                Some(newest) => Deed::Ratchet(newest.key.index),
                None => {
                    self.rotation = None;
                    Deed::Make
                }
            });
        }
        let newest = self.shared()?;
        let due = self.delivery.due(now, newest.generation);
        (!due.is_empty()).then(|| Deed::Send(newest.key.clone(), due))
    }

    /// When something is to be done next, if nothing happens before.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let uses = self.uses.front().map(|(at, _)| *at);
        // What is to be sent waits for what is made.
        let shared = self.shared().filter(|_| !self.is_making());
        let retry = shared.and_then(|it| self.delivery.next_deadline(it.generation));
        [uses, self.make_at(), retry].into_iter().flatten().min()
    }

    const fn is_making(&self) -> bool {
        matches!(self.making, Making::Fresh(_) | Making::Ratchet(_))
    }

    /// When a key is to be made: what is needed, not sooner than a pause after the last one or after a
    /// failure. A fresh one does not wait for one that is being ratcheted.
    fn make_at(&self) -> Option<Mono> {
        let need = match self.making {
            Making::Fresh(_) => return None,
            Making::Ratchet(_) => self.need.filter(|need| *need == Need::Fresh),
            Making::Rest | Making::Pausing(_) => self.need,
        };
        let rotation = self.rotation.as_ref().map(|rotation| rotation.at);
        let needed = need.map(|_| Mono::default()).or(rotation)?;
        let failed = match self.making {
            Making::Pausing(at) => at,
            Making::Rest | Making::Fresh(_) | Making::Ratchet(_) => Mono::default(),
        };
        let young = self.newest.as_ref().map(|newest| newest.made.plus(KEY_PAUSE));
        Some(needed.max(failed).max(young.unwrap_or_default()))
    }

    /// The key that is shared: none while another is needed.
    fn shared(&self) -> Option<&Newest> {
        self.newest.as_ref().filter(|_| self.need.is_none())
    }

    pub(super) fn on_making(&mut self, op: OpId) {
        self.making = Making::Fresh(op);
    }

    pub(super) fn on_ratcheting(&mut self, op: OpId) {
        self.making = Making::Ratchet(op);
    }

    pub(super) fn on_sending(&mut self, op: OpId, to: &BTreeSet<ParticipantId>) {
        self.delivery.on_sending(op, to, self.generation);
    }

    /// Whether this request was for material.
    pub(super) fn awaits_material(&self, op: OpId) -> bool {
        self.making == Making::Fresh(op)
    }

    /// Whether this request was for a ratchet.
    pub(super) fn awaits_ratchet(&self, op: OpId) -> bool {
        self.making == Making::Ratchet(op)
    }

    /// Whether this request was a send.
    pub(super) fn awaits_delivery(&self, op: OpId) -> bool {
        self.delivery.awaits(op)
    }

    /// Material came, or did not.
    pub(super) fn on_material(
        &mut self,
        now: Mono,
        material: Result<SecretBytes, Fault>,
        timeouts: &Timeouts,
    ) {
        self.making = Making::Rest;
        match material {
            Ok(key) if key.len() == KEY_BYTES => {
                self.tries = 0;
                self.on_fresh(now, key, timeouts);
            }
            Ok(_) | Err(_) => {
                self.need = Some(Need::Fresh);
                self.tries = self.tries.saturating_add(1);
                self.making = Making::Pausing(now.plus(timeouts.retry_pause(self.tries)));
            }
        }
    }

    fn on_fresh(&mut self, now: Mono, key: SecretBytes, timeouts: &Timeouts) {
        let key = MediaKey { index: self.next_index, key };
        self.next_index = self.inside_ring(u16::from(self.next_index) + 1);
        self.generation += 1;
        let (generation, name) = (self.generation, KeyName::from(&key));
        self.newest = Some(Newest { key: key.clone(), name, made: now, generation });
        // Until there is one nothing can be sent: nobody gains by waiting for the first.
        let delay = if self.in_use.is_some() { timeouts.key_use } else { Duration::default() };
        self.uses.push_back((now.plus(delay), key));
        self.delivery.on_fresh();
    }

    /// The provider ratcheted our key, or has none to begin with: after some tries a fresh one is made.
    pub(super) fn on_ratcheted(
        &mut self,
        now: Mono,
        ratcheted: Result<Option<SecretBytes>, Fault>,
    ) {
        self.making = Making::Rest;
        let Some(newest) = &mut self.newest else { return };
        match ratcheted {
            Ok(Some(key)) if key.len() == KEY_BYTES => {
                self.tries = 0;
                let former = newest.generation;
                self.generation += 1;
                newest.generation = self.generation;
                newest.made = now;
                newest.key.key = key;
                newest.name = KeyName::from(&newest.key);
                self.in_use = Some(newest.key.clone());
                self.delivery.on_ratcheted(former, self.generation);
            }
            Ok(None) if self.tries + 1 < MAX_RATCHETS => {
                self.tries += 1;
                self.need = Some(self.need.unwrap_or(Need::Ratchet));
            }
            Ok(_) | Err(_) => {
                self.tries = 0;
                self.need = Some(Need::Fresh);
            }
        }
    }

    /// What became of a send.
    pub(super) fn on_sent(
        &mut self,
        now: Mono,
        op: OpId,
        (result, timeouts): (Result<BTreeSet<ParticipantId>, Fault>, &Timeouts),
    ) -> Delivered {
        self.delivery.on_sent(now, op, (&result, timeouts))
    }

    /// The provider has taken our key.
    pub(super) fn on_used(&mut self) {
        self.refused = 0;
    }

    /// The provider did not take our key: it is given to it again after a pause, some times, unless a
    /// newer one was meanwhile.
    pub(super) fn use_again(&mut self, now: Mono, key: MediaKey, timeouts: &Timeouts) {
        self.refused = self.refused.saturating_add(1);
        let newest = self.uses.is_empty() && self.in_use.as_ref() == Some(&key);
        if self.active && newest && self.refused < MAX_KEY_TRIES {
            self.uses.push_back((now.plus(timeouts.retry_pause(self.refused)), key));
        }
    }

    /// The key that is in use.
    pub(super) fn in_use(&self) -> Option<KeyName> {
        self.in_use.as_ref().map(KeyName::from)
    }

    /// The key that was made last, if this device has it.
    pub(super) fn newest_of(&self, member: &ParticipantId) -> Option<KeyName> {
        let newest = self.newest.as_ref()?;
        self.delivery.has(member, newest.generation).then(|| newest.name.clone())
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.active, self.need, self.next_index, self.tries));
        match self.making {
            Making::Rest => {}
            Making::Fresh(op) | Making::Ratchet(op) => print.op(op),
            Making::Pausing(at) => print.deadline(Deadline::Mono(at)),
        }
        if let Some(newest) = &self.newest {
            print.value(&newest.key);
            print.since(newest.made);
        }
        if let Some(Rotation { at, latest, left }) = &self.rotation {
            print.deadline(Deadline::Mono(*at));
            print.deadline(Deadline::Mono(*latest));
            print.value(left);
        }
        for (at, key) in &self.uses {
            print.deadline(Deadline::Mono(*at));
            print.value(key);
        }
        print.value((&self.in_use, self.refused));
        self.delivery.fingerprint(print, self.generation);
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
