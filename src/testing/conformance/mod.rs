//! Is your delegate right? One suite that judges every WebRTC engine.
//!
//! An engine is judged through [`WebRtc`] alone, over real sockets of this machine and in real time,
//! against itself or against another: what is agreed, what is heard, what stays behind. Each
//! [`Cell`] plays a small call and says in a sentence what was wrong with it.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use matrix_voip::{host::{Media, WebRtc}, machine::io::IceServer};
//! # use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_with};
//! # async fn example(my_engine: fn(Arc<dyn Media>) -> Arc<dyn WebRtc>, server: IceServer) {
//! let mine = Subject::new("mine", my_engine).without_tones();
//! let mut setting = Setting::default();
//! setting.relays.udp = Some(server);
//! let cells = Cell::named(&std::env::var("CELL").unwrap_or_default());
//! let report = judge_with(&cells, &mine, &mine, &setting, |one| println!("{one}")).await;
//! println!("{report}");
//! assert!(report.is_right());
//! # }
//! ```
//!
//! # What is judged
//!
//! - What is agreed: offers and answers by plan, pictures and screens that come and go, hold, glare,
//!   rollback, ICE restarts; what both sides then hear and see.
//! - What is sent: mute, other devices, key frames, levels, tones, figures.
//! - Ways: relays by each transport, and that nobody who hides behind one names another address.
//! - Beginning and end: what is cancelled, closed, refused or hostile, forty calls at once, and what a
//!   hundred calls leave behind.
//!
//! [`Cell::all`] is the list. Two engines that are right take about a minute; one that answers nothing
//! takes twice the [patience](Setting::patience) for each cell.
//!
//! # What it needs
//!
//! - **Frames as they are.** The suite gives engines its own [`Media`] and looks for each frame, byte
//!   for byte, at the other side; no codec could decode them. An engine that encodes by itself
//!   cannot be judged.
//! - **Loopback.** Where an engine can be told which interfaces it uses, let it use loopback: then
//!   nothing depends on the network that the machine is in.
//! - **A program of its own** (`tests/conformance.rs`) with one runtime: cells run one after the other,
//!   and those that count tasks, files and memory count those of the whole process.
//! - **Time to compute.** All connections and the suite share one thread in a plain `#[tokio::test]`.
//!   str0m manages unoptimised; if yours fails "40 calls at once" alone, optimise it before you look
//!   for a fault: `[profile.dev.package."*"]` with `opt-level = 2` in the `Cargo.toml` of your
//!   workspace, and the same for your own package by its name.
//! - **TURN servers** ([`Relays`]) for the cells of relays. Without them these are skipped, and a report
//!   with skipped cells can be [right](Report::is_right): read the table, which
//!   `cargo test --test conformance -- --nocapture` shows.

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

/// The longest that a cell may take where each of its steps is in time: the slowest makes a hundred
/// calls.
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
    /// How long anything may take that is to come about, each answer to a request too. Default: 15 s,
    /// more than anybody waits in a call.
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
///
/// That an engine goes by TCP or TLS is seen by this alone, that it gets a relay: so let those servers
/// take no UDP from clients (coturn: `no-udp`).
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

    /// Those whose names hold these words, in letters of either case; all for none.
    ///
    /// # Panics
    ///
    /// When there is none; the names are told.
    pub fn named(words: &str) -> Vec<Self> {
        let words = words.to_lowercase();
        let of_words = |cell: &Self| cell.name.to_lowercase().contains(&words);
        let cells: Vec<_> = Self::all().into_iter().filter(of_words).collect();
        let names =
            || Self::all().iter().map(|cell| format!("\n  {}", cell.name)).collect::<String>();
        assert!(!cells.is_empty(), "no cell is named {words:?}; there are:{}", names());
        cells
    }

    /// What it is about.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Plays it between two engines.
    pub async fn play(&self, ours: &Subject, theirs: &Subject, setting: &Setting) -> Verdict {
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| Stage::new(ours, theirs, setting)));
        let Ok(mut stage) = made else {
            return Verdict::Failed(Failure("an engine panics when it is made".to_owned()));
        };
        let playing = AssertUnwindSafe((self.play)(&mut stage)).catch_unwind();
        let played = timeout(LONGEST, playing).await;
        // Whatever came of it: nothing is left for the next cell to stumble over.
        let news = stage.last_words();
        let cleared = AssertUnwindSafe(stage.clear()).catch_unwind().await;
        let wrong = |why: &str| Verdict::Failed(Failure(format!("{why} ({news})")));
        match played {
            Ok(Ok(Ok(_))) if cleared.is_err() => wrong("it panics when all is closed"),
            Ok(Ok(Ok(Played::Passed))) => Verdict::Passed,
            Ok(Ok(Ok(Played::Declared))) => Verdict::Declared,
            Ok(Ok(Ok(Played::Skipped(why)))) => Verdict::Skipped(why),
            Ok(Ok(Err(Failure(why)))) => wrong(&why),
            Ok(Err(_)) => wrong("it panics"),
            Err(_) => wrong("it never ends"),
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
#[must_use]
#[non_exhaustive]
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

/// A cell that was played; shown as a line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judged {
    /// What the cell is about.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<68} {:>6} ms  {}", self.name, self.took.as_millis(), self.verdict)
    }
}

/// How all cells went; shown as a table of those that were wrong or skipped, and their numbers.
#[derive(Debug, Clone)]
#[must_use]
#[non_exhaustive]
pub struct Report {
    /// Which engines.
    pub between: (String, String),
    /// Each cell.
    pub cells: Vec<Judged>,
}

impl Report {
    /// Whether nothing was wrong; not where nothing was played, for want of cells or servers.
    pub fn is_right(&self) -> bool {
        let is_played = |one: &Judged| matches!(one.verdict, Verdict::Passed | Verdict::Declared);
        self.cells.iter().any(is_played) && !self.cells.iter().any(Judged::is_wrong)
    }
}

impl Judged {
    fn is_wrong(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    fn is_skipped(&self) -> bool {
        matches!(self.verdict, Verdict::Skipped(_))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Judged) -> bool| self.cells.iter().filter(|one| is(one)).count();
        writeln!(f, "{} and {}", self.between.0, self.between.1)?;
        for one in self.cells.iter().filter(|one| one.is_wrong() || one.is_skipped()) {
            writeln!(f, "{one}")?;
        }
        let (wrong, skipped) = (count(Judged::is_wrong), count(Judged::is_skipped));
        write!(f, "{wrong} of {} wrong, {skipped} skipped", self.cells.len())
    }
}

/// Plays all cells between two engines.
pub async fn judge(ours: &Subject, theirs: &Subject, setting: &Setting) -> Report {
    judge_with(&Cell::all(), ours, theirs, setting, |_| ()).await
}

/// Plays these cells between two engines, and says how each went as soon as it is over.
pub async fn judge_with(
    cells: &[Cell],
    ours: &Subject,
    theirs: &Subject,
    setting: &Setting,
    mut on_verdict: impl FnMut(&Judged),
) -> Report {
    let mut report =
        Report { between: (ours.name.clone(), theirs.name.clone()), cells: Vec::new() };
    for cell in cells {
        let began = Instant::now();
        let verdict = cell.play(ours, theirs, setting).await;
        let judged = Judged { name: cell.name, verdict, took: began.elapsed() };
        on_verdict(&judged);
        report.cells.push(judged);
    }
    report
}
