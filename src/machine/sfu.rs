//! What is asked of whoever connects to an SFU and encrypts, and what he reports: values only.
//!
//! Participants are named by the SFU's identities: who they are in the room is the machine's matter.

use super::{
    event::Side,
    group::roster::ParticipantId,
    io::{Slot, TrackOp},
    token::SfuToken,
};
#[cfg(doc)]
use super::{
    fault::Fault,
    io::{Input, Reply},
};
use crate::{config::KeyProfile, id::TrackId, wire::keys::MediaKey};

/// Something to do with the SFU of a group call.
///
/// Sources may be opened before `Connect`: they are published as soon as there is a connection, and
/// again after each that was lost, or left. `Disconnect` comes at any time, also while `Connect` is
/// unanswered, which then is to be taken as cancelled; sources stay open until each is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SfuOp {
    /// Connect with this token, and take in what others publish. Reply: [`Reply::Done`] when it is
    /// begun; how it goes is told by [`SfuNews::State`].
    Connect(SfuToken),
    /// Use this token when a connection has to be made again; the present one goes on. Reply:
    /// [`Reply::Done`].
    Renew(SfuToken),
    /// Do with a source of ours what the delegate does with a local track: `Capture` opens and
    /// publishes it, `Enable` mutes it (and says so), `Replace` takes another device, `Release` closes
    /// and unpublishes it. Replies as with [`TrackOp`].
    Track(TrackId, TrackOp),
    /// Take in what others publish (`true`) or nothing: we hold the call. Reply: [`Reply::Done`].
    Subscribe(bool),
    /// Leave the SFU, as far as we are there: also after it was lost. Reply: [`Reply::Done`].
    Disconnect,
}

/// Something to do for an application that connects to the SFU by itself
/// ([`SfuClient::Application`](crate::config::SfuClient)), in the words of [`SfuOp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SfuTask {
    /// Connect with this token: the call is entered, is at another SFU than before, or the connection
    /// was reported as lost. A connection to another SFU is left before.
    Connect(SfuToken),
    /// Keep this token for when a connection has to be made again; the present one goes on. It comes
    /// before the former expires.
    Renew(SfuToken),
    /// Leave the SFU: the call is at another, or we leave it. The tokens had so far are no use any more.
    Disconnect,
}

/// Unasked news of an SFU ([`Input::Sfu`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SfuNews {
    /// Our connection changed.
    State(SfuState),
    /// A participant is there.
    Joined(String),
    /// A participant is there no more, and nothing of what he published.
    Left(String),
    /// A participant publishes this, or publishes it otherwise than before.
    Published(String, SfuTrack),
    /// A participant publishes the track of that id no more.
    Unpublished(String, String),
    /// Who speaks: all of them, levels in dBov. Nobody: it is silent.
    Speakers(Vec<Speaking>),
    /// What a participant sends cannot be decrypted: there is no key of his that fits.
    Undecryptable(String),
    /// A source of ours ended by itself: device unplugged, capture revoked.
    TrackEnded(TrackId),
    /// The SFU muted a source of ours, as its operator can.
    MutedByServer(TrackId),
}

/// Our connection to an SFU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SfuState {
    /// Media can flow.
    Connected,
    /// The path is lost; whoever connects is at it by himself.
    Reconnecting,
    /// It is lost for good. What follows depends on why.
    Lost(SfuLoss),
}

/// Why a connection to an SFU is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SfuLoss {
    /// The network, or the server went down: a new connection may come about.
    Unreachable,
    /// The token was not taken, or has expired: a fresh one may be.
    TokenRefused,
    /// Somebody is there under our identity: whoever reconnects would throw him out.
    Replaced,
    /// We were removed from the call, or it was closed there.
    Removed,
}

/// What a participant publishes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SfuTrack {
    /// The SFU's id of it.
    pub id: String,
    /// What it carries.
    pub slot: Slot,
    /// Whether it is muted, as its sender says.
    pub muted: bool,
    /// Whether what it carries is encrypted for members alone.
    pub encrypted: bool,
}

/// Somebody who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Speaking {
    /// Who.
    pub identity: String,
    /// How loud, in dBov.
    pub level: i8,
}

/// Something to do with the media keys of a group call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOp {
    /// There are media keys from now on: nothing may be sent in the clear. Reply: [`Reply::Done`].
    Begin(KeyProfile),
    /// Take this key of its owner; of ours: use it from now on for what we send.
    /// Reply: [`Reply::Done`].
    Set {
        /// How it is to be used.
        profile: KeyProfile,
        /// Whose it is.
        owner: KeyOwner,
        /// The key.
        key: MediaKey,
    },
    /// Ratchet a key, and give the new one. Reply: [`Reply::Key`].
    Ratchet {
        /// Whose it is.
        participant: ParticipantId,
        /// Its place in the ring.
        index: u8,
    },
    /// Forget all keys of a participant; `None`: of everybody. Reply: [`Reply::Done`].
    Forget(Option<ParticipantId>),
}

/// Whose a media key is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyOwner {
    /// Which device of whom.
    pub participant: ParticipantId,
    /// Whether it is ours: then what we send is encrypted with it.
    pub side: Side,
    /// The names by which an SFU may know him: SDKs keep keys by them. In this order: of `/sfu/get`
    /// (`@user:server:DEVICE`), of `/get_token`, of the newest MSC4195.
    pub identities: Vec<String>,
}

impl KeyOwner {
    /// One whom no SFU names: for hosts of a mesh, and for tests.
    pub const fn new(participant: ParticipantId, side: Side) -> Self {
        Self { participant, side, identities: Vec::new() }
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        self.side == Side::Local
    }
}
