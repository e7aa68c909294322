//! What can be wrong with a key and with a frame, one enum per operation. No text holds a key.

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Its place is not in the ring: indices are never taken modulo its size, which would put one
    /// key in the place of another.
    #[error("index {index} is outside a ring of {ring_size}")]
    OutsideRing {
        /// The place that was named.
        index: u8,
        /// How many places there are.
        ring_size: u16,
    },
    /// A ring has 1 to 256 places.
    #[error("a ring of {0} keys cannot be")]
    RingSize(u16),
    /// A key has 16 to 256 bytes.
    #[error("a key of {0} bytes")]
    Length(usize),
    /// There is no such way to derive keys here.
    #[error("unknown derivation")]
    Derivation,
    /// The call uses its keys in another way already.
    #[error("another key profile than before in this call")]
    OtherProfile,
    /// There is no key at this place.
    #[error("no key at index {0}")]
    NoKey(u8),
    /// The key was replaced while it was ratcheted.
    #[error("the key at index {0} was replaced meanwhile")]
    Replaced(u8),
}

/// Why a frame cannot be encrypted. It must not be sent then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is shorter than what stays clear in this coding.
    #[error("the frame is too short for its coding")]
    TooShort,
    /// H.264: it does not begin with a start code, holds no slice, or its first slice begins so that
    /// a receiver could not tell it from a start code.
    #[error("the frame has no slice to encrypt")]
    NoSlice,
    /// The key has encrypted 2³² frames. It needs a successor.
    #[error("the key is used up")]
    Exhausted,
    /// The crypto library refused.
    #[error("the cipher failed")]
    Cipher,
}

/// Why a frame cannot be decrypted. It must not be played then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is shorter than any encrypted frame of this coding: it came in the clear, or is broken.
    #[error("the frame is too short to be encrypted")]
    TooShort,
    /// It does not end as encrypted frames do: it came in the clear, or is broken.
    #[error("the frame does not end as encrypted ones do")]
    BadTrailer,
    /// H.264: it does not begin with a start code, or holds no slice.
    #[error("the frame has no slice")]
    NoSlice,
    /// It is encrypted with a key whose place is not in the ring.
    #[error("index {0} is outside the ring")]
    OutsideRing(u8),
    /// There is no key at this place (yet).
    #[error("no key at index {0}")]
    NoKey(u8),
    /// It was encrypted with another key, or changed on the way.
    #[error("the tag of the frame is wrong under the key at index {0}")]
    Tag(u8),
    /// The SFU made it (silence, black), nobody encrypted it.
    #[error("the server made the frame")]
    Injected,
}
