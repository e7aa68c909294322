//! Media with a flaw.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Codec, Frame, FrameSink, FrameSource, Media, Playout, RemoteTrack, SourceControl},
    id::{SessionId, TrackId},
    machine::io::{Capture, Fault},
};

/// Devices that somebody let go of, and that are open still.
pub(crate) type Kept = Arc<Mutex<BTreeMap<TrackId, Vec<Box<dyn FrameSource>>>>>;

/// Media whose devices are never closed.
pub(crate) struct Keeping {
    pub(crate) inner: Arc<dyn Media>,
    pub(crate) kept: Kept,
}

#[async_trait]
impl Media for Keeping {
    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        let inner = self.inner.capture(session, track, what).await?;
        Ok(Box::new(KeptSource { track, inner: Some(inner), kept: self.kept.clone() }))
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        self.inner.sink(track)
    }
}

struct KeptSource {
    track: TrackId,
    /// There until the end.
    inner: Option<Box<dyn FrameSource>>,
    kept: Kept,
}

#[async_trait]
impl FrameSource for KeptSource {
    fn codec(&self) -> Codec {
        self.inner.as_ref().unwrap().codec()
    }

    async fn next(&mut self) -> Option<Frame> {
        self.inner.as_mut().unwrap().next().await
    }

    fn control(&mut self, control: SourceControl) {
        self.inner.as_mut().unwrap().control(control);
    }

    fn has_device(&self) -> bool {
        self.inner.as_ref().unwrap().has_device()
    }
}

impl Drop for KeptSource {
    fn drop(&mut self) {
        self.kept.lock().unwrap().entry(self.track).or_default().extend(self.inner.take());
    }
}

/// Media whose sinks want no key frames, and do not hear everything of a frame.
pub(crate) struct Deaf {
    pub(crate) inner: Arc<dyn Media>,
    /// Whether they hear levels.
    pub(crate) levels: bool,
    /// Whether they hear that one frame follows another.
    pub(crate) contiguous: bool,
}

#[async_trait]
impl Media for Deaf {
    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        self.inner.capture(session, track, what).await
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        let inner = self.inner.sink(track)?;
        Some(Box::new(DeafSink { inner, levels: self.levels, contiguous: self.contiguous }))
    }
}

struct DeafSink {
    inner: Box<dyn FrameSink>,
    levels: bool,
    contiguous: bool,
}

impl FrameSink for DeafSink {
    fn push(&mut self, frame: Frame) {
        let audio_level = frame.audio_level.filter(|_| self.levels);
        let contiguous = frame.contiguous && self.contiguous;
        self.inner.push(Frame { audio_level, contiguous, ..frame });
    }

    fn playout(&self) -> Option<Playout> {
        self.inner.playout()
    }
}
