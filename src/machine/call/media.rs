//! Our own media in a call: which sources are captured, which are muted, and what of it the
//! descriptions and the metadata say.

use std::collections::{BTreeMap, BTreeSet};

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
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    track: TrackId,
    /// The stream that it opens, unless it belongs to the user's own.
    stream: Option<StreamId>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct LocalMedia {
    stream: StreamId,
    sources: BTreeMap<MediaSource, Source>,
    muted: BTreeSet<MediaSource>,
    ownership: Ownership,
}

/// Whose the tracks are: who opens, switches and releases them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ownership {
    Own,
    /// A group call's, which all its legs send.
    Lent,
}

impl LocalMedia {
    pub(in crate::machine) fn new(stream: StreamId) -> Self {
        let ownership = Ownership::Own;
        Self { stream, sources: BTreeMap::new(), muted: BTreeSet::new(), ownership }
    }

    /// The same for somebody who sends it, and neither opens nor closes anything of it.
    pub(in crate::machine) fn lent(&self) -> Self {
        let mut lent = Self { ownership: Ownership::Lent, ..self.clone() };
        // Nobody waits while a person looks for the window that he wants to show.
        let picking = |source: &Source| source.standing == Standing::Asked;
        if lent.sources.get(&MediaSource::Screen).is_some_and(picking) {
            lent.sources.remove(&MediaSource::Screen);
        }
        lent
    }

    /// The track of a source that is open and ours to switch.
    pub(in crate::machine) fn own(&self, source: MediaSource) -> Option<TrackId> {
        self.ready(source).filter(|_| self.ownership == Ownership::Own)
    }

