//! The little that must be known about SDP: sizes, media lines, directions, streams, candidates.
//!
//! Nothing is rewritten here; engines make and read descriptions themselves. [`check`] refuses
//! what engines are known to stumble over, [`media_lines`] says which streams a description holds
//! (RFC 8829, RFC 8830), the rest answers single questions.

use crate::id::StreamId;

/// Longest description that is accepted, in bytes. Browsers with six video lines write 20 KiB.
pub const MAX_SDP_BYTES: usize = 64 * 1024;

/// Most media lines that a description may have. Stopped ones stay for ever, so a long call with
/// much screen sharing has a dozen.
pub const MAX_MEDIA_LINES: usize = 64;

/// Why no engine should be given a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SdpFault {
    /// Longer than [`MAX_SDP_BYTES`].
    #[error("the description is too large")]
    TooLarge,
    /// Does not begin with `v=0`.
    #[error("not a session description")]
    NotSdp,
    /// Has no media line.
    #[error("the description has no media")]
    NoMedia,
    /// Has more than [`MAX_MEDIA_LINES`].
    #[error("the description has too many media lines")]
    TooManyMediaLines,
    /// Has no `ice-ufrag` or no `ice-pwd`.
    #[error("the description has no ICE credentials")]
    NoIceCredentials,
    /// Has no DTLS fingerprint: media could not be encrypted, and some engines die of it.
    #[error("the description has no fingerprint")]
    NoFingerprint,
}

/// What a media line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
    /// `m=application`: data channels.
    Application,
    /// Anything else.
    Other,
}

