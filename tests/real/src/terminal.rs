//! A program of ours as a person runs it: with arguments, lines typed and keys pressed, in a
//! terminal or without one; what it says is kept line by line, and how it ended.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::json;

use crate::{
    clock,
    failure::{Context, Failure},
    log::{Log, Way},
};

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What a program has said, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Lines of standard output; in a terminal everything that it showed.
    pub out: Vec<String>,
    /// Lines of standard error.
    pub err: Vec<String>,
    /// Its exit code; `None` while it runs, or when a signal ended it.
    pub code: Option<i32>,
}

impl Said {
    /// The first line of standard output with all of these words.
    #[must_use]
    pub fn line(&self, words: &[&str]) -> Option<&str> {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        self.out.iter().find(has_all).map(String::as_str)
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    heard: Arc<Heard>,
    listeners: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Heard {
    lane: String,
    log: Arc<Log>,
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Out,
    Err,
}

impl Running {
    /// Starts it; `lane` names it in the log.
    pub(crate) fn start(lane: &str, mut command: Command, log: &Arc<Log>) -> Result<Self, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context(format_args!("starting {lane}"))?;
        let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let heard = Heard {
            lane: lane.to_owned(),
            log: Arc::clone(log),
            said: Mutex::default(),
            changed: Condvar::new(),
        };
        let heard = Arc::new(heard);
        let mut listeners = Vec::new();
        if let Some(out) = out {
            listeners.push(heard.listen(Stream::Out, out));
        }
        if let Some(err) = err {
            listeners.push(heard.listen(Stream::Err, err));
        }
        Ok(Self { name: lane.to_owned(), child, stdin, heard, listeners })
    }

    /// Types, or presses keys.
    ///
    /// # Errors
    ///
    /// When it does not read any more.
    pub fn types(&mut self, text: &str) -> Result<(), Failure> {
        self.heard.tell(Way::ToPeer, text);
        let Some(stdin) = &mut self.stdin else { return Err(self.failure("its input is closed")) };
        stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.flush())
            .context(format_args!("{}: typing", self.name))
    }

    /// Waits until it has said a line with all of these words, and returns the line.
    ///
    /// # Errors
    ///
    /// When it has not within `patience`, or ended before.
    pub fn says(&self, words: &[&str], patience: Duration) -> Result<String, Failure> {
        self.says_after(0, words, patience)
    }

