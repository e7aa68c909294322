//! The place in which servers and peers of one test run live: a network of their own with loopback
//! only, where that can be made, and an end that comes for all of them whatever happens to us.
//!
//! A keeper (a shell) holds the network namespace open and reads from a pipe. When this process
//! ends, by itself, by a panic or by a kill, the pipe closes; the keeper then kills every process
//! that carries the mark of this run in its environment, and removes the run's sockets and
//! temporary files.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
};

use crate::{
    clock,
    equipment::which,
    failure::{Context, Failure},
    program::free_port,
};

/// The variable that all processes of a run carry, each with its child processes.
const MARK: &str = "REAL_RUN";

/// The folders of earlier runs that are kept, with their logs.
const KEPT_RUNS: usize = 5;

/// What the keeper does: tells that it is there, waits for our end, ends the others twice (what was
/// being started in the first round is found in the second).
const KEEPER: &str = r#"
    echo ready
    cat >/dev/null
    for round in 1 2; do
        for process in /proc/[0-9]*; do
            pid=${process#/proc/}
            [ "$pid" = $$ ] || ! grep -qzxF "REAL_RUN=$REAL_RUN" "$process/environ" || kill -KILL "$pid"
        done
    done 2>/dev/null
    rm -rf "$REAL_SCRATCH"
"#;

/// Ports of servers in a network of our own: below those that the system gives to clients (32768
/// and up), some of which are in use whenever a server is started again; above those that Chromium
/// refuses as unsafe (10080 is the last).
const FIRST_PORT: u16 = 20_000;

/// Some servers use the port beside theirs too.
const BETWEEN_PORTS: u16 = 10;

/// How processes get into the network.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Network {
    /// A namespace of its own, entered by `nsenter` with these arguments.
    Own(Vec<String>),
    /// The machine's, with the reason.
    Shared(String),
}

/// The place of one test run.
#[derive(Debug)]
pub struct House {
    mark: String,
    folder: PathBuf,
    scratch: PathBuf,
    network: Network,
    next_port: AtomicU16,
    // Its standard input is what tells it that we have ended.
    _keeper: Child,
}

impl House {
    /// Makes folders, network and keeper.
    ///
    /// # Errors
    ///
    /// When a folder cannot be written, or no shell can be started.
    pub fn build() -> Result<Self, Failure> {
        let runs = runs();
        forget_old(&runs);
        Self::build_in(&runs)
    }

    /// The same in the network of this machine: for programs that meet engines of this process.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_in_our_network() -> Result<Self, Failure> {
        let runs = runs();
        forget_old(&runs);
        let us = || Network::Shared("this process is to be reached".to_owned());
        Self::build_with(&runs, |mark, scratch| Ok((keeper_here(mark, scratch)?, us())))
    }

    fn build_in(runs: &Path) -> Result<Self, Failure> {
        Self::build_with(runs, keeper)
    }

    fn build_with(
        runs: &Path,
        keeper: impl FnOnce(&str, &Path) -> Result<(Child, Network), Failure>,
    ) -> Result<Self, Failure> {
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let number = BUILT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{}-{number}", clock::now(), process::id());
        let folder = runs.join(&mark);
        fs::create_dir_all(&folder).context(format_args!("making {}", folder.display()))?;
        // Not with the logs: the path of a socket must be short.
        let scratch = std::env::temp_dir().join(format!("real-{mark}"));
        fs::create_dir_all(&scratch).context(format_args!("making {}", scratch.display()))?;
        let (keeper, network) = keeper(&mark, &scratch)?;
        let next_port = AtomicU16::new(FIRST_PORT);
        Ok(Self { mark, folder, scratch, network, next_port, _keeper: keeper })
    }

    /// Where the logs of this run are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where sockets and temporary files of this run are: a short path.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Why the run has no network of its own, if it has none.
    #[must_use]
    pub fn shares_network(&self) -> Option<&str> {
        match &self.network {
            Network::Own(_) => None,
            Network::Shared(why) => Some(why),
        }
    }

    /// A port for a server, which nobody else uses.
    pub(crate) fn port(&self) -> Result<u16, Failure> {
        match &self.network {
            Network::Own(_) => Ok(self.next_port.fetch_add(BETWEEN_PORTS, Ordering::Relaxed)),
            Network::Shared(_) => free_port(),
        }
    }

    /// A program that will run here, and end with the run.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.network {
            Network::Own(entry) => {
                let mut command = Command::new("nsenter");
                command.args(entry).arg("--").arg(program);
                command
            }
            Network::Shared(_) => Command::new(program),
        };
        own_group(command.env(MARK, &self.mark).env("TMPDIR", &self.scratch));
        command
    }
}

