//! Why a call was hung up or rejected.
//!
//! The specification has a closed list; clients write more, or the same in other words. All of it
//! is read, only the list is written (`matrix-js-sdk.md` §4.3, `famedly-dart.md` §6).

use super::json::shortened;

/// Most bytes of an unknown reason that are kept.
pub const MAX_REASON_BYTES: usize = 64;

/// Why a call was hung up or rejected, as it stands in `reason`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// `user_hangup`; Famedly's clients write `userHangup`.
    UserHangup,
    /// `invite_timeout`
    InviteTimeout,
    /// `ice_failed`
    IceFailed,
    /// `ice_timeout`
    IceTimeout,
    /// `user_media_failed`; matrix-js-sdk writes `no_user_media`.
    UserMediaFailed,
    /// `user_busy`
    UserBusy,
    /// `answered_elsewhere`
    AnsweredElsewhere,
    /// `replaced`
    Replaced,
    /// `transferred`
    Transferred,
    /// `new_session`
    NewSession,
    /// `unknown_error`
    UnknownError,
    /// Any other text, at most [`MAX_REASON_BYTES`] of it; means a user's hangup.
    Unknown(String),
}

impl Reason {
    /// Understands a text.
    pub fn parse(text: &str) -> Self {
        match text {
            "user_hangup" | "userHangup" => Self::UserHangup,
            "invite_timeout" => Self::InviteTimeout,
            "ice_failed" => Self::IceFailed,
            "ice_timeout" => Self::IceTimeout,
            "user_media_failed" | "no_user_media" => Self::UserMediaFailed,
            "user_busy" => Self::UserBusy,
            "answered_elsewhere" => Self::AnsweredElsewhere,
            "replaced" => Self::Replaced,
            "transferred" => Self::Transferred,
            "new_session" => Self::NewSession,
            "unknown_error" => Self::UnknownError,
            other => Self::Unknown(shortened(other, MAX_REASON_BYTES)),
        }
    }

    /// The text that is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::UserHangup => "user_hangup",
            Self::InviteTimeout => "invite_timeout",
            Self::IceFailed => "ice_failed",
            Self::IceTimeout => "ice_timeout",
            Self::UserMediaFailed => "user_media_failed",
            Self::UserBusy => "user_busy",
            Self::AnsweredElsewhere => "answered_elsewhere",
            Self::Replaced => "replaced",
            Self::Transferred => "transferred",
            Self::NewSession => "new_session",
            Self::UnknownError => "unknown_error",
            Self::Unknown(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_real_reason_is_read_as_it_is_written() {
        let all = [
            (Reason::UserHangup, "user_hangup"),
            (Reason::InviteTimeout, "invite_timeout"),
            (Reason::IceFailed, "ice_failed"),
            (Reason::IceTimeout, "ice_timeout"),
            (Reason::UserMediaFailed, "user_media_failed"),
            (Reason::UserBusy, "user_busy"),
            (Reason::AnsweredElsewhere, "answered_elsewhere"),
            (Reason::Replaced, "replaced"),
            (Reason::Transferred, "transferred"),
            (Reason::NewSession, "new_session"),
            (Reason::UnknownError, "unknown_error"),
        ];
        for (reason, text) in all {
            assert_eq!(Reason::parse(text), reason);
            assert_eq!(reason.as_str(), text);
        }
    }

    #[test]
    fn other_words_for_the_same_are_understood() {
        assert_eq!(Reason::parse("userHangup"), Reason::UserHangup);
        assert_eq!(Reason::parse("no_user_media"), Reason::UserMediaFailed);
    }

    #[test]
    fn unknown_reasons_are_kept_up_to_their_bound() {
        assert_eq!(
            Reason::parse("signalling_timeout"),
            Reason::Unknown("signalling_timeout".into())
        );
        assert_eq!(Reason::parse(&"x".repeat(64)), Reason::Unknown("x".repeat(64)));
        assert_eq!(Reason::parse(&"x".repeat(65)), Reason::Unknown("x".repeat(64)));
        assert_eq!(Reason::Unknown("odd".into()).as_str(), "odd");
    }
}
