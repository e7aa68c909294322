//! The streams of a call: remote tracks matched with what the other side says about them.
//!
//! Tracks and metadata come in any order and are matched again whenever either changes. A side
//! that sends no metadata at all shows its first stream as user media, as the specification asks
//! (T-19). js-sdk shows a screen again under the stream id of the first time in its description and
//! a new one in its metadata: what an id was for is remembered.

use std::collections::BTreeMap;

use crate::{
    id::StreamId,
    machine::{
        bounds::MAX_TRACKS,
        event::{Side, Stream},
        io::{Ignored, MediaKind},
    },
    wire::metadata::{Purpose, StreamInfo, StreamMetadata},
};

/// One remote track.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct RemoteTrack {
    stream: Option<StreamId>,
    kind: MediaKind,
}

/// What is known of the other side's streams.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct RemoteStreams {
    tracks: BTreeMap<String, RemoteTrack>,
    first_stream: Option<StreamId>,
    metadata: Option<StreamMetadata>,
    /// What streams were for that the metadata no longer names.
    former: BTreeMap<StreamId, Purpose>,
}

impl RemoteStreams {
    /// A track appeared, or changed its stream.
    pub(super) fn add_track(
        &mut self,
        mid: String,
        stream: Option<StreamId>,
        kind: MediaKind,
    ) -> Result<(), Ignored> {
        if !self.tracks.contains_key(&mid) && self.tracks.len() == MAX_TRACKS {
            return Err(Ignored::TooMany);
        }
        if self.first_stream.is_none() {
            self.first_stream.clone_from(&stream);
        }
        self.tracks.insert(mid, RemoteTrack { stream, kind });
        Ok(())
    }

    /// A track is gone; `false` when it was not there.
    pub(super) fn remove_track(&mut self, mid: &str) -> bool {
        self.tracks.remove(mid).is_some()
    }

    /// The other side said what its streams are. Saying nothing does not unsay anything.
    pub(super) fn set_metadata(&mut self, metadata: Option<StreamMetadata>) {
        let Some(metadata) = metadata else { return };
        for (id, info) in self.metadata.take().into_iter().flatten() {
            if self.former.len() == MAX_TRACKS {
                self.former.pop_first();
            }
            self.former.insert(id, info.purpose);
        }
        self.former.retain(|id, _| !metadata.contains_key(id));
        self.metadata = Some(metadata);
    }

    /// Whether the other side says what its streams are.
    pub(super) fn has_metadata(&self) -> bool {
        self.metadata.is_some()
    }

    /// The streams that can be shown now.
    pub(super) fn list(&self) -> Vec<Stream> {
        match &self.metadata {
            Some(metadata) => self.told(metadata),
            None => self.untold().into_iter().collect(),
        }
    }

    /// Whatever the metadata names, also without tracks: what `Guard::StreamsHaveTracks` forbids.
    pub(super) fn claimed(&self) -> Vec<Stream> {
        let claimed = self.metadata.iter().flatten().map(|(id, info)| Stream {
            side: Side::Remote,
            purpose: info.purpose.clone(),
            id: Some(id.clone()),
            kinds: Vec::new(),
            audio_muted: info.audio_muted,
            video_muted: info.video_muted,
        });
        claimed.collect()
    }

    /// The streams that the metadata names, if they have tracks and a purpose that we know. A track
    /// is shown once, however many streams are named for it.
    fn told(&self, metadata: &StreamMetadata) -> Vec<Stream> {
        let is_user = |(_, info): &(&StreamId, &StreamInfo)| info.purpose == Purpose::UserMedia;
        let user = metadata.iter().find(is_user).map(|(id, _)| id);
        let mut former = self.former.clone();
        let mut streams = Vec::new();
        for (id, info) in metadata.iter().filter(|(_, info)| is_known(&info.purpose)) {
            // Without msid a track can only belong to the one stream that there is.
            let own = self.kinds(|track| match &track.stream {
                Some(stream) => stream == id,
                None => user == Some(id),
            });
            let found = (!own.is_empty()).then(|| (id.clone(), own));
            let found = found.or_else(|| self.take_former(&mut former, &info.purpose));
            streams.extend(found.map(|(id, kinds)| Stream {
                side: Side::Remote,
                purpose: info.purpose.clone(),
                id: Some(id),
                kinds,
                audio_muted: info.audio_muted,
                video_muted: info.video_muted,
            }));
        }
        streams
    }

