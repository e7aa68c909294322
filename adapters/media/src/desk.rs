//! What an engine has of a studio: sources that are open, and sinks that serve for once.
//!
//! A sink for once is lent to one track at a time and comes back when that ends: after a hold the
//! engine asks for a sink anew, for the same sound. It has served, and is dropped, when no track
//! and no source is left: the call is over, and whoever waits for that (`PcmOutput`, `Recording`)
//! learns it. Nothing else tells a studio of the end of a call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Codec, Frame, FrameSink, FrameSource, Playout, SourceControl},
    machine::io::MediaKind,
};

use crate::splice::Splice;

/// The desk at which sources and sinks are given out.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Shared>);

type Shared = Mutex<Inside>;

#[derive(Default)]
struct Inside {
    /// The sinks for once.
    sinks: BTreeMap<MediaKind, Place>,
    /// How many sources an engine has; `None`: it never had one.
    sources: Option<usize>,
}

/// The place of one sink.
struct Place {
    /// `None`: a track has it, or it has served.
    sink: Option<Box<dyn FrameSink>>,
    splice: Splice,
    was_lent: bool,
}

impl Desk {
    /// Keeps a sink for once, in place of an earlier one.
    pub(crate) fn keep(&self, kind: MediaKind, sink: impl FrameSink + 'static) {
        let place = Place { sink: Some(Box::new(sink)), splice: Splice::new(), was_lent: false };
        let old = lock(&self.0).sinks.insert(kind, place);
        drop(old);
    }

    /// Keeps none of this kind.
    pub(crate) fn forget(&self, kind: MediaKind) {
        let old = lock(&self.0).sinks.remove(&kind);
        drop(old);
    }

    /// The sink, unless a track has it.
    pub(crate) fn lend(&self, kind: MediaKind) -> Option<Box<dyn FrameSink>> {
        let mut inside = lock(&self.0);
        let place = inside.sinks.get_mut(&kind)?;
        let (sink, mut splice) = (place.sink.take()?, place.splice);
        place.was_lent = true;
        splice.cut();
        Some(Box::new(Lent { sink: Some(sink), splice, kind, desk: Arc::downgrade(&self.0) }))
    }

    /// The source, counted while it is open.
    pub(crate) fn open(&self, source: Box<dyn FrameSource>) -> Box<dyn FrameSource> {
        *lock(&self.0).sources.get_or_insert_default() += 1;
        Box::new(Opened { source, desk: Arc::downgrade(&self.0) })
    }
}

impl Inside {
    fn is_over(&self) -> bool {
        self.sources == Some(0)
    }

    /// One source less; the sinks that have served, if it was the last.
    fn close(&mut self) -> Vec<Box<dyn FrameSink>> {
        self.sources = self.sources.map(|sources| sources.saturating_sub(1));
        if !self.is_over() {
            return Vec::new();
        }
        let served = self.sinks.values_mut().filter(|place| place.was_lent);
        served.filter_map(|place| place.sink.take()).collect()
    }

    /// Takes a sink back, unless it has served.
    fn take_back(&mut self, lent: &mut Lent) {
        if self.is_over() {
            return;
        }
        if let Some(place) = self.sinks.get_mut(&lent.kind) {
            (place.sink, place.splice) = (lent.sink.take(), lent.splice);
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Inside> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sink while a track has it.
struct Lent {
    sink: Option<Box<dyn FrameSink>>,
    splice: Splice,
    kind: MediaKind,
    /// Gone with its studio: then the sink has served.
    desk: Weak<Shared>,
}

impl FrameSink for Lent {
    fn push(&mut self, frame: Frame) {
        let frame = self.splice.join(frame);
        if let Some(sink) = &mut self.sink {
            sink.push(frame);
        }
    }

    fn wants_key_frame(&mut self) -> bool {
        self.sink.as_mut().is_some_and(|sink| sink.wants_key_frame())
    }

    fn playout(&self) -> Option<Playout> {
        self.sink.as_ref()?.playout()
    }
}

impl Drop for Lent {
    /// What is not taken back is dropped after this, when nothing is locked any more.
    fn drop(&mut self) {
        if let Some(desk) = self.desk.upgrade() {
            lock(&desk).take_back(self);
        }
    }
}

/// A source while it is open.
struct Opened {
    source: Box<dyn FrameSource>,
    desk: Weak<Shared>,
}

#[async_trait]
impl FrameSource for Opened {
    fn codec(&self) -> Codec {
        self.source.codec()
    }

    async fn next(&mut self) -> Option<Frame> {
        self.source.next().await
    }

    fn control(&mut self, control: SourceControl) {
        self.source.control(control);
    }

    fn has_device(&self) -> bool {
        self.source.has_device()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.upgrade() {
            let served = lock(&desk).close();
            drop(served);
        }
    }
}
