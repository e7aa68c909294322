//! One side of the call: a `VoIP` of its own, with its own engine, microphone, camera and ears.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use matrix_voip::{
    config::Config,
    host::{FrameSink, Signaling, WebRtc},
    machine::io::MediaKind,
    session::{StartError, VoIP},
    testing::EmbeddedAccount,
};
use matrix_voip_media::{
    AtEnd, IvfFile, OpenError, Pcm, PictureSize, Recording, Script, Studio, StudioBuilder, Tee,
    TestPicture, Threaded, Tone, studio::CAMERA,
};

use super::{
    engine,
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
    pub(crate) kept: Vec<(PathBuf, Recording)>,
}

/// What both sides have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// Policies and timeouts.
    pub(crate) config: Config,
    /// What they show each other.
    pub(crate) film: Film,
    /// What is broken.
    pub(crate) breakage: Option<Breakage>,
    /// Where they tell what happens.
    pub(crate) teller: Teller,
}

impl Party {
    /// Starts a side that reaches the homeserver through `account`.
    ///
    /// # Errors
    /// The library's own: no runtime, no randomness.
    pub(crate) fn start(
        who: Who,
        account: EmbeddedAccount,
        tapes: Tapes,
        common: &Common,
    ) -> Result<Self, StartError> {
        let sight = match common.film {
            Film::None => Sight::Blind,
            Film::Test | Film::File(_) => Sight::Eyes,
        };
        let (senses, sinks) = Senses::new(who, sight, &common.teller);
        let studio = speakers(microphone(who, common.breakage), sinks, tapes.sound, tapes.picture);
        let studio = camera(studio, &common.film).build();
        let voip = VoIP::builder(account.identity().clone())
            .signaling(signaling(who, account.clone(), common.breakage))
            .webrtc(engine::new(studio, common.breakage))
            .config(common.config.clone())
            .start()?;
        account.connect(voip.news());
        Ok(Self { who, voip, senses, kept: tapes.kept })
    }
}
