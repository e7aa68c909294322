//! Answers to a server's challenges: the long-term credentials of RFC 8489 §9.2.

use crate::{
    reach::server::Credentials,
    stun::{Key, Message, Writer, attribute},
};

/// Who we are, and what the server has asked for so far.
pub(super) struct Auth {
    credentials: Credentials,
    challenge: Option<Challenge>,
}

struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    key: Key,
}

impl Auth {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, challenge: None }
    }

    /// Finishes a request, signed once there was a challenge; tells whether it is.
    pub(super) fn sign(&self, writer: Writer) -> (Vec<u8>, bool) {
        let Some(challenge) = &self.challenge else { return (writer.finish(), false) };
        let signed = writer
            .attribute(attribute::USERNAME, self.credentials.user.expose().as_bytes())
            .attribute(attribute::REALM, challenge.realm.as_bytes())
            .attribute(attribute::NONCE, &challenge.nonce)
            .signed(&challenge.key);
        (signed.finish(), true)
    }

    /// Takes a new nonce, and the realm if it is named; `false` when there is none to take.
    pub(super) fn on_challenge(&mut self, message: &Message<'_>) -> bool {
        let known = self.challenge.as_ref().map(|challenge| challenge.realm.as_str());
        let realm = message.text(attribute::REALM).or(known);
        let nonce = message.text(attribute::NONCE);
        let Some((realm, nonce)) = realm.zip(nonce) else { return false };
        let Credentials { user, password } = &self.credentials;
        let key = Key::new(user.expose(), realm, password.expose());
        let (realm, nonce) = (realm.to_owned(), nonce.as_bytes().to_vec());
        self.challenge = Some(Challenge { realm, nonce, key });
        true
    }

    /// Whether this was signed by somebody who knows the password. Before the first challenge
    /// nobody can, and an error needs not.
    pub(super) fn has_signed(&self, message: &Message<'_>) -> bool {
        self.challenge.as_ref().is_some_and(|challenge| message.is_signed_with(&challenge.key))
    }
}
