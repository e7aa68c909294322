//! What sinks share: several at once, a thread of their own, and news of a file that is written.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use matrix_voip::host::{Frame, FrameSink, Playout};
use tokio::sync::watch;

use crate::error::WriteError;

/// Most frames that wait for a [`Threaded`] sink: ten seconds of sound. More are dropped.
pub const MAX_BACKLOG: usize = 512;

/// Gives each frame to several sinks.
#[derive(Default)]
pub struct Tee(Vec<Box<dyn FrameSink>>);

impl Tee {
    /// No sinks yet: frames are discarded.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same and one more sink.
    #[must_use]
    pub fn and(mut self, sink: impl FrameSink + 'static) -> Self {
        self.0.push(Box::new(sink));
        self
    }
}

impl FrameSink for Tee {
    fn push(&mut self, frame: Frame) {
        let Some((last, others)) = self.0.split_last_mut() else { return };
        others.iter_mut().for_each(|sink| sink.push(frame.clone()));
        last.push(frame);
    }

    fn wants_key_frame(&mut self) -> bool {
        self.0.iter_mut().fold(false, |wanted, sink| sink.wants_key_frame() | wanted)
    }

    /// That of the first sink that knows.
    fn playout(&self) -> Option<Playout> {
        self.0.iter().find_map(|sink| sink.playout())
    }
}

impl std::fmt::Debug for Tee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tee of {} sinks", self.0.len())
    }
}

/// A sink on a thread of its own: for files and for pictures, whose work would hold up the engine.
/// When the thread cannot keep up, frames beyond [`MAX_BACKLOG`] are dropped and counted, and the
/// next one says that it does not follow.
///
/// When it is dropped, the thread works off what waits and drops the sink.
#[derive(Debug)]
pub struct Threaded {
    frames: SyncSender<Frame>,
    wish: Arc<AtomicBool>,
    /// As it was told after the last frame.
    playout: Arc<Mutex<Option<Playout>>>,
    dropped: Arc<AtomicU64>,
    gap: bool,
}

impl Threaded {
    /// Starts the thread. Where the system gives none, frames are dropped.
    pub fn new(sink: impl FrameSink + 'static) -> Self {
        let (frames, waiting) = sync_channel(MAX_BACKLOG);
        let wish = Arc::new(AtomicBool::new(false));
        let playout = Arc::default();
        let (wishes, told) = (Arc::clone(&wish), Arc::clone(&playout));
        let work = move || work_off(sink, &waiting, &wishes, &told);
        if let Err(error) = thread::Builder::new().name("media-sink".into()).spawn(work) {
            tracing::error!(%error, "no thread for a media sink");
        }
        Self { frames, wish, playout, dropped: Arc::default(), gap: false }
    }

    /// How many frames were dropped, readable while the engine holds the sink.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

fn work_off(
    mut sink: impl FrameSink,
    waiting: &Receiver<Frame>,
    wish: &AtomicBool,
    told: &Mutex<Option<Playout>>,
) {
    for frame in waiting {
        sink.push(frame);
        *told.lock().unwrap_or_else(PoisonError::into_inner) = sink.playout();
        if sink.wants_key_frame() {
            wish.store(true, Ordering::Relaxed);
        }
    }
}

impl FrameSink for Threaded {
    fn push(&mut self, mut frame: Frame) {
        frame.contiguous &= !self.gap;
        self.gap = match self.frames.try_send(frame) {
            Ok(()) => false,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
        };
    }

    fn wants_key_frame(&mut self) -> bool {
        self.wish.swap(false, Ordering::Relaxed)
    }

    /// As the sink told after the last frame that it took: where no frames come it stands still.
    fn playout(&self) -> Option<Playout> {
        *self.playout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a finished file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Frames written: 20 ms of sound or a picture each.
    pub frames: u64,
}

/// News of a file that a sink writes; the sink itself goes to the engine.
#[derive(Debug, Clone)]
pub struct Recording(watch::Receiver<Progress>);

#[derive(Debug, Clone, Default)]
struct Progress {
    written: Written,
    error: Option<WriteError>,
}

impl Recording {
    /// How much is written so far.
    pub fn so_far(&self) -> Written {
        self.0.borrow().written
    }

