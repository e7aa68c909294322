//! One side of the call: a `VoIP` of its own, with its own engine, microphone, camera and ears.

use std::sync::{Arc, Mutex, PoisonError};

use matrix_voip::{
    Config, Signaling, StartError, VoIP, host::FrameSink, machine::io::MediaKind,
    testing::EmbeddedAccount,
};
use matrix_voip_media::{
    AtEnd, IvfFile, OpenError, Pcm, PictureSize, Script, Studio, StudioBuilder, Tee, TestPicture,
    Threaded, Tone, studio::CAMERA,
};

use super::{
    fact::Who,
    forger::Forger,
    notary::Notary,
    senses::{Senses, Sight, Sinks},
    setup::{ADA_PLAYS, BEN_PLAYS, Film, Inputs, Kept, LEVEL, PICTURES_A_SECOND, Tapes},
    teller::Teller,
};
use crate::{cli::Breakage, engine::Engines, overheard::Overheard};

/// One side.
pub(crate) struct Party {
    /// Which.
    pub(crate) who: Who,
    /// All its calls.
    pub(crate) voip: VoIP,
    /// What it hears and sees.
    pub(crate) senses: Senses,
    /// The files that it keeps.
    pub(crate) kept: Vec<Kept>,
    /// The file of what its engine was given.
    pub(crate) inputs: Option<Inputs>,
}

/// What both sides have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// Policies and timeouts.
    pub(crate) config: Config,
    /// What they show each other.
    pub(crate) film: Film,
    /// How their engines are made.
    pub(crate) engines: Engines,
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
        let (kept, inputs) = (tapes.kept(), tapes.inputs.clone());
        let studio = camera(microphone(who, common.breakage), &common.film);
        let studio = speakers(studio, sinks, tapes).build();
        let notary = Arc::new(Notary::new(who, common.teller.clone()));
        let engine = Overheard::new(common.engines.make(studio), notary);
        let mut builder = VoIP::builder(account.identity().clone());
        if let Some(inputs) = &inputs {
            builder = builder.recorder(inputs.recorder.clone());
        }
        let voip = builder
            .signaling(signaling(who, account.clone(), common.breakage))
            .webrtc(engine)
            .config(common.config.clone())
            .start()?;
        account.connect(voip.news());
        Ok(Self { who, voip, senses, kept, inputs })
    }
}

fn signaling(who: Who, account: EmbeddedAccount, breakage: Option<Breakage>) -> Arc<dyn Signaling> {
    match (who, breakage) {
        (Who::Ada, Some(Breakage::WrongFingerprint)) => Arc::new(Forger(account)),
        _ => Arc::new(account),
    }
}

/// The tone that a side plays.
fn microphone(who: Who, breakage: Option<Breakage>) -> StudioBuilder {
    let player = match breakage {
        Some(Breakage::ToneSwapped) => who.other(),
        Some(Breakage::SameTone) => Who::Ada,
        _ => who,
    };
    let hz = match player {
        Who::Ada => ADA_PLAYS,
        Who::Ben => BEN_PLAYS,
    };
    Studio::builder().microphone(move || Tone::new(hz, LEVEL).source())
}

fn camera(studio: StudioBuilder, film: &Film) -> StudioBuilder {
    match film.clone() {
        Film::None => studio,
        Film::Test => {
            studio.camera(|| TestPicture::sized(PictureSize::QVGA, PICTURES_A_SECOND).paced())
        }
        Film::File(path) => studio.source(CAMERA, move || {
            Ok::<_, OpenError>(IvfFile::open(&path)?.at_end(AtEnd::Again).paced())
        }),
    }
}

/// Gives the remote tracks of the one call to the sinks and to the tapes. What is decoded
/// slowly or written to a disk has a thread of its own, so that it does not hold up the engine.
fn speakers(studio: StudioBuilder, sinks: Sinks, tapes: Tapes) -> StudioBuilder {
    let sound = Tee::new().and(sinks.sound);
    let sound = match tapes.sound {
        Some(tape) => sound.and(Threaded::new(tape)),
        None => sound,
    };
    let studio = once(studio, MediaKind::Audio, sound);
    let Some(watcher) = sinks.picture else { return studio };
    let picture = Tee::new().and(Threaded::new(watcher));
    let picture = match tapes.picture {
        Some(tape) => picture.and(Threaded::new(tape)),
        None => picture,
    };
    once(studio, MediaKind::Video, picture)
}

/// The sink serves the first remote track of its kind; a call between two has no other.
fn once(studio: StudioBuilder, kind: MediaKind, sink: Tee) -> StudioBuilder {
    let sink: Mutex<Option<Box<dyn FrameSink>>> = Mutex::new(Some(Box::new(sink)));
    studio.sink(kind, move |_| sink.lock().unwrap_or_else(PoisonError::into_inner).take())
}
