//! A person with an account, who runs our programs: each has a data folder of its own. What a person
//! does elsewhere (making rooms, joining them) is done by requests, as another device.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    equipment::which,
    failure::{Context, Failure, Missing},
    http::Request,
    kind::Tool,
    pulse,
    scene::{Privacy, Scene},
    synapse::PASSWORD,
    terminal::{Running, Said, in_terminal},
};

/// How long a program may take that does not wait for anybody: five times what it should.
const PATIENCE: Duration = Duration::from_secs(40);

/// A person.
#[derive(Debug)]
pub struct Person<'s> {
    scene: &'s Scene<'s>,
    /// The localpart, and the name in the log.
    pub name: String,
    /// `@localpart:server`.
    pub user_id: String,
    /// Of another device, which is no party to any call.
    pub token: String,
    /// The device of the token.
    pub device_id: String,
    folder: PathBuf,
    /// Where the sound server is, of a person who has one.
    sound: Option<PathBuf>,
}

impl<'s> Person<'s> {
    /// A new account.
    pub(crate) fn new(scene: &'s Scene<'s>, name: String) -> Result<Self, Failure> {
        scene.homeserver().register(&name)?;
        Self::of_account(scene, name)
    }

    /// The owner of an account that exists.
    pub(crate) fn of_account(scene: &'s Scene<'s>, name: String) -> Result<Self, Failure> {
        let folder = scene.world.house.scratch().join(format!("home-{name}"));
        fs::create_dir_all(&folder).context(format_args!("making {}", folder.display()))?;
        let login = json!({
            "type": "m.login.password", "password": PASSWORD,
            "identifier": {"type": "m.id.user", "user": name},
        });
        let path = "/_matrix/client/v3/login";
        let request = Request { method: "POST", path, token: None, body: Some(&login) };
        let answer = scene.homeserver().ask(request)?;
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        let (user_id, token, device_id) =
            (text("user_id"), text("access_token"), text("device_id"));
        Ok(Self { scene, name, user_id, token, device_id, folder, sound: None })
    }

    /// A folder for what this person brings and keeps.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Our programs find the sound server of this folder from now on, or none if there is none in it.
    pub fn finds_sound_in(&mut self, folder: &Path) {
        self.sound = Some(folder.to_owned());
    }

    /// What our programs keep of logins in the data folder: files and folders of the third level,
    /// sorted, and empty ones above. Nothing when there is no login.
    #[must_use]
    pub fn kept(&self) -> Vec<PathBuf> {
        let data = self.folder.join("data");
        let mut kept = leaves(&data, 3);
        kept.retain(|path| *path != data);
        let names = kept.iter().filter_map(|path| path.strip_prefix(&data).ok());
        names.map(Path::to_owned).collect()
    }