    /// A stream that was for the same purpose before and still has tracks, and what it brings.
    fn take_former(
        &self,
        former: &mut BTreeMap<StreamId, Purpose>,
        purpose: &Purpose,
    ) -> Option<(StreamId, Vec<MediaKind>)> {
        let brings = |id: &StreamId| self.kinds(|track| track.stream.as_ref() == Some(id));
        let mut same = former.iter().filter(|(_, was_for)| *was_for == purpose);
        let id = same.find(|(id, _)| !brings(id).is_empty())?.0.clone();
        former.remove(&id);
        let kinds = brings(&id);
        Some((id, kinds))
    }

    /// The first stream of a side that sends no metadata.
    fn untold(&self) -> Option<Stream> {
        let kinds = self.kinds(|track| track.stream == self.first_stream || track.stream.is_none());
        (!kinds.is_empty()).then(|| Stream {
            side: Side::Remote,
            purpose: Purpose::UserMedia,
            id: self.first_stream.clone(),
            audio_muted: !kinds.contains(&MediaKind::Audio),
            video_muted: !kinds.contains(&MediaKind::Video),
            kinds,
        })
    }

    fn kinds(&self, belongs: impl Fn(&RemoteTrack) -> bool) -> Vec<MediaKind> {
        let of = |kind| self.tracks.values().any(|track| track.kind == kind && belongs(track));
        [MediaKind::Audio, MediaKind::Video].into_iter().filter(|kind| of(*kind)).collect()
    }
}

