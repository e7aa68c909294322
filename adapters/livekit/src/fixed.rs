//! A token that somebody has made by hand.

use std::fmt;

use async_trait::async_trait;
use matrix_voip::{
    host::TokenSource,
    machine::io::{SfuToken, TokenFault, TokenRequest},
    redact::Secret,
};

use crate::{
    address::{self, BadSfu, PlainText},
    answer,
    http::clock,
};

/// One address and one token for every call: for tests and development, where an SFU's own tool has
/// made the token. No OpenID token is needed, and nobody is asked.
#[derive(Clone)]
pub struct StaticToken {
    url: String,
    jwt: Secret,
    plain: PlainText,
}

impl StaticToken {
    /// Gives out this token (JWT) for the SFU at `url`.
    pub fn new(url: impl Into<String>, jwt: Secret) -> Self {
        Self { url: url.into(), jwt, plain: PlainText::default() }
    }

    /// Where plain text is good enough for the SFU.
    #[must_use]
    pub fn plain_text(mut self, plain: PlainText) -> Self {
        self.plain = plain;
        self
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address that is none may hold a password.
        f.debug_struct("StaticToken").finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenSource for StaticToken {
    /// The token, as long as it is good by this machine's clock.
    async fn token(&self, _request: TokenRequest) -> Result<SfuToken, TokenFault> {
        let url = address::sfu(&self.url, self.plain).map_err(|bad| match bad {
            BadSfu::NoAddress => TokenFault::BadAddress,
            BadSfu::InTheClear => TokenFault::InTheClear,
        })?;
        answer::usable(url, self.jwt.clone(), clock())
    }
}