    /// Waits until the sink was dropped and the file is closed. Cancel safe.
    ///
    /// # Errors
    /// The first error of writing; what came before it is in the file.
    pub async fn finished(mut self) -> Result<Written, WriteError> {
        while self.0.changed().await.is_ok() {}
        let progress = self.0.borrow();
        progress.error.clone().map_or(Ok(progress.written), Err)
    }
}

/// The writing side of a [`Recording`].
#[derive(Debug)]
pub(crate) struct Progressing(watch::Sender<Progress>);

impl Progressing {
    pub(crate) fn new() -> (Self, Recording) {
        let (sender, receiver) = watch::channel(Progress::default());
        (Self(sender), Recording(receiver))
    }

    /// Counts a frame, or keeps the first error.
    pub(crate) fn note(&self, result: Result<(), WriteError>) {
        self.0.send_modify(|progress| match result {
            Ok(()) => progress.written.frames += 1,
            Err(error) => {
                progress.error.get_or_insert(error);
            }
        });
    }

    /// Keeps the first error, counts nothing.
    pub(crate) fn close(&self, result: Result<(), WriteError>) {
        if result.is_err() {
            self.note(result);
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.borrow().error.is_some()
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::host::Codec;

    use super::*;

    struct Counting(std::sync::mpsc::Sender<Frame>);

    impl FrameSink for Counting {
        fn push(&mut self, frame: Frame) {
            self.0.send(frame).unwrap();
        }
        fn wants_key_frame(&mut self) -> bool {
            true
        }
    }

    /// Plays everything at once.
    #[derive(Default)]
    struct Playing(Playout);

    impl FrameSink for Playing {
        fn push(&mut self, _: Frame) {
            self.0.played += 960;
        }
        fn playout(&self) -> Option<Playout> {
            Some(self.0)
        }
    }

    #[test]
    fn what_one_sink_tells_of_its_playout_a_tee_and_a_thread_pass_on() {
        let (sender, frames) = std::sync::mpsc::channel();
        // The one behind is given a frame only when the thread has read what the one before told.
        let mut sink = Threaded::new(Tee::new().and(Counting(sender)).and(Playing::default()));
        assert_eq!(sink.playout(), None, "nothing was played yet");
        sink.push(Frame::new(Codec::Opus, 0, vec![]));
        sink.push(Frame::new(Codec::Opus, 960, vec![]));
        frames.iter().take(2).for_each(drop);
        assert!(sink.playout().unwrap().played >= 960);
    }

    #[test]
    fn a_tee_gives_every_sink_every_frame_and_collects_the_wishes() {
        let (sender, frames) = std::sync::mpsc::channel();
        let mut tee = Tee::new().and(Counting(sender.clone())).and(Counting(sender));
        tee.push(Frame::new(Codec::Vp8, 7, vec![1]));
        assert!(tee.wants_key_frame());
        drop(tee);
        assert_eq!(frames.iter().count(), 2);
    }

    #[test]
    fn a_threaded_sink_works_off_everything_before_it_ends() {
        let (sender, frames) = std::sync::mpsc::channel();
        let mut sink = Threaded::new(Counting(sender));
        (0..100).for_each(|n| sink.push(Frame::new(Codec::Vp8, n, vec![])));
        drop(sink);
        assert_eq!(frames.iter().map(|frame| frame.timestamp).sum::<u64>(), 4950);
    }

    #[test]
    fn what_a_threaded_sink_drops_is_counted_and_marked_as_a_gap() {
        let (frames, waiting) = sync_channel(1);
        let mut sink = Threaded {
            frames,
            wish: Arc::default(),
            playout: Arc::default(),
            dropped: Arc::default(),
            gap: false,
        };
        (0..3).for_each(|n| sink.push(Frame::new(Codec::Vp8, n, vec![])));
        assert_eq!(sink.dropped().load(Ordering::Relaxed), 2);
        assert!(waiting.recv().unwrap().contiguous);
        sink.push(Frame::new(Codec::Vp8, 3, vec![]));
        assert!(!waiting.recv().unwrap().contiguous);
    }
}
