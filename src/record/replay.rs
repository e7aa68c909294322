//! A recording lived through again.
//!
//! [`Replay`] reads a file line by line, gives each entry to a new engine and shows what came out.
//! The same file gives the same steps every time. Where the engine's verdict is not the recorded
//! one, the step says so: then the file is of another version of the library.

use std::io::{self, BufRead, Read};

use serde_json::Value;

use super::{
    form::Unfit,
    scribe::{Entry, FORMAT, HeaderFault, MAX_LINE_BYTES, Origin, read_header, read_line},
};
use crate::{
    machine::{
        Engine,
        io::{Output, Verdict},
    },
    time::Now,
};

/// Why a file cannot be replayed, or no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The first line is no header of a recording.
    #[error("this is not a recording")]
    NotARecording,
    /// It was written by a later version of the library.
    #[error("the recording has format {0}, and this version knows format {FORMAT} only")]
    UnknownFormat(u64),
    /// A line is no JSON: the file is damaged, or its writer was cut off.
    #[error("line {line} is damaged or cut off")]
    Torn {
        /// Which, from 1.
        line: u64,
    },
    /// A line is longer than [`MAX_LINE_BYTES`].
    #[error("line {line} is too long")]
    TooLong {
        /// Which, from 1.
        line: u64,
    },
    /// A line holds something else than a recorder writes.
    #[error("line {line} has no readable {what}")]
    Unreadable {
        /// Which, from 1.
        line: u64,
        /// What could not be read.
        what: &'static str,
    },
    /// The recorder could not keep up: from here on the call is another.
    #[error("before line {line}, {entries} entries were lost")]
    Lost {
        /// The line that tells it, from 1.
        line: u64,
        /// How many.
        entries: u64,
    },
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// One entry, given to an engine again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Now,
    /// What the engine was given, with the verdict of the live call.
    pub entry: Entry,
    /// The verdict of this time, where there is one.
    pub verdict: Option<Verdict>,
    /// What the engine wanted then.
    pub outputs: Vec<Output>,
}

impl Step {
    /// Whether the verdict is that of the live call.
    pub fn agrees(&self) -> bool {
        match &self.entry {
            Entry::Input(_, live) => self.verdict.as_ref() == Some(live),
            Entry::Restored(_) | Entry::Due => true,
        }
    }
}

/// A recording on its way through an engine: an iterator of steps. After an error there is nothing
/// more; what came before it is good.
#[derive(Debug)]
pub struct Replay<R> {
    input: R,
    line: u64,
    origin: Origin,
    start: Now,
    engine: Engine,
    over: bool,
}

impl<R: BufRead> Replay<R> {
    /// Reads the header and makes the engine.
    ///
    /// # Errors
    /// [`RecordError`] when the first line is no header that this version knows.
    pub fn open(mut input: R) -> Result<Self, RecordError> {
        let header = next_line(&mut input, 1)?.ok_or(RecordError::NotARecording)?;
        let header = serde_json::from_slice(&header).map_err(|_| RecordError::NotARecording)?;
        let (origin, start) = read_header(&header).map_err(|fault| match fault {
            HeaderFault::NoHeader => RecordError::NotARecording,
            HeaderFault::Format(format) => RecordError::UnknownFormat(format),
            HeaderFault::Unfit(Unfit(what)) => RecordError::Unreadable { line: 1, what },
        })?;
        let engine = origin.engine();
        Ok(Self { input, line: 1, origin, start, engine, over: false })
    }

    /// What the engine was made of.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// When the recording began.
    pub fn start(&self) -> Now {
        self.start
    }

    /// The engine, as it stands after the last step.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    fn read(&mut self) -> Result<Option<(Now, Entry)>, RecordError> {
        self.line += 1;
        let line = self.line;
        let Some(text) = next_line(&mut self.input, line)? else { return Ok(None) };
        let value: Value = serde_json::from_slice(&text).map_err(|_| RecordError::Torn { line })?;
        let read = read_line(&value);
        let read = read.map_err(|Unfit(what)| RecordError::Unreadable { line, what })?;
        if read.lost > 0 {
            return Err(RecordError::Lost { line, entries: read.lost });
        }
        Ok(read.entry)
    }

    fn live(&mut self, at: Now, entry: Entry) -> Step {
        let verdict = match &entry {
            Entry::Restored(ledger) => {
                self.engine.restore(at, ledger.clone());
                None
            }
            Entry::Input(input, _) => Some(self.engine.handle(at, input.as_ref().clone())),
            Entry::Due => {
                self.engine.handle_timeout(at);
                None
            }
        };
        let outputs = std::iter::from_fn(|| self.engine.poll_output()).collect();
        Step { at, entry, verdict, outputs }
    }
}

impl<R: BufRead> Iterator for Replay<R> {
    type Item = Result<Step, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.read() {
            Ok(Some((at, entry))) => Some(Ok(self.live(at, entry))),
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }
}

/// The next line with its end; `None` at the end of the file.
fn next_line(input: &mut impl BufRead, line: u64) -> Result<Option<Vec<u8>>, RecordError> {
    let mut text = Vec::new();
    input.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut text)?;
    match text.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(text)),
        Some(_) if text.len() == MAX_LINE_BYTES => Err(RecordError::TooLong { line }),
        Some(_) => Err(RecordError::Torn { line }),
    }
}
