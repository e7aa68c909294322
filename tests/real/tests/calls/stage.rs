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
    Engine, Failure, Housing, Kind, Log, NoWorld, Pair, Path, Privacy, Scene, Setting,
    SoundEquipment, Sync, Tool, World,
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
    only_by: Option<Engine>,
    with_sound: bool,
}

impl Scenario {
    /// Between clients of all kinds, by each engine, in a plain room at the shared homeserver, over any
    /// way, always.
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
            only_by: None,
            with_sound: false,
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

    /// By this engine of ours only.
    pub(crate) const fn only_by(self, engine: Engine) -> Self {
        Self { only_by: Some(engine), ..self }
    }

    /// Without sound and picture of ours, or with an engine that is not chosen here: once is enough.
    pub(crate) const fn without_engine(self) -> Self {
        self.only_by(Engine::Str0m)
    }

    /// With these programs of ours.
    pub(crate) const fn using(self, tools: &'static [Tool]) -> Self {
        Self { tools, ..self }
    }

    /// With a sound server of its own.
    pub(crate) const fn with_sound(self) -> Self {
        Self { with_sound: true, ..self }
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

/// What of the other engine runs always; all the rest of it with the long tests.
const BY_WEBRTC_ALWAYS: [&str; 8] = [
    "voice::ours_calls_browser",
    "voice::browser_calls_ours",
    "video::ours_calls_browser",
    "relay_by_tls::ours_calls_browser",
    "hold::browser_calls_ours",
    "ice_restart::browser_calls_ours",
    "encrypted_room::browser_calls_ours",
    "three_in_a_mesh",
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

    fn play(&self, name: &str, scenario: Scenario, by: By) -> Result<(), Failed> {
        let By { engine, pair } = by;
        let tools = scenario.tools.iter().try_for_each(|tool| tool.find().map(drop));
        if let Err(missing) = tools.and(pair.0.find()).and_then(|()| pair.1.find()) {
            return skip(missing);
        }
        if scenario.with_sound
            && let Err(missing) = SoundEquipment::find()
        {
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
        let setting = Setting { privacy, path, housing, engine, home };
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

/// Who plays a scenario.
#[derive(Debug, Clone, Copy)]
struct By {
    engine: Engine,
    pair: (Kind, Kind),
}

/// Nobody in particular.
const NOBODY: (Kind, Kind) = (Kind::Browser, Kind::Browser);

/// The tests of all scenarios.
pub(crate) fn trials(stage: &Stage, scenarios: &[&[Scenario]]) -> Vec<Trial> {
    let all = || scenarios.iter().flat_map(|part| part.iter());
    let by = |engine| all().flat_map(move |one| tests_of(stage, *one, engine));
    let trials: Vec<_> = Engine::ALL.into_iter().flat_map(by).collect();
    for name in BY_WEBRTC_ALWAYS {
        let name = name_of(name, Engine::Webrtc);
        let there = |trial: &Trial| trial.name() == name && !trial.has_ignored_flag();
        assert!(trials.iter().any(there), "no test {name} that always runs");
    }
    trials
}

/// Those with the other engine stand apart.
fn name_of(test: &str, engine: Engine) -> String {
    match engine {
        Engine::Str0m => test.to_owned(),
        Engine::Webrtc => format!("{}::{test}", engine.name()),
    }
}

/// The tests of a scenario in which ours have that engine.
fn tests_of(stage: &Stage, scenario: Scenario, engine: Engine) -> Vec<Trial> {
    if scenario.only_by.is_some_and(|only| only != engine) {
        return Vec::new();
    }
    let test = |test: String, pair, length| {
        let (stage, name) = (stage.clone(), name_of(&test, engine));
        let length = match engine {
            Engine::Webrtc if !BY_WEBRTC_ALWAYS.contains(&&*test) => Length::Long,
            Engine::Webrtc | Engine::Str0m => length,
        };
        let long = [length, scenario.length].contains(&Length::Long);
        let (played, by) = (name.clone(), By { engine, pair });
        Trial::test(name, move || stage.play(&played, scenario, by)).with_ignored_flag(long)
    };
    if matches!(scenario.cast, Cast::Scene(_)) {
        return vec![test(scenario.name.to_owned(), NOBODY, Length::Short)];
    }
    PAIRS
        .into_iter()
        .filter(|(caller, callee)| (scenario.fits)(*caller, *callee))
        .filter(|(caller, callee)| {
            // Two browsers have no engine of ours.
            engine == Engine::Str0m || caller.is_ours() || callee.is_ours()
        })
        .map(|pair| {
            let name = format!("{}::{}_calls_{}", scenario.name, pair.0.name(), pair.1.name());
            test(name, pair, length_of(pair))
        })
        .collect()
}
