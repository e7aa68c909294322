//! Where sound comes from and where it goes, as an audio thread sees it: a microphone that records, a
//! loudspeaker that plays, and a shelf of them. All sound here is 48 kHz, one channel; times are of the
//! audio thread's clock, which begins anywhere and never goes back.

use std::time::Duration;

/// Which microphone or loudspeaker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Which {
    /// The one that the system uses unless told otherwise.
    #[default]
    Default,
    /// The one of that name or id, as [`Devices::list`] tells it; or the only one whose name has this
    /// in it, in capitals or not.
    Named(String),
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("the default one"),
            Self::Named(name) => write!(f, "{name:?}"),
        }
    }
}

/// A microphone, or a loudspeaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// It records.
    Microphone,
    /// It plays.
    Speaker,
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Microphone => "microphone",
            Self::Speaker => "speaker",
        })
    }
}

/// A device that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// What it does.
    pub kind: DeviceKind,
    /// What the system calls it, for a person.
    pub name: String,
    /// What the system calls it, for a program: it stays the same when others come and go.
    pub id: String,
    /// Whether it is the one of [`Which::Default`].
    pub is_default: bool,
}

impl DeviceInfo {
    /// A device that is not the default one.
    pub fn new(kind: DeviceKind, name: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind, name: name.into(), id: id.into(), is_default: false }
    }
}

/// Why a device does not open, or records and plays no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is none, or none of that name.
    #[error("{}", not_found(*.kind, .which, .there))]
    NotFound {
        /// What was wanted.
        kind: DeviceKind,
        /// Which.
        which: Which,
        /// The names of those that are there, as far as anybody looked.
        there: Vec<String>,
    },
    /// Several have this in their names.
    #[error("{name:?} is in the names of several: {candidates}")]
    Ambiguous {
        /// What was wanted.
        name: String,
        /// Which they are.
        candidates: String,
    },
    /// It was unplugged, or its server has ended.
    #[error("the device is gone")]
    Gone,
    /// What the system says.
    #[error("{0}")]
    System(String),
}

fn not_found(kind: DeviceKind, which: &Which, there: &[String]) -> String {
    let names = there.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    match (which, there) {
        (Which::Default, []) => format!("no {kind} is there"),
        (Which::Default, _) => format!("no default {kind} is there, but {names}"),
        (Which::Named(name), []) => format!("no {kind} {name:?} is there, and no other"),
        (Which::Named(name), _) => format!("no {kind} {name:?} is there, but {names}"),
    }
}

/// A microphone that records. The audio thread has it.
pub trait Recorder: Send {
    /// Appends what was recorded until `now` since it was asked last, which may be nothing: 48 kHz, one
    /// channel, -1 to 1. Does not wait.
    ///
    /// # Errors
    /// Nothing more will come: it is to be dropped and opened anew.
    fn read(&mut self, now: Duration, sound: &mut Vec<f32>) -> Result<(), DeviceError>;

    /// Samples that were recorded and lost since it was opened, because nobody came to read them.
    fn lost(&self) -> u64 {
        0
    }
}

/// A loudspeaker that plays. The audio thread has it.
pub trait Player: Send {
    /// How many samples it wants at `now` so that it never runs dry, and no more, since what waits here
    /// is delay. Asked every 5 ms; what is not written is wanted again. At most so much is written, rounded
    /// up to 10 ms: at first all of it, later an eighth faster than time passes.
    ///
    /// # Errors
    /// It plays no longer: it is to be dropped and opened anew.
    fn wanted(&mut self, now: Duration) -> Result<usize, DeviceError>;

    /// Plays this next: 48 kHz, one channel, -1 to 1. What is far beyond [`wanted`](Self::wanted) may be
    /// dropped.
    fn write(&mut self, sound: &[f32]);

    /// Samples that were missing when they were to be played since the first was written: silence was
    /// heard instead.
    fn lost(&self) -> u64 {
        0
    }
}

/// Microphones and loudspeakers that can be opened. Lives on a thread of its own, which may wait: sound goes
/// on meanwhile, for as long as one of its answers takes without the device that is asked for.
pub trait Devices: Send {
    /// All that are there.
    ///
    /// # Errors
    /// [`DeviceError::System`] when the system does not tell.
    fn list(&mut self) -> Result<Vec<DeviceInfo>, DeviceError>;

    /// Begins to record.
    ///
    /// # Errors
    /// Any [`DeviceError`]; it may be tried again later.
    fn open_recorder(&mut self, which: &Which) -> Result<Box<dyn Recorder>, DeviceError>;

    /// Begins to play: silence, until something is written.
    ///
    /// # Errors
    /// Any [`DeviceError`]; it may be tried again later.
    fn open_player(&mut self, which: &Which) -> Result<Box<dyn Player>, DeviceError>;
}