/// Which way media flows, seen from the side whose description it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// Out only.
    SendOnly,
    /// In only.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Whether the side whose description it is sends.
    pub const fn sends(self) -> bool {
        match self {
            Self::SendRecv | Self::SendOnly => true,
            Self::RecvOnly | Self::Inactive => false,
        }
    }

    /// Whether media comes to the side whose description it is.
    pub const fn receives(self) -> bool {
        match self {
            Self::SendRecv | Self::RecvOnly => true,
            Self::SendOnly | Self::Inactive => false,
        }
    }

    /// The direction with these halves.
    pub const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Its attribute in a description, without `a=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction that an attribute (without `a=`) says; `None`: it says something else.
    pub fn parse(attribute: &str) -> Option<Self> {
        let all = [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive];
        all.into_iter().find(|direction| direction.name() == attribute)
    }
}

/// One media line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MediaLine<'a> {
    /// What it carries.
    pub kind: LineKind,
    /// Its `mid`; absent from very old peers.
    pub mid: Option<&'a str>,
    /// Whether it is rejected or stopped (port 0 without `bundle-only`).
    pub off: bool,
    /// Its direction; [`Direction::Inactive`] when it is off.
    pub direction: Direction,
    /// The stream that its `msid` names. It stays there when the line no longer sends: whether
    /// the stream exists, the direction says.
    pub stream: Option<StreamId>,
}

/// Looks for what engines cannot do without.
///
/// # Errors
/// The first [`SdpFault`], in the order of its variants.
pub fn check(sdp: &str) -> Result<(), SdpFault> {
    if sdp.len() > MAX_SDP_BYTES {
        return Err(SdpFault::TooLarge);
    }
    if lines(sdp).next() != Some("v=0") {
        return Err(SdpFault::NotSdp);
    }
    let media_lines = lines(sdp).filter(|line| line.starts_with("m=")).count();
    if media_lines == 0 {
        return Err(SdpFault::NoMedia);
    }
    if media_lines > MAX_MEDIA_LINES {
        return Err(SdpFault::TooManyMediaLines);
    }
    value(sdp, "ice-ufrag:").ok_or(SdpFault::NoIceCredentials)?;
    value(sdp, "ice-pwd:").ok_or(SdpFault::NoIceCredentials)?;
    value(sdp, "fingerprint:").ok_or(SdpFault::NoFingerprint)?;
    Ok(())
}

/// The ICE user name fragment: another one means that ICE was restarted. That of the first media
/// line; with bundled media there is only one.
pub fn ice_ufrag(sdp: &str) -> Option<&str> {
    value(sdp, "ice-ufrag:")
}

/// Whether the description has a video line that is not switched off (port 0 without
/// `bundle-only`).
pub fn offers_video(sdp: &str) -> bool {
    sections(sdp).any(|(first, rest)| kind(first) == LineKind::Video && !is_off(first, rest))
}

/// Whether the description takes tones as RTP events (RFC 4733).
pub fn has_telephone_events(sdp: &str) -> bool {
    attributes(sdp).filter_map(|attribute| attribute.strip_prefix("rtpmap:")).any(names_tones)
}

/// Whether the value of an `rtpmap` (`101 telephone-event/8000`) is that of tones.
pub(crate) fn names_tones(rtpmap: &str) -> bool {
    let name = rtpmap.split_once(' ').map(|(_, name)| name.to_ascii_lowercase());
    name.is_some_and(|name| name.starts_with("telephone-event/"))
}

/// Whether the description already holds this candidate (`candidate:…`, as it is trickled).
pub fn holds_candidate(sdp: &str, candidate: &str) -> bool {
    attributes(sdp).any(|attribute| attribute == candidate)
}

/// How many candidates the description holds.
pub fn candidates(sdp: &str) -> usize {
    attributes(sdp).filter(|attribute| attribute.starts_with("candidate:")).count()
}

/// The media lines, in their order, at most [`MAX_MEDIA_LINES`] of them.
pub fn media_lines(sdp: &str) -> Vec<MediaLine<'_>> {
    let common = sdp.find("\nm=").map_or(sdp, |start| &sdp[..start]);
    let default = direction(common).unwrap_or(Direction::SendRecv);
    let line = |(first, rest)| MediaLine {
        kind: kind(first),
        mid: value(rest, "mid:"),
        off: is_off(first, rest),
        direction: if is_off(first, rest) {
            Direction::Inactive
        } else {
            direction(rest).unwrap_or(default)
        },
        stream: stream(rest),
    };
    sections(sdp).take(MAX_MEDIA_LINES).map(line).collect()
}

/// Lines without their ends, which are CRLF by the book and LF from some clients.
fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().map(str::trim_end)
}

/// What follows `a=`.
fn attributes(sdp: &str) -> impl Iterator<Item = &str> {
    lines(sdp).filter_map(|line| line.strip_prefix("a="))
}

/// The value of the first attribute of that name (given with its colon), if there is any.
fn value<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    attributes(sdp).find_map(|attribute| attribute.strip_prefix(name)).filter(|v| !v.is_empty())
}

/// Each media section: its `m=` line without these two letters, and the text that follows.
fn sections(sdp: &str) -> impl Iterator<Item = (&str, &str)> {
    sdp.split("\nm=").skip(1).map(|section| {
        let (first, rest) = section.split_once('\n').unwrap_or((section, ""));
        (first.trim_end(), rest)
    })
}

fn kind(first: &str) -> LineKind {
    match first.split(' ').next() {
        Some("audio") => LineKind::Audio,
        Some("video") => LineKind::Video,
        Some("application") => LineKind::Application,
        Some(_) | None => LineKind::Other,
    }
}

/// With `bundle-only`, port 0 is no refusal: an offer has it there when everything is to share
/// the first line's transport (RFC 9143).
fn is_off(first: &str, rest: &str) -> bool {
    first.split(' ').nth(1) == Some("0") && !attributes(rest).any(|a| a == "bundle-only")
}

fn direction(section: &str) -> Option<Direction> {
    attributes(section).find_map(Direction::parse)
}

/// From `a=msid:<stream> <track>`, or, of old, from `a=ssrc:<n> msid:<stream> <track>`. The
/// stream `-` is none (RFC 8830).
fn stream(section: &str) -> Option<StreamId> {
    let msid = value(section, "msid:").or_else(|| attributes(section).find_map(ssrc_msid))?;
    let id = msid.split(' ').next().filter(|id| *id != "-")?;
    StreamId::parse(id).ok()
}

fn ssrc_msid(attribute: &str) -> Option<&str> {
    Some(attribute.strip_prefix("ssrc:")?.split_once(" msid:")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As short as a description can be that engines take.
    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n\
        a=fingerprint:sha-256 00:11\r\na=mid:0\r\na=sendrecv\r\na=msid:cam mic-track\r\n\
        a=candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\na=msid:- none\r\n";

    fn stream_id(text: &str) -> Option<StreamId> {
        StreamId::parse(text).ok()
    }

    #[test]
    fn a_complete_description_passes() {
        assert_eq!(check(OFFER), Ok(()));
        assert_eq!(check(&OFFER.replace("\r\n", "\n")), Ok(()));
    }

    #[test]
    fn each_missing_part_has_its_own_fault() {
        let without = |part: &str| check(&OFFER.replace(part, "x"));
        assert_eq!(without("v=0"), Err(SdpFault::NotSdp));
        assert_eq!(check(""), Err(SdpFault::NotSdp));
        assert_eq!(check("v=0\r\ns=-\r\n"), Err(SdpFault::NoMedia));
        assert_eq!(without("a=ice-ufrag:"), Err(SdpFault::NoIceCredentials));
        assert_eq!(without("a=ice-pwd:"), Err(SdpFault::NoIceCredentials));
        assert_eq!(without("secret"), Ok(()));
        assert_eq!(check(&OFFER.replace("secret", "")), Err(SdpFault::NoIceCredentials));
        assert_eq!(without("a=fingerprint:"), Err(SdpFault::NoFingerprint));
    }

    #[test]
    fn sizes_are_bounded() {
        let padded = |size: usize| format!("{OFFER}a={}", "x".repeat(size - OFFER.len() - 2));
        assert_eq!(check(&padded(MAX_SDP_BYTES)), Ok(()));
        assert_eq!(check(&padded(MAX_SDP_BYTES + 1)), Err(SdpFault::TooLarge));
        let many = |lines: usize| format!("{OFFER}{}", "m=audio 0 x 0\r\n".repeat(lines - 2));
        assert_eq!(check(&many(MAX_MEDIA_LINES)), Ok(()));
        assert_eq!(check(&many(MAX_MEDIA_LINES + 1)), Err(SdpFault::TooManyMediaLines));
        assert_eq!(media_lines(&many(MAX_MEDIA_LINES + 1)).len(), MAX_MEDIA_LINES);
    }

    #[test]
    fn media_lines_say_what_flows_which_way() {
        let audio = MediaLine {
            kind: LineKind::Audio,
            mid: Some("0"),
            off: false,
            direction: Direction::SendRecv,
            stream: stream_id("cam"),
        };
        let video = MediaLine {
            kind: LineKind::Video,
            mid: Some("1"),
            off: false,
            direction: Direction::RecvOnly,
            stream: None,
        };
        assert_eq!(media_lines(OFFER), [audio.clone(), video.clone()]);
        assert_eq!(media_lines(&OFFER.replace("\r\n", "\n")), [audio, video]);
    }

    #[test]
    fn directions_are_read_from_the_line_or_from_the_top() {
        let direction = |top: &str, line: &str| {
            media_lines(&format!("v=0\r\n{top}m=audio 9 x 0\r\n{line}"))[0].direction
        };
        assert_eq!(direction("", ""), Direction::SendRecv);
        assert_eq!(direction("a=inactive\r\n", ""), Direction::Inactive);
        assert_eq!(direction("a=inactive\r\n", "a=sendonly\r\n"), Direction::SendOnly);
        assert_eq!(direction("", "a=recvonly\r\n"), Direction::RecvOnly);
        assert_eq!(direction("a=recvonly\r\n", "a=sendrecv\r\n"), Direction::SendRecv);
    }

    #[test]
    fn a_direction_has_two_halves_and_a_name() {
        let named = ["inactive", "recvonly", "sendonly", "sendrecv"].map(Direction::parse);
        let halves = [(false, false), (false, true), (true, false), (true, true)];
        for (direction, (sends, receives)) in named.into_iter().flatten().zip(halves) {
            assert_eq!((direction.sends(), direction.receives()), (sends, receives));
            assert_eq!(Direction::of(sends, receives), direction);
        }
        assert!(named.iter().all(Option::is_some));
        assert_eq!(Direction::parse("sendrecv2"), None);
    }

    #[test]
    fn port_zero_is_off_unless_it_is_bundled() {
        let off = OFFER.replace("m=video 9", "m=video 0");
        assert!(offers_video(OFFER));
        assert!(!offers_video(&off));
        assert_eq!(media_lines(&off)[1].direction, Direction::Inactive);
        let bundled = off.replace("a=mid:1", "a=mid:1\r\na=bundle-only");
        assert!(offers_video(&bundled));
        assert_eq!(media_lines(&bundled)[1].direction, Direction::RecvOnly);
        assert!(!offers_video(&OFFER.replace("m=video", "m=audio")));
        assert!(!offers_video(""));
    }

    #[test]
    fn every_kind_of_line_is_known() {
        let kind = |name: &str| media_lines(&format!("v=0\r\nm={name} 9 x 0"))[0].kind;
        assert_eq!(kind("audio"), LineKind::Audio);
        assert_eq!(kind("video"), LineKind::Video);
        assert_eq!(kind("application"), LineKind::Application);
        assert_eq!(kind("text"), LineKind::Other);
        assert_eq!(kind("audiovideo"), LineKind::Other);
        let short = media_lines("v=0\r\nm=audio\r\nm=video\r\n");
        let kinds: Vec<_> = short.iter().map(|line| line.kind).collect();
        assert_eq!(kinds, [LineKind::Audio, LineKind::Video], "a line's end is no part of it");
    }

    #[test]
    fn streams_are_named_in_two_ways() {
        let stream = |line: &str| {
            media_lines(&format!("v=0\r\nm=audio 9 x 0\r\n{line}\r\n"))[0].stream.clone()
        };
        assert_eq!(stream("a=msid:s t"), stream_id("s"));
        assert_eq!(stream("a=msid:s"), stream_id("s"));
        assert_eq!(stream("a=ssrc:1 cname:c\r\na=ssrc:1 msid:s t"), stream_id("s"));
        assert_eq!(stream("a=ssrc:1 msid:old t\r\na=msid:new t"), stream_id("new"));
        assert_eq!(stream("a=msid:- t"), None);
        assert_eq!(stream("a=msid:"), None);
        assert_eq!(stream("a=mid:0"), None);
    }

    #[test]
    fn the_ufrag_is_that_of_the_first_line() {
        assert_eq!(ice_ufrag(OFFER), Some("abcd"));
        assert_eq!(ice_ufrag("v=0\r\n"), None);
    }

    #[test]
    fn candidates_are_found_whole() {
        let candidate = "candidate:1 1 udp 2122260223 192.0.2.1 5000 typ host";
        assert!(holds_candidate(OFFER, candidate));
        assert!(!holds_candidate(OFFER, "candidate:1 1 udp 2122260223 192.0.2.1 5000"));
        assert!(!holds_candidate(OFFER, "a=candidate:1"));
        assert_eq!((candidates(OFFER), candidates("v=0")), (1, 0));
    }
}
