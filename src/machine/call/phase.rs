//! Where a call stands: one private enum with the data in its variants.
//!
//! ```text
//!  invite()                                       m.call.invite
//!     │                                                │
//!     ▼                                                ▼
//!  Outgoing(Preparing(step))                      Incoming(Ringing)
//!     │ description read back                          │ answer()
//!     ▼                                                ▼
//!  Outgoing(Inviting)                             Incoming(Answering(step))
//!     │ homeserver accepted it                         │ description read back
//!     ▼                                                │
//!  Outgoing(InviteSent)                                │
//!     │ m.call.answer                                  │
//!     └───────────────────► Connecting ◄───────────────┘
//!                             │    ▲
//!            ICE and DTLS up  ▼    │  path lost
//!                            Connected
//!
//!  every phase ───► Ended        and nothing leads out of it
//! ```
//!
//! A step says what the preparation of media and description waits for:
//! `Waiting → Opening → (SettingRemote) → Describing → SettingLocal → Gathering → Reading`.

use crate::machine::event::{CallState, End};

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// We call and nobody has answered.
    Outgoing(Outgoing),
    /// We are called and have not answered.
    Incoming(Incoming),
    /// Descriptions are exchanged; ICE and DTLS are under way, for the first time or again.
    Connecting,
    /// Media flows.
    Connected,
    /// Over. The outbox may still hold a farewell.
    Ended(End),
}

/// An outgoing call before its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Outgoing {
    /// Media and offer are made; nothing is on the wire.
    Preparing(Step),
    /// The invite is on its way.
    Inviting,
    /// The homeserver has the invite.
    InviteSent,
}

/// An incoming call before its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Incoming {
    /// Waits for the user.
    Ringing,
    /// Media and answer are made.
    Answering(Step),
}

/// What the preparation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// The callee's name, the application's permission, captured media, TURN credentials.
    Waiting,
    /// The peer connection.
    Opening,
    /// The remote offer to be in force (incoming only).
    SettingRemote,
    /// Our offer or answer.
    Describing,
    /// Our description to be in force.
    SettingLocal,
    /// Candidates, for `Timeouts::gather` at the most.
    Gathering,
    /// The local description with the candidates found so far.
    Reading,
}

impl Phase {
    /// What the application sees of it.
    pub(super) fn state(&self) -> CallState {
        match self {
            Self::Outgoing(Outgoing::Preparing(_) | Outgoing::Inviting) => CallState::Preparing,
            Self::Outgoing(Outgoing::InviteSent) => CallState::InviteSent,
            Self::Incoming(Incoming::Ringing) => CallState::Ringing,
            Self::Incoming(Incoming::Answering(_)) => CallState::Answering,
            Self::Connecting => CallState::Connecting,
            Self::Connected => CallState::Connected,
            Self::Ended(_) => CallState::Ended,
        }
    }

    /// The preparation's step, while there is one.
    pub(super) fn step(&self) -> Option<Step> {
        match self {
            Self::Outgoing(Outgoing::Preparing(step))
            | Self::Incoming(Incoming::Answering(step)) => Some(*step),
            Self::Outgoing(Outgoing::Inviting | Outgoing::InviteSent)
            | Self::Incoming(Incoming::Ringing)
            | Self::Connecting
            | Self::Connected
            | Self::Ended(_) => None,
        }
    }

    /// The same preparation, further on; `None` where none is under way, so that no late step
    /// can lead back from what came after.
    pub(super) fn at(&self, step: Step) -> Option<Self> {
        match self {
            Self::Outgoing(Outgoing::Preparing(_)) => {
                Some(Self::Outgoing(Outgoing::Preparing(step)))
            }
            Self::Incoming(Incoming::Answering(_)) => {
                Some(Self::Incoming(Incoming::Answering(step)))
            }
            Self::Outgoing(Outgoing::Inviting | Outgoing::InviteSent)
            | Self::Incoming(Incoming::Ringing)
            | Self::Connecting
            | Self::Connected
            | Self::Ended(_) => None,
        }
    }

    /// Whether the user talks or is about to: somebody answered.
    pub(super) fn is_taken(&self) -> bool {
        match self {
            Self::Incoming(Incoming::Answering(_)) | Self::Connecting | Self::Connected => true,
            Self::Outgoing(_) | Self::Incoming(Incoming::Ringing) | Self::Ended(_) => false,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    pub(super) fn is_ringing(&self) -> bool {
        matches!(self, Self::Incoming(Incoming::Ringing))
    }
}
