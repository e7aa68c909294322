//! Standard output: one thread writes, whole lines, flushed at once.

use std::{
    io::{self, Write},
    process,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::SystemTime,
};

use serde_json::Value;

use super::line::{self, Ticket};

/// The way to standard output. Clones are ways to the same.
#[derive(Debug, Clone)]
pub(crate) struct Out(Sender<Job>);

#[derive(Debug)]
enum Job {
    Line(String),
    /// Told when all before it is written.
    Flush(Sender<()>),
}

impl Out {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let (jobs, waiting) = mpsc::channel();
        thread::spawn(move || write(&waiting));
        Self(jobs)
    }

    /// Writes one line.
    pub(crate) fn line(&self, line: &Value) {
        // The thread ends with the process.
        drop(self.0.send(Job::Line(format!("{line}\n"))));
    }

    /// Waits until everything is written.
    pub(crate) fn flush(&self) {
        let (done, told) = mpsc::channel();
        drop(self.0.send(Job::Flush(done)));
        // An error means that nobody writes any more.
        let _ = told.recv();
    }

    /// The events of one peer.
    pub(crate) fn of(&self, peer: &str) -> Events {
        Events { out: self.clone(), peer: peer.to_owned() }
    }
}

/// The events of one peer.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    out: Out,
    peer: String,
}

impl Events {
    /// Tells that something happened now; `fields` is an object.
    pub(crate) fn tell(&self, name: &str, fields: Value) {
        self.out.line(&line::event(&self.peer, name, now(), fields));
    }
}

/// A request that is answered exactly once: by what became of it, or by its end without a result.
#[derive(Debug)]
pub(crate) struct Pending {
    ticket: Ticket,
    out: Out,
    answered: bool,
    /// Dropped with this: who waits for the end of all requests sees it.
    _alive: Sender<()>,
}

impl Pending {
    pub(crate) fn new(ticket: Ticket, out: Out, alive: Sender<()>) -> Self {
        Self { ticket, out, answered: false, _alive: alive }
    }

    /// Answers.
    pub(crate) fn answer(mut self, result: Result<Value, String>) {
        self.write(result);
    }

    fn write(&mut self, result: Result<Value, String>) {
        self.answered = true;
        self.out.line(&line::answer(&self.ticket, result));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.write(Err("the peer has closed".to_owned()));
        }
    }
}

fn write(jobs: &Receiver<Job>) {
    let mut stdout = io::stdout().lock();
    for job in jobs {
        match job {
            Job::Line(line) => {
                let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
                if written.is_err() {
                    // Nobody reads: there is nothing left to do.
                    process::exit(1);
                }
            }
            // Who asked may be gone.
            Job::Flush(done) => drop(done.send(())),
        }
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the protocol wants the time of each event")]
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
