//! What can be wrong with a group call, and how that is said in one line.

use std::fmt;

use super::cast::Who;
use crate::demo::wrong::SoundWrong;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wrong {
    /// This one was not in the call.
    NeverEntered(Who),
    /// These two were never connected; whose certificate was announced otherwise than told.
    NeverMet(Who, Who, Option<Who>),
    /// The first lost the connection to the second.
    Lost(Who, Who),
    /// This one has a track of nobody who takes part.
    Stray(Who),
    /// The first does not hear the second over a leg of their own.
    Leg(Who, Who, LegWrong),
    /// With what the first heard of the second.
    Sound(Who, Who, SoundWrong),
    /// The demo could not go on.
    Stopped(String),
}

/// What is wrong with a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegWrong {
    /// The sound of this one comes by the same peer connection.
    SharedConnection(Who),
    /// The sound comes by a peer connection that was opened for somebody else.
    ForeignConnection,
    /// The sound comes in a stream that was not told of.
    ForeignStream,
    /// What the first hears of the second has the same socket.
    SharedSocket(Who, Who),
    /// No path is known, or the other end of it is not the other's.
    NoPath,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverEntered(who) => write!(f, "{who} was never in the call"),
            Self::NeverMet(one, other, None) => {
                write!(f, "{one} and {other} were never connected")
            }
            Self::NeverMet(one, other, Some(forged)) => {
                let told = if forged == one { other } else { one };
                write!(f, "{one} and {other} were never connected: {told} was given a wrong ")?;
                write!(f, "fingerprint of {forged}'s certificate")
            }
            Self::Lost(who, other) => write!(f, "{who} lost the connection to {other}"),
            Self::Stray(who) => write!(f, "{who} has sound of somebody who does not take part"),
            Self::Leg(hears, of, wrong) => wrong.say(*hears, *of, f),
            Self::Sound(hears, of, wrong) => {
                wrong.say(hears.name(), of.name(), f)?;
                write!(f, " (from {of})")
            }
            Self::Stopped(why) => write!(f, "the demo could not go on: {why}"),
        }
    }
}

impl LegWrong {
    fn say(self, hears: Who, of: Who, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedConnection(other) => {
                write!(f, "{hears} has {of}'s and {other}'s sound by one peer connection")
            }
            Self::ForeignConnection => {
                write!(f, "{hears} has {of}'s sound by a peer connection that is not theirs")
            }
            Self::ForeignStream => {
                write!(f, "{hears} has {of}'s sound in a stream that {of} does not show")
            }
            Self::SharedSocket(one, other) => {
                write!(f, "{hears}'s leg to {of} and {one}'s to {other} have one socket")
            }
            Self::NoPath => write!(f, "no path of their own is known between {hears} and {of}"),
        }
    }
}
