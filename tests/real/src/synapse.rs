//! A homeserver: Synapse with an empty SQLite database, open registration, no rate limits, and the
//! TURN addresses that it is told to give out. It can be stopped and started again in a test.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    equipment::Equipment,
    failure::{Context, Failure},
    house::House,
    http::{self, Request},
    program::{Program, Ready},
};

/// How long Synapse may be silent while it starts. It takes 3 to 6 s on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it says when it listens, at its port and at its socket.
const LISTENS: [&str; 2] = ["now listening on TCP port", "now listening on Unix Socket"];

/// The password of all accounts.
pub const PASSWORD: &str = "real-password";

/// What clients are told of TURN.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Addresses of servers; none: no TURN.
    pub uris: Vec<String>,
    /// What the server knows credentials by.
    pub secret: String,
}

/// A homeserver, running or stopped.
#[derive(Debug)]
pub struct Homeserver {
    python: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
    port: u16,
    program: Mutex<Option<Program>>,
}

impl Homeserver {
    /// Makes its folder and starts it.
    pub(crate) fn start(
        house: &House,
        equipment: &Equipment,
        name: &str,
        turn: &Turn,
    ) -> Result<Self, Failure> {
        let homeserver = Self {
            python: equipment.python.clone(),
            folder: house.folder().join(name),
            socket: house.scratch().join(name),
            port: house.port()?,
            program: Mutex::new(None),
        };
        fs::create_dir_all(homeserver.folder.join("media")).context("making Synapse's folder")?;
        homeserver.write("log.yaml", &logging().to_string())?;
        homeserver.write("signing.key", SIGNING_KEY)?;
        homeserver.configure(turn)?;
        homeserver.start_again(house)?;
        Ok(homeserver)
    }

    /// What it tells its clients of TURN when it is started the next time.
    ///
    /// # Errors
    ///
    /// When its folder cannot be written.
    pub fn configure(&self, turn: &Turn) -> Result<(), Failure> {
        self.write("homeserver.yaml", &self.configuration(turn).to_string())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        fs::write(self.folder.join(name), text).context("writing Synapse's configuration")
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stops it as a power cut does.
    pub fn stop(&self) {
        drop(self.program.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts it with the data and the port that it had.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_again(&self, house: &House) -> Result<(), Failure> {
        for left in [self.socket.clone(), self.socket.with_extension("lock")] {
            // Mostly it is not there.
            let _ = fs::remove_file(left);
        }
        let mut command = house.command(&self.python);
        command.args(["-m", "synapse.app.homeserver", "-c"]);
        command.arg(self.folder.join("homeserver.yaml")).current_dir(&self.folder);
        let ready = Ready { words: &LISTENS, patience: PATIENCE };
        let program = Program::start("Synapse", command, &self.log(), ready)?;
        *self.program.lock().unwrap_or_else(PoisonError::into_inner) = Some(program);
        Ok(())
    }

    /// Asks it something, from outside of its network.
    ///
    /// # Errors
    ///
    /// When it does not answer, or with another status than 200.
    pub(crate) fn ask(&self, request: Request<'_>) -> Result<Value, Failure> {
        http::ask(&self.socket, request)
    }

    /// Makes an account with [`PASSWORD`] and without a device.
    ///
    /// # Errors
    ///
    /// When it exists, or the homeserver does not answer.
    pub fn register(&self, user: &str) -> Result<(), Failure> {
        let body = json!({
            "username": user, "password": PASSWORD, "inhibit_login": true,
            "auth": {"type": "m.login.dummy"},
        });
        let path = "/_matrix/client/v3/register";
        self.ask(Request { method: "POST", path, token: None, body: Some(&body) }).map(drop)
    }

    fn log(&self) -> PathBuf {
        self.folder.with_added_extension("log")
    }

    fn configuration(&self, turn: &Turn) -> Value {
        let file = |name: &str| self.folder.join(name);
        let mut all = json!({
            "server_name": "localhost",
            "public_baseurl": format!("{}/", self.url()),
            "pid_file": file("pid"),
            "signing_key_path": file("signing.key"),
            "media_store_path": file("media"),
            "log_config": file("log.yaml"),
            "report_stats": false,
            "listeners": listeners(self.port, &self.socket),
            "database": {"name": "sqlite3", "args": {"database": file("homeserver.db")}},
            "registration_shared_secret": "real-registration",
            "macaroon_secret_key": "real-macaroon",
            "form_secret": "real-form",
            "turn_uris": turn.uris,
            "turn_shared_secret": turn.secret,
            "turn_user_lifetime": "1h",
        });
        let all_of = |part: Value| part.as_object().cloned().unwrap_or_default();
        let more = all_of(features()).into_iter().chain(unlimited());
        if let Some(all) = all.as_object_mut() {
            all.extend(more);
        }
        all
    }
}

/// The port for peers, the socket for us.
fn listeners(port: u16, socket: &Path) -> Value {
    let resources = json!([{"names": ["client", "openid"]}]);
    json!([
        {"type": "http", "tls": false, "port": port, "bind_addresses": ["127.0.0.1"],
         "resources": resources},
        {"type": "http", "path": socket, "resources": resources},
    ])
}

fn features() -> Value {
    json!({
        // Nothing leaves the machine.
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        "federation_domain_whitelist": [],
        "url_preview_enabled": false,
        "presence": {"enabled": false},
        "serve_server_wellknown": false,
        // Otherwise a device that logs in again is told old syncs, and rings for calls long over.
        "caches": {"sync_response_cache_duration": "0s"},
        "enable_registration": true,
        "enable_registration_without_verification": true,
        "bcrypt_rounds": 4,
        // Delayed events.
        "max_event_delay_duration": "24h",
        "experimental_features": {
            "msc4140_max_delayed_events_per_user": 100,
            "msc4222_enabled": true,
        },
    })
}

/// Every rate limit, so high that nobody meets it.
fn unlimited() -> Map<String, Value> {
    let rate = json!({"per_second": 10000, "burst_count": 10000});
    let each = |names: &[&str]| -> Value {
        names.iter().map(|name| ((*name).to_owned(), rate.clone())).collect::<Map<_, _>>().into()
    };
    let plain = [
        "rc_message",
        "rc_registration",
        "rc_registration_token_validity",
        "rc_joins_per_room",
        "rc_key_requests",
        "rc_delayed_event_mgmt",
        "rc_room_creation",
        "rc_media_create",
        "rc_user_directory",
        "rc_profile",
    ];
    let nested = [
        ("rc_login", each(&["address", "account", "failed_attempts"])),
        ("rc_joins", each(&["local", "remote"])),
        ("rc_invites", each(&["per_room", "per_user", "per_issuer"])),
        ("rc_presence", each(&["per_user"])),
    ];
    let nested = nested.into_iter().map(|(name, limits)| (name.to_owned(), limits));
    plain.into_iter().map(|name| (name.to_owned(), rate.clone())).chain(nested).collect()
}

fn logging() -> Value {
    json!({
        "version": 1,
        // Those that exist when this is read are Synapse's own.
        "disable_existing_loggers": false,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"out": {
            "class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stdout",
        }},
        "root": {"level": "INFO", "handlers": ["out"]},
    })
}

/// Signs events of a server that speaks to no other. Any 32 bytes do.
const SIGNING_KEY: &str = "ed25519 a_real AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