    pub(in crate::machine) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.stream, &self.muted, self.ownership, self.sources.len()));
        for (name, source) in &self.sources {
            print.value((name, source.standing, &source.stream));
            print.track(source.track);
        }
    }

    /// What the user muted, and nothing that is captured.
    pub(in crate::machine) fn without_tracks(&self) -> Self {
        Self { sources: BTreeMap::new(), ..self.clone() }
    }

    /// Takes away all other sources than these, with their tracks and mutes.
    pub(in crate::machine) fn remove_but(
        &mut self,
        wanted: &[MediaSource],
    ) -> Vec<(MediaSource, TrackId)> {
        self.muted.retain(|source| wanted.contains(source));
        let removed = self.sources.extract_if(.., |source, _| !wanted.contains(source));
        removed.map(|(source, entry)| (source, entry.track)).collect()
    }

    /// Takes over what another call had, under our own stream; gives back what of it is muted.
    pub(in crate::machine) fn adopt(&mut self, other: Self) -> Vec<MediaSource> {
        self.sources = other.sources;
        self.muted = other.muted;
        self.muted.iter().copied().collect()
    }

    /// What a call of this kind captures.
    pub(in crate::machine) fn sources_of(media: CallMedia) -> &'static [MediaSource] {
        match media {
            CallMedia::Voice => &[MediaSource::Microphone],
            CallMedia::Video => &[MediaSource::Microphone, MediaSource::Camera],
        }
    }

    pub(in crate::machine) fn is_started(&self) -> bool {
        !self.sources.is_empty() || self.ownership == Ownership::Lent
    }

    /// A capture was asked for. Gives the source's former track, which is of no use any more.
    pub(in crate::machine) fn ask(
        &mut self,
        source: MediaSource,
        track: TrackId,
        stream: Option<StreamId>,
    ) -> Option<TrackId> {
        let asked = Source { track, stream, standing: Standing::Asked };
        self.sources.insert(source, asked).map(|former| former.track)
    }

    /// A source is wanted no more; its track, if there is one.
    pub(in crate::machine) fn close(&mut self, source: MediaSource) -> Option<TrackId> {
        self.sources.remove(&source).map(|closed| closed.track)
    }

    /// Whether a source is open or being opened.
    pub(in crate::machine) fn is_open(&self, source: MediaSource) -> bool {
        self.sources.get(&source).is_some_and(|entry| entry.standing != Standing::Gone)
    }

    /// The sources that are open.
    pub(in crate::machine) fn open_sources(&self) -> Vec<MediaSource> {
        let open = self.sources.iter().filter(|(_, entry)| entry.standing == Standing::Ready);
        open.map(|(source, _)| *source).collect()
    }

    /// A capture was answered.
    pub(in crate::machine) fn on_captured(&mut self, source: MediaSource, granted: bool) {
        let standing = if granted { Standing::Ready } else { Standing::Gone };
        if let Some(entry) = self.sources.get_mut(&source) {
            entry.standing = standing;
        }
    }

    /// Which source a track is.
    pub(in crate::machine) fn source_of(&self, track: TrackId) -> Option<MediaSource> {
        let mut sources = self.sources.iter();
        sources.find(|(_, entry)| entry.track == track).map(|(source, _)| *source)
    }

    /// A track ended by itself; which source it was.
    pub(in crate::machine) fn on_track_ended(&mut self, track: TrackId) -> Option<MediaSource> {
        let (source, entry) = self.sources.iter_mut().find(|(_, entry)| entry.track == track)?;
        let was_there = entry.standing != Standing::Gone;
        entry.standing = Standing::Gone;
        was_there.then_some(*source)
    }

    /// Whether a capture is not answered yet.
    pub(in crate::machine) fn is_asking(&self) -> bool {
        self.sources.values().any(|source| source.standing == Standing::Asked)
    }

    /// Whether a source was refused, missing or ended by itself.
    pub(in crate::machine) fn is_gone(&self, source: MediaSource) -> bool {
        self.sources.get(&source).is_some_and(|entry| entry.standing == Standing::Gone)
    }

    /// The track of a source that is open.
    pub(in crate::machine) fn ready(&self, source: MediaSource) -> Option<TrackId> {
        let entry = self.sources.get(&source)?;
        (entry.standing == Standing::Ready).then_some(entry.track)
    }

    /// Every track that was ever asked for and is to be released.
    pub(in crate::machine) fn tracks(&self) -> Vec<TrackId> {
        match self.ownership {
            Ownership::Own => self.sources.values().map(|source| source.track).collect(),
            Ownership::Lent => Vec::new(),
        }
    }

    pub(in crate::machine) fn is_muted(&self, source: MediaSource) -> bool {
        self.muted.contains(&source)
    }

    pub(in crate::machine) fn set_muted(&mut self, source: MediaSource, muted: bool) {
        if muted {
            self.muted.insert(source);
        } else {
            self.muted.remove(&source);
        }
    }

    /// What our description should say: of the lines that the session has, and of those that
    /// our sources need. Whoever holds takes nothing in.
    pub(in crate::machine) fn plan(&self, slots: &BTreeSet<Slot>, holds: bool) -> Plan {
        let mut slots = slots.clone();
        slots.extend(self.open_sources().into_iter().map(MediaSource::slot));
        Plan { lines: slots.into_iter().map(|slot| self.line(slot, holds)).collect() }
    }

    fn line(&self, slot: Slot, holds: bool) -> PlanLine {
        let sent = source_of(slot).and_then(|source| Some((source, self.ready(source)?)));
        let direction = match (sent.is_some(), holds) {
            (true, false) => Direction::SendRecv,
            (true, true) => Direction::SendOnly,
            (false, false) => Direction::RecvOnly,
            (false, true) => Direction::Inactive,
        };
        PlanLine {
            slot,
            direction,
            track: sent.map(|(_, track)| track),
            stream: sent.and_then(|(source, _)| self.stream_of(source)),
        }
    }

    /// The stream that a source belongs to.
    fn stream_of(&self, source: MediaSource) -> Option<StreamId> {
        let own = self.sources.get(&source)?.stream.as_ref();
        Some(own.unwrap_or(&self.stream).clone())
    }

    /// Our streams as they are shown to the user.
    pub(in crate::machine) fn streams(&self) -> impl Iterator<Item = Stream> {
        let named = self.metadata().into_iter();
        named.map(|(id, info)| Stream {
            side: Side::Local,
            kinds: self.kinds(&info.purpose),
            purpose: info.purpose,
            id: Some(id),
            audio_muted: info.audio_muted,
            video_muted: info.video_muted,
        })
    }

    fn kinds(&self, purpose: &Purpose) -> Vec<MediaKind> {
        let open = self.open_sources().into_iter();
        open.filter(|source| purpose_of(*source) == *purpose).map(MediaSource::kind).collect()
    }

    /// Our streams as we tell the other side. Always complete.
    pub(in crate::machine) fn metadata(&self) -> StreamMetadata {
        let open = self.open_sources().into_iter();
        open.filter_map(|source| Some((self.stream_of(source)?, self.info(source)))).collect()
    }

    /// What is said of the stream that a source belongs to.
    fn info(&self, source: MediaSource) -> StreamInfo {
        let silent = |source| self.ready(source).is_none() || self.is_muted(source);
        let purpose = purpose_of(source);
        let (audio_muted, video_muted) = match source {
            MediaSource::Microphone | MediaSource::Camera => {
                (silent(MediaSource::Microphone), silent(MediaSource::Camera))
            }
            MediaSource::Screen => (true, silent(MediaSource::Screen)),
        };
        StreamInfo { purpose, audio_muted, video_muted }
    }
}

const fn purpose_of(source: MediaSource) -> Purpose {
    match source {
        MediaSource::Microphone | MediaSource::Camera => Purpose::UserMedia,
        MediaSource::Screen => Purpose::Screenshare,
    }
}

