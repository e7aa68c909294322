//! The events around a group call that are neither its memberships nor its legs: how it is announced
//! (`notify.rs`), and what people show in it (`reaction.rs`).
//!
//! One [`RtcEvent`] is one event. [`read_rtc_event`] makes it from JSON, [`RtcEvent::write`] makes
//! JSON of it.

use serde::Serialize;

use super::{
    delivery::Malformed,
    json::Object,
    notify::{Decline, Notification, SfuReject},
    reaction::{REACTION, Reaction, ReactionRemoval},
    read::content_object,
};
use crate::id::EventId;

/// One event around a group call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RtcEvent {
    /// `org.matrix.msc4075.rtc.notification`
    Notification(Notification),
    /// `org.matrix.msc4310.rtc.decline`
    Decline(Decline),
    /// `com.famedly.call.member.reaction`
    Reaction(Reaction),
    /// `m.room.redaction` of a reaction
    ReactionRemoval(ReactionRemoval),
    /// `m.call.reject` without a call id
    SfuReject(SfuReject),
}

/// Which of the five events it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Notification,
    Decline,
    Reaction,
    ReactionRemoval,
    SfuReject,
}

/// The first name of a kind is the one that is written.
const NAMES: [(&str, Kind); 7] = [
    ("org.matrix.msc4075.rtc.notification", Kind::Notification),
    ("m.rtc.notification", Kind::Notification),
    ("org.matrix.msc4310.rtc.decline", Kind::Decline),
    ("m.rtc.decline", Kind::Decline),
    (REACTION, Kind::Reaction),
    ("m.room.redaction", Kind::ReactionRemoval),
    ("m.call.reject", Kind::SfuReject),
];

impl Kind {
    fn of(event_type: &str) -> Option<Self> {
        NAMES.iter().find(|(name, _)| *name == event_type).map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        let name = NAMES.iter().find(|(_, kind)| *kind == self).map(|(name, _)| *name);
        name.expect("invariant: every kind has a name")
    }
}

/// Whether an event of this type can be one of these: what a host has to deliver beside the call
/// events (`is_call_event`). Redactions are among them, and most of those say nothing to us.
pub fn is_rtc_event(event_type: &str) -> bool {
    Kind::of(event_type).is_some()
}

/// Reads one event; `None` if it is none of these: by its type, or by what it says (a redaction of
/// something else, the reject of a 1:1 call).
///
/// `redacts` is that field of the event's top level, where redactions of room versions before 11
/// have it; their content has it in newer ones, and goes before.
///
/// # Errors
/// [`Malformed`] says what is wrong with the content.
pub fn read_rtc_event(
    event_type: &str,
    content: &str,
    redacts: Option<&EventId>,
) -> Option<Result<RtcEvent, Malformed>> {
    let kind = Kind::of(event_type)?;
    let content = match content_object(content) {
        Ok(content) => content,
        // Of these two most are something else, and told about elsewhere.
        Err(_) if matches!(kind, Kind::ReactionRemoval | Kind::SfuReject) => return None,
        Err(why) => return Some(Err(why)),
    };
    read_kind(kind, &content, redacts)
}

fn read_kind(
    kind: Kind,
    content: &Object,
    redacts: Option<&EventId>,
) -> Option<Result<RtcEvent, Malformed>> {
    Some(match kind {
        Kind::Notification => Notification::read(content).map(RtcEvent::Notification),
        Kind::Decline => Decline::read(content).map(RtcEvent::Decline),
        Kind::Reaction => Reaction::read(content).map(RtcEvent::Reaction),
        Kind::ReactionRemoval => {
            ReactionRemoval::read(content, redacts)?.map(RtcEvent::ReactionRemoval)
        }
        Kind::SfuReject => SfuReject::read(content)?.map(RtcEvent::SfuReject),
    })
}

impl RtcEvent {
    /// Event type and content (JSON text), ready to be sent. A removal is sent as a redaction of
    /// what it redacts; its content is the body of that request.
    pub fn write(&self) -> (String, String) {
        let (kind, content) = match self {
            Self::Notification(it) => (Kind::Notification, json(it.written())),
            Self::Decline(it) => (Kind::Decline, json(it.written())),
            Self::Reaction(it) => (Kind::Reaction, json(it.written())),
            Self::ReactionRemoval(it) => (Kind::ReactionRemoval, json(it.written())),
            Self::SfuReject(it) => (Kind::SfuReject, json(it.written())),
        };
        (kind.name().to_owned(), content)
    }
}

fn json(content: impl Serialize) -> String {
    serde_json::to_string(&content).expect("invariant: structs of texts and numbers can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_the_first_is_written() {
        for (name, kind) in NAMES {
            assert_eq!(Kind::of(name), Some(kind));
            assert!(is_rtc_event(name));
        }
        assert_eq!(Kind::Notification.name(), "org.matrix.msc4075.rtc.notification");
        assert_eq!(Kind::Decline.name(), "org.matrix.msc4310.rtc.decline");
        for other in ["m.call.notify", "m.call.hangup", "com.famedly.call.member", "m.reaction"] {
            assert!(!is_rtc_event(other), "{other}");
        }
    }
}
