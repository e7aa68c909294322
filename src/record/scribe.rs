//! Lines of a recording: the header, then one line for each thing that an engine was given.

use std::{fmt, io};

use serde_json::{Map, Value};

use super::{
    form::{Form, Unfit, part, put},
    pseudonym::Pseudonyms,
};
use crate::{
    config::Config,
    id::UserId,
    machine::{
        Engine, Identity,
        io::{Input, Reply, RoomNews, Verdict},
    },
    time::Now,
    wire::ledger::Ledger,
};

/// The form of the file. Another number is refused: a line that is half understood would make
/// another call of it.
pub const FORMAT: u64 = 1;

/// Longest line that is written or read, in bytes: a batch of ten thousand events has some
/// megabytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// What an engine is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who we are.
    pub identity: Identity,
    /// Its policies and times.
    pub config: Config,
    /// Where its ids come from.
    pub seed: u64,
}

impl Origin {
    /// A new engine.
    pub fn engine(&self) -> Engine {
        Engine::new(self.identity.clone(), self.config.clone(), self.seed)
    }
}

/// One thing that an engine was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// What a dead process left behind (`Engine::restore`).
    Restored(Ledger),
    /// An input, and what became of it (`Engine::handle`).
    Input(Box<Input>, Verdict),
    /// Time passed (`Engine::handle_timeout`).
    Due,
}

/// Writes a recording, line by line: for whoever owns an engine himself. [`Recorder`] does it
/// beside a driver.
///
/// [`Recorder`]: super::Recorder
pub struct Scribe<W> {
    out: W,
    names: Pseudonyms,
    lost: u64,
}

impl<W> fmt::Debug for Scribe<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scribe").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl<W: io::Write> Scribe<W> {
    /// Begins a file. The key of its pseudonyms is random and stays here.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn begin(out: W, origin: &Origin, at: Now) -> io::Result<Self> {
        let names = Pseudonyms::of_engine(origin.engine().party().clone());
        let mut scribe = Self { out, names, lost: 0 };
        let mut line = Map::new();
        put(&mut line, "format", FORMAT.into());
        if let Value::Object(parts) = origin.write(&mut scribe.names) {
            line.extend(parts);
        }
        put(&mut line, "at", at.write(&mut scribe.names));
        scribe.write(&line)?;
        Ok(scribe)
    }

    /// Writes one line. One that is longer than [`MAX_LINE_BYTES`] is counted as lost.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn note(&mut self, at: Now, entry: &Entry) -> io::Result<()> {
        let mut line = Map::new();
        put(&mut line, "at", at.write(&mut self.names));
        match entry {
            Entry::Restored(ledger) => {
                put(&mut line, "restored", ledger.write(&mut self.names));
            }
            Entry::Input(input, verdict) => {
                self.names.members(members(input).into_iter());
                put(&mut line, "input", input.write(&mut self.names));
                put(&mut line, "verdict", verdict.write(&mut self.names));
            }
            Entry::Due => put(&mut line, "due", true.into()),
        }
        if self.lost > 0 {
            put(&mut line, "lost", self.lost.into());
        }
        self.write(&line)
    }

    /// So many entries were not written: the next line says it.
    pub fn lose(&mut self, entries: u64) {
        self.lost = self.lost.saturating_add(entries);
    }

    /// The writer.
    pub fn out(&self) -> &W {
        &self.out
    }

    /// Hands on what is written.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Gives the writer back. Entries that were lost since the last line get a line of their own.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        if self.lost > 0 {
            let mut line = Map::new();
            put(&mut line, "lost", self.lost.into());
            self.write(&line)?;
        }
        self.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, line: &Map<String, Value>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        if text.len() >= MAX_LINE_BYTES {
            self.lose(1);
            return Ok(());
        }
        text.push(b'\n');
        self.lost = 0;
        self.out.write_all(&text)
    }
}

/// What a line says.
pub(super) struct Line {
    /// How many entries are missing before it.
    pub(super) lost: u64,
    /// `None`: only that some are missing.
    pub(super) entry: Option<(Now, Entry)>,
}

/// The parts of the first line; an unknown format is told by its number.
pub(super) fn read_header(line: &Value) -> Result<(Origin, Now), HeaderFault> {
    let parts = line.as_object().ok_or(HeaderFault::NoHeader)?;
    match part(parts, "format").as_u64() {
        Some(FORMAT) => {}
        Some(other) => return Err(HeaderFault::Format(other)),
        None => return Err(HeaderFault::NoHeader),
    }
    let origin = Origin::read(line).map_err(HeaderFault::Unfit)?;
    let at = Now::read(part(parts, "at")).map_err(HeaderFault::Unfit)?;
    Ok((origin, at))
}

/// Why the first line is none.
pub(super) enum HeaderFault {
    /// It is the first line of something else.
    NoHeader,
    /// It is of another format.
    Format(u64),
    /// A part of it cannot be read.
    Unfit(Unfit),
}

pub(super) fn read_line(line: &Value) -> Result<Line, Unfit> {
    let parts = line.as_object().ok_or(Unfit("a line"))?;
    let lost = Option::read(part(parts, "lost"))?.unwrap_or_default();
    let at = part(parts, "at");
    if at.is_null() && lost > 0 {
        return Ok(Line { lost, entry: None });
    }
    let at = Now::read(at)?;
    let entry = if let Some(input) = parts.get("input") {
        Entry::Input(Form::read(input)?, Form::read(part(parts, "verdict"))?)
    } else if let Some(ledger) = parts.get("restored") {
        Entry::Restored(Form::read(ledger)?)
    } else if part(parts, "due") == &Value::Bool(true) {
        Entry::Due
    } else {
        return Err(Unfit("an entry"));
    };
    Ok(Line { lost, entry: Some((at, entry)) })
}

/// Users that come many at once.
fn members(input: &Input) -> Vec<&str> {
    match input {
        Input::Room(_, RoomNews::Members(users))
        | Input::IgnoredUsers(users)
        | Input::Reply(_, Ok(Reply::Members(users))) => users.iter().map(UserId::as_str).collect(),
        Input::State(state) => {
            state.events.iter().map(|event| event.facts.sender.as_str()).collect()
        }
        Input::Command(_) | Input::Deliver(_) | Input::Peer(..) | Input::Reply(..) => Vec::new(),
        Input::Room(..) | Input::DeviceKeys(_) | Input::Sfu(..) => Vec::new(),
        Input::Network(_) | Input::Lifecycle(_) => Vec::new(),
    }
}
