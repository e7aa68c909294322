//! The token service of an SFU: an async, object-safe trait that an adapter implements
//! (`matrix-voip-livekit`), or an application that gets its tokens otherwise.

use async_trait::async_trait;

use crate::machine::io::{SfuToken, TokenFault, TokenRequest};

/// Where tokens for SFUs come from. Values in, values out.
///
/// Each call runs in a task of its own: it may be slow (the driver has a deadline, after which the
/// future is dropped at its await), and a panic is a fault of that one request.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// Gets a token for this call and this visit, once: retries are the library's, and so is to ask
    /// anew before it expires. The request's OpenID token was made for it.
    ///
    /// # Errors
    /// A [`TokenFault`], which says what to fix; what is passing is tried again.
    async fn token(&self, request: TokenRequest) -> Result<SfuToken, TokenFault>;
}
