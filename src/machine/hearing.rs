//! Whether the other side is heard, and if not, why: from what is known of its streams and of what an
//! engine measured.
//!
//! The chain from their microphone to our ear: it is muted there, no packets come, there is no
//! loudspeaker, it is muted here, all that is played is made up. The first link that is missing is
//! the reason.

use std::{fmt, time::Duration};

use super::{
    event::{Side, Stream},
    media::MediaKind,
    playout::{Playout, PlayoutOutput},
    stats::{PeerStats, StreamStats},
};

/// How long nothing may come before it counts as missing. Who is silent sends a packet every 400 ms
/// nevertheless (DTX of Opus).
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Whether somebody is heard, or what stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hearing {
    /// No stream of theirs has sound.
    NoSound,
    /// Their side says that the sound is muted there.
    MutedThere,
    /// No packets come: for so long; `None`: none ever came.
    NoPackets(Option<Duration>),
    /// Packets come, and nothing of them is played: the loudspeaker or the program takes nothing.
    Unplayed,
    /// Packets come, and all that is played is made up: they come too late or too few, or cannot be
    /// read.
    AllConcealed,
    /// There is no loudspeaker.
    NoLoudspeaker,
    /// They are muted here, or their volume is nothing.
    MutedHere,
    /// Packets come. What becomes of them is not known: the sink does not tell
    /// ([`FrameSink::playout`](crate::host::FrameSink::playout)).
    Arriving,
    /// They are heard, as loud as they are.
    Heard,
}

/// What others can hear of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Microphone {
    /// It was not asked for, or was stopped.
    Off,
    /// It is being opened; a person may be asked.
    Opening,
    /// It could not be had, or ended by itself, or its device is gone.
    Missing,
    /// It is open and muted.
    Muted,
    /// It is open.
    Open,
}

impl Hearing {
    /// What their streams alone show.
    pub fn of_streams<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> Option<Self> {
        let sounds = streams.into_iter().filter(|stream| stream.side == Side::Remote);
        let mut sounds =
            sounds.filter(|stream| stream.kinds.contains(&MediaKind::Audio)).peekable();
        if sounds.peek().is_none() {
            return Some(Self::NoSound);
        }
        sounds.all(|stream| stream.audio_muted).then_some(Self::MutedThere)
    }

    /// What one measurement of their connection shows. `None`: sound comes and is played, and only
    /// [`between`](Self::between) tells whether it is theirs.
    pub fn at(stats: &PeerStats) -> Option<Self> {
        let heard = sounds(stats).map(of_stream);
        let best = heard.max_by_key(|heard| heard.map_or(u8::MAX, Self::rank));
        best.unwrap_or(Some(Self::NoPackets(None)))
    }

    /// What two measurements of one connection show, the later some hundred milliseconds after the
    /// earlier.
    pub fn between(earlier: &PeerStats, later: &PeerStats) -> Self {
        let heard = sounds(later).map(|now| {
            let former = sounds(earlier).find(|was| was.mid == now.mid);
            let was = former.and_then(|was| was.playout);
            let played = || now.playout.map_or(Self::Arriving, |now| of_playing(was, now));
            of_stream(now).unwrap_or_else(played)
        });
        heard.max_by_key(|heard| heard.rank()).unwrap_or(Self::NoPackets(None))
    }

    /// How far the sound gets: of two lines the better one counts.
    const fn rank(self) -> u8 {
        match self {
            Self::NoSound => 0,
            Self::MutedThere => 1,
            Self::NoPackets(_) => 2,
            Self::Unplayed => 3,
            Self::AllConcealed => 4,
            Self::NoLoudspeaker => 5,
            Self::MutedHere => 6,
            Self::Arriving => 7,
            Self::Heard => 8,
        }
    }
}

fn sounds(stats: &PeerStats) -> impl Iterator<Item = &StreamStats> {
    stats.inbound.iter().filter(|stream| stream.kind == MediaKind::Audio)
}

/// What one line shows at once; `None`: it is played.
fn of_stream(stream: &StreamStats) -> Option<Hearing> {
    match (stream.silence, stream.playout) {
        (Some(silence), _) if silence >= SILENT_AFTER => Some(Hearing::NoPackets(Some(silence))),
        (None, _) if stream.packets == 0 => Some(Hearing::NoPackets(None)),
        (_, None) => Some(Hearing::Arriving),
        (_, Some(playout)) => match playout.output {
            PlayoutOutput::NoDevice => Some(Hearing::NoLoudspeaker),
            PlayoutOutput::Muted => Some(Hearing::MutedHere),
            PlayoutOutput::Playing => None,
        },
    }
}

fn of_playing(was: Option<Playout>, now: Playout) -> Hearing {
    let played = now.since(was.as_ref());
    match (played.played, played.decoded) {
        (0, _) => Hearing::Unplayed,
        (_, 0) => Hearing::AllConcealed,
        _ => Hearing::Heard,
    }
}

impl fmt::Display for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSound => "not heard: they send no sound",
            Self::MutedThere => "not heard: muted there",
            Self::NoPackets(None) => "not heard: no packet of their sound has come",
            Self::NoPackets(Some(silence)) => {
                let seconds = silence.as_secs_f64();
                return write!(f, "not heard: no packet of their sound has come for {seconds:.1} s");
            }
            Self::Unplayed => "not heard: packets come, and nothing of them is played",
            Self::AllConcealed => {
                "not heard: packets come, and all that is played is made up (late, lost, or unreadable)"
            }
            Self::NoLoudspeaker => "not heard: there is no loudspeaker",
            Self::MutedHere => "not heard: muted here",
            Self::Arriving => "their sound comes in",
            Self::Heard => "heard",
        })
    }
}

