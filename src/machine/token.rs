//! What lets us into an SFU: the token that its service gives whom our homeserver vouches for.
//!
//! Values only; tokens print as `<secret>`, addresses of services are no secrets. The service's
//! dialects and its HTTP are an adapter's (`host::TokenSource`).

use std::{fmt, time::Duration};

use crate::{
    id::{DeviceId, RoomId, UserId},
    redact::Secret,
};

/// A token by which another service can ask our homeserver who we are
/// (`POST /_matrix/client/v3/user/{userId}/openid/request_token`). To be used once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpenIdToken {
    /// The token.
    pub access_token: Secret,
    /// `Bearer`.
    pub token_type: String,
    /// The homeserver to ask.
    pub server_name: String,
    /// How long it is good for.
    pub expires_in: Duration,
}

/// For whom a token is asked, and for which call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRequest {
    /// The service: `livekit_service_url` of the call's backend.
    pub service_url: String,
    /// `livekit_alias` of the call's backend.
    pub alias: String,
    /// The Matrix room.
    pub room: RoomId,
    /// The call's slot in it, as MatrixRTC counts them: `m.call#ROOM`.
    pub slot: String,
    /// Who we are.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// The id of our visit (`membershipID`).
    pub member: String,
    /// What proves it; `None`: the host could not get one, and services that need it refuse.
    pub open_id: Option<OpenIdToken>,
}

/// What lets us into the SFU. The identity, which is personal where it is no hash, prints as its
/// length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SfuToken {
    /// Where to connect (`wss://…`).
    pub url: String,
    /// The token (JWT).
    pub jwt: Secret,
    /// How long it is good for, from now; `None`: it does not say.
    pub lifetime: Option<Duration>,
    /// As whom the SFU knows us then, where the token says so (`sub`).
    pub identity: Option<String>,
}

impl fmt::Debug for SfuToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SfuToken")
            .field("url", &self.url)
            .field("jwt", &self.jwt)
            .field("lifetime", &self.lifetime)
            .field("identity_bytes", &self.identity.as_ref().map(String::len))
            .finish()
    }
}

/// Why there is no token, and what to do about it. Says nothing that is personal, and no token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// The service's address is none.
    #[error(
        "livekit_service_url is no address of a token service: it begins with https:// and a host, and holds no password"
    )]
    BadAddress,
    /// A token would travel in the clear.
    #[error(
        "livekit_service_url is plain http, by which others could read the token: use https, or switch plain text on for a test"
    )]
    InTheClear,
    /// The service was not reached, or did not answer in time.
    #[error(
        "the token service was not reached, or did not answer in time: check livekit_service_url, the network and its certificate"
    )]
    NotReached,
    /// What answers is no token service.
    #[error(
        "what answers at livekit_service_url is no token service of this kind (HTTP {0}): check the path and the kind"
    )]
    NoService(u16),
    /// The service does not believe our homeserver.
    #[error(
        "the token service does not accept our OpenID token: it must reach our homeserver's federation API (listener resource `openid`), and the token must be new and our own"
    )]
    NotBelieved,
    /// The service does not understand the request; with its error code.
    #[error(
        "the token service does not understand the request ({0}): its version differs, try another kind of source"
    )]
    NotUnderstood(String),
    /// The service refuses; with its error code.
    #[error("the token service refuses ({0}): ask its operator to admit this homeserver and room")]
    Refused(String),
    /// Too many requests.
    #[error("the token service wants us to wait")]
    RateLimited {
        /// How long.
        retry_after: Option<Duration>,
    },
    /// The service failed.
    #[error("the token service failed (HTTP {0}): see its log")]
    ServiceFailed(u16),
    /// What the service gave is no token, or one that is expired already. The text, the library's
    /// own and never the service's, says what is wrong.
    #[error("the token service gave no usable token: {0}")]
    Unusable(String),
    /// There is no token source.
    #[error("there is no token source: give one to the builder (VoIPBuilder::tokens)")]
    NoSource,
    /// Our homeserver gives no OpenID token now.
    #[error("our homeserver was not reached, or gives no OpenID token now: it is asked again")]
    NoOpenId {
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The service needs an OpenID token, and the host has none.
    #[error("the token service needs an OpenID token: implement Signaling::open_id_token")]
    NeedsOpenId,
    /// The application does not let this service have a token of ours (`Config::sfu_services`).
    #[error(
        "the call names a token service that Config::sfu_services does not allow, and it gets no OpenID token of ours: add its address there if you trust it"
    )]
    NotAllowed,
    /// The homeserver, which gives tokens itself, does not accept our login.
    #[error("the homeserver gives tokens to those who are logged in: log in again")]
    LoggedOut,
}

impl TokenFault {
    /// Whether trying again can help.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::NotReached | Self::RateLimited { .. } | Self::ServiceFailed(_) => true,
            Self::NoOpenId { .. } => true,
            Self::BadAddress | Self::InTheClear | Self::NoService(_) => false,
            Self::NotBelieved | Self::NotUnderstood(_) | Self::Refused(_) => false,
            Self::Unusable(_) | Self::NoSource | Self::NeedsOpenId | Self::LoggedOut => false,
            Self::NotAllowed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_prints_neither_itself_nor_whom_it_is_for() {
        let token = SfuToken {
            url: "wss://sfu".to_owned(),
            jwt: Secret::new("e.y.J"),
            lifetime: None,
            identity: Some("@ada:here:PHONE".to_owned()),
        };
        let text = format!("{token:?}");
        assert!(!text.contains("ada") && !text.contains("e.y.J"), "{text}");
    }

    #[test]
    fn trying_again_helps_against_what_passes_alone() {
        let limited = TokenFault::RateLimited { retry_after: None };
        let passing = [TokenFault::NotReached, limited, TokenFault::ServiceFailed(502)];
        assert!(passing.iter().all(TokenFault::is_passing));
        let lasting = [
            TokenFault::BadAddress,
            TokenFault::InTheClear,
            TokenFault::NoService(404),
            TokenFault::NotBelieved,
            TokenFault::NotUnderstood("M_NOT_JSON".to_owned()),
            TokenFault::Refused("M_FORBIDDEN".to_owned()),
            TokenFault::Unusable("expired".to_owned()),
            TokenFault::NeedsOpenId,
            TokenFault::LoggedOut,
            TokenFault::NotAllowed,
        ];
        assert!(!lasting.iter().any(TokenFault::is_passing));
    }
}
