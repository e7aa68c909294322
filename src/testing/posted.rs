//! To-device messages at the fake homeserver.

use std::collections::BTreeSet;

use super::server::{Account, FakeHomeserver, Pending, What, account};
use crate::{
    host::SendToDevice,
    machine::{
        Identity,
        io::{Fault, ParticipantId, Trust},
    },
    redact::Redacted,
    time::Wall,
    wire::delivery::{Facts, Protection, RawEvent},
};

/// What is known of to-device messages besides those in the inboxes.
#[derive(Debug, Clone, Default)]
pub(super) struct Posted {
    /// Which were taken already, and reached all their devices.
    transactions: BTreeSet<(Account, String)>,
    /// Devices whose keys nobody knows.
    without_keys: BTreeSet<Account>,
    /// Devices that nobody has verified.
    unverified: BTreeSet<Account>,
    sent: usize,
    log: Vec<SentToDevice>,
}

/// A message that a device sent to another, whether or not it was read there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentToDevice {
    /// When.
    pub at: Wall,
    /// By whom.
    pub from: ParticipantId,
    /// To whom.
    pub to: ParticipantId,
    /// Its type.
    pub event_type: String,
    /// Its content, JSON text.
    pub content: Redacted,
}

impl Posted {
    /// Whether a message of this kind can be encrypted for a device.
    fn may_have(&self, device: &Account, trust: Trust) -> bool {
        let trusted = match trust {
            Trust::Any => true,
            Trust::Verified => !self.unverified.contains(device),
        };
        trusted && !self.without_keys.contains(device)
    }
}

impl FakeHomeserver {
    /// Hands a message to each of these devices, as proven to come from this one where the room is
    /// encrypted. The same transaction of the same device is taken once.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without such a room.
    pub fn send_to_device(
        &mut self,
        now: Wall,
        from: &Identity,
        message: SendToDevice,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let encrypted = self.rooms.get(&message.room).ok_or(Fault::NotFound)?.encrypted;
        let key = (account(from), message.transaction);
        if self.to_device.transactions.contains(&key) {
            return Ok(BTreeSet::new());
        }
        let unverified = &self.to_device.unverified;
        let protection = match encrypted {
            true if unverified.contains(&account(from)) => Protection::Unverified,
            true => Protection::Verified,
            false => Protection::Clear,
        };
        let event = (message.event_type.as_str(), message.content.as_str());
        let mut unreached = BTreeSet::new();
        let us = ParticipantId { user: from.user.clone(), device: from.device.clone() };
        for target in message.targets {
            let place = (target.user.clone(), target.device.clone());
            if encrypted && !self.to_device.may_have(&place, message.trust) {
                unreached.insert(target);
            } else {
                self.to_device.log.push(SentToDevice {
                    at: now,
                    from: us.clone(),
                    to: target.clone(),
                    event_type: message.event_type.clone(),
                    content: Redacted::new(message.content.as_str()),
                });
                self.post(now, from, &target, (event, protection));
            }
        }
        // Whoever got nothing may get it in a later try.
        if unreached.is_empty() {
            self.to_device.transactions.insert(key);
        }
        Ok(unreached)
    }

    /// Puts a to-device message into a device's inbox without asking anybody: for what no client of
    /// ours sends. `event` is its type and its content as JSON text.
    pub fn post(
        &mut self,
        now: Wall,
        from: &Identity,
        to: &ParticipantId,
        (event, protection): ((&str, &str), Protection),
    ) {
        let delay = self.ways.get(&(from.user.clone(), to.user.clone())).copied();
        let Some(inbox) = self.inboxes.get_mut(&(to.user.clone(), to.device.clone())) else {
            return;
        };
        let event = RawEvent {
            facts: Facts {
                event_id: None,
                sender: from.user.clone(),
                device: (protection != Protection::Clear).then(|| from.device.clone()),
                protection,
                sent: None,
                age: None,
            },
            event_type: event.0.to_owned(),
            content: event.1.to_owned(),
            redacts: None,
        };
        let visible = now.plus(delay.unwrap_or_default());
        self.to_device.sent += 1;
        inbox.push(Pending { visible, what: What::ToDevice(Box::new(event)) });
    }

    /// Whether the keys of a device are known, so that it can be encrypted for.
    pub fn set_device_keys(&mut self, device: &Identity, known: bool) {
        match known {
            true => self.to_device.without_keys.remove(&account(device)),
            false => self.to_device.without_keys.insert(account(device)),
        };
    }

    /// Whether a device counts as verified with everybody, as each does at first.
    pub fn set_verified(&mut self, device: &Identity, verified: bool) {
        match verified {
            true => self.to_device.unverified.remove(&account(device)),
            false => self.to_device.unverified.insert(account(device)),
        };
    }

    /// Every to-device message of an engine that was sent, for each device that it was sent to.
    pub fn to_device_log(&self) -> &[SentToDevice] {
        &self.to_device.log
    }

    /// How many to-device messages were sent.
    pub fn to_device_sent(&self) -> usize {
        self.to_device.sent
    }
}
