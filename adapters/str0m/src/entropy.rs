//! Randomness, given to a peer from outside.
//!
//! str0m takes ICE user names and passwords, SSRCs and transaction ids from `fastrand`, a
//! thread-local generator that is not cryptographic. Therefore the first ICE credentials are made
//! here, from the system, and `fastrand` is seeded with 64 bits of the system's before every step
//! in which str0m makes credentials (`str0m.md` §2). DTLS and SRTP keys come from aws-lc-rs and
//! are not touched.

use std::fmt;

use str0m::IceCreds;

/// 64 characters that ICE allows (RFC 8839, `ice-char`): six bits each.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters of the ICE user name: 48 bits (RFC 8445 asks for 24).
const UFRAG_CHARS: usize = 8;

/// Characters of the ICE password: 144 bits (RFC 8445 asks for 128).
const PASSWORD_CHARS: usize = 24;

/// A source of random numbers.
pub struct Entropy(Box<dyn FnMut() -> u64 + Send>);

impl Entropy {
    /// The operating system's.
    pub fn system() -> Self {
        Self(Box::new(|| {
            getrandom::u64().expect("invariant: the operating system gives random numbers")
        }))
    }

    /// The same numbers for the same seed: for simulations, never for a call.
    #[cfg(feature = "testing")]
    pub fn seeded(seed: u64) -> Self {
        let mut generator = fastrand::Rng::with_seed(seed);
        Self(Box::new(move || generator.u64(..)))
    }

    /// Seeds the generator from which str0m takes what it makes in the next call on this thread.
    pub(crate) fn seed_engine(&mut self) {
        Self::seed_again(self.seed());
    }

    /// A number by which [`seed_again`](Self::seed_again) makes the engine take the same once more.
    pub(crate) fn seed(&mut self) -> u64 {
        (self.0)()
    }

    /// Seeds the generator with a number that may have been given before.
    pub(crate) fn seed_again(seed: u64) {
        fastrand::seed(seed);
    }

    /// New ICE credentials.
    pub(crate) fn credentials(&mut self) -> IceCreds {
        IceCreds { ufrag: self.token(UFRAG_CHARS), pass: self.token(PASSWORD_CHARS) }
    }

    /// What ties the answer of a STUN or TURN server to our request.
    pub(crate) fn transaction_id(&mut self) -> [u8; 12] {
        let bytes = [(self.0)().to_le_bytes(), (self.0)().to_le_bytes()].concat();
        bytes[..12].try_into().expect("invariant: sixteen bytes hold twelve")
    }

    /// `length` characters of [`ICE_CHARS`].
    fn token(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let bytes = (self.0)().to_le_bytes();
            let wanted = bytes.iter().take(length - text.len());
            text.extend(wanted.map(|byte| char::from(ICE_CHARS[usize::from(byte % 64)])));
        }
        text
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_long_enough_and_never_twice_the_same() {
        let mut entropy = Entropy::system();
        let (one, two) = (entropy.credentials(), entropy.credentials());
        assert_eq!((one.ufrag.len(), one.pass.len()), (8, 24));
        assert_ne!(one.pass, two.pass);
        assert!(one.pass.bytes().all(|byte| ICE_CHARS.contains(&byte)));
    }
}
