//! What one test has: its log, and clients that it puts together. New accounts for every test, so
//! that none sees the calls of another.

use std::{
    path::Path as FilePath,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Pending, send},
    coturn::Transport,
    failure::Failure,
    kind::{Engine, Kind},
    log::Log,
    person::Person,
    process::{Process, Seat},
    synapse::{Homeserver, PASSWORD},
    world::World,
};

/// Whether a room is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Events are readable to the homeserver.
    Plain,
    /// Events are encrypted; clients log in with keys.
    Encrypted,
}

/// Which way media may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Any; the homeserver tells of TURN by all transports.
    Any,
    /// Only through the TURN server, which is reached like that.
    Relay(Transport),
}

/// Which browser a client lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Housing {
    /// The one that all tests share.
    Shared,
    /// One for itself, which can be killed.
    Own,
}

/// Where a scene plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting<'a> {
    /// In which kind of rooms.
    pub privacy: Privacy,
    /// Over which way.
    pub path: Path,
    /// In which browser.
    pub housing: Housing,
    /// Which engine those of ours have.
    pub engine: Engine,
    /// At a homeserver of this name for itself; at a shared one without it.
    pub home: Option<&'a str>,
}

/// One test's stage.
#[derive(Debug)]
pub struct Scene<'w> {
    /// The servers.
    pub world: &'w World,
    /// What happens is written here.
    pub log: Arc<Log>,
    homeserver: Arc<Homeserver>,
    privacy: Privacy,
    path: Path,
    housing: Housing,
    engine: Engine,
    cast: Mutex<Vec<Role>>,
}

/// A peer of this scene.
#[derive(Debug)]
struct Role {
    process: Arc<Process>,
    peer: String,
    seat: Arc<Seat>,
    kind: Kind,
}

/// Two clients with a room.
#[derive(Debug)]
pub struct Pair {
    /// Places the call. Made the room.
    pub caller: Client,
    /// Is called.
    pub callee: Client,
    /// The room's id.
    pub room: String,
}

/// No two clients of a run have the same name.
static CLIENTS: AtomicU32 = AtomicU32::new(1);

fn unused(name: &str) -> String {
    format!("{name}-{}", CLIENTS.fetch_add(1, Ordering::Relaxed))
}

fn localpart(client: &Client) -> &str {
    client.user_id.trim_start_matches('@').split(':').next().unwrap_or_default()
}

impl<'w> Scene<'w> {
    /// Opens the stage.
    ///
    /// # Errors
    ///
    /// When the homeserver does not start.
    pub fn open(world: &'w World, log: Arc<Log>, setting: Setting<'_>) -> Result<Self, Failure> {
        let Setting { privacy, path, housing, engine, home } = setting;
        let (transports, ending) = match &path {
            Path::Any => (&Transport::ALL[..], "".to_owned()),
            Path::Relay(transport) => {
                (std::slice::from_ref(transport), format!("-{}", transport.name()))
            }
        };
        let apart = home.map(|name| format!("-{}", name.replace("::", "."))).unwrap_or_default();
        let homeserver = world.homeserver(&format!("synapse{ending}{apart}"), transports)?;
        let cast = Mutex::default();
        Ok(Self { world, log, homeserver, privacy, path, housing, engine, cast })
    }

    /// Whether its rooms are encrypted.
    #[must_use]
    pub fn privacy(&self) -> Privacy {
        self.privacy
    }

    /// The engine of ours.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The homeserver of this scene.
    #[must_use]
    pub fn homeserver(&self) -> &Homeserver {
        &self.homeserver
    }

    /// Alice and bob, logged in and together in a room that alice has made.
    ///
    /// # Errors
    ///
    /// When one of them does not get there.
    pub fn pair(&self, caller: Kind, callee: Kind) -> Result<Pair, Failure> {
        let [caller, callee] = [self.enter("alice", caller)?, self.enter("bob", callee)?];
        let (caller, callee) = (caller.logged_in()?, callee.logged_in()?);
        let room = self.room(&caller, &callee)?;
        Ok(Pair { caller, callee, room })
    }

    /// A client of a new account, not yet in a room.
    ///
    /// # Errors
    ///
    /// When it cannot log in.
    pub fn client(&self, name: &str, kind: Kind) -> Result<Client, Failure> {
        self.enter(name, kind)?.logged_in()
    }

    /// A browser of a new account, not yet in a room, whose microphone hears this file.
    ///
    /// # Errors
    ///
    /// When it cannot log in.
    pub fn browser_that_says(&self, name: &str, file: &FilePath) -> Result<Client, Failure> {
        let peer = unused(name);
        let process = self.world.browser_that_says(&peer, file)?;
        let account = json!({"user": peer, "register": true});
        self.login_at(process, peer, Kind::Browser, account)?.logged_in()
    }

    /// A client of a new account, not yet in a room, with these arguments of `login` too.
    ///
    /// # Errors
    ///
    /// When it cannot log in.
    pub fn client_with(&self, name: &str, kind: Kind, mut args: Value) -> Result<Client, Failure> {
        let peer = unused(name);
        (args["user"], args["register"]) = (peer.clone().into(), true.into());
        self.login(peer, kind, args)?.logged_in()
    }