impl fmt::Display for Microphone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Opening => "being opened",
            Self::Missing => "missing",
            Self::Muted => "muted",
            Self::Open => "open",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::metadata::Purpose;

    const SPAN: u64 = 24_000;

    fn playing(played: u64, concealed: u64) -> Playout {
        let decoded = played.saturating_sub(concealed);
        Playout { played, decoded, concealed, ..Playout::default() }
    }

    /// Sound of which a packet came just now.
    fn sound(mid: &str, playout: Option<Playout>) -> StreamStats {
        let mut stream = StreamStats::new(mid, MediaKind::Audio, "audio/opus");
        (stream.packets, stream.silence) = (50, Some(Duration::from_millis(20)));
        stream.playout = playout;
        stream
    }

    fn stats(inbound: Vec<StreamStats>) -> PeerStats {
        PeerStats { inbound, ..PeerStats::default() }
    }

    fn between(was: Playout, now: Playout) -> Hearing {
        let at = |playout| stats(vec![sound("0", Some(playout))]);
        assert_eq!(Hearing::at(&at(now)), None, "one measurement does not tell");
        Hearing::between(&at(was), &at(now))
    }

    #[test]
    fn what_is_made_up_is_not_heard() {
        assert_eq!(between(playing(9, 9), playing(9 + SPAN, 9)), Hearing::Heard);
        assert_eq!(between(playing(9, 9), playing(9 + SPAN, 8 + SPAN)), Hearing::Heard);
        assert_eq!(between(playing(9, 0), playing(9 + SPAN, SPAN)), Hearing::AllConcealed);
        assert_eq!(between(playing(9, 0), playing(9, 0)), Hearing::Unplayed);
        // Of packets that cannot be read nothing is counted, as little as of silence.
        let unread = Playout { decoded: 9, ..playing(9 + SPAN, 9) };
        assert_eq!(
            between(Playout { decoded: 9, ..playing(18, 9) }, unread),
            Hearing::AllConcealed
        );
        // Another sink, which begins to count anew.
        assert_eq!(between(playing(9 * SPAN, 0), playing(SPAN, 0)), Hearing::Heard);
    }

    #[test]
    fn a_line_on_which_nothing_comes_says_since_when() {
        let mut quiet = sound("0", Some(playing(SPAN, 0)));
        quiet.silence = Some(SILENT_AFTER);
        let silent = Hearing::NoPackets(Some(SILENT_AFTER));
        assert_eq!(Hearing::at(&stats(vec![quiet.clone()])), Some(silent));
        quiet.silence = Some(SILENT_AFTER - Duration::from_millis(1));
        assert_eq!(Hearing::at(&stats(vec![quiet])), None, "DTX is no loss");
        assert_eq!(Hearing::at(&stats(Vec::new())), Some(Hearing::NoPackets(None)));
        let nothing = StreamStats::new("0", MediaKind::Audio, "audio/opus");
        assert_eq!(Hearing::at(&stats(vec![nothing])), Some(Hearing::NoPackets(None)));
        let picture = StreamStats { kind: MediaKind::Video, ..sound("1", None) };
        assert_eq!(Hearing::at(&stats(vec![picture])), Some(Hearing::NoPackets(None)));
    }

    #[test]
    fn where_sound_goes_is_told_at_once() {
        let at = |output| {
            let playout = Playout { output, ..playing(SPAN, SPAN) };
            Hearing::at(&stats(vec![sound("0", Some(playout))]))
        };
        assert_eq!(at(PlayoutOutput::NoDevice), Some(Hearing::NoLoudspeaker));
        assert_eq!(at(PlayoutOutput::Muted), Some(Hearing::MutedHere));
        assert_eq!(Hearing::at(&stats(vec![sound("0", None)])), Some(Hearing::Arriving));
    }

    #[test]
    fn of_two_lines_the_better_one_counts() {
        let mut silent = sound("1", None);
        silent.silence = Some(2 * SILENT_AFTER);
        let at = |played| stats(vec![sound("0", Some(playing(played, 0))), silent.clone()]);
        assert_eq!(Hearing::at(&at(1)), None);
        assert_eq!(Hearing::between(&at(1), &at(2)), Hearing::Heard);
    }

    #[test]
    fn streams_tell_who_is_muted_and_who_sends_no_sound() {
        let stream = |kinds: &[MediaKind], audio_muted| Stream {
            side: Side::Remote,
            purpose: Purpose::UserMedia,
            id: None,
            kinds: kinds.to_vec(),
            audio_muted,
            video_muted: false,
        };
        let muted = stream(&[MediaKind::Audio], true);
        assert_eq!(Hearing::of_streams([&muted]), Some(Hearing::MutedThere));
        let picture = stream(&[MediaKind::Video], true);
        assert_eq!(Hearing::of_streams([&picture]), Some(Hearing::NoSound));
        let ours = Stream { side: Side::Local, ..stream(&[MediaKind::Audio], false) };
        assert_eq!(Hearing::of_streams([&ours]), Some(Hearing::NoSound));
        assert_eq!(Hearing::of_streams([&muted, &stream(&[MediaKind::Audio], false)]), None);
    }
}
