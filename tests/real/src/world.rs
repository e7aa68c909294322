//! The servers of one test run, and the browser that most of its clients live in.

use std::{
    collections::HashMap,
    io::Write,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use crate::{
    certificate::Certificate,
    coturn::{Coturn, Transport},
    equipment::Equipment,
    failure::{Context, Failure, Missing},
    house::House,
    kind::{Engine, Kind, Tool, serve},
    process::Process,
    scene::Housing,
    synapse::Homeserver,
};

/// Why there is no world.
#[derive(Debug, Clone)]
pub enum NoWorld {
    /// This machine lacks something: skip.
    Missing(Missing),
    /// Something is there and does not work: fail.
    Broken(Failure),
}

impl From<Missing> for NoWorld {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<Failure> for NoWorld {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure)
    }
}

type Started = Arc<OnceLock<Result<Arc<Homeserver>, Failure>>>;

/// Everything that the tests of one run share. Dropped in the order of its fields: the house last.
#[derive(Debug)]
pub struct World {
    /// Started when a client is to live in it.
    browser: OnceLock<Result<Arc<Process>, Failure>>,
    homeservers: Mutex<HashMap<String, Started>>,
    /// The TURN server.
    pub coturn: Coturn,
    /// What the TURN server shows to clients.
    pub certificate: Certificate,
    equipment: Equipment,
    /// The network and the logs.
    pub house: House,
}

impl World {
    /// Starts the TURN server; homeservers and the browser come when they are asked for.
    ///
    /// # Errors
    ///
    /// What is missing, or does not start.
    pub fn start() -> Result<Self, NoWorld> {
        let equipment = Equipment::find()?;
        let house = House::build()?;
        if let Some(why) = house.shares_network() {
            // Not a reason to skip: but ports are shared, and browsers have more addresses.
            writeln!(std::io::stderr(), "tests/real: no network of its own: {why}")
                .context("printing")?;
        }
        let certificate = Certificate::issue(&house.folder().join("certificate"))?;
        let coturn = Coturn::start(&house, &equipment.turnserver, &certificate)?;
        let (browser, homeservers) = (OnceLock::new(), Mutex::default());
        Ok(Self { browser, homeservers, coturn, certificate, equipment, house })
    }

    /// The homeserver of that name, which tells its clients of these ways to the TURN server. It is
    /// started when it is first asked for.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn homeserver(&self, name: &str, turn: &[Transport]) -> Result<Arc<Homeserver>, Failure> {
        let started = {
            let mut all = self.homeservers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(name.to_owned()).or_default())
        };
        let start = || {
            Homeserver::start(&self.house, &self.equipment, name, &self.coturn.turn(turn))
                .map(Arc::new)
        };
        started.get_or_init(start).clone()
    }

    /// A process for a client of that kind: the browser that all share, or one of its own; ours has
    /// that engine.
    pub(crate) fn process(
        &self,
        kind: Kind,
        engine: Engine,
        housing: Housing,
        name: &str,
    ) -> Result<Arc<Process>, Failure> {
        let own = match (kind, housing) {
            (Kind::Browser, Housing::Shared) => return self.shared_browser(),
            (Kind::Browser, Housing::Own) => self.browser(name),
            (Kind::Ours(sync), _) => {
                let caller = Tool::Caller.find().map_err(|missing| Failure(missing.to_string()))?;
                let command = serve(&self.house, &caller, (sync, engine), &self.certificate.root);
                start(&self.house, name, command)
            }
        };
        own.map(Arc::new)
    }

    /// A browser of its own, whose microphone hears this file again and again.
    pub(crate) fn browser_that_says(
        &self,
        name: &str,
        file: &Path,
    ) -> Result<Arc<Process>, Failure> {
        let mut command = self.browser_command();
        command.env("REAL_SPEECH", file);
        start(&self.house, name, command).map(Arc::new)
    }

    fn shared_browser(&self) -> Result<Arc<Process>, Failure> {
        self.browser.get_or_init(|| self.browser("browser").map(Arc::new)).clone()
    }

    fn browser(&self, name: &str) -> Result<Process, Failure> {
        start(&self.house, name, self.browser_command())
    }

    fn browser_command(&self) -> Command {
        let Equipment { node, modules, chromium, .. } = &self.equipment;
        let mut command = self.house.command(node);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser-peer/peer.mjs"));
        command.env("REAL_MODULES", modules).env("REAL_CHROMIUM", chromium);
        command.env("REAL_TRUSTED_KEY", &self.certificate.fingerprint);
        command
    }
}

fn start(house: &House, name: &str, command: Command) -> Result<Process, Failure> {
    Process::start(name, command, &house.folder().join(format!("{name}.stderr")))
}
