//! Encrypting one frame.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use matrix_voip::{config::KeyDerivation, wire::keys::MediaKey};

use super::{
    annexb,
    coding::Coding,
    derive::{self, Step},
    error::{KeyError, SealError},
    nonce::{NONCE_BYTES, Nonces},
};

/// Bytes of a tag of AES-GCM.
pub(super) const TAG_BYTES: usize = 16;

/// Bytes behind the tag: the nonce, its length, the index of the key.
pub(super) const TRAILER_BYTES: usize = NONCE_BYTES + 2;

/// The length of a nonce, as frames state it.
pub(super) const NONCE_MARK: u8 = 0x0c;

/// What we encrypt our own frames with: one use of one key. All tracks that are sent under a key
/// share one of these, so that no two frames have the same nonce; it is never made twice from one
/// key for as long as that key is in use.
///
/// ```
/// use matrix_voip::{config::KeyDerivation, redact::SecretBytes, wire::keys::MediaKey};
/// use matrix_voip_media::e2ee::{Coding, KeyError, Sealer};
///
/// let key = MediaKey { index: 3, key: SecretBytes::new([7; 32]) };
/// let sealer = Sealer::new(KeyDerivation::Hkdf, &key)?;
/// let sealed = sealer.seal(Coding::Opus, &[0xf8, 1, 2, 3]).expect("a frame of Opus");
/// assert_eq!((sealed.len(), sealed.first(), sealed.last()), (4 + 30, Some(&0xf8), Some(&3)));
/// # Ok::<(), KeyError>(())
/// ```
pub struct Sealer {
    key: LessSafeKey,
    index: u8,
    nonces: Nonces,
}

impl Sealer {
    /// Derives the key of the cipher. Under PBKDF2 it takes 20 to 60 ms: not for the media path.
    ///
    /// # Errors
    /// [`KeyError::Length`], [`KeyError::Derivation`].
    pub fn new(derivation: KeyDerivation, key: &MediaKey) -> Result<Self, KeyError> {
        derive::check_length(&key.key)?;
        let step = Step::from(derivation, key.key.clone())?;
        Ok(Self::of(&step, key.index))
    }

    /// The same for a key that is derived already.
    pub(super) fn of(step: &Step, index: u8) -> Self {
        Self { key: step.second_key(), index, nonces: Nonces::new() }
    }

    /// The place of the key in our ring.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The frame, encrypted; an empty one stays empty.
    ///
    /// # Errors
    /// [`SealError`]: the frame must not be sent.
    pub fn seal(&self, coding: Coding, frame: &[u8]) -> Result<Vec<u8>, SealError> {
        if frame.is_empty() {
            return Ok(Vec::new());
        }
        let nonce = self.nonces.next().ok_or(SealError::Exhausted)?;
        seal_with(&self.key, coding, frame, Stamp { nonce, index: self.index })
    }

    /// As if so many frames had been encrypted.
    #[cfg(test)]
    pub(super) fn advance(&self, frames: u64) {
        self.nonces.advance(frames);
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("index", &self.index).finish_non_exhaustive()
    }
}

/// What stands behind the tag of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) index: u8,
}

/// The frame under this key and nonce.
pub(super) fn seal_with(
    key: &LessSafeKey,
    coding: Coding,
    frame: &[u8],
    stamp: Stamp,
) -> Result<Vec<u8>, SealError> {
    let (clear, plain) = coding.split(frame).ok_or(match coding {
        Coding::H264 => SealError::NoSlice,
        Coding::Opus | Coding::Vp8 | Coding::Vp9 => SealError::TooShort,
    })?;
    let mut sealed = vec![0; clear.len() + plain.len() + TAG_BYTES + TRAILER_BYTES];
    let (head, body) = sealed.split_at_mut(clear.len());
    let (text, end) = body.split_at_mut(plain.len());
    let (tag, trailer) = end.split_at_mut(TAG_BYTES);
    head.copy_from_slice(&clear);
    let nonce = Nonce::assume_unique_for_key(stamp.nonce);
    key.seal_out_of_place_scatter(nonce, Aad::from(&*head), plain, text, &[], tag)
        .map_err(|_| SealError::Cipher)?;
    trailer[..NONCE_BYTES].copy_from_slice(&stamp.nonce);
    trailer[NONCE_BYTES..].copy_from_slice(&[NONCE_MARK, stamp.index]);
    Ok(match coding {
        Coding::H264 => escaped_behind(&sealed, clear.len()),
        Coding::Opus | Coding::Vp8 | Coding::Vp9 => sealed,
    })
}