/// What a line of ours carries; sound of a screen is not captured yet.
const fn source_of(slot: Slot) -> Option<MediaSource> {
    match slot {
        Slot::Audio => Some(MediaSource::Microphone),
        Slot::Video => Some(MediaSource::Camera),
        Slot::Screen => Some(MediaSource::Screen),
        Slot::ScreenAudio => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MediaSource::{Camera, Microphone};

    fn media() -> LocalMedia {
        LocalMedia::new(StreamId::parse("s").unwrap())
    }

    fn ask(media: &mut LocalMedia, source: MediaSource, track: TrackId) {
        let own = (source == MediaSource::Screen).then(|| StreamId::parse("screen").unwrap());
        assert_eq!(media.ask(source, track, own), None);
    }

    fn plan(media: &LocalMedia, slots: &[Slot], holds: bool) -> Vec<PlanLine> {
        media.plan(&slots.iter().copied().collect(), holds).lines
    }

    #[test]
    fn a_picture_that_is_missing_is_still_received() {
        let mut media = media();
        assert!(!media.is_started());
        ask(&mut media, Microphone, TrackId(1));
        ask(&mut media, Camera, TrackId(2));
        assert!(media.is_started() && media.is_asking());
        media.on_captured(Microphone, true);
        media.on_captured(Camera, false);
        assert!(!media.is_asking());
        let lines = plan(&media, &[Slot::Audio, Slot::Video], false);
        assert_eq!(lines[0].direction, Direction::SendRecv);
        assert_eq!(lines[0].track, Some(TrackId(1)));
        assert_eq!(lines[1].direction, Direction::RecvOnly);
        assert_eq!((lines[1].track, lines[1].stream.clone()), (None, None));
        assert_eq!(plan(&media, &[Slot::Audio], false).len(), 1);
        assert_eq!(media.tracks(), [TrackId(1), TrackId(2)]);
    }

    #[test]
    fn metadata_tells_what_is_muted_and_what_is_missing() {
        let mut media = media();
        assert!(media.metadata().is_empty() && media.streams().next().is_none());
        ask(&mut media, Microphone, TrackId(1));
        media.on_captured(Microphone, true);
        let told = |media: &LocalMedia| media.metadata().into_values().next().unwrap();
        assert_eq!((told(&media).audio_muted, told(&media).video_muted), (false, true));
        media.set_muted(Microphone, true);
        assert!(told(&media).audio_muted && media.streams().next().unwrap().audio_muted);
        media.set_muted(Microphone, false);
        ask(&mut media, Camera, TrackId(2));
        media.on_captured(Camera, true);
        assert!(!told(&media).video_muted);
        assert_eq!(media.streams().next().unwrap().kinds, [MediaKind::Audio, MediaKind::Video]);
    }

    #[test]
    fn a_track_ends_once() {
        let mut media = media();
        ask(&mut media, Microphone, TrackId(1));
        media.on_captured(Microphone, true);
        assert_eq!(media.on_track_ended(TrackId(2)), None);
        assert_eq!(media.on_track_ended(TrackId(1)), Some(Microphone));
        assert_eq!(media.on_track_ended(TrackId(1)), None);
        assert_eq!(media.ready(Microphone), None);
    }

    #[test]
    fn whoever_holds_sends_and_takes_nothing_in() {
        let mut media = media();
        ask(&mut media, Microphone, TrackId(1));
        media.on_captured(Microphone, true);
        let directions = |media: &LocalMedia, holds| {
            let lines = plan(media, &[Slot::Audio, Slot::Video], holds);
            lines.iter().map(|line| line.direction).collect::<Vec<_>>()
        };
        let before = directions(&media, false);
        assert_eq!(directions(&media, true), [Direction::SendOnly, Direction::Inactive]);
        assert_eq!(directions(&media, false), before);
    }

    #[test]
    fn a_screen_is_a_stream_of_its_own() {
        let mut media = media();
        ask(&mut media, Microphone, TrackId(1));
        ask(&mut media, MediaSource::Screen, TrackId(2));
        media.on_captured(Microphone, true);
        media.on_captured(MediaSource::Screen, true);
        let told = media.metadata();
        assert_eq!(told.len(), 2);
        let screen = &told[&StreamId::parse("screen").unwrap()];
        assert_eq!(screen.purpose, Purpose::Screenshare);
        assert!(screen.audio_muted && !screen.video_muted);
        let lines = plan(&media, &[Slot::Audio], false);
        assert_eq!(lines[1].slot, Slot::Screen);
        assert_ne!(lines[0].stream, lines[1].stream);
        assert_eq!(media.close(MediaSource::Screen), Some(TrackId(2)));
        assert_eq!(media.metadata().len(), 1);
        assert_eq!(media.close(MediaSource::Screen), None);
    }
}
