//! One side of the call: a `VoIP` of its own, with its own engine, microphone, camera and ears.

use std::sync::{Arc, Mutex, PoisonError};

use matrix_voip::{
    config::Config,
    host::{FrameSink, Media, Signaling},
    machine::io::{Fault, MediaKind},
    session::{StartError, VoIP},
    testing::EmbeddedAccount,
};
use matrix_voip_media::{
    AtEnd, IvfFile, OpenError, Pcm, PictureSize, Recording, Script, Studio, Tee, TestPicture,
    Threaded, Tone, studio::CAMERA,
};

use super::{
    fact::Who,
    forger::Forger,
    senses::{Senses, Sight, Sinks},
    setup::{ADA_PLAYS, BEN_PLAYS, Film, LEVEL, PICTURES_A_SECOND, Tapes},
    teller::Teller,
};
use crate::cli::Breakage;

/// One side.
pub(crate) struct Party {
    /// Which.
    pub(crate) who: Who,
    /// All its calls.
    pub(crate) voip: VoIP,
    /// What it hears and sees.
    pub(crate) senses: Senses,
    /// The files that it keeps.
    pub(crate) kept: Vec<(std::path::PathBuf, Recording)>,
}