/// The same with everything behind the clear part escaped.
fn escaped_behind(sealed: &[u8], clear: usize) -> Vec<u8> {
    let (head, body) = sealed.split_at(clear);
    // Ciphertext needs an escape in about 4 million bytes; a few to spare, so as not to grow.
    let mut out = Vec::with_capacity(sealed.len() + 16);
    out.extend_from_slice(head);
    annexb::escape_into(&mut out, body);
    out
}

#[cfg(test)]
mod tests {
    use matrix_voip::redact::SecretBytes;

    use super::{
        super::testkit::{CODINGS, frame, hex},
        *,
    };

    fn sealer() -> Sealer {
        let key = SecretBytes::new((0..16).collect::<Vec<u8>>());
        Sealer::new(KeyDerivation::Hkdf, &MediaKey { index: 0, key }).unwrap()
    }

    fn sealed(coding: Coding, index: u8, plain: &str) -> Vec<u8> {
        let nonce = hex("112233445566778899aabbcc").try_into().unwrap();
        seal_with(&sealer().key, coding, &hex(plain), Stamp { nonce, index }).unwrap()
    }

    #[test]
    fn a_frame_of_opus_is_that_of_the_vector() {
        assert_eq!(
            sealed(Coding::Opus, 7, "f8010203040506070809"),
            hex(
                "f833349eb4af0fe33b24f8175cb5435c69966f2acafbef1c8e60 112233445566778899aabbcc0c07"
            )
        );
    }

    #[test]
    fn frames_of_vp8_are_those_of_the_vectors() {
        assert_eq!(
            sealed(Coding::Vp8, 0, "9001009d012a80026801aabbccdd"),
            hex("9001009d012a80026801988d516dc362ec901d220cd688f7ce26a314d511
                 112233445566778899aabbcc0c00")
        );
        assert_eq!(
            sealed(Coding::Vp8, 0, "b10203deadbeef"),
            hex("b10203ec9b235fe94fc5b5dd61adb0b2657e4e2a9b9d6f 112233445566778899aabbcc0c00")
        );
    }

    #[test]
    fn a_frame_of_h264_is_that_of_the_vector() {
        assert_eq!(
            sealed(Coding::H264, 0, "000000016742c01f0000000168ce3c8000000001658884000000010203"),
            hex(
                "000000016742c01f0000000168ce3c80000000016588b6369db0ab0be763568a0203db2007ca90eb67
                 a9441245112233445566778899aabbcc0c00"
            )
        );
    }

    #[test]
    fn an_empty_frame_stays_empty_and_takes_no_nonce() {
        let sealer = sealer();
        sealer.advance(u64::from(u32::MAX) + 1);
        assert_eq!(sealer.seal(Coding::Vp9, &[]), Ok(Vec::new()));
        assert_eq!(sealer.seal(Coding::Vp9, &[1]), Err(SealError::Exhausted));
    }

    #[test]
    fn a_key_that_is_used_up_errs_for_every_coding() {
        let sealer = sealer();
        sealer.advance(u64::from(u32::MAX));
        let results = CODINGS.map(|coding| sealer.seal(coding, &frame(coding, b"x")).map(drop));
        let used_up = Err(SealError::Exhausted);
        assert_eq!(results, [Ok(()), used_up, used_up, used_up]);
    }

    #[test]
    fn frames_that_are_too_short_are_refused() {
        let sealer = sealer();
        assert_eq!(sealer.seal(Coding::Vp8, &[0x90; 9]), Err(SealError::TooShort));
        assert_eq!(sealer.seal(Coding::H264, &[0, 0, 0, 1, 0x65]), Err(SealError::NoSlice));
        assert_eq!(sealer.seal(Coding::H264, &[0, 0, 0, 1, 0x67, 1]), Err(SealError::NoSlice));
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        assert_eq!(format!("{:?}", sealer()), "Sealer { index: 0, .. }");
    }
}
