//! Media keys of group calls through an SFU, kept in memory: for a client that shows them and encrypts
//! nothing with them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use matrix_voip::{
    KeyOwner, KeyProfile, KeyProvider, ParticipantId, id::SessionId, machine::io::Fault,
    redact::SecretBytes, wire::keys::MediaKey,
};

type Place = (SessionId, ParticipantId, u8);
type Teller = Box<dyn Fn(SessionId, &ParticipantId, &MediaKey) + Send + Sync>;

/// The keys of everybody, ours too. The library bounds how many there are.
pub(crate) struct Keyring {
    keys: Mutex<BTreeMap<Place, SecretBytes>>,
    tell: Teller,
}

impl Keyring {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::telling(|_, _, _| {})
    }

    /// An empty one, that tells of each key as it gets it.
    pub(crate) fn telling(
        tell: impl Fn(SessionId, &ParticipantId, &MediaKey) + Send + Sync + 'static,
    ) -> Self {
        Self { keys: Mutex::default(), tell: Box::new(tell) }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<Place, SecretBytes>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyProvider for Keyring {
    async fn set_key(
        &self,
        call: SessionId,
        _: KeyProfile,
        owner: KeyOwner,
        key: MediaKey,
    ) -> Result<(), Fault> {
        let participant = owner.participant;
        self.keys().insert((call, participant.clone(), key.index), key.key.clone());
        (self.tell)(call, &participant, &key);
        Ok(())
    }

    async fn export(
        &self,
        call: SessionId,
        participant: ParticipantId,
        index: u8,
    ) -> Result<Option<SecretBytes>, Fault> {
        Ok(self.keys().get(&(call, participant, index)).cloned())
    }

    async fn forget(&self, call: SessionId, whose: Option<ParticipantId>) -> Result<(), Fault> {
        let is_meant =
            |(of, who, _): &Place| *of == call && whose.as_ref().is_none_or(|whose| whose == who);
        self.keys().retain(|place, _| !is_meant(place));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::id::{DeviceId, UserId};

    use matrix_voip::Side;

    use super::*;

    fn participant(user: &str) -> ParticipantId {
        let (user, device) = (UserId::parse(user).unwrap(), DeviceId::parse("D").unwrap());
        ParticipantId { user, device }
    }

    #[tokio::test]
    async fn what_is_forgotten_is_of_one_participant_or_of_one_call() {
        let (ring, profile) = (Keyring::new(), KeyProfile::default());
        let (ada, ben, ours, other) =
            (participant("@ada:x"), participant("@ben:x"), SessionId(1), SessionId(2));
        for (call, who) in [(ours, &ada), (ours, &ben), (other, &ben)] {
            let key = MediaKey { index: 3, key: SecretBytes::new([7; 32]) };
            let owner = KeyOwner::new(who.clone(), Side::Remote);
            ring.set_key(call, profile, owner, key).await.unwrap();
        }
        let has = async |call, who: &ParticipantId| {
            ring.export(call, who.clone(), 3).await.unwrap().is_some()
        };
        ring.forget(ours, Some(ben.clone())).await.unwrap();
        assert!(has(ours, &ada).await && has(other, &ben).await && !has(ours, &ben).await);
        ring.forget(ours, None).await.unwrap();
        assert!(!has(ours, &ada).await && has(other, &ben).await);
    }
}
