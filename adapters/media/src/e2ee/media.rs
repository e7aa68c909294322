//! Around the application's media: every source encrypts, every sink decrypts, in calls that are
//! covered. Engines notice nothing.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_voip::{
    host::{FrameSink, FrameSource, Media, RemoteTrack},
    id::{SessionId, TrackId},
    machine::io::{Capture, Fault},
};

use super::{keys::FrameKeys, opening::Opening, sealing::Sealing};

/// The application's media with encrypted frames: what an engine is given in place of it.
///
/// Frames of calls that are not covered ([`Cover`](super::Cover)) pass unchanged; it is decided
/// for each frame, so a call may be switched on at any moment. A remote track without a member
/// ([`RemoteTrack::member`]: calls of two) cannot be opened in a covered call: the library has no keys
/// for those.
#[derive(Clone)]
pub struct SealedMedia {
    media: Arc<dyn Media>,
    keys: FrameKeys,
}

impl SealedMedia {
    /// Puts these keys around this media.
    pub fn new(media: Arc<dyn Media>, keys: FrameKeys) -> Arc<Self> {
        Arc::new(Self { media, keys })
    }
}

#[async_trait]
impl Media for SealedMedia {
    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        let source = self.media.capture(session, track, what).await?;
        Ok(Box::new(Sealing::new(source, self.keys.clone(), session)))
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        let (session, member) = (track.session, track.member.clone());
        let sink = self.media.sink(track)?;
        Some(Box::new(Opening::new(sink, self.keys.clone(), session, member)))
    }
}

impl std::fmt::Debug for SealedMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedMedia").field("keys", &self.keys).finish_non_exhaustive()
    }
}
