//! Decrypting one frame: first it is taken apart, then keys are tried on it.

use std::borrow::Cow;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::{
    annexb,
    coding::Coding,
    error::OpenError,
    nonce::NONCE_BYTES,
    seal::{NONCE_MARK, TAG_BYTES, TRAILER_BYTES},
};

/// An encrypted frame, taken apart. Nothing of it is proven yet.
pub(super) struct Sealed<'a> {
    clear: &'a [u8],
    text: Cow<'a, [u8]>,
    nonce: [u8; NONCE_BYTES],
    /// The place of the key that it names.
    pub(super) index: u8,
}

impl<'a> Sealed<'a> {
    /// Takes a frame apart.
    ///
    /// # Errors
    /// [`OpenError`] where it cannot be an encrypted one.
    pub(super) fn parse(coding: Coding, frame: &'a [u8]) -> Result<Self, OpenError> {
        let clear = coding.clear_bytes(frame).ok_or(match coding {
            Coding::H264 => OpenError::NoSlice,
            Coding::Opus | Coding::Vp8 | Coding::Vp9 => OpenError::TooShort,
        })?;
        let (clear, rest) = frame.split_at(clear);
        let rest = match coding {
            Coding::H264 => Cow::Owned(annexb::unescaped(rest)),
            Coding::Opus | Coding::Vp8 | Coding::Vp9 => Cow::Borrowed(rest),
        };
        let end = rest.len().checked_sub(TRAILER_BYTES).filter(|end| *end >= TAG_BYTES);
        let (text, trailer) = rest.split_at(end.ok_or(OpenError::TooShort)?);
        let (nonce, marks) = trailer.split_at(NONCE_BYTES);
        let [NONCE_MARK, index] = *marks else { return Err(OpenError::BadTrailer) };
        let nonce = nonce.try_into().expect("invariant: split at its length");
        let length = text.len();
        let text = match rest {
            Cow::Borrowed(rest) => Cow::Borrowed(&rest[..length]),
            Cow::Owned(mut rest) => {
                rest.truncate(length);
                Cow::Owned(rest)
            }
        };
        Ok(Self { clear, text, nonce, index })
    }

    /// The frame as it was before, if this is its key.
    pub(super) fn open(&self, key: &LessSafeKey) -> Option<Vec<u8>> {
        let (text, tag) = self.text.split_at(self.text.len() - TAG_BYTES);
        let mut frame = vec![0; self.clear.len() + text.len()];
        let (head, plain) = frame.split_at_mut(self.clear.len());
        head.copy_from_slice(self.clear);
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        key.open_separate_gather(nonce, Aad::from(self.clear), text, tag, plain).ok()?;
        Some(frame)
    }
}

/// Whether the SFU says of a frame that it made it itself: it ends in the room's trailer. It is to be
/// dropped, whatever it is, because the server knows the trailer and could play what it likes.
pub(super) fn is_injected(frame: &[u8], trailer: &[u8]) -> bool {
    !trailer.is_empty() && frame.ends_with(trailer)
}

#[cfg(test)]
mod tests {
    use matrix_voip::{config::KeyDerivation, redact::SecretBytes, wire::keys::MediaKey};
    use proptest::prelude::*;

    use super::{
        super::{
            derive::Step,
            seal::Sealer,
            testkit::{CODINGS, frame},
        },
        *,
    };

    fn step(material: &[u8]) -> Step {
        Step::from(KeyDerivation::Hkdf, SecretBytes::new(material)).unwrap()
    }

    fn opened(coding: Coding, sealed: &[u8], step: &Step) -> Option<Vec<u8>> {
        Sealed::parse(coding, sealed).ok()?.open(&step.key)
    }

    fn coding() -> impl Strategy<Value = Coding> {
        (0..CODINGS.len()).prop_map(|n| CODINGS[n])
    }

    /// Bytes of which many are such that H.264 has to escape them.
    fn body(most: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..most)
    }

    #[test]
    fn what_came_in_the_clear_is_told_from_what_was_encrypted() {
        let plain = frame(Coding::Opus, &[9; 60]);
        assert_eq!(Sealed::parse(Coding::Opus, &plain).err(), Some(OpenError::BadTrailer));
        let silence = [0xf8, 0xff, 0xfe];
        assert_eq!(Sealed::parse(Coding::Opus, &silence).err(), Some(OpenError::TooShort));
        assert_eq!(Sealed::parse(Coding::H264, &[1; 60]).err(), Some(OpenError::NoSlice));
    }

    #[test]
    fn only_a_frame_that_ends_in_the_rooms_trailer_is_the_servers() {
        assert!(is_injected(b"silence, made here", b"made here"));
        assert!(!is_injected(b"made here, silence", b"made here"));
        assert!(!is_injected(b"anything", b""));
    }

    #[test]
    fn every_truncation_and_every_changed_bit_is_noticed() {
        let key = [5; 32];
        let media_key = MediaKey { index: 3, key: SecretBytes::new(key) };
        let sealer = Sealer::new(KeyDerivation::Hkdf, &media_key).unwrap();
        let step = step(&key);
        for coding in CODINGS {
            let sealed = sealer.seal(coding, &frame(coding, &[0, 0, 0, 1, 2, 3, 0, 0, 3])).unwrap();
            for length in 0..sealed.len() {
                assert_eq!(opened(coding, &sealed[..length], &step), None, "{coding:?} {length}");
            }
            for bit in 0..sealed.len() * 8 - 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(opened(coding, &changed, &step), None, "{coding:?} bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_to_the_same(
            coding in coding(), body in body(400), key in proptest::collection::vec(any::<u8>(), 16..40),
            index in any::<u8>()
        ) {
            let plain = frame(coding, &body);
            let media_key = MediaKey { index, key: SecretBytes::new(key.clone()) };
            let sealer = Sealer::new(KeyDerivation::Hkdf, &media_key).unwrap();
            let sealed = sealer.seal(coding, &plain).unwrap();
            prop_assert_eq!(opened(coding, &sealed, &step(&key)), Some(plain.clone()));
            if !plain.is_empty() {
                prop_assert_eq!(Sealed::parse(coding, &sealed).unwrap().index, index);
                prop_assert_ne!(sealer.seal(coding, &plain).unwrap(), sealed);
            }
        }

        #[test]
        fn another_key_does_not_open(coding in coding(), body in body(100)) {
            let media_key = MediaKey { index: 0, key: SecretBytes::new([1; 16]) };
            let sealer = Sealer::new(KeyDerivation::Hkdf, &media_key).unwrap();
            let sealed = sealer.seal(coding, &frame(coding, &body)).unwrap();
            prop_assert_eq!(opened(coding, &sealed, &step(&[2; 16])), None);
        }

        #[test]
        fn hostile_bytes_are_only_refused(coding in coding(), body in body(200), end in any::<u8>()) {
            let hostile = [&frame(coding, &body)[..], &[NONCE_MARK, end]].concat();
            prop_assert_eq!(opened(coding, &hostile, &step(&[2; 16])), None);
            prop_assert_eq!(opened(coding, &body, &step(&[2; 16])), None);
        }
    }
}
