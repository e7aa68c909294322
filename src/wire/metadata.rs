//! `sdp_stream_metadata`: which stream is what, and what of it is muted (MSC3077).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::json::{Object, flag, object, shortened, text};
use crate::id::StreamId;

/// What a stream shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// `m.usermedia`: microphone and camera.
    UserMedia,
    /// `m.screenshare`: a screen, perhaps with its sound.
    Screenshare,
    /// Anything else: such a stream is ignored, as the specification asks.
    Unknown(String),
}

/// One stream's entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamInfo {
    /// What it shows.
    pub purpose: Purpose,
    /// Whether its sound is muted; `false` where the sender says nothing.
    pub audio_muted: bool,
    /// Whether its picture is muted; `false` where the sender says nothing.
    pub video_muted: bool,
}

/// All streams of one side. Always complete: a stream that is not named is gone.
pub type StreamMetadata = BTreeMap<StreamId, StreamInfo>;

/// Key of the specification; goes before the other.
pub(super) const STABLE_KEY: &str = "sdp_stream_metadata";

/// The only key that Famedly's clients know.
const UNSTABLE_KEY: &str = "org.matrix.msc3077.sdp_stream_metadata";

/// Most bytes of an unknown purpose that are kept.
pub const MAX_PURPOSE_BYTES: usize = 64;

/// Most streams that one description may name; the rest is left unread.
pub const MAX_STREAMS: usize = 16;

impl Purpose {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "m.usermedia" => Self::UserMedia,
            "m.screenshare" => Self::Screenshare,
            other => Self::Unknown(shortened(other, MAX_PURPOSE_BYTES)),
        }
    }

    /// The text that is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::UserMedia => "m.usermedia",
            Self::Screenshare => "m.screenshare",
            Self::Unknown(text) => text,
        }
    }
}

/// The streams of an event; `None` where it has neither key. Entries without a purpose or with an
/// id that none can have are skipped.
pub(super) fn read(content: &Object) -> Option<StreamMetadata> {
    let map = object(content, STABLE_KEY).or_else(|| object(content, UNSTABLE_KEY))?;
    Some(map.iter().filter_map(|(id, info)| read_one(id, info)).take(MAX_STREAMS).collect())
}

fn read_one(id: &str, info: &Value) -> Option<(StreamId, StreamInfo)> {
    let info = info.as_object()?;
    let info = StreamInfo {
        purpose: Purpose::parse(text(info, "purpose")?),
        audio_muted: flag(info, "audio_muted"),
        video_muted: flag(info, "video_muted"),
    };
    Some((StreamId::parse(id).ok()?, info))
}

/// The keys that streams are written under.
pub(super) const KEYS: [&str; 2] = [UNSTABLE_KEY, STABLE_KEY];

/// The streams as they are written.
pub(super) struct Written<'a>(pub(super) &'a StreamMetadata);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, info)| (id.as_str(), WrittenInfo::of(info))))
    }
}

#[derive(Serialize)]
struct WrittenInfo<'a> {
    purpose: &'a str,
    audio_muted: bool,
    video_muted: bool,
}

impl<'a> WrittenInfo<'a> {
    fn of(info: &'a StreamInfo) -> Self {
        let StreamInfo { purpose, audio_muted, video_muted } = info;
        let (audio_muted, video_muted) = (*audio_muted, *video_muted);
        Self { purpose: purpose.as_str(), audio_muted, video_muted }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(content: Value) -> Option<StreamMetadata> {
        read(content.as_object().unwrap())
    }

    fn one(id: &str, purpose: Purpose, audio_muted: bool, video_muted: bool) -> StreamMetadata {
        let info = StreamInfo { purpose, audio_muted, video_muted };
        StreamMetadata::from([(StreamId::parse(id).unwrap(), info)])
    }

    #[test]
    fn the_stable_key_goes_before_the_unstable_one() {
        let stable = json!({"s": {"purpose": "m.usermedia", "audio_muted": true}});
        let unstable = json!({"u": {"purpose": "m.screenshare", "video_muted": true}});
        let read_stable = one("s", Purpose::UserMedia, true, false);
        let read_unstable = one("u", Purpose::Screenshare, false, true);
        assert_eq!(read_json(json!({STABLE_KEY: stable})), Some(read_stable.clone()));
        assert_eq!(read_json(json!({UNSTABLE_KEY: unstable})), Some(read_unstable.clone()));
        assert_eq!(
            read_json(json!({STABLE_KEY: stable, UNSTABLE_KEY: unstable})),
            Some(read_stable)
        );
        assert_eq!(
            read_json(json!({STABLE_KEY: null, UNSTABLE_KEY: unstable})),
            Some(read_unstable)
        );
    }

    #[test]
    fn no_metadata_is_not_the_same_as_no_streams() {
        assert_eq!(read_json(json!({})), None);
        assert_eq!(read_json(json!({STABLE_KEY: []})), None);
        assert_eq!(read_json(json!({STABLE_KEY: {}})), Some(StreamMetadata::new()));
    }

    #[test]
    fn a_bad_entry_harms_no_other() {
        let streams = json!({STABLE_KEY: {
            "a": 7,
            "b": {"audio_muted": true},
            "c": {"purpose": 7},
            "": {"purpose": "m.usermedia"},
            "d": {"purpose": "m.usermedia", "audio_muted": "yes", "video_muted": 1},
        }});
        assert_eq!(read_json(streams), Some(one("d", Purpose::UserMedia, false, false)));
    }

    #[test]
    fn unknown_purposes_are_kept_up_to_their_bound() {
        let streams = json!({STABLE_KEY: {"a": {"purpose": "x".repeat(65)}}});
        let purpose = Purpose::Unknown("x".repeat(64));
        assert_eq!(read_json(streams), Some(one("a", purpose, false, false)));
        assert_eq!(Purpose::Unknown("odd".into()).as_str(), "odd");
    }

    #[test]
    fn streams_are_bounded() {
        let many: Object = (0..=MAX_STREAMS)
            .map(|n| (format!("s{n}"), json!({"purpose": "m.usermedia"})))
            .collect();
        assert_eq!(many.len(), MAX_STREAMS + 1);
        assert_eq!(read_json(json!({STABLE_KEY: many})).unwrap().len(), MAX_STREAMS);
    }

    #[test]
    fn streams_are_written_in_full() {
        let screen = one("s", Purpose::Screenshare, false, true);
        let map = json!({
            "s": {"purpose": "m.screenshare", "audio_muted": false, "video_muted": true}
        });
        assert_eq!(json!(Written(&screen)), map);
        let user = one("s", Purpose::UserMedia, true, false);
        assert_eq!(json!(Written(&user))["s"]["purpose"], "m.usermedia");
        assert_eq!(KEYS, ["org.matrix.msc3077.sdp_stream_metadata", "sdp_stream_metadata"]);
    }
}
