//! Who takes part in the demo of a group call, and which tone each of them plays.

use std::fmt;

use matrix_voip::{
    Identity, ParticipantId,
    id::{DeviceId, UserId},
};

/// How many there can be.
pub(crate) const MOST: usize = 8;

/// The device of each.
const DEVICE: &str = "DEMO";

/// Names, and tones in Hz: several times what Opus and an ear make of one apart, and none an
/// overtone of another.
const CAST: [(&str, f32); MOST] = [
    ("ada", 440.0),
    ("ben", 660.0),
    ("cleo", 550.0),
    ("dan", 770.0),
    ("eva", 610.0),
    ("finn", 850.0),
    ("gwen", 710.0),
    ("hugo", 940.0),
];

/// One of those who meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who(usize);

impl Who {
    /// The first of all: what is broken on purpose is mostly broken at her.
    pub(crate) const ADA: Self = Self(0);

    /// The second.
    pub(crate) const BEN: Self = Self(1);

    /// So many of them.
    pub(crate) fn cast(size: usize) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..size.min(MOST)).map(Self)
    }

    /// Who hears whom among so many: each pair twice, once each way.
    pub(crate) fn ways(size: usize) -> impl Iterator<Item = (Self, Self)> {
        Self::cast(size).flat_map(move |hears| hears.others(size).map(move |of| (hears, of)))
    }

    /// Each pair once.
    pub(crate) fn pairs(size: usize) -> impl Iterator<Item = (Self, Self)> {
        Self::ways(size).filter(|(one, other)| one < other)
    }

    /// All but this one.
    pub(crate) fn others(self, size: usize) -> impl Iterator<Item = Self> {
        Self::cast(size).filter(move |one| *one != self)
    }

    /// The name, in small letters.
    pub(crate) const fn name(self) -> &'static str {
        CAST[self.0].0
    }

    /// The tone that is to be heard of this one, in Hz.
    pub(crate) const fn hz(self) -> f32 {
        CAST[self.0].1
    }

    /// User and device.
    pub(crate) fn identity(self) -> Identity {
        Identity {
            user: UserId::parse(format!("@{self}:caller.local")).expect("invariant: a user id"),
            device: DeviceId::parse(DEVICE).expect("invariant: a device id"),
        }
    }

    /// Whose user id that is.
    pub(crate) fn of_user(user: &UserId) -> Option<Self> {
        Self::cast(MOST).find(|one| one.identity().user == *user)
    }

    /// Whose device that is.
    pub(crate) fn of(participant: &ParticipantId) -> Option<Self> {
        let is_ours = participant.device.as_str() == DEVICE;
        is_ours.then(|| Self::of_user(&participant.user)).flatten()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::verdict::is_tone;

    #[test]
    fn no_tone_can_be_taken_for_another_or_its_overtones() {
        for (one, other) in Who::ways(MOST) {
            for overtone in 1..8_u8 {
                let sounds = one.hz() * f32::from(overtone);
                assert!(!is_tone(sounds, other.hz()), "{one} {overtone} {other}");
            }
        }
    }

    #[test]
    fn everybody_is_known_by_his_device_and_no_other() {
        for who in Who::cast(MOST) {
            let Identity { user, device } = who.identity();
            let id = ParticipantId { user, device };
            assert_eq!(Who::of(&id), Some(who));
            let device = DeviceId::parse("OTHER").unwrap();
            assert_eq!(Who::of(&ParticipantId { device, ..id }), None);
        }
        assert_eq!((Who::ways(4).count(), Who::pairs(4).count()), (12, 6));
    }
}
