//! The names of call events.
//!
//! Each kind has a name in rooms (`m.call.invite`), a to-device twin for legs of group calls
//! (`com.famedly.call.member.invite`, `famedly-dart.md` §2.1), and two have an older name that is
//! still read. Famedly's media keys and memberships share the twins' prefix but are no call events.

use super::call::{Body, CallMessage, WireForm};

/// Which of the ten events it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invite,
    Candidates,
    Answer,
    SelectAnswer,
    Reject,
    Hangup,
    Negotiate,
    MetadataChanged,
    AssertedIdentity,
    Replaces,
}

/// Under which family of names an event comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `m.call.*`
    Plain,
    /// `com.famedly.call.member.*`: group call and room are mandatory fields.
    Twin,
}

const PLAIN: &str = "m.call.";
const TWIN: &str = "com.famedly.call.member.";
/// Of old, for the two kinds of MSC3077 and MSC3086.
const UNSTABLE: &str = "org.matrix.call.";

impl Kind {
    /// Every kind.
    const ALL: [Self; 10] = [
        Self::Invite,
        Self::Candidates,
        Self::Answer,
        Self::SelectAnswer,
        Self::Reject,
        Self::Hangup,
        Self::Negotiate,
        Self::MetadataChanged,
        Self::AssertedIdentity,
        Self::Replaces,
    ];

    /// What an event type means; `None` if it is no call event.
    pub(super) fn of(event_type: &str) -> Option<(Self, Family)> {
        if let Some(name) = event_type.strip_prefix(PLAIN) {
            return Self::named(name).map(|kind| (kind, Family::Plain));
        }
        if let Some(name) = event_type.strip_prefix(TWIN) {
            return Self::named(name).map(|kind| (kind, Family::Twin));
        }
        let kind = Self::named(event_type.strip_prefix(UNSTABLE)?)?;
        kind.had_unstable_name().then_some((kind, Family::Plain))
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn had_unstable_name(self) -> bool {
        match self {
            Self::MetadataChanged | Self::AssertedIdentity => true,
            Self::Invite | Self::Candidates | Self::Answer | Self::SelectAnswer => false,
            Self::Reject | Self::Hangup | Self::Negotiate | Self::Replaces => false,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Candidates => "candidates",
            Self::Answer => "answer",
            Self::SelectAnswer => "select_answer",
            Self::Reject => "reject",
            Self::Hangup => "hangup",
            Self::Negotiate => "negotiate",
            Self::MetadataChanged => "sdp_stream_metadata_changed",
            Self::AssertedIdentity => "asserted_identity",
            Self::Replaces => "replaces",
        }
    }
}

impl Body {
    fn kind(&self) -> Kind {
        match self {
            Self::Invite(_) => Kind::Invite,
            Self::Candidates(_) => Kind::Candidates,
            Self::Answer(_) => Kind::Answer,
            Self::SelectAnswer { .. } => Kind::SelectAnswer,
            Self::Reject { .. } => Kind::Reject,
            Self::Hangup { .. } => Kind::Hangup,
            Self::Negotiate(_) => Kind::Negotiate,
            Self::MetadataChanged(_) => Kind::MetadataChanged,
            Self::AssertedIdentity(_) => Kind::AssertedIdentity,
            Self::Replaces(_) => Kind::Replaces,
        }
    }
}

impl CallMessage {
    /// The event type that it is sent under: `m.call.…`, or the to-device twin
    /// `com.famedly.call.member.…` where the header names a leg of a group call that is written so.
    pub fn event_type(&self) -> String {
        let prefix = match self.header.leg.as_ref().map(|leg| leg.form) {
            Some(WireForm::Deployed) => TWIN,
            Some(WireForm::Readme) | None => PLAIN,
        };
        format!("{prefix}{}", self.body.kind().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_plain_name_and_a_twin() {
        for kind in Kind::ALL {
            let name = kind.name();
            assert_eq!(Kind::of(&format!("m.call.{name}")), Some((kind, Family::Plain)));
            assert_eq!(
                Kind::of(&format!("com.famedly.call.member.{name}")),
                Some((kind, Family::Twin))
            );
        }
    }

    #[test]
    fn only_two_kinds_had_an_unstable_name() {
        let known: Vec<_> = Kind::ALL
            .into_iter()
            .filter(|kind| Kind::of(&format!("org.matrix.call.{}", kind.name())).is_some())
            .collect();
        assert_eq!(known, [Kind::MetadataChanged, Kind::AssertedIdentity]);
        assert_eq!(
            Kind::of("org.matrix.call.asserted_identity"),
            Some((Kind::AssertedIdentity, Family::Plain))
        );
    }

    #[test]
    fn neighbours_of_call_events_are_none() {
        for other in [
            "m.room.message",
            "m.call.notify",
            "m.call.",
            "m.call.Invite",
            "invite",
            "com.famedly.call.member",
            "com.famedly.call.member.encryption_keys",
            "com.famedly.call.member.encryption_keys_request",
            "com.famedly.call.member.reaction",
            "org.matrix.call.invite",
        ] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }
}
