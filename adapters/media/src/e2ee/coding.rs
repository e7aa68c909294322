//! How a frame is encoded, which decides what of it the server may see.

use std::borrow::Cow;

use matrix_voip::host::Codec;

use super::annexb;

/// What encrypted frames can be encoded in. AV1 is missing: no client can encrypt it, and engines
/// fail over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// One byte stays clear: which mode and how many frames (RFC 6716 §3.1).
    Opus,
    /// Ten bytes of a key frame, three of another (RFC 6386 §9.1): that it is one, and its size.
    Vp8,
    /// Nothing stays clear.
    Vp9,
    /// All up to the first two bytes of the first slice: start codes and parameter sets too.
    H264,
}

impl Coding {
    /// The same for a codec of the library; `None`: its frames cannot be encrypted.
    pub fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Opus => Some(Self::Opus),
            Codec::Vp8 => Some(Self::Vp8),
            Codec::H264 => Some(Self::H264),
            _ => None,
        }
    }

    /// How many bytes of a frame are clear, as it stands; `None`: it is too short, or has no slice.
    pub(super) fn clear_bytes(self, frame: &[u8]) -> Option<usize> {
        let clear = match self {
            Self::Opus => 1,
            Self::Vp8 => vp8_clear_bytes(*frame.first()?),
            Self::Vp9 => 0,
            Self::H264 => annexb::clear_bytes(frame)?,
        };
        (clear <= frame.len()).then_some(clear)
    }

    /// The clear part as it is to be sent, and what is to be encrypted.
    pub(super) fn split(self, frame: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
        match self {
            Self::Opus | Self::Vp8 | Self::Vp9 => {
                let (clear, rest) = frame.split_at(self.clear_bytes(frame)?);
                Some((Cow::Borrowed(clear), rest))
            }
            Self::H264 => {
                let (clear, rest) = annexb::normalised(frame)?;
                Some((Cow::Owned(clear), rest))
            }
        }
    }
}

/// The last bit of the first byte is not set on key frames. It is what receivers go by, so the
/// sender's own flag is not asked.
const fn vp8_clear_bytes(first: u8) -> usize {
    if first & 1 == 0 { 10 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_vp8_says_how_much_stays_clear() {
        assert_eq!(Coding::Vp8.clear_bytes(&[0x90; 14]), Some(10));
        assert_eq!(Coding::Vp8.clear_bytes(&[0xb1; 14]), Some(3));
        assert_eq!(Coding::Vp8.clear_bytes(&[0x90; 9]), None);
        assert_eq!(Coding::Vp8.clear_bytes(&[0xb1; 2]), None);
    }

    #[test]
    fn of_opus_a_byte_stays_clear_and_of_vp9_nothing() {
        assert_eq!(Coding::Opus.clear_bytes(&[0xf8]), Some(1));
        assert_eq!(Coding::Vp9.clear_bytes(&[0xf8]), Some(0));
    }
}
