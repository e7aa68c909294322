//! Media keys: an async, object-safe trait that whoever encrypts frames implements.
//!
//! The library makes, shares and receives the keys; what it gives to the provider is what frames are
//! to be encrypted and decrypted with.

use async_trait::async_trait;

use crate::{
    config::KeyProfile,
    id::SessionId,
    machine::io::{Fault, ParticipantId},
    redact::SecretBytes,
    wire::keys::MediaKey,
};

/// Whoever encrypts the frames of calls: LiveKit's SDK of the application, or `matrix-voip-media`.
///
/// Calls for one session come one after the other, in the order of the library.
#[async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// Takes a key of a participant at its index of his ring, in place of what stood there. What is
    /// received of him may be encrypted with it from now on. Under our own id: what we send is
    /// encrypted with it **from now on**; the library waits so long with it that others have it.
    ///
    /// `profile` says how the key is to be used; in one call it is always the same. A key has 16 or
    /// 32 bytes.
    ///
    /// # Errors
    /// A [`Fault`]; the call goes on, and `explain()` tells of it.
    async fn set_key(
        &self,
        call: SessionId,
        profile: KeyProfile,
        participant: ParticipantId,
        key: MediaKey,
    ) -> Result<(), Fault>;

    /// Ratchets the key of a participant at this index, and gives the new one
    /// (`livekit.md` §2.2); `None`: there is no key to begin with.
    ///
    /// # Errors
    /// A [`Fault`]: the library then makes a fresh key.
    async fn ratchet(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault>;

    /// The key of a participant at this index, as it is in use.
    ///
    /// # Errors
    /// A [`Fault`].
    async fn export(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault>;

    /// Forgets all keys of a participant; `None`: of everybody, because we left the call.
    ///
    /// # Errors
    /// A [`Fault`], which changes nothing.
    async fn forget(
        &self,
        call: SessionId,
        participant: Option<ParticipantId>,
    ) -> Result<(), Fault>;
}
