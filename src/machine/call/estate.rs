//! What a call leaves to the one that takes its place after glare.
//!
//! The user granted it for a call with the same person a moment ago: which media, whether it may
//! start, what is muted, and what is captured already or being asked for. Tracks move with their
//! ids and captures with their open requests, so that no device is closed and opened again and
//! nobody is asked twice. What the new call does not need is released.

use std::collections::BTreeMap;

use super::{Ask, Call, Gate, media::LocalMedia};
use crate::{
    id::{DeviceId, OpId},
    machine::{
        event::CallEvent,
        fingerprint::Fingerprint,
        io::{CallMedia, MediaSource, Op, TrackOp},
        world::{Owner, World},
    },
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct Estate {
    media: CallMedia,
    gate: Gate,
    local: LocalMedia,
    /// The one device that was called, where one was named.
    device: Option<DeviceId>,
    /// Captures that are not answered yet.
    asks: BTreeMap<OpId, MediaSource>,
}

impl Estate {
    pub(in crate::machine) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.media, self.gate, &self.device));
        self.local.fingerprint(print);
    }

    /// Whether it is for a call from this device.
    pub(in crate::machine) fn is_for(&self, device: Option<&DeviceId>) -> bool {
        is_meant(self.device.as_ref(), device)
    }

    /// Releases what is of no use to a call that sends this.
    fn release_but(&mut self, world: &mut World, wanted: &[MediaSource]) {
        for (source, track) in self.local.remove_but(wanted) {
            let asked: Vec<_> = self.asks.extract_if(.., |_, asked| *asked == source).collect();
            for (op, _) in asked {
                world.cancel(op);
            }
            world.request(Owner::Nobody, Op::Track(track, TrackOp::Release));
        }
    }
}

/// Whether whoever called the named device, or no device in particular, may meet this one.
pub(super) fn is_meant(named: Option<&DeviceId>, device: Option<&DeviceId>) -> bool {
    named.is_none() || named == device
}

impl Call {
    /// What the user granted for this call; its media stays with it.
    pub(in crate::machine) fn granted(&self) -> Estate {
        let local = self.media.without_tracks();
        let device = self.callee_device.clone();
        Estate { media: self.sending, gate: self.gate, local, device, asks: BTreeMap::new() }
    }

    /// The user decides about calls with this person himself: what an earlier call left must not.
    pub(super) fn withdraw_estate(&self, world: &mut World) {
        if let Some(user) = self.remote_user() {
            world.vacant.withdraw(&self.shown.room, user);
        }
    }

    /// Their call is to take the place of this one: it may come after this was said.
    pub(super) fn leave_vacant(&self, world: &mut World) {
        if let Some(user) = self.remote_user() {
            let patience = world.config.timeouts.replacement;
            let place = (self.shown.room.clone(), user.clone());
            let mut estate = self.granted();
            // Nobody is asked once more for what he refused.
            if self.media.is_gone(MediaSource::Camera) {
                estate.media = CallMedia::Voice;
            }
            world.vacant.note(place, estate, world.now, patience);
        }
    }

    /// Gives everything away. The call is to be ended at once.
    pub(in crate::machine) fn hand_over(&mut self) -> Estate {
        let mut estate = self.granted();
        std::mem::swap(&mut estate.local, &mut self.media);
        for (op, ask) in &self.asks {
            if let Ask::Capture(source) = ask {
                estate.asks.insert(*op, *source);
            }
        }
        self.asks.retain(|op, _| !estate.asks.contains_key(op));
        estate
    }

    /// Is answered in the place of our own call, with what was granted for that one.
    pub(in crate::machine) fn take_place(&mut self, world: &mut World, mut estate: Estate) {
        let wanted = LocalMedia::sources_of(self.answerable(estate.media));
        estate.release_but(world, wanted);
        self.gate = estate.gate;
        let is_started = estate.local.is_started();
        for source in self.media.adopt(estate.local) {
            self.tell(world, CallEvent::MuteChanged { source, muted: true });
            self.silence_if_muted(world, source);
        }
        for (op, source) in estate.asks {
            world.hand_over(op, Owner::Call(self.session));
            self.asks.insert(op, Ask::Capture(source));
        }
        if is_started {
            self.want_turn(world);
        }
        self.refresh_streams(world);
        self.take(world, Some(estate.media));
    }
}
