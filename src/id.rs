//! Identifiers: opaque, validated, cheap to clone.
//!
//! Matrix identifiers are our own types, so that the public face names no other crate; every API
//! that takes one accepts `impl AsRef<str>` through `parse`, so ruma's ids just fit. Identifiers
//! that we mint ([`SessionId`], [`PeerId`], [`TrackId`], [`OpId`]) are plain numbers.

use std::{fmt, sync::Arc};

/// Longest identifier that is accepted, in bytes (Matrix specification, appendix "Identifiers").
pub const MAX_ID_BYTES: usize = 255;

/// Why a text is not the identifier that it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// The text is empty.
    #[error("a {0} must not be empty")]
    Empty(&'static str),
    /// The text is longer than [`MAX_ID_BYTES`].
    #[error("a {0} has at most 255 bytes")]
    TooLong(&'static str),
    /// The text lacks the sigil or the separator of its kind.
    #[error("a {0} looks like {1}")]
    Form(&'static str, &'static str),
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $example:literal, |$text:ident| $form:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a text.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is empty, longer than 255 bytes or of another form.
            pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let $text = text.as_ref();
                if $text.is_empty() {
                    return Err(InvalidId::Empty($what));
                }
                if $text.len() > MAX_ID_BYTES {
                    return Err(InvalidId::TooLong($what));
                }
                if !$form {
                    return Err(InvalidId::Form($what, $example));
                }
                Ok(Self(Arc::from($text)))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

text_id!(
    /// A Matrix user, `@localpart:server`.
    UserId, "user id", "@user:server", |text| text.starts_with('@') && text.contains(':')
);
text_id!(
    /// A Matrix room, `!opaque:server` (or `!opaque` in new room versions).
    RoomId, "room id", "!room:server", |text| text.starts_with('!')
);
text_id!(
    /// A Matrix event, `$opaque`.
    EventId, "event id", "$event", |text| text.starts_with('$')
);
text_id!(
    /// A device of a Matrix user; any non-empty text.
    DeviceId, "device id", "ABCDEFGH", |text| !text.is_empty()
);
text_id!(
    /// The id of one 1:1 call or mesh leg (`call_id`), unique within its room.
    CallId, "call id", "17861000001234Qw7ErTy", |text| !text.is_empty()
);
text_id!(
    /// One party of a call (`party_id`): compared exactly. Deployed clients write characters
    /// outside the specification's grammar, so any non-empty text is accepted; ours keep to it.
    PartyId, "party id", "Ab3dEf6hIj9l", |text| !text.is_empty()
);
text_id!(
    /// The id of a media stream as it stands in SDP `msid` and `sdp_stream_metadata`.
    StreamId, "stream id", "Ab3dEf6hIj9l", |text| !text.is_empty()
);

text_id!(
    /// An input device (a microphone, a camera, a window) as the engine's host names it; any
    /// non-empty text.
    InputId, "input id", "camera-2", |text| !text.is_empty()
);

/// A delayed event as the homeserver names it (MSC4140). Whoever knows it can restart, send or cancel
/// the event, on some homeservers without any token: so it is never printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DelayId(Arc<str>);

impl DelayId {
    /// Checks and wraps a text.
    ///
    /// # Errors
    /// [`InvalidId`] when the text is empty or longer than 255 bytes.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, InvalidId> {
        let text = text.as_ref();
        match text.len() {
            0 => Err(InvalidId::Empty("delay id")),
            length if length > MAX_ID_BYTES => Err(InvalidId::TooLong("delay id")),
            _ => Ok(Self(Arc::from(text))),
        }
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DelayId").field(&self.0.len()).finish()
    }
}

impl std::str::FromStr for DelayId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Our user.
    pub user: UserId,
    /// Our device.
    pub device: DeviceId,
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// One call as an engine knows it; never reused by the same engine, means nothing to another.
    /// Zero names none.
    SessionId
);
number_id!(
    /// One peer connection, minted by the machine before it is opened.
    PeerId
);
number_id!(
    /// One local media track, minted by the machine before it is captured.
    TrackId
);
number_id!(
    /// One request to the world; its reply carries the same id.
    OpId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_checked() {
        assert!(UserId::parse("@a:b").is_ok());
        assert_eq!(UserId::parse("a:b"), Err(InvalidId::Form("user id", "@user:server")));
        assert_eq!(RoomId::parse(""), Err(InvalidId::Empty("room id")));
        assert_eq!(
            EventId::parse(format!("${}", "x".repeat(255))),
            Err(InvalidId::TooLong("event id"))
        );
        assert!(PartyId::parse("3q2+7wAAEREiIjMzRERVVQ==").is_ok());
    }
}
