//! VP8 by `oxideav-vp8`: an encoder and a decoder, and what a frame's first bytes tell.
//!
//! A pure-Rust codec, made for a test picture: 13 ms for a picture of 320 x 240, fixed quality.
//! Received frames are hostile until decoded: errors, never panics, and no picture of more than
//! [`MAX_PIXELS`].

use oxideav_vp8::{
    I420Frame, KeyframeParams, Vp8DecodedFrame, Vp8DecoderState, Vp8InterStreamEncoder,
};

use super::picture::{Picture, PictureSize};
use crate::error::CodecError;

/// Greatest picture that is decoded: 1280 x 720.
pub const MAX_PIXELS: u64 = 1280 * 720;

/// Key frames come by themselves at least this often, in frames: half a minute at 10 a second.
/// In between they come when somebody asks.
const KEY_FRAME_INTERVAL: u64 = 300;

/// Whether a frame decodes by itself (RFC 6386 §9.1).
pub fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}

/// Width and height in pixels of a key frame (RFC 6386 §9.1); `None` for anything else.
pub fn key_frame_size(frame: &[u8]) -> Option<(u32, u32)> {
    let head = frame.get(..10).filter(|head| is_key_frame(head))?;
    let [width, height] = [6, 8].map(|at| u16::from_le_bytes([head[at], head[at + 1]]) & 0x3fff);
    let starts = head[3..6] == [0x9d, 0x01, 0x2a] && width > 0 && height > 0;
    starts.then_some((u32::from(width), u32::from(height)))
}

/// Makes frames of pictures of one size.
pub struct Encoder {
    inner: Vp8InterStreamEncoder,
}

/// What kind of frame is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Whatever is due.
    Any,
    /// One that decodes by itself.
    KeyFrame,
}

impl Encoder {
    /// An encoder whose first frame is a key frame.
    pub fn new() -> Self {
        let inner = Vp8InterStreamEncoder::new(KeyframeParams::default(), KEY_FRAME_INTERVAL)
            .expect("invariant: the key frame interval is not zero");
        Self { inner }
    }

    /// Encodes a picture, which must be of the size of the first one.
    ///
    /// # Errors
    /// [`CodecError::Vp8`] when the size differs or the codec fails.
    pub fn encode(&mut self, picture: &Picture, want: Want) -> Result<Vec<u8>, CodecError> {
        let (width, height) = picture.size().pixels();
        let frame = I420Frame::packed(width, height, &picture.y, &picture.u, &picture.v);
        self.inner
            .encode_frame_with_force(&frame, want == Want::KeyFrame)
            .map(|encoded| encoded.bytes)
            .map_err(|error| CodecError::Vp8(error.to_string()))
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// Makes pictures of frames.
pub struct Decoder {
    inner: Vp8DecoderState,
}

/// A decoded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A picture to be shown.
    Shown(Picture),
    /// A frame that only helps to decode later ones.
    Hidden,
}

impl Decoder {
    /// A decoder that wants a key frame first.
    pub fn new() -> Self {
        Self { inner: Vp8DecoderState::new().with_max_pixels_per_frame(MAX_PIXELS) }
    }

    /// Decodes one frame.
    ///
    /// # Errors
    /// [`CodecError::Vp8`] when it is no VP8 frame, larger than [`MAX_PIXELS`], or not to be
    /// decoded without a key frame; the decoder can be used further, from a key frame on.
    pub fn decode(&mut self, frame: &[u8]) -> Result<Decoded, CodecError> {
        let decoded =
            self.inner.decode_frame(frame).map_err(|error| CodecError::Vp8(error.to_string()))?;
        Ok(match self.inner.last_frame_shown() {
            Some(false) => Decoded::Hidden,
            Some(true) | None => Decoded::Shown(picture(decoded)),
        })
    }
}

fn picture(frame: Vp8DecodedFrame) -> Picture {
    let Vp8DecodedFrame { width, height, y, u, v } = frame;
    Picture::from_planes(PictureSize::decoded(width, height), y, u, v)
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}
