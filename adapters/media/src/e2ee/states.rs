//! What became of frames: why somebody is black or silent.

use matrix_voip::machine::io::ParticipantId;

/// What can become of a frame in a call whose frames are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// Received: decrypted and played.
    Opened,
    /// Received: there is no key at the place that it names. The key has not arrived yet, or the
    /// sender has not sent it to us.
    NoKey,
    /// Received: encrypted with another key than the one at its place, derived otherwise (HKDF and
    /// PBKDF2 cannot be told apart), or changed on the way.
    WrongKey,
    /// Received: it came in the clear, and was refused.
    Plain,
    /// Received: silence or black that the SFU made, and that was dropped.
    Injected,
    /// Ours: encrypted and sent.
    Sealed,
    /// Ours: not sent, because there is no key yet or it is used up.
    Held,
    /// Ours: not sent, because it cannot be encrypted ([`SealError`](super::SealError)).
    Unfit,
}

/// How many frames each fate had, since the participant is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FrameCounts {
    /// [`Fate::Opened`].
    pub opened: u64,
    /// [`Fate::NoKey`].
    pub no_key: u64,
    /// [`Fate::WrongKey`].
    pub wrong_key: u64,
    /// [`Fate::Plain`].
    pub plain: u64,
    /// [`Fate::Injected`].
    pub injected: u64,
    /// [`Fate::Sealed`].
    pub sealed: u64,
    /// [`Fate::Held`].
    pub held: u64,
    /// [`Fate::Unfit`].
    pub unfit: u64,
}

impl FrameCounts {
    pub(super) fn add(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Opened => &mut self.opened,
            Fate::NoKey => &mut self.no_key,
            Fate::WrongKey => &mut self.wrong_key,
            Fate::Plain => &mut self.plain,
            Fate::Injected => &mut self.injected,
            Fate::Sealed => &mut self.sealed,
            Fate::Held => &mut self.held,
            Fate::Unfit => &mut self.unfit,
        };
        *count += 1;
    }
}

/// One participant of a call, ourselves included: his keys and his frames.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameState {
    /// Who.
    pub participant: ParticipantId,
    /// The places of his ring that have a key.
    pub keys: Vec<u8>,
    /// What became of his frames.
    pub counts: FrameCounts,
    /// What became of the last one.
    pub latest: Option<Fate>,
}