    /// Starts one of our programs.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn start(&self, tool: Tool, arguments: &[&str]) -> Result<Running, Failure> {
        let mut command = self.command(&found(tool.find())?);
        command.args(arguments);
        if tool == Tool::Caller {
            command.args(self.engine_for(arguments));
        }
        let what = match tool {
            Tool::Caller => arguments.first().unwrap_or(&"caller"),
            Tool::Example(name) => name,
        };
        self.begin(what, command)
    }

    /// Starts our caller at a terminal.
    ///
    /// # Errors
    ///
    /// When it, or `script`, is not there.
    pub fn start_at_terminal(&self, arguments: &[&str]) -> Result<Running, Failure> {
        let script = which("script").ok_or_else(|| Failure("there is no `script`".to_owned()))?;
        let arguments = [arguments, self.engine_for(arguments)].concat();
        let line = in_terminal(&found(Tool::Caller.find())?, &arguments);
        let mut command = self.command(&script);
        command.env("SHELL", "/bin/sh").args(["-qefc", &line, "/dev/null"]);
        self.begin("terminal", command)
    }

    /// Runs our caller to its end, with these lines typed.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn run(&self, arguments: &[&str], typed: &str) -> Result<Said, Failure> {
        let mut running = self.start(Tool::Caller, arguments)?;
        // A program that reads nothing may have ended already.
        let _ = running.types(typed);
        running.ends(PATIENCE)
    }

    /// Logs in with the password.
    ///
    /// # Errors
    ///
    /// What the program says.
    pub fn log_in(&self) -> Result<(), Failure> {
        let homeserver = self.scene.homeserver().url();
        let login = ["login", &self.user_id, "--homeserver", &homeserver];
        let said = self.run(&login, &format!("{PASSWORD}\n"))?;
        match said.code {
            Some(0) => Ok(()),
            _ => Err(Failure(format!("{}: login: {:?}", self.name, said.err))),
        }
    }

    /// Makes a room with others, who are invited; its id.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn make_room(&self, name: &str, others: &[&str]) -> Result<String, Failure> {
        self.make_room_like(name, others, &json!({}))
    }

    /// The same, with these fields of the request added, or in place of the usual ones.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn make_room_like(
        &self,
        name: &str,
        others: &[&str],
        fields: &Value,
    ) -> Result<String, Failure> {
        let algorithm = json!({"algorithm": "m.megolm.v1.aes-sha2"});
        let encryption =
            json!({"type": "m.room.encryption", "state_key": "", "content": algorithm});
        let encrypted = self.scene.privacy() == Privacy::Encrypted;
        let mut wish = json!({
            "name": name, "invite": others, "is_direct": true, "preset": "trusted_private_chat",
            "initial_state": if encrypted { vec![encryption] } else { Vec::new() },
        });
        for (field, value) in fields.as_object().into_iter().flatten() {
            wish[field] = value.clone();
        }
        let room = self.ask("POST", "createRoom", Some(&wish))?;
        Ok(room["room_id"].as_str().unwrap_or_default().to_owned())
    }

    /// Joins a room.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn join(&self, room: &str) -> Result<(), Failure> {
        self.ask("POST", &format!("join/{room}"), Some(&json!({}))).map(drop)
    }

    /// What the homeserver has of a room: the last 100 events, newest first.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn room_events(&self, room: &str) -> Result<Vec<Value>, Failure> {
        let answer = self.ask("GET", &format!("rooms/{room}/messages?dir=b&limit=100"), None)?;
        Ok(answer["chunk"].as_array().cloned().unwrap_or_default())
    }

    /// The ids of all devices of this person, sorted.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn devices(&self) -> Result<Vec<String>, Failure> {
        let answer = self.ask("GET", "devices", None)?;
        let devices = answer["devices"].as_array().into_iter().flatten();
        let ids = devices.map(|device| device["device_id"].as_str().unwrap_or_default().to_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        Ok(ids)
    }

    /// All devices are logged out, this one too.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn log_out_everywhere(&self) -> Result<(), Failure> {
        self.ask("POST", "logout/all", Some(&json!({}))).map(drop)
    }

    /// Asks the homeserver something as this person: `path` is what follows `/_matrix/client/v3/`,
    /// encoded.
    ///
    /// # Errors
    ///
    /// What the homeserver says.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let path = format!("/_matrix/client/v3/{path}");
        let token = Some(self.token.as_str());
        self.scene.homeserver().ask(Request { method, path: &path, token, body })
    }

    /// What our caller is given beside that, so that it has the engine of this scene.
    fn engine_for(&self, arguments: &[&str]) -> &'static [&'static str] {
        self.scene.engine().arguments(arguments.first().copied())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = self.scene.world.house.command(program);
        command.env("XDG_DATA_HOME", self.folder.join("data")).current_dir(&self.folder);
        if let Some(folder) = &self.sound {
            pulse::at_home(&mut command, folder);
        }
        command
    }

    fn begin(&self, what: &str, command: Command) -> Result<Running, Failure> {
        let lane = format!("{} ({what})", self.name);
        Running::start(&lane, command, &Arc::clone(&self.scene.log))
    }
}

fn leaves(folder: &Path, depth: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut inside: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    inside.sort();
    if depth == 0 || inside.is_empty() {
        return vec![folder.to_owned()];
    }
    inside.iter().flat_map(|path| leaves(path, depth - 1)).collect()
}

fn found(tool: Result<PathBuf, Missing>) -> Result<PathBuf, Failure> {
    tool.map_err(|missing| Failure(missing.to_string()))
}
