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
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::key_event::KeyName;
use crate::{
    config::{Ratchet, Timeouts},
    id::{OpId, UserId},
    machine::{
        bounds::{MAX_KEY_TRIES, MAX_RATCHETS},
        fingerprint::Fingerprint,
        io::{Fault, ParticipantId},
    },
    redact::SecretBytes,
    time::{Deadline, Mono},
    wire::keys::MediaKey,
};

/// How long a key is that we make.
const KEY_BYTES: usize = 32;
/// How often one device is answered: a request that comes sooner is no use to an honest one.
const ANSWER_PAUSE: Duration = Duration::from_secs(2);

/// The newest key of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Newest {
    key: MediaKey,
    name: KeyName,
    made: Mono,
    /// Counts our keys, ratcheted ones too: an index comes again.
    generation: u64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rotation {
    at: Mono,
    /// Whatever follows, not later.
    latest: Mono,
}

/// One device that is to have our newest key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Recipient {
    visit: Option<String>,
    /// Which it has.
    has: Option<u64>,
    sending: Option<(OpId, u64)>,
    tries: u32,
    retry: Option<Mono>,
    /// There are no keys to encrypt for it.
    unreachable: bool,
    /// It may have one of our keys.
    told: bool,
    answered: Option<Mono>,
}

impl Recipient {
    fn is_due(&self, now: Mono, generation: u64) -> bool {
        self.has != Some(generation)
            && self.sending.is_none()
            && self.tries < MAX_KEY_TRIES
            && self.retry.is_none_or(|at| at <= now)
    }

    fn start_over(&mut self) {
        self.tries = 0;
        self.retry = None;
        self.unreachable = false;
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
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

/// What became of a send.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Delivered {
    /// These have it.
    pub(super) reached: Vec<ParticipantId>,
    /// There are no keys to encrypt for these.
    pub(super) without_keys: Vec<ParticipantId>,
    /// These are not tried any more with this key.
    pub(super) given_up: Vec<ParticipantId>,
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
    generation: u64,
    need: Option<Need>,
    making: Making,
    tries: u32,
    rotation: Option<Rotation>,
    /// Keys that wait for their time, oldest first.
    uses: VecDeque<(Mono, MediaKey)>,
    in_use: Option<MediaKey>,
    recipients: BTreeMap<ParticipantId, Recipient>,
    /// Sends under way: whoever gets one may be gone before it is answered.
    sends: BTreeSet<OpId>,
}

impl Keyring {
    /// We enter the call: a key is needed at once, before anybody knows of us.
    pub(super) fn start(&mut self, ring_size: u16, ratchet: Ratchet) {
        self.active = true;
        self.ring_size = ring_size.clamp(1, 256);
        self.ratchet = ratchet;
        self.need = Some(Need::Fresh);
    }

    /// We leave: nothing is used or shared any more (T-26). Gives what nobody needs to answer.
    pub(super) fn stop(&mut self) -> Vec<OpId> {
        let next_index = self.next_index;
        let (former, generation) = (std::mem::take(self), self.generation);
        self.next_index = next_index;
        self.generation = generation;
        let making = match former.making {
            Making::Fresh(op) | Making::Ratchet(op) => Some(op),
            Making::Rest | Making::Pausing(_) => None,
        };
        making.into_iter().chain(former.sends).collect()
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
        let known = self.recipients.get(member).map(|known| known.visit.as_ref());
        if !self.active || known == Some(visit) {
            return;
        }
        // Who is there anew has lost what he had; what he was told he may still know.
        let told = self.recipients.get(member).is_some_and(|former| former.told);
        let joined = Recipient { visit: visit.cloned(), told, ..Recipient::default() };
        self.recipients.insert(member.clone(), joined);
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
        let told = self.recipients.remove(member).is_some_and(|former| former.told);
        // What is being made he does not get.
        if !self.active || !told || matches!(self.making, Making::Fresh(_)) {
            return;
        }
        match how {
            Gone::Removed => self.need = Some(Need::Fresh),
            Gone::Left => {
                let longest = now.plus(timeouts.key_on_leave_longest);
                let latest = self.rotation.map_or(longest, |rotation| rotation.latest);
                let at = now.plus(timeouts.key_on_leave).min(latest);
                self.rotation = Some(Rotation { at, latest });
            }
        }
    }

    /// A member asks for our key: he gets the newest, whole. Whether he is answered.
    pub(super) fn on_request(&mut self, now: Mono, member: &ParticipantId) -> bool {
        let Some(recipient) = self.recipients.get_mut(member) else { return false };
        if recipient.answered.is_some_and(|at| now.since(at) < ANSWER_PAUSE) {
            return false;
        }
        recipient.answered = Some(now);
        recipient.has = None;
        recipient.start_over();
        true
    }

    /// Keys to encrypt for devices of this user came.
    pub(super) fn on_device_keys(&mut self, user: &UserId) -> bool {
        let of_user = self.recipients.iter_mut().filter(|(member, _)| member.user == *user);
        let waiting = of_user.filter(|(_, recipient)| recipient.unreachable);
        waiting.map(|(_, recipient)| recipient.start_over()).count() > 0
    }

    /// For the others we were gone: they have dropped what they had of us.
    pub(super) fn share_again(&mut self) {
        for recipient in self.recipients.values_mut() {
            recipient.has = None;
            recipient.start_over();
        }
    }

