//! How a group call is announced, and how that is declined: the notification (MSC4075), the decline
//! (MSC4310), and what Famedly's clients send to refuse a call of two over an SFU.
//!
//! `famedly-dart.md` §2.4 and §2.5, `matrix-js-sdk.md` §2.8. The names of the MSCs' time of testing
//! are written, as all deployed clients do; the names that the MSCs end with are read too.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{
    delivery::Malformed,
    json::{Object, exact_text, flag, object, reference, shortened, span, text, whole},
};
use crate::{
    id::{EventId, UserId},
    time::Wall,
};

/// The lifetime of a notification that names none: what deployed clients write.
pub const DEFAULT_NOTIFICATION_LIFETIME: Duration = Duration::from_secs(30);

/// Longest lifetime of a notification; a longer one counts as this (`famedly-dart.md` §2.4).
pub const MAX_NOTIFICATION_LIFETIME: Duration = Duration::from_secs(120);

/// Most users of one event's mentions that are read; the rest is left unread.
pub const MAX_MENTIONS: usize = 1000;

/// Most bytes of an unknown intent that are kept.
pub const MAX_INTENT_BYTES: usize = 64;

/// "We are in a call": `org.matrix.msc4075.rtc.notification`, sent by the first to join.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// How loud it wants to be.
    pub style: Style,
    /// When it was sent by the sender's clock; `None` where that cannot be read.
    pub sender_ts: Option<Wall>,
    /// How long it is alive, at most [`MAX_NOTIFICATION_LIFETIME`].
    pub lifetime: Duration,
    /// Whom it is for.
    pub mentions: Mentions,
    /// The membership with which its sender is in the call.
    pub member_event: EventId,
    /// What the call is like.
    pub intent: Option<Intent>,
}

/// How loud a notification wants to be (`notification_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Style {
    /// `ring`: like a telephone.
    Ring,
    /// `notification`: like a message. Everything unknown is read as this: the quieter one.
    Notification,
}

/// Whom an event is for (`m.mentions`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mentions {
    /// Everybody in the room.
    pub room: bool,
    /// These users, at most [`MAX_MENTIONS`]; what is no user id is left out.
    pub users: BTreeSet<UserId>,
}

/// What a call is like (`m.call.intent`): a free text, of which two mean something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Intent {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// Any other text, at most [`MAX_INTENT_BYTES`] of it.
    Unknown(String),
}

/// "I will not come": `org.matrix.msc4310.rtc.decline`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decline {
    /// The notification that is declined.
    pub notification: EventId,
}

/// "I will not come" to a call of two that Famedly's clients hold over an SFU: a room event
/// `m.call.reject` without a call id (`famedly-dart.md` §2.5). The reader of calls refuses it, as no
/// 1:1 call has such an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SfuReject {
    /// The application of the call, `m.call.audio` or `m.call.video`.
    pub application: String,
}

impl Style {
    /// The text that is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Notification => "notification",
        }
    }
}

impl Mentions {
    /// Everybody in the room.
    pub fn everybody() -> Self {
        Self { room: true, users: BTreeSet::new() }
    }

    /// Whether this user is meant.
    pub fn names(&self, user: &UserId) -> bool {
        self.room || self.users.contains(user)
    }

    /// Whether nobody is meant.
    pub fn is_empty(&self) -> bool {
        !self.room && self.users.is_empty()
    }

    fn read(content: &Object) -> Self {
        let Some(mentions) = object(content, "m.mentions") else { return Self::default() };
        let users = mentions.get("user_ids").and_then(Value::as_array).into_iter().flatten();
        let users = users.take(MAX_MENTIONS).filter_map(Value::as_str);
        let users = users.filter_map(|user| UserId::parse(user).ok()).collect();
        Self { room: flag(mentions, "room"), users }
    }
}

impl Intent {
    /// Understands a text.
    pub fn parse(text: &str) -> Self {
        match text {
            "audio" => Self::Audio,
            "video" => Self::Video,
            other => Self::Unknown(shortened(other, MAX_INTENT_BYTES)),
        }
    }

    /// The text that is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Unknown(text) => text,
        }
    }
}

impl Notification {
    /// What is read leniently: everything but what it refers to.
    pub(super) fn read(content: &Object) -> Result<Self, Malformed> {
        let style = match text(content, "notification_type") {
            Some("ring") => Style::Ring,
            Some(_) | None => Style::Notification,
        };
        let lifetime = span(content, "lifetime", MAX_NOTIFICATION_LIFETIME);
        let intent = text(content, "m.call.intent").filter(|intent| !intent.is_empty());
        Ok(Self {
            style,
            sender_ts: whole(content, "sender_ts").map(Wall),
            lifetime: lifetime.unwrap_or(DEFAULT_NOTIFICATION_LIFETIME),
            mentions: Mentions::read(content),
            member_event: reference(content)?,
            intent: intent.map(Intent::parse),
        })
    }

    pub(super) fn written(&self) -> impl Serialize {
        let Self { style, sender_ts, lifetime, mentions, member_event, intent } = self;
        WrittenNotification {
            notification_type: style.as_str(),
            sender_ts: sender_ts.map(|at| at.0),
            lifetime: lifetime.min(&MAX_NOTIFICATION_LIFETIME).as_millis() as u64,
            mentions: (!mentions.is_empty()).then(|| WrittenMentions {
                room: mentions.room.then_some(true),
                user_ids: mentions.users.iter().map(UserId::as_str).collect(),
            }),
            relates_to: Reference::to(member_event),
            intent: intent.as_ref().map(Intent::as_str),
        }
    }
}

impl Decline {
    pub(super) fn read(content: &Object) -> Result<Self, Malformed> {
        Ok(Self { notification: reference(content)? })
    }

    pub(super) fn written(&self) -> impl Serialize {
        WrittenDecline { relates_to: Reference::to(&self.notification) }
    }
}

impl SfuReject {
    /// `None` where the event is the reject of a 1:1 call, good or bad.
    pub(super) fn read(content: &Object) -> Option<Result<Self, Malformed>> {
        let empty = text(content, "call_id").is_some_and(str::is_empty);
        let application = || match exact_text(content, "application")? {
            Some(application) => Ok(Self { application: application.to_owned() }),
            None => Err(Malformed::Missing("application")),
        };
        empty.then(application)
    }

    pub(super) fn written(&self) -> impl Serialize {
        WrittenReject { call_id: "", application: &self.application }
    }
}

#[derive(Serialize)]
struct WrittenNotification<'a> {
    notification_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_ts: Option<u64>,
    lifetime: u64,
    #[serde(rename = "m.mentions", skip_serializing_if = "Option::is_none")]
    mentions: Option<WrittenMentions<'a>>,
    #[serde(rename = "m.relates_to")]
    relates_to: Reference<'a>,
    #[serde(rename = "m.call.intent", skip_serializing_if = "Option::is_none")]
    intent: Option<&'a str>,
}

#[derive(Serialize)]
struct WrittenMentions<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_ids: Vec<&'a str>,
}

#[derive(Serialize)]
struct WrittenDecline<'a> {
    #[serde(rename = "m.relates_to")]
    relates_to: Reference<'a>,
}

#[derive(Serialize)]
struct WrittenReject<'a> {
    call_id: &'static str,
    application: &'a str,
}

/// A relation as it is written.
#[derive(Serialize)]
pub(super) struct Reference<'a> {
    rel_type: &'static str,
    event_id: &'a str,
}

impl<'a> Reference<'a> {
    pub(super) fn to(event: &'a EventId) -> Self {
        Self { rel_type: "m.reference", event_id: event.as_str() }
    }
}
