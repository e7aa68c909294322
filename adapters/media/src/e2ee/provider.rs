//! The library's port for media keys: what it gives, takes back and asks for. Deriving happens here,
//! off the media path; PBKDF2 on a thread for blocking work.

use async_trait::async_trait;
use matrix_voip::{
    config::{KeyDerivation, KeyProfile},
    host::keys::KeyProvider,
    id::SessionId,
    machine::io::{Fault, KeyOwner, ParticipantId},
    redact::SecretBytes,
    wire::keys::MediaKey,
};

use super::{
    derive,
    error::KeyError,
    keys::FrameKeys,
    ring::{Prepared, Ring},
};

/// Needs a tokio runtime, as the library does. Dropped early, a call changes nothing.
#[async_trait]
impl KeyProvider for FrameKeys {
    /// Nothing is sent before there is a key.
    async fn begin(&self, call: SessionId, _: KeyProfile) -> Result<(), Fault> {
        self.switch_on(call);
        Ok(())
    }

    async fn set_key(
        &self,
        call: SessionId,
        profile: KeyProfile,
        owner: KeyOwner,
        key: MediaKey,
    ) -> Result<(), Fault> {
        // Whatever becomes of it: in a call with keys nothing goes in the clear.
        self.switch_on(call);
        let participant = owner.participant;
        // Before anything is derived for nothing.
        Ring::new(profile)?.check(key.index)?;
        let window = self.window(profile.derivation, &participant);
        let derive = move || Prepared::derive(profile.derivation, window, &key);
        let prepared = aside(profile.derivation, derive).await?;
        Ok(self.put(call, profile, participant, prepared)?)
    }

    /// Where no step of a ratchet can be followed, by PBKDF2 without a
    /// [window](super::FrameKeysBuilder::window), it is not supported: nobody could read us.
    async fn ratchet(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault> {
        let Some(lane) = self.lane(call, &participant) else { return Ok(None) };
        let Some((profile, old)) = lane.profile().zip(lane.export(index)) else { return Ok(None) };
        let derivation = profile.derivation;
        if self.steps(derivation) == 0 {
            return Err(Fault::Unsupported);
        }
        let window = self.window(derivation, &participant);
        let from = old.clone();
        let derive = move || {
            let key = derive::ratcheted(derivation, from.expose())?;
            let prepared =
                Prepared::derive(derivation, window, &MediaKey { index, key: key.clone() })?;
            Ok((key, prepared))
        };
        let (new, prepared) = aside(derivation, derive).await?;
        lane.ratcheted(&old, prepared)?;
        Ok(Some(new))
    }

    async fn export(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault> {
        Ok(self.lane(call, &participant).and_then(|lane| lane.export(index)))
    }

    async fn forget(
        &self,
        call: SessionId,
        participant: Option<ParticipantId>,
    ) -> Result<(), Fault> {
        self.wipe(call, participant.as_ref());
        Ok(())
    }
}

/// Derives where it disturbs nobody.
async fn aside<T: Send + 'static>(
    derivation: KeyDerivation,
    derive: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
) -> Result<T, Fault> {
    match derivation {
        KeyDerivation::Pbkdf2 => {
            let derived = tokio::task::spawn_blocking(derive).await;
            Ok(derived.map_err(|_| Fault::Failed("no thread to derive a key".to_owned()))??)
        }
        // Microseconds.
        _ => Ok(derive()?),
    }
}

/// As the library hears of it; the text names places and lengths only.
impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Derivation => Self::Unsupported,
            KeyError::NoKey(_) => Self::NotFound,
            KeyError::OutsideRing { .. }
            | KeyError::RingSize(_)
            | KeyError::Length(_)
            | KeyError::OtherProfile
            | KeyError::Replaced(_) => Self::Failed(error.to_string()),
        }
    }
}
