//! What the demo needs of the disk, checked before anything begins: the film to be sent, the
//! files to be written. What is wrong here is exit code 2.

use std::{
    fmt, fs,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Duration,
};

use matrix_voip::record::Recorder;
use matrix_voip_media::{AtEnd, IvfFile, IvfSink, OpenError, Recording, WavSink};

use super::{
    fact::Who,
    verdict::{Expected, View},
};
use crate::{
    cli::{Breakage, DemoOptions},
    engine::{Engines, Misfit},
};

/// The tone that Ada plays and Ben hears, in Hz.
pub(crate) const ADA_PLAYS: f32 = 440.0;

/// The tone that Ben plays and Ada hears, in Hz: no overtone of the other.
pub(crate) const BEN_PLAYS: f32 = 660.0;

/// The amplitude of both.
pub(crate) const LEVEL: f32 = 0.2;

/// Test pictures a second: what two encoders and two decoders do with ease on one slow core.
pub(crate) const PICTURES_A_SECOND: u32 = 10;

/// Why the demo cannot begin.
#[derive(Debug)]
pub(crate) enum SetupError {
    /// The film cannot be read.
    Unreadable(PathBuf, OpenError),
    /// A recording cannot be written.
    Unwritable(PathBuf, String),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Unwritable(path, why) => write!(f, "cannot write {}: {why}", path.display()),
        }
    }
}

/// What both sides send as their picture.
#[derive(Debug, Clone)]
pub(crate) enum Film {
    /// Nothing.
    None,
    /// The moving test picture.
    Test,
    /// A file, again and again.
    File(PathBuf),
}

impl Film {
    /// What the options ask for, and what is to be seen of it.
    fn of(options: &DemoOptions) -> Result<(Self, View), SetupError> {
        match &options.video {
            None => Ok((Self::None, View::Nothing)),
            Some(None) => Ok((Self::Test, View::TestPicture(PICTURES_A_SECOND))),
            Some(Some(path)) => {
                let (width, height) = open(path)?.size();
                Ok((Self::File(path.clone()), View::File(width, height)))
            }
        }
    }
}

/// Opens a film that goes on for ever.
fn open(path: &Path) -> Result<IvfFile, SetupError> {
    IvfFile::open(path)
        .map(|film| film.at_end(AtEnd::Again))
        .map_err(|why| SetupError::Unreadable(path.to_owned(), why))
}

/// How the engines of all are made: on loopback, and without a network where that is to be broken.
///
/// # Errors
/// [`Misfit`]: the engine that is asked for does not break that.
pub(crate) fn engines(options: &DemoOptions) -> Result<Engines, Misfit> {
    let engines = Engines::new(options.engine).on_loopback();
    match options.breakage {
        Some(Breakage::SocketDropsAll) => engines.dropping_all(),
        _ => Ok(engines),
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What should come of the call.
    pub(crate) expected: Expected,
    /// What both sides send as their picture.
    pub(crate) film: Film,
    /// The files that Ada writes.
    pub(crate) ada: Tapes,
    /// The files that Ben writes.
    pub(crate) ben: Tapes,
    /// How their engines are made.
    pub(crate) engines: Engines,
    /// What is to be broken.
    pub(crate) breakage: Option<Breakage>,
}

impl Setup {
    /// Reads what is to be read, and makes the files that are to be written.
    ///
    /// # Errors
    /// [`SetupError`] with the file's path.
    pub(crate) fn new(options: &DemoOptions, engines: Engines) -> Result<Self, SetupError> {
        let (film, view) = Film::of(options)?;
        let expected = Expected {
            ada_hears: BEN_PLAYS,
            ben_hears: ADA_PLAYS,
            level: LEVEL,
            talk: Duration::from_secs(options.seconds.into()),
            view,
            engine: options.engine,
        };
        let (ada, ben) = (Tapes::new(Who::Ada, options)?, Tapes::new(Who::Ben, options)?);
        Ok(Self { expected, film, ada, ben, engines, breakage: options.breakage })
    }
}

/// A file that is being written, and news of it.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Where.
    pub(crate) path: PathBuf,
    /// How far it is.
    pub(crate) recording: Recording,
}

/// The file of what an engine is given, and who writes it.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// Where.
    pub(crate) path: PathBuf,
    /// Who writes it.
    pub(crate) recorder: Recorder,
}

/// The files in which one side keeps what it receives.
#[derive(Debug, Default)]
pub(crate) struct Tapes {
    /// For the sound.
    pub(crate) sound: Option<WavSink>,
    /// For the picture.
    pub(crate) picture: Option<IvfSink>,
    /// For what the engine is given.
    pub(crate) inputs: Option<Inputs>,
    kept: Vec<Kept>,
}

impl Tapes {
    /// Makes the files of this side, where any are wanted.
    pub(crate) fn new(who: Who, options: &DemoOptions) -> Result<Self, SetupError> {
        let mut tapes = Self::default();
        let Some(folder) = &options.record else { return Ok(tapes) };
        fs::create_dir_all(folder).map_err(|why| unwritable(folder, &why))?;
        let path = folder.join(format!("{who}-heard.wav"));
        let (sink, recording) = WavSink::create(&path).map_err(|why| unwritable(&path, &why))?;
        tapes.sound = Some(sink);
        tapes.kept.push(Kept { path, recording });
        let path = folder.join(format!("{who}-call.jsonl"));
        let recorder = fs::File::create(&path).and_then(|file| Recorder::new(BufWriter::new(file)));
        let recorder = recorder.map_err(|why| unwritable(&path, &why))?;
        tapes.inputs = Some(Inputs { path, recorder });
        if options.video.is_some() {
            let path = folder.join(format!("{who}-saw.ivf"));
            let (sink, recording) =
                IvfSink::create(&path).map_err(|why| unwritable(&path, &why))?;
            tapes.picture = Some(sink);
            tapes.kept.push(Kept { path, recording });
        }
        Ok(tapes)
    }

    /// The files that are being written.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.kept.clone()
    }
}

fn unwritable(path: &Path, why: &impl fmt::Display) -> SetupError {
    SetupError::Unwritable(path.to_owned(), why.to_string())
}
