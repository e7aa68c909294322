//! Makes tests out of scenarios, and plays them: the servers are started for the first that wants
//! them, what is missing skips, a failure names its log.

use std::{
    any::Any,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Failed, Trial};
use real::{
    Failure, Housing, Kind, Log, NoWorld, Pair, Path, Privacy, Scene, Setting, Sync, Tool, World,
};

use crate::floor::{Effort, Floor};

/// Shared by all tests of the run.
#[derive(Clone)]
pub(crate) struct Stage(Arc<Shared>);

struct Shared {
    world: OnceLock<Result<World, NoWorld>>,
    floor: Floor,
}

/// When a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Always.
    Short,
    /// With `tests/run --long`.
    Long,
}

/// Who plays in a scenario.
#[derive(Clone, Copy)]
pub(crate) enum Cast {
    /// Whom it wants.
    Scene(fn(&Scene) -> Result<(), Failure>),
    /// Two clients in a room.
    Pair(fn(&Scene, Pair) -> Result<(), Failure>),
}

/// One thing that happens between two people.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    name: &'static str,
    cast: Cast,
    fits: fn(Kind, Kind) -> bool,
    tools: &'static [Tool],
    privacy: Privacy,
    path: Path,
    housing: Housing,
    own_homeserver: bool,
    effort: Effort,
    length: Length,
}

impl Scenario {
    /// Between clients of all kinds, in a plain room at the shared homeserver, over any way, always.
    pub(crate) const fn new(name: &'static str, cast: Cast) -> Self {
        Self {
            name,
            cast,
            fits: |_, _| true,
            tools: &[],
            privacy: Privacy::Plain,
            path: Path::Any,
            housing: Housing::Shared,
            own_homeserver: false,
            effort: Effort::Work,
            length: Length::Short,
        }
    }

    /// Over that way.
    pub(crate) const fn by(self, path: Path) -> Self {
        Self { path, ..self }
    }

    /// In that kind of room.
    pub(crate) const fn within(self, privacy: Privacy) -> Self {
        Self { privacy, ..self }
    }

    /// Using the machine like that.
    pub(crate) const fn with(self, effort: Effort) -> Self {
        Self { effort, ..self }
    }

    /// With the long tests only.
    pub(crate) const fn long(self) -> Self {
        Self { length: Length::Long, ..self }
    }

    /// Between such callers and callees only.
    pub(crate) const fn only(self, fits: fn(Kind, Kind) -> bool) -> Self {
        Self { fits, ..self }
    }

    /// With these programs of ours.
    pub(crate) const fn using(self, tools: &'static [Tool]) -> Self {
        Self { tools, ..self }
    }

    /// In browsers that can be killed.
    pub(crate) const fn in_own_browsers(self) -> Self {
        Self { housing: Housing::Own, ..self }
    }

    /// At a homeserver that nobody else uses.
    pub(crate) const fn at_home(self) -> Self {
        Self { own_homeserver: true, ..self }
    }
}

/// Our client, in the way that most applications sync.
pub(crate) const OURS: Kind = Kind::Ours(Sync::Classic);
/// The same, by sliding sync.
pub(crate) const SLIDING: Kind = Kind::Ours(Sync::Sliding);

/// Who calls whom.
pub(crate) const PAIRS: [(Kind, Kind); 5] = [
    (Kind::Browser, Kind::Browser),
    (OURS, Kind::Browser),
    (Kind::Browser, OURS),
    (OURS, OURS),
    (SLIDING, SLIDING),
];

/// Two browsers show that the tests themselves are right, and the other kind of sync is for our side
/// alone to get right: with the long tests.
fn length_of(pair: (Kind, Kind)) -> Length {
    match pair {
        (Kind::Browser, Kind::Browser) | (SLIDING, SLIDING) => Length::Long,
        _ => Length::Short,
    }
}

impl Stage {
    /// Nothing runs yet.
    pub(crate) fn new(floor: Floor) -> Self {
        Self(Arc::new(Shared { world: OnceLock::new(), floor }))
    }

    fn play(&self, name: &str, scenario: Scenario, pair: (Kind, Kind)) -> Result<(), Failed> {
        let tools = scenario.tools.iter().try_for_each(|tool| tool.find().map(drop));
        if let Err(missing) = tools.and(pair.0.find()).and_then(|()| pair.1.find()) {
            return skip(missing);
        }
        let _turn = self.0.floor.turn(scenario.effort);
        let world = match self.0.world.get_or_init(World::start) {
            Ok(world) => world,
            Err(NoWorld::Missing(missing)) => return skip(missing),
            Err(NoWorld::Broken(failure)) => return Err(failure.into()),
        };
        let log = Arc::new(Log::open(world.house.folder(), name)?);
        let home = scenario.own_homeserver.then_some(name);
        let Scenario { privacy, path, housing, .. } = scenario;
        let setting = Setting { privacy, path, housing, home };
        let played = catch_unwind(AssertUnwindSafe(|| {
            let scene = Scene::open(world, Arc::clone(&log), setting)?;
            match scenario.cast {
                Cast::Scene(play) => play(&scene),
                Cast::Pair(play) => play(&scene, scene.pair(pair.0, pair.1)?),
            }
        }));
        let path = log.path().display();
        let failed = match played {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure.0,
            Err(panic) => panic_message(&*panic),
        };
        log.note(&format!("failed: {failed}"));
        Err(format!("{failed}\nwhat happened: {path}").into())
    }
}

/// What `panic!` was given; its place is on standard error.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked: see above".to_owned())
}

/// As CONTRIBUTING.md says: `tests/run` counts such lines.
fn skip(why: impl std::fmt::Display) -> Result<(), Failed> {
    writeln!(std::io::stderr(), "skipped: {why}")?;
    Ok(())
}

/// The tests of all scenarios.
pub(crate) fn trials(stage: &Stage, scenarios: &[&[Scenario]]) -> Vec<Trial> {
    scenarios.iter().flat_map(|part| part.iter()).flat_map(|one| tests_of(stage, *one)).collect()
}

fn tests_of(stage: &Stage, scenario: Scenario) -> Vec<Trial> {
    let test = |name: String, pair, length| {
        let stage = stage.clone();
        let played = name.clone();
        let long = [length, scenario.length].contains(&Length::Long);
        Trial::test(name, move || stage.play(&played, scenario, pair)).with_ignored_flag(long)
    };
    if matches!(scenario.cast, Cast::Scene(_)) {
        let nobody = (Kind::Browser, Kind::Browser);
        return vec![test(scenario.name.to_owned(), nobody, Length::Short)];
    }
    PAIRS
        .into_iter()
        .filter(|(caller, callee)| (scenario.fits)(*caller, *callee))
        .map(|pair| {
            let name = format!("{}::{}_calls_{}", scenario.name, pair.0.name(), pair.1.name());
            test(name, pair, length_of(pair))
        })
        .collect()
}
