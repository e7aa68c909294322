//! What of sound and picture a call has: its kinds, their sources, and the lines of a description.

use std::time::Duration;

use crate::{
    id::{InputId, StreamId, TrackId},
    redact::Redacted,
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capture {
    /// From where.
    pub source: MediaSource,
    /// Sound or picture of it.
    pub kind: MediaKind,
    /// From which device; `None`: the host's choice.
    pub input: Option<InputId>,
}

impl Capture {
    /// What this source gives, from the device that the host chooses.
    pub const fn of(source: MediaSource) -> Self {
        Self { source, kind: source.kind(), input: None }
    }
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

impl MediaSource {
    /// What it gives.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Microphone => MediaKind::Audio,
            Self::Camera | Self::Screen => MediaKind::Video,
        }
    }

    /// The line that carries it.
    pub const fn slot(self) -> Slot {
        match self {
            Self::Microphone => Slot::Audio,
            Self::Camera => Slot::Video,
            Self::Screen => Slot::Screen,
        }
    }
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

/// Most tones in one request.
pub const MAX_TONES: usize = 64;

/// Why a text is no sequence of tones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tones are 1 to 64 of 0-9, A-D, * and #")]
pub struct InvalidTones;

/// Tones to be sent as RTP events (RFC 4733). They print as their number: people dial secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tones {
    digits: Redacted,
    duration: Duration,
    gap: Duration,
}

impl Tones {
    /// Tones of 100 ms with 70 ms of silence after each, which every telephone network takes.
    ///
    /// # Errors
    /// [`InvalidTones`] when the text is empty, longer than [`MAX_TONES`], or has anything but
    /// `0`-`9`, `A`-`D` (also small), `*` and `#`.
    pub fn parse(digits: &str) -> Result<Self, InvalidTones> {
        let digits = digits.to_ascii_uppercase();
        let is_tone = |c: char| matches!(c, '0'..='9' | 'A'..='D' | '*' | '#');
        if digits.is_empty() || digits.len() > MAX_TONES || !digits.chars().all(is_tone) {
            return Err(InvalidTones);
        }
        let (duration, gap) = (Duration::from_millis(100), Duration::from_millis(70));
        Ok(Self { digits: Redacted::new(digits), duration, gap })
    }

    /// The digits, in capitals.
    pub fn digits(&self) -> &Redacted {
        &self.digits
    }

    /// How long each sounds.
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// The silence after each.
    pub const fn gap(&self) -> Duration {
        self.gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tones_are_what_a_telephone_has_and_print_as_their_number() {
        let tones = Tones::parse("12a#*").unwrap();
        assert_eq!(tones.digits().expose(), "12A#*");
        assert!(format!("{tones:?}").contains("<5 bytes>"));
        assert!(Tones::parse(&"1".repeat(MAX_TONES)).is_ok(), "as many as can be sent at once");
        for wrong in ["", "E", "1 2", &"1".repeat(MAX_TONES + 1), "١"] {
            assert_eq!(Tones::parse(wrong), Err(InvalidTones), "{wrong}");
        }
    }
}
