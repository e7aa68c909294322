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

use super::{
    scribe::{Entry, Origin, Scribe},
    weight,
};
use crate::{
    machine::io::{Input, Verdict},
    time::Now,
    wire::ledger::Ledger,
};

/// Most entries that wait for the writer. A call has some hundreds in its first second.
const MAX_WAITING: usize = 4096;

/// Most bytes that wait for the writer, roughly counted: a sync after a long absence has some
/// megabytes, and a disk that hangs must not eat the memory of the process.
pub(super) const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Records what an engine is given, as JSON lines without secrets: see the module.
///
/// Goes into [`VoIPBuilder::recorder`](crate::VoIPBuilder::recorder), for one `VoIP`; the clones
/// of a recorder are one recorder.
#[derive(Debug, Clone)]
pub struct Recorder {
    desk: Arc<Mutex<Option<SyncSender<Note>>>>,
    status: RecorderStatus,
}

/// How a recording fares. Cheap to clone; outlives the recorder.
#[derive(Debug, Clone, Default)]
pub struct RecorderStatus(Arc<Mutex<Figures>>);

#[derive(Debug, Default)]
struct Figures {
    written: u64,
    lost: u64,
    /// How many bytes wait, roughly.
    waiting: usize,
    fault: Option<io::ErrorKind>,
    finished: bool,
}

impl RecorderStatus {
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
    Entry { at: Now, entry: Entry, weight: usize, lost: u64 },
}

impl Recorder {
    /// A recorder that writes to a file or whatever else. Starts a thread, which ends when the
    /// recorder and the `VoIP` that it was given to are gone.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn new(out: impl io::Write + Send + 'static) -> io::Result<Self> {
        let (sender, notes) = sync_channel(MAX_WAITING);
        let status = RecorderStatus::default();
        let writer = Writer { out: Some(out), scribe: None, status: status.clone() };
        thread::Builder::new().name("voip-recorder".into()).spawn(move || writer.run(&notes))?;
        Ok(Self { desk: Arc::new(Mutex::new(Some(sender))), status })
    }

    /// How the recording fares.
    pub fn status(&self) -> RecorderStatus {
        self.status.clone()
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
        Some(Tape { sender, status: self.status.clone(), lost: 0 })
    }
}

/// Where the owner of an engine puts what he gives it. Never waits.
#[derive(Debug)]
pub(crate) struct Tape {
    sender: SyncSender<Note>,
    status: RecorderStatus,
    /// Since the last entry that found room.
    lost: u64,
}

impl Tape {
    /// `Engine::restore` was called.
    pub(crate) fn on_restored(&mut self, at: Now, ledger: Ledger) {
        let weight = weight::of_ledger(&ledger);
        self.put(at, Entry::Restored(ledger), weight);
    }

    /// A copy of an input for [`on_input`](Self::on_input), before the engine takes it; `None`:
    /// there is no room for it, or nobody writes any more.
    pub(crate) fn copy(&mut self, input: &Input) -> Option<Kept> {
        let weight = weight::of(input);
        self.has_room_for(weight).then(|| Kept { input: input.clone(), weight })
    }

    /// `Engine::handle` was called.
    pub(crate) fn on_input(&mut self, at: Now, kept: Kept, verdict: &Verdict) {
        let Kept { input, weight } = kept;
        self.put(at, Entry::Input(Box::new(input), verdict.clone()), weight);
    }

    /// `Engine::handle_timeout` was called.
    pub(crate) fn on_due(&mut self, at: Now) {
        if self.has_room_for(weight::LEAST) {
            self.put(at, Entry::Due, weight::LEAST);
        }
    }

    /// Whether so much more may wait; whatever may not is lost.
    fn has_room_for(&mut self, weight: usize) -> bool {
        let (finished, waiting) =
            self.status.figures(|figures| (figures.finished, figures.waiting));
        if finished {
            return false;
        }
        // What is too large by itself may still be written when nothing else waits.
        let has_room = waiting == 0 || waiting.saturating_add(weight) <= MAX_WAITING_BYTES;
        if !has_room {
            self.lose();
        }
        has_room
    }

    fn put(&mut self, at: Now, entry: Entry, weight: usize) {
        self.status.figures(|figures| figures.waiting += weight);
        match self.sender.try_send(Note::Entry { at, entry, weight, lost: self.lost }) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_)) => {
                self.status.figures(|figures| figures.waiting -= weight);
                self.lose();
            }
            // The writer failed, and its status says why.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn lose(&mut self) {
        self.lost += 1;
        self.status.figures(|figures| figures.lost += 1);
    }
}

/// A copy of an input, and what it weighs.
#[derive(Debug)]
pub(crate) struct Kept {
    input: Input,
    weight: usize,
}

/// The thread's own.
struct Writer<W: io::Write> {
    out: Option<W>,
    scribe: Option<Scribe<W>>,
    status: RecorderStatus,
}

impl<W: io::Write> Writer<W> {
    fn run(mut self, notes: &Receiver<Note>) {
        let done = self.write(notes);
        if let Err(error) = &done {
            tracing::warn!(kind = ?error.kind(), "the recording has ended: it cannot be written");
        }
        self.status.figures(|figures| {
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
                Note::Entry { at, entry, weight, lost } => {
                    self.status.figures(|figures| figures.waiting -= weight);
                    let Some(scribe) = &mut self.scribe else { continue };
                    scribe.lose(lost);
                    told += lost;
                    scribe.note(at, &entry)?;
                    self.status.figures(|figures| figures.written += 1);
                }
            }
        }
        let Some(mut scribe) = self.scribe.take() else { return Ok(()) };
        let untold = self.status.lost().saturating_sub(told);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        id::{DeviceId, UserId},
        machine::{Identity, io::Network},
    };

    /// A disk that is full.
    struct Full;

    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_copied_for_a_writer_that_failed() {
        let recorder = Recorder::new(Full).unwrap();
        let identity = Identity {
            user: UserId::parse("@a:b").unwrap(),
            device: DeviceId::parse("D").unwrap(),
        };
        let origin = Origin { identity, config: Config::default(), seed: 1 };
        let mut tape = recorder.begin(origin, Now::default()).unwrap();
        while !recorder.status().is_finished() {
            thread::yield_now();
        }
        assert!(tape.copy(&Input::Network(Network::Lost)).is_none());
        assert_eq!(recorder.status().fault(), Some(io::ErrorKind::StorageFull));
        assert_eq!(recorder.status().lost(), 0, "the fault says it");
    }
}
