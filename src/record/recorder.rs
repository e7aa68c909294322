//! The way from the driver to the file: a bounded channel and a thread that writes.
//!
//! The driver hands over a copy of each input and goes on; masking, JSON and the writer are the
//! thread's affair. What finds no room in the channel is lost and counted, and the file says where.
//! A writer that fails ends the recording, never a call.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
};

use super::scribe::{Entry, Origin, Scribe};
use crate::{
    machine::io::{Input, Verdict},
    time::Now,
    wire::ledger::Ledger,
};

/// Most entries that wait for the writer. A call has some hundreds in its first second.
const MAX_WAITING: usize = 4096;

/// Records what an engine is given, as JSON lines without secrets: see the module.
///
/// Goes into [`VoIPBuilder::recorder`](crate::VoIPBuilder::recorder), for one `VoIP`; the clones
/// of a recorder are one recorder.
#[derive(Debug, Clone)]
pub struct Recorder {
    desk: Arc<Mutex<Option<SyncSender<Note>>>>,
    account: Account,
}

/// How a recording fares. Cheap to clone; outlives the recorder.
#[derive(Debug, Clone, Default)]
pub struct Account(Arc<Mutex<Figures>>);

#[derive(Debug, Default)]
struct Figures {
    written: u64,
    lost: u64,
    fault: Option<io::ErrorKind>,
    finished: bool,
}

impl Account {
    /// How many entries the writer has taken.
    pub fn written(&self) -> u64 {
        self.figures(|figures| figures.written)
    }

    /// How many entries found no room: the file says where.
    pub fn lost(&self) -> u64 {
        self.figures(|figures| figures.lost)
    }

    /// Why the writer failed, if it did: nothing is recorded from then on.
    pub fn fault(&self) -> Option<io::ErrorKind> {
        self.figures(|figures| figures.fault)
    }

    /// Whether the last line is written: the `VoIP` is gone, or the writer failed.
    pub fn is_finished(&self) -> bool {
        self.figures(|figures| figures.finished)
    }

    fn figures<T>(&self, act: impl FnOnce(&mut Figures) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the thread gets.
enum Note {
    Begin(Box<Origin>, Now),
    Entry { at: Now, entry: Entry, lost: u64 },
}

impl Recorder {
    /// A recorder that writes to a file or whatever else. Starts a thread, which ends when the
    /// recorder and the `VoIP` that it was given to are gone.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn new(out: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (sender, notes) = sync_channel(MAX_WAITING);
        let account = Account::default();
        let writer = Writer { out: Some(out), scribe: None, account: account.clone() };
        thread::Builder::new().name("voip-recorder".into()).spawn(move || writer.run(&notes))?;
        Ok(Self { desk: Arc::new(Mutex::new(Some(sender))), account })
    }

    /// How the recording fares.
    pub fn account(&self) -> Account {
        self.account.clone()
    }

    /// Begins the file; `None` when it was begun already, for another engine.
    pub(crate) fn begin(&self, origin: Origin, at: Now) -> Option<Tape> {
        let sender = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(sender) = sender else {
            tracing::warn!("a recorder records one engine: this one is not recorded");
            return None;
        };
        // The channel is empty: this finds room, unless the thread is gone.
        drop(sender.try_send(Note::Begin(Box::new(origin), at)));
        Some(Tape { sender, account: self.account.clone(), lost: 0 })
    }
}

/// Where the owner of an engine puts what he gives it. Never waits.
#[derive(Debug)]
pub(crate) struct Tape {
    sender: SyncSender<Note>,
    account: Account,
    /// Since the last entry that found room.
    lost: u64,
}

impl Tape {
    /// `Engine::restore` was called.
    pub(crate) fn on_restored(&mut self, at: Now, ledger: Ledger) {
        self.put(at, Entry::Restored(ledger));
    }

    /// `Engine::handle` was called.
    pub(crate) fn on_input(&mut self, at: Now, input: Input, verdict: &Verdict) {
        self.put(at, Entry::Input(Box::new(input), verdict.clone()));
    }

    /// `Engine::handle_timeout` was called.
    pub(crate) fn on_due(&mut self, at: Now) {
        self.put(at, Entry::Due);
    }

    fn put(&mut self, at: Now, entry: Entry) {
        match self.sender.try_send(Note::Entry { at, entry, lost: self.lost }) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                self.account.figures(|figures| figures.lost += 1);
            }
            // The writer failed, and its account says why.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The thread's own.
struct Writer<W: io::Write> {
    out: Option<W>,
    scribe: Option<Scribe<W>>,
    account: Account,
}

impl<W: io::Write> Writer<W> {
    fn run(mut self, notes: &Receiver<Note>) {
        let done = self.write(notes);
        if let Err(error) = &done {
            tracing::warn!(kind = ?error.kind(), "the recording has ended: it cannot be written");
        }
        self.account.figures(|figures| {
            figures.fault = done.err().map(|error| error.kind());
            figures.finished = true;
        });
    }

    fn write(&mut self, notes: &Receiver<Note>) -> io::Result<()> {
        let mut told = 0;
        while let Some(note) = self.next(notes)? {
            match note {
                Note::Begin(origin, at) => {
                    let out = self.out.take();
                    self.scribe = out.map(|out| Scribe::begin(out, &origin, at)).transpose()?;
                }
                Note::Entry { at, entry, lost } => {
                    let Some(scribe) = &mut self.scribe else { continue };
                    scribe.lose(lost);
                    told += lost;
                    scribe.note(at, &entry)?;
                    self.account.figures(|figures| figures.written += 1);
                }
            }
        }
        let Some(mut scribe) = self.scribe.take() else { return Ok(()) };
        let untold = self.account.lost().saturating_sub(told);
        scribe.lose(untold);
        scribe.finish().map(drop)
    }

    /// The next note; while there is none, what is written is handed on, so that a crash loses
    /// little.
    fn next(&mut self, notes: &Receiver<Note>) -> io::Result<Option<Note>> {
        match notes.try_recv() {
            Ok(note) => return Ok(Some(note)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => {}
        }
        if let Some(scribe) = &mut self.scribe {
            scribe.flush()?;
        }
        Ok(notes.recv().ok())
    }
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Note")
    }
}
