//! Our own media in a call: which sources are captured, which are muted, and what of it the
//! descriptions and the metadata say.

use std::collections::BTreeMap;

use crate::{
    id::{StreamId, TrackId},
    machine::{
        event::{Side, Stream},
        fingerprint::Fingerprint,
        io::{CallMedia, Direction, MediaKind, MediaSource, Plan, PlanLine, Slot},
    },
    wire::metadata::{Purpose, StreamInfo, StreamMetadata},
};

/// One local source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    track: TrackId,
    standing: Standing,
}

/// How far a capture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    /// Asked for; a person may be thinking.
    Asked,
    /// Open.
    Ready,
    /// Refused, missing or ended by itself.
    Gone,
}

/// The media of our side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LocalMedia {
    stream: StreamId,
    sources: BTreeMap<MediaSource, Source>,
    muted: BTreeMap<MediaSource, bool>,
}

impl LocalMedia {
    pub(super) fn new(stream: StreamId) -> Self {
        Self { stream, sources: BTreeMap::new(), muted: BTreeMap::new() }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.stream, &self.muted));
        for (name, source) in &self.sources {
            print.value((name, source.standing));
            print.track(source.track);
        }
    }

    /// What the user muted, and nothing that is captured.
    pub(super) fn without_tracks(&self) -> Self {
        Self { sources: BTreeMap::new(), ..self.clone() }
    }

    /// Takes away all other sources than these, with their tracks and mutes.
    pub(super) fn remove_but(&mut self, wanted: &[MediaSource]) -> Vec<(MediaSource, TrackId)> {
        self.muted.retain(|source, _| wanted.contains(source));
        let removed = self.sources.extract_if(.., |source, _| !wanted.contains(source));
        removed.map(|(source, entry)| (source, entry.track)).collect()
    }

    /// Takes over what another call had, under our own stream; gives back what of it is muted.
    pub(super) fn adopt(&mut self, other: Self) -> Vec<MediaSource> {
        self.sources = other.sources;
        self.muted = other.muted;
        let muted = self.muted.iter().filter(|(_, muted)| **muted);
        muted.map(|(source, _)| *source).collect()
    }

    /// What a call of this kind captures.
    pub(super) fn sources_of(media: CallMedia) -> &'static [MediaSource] {
        match media {
            CallMedia::Voice => &[MediaSource::Microphone],
            CallMedia::Video => &[MediaSource::Microphone, MediaSource::Camera],
        }
    }

    pub(super) fn is_started(&self) -> bool {
        !self.sources.is_empty()
    }

    /// A capture was asked for.
    pub(super) fn ask(&mut self, source: MediaSource, track: TrackId) {
        self.sources.insert(source, Source { track, standing: Standing::Asked });
    }

    /// A capture was answered.
    pub(super) fn on_captured(&mut self, source: MediaSource, granted: bool) {
        let standing = if granted { Standing::Ready } else { Standing::Gone };
        if let Some(entry) = self.sources.get_mut(&source) {
            entry.standing = standing;
        }
    }

    /// A track ended by itself; which source it was.
    pub(super) fn on_track_ended(&mut self, track: TrackId) -> Option<MediaSource> {
        let (source, entry) = self.sources.iter_mut().find(|(_, entry)| entry.track == track)?;
        let was_there = entry.standing != Standing::Gone;
        entry.standing = Standing::Gone;
        was_there.then_some(*source)
    }

    /// Whether a capture is not answered yet.
    pub(super) fn is_asking(&self) -> bool {
        self.sources.values().any(|source| source.standing == Standing::Asked)
    }

    /// The track of a source that is open.
    pub(super) fn ready(&self, source: MediaSource) -> Option<TrackId> {
        let entry = self.sources.get(&source)?;
        (entry.standing == Standing::Ready).then_some(entry.track)
    }

    /// Every track that was ever asked for and is to be released.
    pub(super) fn tracks(&self) -> Vec<TrackId> {
        self.sources.values().map(|source| source.track).collect()
    }

    pub(super) fn is_muted(&self, source: MediaSource) -> bool {
        self.muted.get(&source).copied().unwrap_or_default()
    }

    pub(super) fn set_muted(&mut self, source: MediaSource, muted: bool) {
        self.muted.insert(source, muted);
    }

    /// What our description should say, when the other side can show a picture if `video`.
    pub(super) fn plan(&self, video: bool) -> Plan {
        let mut lines = vec![self.line(Slot::Audio, MediaSource::Microphone)];
        if video {
            lines.push(self.line(Slot::Video, MediaSource::Camera));
        }
        Plan { lines }
    }

    fn line(&self, slot: Slot, source: MediaSource) -> PlanLine {
        let track = self.ready(source);
        PlanLine {
            slot,
            direction: if track.is_some() { Direction::SendRecv } else { Direction::RecvOnly },
            track,
            stream: track.map(|_| self.stream.clone()),
        }
    }

    /// Our stream as it is shown to the user; `None` before anything is captured.
    pub(super) fn stream(&self) -> Option<Stream> {
        let mut kinds = Vec::new();
        kinds.extend(self.ready(MediaSource::Microphone).map(|_| MediaKind::Audio));
        kinds.extend(self.ready(MediaSource::Camera).map(|_| MediaKind::Video));
        let info = self.info();
        (!kinds.is_empty()).then(|| Stream {
            side: Side::Local,
            purpose: Purpose::UserMedia,
            id: Some(self.stream.clone()),
            kinds,
            audio_muted: info.audio_muted,
            video_muted: info.video_muted,
        })
    }

    /// Our streams as we tell the other side. Always complete.
    pub(super) fn metadata(&self) -> StreamMetadata {
        let captured = self.sources.values().any(|source| source.standing == Standing::Ready);
        captured.then(|| (self.stream.clone(), self.info())).into_iter().collect()
    }

    fn info(&self) -> StreamInfo {
        let silent = |source| self.ready(source).is_none() || self.is_muted(source);
        StreamInfo {
            purpose: Purpose::UserMedia,
            audio_muted: silent(MediaSource::Microphone),
            video_muted: silent(MediaSource::Camera),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MediaSource::{Camera, Microphone};

    fn media() -> LocalMedia {
        LocalMedia::new(StreamId::parse("s").unwrap())
    }

    #[test]
    fn a_picture_that_is_missing_is_still_received() {
        let mut media = media();
        assert!(!media.is_started());
        media.ask(Microphone, TrackId(1));
        media.ask(Camera, TrackId(2));
        assert!(media.is_started() && media.is_asking());
        media.on_captured(Microphone, true);
        media.on_captured(Camera, false);
        assert!(!media.is_asking());
        let plan = media.plan(true);
        assert_eq!(plan.lines[0].direction, Direction::SendRecv);
        assert_eq!(plan.lines[0].track, Some(TrackId(1)));
        assert_eq!(plan.lines[1].direction, Direction::RecvOnly);
        assert_eq!((plan.lines[1].track, plan.lines[1].stream.clone()), (None, None));
        assert_eq!(media.plan(false).lines.len(), 1);
        assert_eq!(media.tracks(), [TrackId(1), TrackId(2)]);
    }

    #[test]
    fn metadata_tells_what_is_muted_and_what_is_missing() {
        let mut media = media();
        assert!(media.metadata().is_empty() && media.stream().is_none());
        media.ask(Microphone, TrackId(1));
        media.on_captured(Microphone, true);
        let told = |media: &LocalMedia| media.metadata().into_values().next().unwrap();
        assert_eq!((told(&media).audio_muted, told(&media).video_muted), (false, true));
        media.set_muted(Microphone, true);
        assert!(told(&media).audio_muted && media.stream().unwrap().audio_muted);
        media.set_muted(Microphone, false);
        media.ask(Camera, TrackId(2));
        media.on_captured(Camera, true);
        assert!(!told(&media).video_muted);
        assert_eq!(media.stream().unwrap().kinds, [MediaKind::Audio, MediaKind::Video]);
    }

    #[test]
    fn a_track_ends_once() {
        let mut media = media();
        media.ask(Microphone, TrackId(1));
        media.on_captured(Microphone, true);
        assert_eq!(media.on_track_ended(TrackId(2)), None);
        assert_eq!(media.on_track_ended(TrackId(1)), Some(Microphone));
        assert_eq!(media.on_track_ended(TrackId(1)), None);
        assert_eq!(media.ready(Microphone), None);
    }
}