    /// A person with a new account.
    ///
    /// # Errors
    ///
    /// When the homeserver does not make one.
    pub fn person(&self, name: &str) -> Result<Person<'_>, Failure> {
        Person::new(self, unused(name))
    }

    /// Another device of a person.
    ///
    /// # Errors
    ///
    /// When the homeserver does not let it in.
    pub fn person_again(&self, person: &Person<'_>) -> Result<Person<'_>, Failure> {
        Person::of_account(self, person.name.clone())
    }

    /// The person behind a client.
    ///
    /// # Errors
    ///
    /// When the homeserver does not let in another device.
    pub fn person_of(&self, client: &Client) -> Result<Person<'_>, Failure> {
        Person::of_account(self, localpart(client).to_owned())
    }

    /// A new device of the account of `client`.
    ///
    /// # Errors
    ///
    /// When it cannot log in.
    pub fn another_device(
        &self,
        client: &Client,
        name: &str,
        kind: Kind,
    ) -> Result<Client, Failure> {
        self.login(unused(name), kind, json!({"user": localpart(client)}))?.logged_in()
    }

    /// Clients of new accounts, logged in, in a room that the first has made.
    ///
    /// # Errors
    ///
    /// When one of them does not get there.
    pub fn gathering(&self, kinds: &[Kind]) -> Result<(Vec<Client>, String), Failure> {
        let names = ["ada", "ben", "cleo", "dan", "eva", "finn", "gwen", "hugo"];
        let entering = kinds.iter().zip(names).map(|(kind, name)| self.enter(name, *kind));
        // All at once, and then one after the other is waited for.
        let entering = entering.collect::<Result<Vec<_>, _>>()?;
        let clients = entering.into_iter().map(Entering::logged_in);
        let clients = clients.collect::<Result<Vec<_>, _>>()?;
        let room = self.room_of(&clients.iter().collect::<Vec<_>>())?;
        Ok((clients, room))
    }

    /// A room of the two that `first` makes.
    ///
    /// # Errors
    ///
    /// When one of them does not get into it.
    pub fn room(&self, first: &Client, second: &Client) -> Result<String, Failure> {
        self.room_of(&[first, second])
    }

    /// A room of all of them that the first makes.
    ///
    /// # Errors
    ///
    /// When one of them does not get into it.
    pub fn room_of(&self, clients: &[&Client]) -> Result<String, Failure> {
        let Some((first, others)) = clients.split_first() else {
            return Err(Failure("a room of nobody".to_owned()));
        };
        let encrypted = self.privacy == Privacy::Encrypted;
        let invited: Vec<_> = others.iter().map(|client| &client.user_id).collect();
        let made = first.ask("createRoom", &json!({"invite": invited, "encrypted": encrypted}))?;
        let room = made["roomId"].as_str().unwrap_or_default().to_owned();
        let here = json!({"roomId": room});
        let joins: Vec<_> = others.iter().map(|client| client.send("join", &here)).collect();
        joins.into_iter().try_for_each(|pending| pending.answer().map(drop))?;
        let all = json!({"roomId": room, "count": clients.len()});
        let seen: Vec<_> = clients.iter().map(|client| client.send("members", &all)).collect();
        seen.into_iter().try_for_each(|pending| pending.answer().map(drop))?;
        Ok(room)
    }

    fn enter(&self, name: &str, kind: Kind) -> Result<Entering, Failure> {
        let peer = unused(name);
        let account = json!({"user": peer, "register": true});
        self.login(peer, kind, account)
    }

    fn login(&self, peer: String, kind: Kind, args: Value) -> Result<Entering, Failure> {
        let process = self.world.process(kind, self.engine, self.housing, &peer)?;
        self.login_at(process, peer, kind, args)
    }

    fn login_at(
        &self,
        process: Arc<Process>,
        peer: String,
        kind: Kind,
        mut args: Value,
    ) -> Result<Entering, Failure> {
        let lane = format!("{peer} ({})", kind.name());
        let seat = Arc::new(Seat::new(&lane, Arc::clone(&self.log)));
        process.seat(&peer, &seat);
        let role = Role {
            process: Arc::clone(&process),
            peer: peer.clone(),
            seat: Arc::clone(&seat),
            kind,
        };
        self.cast.lock().unwrap_or_else(PoisonError::into_inner).push(role);
        args["hs"] = self.homeserver.url().into();
        args["password"] = PASSWORD.into();
        args["crypto"] = (self.privacy == Privacy::Encrypted).into();
        args["forceTURN"] = matches!(self.path, Path::Relay(_)).into();
        let pending = send(&process, &peer, &seat, "login", &args);
        Ok(Entering { pending, process, peer, seat, kind })
    }
}

/// A client that is logging in.
struct Entering {
    pending: Pending,
    process: Arc<Process>,
    peer: String,
    seat: Arc<Seat>,
    kind: Kind,
}

impl Entering {
    fn logged_in(self) -> Result<Client, Failure> {
        let Self { pending, process, peer, seat, kind } = self;
        let login = pending.answer()?;
        let text = |field: &str| login[field].as_str().unwrap_or_default().to_owned();
        let (user_id, device_id) = (text("userId"), text("deviceId"));
        Ok(Client { process, peer, seat, kind, user_id, device_id })
    }
}

impl Drop for Scene<'_> {
    /// Everybody leaves, so that the next test has the machine for itself.
    fn drop(&mut self) {
        let cast = self.cast.get_mut().unwrap_or_else(PoisonError::into_inner);
        let closing: Vec<_> = cast
            .iter()
            .filter(|role| role.kind == Kind::Browser && self.housing == Housing::Shared)
            .map(|role| send(&role.process, &role.peer, &role.seat, "close", &json!({})))
            .collect();
        // What cannot be closed ends with the run at the latest.
        closing.into_iter().for_each(|pending| drop(pending.answer()));
        cast.drain(..).for_each(|role| role.process.forget(&role.peer));
    }
}
