//! A token service of a LiveKit SFU, as lk-jwt-service 0.5 behaves (`livekit-proven.md` §6): it asks
//! the homeserver whose an OpenID token is, and gives a token for the SFU. It makes no rooms there:
//! the SFU has to (`room.auto_create`).
//!
//! The program `token_service` is the service; [`TokenService`] starts it beside a homeserver.

mod desk;
mod grant;
mod names;
mod server;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    grant::SfuKey,
    names::{identity, room_name},
    server::{Setup, serve},
};
use crate::{
    door::Door,
    failure::Failure,
    house::House,
    kind::beside_tests,
    program::{Program, Ready},
    synapse::Homeserver,
};

/// How long it may be silent while it starts. It takes 10 ms.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it says when it listens.
const LISTENS: &str = "the token service listens";

/// A running token service.
#[derive(Debug)]
pub struct TokenService {
    _program: Program,
    door: Door,
    port: u16,
}

impl TokenService {
    /// Starts one that believes this homeserver and gives tokens for the SFU at `sfu` (`ws://…`),
    /// which has that key.
    ///
    /// # Errors
    ///
    /// When it is not built or does not start.
    pub fn start(
        house: &House,
        homeserver: &Homeserver,
        sfu: &str,
        key: &SfuKey,
    ) -> Result<Self, Failure> {
        let port = house.port()?;
        let name = format!("tokens-{port}");
        let socket = house.scratch().join(&name);
        let mut command = house.command(&program()?);
        command.args([&port.to_string(), &homeserver.url(), sfu, &key.name, &key.secret]);
        command.arg(&socket);
        let log = house.folder().join(format!("{name}.log"));
        let ready = Ready { words: &[LISTENS], patience: PATIENCE };
        let program = Program::start("the token service", command, &log, ready)?;
        Ok(Self { _program: program, door: Door::to(socket)?, port })
    }

    /// Where clients in the run's network find it: `livekit_service_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the tests find it, who are outside of that network.
    #[must_use]
    pub fn url_from_outside(&self) -> String {
        self.door.url()
    }
}

fn program() -> Result<PathBuf, Failure> {
    let program = beside_tests("token_service");
    let missing = || Failure("the token service is not built: cargo build -p real".to_owned());
    program.filter(|program: &PathBuf| Path::is_file(program)).ok_or_else(missing)
}