    /// What failed for want of a network is tried at once.
    pub(super) fn on_network_back(&mut self) {
        for recipient in self.recipients.values_mut().filter(|one| !one.unreachable) {
            recipient.start_over();
        }
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
        if self.rotation.is_some_and(|rotation| rotation.at <= now) {
            self.need = Some(Need::Fresh);
        }
        match self.making {
            Making::Fresh(_) | Making::Ratchet(_) => return None,
            Making::Pausing(at) if at > now => return None,
            Making::Pausing(_) => self.making = Making::Rest,
            Making::Rest => {}
        }
        match (self.need.take(), &self.newest) {
            (Some(Need::Ratchet), Some(newest)) => Some(Deed::Ratchet(newest.key.index)),
            (Some(Need::Fresh | Need::Ratchet), _) => {
                // Who has gone until now does not get it.
                self.rotation = None;
                Some(Deed::Make)
            }
            (None, _) => self.next_send(now),
        }
    }

    fn next_send(&self, now: Mono) -> Option<Deed> {
        let newest = self.newest.as_ref()?;
        let due = self.recipients.iter().filter(|(_, one)| one.is_due(now, newest.generation));
        let due: BTreeSet<_> = due.map(|(member, _)| member.clone()).collect();
        (!due.is_empty()).then(|| Deed::Send(newest.key.clone(), due))
    }

    /// When something is to be done next, if nothing happens before.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let uses = self.uses.front().map(|(at, _)| *at);
        let rotation = self.rotation.map(|rotation| rotation.at);
        let pause = match self.making {
            Making::Pausing(at) => Some(at),
            Making::Rest => None,
            // Whatever waits besides waits for what is made.
            Making::Fresh(_) | Making::Ratchet(_) => return uses,
        };
        let retries = self.recipients.values().filter(|one| one.tries < MAX_KEY_TRIES);
        let retry = retries.filter_map(|one| one.retry).min();
        [uses, rotation, pause, retry].into_iter().flatten().min()
    }

    pub(super) fn on_making(&mut self, op: OpId) {
        self.making = Making::Fresh(op);
    }

    pub(super) fn on_ratcheting(&mut self, op: OpId) {
        self.making = Making::Ratchet(op);
    }

    pub(super) fn on_sending(&mut self, op: OpId, to: &BTreeSet<ParticipantId>) {
        self.sends.insert(op);
        for member in to {
            if let Some(recipient) = self.recipients.get_mut(member) {
                recipient.sending = Some((op, self.generation));
                // What becomes of it says when it is tried again.
                recipient.retry = None;
                recipient.told = true;
            }
        }
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
        self.sends.contains(&op)
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
        let next = (u16::from(self.next_index) + 1) % self.ring_size;
        self.next_index = u8::try_from(next).unwrap_or_default();
        self.generation += 1;
        let (generation, name) = (self.generation, KeyName::from(&key));
        self.newest = Some(Newest { key: key.clone(), name, made: now, generation });
        // Until there is one nothing can be sent: nobody gains by waiting for the first.
        let delay = if self.in_use.is_some() { timeouts.key_use } else { Duration::default() };
        self.uses.push_back((now.plus(delay), key));
        for recipient in self.recipients.values_mut() {
            recipient.start_over();
        }
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
                // Whoever has the one before computes this one.
                for recipient in self.recipients.values_mut() {
                    if recipient.has == Some(former) {
                        recipient.has = Some(self.generation);
                    }
                    if let Some((_, sent)) = &mut recipient.sending
                        && *sent == former
                    {
                        *sent = self.generation;
                    }
                }
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
        self.sends.remove(&op);
        let mut delivered = Delivered::default();
        for (member, recipient) in &mut self.recipients {
            let Some((_, generation)) = recipient.sending.take_if(|(of, _)| *of == op) else {
                continue;
            };
            let fault = match &result {
                Ok(unreached) if !unreached.contains(member) => {
                    recipient.has = Some(generation);
                    recipient.start_over();
                    delivered.reached.push(member.clone());
                    continue;
                }
                Ok(_) => &Fault::NoDeviceKeys,
                Err(fault) => fault,
            };
            recipient.unreachable = *fault == Fault::NoDeviceKeys;
            if recipient.unreachable {
                delivered.without_keys.push(member.clone());
            }
            recipient.tries = match fault.is_passing() {
                true => recipient.tries + 1,
                false => MAX_KEY_TRIES,
            };
            recipient.retry = Some(now.plus(fault.pause_before(recipient.tries, timeouts)));
            if recipient.tries >= MAX_KEY_TRIES {
                delivered.given_up.push(member.clone());
            }
        }
        delivered
    }

    /// The provider did not take our key: it is given to it again, unless a newer one was meanwhile.
    pub(super) fn use_again(&mut self, at: Mono, key: MediaKey) {
        if self.active && self.uses.is_empty() && self.in_use.as_ref() == Some(&key) {
            self.uses.push_back((at, key));
        }
    }

    /// The key that was made last, if this device has it.
    pub(super) fn newest_of(&self, member: &ParticipantId) -> Option<KeyName> {
        let newest = self.newest.as_ref()?;
        let has = self.recipients.get(member)?.has;
        (has == Some(newest.generation)).then(|| newest.name.clone())
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
        if let Some(Rotation { at, latest }) = self.rotation {
            print.deadline(Deadline::Mono(at));
            print.deadline(Deadline::Mono(latest));
        }
        for (at, key) in &self.uses {
            print.deadline(Deadline::Mono(*at));
            print.value(key);
        }
        print.value(&self.in_use);
        self.sends.iter().for_each(|op| print.op(*op));
        for (member, one) in &self.recipients {
            let age = |generation: u64| self.generation - generation;
            print.value((member, &one.visit, one.has.map(age), one.tries));
            print.value((one.unreachable, one.told));
            if let Some((op, generation)) = one.sending {
                print.op(op);
                print.value(age(generation));
            }
            if let Some(at) = one.retry {
                print.deadline(Deadline::Mono(at));
            }
            if let Some(at) = one.answered {
                print.since(at);
            }
        }
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
