//! Media keys: an async, object-safe trait that whoever encrypts frames implements.
//!
//! The library makes, shares and receives the keys; what it gives to the provider is what frames are
//! to be encrypted and decrypted with.

use async_trait::async_trait;

use crate::{
    config::KeyProfile,
    id::SessionId,
    machine::io::{Fault, KeyOwner, ParticipantId},
    redact::SecretBytes,
    wire::keys::MediaKey,
};

/// Whoever encrypts the frames of calls: LiveKit's SDK of the application, or `matrix-voip-media`.
///
/// Calls for one session come one after the other, in the order of the library.
#[async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// A call with media keys begins, before there are any: from now on nothing of it may be sent in the
    /// clear, and all its keys are used as `profile` says. By default nothing is done.
    ///
    /// # Errors
    /// A [`Fault`], which changes nothing.
    async fn begin(&self, call: SessionId, profile: KeyProfile) -> Result<(), Fault> {
        let _ = (call, profile);
        Ok(())
    }

    /// Takes a key of its owner at its index of his ring, in place of what stood there. What is received of
    /// him may be encrypted with it from now on. Of ours: what we send is encrypted with it **from now
    /// on**; the library waits so long with it that others have it.
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
        owner: KeyOwner,
        key: MediaKey,
    ) -> Result<(), Fault>;

    /// Ratchets the key of a participant at this index, and gives the new one
    /// (`livekit.md` §2.2); `None`: there is no key to begin with. Asked only where
    /// [`Config::ratchet`](crate::Config) is on.
    ///
    /// # Errors
    /// A [`Fault`]: the library then makes a fresh key. By default [`Fault::Unsupported`].
    async fn ratchet(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault> {
        let _ = (call, participant, index);
        Err(Fault::Unsupported)
    }

    /// The key of a participant at this index, as it is in use.
    ///
    /// # Errors
    /// A [`Fault`]; by default [`Fault::Unsupported`].
    async fn export(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault> {
        let _ = (call, participant, index);
        Err(Fault::Unsupported)
    }

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
