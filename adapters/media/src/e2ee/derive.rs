//! From what members share (the *material*) to the key of the cipher, and on to the next material.
//!
//! Both derivations have the salt `LKFrameEncryptionKey`; HKDF has 128 zero bytes as info, PBKDF2
//! 100 000 rounds (`livekit.md` §2.2). The key of the cipher is 16 bytes of the derivation, the
//! next material 32 bytes of the same one: so the key is the first half of the next material, and
//! one derivation gives both. That halves the cost of PBKDF2.
//!
//! The cryptography is aws-lc-rs: the engine and TLS bring it anyway, so a program has one crypto
//! library and not two; its AES-GCM is assembly in constant time; what it holds it wipes.

use std::num::NonZeroU32;

use aws_lc_rs::{
    aead::{AES_128_GCM, LessSafeKey, UnboundKey},
    hkdf, pbkdf2,
};
use matrix_voip::{config::KeyDerivation, redact::SecretBytes};

use super::error::KeyError;

/// Shortest material that is taken: the length of the cipher's key.
pub const MIN_KEY_BYTES: usize = 16;

/// Longest material that is taken.
pub const MAX_KEY_BYTES: usize = 256;

const SALT: &[u8] = b"LKFrameEncryptionKey";
const INFO: &[u8] = &[0; 128];
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).expect("invariant: not zero");

/// Bytes of a ratcheted material.
const MATERIAL_BYTES: usize = 32;

/// Bytes of a key of AES-128.
const CIPHER_BYTES: usize = 16;

/// The key of the cipher that is derived from this material. Under PBKDF2 it takes 20 to 60 ms: not
/// for the media path.
///
/// # Errors
/// [`KeyError::Derivation`].
pub fn frame_key(derivation: KeyDerivation, material: &[u8]) -> Result<SecretBytes, KeyError> {
    let next = ratcheted(derivation, material)?;
    Ok(SecretBytes::new(&next.expose()[..CIPHER_BYTES]))
}

/// The material after this one: one step of the ratchet. As slow as [`frame_key`].
///
/// # Errors
/// [`KeyError::Derivation`].
pub fn ratcheted(derivation: KeyDerivation, material: &[u8]) -> Result<SecretBytes, KeyError> {
    let mut next = vec![0; MATERIAL_BYTES];
    match derivation {
        KeyDerivation::Pbkdf2 => {
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, SALT, material, &mut next);
        }
        KeyDerivation::Hkdf => expand(material, &mut next),
        _ => return Err(KeyError::Derivation),
    }
    Ok(SecretBytes::new(next))
}

fn expand(material: &[u8], into: &mut [u8]) {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(material);
    let expanded = secret.expand(&[INFO], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(into));
    expanded.expect("invariant: 32 bytes are one block of SHA-256");
}

/// One material with all that is derived from it.
pub(super) struct Step {
    pub(super) material: SecretBytes,
    next: SecretBytes,
    pub(super) key: LessSafeKey,
}

impl Step {
    /// Derives: slow under PBKDF2.
    pub(super) fn from(derivation: KeyDerivation, material: SecretBytes) -> Result<Self, KeyError> {
        let next = ratcheted(derivation, material.expose())?;
        let key = cipher(&next);
        Ok(Self { material, next, key })
    }

    /// The step after this one: slow under PBKDF2.
    pub(super) fn ratcheted(&self, derivation: KeyDerivation) -> Result<Self, KeyError> {
        Self::from(derivation, self.next.clone())
    }

    /// The same key of the cipher once more, for who sends with it.
    pub(super) fn second_key(&self) -> LessSafeKey {
        cipher(&self.next)
    }
}

fn cipher(next: &SecretBytes) -> LessSafeKey {
    let key = UnboundKey::new(&AES_128_GCM, &next.expose()[..CIPHER_BYTES]);
    LessSafeKey::new(key.expect("invariant: the key of AES-128 has 16 bytes"))
}

/// Whether material of this length is taken.
pub(super) fn check_length(material: &SecretBytes) -> Result<(), KeyError> {
    match material.len() {
        MIN_KEY_BYTES..=MAX_KEY_BYTES => Ok(()),
        other => Err(KeyError::Length(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testkit::hex, *};

    fn key(derivation: KeyDerivation, material: &[u8]) -> Vec<u8> {
        frame_key(derivation, material).unwrap().expose().to_vec()
    }

    fn row(length: u8) -> Vec<u8> {
        (0..length).collect()
    }

    #[test]
    fn hkdf_gives_the_keys_of_the_vectors() {
        let (short, long) = (row(16), row(32));
        assert_eq!(key(KeyDerivation::Hkdf, &short), hex("4086b4641064e1ae8b63d4eb83ad3e7e"));
        assert_eq!(key(KeyDerivation::Hkdf, &long), hex("6d0dd7b3d6f4efde47ab9a9e15abde76"));
    }

    #[test]
    fn pbkdf2_gives_the_keys_of_the_vectors() {
        let long = row(32);
        assert_eq!(key(KeyDerivation::Pbkdf2, &long), hex("74884f8739e616fffc831a2172ff98b7"));
        assert_eq!(
            key(KeyDerivation::Pbkdf2, b"password"),
            hex("421890b1557504a8ea1a90c253b419e4")
        );
    }

    #[test]
    fn the_ratchet_gives_the_materials_and_keys_of_the_vectors() {
        let once = ratcheted(KeyDerivation::Hkdf, &row(16)).unwrap();
        assert_eq!(
            once.expose(),
            hex("4086b4641064e1ae8b63d4eb83ad3e7e878c21ab850a1f6b36c5954be5919e3a")
        );
        assert_eq!(
            key(KeyDerivation::Hkdf, once.expose()),
            hex("af61b566e2c6adff55bf8c20f94b4765")
        );
        let twice = ratcheted(KeyDerivation::Hkdf, once.expose()).unwrap();
        assert_eq!(
            key(KeyDerivation::Hkdf, twice.expose()),
            hex("5f9cbf6fb1984b09b24245ddcf5d5158")
        );
    }

    #[test]
    fn material_of_other_lengths_is_refused() {
        for length in [0, 15, 257] {
            assert_eq!(
                check_length(&SecretBytes::new(vec![1; length])),
                Err(KeyError::Length(length))
            );
        }
        assert!([16, 32, 256].iter().all(|n| check_length(&SecretBytes::new(vec![1; *n])).is_ok()));
    }
}
