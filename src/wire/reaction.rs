//! Reactions in group calls and raised hands, and their removal (`famedly-dart.md` §2.4, §7.6).
//!
//! A reaction refers to the membership of its sender. Deployed clients send it in the clear, also
//! in encrypted rooms; so comes its removal, a redaction that says in its content what it removes.

use serde::Serialize;

use super::{
    delivery::Malformed,
    json::{Object, exact_text, flag, id, optional_id, reference, text},
    member::Scope,
    notify::Reference,
};
use crate::id::{DeviceId, EventId, MAX_ID_BYTES};

/// Most bytes of what a reaction shows.
pub const MAX_REACTION_KEY_BYTES: usize = MAX_ID_BYTES;

/// What a raised hand shows, as deployed clients have it.
pub const RAISED_HAND: &str = "🖐️";

/// `com.famedly.call.member.reaction`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reaction {
    /// What is shown, an emoji as a rule; at most [`MAX_REACTION_KEY_BYTES`], never empty.
    pub key: String,
    /// Whether it passes by itself. One that says nothing readable about it stays (T-41).
    pub stay: Stay,
    /// The call, its sender's device and the call's scope.
    pub of: Origin,
    /// The membership of the sender that it belongs to.
    pub member_event: EventId,
}

/// How long a reaction is meant to be seen (`is_ephemeral`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stay {
    /// For a moment: applause. Old ones are not shown.
    Ephemeral,
    /// Until it is removed: a raised hand.
    Permanent,
}

/// Where in a room a reaction belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The group call; `""` is an id like any other.
    pub call_id: String,
    /// The sender's device, as it claims.
    pub device_id: DeviceId,
    /// The call's scope; absent from older clients, then any.
    pub scope: Option<Scope>,
}

/// An `m.room.redaction` that says itself that it removes a reaction of a group call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReactionRemoval {
    /// The reaction.
    pub redacts: EventId,
    /// The call, its sender's device and the call's scope.
    pub of: Origin,
}

impl Origin {
    fn read(content: &Object) -> Result<Self, Malformed> {
        let call_id = exact_text(content, "call_id")?.ok_or(Malformed::Missing("call_id"))?;
        Ok(Self {
            call_id: call_id.to_owned(),
            device_id: id(content, "device_id")?,
            scope: exact_text(content, "scope")?.map(Scope::parse),
        })
    }

    fn written(&self) -> WrittenOrigin<'_> {
        let Self { call_id, device_id, scope } = self;
        WrittenOrigin {
            call_id,
            device_id: device_id.as_str(),
            scope: scope.as_ref().map(Scope::as_str),
        }
    }
}

impl Reaction {
    pub(super) fn read(content: &Object) -> Result<Self, Malformed> {
        let key = exact_text(content, "key")?.filter(|key| !key.is_empty());
        let ephemeral = flag(content, "is_ephemeral");
        Ok(Self {
            key: key.ok_or(Malformed::Missing("key"))?.to_owned(),
            stay: if ephemeral { Stay::Ephemeral } else { Stay::Permanent },
            of: Origin::read(content)?,
            member_event: reference(content)?,
        })
    }

    pub(super) fn written(&self) -> impl Serialize {
        let Self { key, stay, of, member_event } = self;
        WrittenReaction {
            key,
            is_ephemeral: *stay == Stay::Ephemeral,
            of: of.written(),
            relates_to: Reference::to(member_event),
        }
    }
}

impl ReactionRemoval {
    /// `None` where another event is redacted, or nothing says that it is a reaction of a call.
    /// `redacts` is what stood at the event's top level: there old room versions have it.
    pub(super) fn read(
        content: &Object,
        redacts: Option<&EventId>,
    ) -> Option<Result<Self, Malformed>> {
        let ours = text(content, "redacts_type") == Some(REACTION);
        let removal = || {
            let inside = optional_id(content, "redacts")?;
            let redacts = inside.or_else(|| redacts.cloned());
            let redacts = redacts.ok_or(Malformed::Missing("redacts"))?;
            Ok(Self { redacts, of: Origin::read(content)? })
        };
        ours.then(removal)
    }

    pub(super) fn written(&self) -> impl Serialize {
        let Self { redacts, of } = self;
        WrittenRemoval { redacts: redacts.as_str(), of: of.written(), redacts_type: REACTION }
    }
}

/// The type of a reaction.
pub(super) const REACTION: &str = "com.famedly.call.member.reaction";

#[derive(Serialize)]
struct WrittenOrigin<'a> {
    call_id: &'a str,
    device_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

#[derive(Serialize)]
struct WrittenReaction<'a> {
    key: &'a str,
    is_ephemeral: bool,
    #[serde(flatten)]
    of: WrittenOrigin<'a>,
    #[serde(rename = "m.relates_to")]
    relates_to: Reference<'a>,
}

#[derive(Serialize)]
struct WrittenRemoval<'a> {
    redacts: &'a str,
    #[serde(flatten)]
    of: WrittenOrigin<'a>,
    redacts_type: &'static str,
}
