//! Why a request was not carried out, and what follows for whoever asked.

use std::time::Duration;

use super::token::TokenFault;
use crate::config::Timeouts;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No reply within the deadline of the request.
    #[error("no answer in time")]
    Timeout,
    /// Cancelled by us.
    #[error("cancelled")]
    Cancelled,
    /// The code that served it panicked.
    #[error("the host panicked")]
    Panicked,
    /// A person or a permission refused.
    #[error("refused")]
    Denied,
    /// The thing does not exist: no such device, room, peer.
    #[error("not found")]
    NotFound,
    /// The other end cannot be reached.
    #[error("unreachable")]
    Unreachable,
    /// Too many requests.
    #[error("rate limited")]
    RateLimited {
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// There are no keys to encrypt for that device; they may come yet.
    #[error("no keys of that device")]
    NoDeviceKeys,
    /// Our access token is no longer good: all calls end.
    #[error("logged out")]
    LoggedOut,
    /// The homeserver refused for good; trying again would not help. The text is its error code
    /// (`M_FORBIDDEN`), never its own words: they may name users, and faults are logged.
    #[error("refused by the server: {0}")]
    Forbidden(String),
    /// The host cannot do such a thing.
    #[error("unsupported")]
    Unsupported,
    /// There is no token for the SFU.
    #[error(transparent)]
    Token(TokenFault),
    /// Something the host did not foresee; the text is for a developer and holds nothing personal.
    #[error("failed: {0}")]
    Failed(String),
}

impl Fault {
    /// Whether the request may have been carried out nevertheless.
    pub const fn is_ambiguous(&self) -> bool {
        match self {
            Self::Timeout | Self::Cancelled | Self::Panicked | Self::Unreachable => true,
            Self::Failed(_) => true,
            Self::Denied | Self::NotFound | Self::RateLimited { .. } => false,
            Self::NoDeviceKeys => false,
            Self::LoggedOut | Self::Forbidden(_) | Self::Unsupported | Self::Token(_) => false,
        }
    }

    /// How long whoever serves it wants us to wait.
    pub const fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::Token(
                TokenFault::RateLimited { retry_after } | TokenFault::NoOpenId { retry_after },
            ) => *retry_after,
            Self::Timeout | Self::Cancelled | Self::Panicked | Self::Unreachable => None,
            Self::Denied | Self::NotFound | Self::LoggedOut | Self::NoDeviceKeys => None,
            Self::Forbidden(_) | Self::Unsupported | Self::Failed(_) | Self::Token(_) => None,
        }
    }

    /// The same where a wait is ours to bound: none that is longer than a call rings.
    pub(super) fn pause_obeyed(&self, timeouts: &Timeouts) -> Duration {
        self.asked_pause().unwrap_or_default().min(timeouts.longest_invite)
    }

    /// The pause before it is tried again, after so many tries. However long a server says: what was
    /// written expires meanwhile.
    pub(super) fn pause_before(&self, tries: u32, timeouts: &Timeouts) -> Duration {
        timeouts.retry_pause(tries).max(self.pause_obeyed(timeouts))
    }

    /// Whether trying again can help.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Timeout | Self::Cancelled | Self::Panicked | Self::Unreachable => true,
            Self::Failed(_) | Self::RateLimited { .. } | Self::NoDeviceKeys => true,
            Self::Denied | Self::NotFound | Self::LoggedOut => false,
            Self::Forbidden(_) | Self::Unsupported => false,
            Self::Token(fault) => fault.is_passing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_and_what_may_yet_succeed() {
        let (ambiguous, passing) = (true, true);
        let table = [
            (Fault::Timeout, ambiguous, passing),
            (Fault::Cancelled, ambiguous, passing),
            (Fault::Panicked, ambiguous, passing),
            (Fault::Unreachable, ambiguous, passing),
            (Fault::Failed("x".into()), ambiguous, passing),
            (Fault::RateLimited { retry_after: None }, false, passing),
            (Fault::NoDeviceKeys, false, passing),
            (Fault::Denied, false, false),
            (Fault::NotFound, false, false),
            (Fault::LoggedOut, false, false),
            (Fault::Forbidden("x".into()), false, false),
            (Fault::Unsupported, false, false),
            (Fault::Token(TokenFault::NotReached), false, passing),
            (Fault::Token(TokenFault::NotBelieved), false, false),
        ];
        for (fault, ambiguous, passing) in table {
            assert_eq!((fault.is_ambiguous(), fault.is_passing()), (ambiguous, passing), "{fault}");
        }
    }
}
