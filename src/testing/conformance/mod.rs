//! Is your delegate right? One suite that judges every WebRTC engine.
//!
//! An engine is judged through [`WebRtc`] alone, over real sockets of this machine and in real time,
//! against itself or against another: what is agreed, what is heard, what stays behind. Each
//! [`Cell`] plays a small call and says in a sentence what was wrong with it.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use matrix_voip::{host::{Media, WebRtc}, testing::conformance::{Setting, Subject, judge}};
//! # async fn example(my_engine: fn(Arc<dyn Media>) -> Arc<dyn WebRtc>) {
//! let mine = Subject::new("mine", my_engine).without_tones();
//! let report = judge(&mine, &mine, &Setting::default()).await;
//! println!("{report}");
//! assert!(report.is_right());
//! # }
//! ```
//!
//! An engine should carry the interfaces that it is given: let `my_engine` use loopback, where it can
//! be told so. Cells run one after the other, and those that count tasks, files and memory count those
//! of the whole process: give the suite a program of its own (`tests/conformance.rs`), with one
//! runtime. The cells of relays need a TURN server ([`Relays`]); without it they are skipped.

mod life;
mod media;
mod negotiation;
mod paths;
mod stage;
mod studio;

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, timeout};

pub use self::stage::Failure;
use self::stage::{Outcome, Stage};
use crate::{
    host::{Media, WebRtc},
    machine::io::IceServer,
};

/// The longest that a cell may take; the slowest makes a hundred calls.
const LONGEST: Duration = Duration::from_secs(300);

/// Why cells of relays are skipped.
const NO_SERVER: &str = "no TURN server was given";

type Make = dyn Fn(Arc<dyn Media>) -> Arc<dyn WebRtc> + Send + Sync;

/// An engine that is to be judged.
#[derive(Clone)]
pub struct Subject {
    name: String,
    make: Arc<Make>,
    tones: bool,
}

impl Subject {
    /// An engine of that name, made anew for each side of each call.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn(Arc<dyn Media>) -> Arc<dyn WebRtc> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), make: Arc::new(make), tones: true }
    }

    /// Declares that the engine cannot send tones. It has to say so to whoever asks, and must not
    /// offer them.
    #[must_use]
    pub fn without_tones(mut self) -> Self {
        self.tones = false;
        self
    }

    fn make(&self, media: Arc<dyn Media>) -> Arc<dyn WebRtc> {
        (self.make)(media)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({}, tones: {})", self.name, self.tones)
    }
}

/// In what surroundings engines are judged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setting {
    /// How long anything may take that is to come about. Default: 15 s, more than anybody waits in a
    /// call. A request to the engine has 15 s in any case.
    pub patience: Duration,
    /// TURN servers, one for each transport by which a relay is to be reached.
    pub relays: Relays,
}

impl Default for Setting {
    fn default() -> Self {
        Self { patience: Duration::from_secs(15), relays: Relays::default() }
    }
}

/// TURN servers, one for each transport by which a relay is to be reached.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Relays {
    /// By UDP (`turn:…?transport=udp`).
    pub udp: Option<IceServer>,
    /// By TCP (`turn:…?transport=tcp`).
    pub tcp: Option<IceServer>,
    /// By TLS (`turns:…`).
    pub tls: Option<IceServer>,
}

type Play = for<'a> fn(&'a mut Stage) -> BoxFuture<'a, Outcome<Played>>;

/// How a cell went that did not fail.
enum Played {
    Passed,
    /// One of the engines had said that it cannot.
    Declared,
    /// What it needs is not there.
    Skipped(&'static str),
}

/// One thing that an engine has to do right.
#[derive(Clone, Copy)]
pub struct Cell {
    name: &'static str,
    play: Play,
}

impl Cell {
    /// All cells, in the order in which they are played.
    pub fn all() -> Vec<Self> {
        [negotiation::CELLS, media::CELLS, paths::CELLS, life::CELLS].concat()
    }

    /// What it is about.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Plays it between two engines.
    pub async fn play(&self, ours: &Subject, theirs: &Subject, setting: &Setting) -> Verdict {
        let mut stage = Stage::new(ours, theirs, setting);
        let playing = AssertUnwindSafe((self.play)(&mut stage)).catch_unwind();
        let played = timeout(LONGEST, playing).await;
        // Whatever came of it: nothing is left for the next cell to stumble over.
        let news = stage.last_words();
        stage.clear().await;
        match played {
            Ok(Ok(Ok(Played::Passed))) => Verdict::Passed,
            Ok(Ok(Ok(Played::Declared))) => Verdict::Declared,
            Ok(Ok(Ok(Played::Skipped(why)))) => Verdict::Skipped(why),
            Ok(Ok(Err(Failure(why)))) => Verdict::Failed(Failure(format!("{why} ({news})"))),
            Ok(Err(_)) => Verdict::Failed(Failure(format!("it panics ({news})"))),
            Err(_) => Verdict::Failed(Failure(format!("it never ends ({news})"))),
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({})", self.name)
    }
}

/// How a cell went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Passed,
    /// An engine cannot, and says so as it should.
    Declared,
    /// What it needs is not there.
    Skipped(&'static str),
    /// It is wrong.
    Failed(Failure),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "right"),
            Self::Declared => write!(f, "declared: cannot, and says so"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Failed(why) => write!(f, "WRONG: {why}"),
        }
    }
}

/// How all cells went; shown as a table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Which engines.
    pub between: (String, String),
    /// Each cell, how it went and how long it took.
    pub cells: Vec<(&'static str, Verdict, Duration)>,
}

impl Report {
    /// Whether nothing was wrong; not where nothing was played, for want of cells or servers.
    pub fn is_right(&self) -> bool {
        let is_played = |verdict: &Verdict| matches!(verdict, Verdict::Passed | Verdict::Declared);
        let is_wrong = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
        let mut verdicts = self.cells.iter().map(|(_, verdict, _)| verdict);
        verdicts.clone().any(is_played) && !verdicts.any(is_wrong)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} and {}", self.between.0, self.between.1)?;
        for (name, verdict, took) in &self.cells {
            writeln!(f, "  {name:<68} {:>6} ms  {verdict}", took.as_millis())?;
        }
        Ok(())
    }
}

/// Plays all cells between two engines.
pub async fn judge(ours: &Subject, theirs: &Subject, setting: &Setting) -> Report {
    judge_cells(&Cell::all(), ours, theirs, setting).await
}

/// Plays these cells between two engines.
pub async fn judge_cells(
    cells: &[Cell],
    ours: &Subject,
    theirs: &Subject,
    setting: &Setting,
) -> Report {
    let mut report =
        Report { between: (ours.name.clone(), theirs.name.clone()), cells: Vec::new() };
    for cell in cells {
        let began = Instant::now();
        let verdict = cell.play(ours, theirs, setting).await;
        report.cells.push((cell.name, verdict, began.elapsed()));
    }
    report
}
