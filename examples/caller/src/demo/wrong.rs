//! What can be wrong with a call, and how that is said in one line.

use std::{fmt, time::Duration};

use matrix_voip::machine::event::End;

use super::fact::{OtherMicrophone, Pictures, Who};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wrong {
    /// With the call as such.
    Call(CallWrong),
    /// With what this side heard.
    Sound(Who, SoundWrong),
    /// With what this side saw.
    Picture(Who, PictureWrong),
    /// What was received could not be kept.
    NotRecorded(String),
    /// The demo could not go on.
    Stopped(String),
}

/// What is wrong with a call as such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallWrong {
    /// It rang until the invite's lifetime was over.
    NobodyAnswered,
    /// Answered, but the two found no path for media.
    NoPath,
    /// This side was announced with another certificate than its own.
    Forged(Who),
    /// It ended otherwise before it was connected.
    NeverConnected(Option<(Who, End)>),
    /// It was connected, and a side's call ended by itself.
    BrokeOff(Who, End),
}

/// What is wrong with what was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SoundWrong {
    /// Nothing was heard instead of a tone of this frequency.
    Silence {
        /// In Hz.
        instead_of: f32,
        /// What the other side said.
        microphone: OtherMicrophone,
    },
    /// Another tone was heard.
    WrongTone {
        /// In Hz.
        heard: f32,
        /// In Hz.
        instead_of: f32,
    },
    /// The tone was heard among other sound, with this share of the energy.
    Impure(f32),
    /// The tone was heard too loud or too low, at this amplitude.
    WrongLevel {
        /// 0 to 1.
        heard: f32,
        /// 0 to 1.
        instead_of: f32,
    },
    /// It was heard for this time only.
    TooShort(Duration),
}

/// What is wrong with what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PictureWrong {
    /// There was no picture.
    Nothing,
    /// Too few pictures, or the same ones.
    Stuck(Pictures),
    /// Pictures of this size, which is not the file's.
    Size(u32, u32),
}

/// The end in words: whose doing, and why, as in `IceFailed (local)`.
pub(crate) fn ending(end: &End) -> String {
    format!("{:?} ({})", end.reason, format!("{:?}", end.party).to_lowercase())
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(wrong) => write!(f, "{wrong}"),
            Self::Sound(who, wrong) => wrong.say(who.name(), who.other().name(), f),
            Self::Picture(who, wrong) => wrong.say(*who, f),
            Self::NotRecorded(why) => write!(f, "not recorded: {why}"),
            Self::Stopped(why) => write!(f, "the demo could not go on: {why}"),
        }
    }
}

impl fmt::Display for CallWrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodyAnswered => write!(f, "nobody answered: ben let it ring to the end"),
            Self::NoPath => write!(f, "no path: ice failed, no way for media was found"),
            Self::Forged(who) => write!(
                f,
                "{} was given a wrong fingerprint of {who}'s certificate, so dtls failed",
                who.other()
            ),
            Self::NeverConnected(Some((who, end))) => {
                write!(f, "never connected: {who}'s call ended with {}", ending(end))
            }
            Self::NeverConnected(None) => write!(f, "never connected, and it did not end either"),
            Self::BrokeOff(who, end) => write!(f, "{who}'s call broke off: {}", ending(end)),
        }
    }
}

impl SoundWrong {
    /// In words: what `who` heard of `other`.
    pub(crate) fn say(self, who: &str, other: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence { instead_of, microphone: OtherMicrophone::On } => {
                write!(f, "{who} heard silence instead of {instead_of:.0} Hz")
            }
            Self::Silence { instead_of, microphone: OtherMicrophone::Muted } => {
                write!(f, "{who} heard silence instead of {instead_of:.0} Hz: ")?;
                write!(f, "{other}'s microphone is muted")
            }
            Self::WrongTone { heard, instead_of } => {
                write!(f, "{who} heard the wrong tone: {heard:.0} Hz instead of {instead_of:.0} Hz")
            }
            Self::Impure(share) => {
                let percent = share * 100.0;
                write!(f, "{who} heard more than the tone, which had {percent:.0} % of the energy")
            }
            Self::WrongLevel { heard, instead_of } => {
                write!(f, "{who} heard the tone at level {heard:.2} instead of {instead_of:.2}")
            }
            Self::TooShort(length) => {
                write!(f, "{who} heard the tone for {:.1} s only", length.as_secs_f64())
            }
        }
    }
}

impl PictureWrong {
    fn say(self, who: Who, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "{who} saw no picture"),
            Self::Stuck(Pictures { shown, numbered, .. }) => write!(
                f,
                "{who} saw too little of the moving picture: {shown} shown, {numbered} with a \
                 readable number"
            ),
            Self::Size(width, height) => {
                write!(f, "{who} saw pictures of {width} x {height}, not of the file's size")
            }
        }
    }
}
