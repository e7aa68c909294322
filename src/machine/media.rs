//! What of sound and picture a call has: its kinds, their sources, and the lines of a description.

use crate::{
    id::{StreamId, TrackId},
    sdp::Direction,
};

/// Which kinds of media a call is placed or answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallMedia {
    /// Sound.
    Voice,
    /// Sound and picture.
    Video,
}

/// What to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capture {
    /// From where.
    pub source: MediaSource,
    /// Sound or picture of it.
    pub kind: MediaKind,
}

/// Where local media comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MediaSource {
    /// The microphone.
    Microphone,
    /// The camera.
    Camera,
    /// A screen or window.
    Screen,
}

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// What a description should say: one line per kind of media that we send or want to receive.
/// Declarative: the engine finds the m-line of the same `slot`, or makes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Plan {
    /// The lines, in the order in which new m-lines are made.
    pub lines: Vec<PlanLine>,
}

/// One line of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlanLine {
    /// What the line is for; its identity over all negotiations of a call.
    pub slot: Slot,
    /// Which way media flows.
    pub direction: Direction,
    /// What is sent; `None` when the direction has no sending half.
    pub track: Option<TrackId>,
    /// The stream that the sent track belongs to (`a=msid`).
    pub stream: Option<StreamId>,
}

/// The lines that a call can have, at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Microphone.
    Audio,
    /// Camera.
    Video,
    /// Screen.
    Screen,
    /// Sound of the screen.
    ScreenAudio,
}

impl Slot {
    /// What the line carries.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Audio | Self::ScreenAudio => MediaKind::Audio,
            Self::Video | Self::Screen => MediaKind::Video,
        }
    }
}
