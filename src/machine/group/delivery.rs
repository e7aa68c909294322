//! Who has our media key: each device that is to have the newest one, what is on its way to it, and when
//! it is tried again.
//!
//! Only the newest key is sent. While it is on its way nothing more is sent to that device but a newer
//! one, which does not wait for it: it may be in use before the older one has arrived.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    config::Timeouts,
    id::{OpId, UserId},
    machine::{
        bounds::{KEY_ANSWER_PAUSE, MAX_KEY_TRIES},
        fingerprint::Fingerprint,
        io::{Fault, ParticipantId},
    },
    time::{Deadline, Mono},
};

/// Counts our keys, ratcheted ones too: an index comes again.
pub(super) type Generation = u64;

/// One device that is to have our newest key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Recipient {
    visit: Option<String>,
    /// Which it has.
    has: Option<Generation>,
    sending: Option<(OpId, Generation)>,
    tries: u32,
    retry: Option<Mono>,
    /// There are no keys to encrypt for it.
    unreachable: bool,
    /// It may have one of our keys.
    told: bool,
    answered: Option<Mono>,
}

impl Recipient {
    /// Whether it lacks this key, and it is neither on its way nor given up.
    fn lacks(&self, generation: Generation) -> bool {
        let is_sending = self.sending.is_some_and(|(_, sent)| sent == generation);
        self.has != Some(generation) && !is_sending && self.tries < MAX_KEY_TRIES
    }

    fn is_due(&self, now: Mono, generation: Generation) -> bool {
        self.lacks(generation) && self.retry.is_none_or(|at| at <= now)
    }

    fn start_over(&mut self) {
        self.tries = 0;
        self.retry = None;
        self.unreachable = false;
    }

    fn on_fault(&mut self, now: Mono, fault: &Fault, timeouts: &Timeouts) {
        self.unreachable = *fault == Fault::NoDeviceKeys;
        self.tries = match fault.is_passing() {
            true => self.tries + 1,
            false => MAX_KEY_TRIES,
        };
        self.retry = Some(now.plus(fault.pause_before(self.tries, timeouts)));
    }
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

/// Who has our key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Delivery {
    recipients: BTreeMap<ParticipantId, Recipient>,
    /// Sends under way: whoever gets one may be gone before it is answered.
    sends: BTreeSet<OpId>,
}

impl Delivery {
    /// A member is there; whether on another visit than before.
    pub(super) fn on_present(&mut self, member: &ParticipantId, visit: Option<&String>) -> bool {
        let known = self.recipients.get(member).map(|known| known.visit.as_ref());
        if known == Some(visit) {
            return false;
        }
        // Who is there anew has lost what he had; what he was told he may still know.
        let told = self.recipients.get(member).is_some_and(|former| former.told);
        let joined = Recipient { visit: visit.cloned(), told, ..Recipient::default() };
        self.recipients.insert(member.clone(), joined);
        true
    }

    /// A member is there no more; whether he may have a key of ours.
    pub(super) fn on_gone(&mut self, member: &ParticipantId) -> bool {
        self.recipients.remove(member).is_some_and(|former| former.told)
    }

    /// A member asks for our key: he gets the newest, whole. Whether he is answered.
    pub(super) fn on_request(&mut self, now: Mono, member: &ParticipantId) -> bool {
        let Some(recipient) = self.recipients.get_mut(member) else { return false };
        if recipient.answered.is_some_and(|at| now.since(at) < KEY_ANSWER_PAUSE) {
            return false;
        }
        recipient.answered = Some(now);
        recipient.has = None;
        recipient.start_over();
        true
    }

    /// Keys to encrypt for devices of this user came; whether one of them waited for these.
    pub(super) fn on_device_keys(&mut self, user: &UserId) -> bool {
        let of_user = self.recipients.iter_mut().filter(|(member, _)| member.user == *user);
        let waiting = of_user.filter(|(_, recipient)| recipient.unreachable);
        waiting.map(|(_, recipient)| recipient.start_over()).count() > 0
    }

