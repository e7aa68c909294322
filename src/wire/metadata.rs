//! `sdp_stream_metadata`: which stream is what, and what of it is muted (MSC3077).

use std::collections::BTreeMap;

use crate::id::StreamId;

/// What a stream shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// `m.usermedia`: microphone and camera.
    UserMedia,
    /// `m.screenshare`: a screen, perhaps with its sound.
    Screenshare,
    /// Anything else: such a stream is ignored, as the specification asks.
    Unknown(String),
}

/// One stream's entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamInfo {
    /// What it shows.
    pub purpose: Purpose,
    /// Whether its sound is muted; `false` where the sender says nothing.
    pub audio_muted: bool,
    /// Whether its picture is muted; `false` where the sender says nothing.
    pub video_muted: bool,
}

/// All streams of one side. Always complete: a stream that is not named is gone.
pub type StreamMetadata = BTreeMap<StreamId, StreamInfo>;

/// Most streams that one description may name; the rest is left unread.
pub const MAX_STREAMS: usize = 16;