    /// The same, but only of lines after the first `known` ones.
    ///
    /// # Errors
    ///
    /// When it has not within `patience`, or ended before.
    pub fn says_after(
        &self,
        known: usize,
        words: &[&str],
        patience: Duration,
    ) -> Result<String, Failure> {
        let find = |said: &Said| {
            let mut lines = said.out.iter().skip(known);
            lines.find(|line| words.iter().all(|word| line.contains(word))).cloned()
        };
        let has_ended = || self.listeners.iter().all(JoinHandle::is_finished);
        let until = clock::now() + ms(patience);
        let mut said = self.heard.said();
        loop {
            if let Some(line) = find(&said) {
                return Ok(line);
            }
            if has_ended() || clock::now() > until {
                let why = if has_ended() { "it ended" } else { "time is up" };
                let last = said.err.last().or(said.out.last()).cloned().unwrap_or_default();
                return Err(self.failure(&format!("no {words:?}: {why}; it last said {last:?}")));
            }
            // Looks again by itself: an end is no line.
            let waited = self.heard.changed.wait_timeout(said, LOOK);
            said = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many lines it has said.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.heard.said().out.len()
    }

    /// Sends it a signal, such as "INT".
    ///
    /// # Errors
    ///
    /// When there is no such process any more.
    pub fn signal(&self, name: &str) -> Result<(), Failure> {
        self.heard.tell(Way::ToPeer, &format!("SIG{name}"));
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status();
        let sent = status.context("starting kill")?.success();
        sent.then_some(()).ok_or_else(|| self.failure("it has ended already"))
    }

    /// Closes its input and waits until it has ended.
    ///
    /// # Errors
    ///
    /// When it has not within `patience`; it is killed then.
    pub fn ends(mut self, patience: Duration) -> Result<Said, Failure> {
        drop(self.stdin.take());
        self.ended(patience)
    }

    /// Waits until it has ended by itself, with its input open.
    ///
    /// # Errors
    ///
    /// When it has not within `patience`; it is killed then.
    pub fn ended(mut self, patience: Duration) -> Result<Said, Failure> {
        let until = clock::now() + ms(patience);
        let status = loop {
            if let Some(status) = self.child.try_wait().context("waiting")? {
                break status;
            }
            if clock::now() > until {
                let last = self.heard.said().out.last().cloned();
                return Err(self.failure(&format!("it does not end; it last said {last:?}")));
            }
            let waited = self.heard.changed.wait_timeout(self.heard.said(), LOOK);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        };
        for listener in self.listeners.drain(..) {
            // A listener that has panicked has said so.
            let _ = listener.join();
        }
        let mut said = self.heard.said().clone();
        said.code = status.code();
        self.heard.tell(Way::FromPeer, &format!("ended: {status}"));
        Ok(said)
    }

    fn failure(&self, why: &str) -> Failure {
        Failure::of(&self.name, why)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(
        self: &Arc<Self>,
        stream: Stream,
        mut from: impl Read + Send + 'static,
    ) -> JoinHandle<()> {
        let heard = Arc::clone(self);
        thread::spawn(move || {
            let (mut bytes, mut line) = ([0; 4096], Vec::new());
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                for byte in &bytes[..length] {
                    // A status line is written over: what follows a return is a new line to us.
                    match byte {
                        b'\n' | b'\r' => heard.hear(stream, &std::mem::take(&mut line)),
                        byte => line.push(*byte),
                    }
                }
            }
            heard.hear(stream, &line);
        })
    }

    fn hear(&self, stream: Stream, line: &[u8]) {
        let line = String::from_utf8_lossy(line).replace("\x1b[2K", "");
        if line.is_empty() {
            return;
        }
        self.tell(Way::FromPeer, &line);
        let mut said = self.said();
        match stream {
            Stream::Out => said.out.push(line),
            Stream::Err => said.err.push(line),
        }
        self.changed.notify_all();
    }

    fn tell(&self, way: Way, text: &str) {
        let line = match way {
            Way::ToPeer => json!({"cmd": text.escape_debug().to_string()}),
            Way::FromPeer => json!({"ev": "says", "text": text}),
        };
        self.log.line(&self.lane, way, &line);
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The command line, in a terminal of 200 columns made by `script`; its last line says whether the
/// terminal is as it was before.
pub(crate) fn in_terminal(program: &Path, arguments: &[&str]) -> String {
    let line: Vec<String> = std::iter::once(program.to_string_lossy().as_ref())
        .chain(arguments.iter().copied())
        .map(|part| format!("'{}'", part.replace('\'', r"'\''")))
        .collect();
    format!(
        "stty cols 200 rows 50; before=$(stty -g); {}; code=$?; \
         [ \"$(stty -g)\" = \"$before\" ] && echo 'the terminal is as before'; exit $code",
        line.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, name: &str) -> Running {
        let folder = std::env::temp_dir().join("real-unit-tests");
        std::fs::create_dir_all(&folder).unwrap();
        let log = Arc::new(Log::open(&folder, name).unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        Running::start("shell", shell, &log).unwrap()
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn lines_keys_and_the_exit_code_are_kept() {
        let mut shell =
            run("read key; printf '\\r\\033[2Kgot %s\\n' $key; echo no >&2; exit 3", "keys");
        shell.types("m\n").unwrap();
        assert_eq!(shell.says(&["got", "m"], SOON).unwrap(), "got m");
        let said = shell.ended(SOON).unwrap();
        assert_eq!((said.code, said.err), (Some(3), vec!["no".to_owned()]));
    }

    #[test]
    fn who_waits_for_a_line_of_a_program_that_ends_is_told() {
        let failure = run("echo last", "last-words").says(&["first"], SOON).unwrap_err();
        assert!(failure.0.contains("it ended") && failure.0.contains("last"), "{failure}");
    }

    #[test]
    fn arguments_reach_a_program_in_a_terminal_whole() {
        let line = in_terminal(Path::new("echo"), &["it's", "a b"]);
        let said = run(&line, "quoted").ended(SOON).unwrap();
        assert_eq!(said.out.first().map(String::as_str), Some("it's a b"));
    }
}
