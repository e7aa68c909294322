//! A process that speaks the peer protocol (PROTOCOL.md): lines out to its standard input, lines in
//! from its standard output, each given to the seat of the peer that it is about.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    failure::{Context, Failure},
    log::{Log, Way},
};

/// How long a process may take to end after it was asked to: the protocol's 10 s, and some.
const FAREWELL: Duration = Duration::from_secs(12);

/// What one peer of a process has said, and the log that it goes to.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: String,
    log: Arc<Log>,
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Heard {
    answers: HashMap<u64, Value>,
    /// All events, in order.
    pub(crate) events: Vec<Value>,
    /// Set when the process has ended: nothing more will come.
    gone: Option<String>,
}

impl Seat {
    pub(crate) fn new(lane: &str, log: Arc<Log>) -> Self {
        let heard = Mutex::new(Heard::default());
        Self { lane: lane.to_owned(), log, heard, changed: Condvar::new() }
    }

    /// Waits until `look` finds what it looks for among all that was heard. `Err` when time is up
    /// (`None`) or the process has ended (its last words).
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&mut Heard) -> Option<T>,
    ) -> Result<T, Option<String>> {
        let mut found = None;
        let heard = self.heard();
        let waited = self.changed.wait_timeout_while(heard, patience, |heard| {
            found = look(heard);
            found.is_none() && heard.gone.is_none()
        });
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        found.ok_or_else(|| heard.gone.clone())
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, line: Value) {
        self.log.line(&self.lane, Way::FromPeer, &line);
        let mut heard = self.heard();
        match line["id"].as_u64() {
            Some(id) => drop(heard.answers.insert(id, line)),
            None => heard.events.push(line),
        }
        self.changed.notify_all();
    }

    fn lose(&self, why: &str) {
        self.log.note(why);
        self.heard().gone = Some(why.to_owned());
        self.changed.notify_all();
    }
}

type Seats = Arc<Mutex<HashMap<String, Arc<Seat>>>>;

/// A running process of peers.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    seats: Seats,
    /// Its standard error.
    errors: PathBuf,
    /// Closed when the process has closed its output.
    ended: Mutex<Receiver<()>>,
}

/// Ids of requests are never used twice, in no process.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Process {
    /// Starts the command. Its standard error goes to the file `errors`.
    pub(crate) fn start(name: &str, mut command: Command, errors: &Path) -> Result<Self, Failure> {
        let file = File::create(errors).context(format_args!("writing {}", errors.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().context(format_args!("starting {name}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let seats = Seats::default();
        let (ends, ended) = mpsc::channel();
        let why = format!("{name} has ended; what it said to the end: {}", errors.display());
        let listeners = Arc::clone(&seats);
        thread::spawn(move || {
            stdout.into_iter().for_each(|stdout| listen(stdout, &listeners));
            locked(&listeners).drain().for_each(|(_, seat)| seat.lose(&why));
            drop(ends);
        });
        let (child, stdin) = (Mutex::new(child), Mutex::new(stdin));
        let errors = errors.to_owned();
        Ok(Self { child, stdin, seats, errors, ended: Mutex::new(ended) })
    }

    /// Lines about `peer` go to `seat` from now on.
    pub(crate) fn seat(&self, peer: &str, seat: &Arc<Seat>) {
        locked(&self.seats).insert(peer.to_owned(), Arc::clone(seat));
    }

    /// Nobody listens to `peer` any more.
    pub(crate) fn forget(&self, peer: &str) {
        locked(&self.seats).remove(peer);
    }

    /// Writes a request and returns its id; what becomes of it shows in the answer.
    pub(crate) fn request(&self, peer: &str, seat: &Seat, cmd: &str, args: &Value) -> u64 {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let line = json!({"id": id, "peer": peer, "cmd": cmd, "args": args});
        seat.log.line(&seat.lane, Way::ToPeer, &line);
        if let Some(stdin) = locked(&self.stdin).as_mut() {
            // When the process has ended, its seats are told so by who reads its output.
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush());
        }
        id
    }

    /// What it has said on standard error.
    pub(crate) fn complaints(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.errors).context(format_args!("reading {}", self.errors.display()))
    }

    /// Its number. What is started for a network of its own becomes the program itself.
    pub(crate) fn id(&self) -> u32 {
        locked(&self.child).id()
    }

    /// Ends it and what it has started as a crash does, all at once.
    pub(crate) fn kill_family(&self) -> Result<(), Failure> {
        let family: Vec<String> = family(self.id()).iter().map(u32::to_string).collect();
        let status = Command::new("kill").arg("-KILL").args(family).status();
        status.context("starting kill").map(drop)
    }

    fn kill(&self) {
        let mut child = locked(&self.child);
        // An error means that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A process and all that descend from it. Its group would not do: Playwright gives the browser a
/// group of its own.
fn family(process: u32) -> Vec<u32> {
    let children: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            // "7 (a name) S 1 …": the number, the name, the state, the parent.
            let (number, _) = stat.split_once(' ')?;
            let (_, rest) = stat.rsplit_once(") ")?;
            Some((number.parse().ok()?, rest.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut family = vec![process];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(children.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    family
}

impl Drop for Process {
    /// The end of its input asks it to end; if it does not, it is killed.
    fn drop(&mut self) {
        drop(locked(&self.stdin).take());
        let _ = locked(&self.ended).recv_timeout(FAREWELL);
        self.kill();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(stdout: ChildStdout, seats: &Seats) {
    for line in BufReader::new(stdout).split(b'\n') {
        let Ok(line) = line else { return };
        let text = || json!({"ev": "noise", "text": String::from_utf8_lossy(&line)});
        let line: Value = serde_json::from_slice(&line).unwrap_or_else(|_| text());
        hand_over(line, &locked(seats));
    }
}

/// To the seat of its peer; what is about none is news to all.
fn hand_over(line: Value, seats: &HashMap<String, Arc<Seat>>) {
    match line["peer"].as_str() {
        Some(peer) => {
            if let Some(seat) = seats.get(peer) {
                seat.hear(line);
            }
        }
        None => seats.values().for_each(|seat| seat.hear(line.clone())),
    }
}

/// The answer to a request, when it has come.
pub(crate) fn answer(heard: &mut Heard, id: u64) -> Option<Value> {
    heard.answers.remove(&id)
}