    /// Everybody has lost what he had of us.
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
    }

    /// Who was given up is tried once more.
    pub(super) fn try_again(&mut self) {
        for recipient in self.recipients.values_mut() {
            if recipient.tries >= MAX_KEY_TRIES {
                recipient.tries = MAX_KEY_TRIES - 1;
                recipient.retry = None;
            }
        }
    }

    /// There is a newer key, which nobody has.
    pub(super) fn on_fresh(&mut self) {
        self.recipients.values_mut().for_each(Recipient::start_over);
    }

    /// The key was ratcheted: whoever has the one before computes it.
    pub(super) fn on_ratcheted(&mut self, former: Generation, newest: Generation) {
        for recipient in self.recipients.values_mut() {
            if recipient.has == Some(former) {
                recipient.has = Some(newest);
            }
            if let Some((_, sent)) = recipient.sending.as_mut().filter(|(_, sent)| *sent == former)
            {
                *sent = newest;
            }
        }
    }

    /// To whom the newest key goes now.
    pub(super) fn due(&self, now: Mono, newest: Generation) -> BTreeSet<ParticipantId> {
        let due = self.recipients.iter().filter(|(_, one)| one.is_due(now, newest));
        due.map(|(member, _)| member.clone()).collect()
    }

    /// When somebody is due next who is not yet.
    pub(super) fn next_deadline(&self, newest: Generation) -> Option<Mono> {
        let waiting = self.recipients.values().filter(|one| one.lacks(newest));
        waiting.filter_map(|one| one.retry).min()
    }

    pub(super) fn on_sending(
        &mut self,
        op: OpId,
        to: &BTreeSet<ParticipantId>,
        newest: Generation,
    ) {
        self.sends.insert(op);
        for member in to {
            if let Some(recipient) = self.recipients.get_mut(member) {
                recipient.sending = Some((op, newest));
                // What becomes of it says when it is tried again.
                recipient.retry = None;
                recipient.told = true;
            }
        }
    }

    /// Whether this request was a send.
    pub(super) fn awaits(&self, op: OpId) -> bool {
        self.sends.contains(&op)
    }

    /// Sends that nobody needs to answer any more.
    pub(super) fn into_sends(self) -> BTreeSet<OpId> {
        self.sends
    }

    /// What became of a send.
    pub(super) fn on_sent(
        &mut self,
        now: Mono,
        op: OpId,
        (result, timeouts): (&Result<BTreeSet<ParticipantId>, Fault>, &Timeouts),
    ) -> Delivered {
        self.sends.remove(&op);
        let mut delivered = Delivered::default();
        for (member, recipient) in &mut self.recipients {
            let Some((_, generation)) = recipient.sending.take_if(|(of, _)| *of == op) else {
                continue;
            };
            let fault = match result {
                Ok(unreached) if !unreached.contains(member) => {
                    recipient.has = Some(generation);
                    recipient.start_over();
                    delivered.reached.push(member.clone());
                    continue;
                }
                Ok(_) => &Fault::NoDeviceKeys,
                Err(fault) => fault,
            };
            recipient.on_fault(now, fault, timeouts);
            if recipient.unreachable {
                delivered.without_keys.push(member.clone());
            }
            if recipient.tries >= MAX_KEY_TRIES {
                delivered.given_up.push(member.clone());
            }
        }
        delivered
    }

    /// Whether this device has that key.
    pub(super) fn has(&self, member: &ParticipantId, generation: Generation) -> bool {
        self.recipients.get(member).is_some_and(|one| one.has == Some(generation))
    }

    /// Generations count as their age: they never repeat.
    pub(super) fn fingerprint(&self, print: &mut Fingerprint, newest: Generation) {
        self.sends.iter().for_each(|op| print.op(*op));
        for (member, one) in &self.recipients {
            let age = |generation: Generation| newest - generation;
            print.value((member, &one.visit, one.has.map(age), one.tries));
            print.value((one.unreachable, one.told));
            if let Some((op, generation)) = one.sending {
                print.op(op);
                print.value(age(generation));
            }
            one.retry.into_iter().for_each(|at| print.deadline(Deadline::Mono(at)));
            one.answered.into_iter().for_each(|at| print.since(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::DeviceId;

    #[test]
    fn tries_of_a_former_key_do_not_count_for_the_next() {
        let (user, device) = (UserId::parse("@ada:x"), DeviceId::parse("D"));
        let ada = ParticipantId { user: user.unwrap(), device: device.unwrap() };
        let (mut delivery, timeouts) = (Delivery::default(), Timeouts::default());
        delivery.on_present(&ada, None);
        let mut tried = Vec::new();
        for second in 0..60 {
            let (now, newest) = (Mono(Duration::from_secs(second)), second / 40);
            if second == 40 {
                delivery.on_fresh();
            }
            let due = delivery.due(now, newest);
            if !due.is_empty() {
                delivery.on_sending(OpId(second), &due, newest);
                let failed = Err(Fault::Timeout);
                delivery.on_sent(now, OpId(second), (&failed, &timeouts));
                tried.push(second);
            }
        }
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 40, 41, 43, 47, 55]);
    }
}
