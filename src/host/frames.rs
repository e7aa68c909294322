//! Encoded media frames: the one media interface of all engines.
//!
//! Media never passes through the machine. An engine asks a [`Media`] for a [`FrameSource`] when
//! a track is captured and for a [`FrameSink`] when a remote track appears; between the two it
//! only carries [`Frame`]s to and from RTP.

use std::time::Duration;

use async_trait::async_trait;

pub use crate::machine::playout::{Playout, PlayoutOutput};
use crate::{
    id::{PeerId, SessionId, StreamId, TrackId},
    machine::io::{Capture, Fault, MediaKind, ParticipantId},
};

/// The codecs that frames can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Opus, 48 kHz RTP clock.
    Opus,
    /// VP8, 90 kHz RTP clock.
    Vp8,
    /// H.264 in Annex B form, 90 kHz RTP clock.
    H264,
}

impl Codec {
    /// Ticks per second of the RTP clock.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::H264 => 90_000,
        }
    }

    /// Its name with its kind, as in SDP and in browsers' statistics.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Opus => "audio/opus",
            Self::Vp8 => "video/VP8",
            Self::H264 => "video/H264",
        }
    }

    /// What the codec carries.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::Vp8 | Self::H264 => MediaKind::Video,
        }
    }
}

/// One encoded frame: an Opus packet or a complete video frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// How `data` is encoded.
    pub codec: Codec,
    /// Media time in ticks of the codec's RTP clock, unwrapped, from an arbitrary origin.
    pub timestamp: u64,
    /// The encoded bytes.
    pub data: Vec<u8>,
    /// Whether the frame can be decoded without earlier ones (always true for Opus).
    pub key_frame: bool,
    /// Received frames: RTP sequence number of the frame's first packet, unwrapped. `None` on
    /// frames to be sent.
    pub sequence: Option<u64>,
    /// Received frames: whether the frame follows the previous one without a packet between them that is
    /// missing, or comes late.
    pub contiguous: bool,
    /// Audio level in dBov (-127 to 0) for the RFC 6464 header extension, where known.
    pub audio_level: Option<i8>,
    /// Received frames: when the engine got the frame's last packet, on the engine's clock.
    pub arrival: Option<Duration>,
}

impl Frame {
    /// A frame to be sent. Set what differs with `Frame { key_frame: false, ..Frame::new(…) }`.
    pub fn new(codec: Codec, timestamp: u64, data: Vec<u8>) -> Self {
        Self {
            codec,
            timestamp,
            data,
            key_frame: true,
            sequence: None,
            contiguous: true,
            audio_level: None,
            arrival: None,
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} frame at {}, {} bytes", self.codec, self.timestamp, self.data.len())
    }
}

/// What an engine tells a source about the way out.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SourceControl {
    /// The track was muted (`false`) or unmuted (`true`). The engine itself guarantees that a
    /// muted track sends nothing of it; the source may use the news to close the device.
    Enabled(bool),
    /// The other side needs a frame that decodes by itself.
    KeyFrame,
    /// Bits per second that the way out can carry.
    Bitrate(u64),
    /// Share of packets lost on the way out, 0 to 1, from RTCP.
    Loss(f32),
}

/// Where the frames of one local track come from.
#[async_trait]
pub trait FrameSource: Send {
    /// The codec of all frames of this source.
    fn codec(&self) -> Codec;

    /// The next frame, when it is due (live sources pace themselves); `None` when there are no
    /// more. Cancel safe: a dropped call loses no frame.
    async fn next(&mut self) -> Option<Frame>;

    /// News about the way out. Must not block.
    fn control(&mut self, control: SourceControl);

    /// Whether there is a device now. A source whose device is gone may wait for another and give
    /// silence meanwhile. Asked with each frame and each news. Must not block.
    fn has_device(&self) -> bool {
        true
    }
}

/// Where the frames of one remote track go.
pub trait FrameSink: Send {
    /// Takes one received frame. Must not block. Pictures come in the order of the RTP sequence. Sound comes
    /// as it arrives, for whoever plays it has to even out its times anyway: a packet that was overtaken
    /// comes late, with a smaller [`Frame::sequence`] than those before it.
    fn push(&mut self, frame: Frame);

    /// Whether the sink wants a key frame, because it cannot decode what it has. Asked after each
    /// `push` of a video frame; the answer resets the wish.
    fn wants_key_frame(&mut self) -> bool {
        false
    }

    /// How what was pushed is heard. `None`: this sink does not know, as one that writes a file. Asked
    /// whenever somebody wants statistics. Must not block.
    fn playout(&self) -> Option<Playout> {
        None
    }
}

impl<S: FrameSink + ?Sized> FrameSink for Box<S> {
    fn push(&mut self, frame: Frame) {
        (**self).push(frame);
    }

    fn wants_key_frame(&mut self) -> bool {
        (**self).wants_key_frame()
    }

    fn playout(&self) -> Option<Playout> {
        (**self).playout()
    }
}

/// A remote track as the engine found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTrack {
    /// The call that it belongs to: the same as in the captures of that call.
    pub session: SessionId,
    /// Whose it is, in a group call.
    pub member: Option<ParticipantId>,
    /// The peer connection that it arrives on.
    pub peer: PeerId,
    /// The `mid` of its m-line.
    pub mid: String,
    /// Its stream, where the SDP names one.
    pub stream: Option<StreamId>,
    /// Audio or video.
    pub kind: MediaKind,
}

/// Makes sources and sinks: the application's cameras, microphones, files and speakers.
#[async_trait]
pub trait Media: Send + Sync {
    /// Opens a device or file for a local track of this call. A person may be asked; the engine
    /// drops the returned future when the call ends first.
    ///
    /// # Errors
    /// [`Fault::Denied`] when the person refuses, [`Fault::NotFound`] without such a device.
    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault>;

    /// The sink for a remote track; `None` discards its frames.
    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>>;
}