/// Ctrl-C at a terminal goes to a whole group of processes: not to our servers, and not to the
/// keeper, who ends them.
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

/// The first kind of keeper that starts, and the network that it keeps.
fn keeper(mark: &str, scratch: &Path) -> Result<(Child, Network), Failure> {
    let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
    let with_loopback = format!("ip link set lo up && {{ {KEEPER} }}");
    let mut why = "unshare, nsenter or ip is missing".to_owned();
    if ["unshare", "nsenter", "ip"].iter().all(|program| which(program).is_some()) {
        for way in ways {
            let mut command = Command::new("unshare");
            command.args(way).args(["--", "sh", "-c", &with_loopback]);
            match start_keeper(command, mark, scratch) {
                Ok(keeper) => {
                    let network = Network::Own(entry(keeper.id(), way));
                    return Ok((keeper, network));
                }
                Err(refusal) => why = refusal.0,
            }
        }
    }
    Ok((keeper_here(mark, scratch)?, Network::Shared(why)))
}

/// A keeper that keeps no network.
fn keeper_here(mark: &str, scratch: &Path) -> Result<Child, Failure> {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER]);
    start_keeper(command, mark, scratch)
}

/// The arguments with which `nsenter` gets into the namespaces of the keeper.
fn entry(keeper: u32, way: &[&str]) -> Vec<String> {
    let mut entry = vec![format!("--net=/proc/{keeper}/ns/net")];
    if way.contains(&"--user") {
        entry.insert(0, format!("--user=/proc/{keeper}/ns/user"));
        entry.insert(1, "--preserve-credentials".into());
    }
    entry
}

fn start_keeper(mut command: Command, mark: &str, scratch: &Path) -> Result<Child, Failure> {
    command.env(MARK, mark).env("REAL_SCRATCH", scratch);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    own_group(&mut command);
    let mut keeper = command.spawn().context("starting the keeper of the test run")?;
    let ready = keeper.stdout.take().map(first_line).unwrap_or_default();
    if ready == "ready" {
        return Ok(keeper);
    }
    let told = keeper.wait_with_output().map(|output| output.stderr).unwrap_or_default();
    Err(Failure(format!("no namespace: {}", String::from_utf8_lossy(&told).trim())))
}

fn first_line(output: ChildStdout) -> String {
    let mut line = String::new();
    // What cannot be read is as good as an empty line: it is not there.
    let _ = BufReader::new(output).read_line(&mut line);
    line.trim().to_owned()
}

/// The folder of all runs: beside the tests' program in cargo's target folder.
fn runs() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(std::env::temp_dir, Path::to_owned).join("real")
}

fn forget_old(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.truncate(folders.len().saturating_sub(KEPT_RUNS - 1));
    for folder in folders {
        // What cannot be removed does no harm but to the disk.
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, path::Path, process::Stdio};

    use super::House;

    const KILL: i32 = 9;

    fn house() -> House {
        House::build_in(&std::env::temp_dir().join("real-unit-tests")).unwrap()
    }

    #[test]
    fn what_runs_in_a_house_ends_with_it() {
        let house = house();
        let mut guest = house.command(Path::new("cat"));
        let mut guest = guest.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // Its input stays open: by itself it would go on for ever.
        let _input = guest.stdin.take();
        drop(house);
        assert_eq!(guest.wait().unwrap().signal(), Some(KILL));
    }

    #[test]
    fn a_house_with_a_network_of_its_own_has_nothing_but_loopback() {
        let house = house();
        if let Some(why) = house.shares_network() {
            eprintln!("skipped: a network of its own: {why}");
            return;
        }
        let mut look = house.command(Path::new("cat"));
        let told = look.arg("/proc/self/net/dev").output().unwrap().stdout;
        let told = String::from_utf8(told).unwrap();
        let names: Vec<&str> = told
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim())
            .collect();
        assert_eq!(names, ["lo"]);
    }
}