const fn is_known(purpose: &Purpose) -> bool {
    match purpose {
        Purpose::UserMedia | Purpose::Screenshare => true,
        Purpose::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> StreamId {
        StreamId::parse(text).unwrap()
    }

    fn info(purpose: Purpose) -> StreamInfo {
        StreamInfo { purpose, audio_muted: false, video_muted: true }
    }

    fn add(streams: &mut RemoteStreams, mid: &str, stream: Option<&str>, kind: MediaKind) {
        streams.add_track(mid.into(), stream.map(id), kind).unwrap();
    }

    #[test]
    fn tracks_before_metadata_are_matched_when_it_comes() {
        let mut streams = RemoteStreams::default();
        streams.set_metadata(Some(StreamMetadata::new()));
        add(&mut streams, "0", Some("s"), MediaKind::Audio);
        assert!(streams.list().is_empty(), "a stream that is not named is not shown");
        streams.set_metadata(Some([(id("s"), info(Purpose::UserMedia))].into()));
        let list = streams.list();
        assert_eq!(list[0].kinds, [MediaKind::Audio]);
        assert_eq!((list[0].audio_muted, list[0].video_muted), (false, true));
        streams.set_metadata(None);
        assert_eq!(streams.list(), list, "silence does not unsay metadata");
    }

    #[test]
    fn a_screen_that_is_shown_again_may_keep_its_first_id_in_the_description() {
        let mut streams = RemoteStreams::default();
        let user = || (id("u"), info(Purpose::UserMedia));
        let screen = |name: &str| (id(name), info(Purpose::Screenshare));
        add(&mut streams, "0", Some("u"), MediaKind::Audio);
        add(&mut streams, "1", Some("s"), MediaKind::Video);
        streams.set_metadata(Some([user(), screen("s")].into()));
        assert_eq!(streams.list().len(), 2);
        streams.set_metadata(Some([user()].into()));
        assert_eq!(streams.list().len(), 1, "what is no longer named is not shown");
        streams.set_metadata(Some([user(), screen("t")].into()));
        let list = streams.list();
        let shown = list.iter().find(|stream| stream.purpose == Purpose::Screenshare).unwrap();
        assert_eq!((&shown.id, &shown.kinds[..]), (&Some(id("s")), &[MediaKind::Video][..]));
        streams.remove_track("1");
        assert_eq!(streams.list().len(), 1);
        for n in 0..=2 * MAX_TRACKS {
            streams.set_metadata(Some([screen(&n.to_string())].into()));
        }
        assert!(streams.former.len() <= MAX_TRACKS);
    }

    #[test]
    fn without_metadata_the_first_stream_is_user_media() {
        let mut streams = RemoteStreams::default();
        add(&mut streams, "0", Some("a"), MediaKind::Audio);
        add(&mut streams, "1", Some("a"), MediaKind::Video);
        add(&mut streams, "2", Some("b"), MediaKind::Video);
        let list = streams.list();
        assert_eq!(list.len(), 1);
        assert_eq!(
            (list[0].purpose.clone(), list[0].id.clone()),
            (Purpose::UserMedia, Some(id("a")))
        );
        assert_eq!(list[0].kinds, [MediaKind::Audio, MediaKind::Video]);
        assert_eq!((list[0].audio_muted, list[0].video_muted), (false, false));
    }

    #[test]
    fn tracks_without_stream_belong_to_user_media() {
        let mut streams = RemoteStreams::default();
        add(&mut streams, "0", None, MediaKind::Audio);
        assert_eq!(streams.list()[0].id, None);
        assert!(streams.list()[0].video_muted);
        streams.set_metadata(Some(
            [(id("u"), info(Purpose::UserMedia)), (id("s"), info(Purpose::Screenshare))].into(),
        ));
        let list = streams.list();
        assert_eq!((list.len(), list[0].id.clone()), (1, Some(id("u"))));
    }

    #[test]
    fn one_track_is_one_stream_however_many_are_named() {
        let named = |purpose: &Purpose, from: usize| -> StreamMetadata {
            (from..from + 9).map(|n| (id(&n.to_string()), info(purpose.clone()))).collect()
        };
        let mut without_msid = RemoteStreams::default();
        add(&mut without_msid, "0", None, MediaKind::Video);
        without_msid.set_metadata(Some(named(&Purpose::UserMedia, 10)));
        assert_eq!(without_msid.list().len(), 1);
        let mut shown_again = RemoteStreams::default();
        add(&mut shown_again, "0", Some("10"), MediaKind::Video);
        shown_again.set_metadata(Some(named(&Purpose::Screenshare, 10)));
        assert_eq!(shown_again.list().len(), 1);
        shown_again.set_metadata(Some(named(&Purpose::Screenshare, 20)));
        assert_eq!(shown_again.list().len(), 1, "by its former id");
        shown_again.set_metadata(Some(named(&Purpose::Screenshare, 2)));
        assert_eq!(shown_again.list().len(), 1, "what is named again is no former one");
    }

    #[test]
    fn an_unknown_purpose_is_not_shown_and_a_removed_track_is_gone() {
        let mut streams = RemoteStreams::default();
        add(&mut streams, "0", Some("x"), MediaKind::Audio);
        add(&mut streams, "1", Some("u"), MediaKind::Audio);
        let unknown = info(Purpose::Unknown("m.hologram".into()));
        streams
            .set_metadata(Some([(id("x"), unknown), (id("u"), info(Purpose::UserMedia))].into()));
        assert_eq!(streams.list().len(), 1);
        assert!(streams.remove_track("1") && !streams.remove_track("1"));
        assert!(streams.list().is_empty());
    }

    #[test]
    fn tracks_are_bounded() {
        let mut streams = RemoteStreams::default();
        for n in 0..MAX_TRACKS {
            add(&mut streams, &n.to_string(), None, MediaKind::Audio);
        }
        let more = streams.add_track("x".into(), None, MediaKind::Audio);
        assert_eq!(more, Err(Ignored::TooMany));
        add(&mut streams, "0", None, MediaKind::Video);
    }
}
