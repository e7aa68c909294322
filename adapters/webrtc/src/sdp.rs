//! Reading and rewriting descriptions, line by line.
//!
//! The crate never hears of directions, streams or candidates: what comes in is made uniform
//! ([`inward`]), what goes out gets our own ([`outward`]). That is how corrections A (`a=setup`),
//! B (directions) and the ones for its lines without `ssrc` are made: it sees every line as
//! `sendrecv` for ever, stops none, and what flows is decided here and in `negotiate`.

use std::collections::BTreeSet;

use matrix_voip::{
    host::Codec,
    id::StreamId,
    machine::io::{Direction, MediaKind},
    sdp::{LineKind, MediaLine, media_lines},
};

use crate::{
    codecs::{AUDIO_LEVEL, MID},
    error::PeerError,
};

/// Longest `mid` that fits into an RTP header extension of one byte's length, in bytes.
const MAX_MID_BYTES: usize = 16;

/// Most sources of a line that are remembered.
const MAX_SOURCES: usize = 16;

/// RTP has seven bits for it.
const MAX_PAYLOAD_TYPE: u8 = 127;

/// What one media line says, as far as media goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mid: String,
    /// `None`: neither sound nor picture.
    pub(crate) kind: Option<MediaKind>,
    /// Rejected or stopped.
    pub(crate) is_off: bool,
    pub(crate) direction: Direction,
    pub(crate) stream: Option<StreamId>,
    /// The payload types of codecs that we carry, the preferred one first.
    pub(crate) payloads: Vec<(u8, Codec)>,
    /// The numbers of the header extensions that we read and write.
    pub(crate) level: Option<u8>,
    pub(crate) mid_extension: Option<u8>,
    /// The sources that it names, the main one first.
    pub(crate) sources: Vec<u32>,
}

/// Checks a remote description before the crate sees it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(sdp: &str) -> Result<(), PeerError> {
    matrix_voip::sdp::check(sdp).map_err(PeerError::Description)?;
    let media = media_lines(sdp);
    let mut mids = BTreeSet::new();
    let are_usable =
        media.iter().all(|line| line.mid.is_some_and(|mid| is_usable_mid(mid) && mids.insert(mid)));
    are_usable.then_some(()).ok_or(PeerError::BadMid)?;
    // The crate would leave it out of its answer, whose lines then fit no more.
    let are_known = media.iter().all(|line| line.kind != LineKind::Other);
    are_known.then_some(()).ok_or(PeerError::Unfit)?;
    let mut fingerprints = lines(sdp).filter_map(|line| line.strip_prefix(FINGERPRINT));
    fingerprints.any(is_usable_fingerprint).then_some(()).ok_or(PeerError::BadFingerprint)
}

const FINGERPRINT: &str = "a=fingerprint:";

/// `sha-256 AB:CD:…`, of a hash that the crate can compute.
fn is_usable_fingerprint(value: &str) -> bool {
    let (hash, bytes) = value.split_once(' ').unwrap_or((value, ""));
    let length = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return false,
    };
    let is_byte = |byte: &str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
    bytes.split(':').filter(|byte| is_byte(byte)).count() == length
}

fn is_usable_mid(mid: &str) -> bool {
    let fits = !mid.is_empty() && mid.len() <= MAX_MID_BYTES;
    fits && mid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a line carries, if that is sound or picture.
pub(crate) const fn media_kind(kind: LineKind) -> Option<MediaKind> {
    match kind {
        LineKind::Audio => Some(MediaKind::Audio),
        LineKind::Video => Some(MediaKind::Video),
        LineKind::Application | LineKind::Other => None,
    }
}

/// The candidate lines of a description, without `a=`.
pub(crate) fn candidates(sdp: &str) -> impl Iterator<Item = &str> {
    lines(sdp)
        .filter_map(|line| line.strip_prefix("a="))
        .filter(|line| line.starts_with("candidate:"))
}

/// The media lines of a description.
pub(crate) fn read(sdp: &str) -> Vec<Line> {
    let (_, sections) = split(sdp);
    media_lines(sdp).iter().zip(&sections).map(|(line, section)| read_line(line, section)).collect()
}

fn read_line(line: &MediaLine<'_>, section: &[&str]) -> Line {
    let extension = |uri: &str| {
        let mut numbers = values(section, "a=extmap:").filter_map(|value| {
            let (number, rest) = value.split_once(' ')?;
            let number = number.split('/').next()?.parse().ok()?;
            (rest.split(' ').next() == Some(uri)).then_some(number)
        });
        numbers.next()
    };
    Line {
        mid: line.mid.unwrap_or_default().to_owned(),
        kind: media_kind(line.kind),
        is_off: line.off,
        direction: line.direction,
        stream: line.stream.clone(),
        payloads: payloads(section),
        level: extension(AUDIO_LEVEL),
        mid_extension: extension(MID),
        sources: sources(section),
    }
}

/// In the order of the `m=` line, which is that of preference.
fn payloads(section: &[&str]) -> Vec<(u8, Codec)> {
    let listed = section.first().into_iter().flat_map(|first| first.split(' ').skip(3));
    let known = listed.filter_map(|payload_type| {
        let number = payload_type.parse().ok().filter(|number| *number <= MAX_PAYLOAD_TYPE)?;
        let of_it = |value: &&str| value.split(' ').next() == Some(payload_type);
        let name = values(section, "a=rtpmap:").find(of_it)?.split_once(' ')?.1;
        let format = values(section, "a=fmtp:").find(of_it).unwrap_or_default();
        Some((number, codec(&name.to_ascii_lowercase(), format)?))
    });
    known.collect()
}

fn codec(name: &str, format: &str) -> Option<Codec> {
    match name.split('/').next()? {
        "opus" => Some(Codec::Opus),
        "vp8" => Some(Codec::Vp8),
        "h264" if format.contains("packetization-mode=1") => Some(Codec::H264),
        _ => None,
    }
}

/// The sources of a line, without those that only repeat or repair another (the second and later
/// ones of a group).
fn sources(section: &[&str]) -> Vec<u32> {
    let groups = values(section, "a=ssrc-group:");
    let repairing: BTreeSet<u32> = groups
        .filter(|group| !group.starts_with("SIM"))
        .flat_map(|group| group.split(' ').skip(2).filter_map(|number| number.parse().ok()))
        .collect();
    let mut found = Vec::new();
    for value in values(section, "a=ssrc:") {
        let number = value.split(' ').next().and_then(|number| number.parse().ok());
        let new = number.filter(|number| !repairing.contains(number) && !found.contains(number));
        found.extend(new.filter(|_| found.len() < MAX_SOURCES));
    }
    found
}

// ------------------------------------------------------------------------------------ rewriting

/// A remote description as the crate gets it: every line `sendrecv` with one source of its own
/// name, no simulcast, no candidates (they are given one by one, so that a useless one is skipped
/// and not the whole description refused).
pub(crate) fn inward(sdp: &str) -> String {
    let read = read(sdp);
    let taken: BTreeSet<u32> = read.iter().flat_map(|line| &line.sources).copied().collect();
    let mut free = (1..).filter(|number| !taken.contains(number));
    rewrite(sdp, |at, _, section, out| {
        let line = read.get(at).filter(|line| line.kind.is_some());
        out.extend(section.iter().filter(|text| stays_inward(text, line.is_some())).map(own));
        if let Some(line) = line {
            let source = line.sources.first().copied().or_else(|| free.next()).unwrap_or_default();
            out.push("a=sendrecv".to_owned());
            // The crate keeps its tracks by these names: each must be one of a kind.
            out.push(format!("a=msid:s{at} t{at}"));
            out.push(format!("a=ssrc:{source} cname:remote"));
        }
    })
}

fn stays_inward(text: &str, is_media: bool) -> bool {
    const CANDIDATES: [&str; 2] = ["a=candidate:", "a=end-of-candidates"];
    const MEDIA: [&str; 6] =
        ["a=ssrc:", "a=ssrc-group:", "a=msid:", "a=rid:", "a=simulcast:", "a=mid-rid"];
    let begins = |with: &[&str]| with.iter().any(|prefix| text.starts_with(prefix));
    // Of several fingerprints (RFC 8122 §5) the crate would take the first, whatever its hash.
    let is_odd = text.strip_prefix(FINGERPRINT).is_some_and(|value| !is_usable_fingerprint(value));
    !(is_odd || begins(&CANDIDATES) || is_media && (begins(&MEDIA) || is_direction(text)))
}

/// Our identifiers for one sending m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Msid {
    pub(crate) stream: String,
    pub(crate) track: String,
}

/// What our description says of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saying {
    /// It is refused, or over.
    Off,
    /// It flows this way; what it sends or has sent is called so.
    On(Direction, Option<Msid>),
}

/// How a description of ours goes out.
pub(crate) struct Outward<'a, F> {
    /// What it says of each line.
    pub(crate) saying: F,
    /// Our part in the DTLS handshake (`active`, `passive`), where the description must name it.
    pub(crate) role: Option<&'a str>,
    /// Nothing may tell our own address.
    pub(crate) relay_only: bool,
}

/// A description of the crate's as the other side gets it.
pub(crate) fn outward<F>(sdp: &str, how: &Outward<'_, F>) -> String
where
    F: Fn(&str) -> Saying,
{
    let off: Vec<String> = media_lines(sdp)
        .iter()
        .filter_map(|line| line.mid)
        .filter(|mid| (how.saying)(mid) == Saying::Off)
        .map(str::to_owned)
        .collect();
    let text = rewrite(sdp, |_, line, section, out| {
        if media_kind(line.kind).is_none() {
            return out.extend(section.iter().map(own));
        }
        match (how.saying)(line.mid.unwrap_or_default()) {
            Saying::Off => out.extend(section.iter().enumerate().filter_map(off_line)),
            Saying::On(direction, msid) => {
                let kept = section.iter().filter(|text| !is_direction(text));
                out.extend(kept.filter_map(|text| claim(text, msid.as_ref())));
                out.push(format!("a={}", direction_name(direction)));
            }
        }
    });
    let line = |line: &str| match (line.strip_prefix("a=group:BUNDLE"), how.role) {
        (Some(mids), _) => {
            let kept = mids.split(' ').filter(|mid| !off.iter().any(|off| off == mid));
            format!("a=group:BUNDLE{}\r\n", kept.collect::<Vec<_>>().join(" "))
        }
        (None, Some(role)) if line.starts_with("a=setup:") => format!("a=setup:{role}\r\n"),
        _ if how.relay_only && line.starts_with("a=candidate:") => {
            format!("{}\r\n", without_base(line))
        }
        _ => format!("{line}\r\n"),
    };
    lines(&text).filter(|text| !is_rtcp_candidate(text)).map(line).collect()
}

/// The crate names each candidate for RTCP as well, which goes the way of RTP.
fn is_rtcp_candidate(line: &str) -> bool {
    line.starts_with("a=candidate:") && line.split(' ').nth(1) == Some("2")
}

/// A line that is refused keeps its place, its kind and its name.
fn off_line((at, text): (usize, &&str)) -> Option<String> {
    if at == 0 {
        let mut words = text.split(' ');
        let kind = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.skip(1).collect();
        return Some(format!("{kind} 0 {}", rest.join(" ")));
    }
    let stays = ["c=", "a=mid:", "a=rtpmap:"].iter().any(|prefix| text.starts_with(prefix));
    stays.then(|| own(text))
}

/// One line of a section with our ids; `None` where it falls away because nothing is sent.
fn claim(line: &str, ids: Option<&Msid>) -> Option<String> {
    let is_source = line.starts_with("a=ssrc:") || line.starts_with("a=ssrc-group:");
    let is_msid = line.starts_with("a=msid:");
    match ids {
        None => (!is_source && !is_msid).then(|| line.to_owned()),
        Some(Msid { stream, track }) if is_msid => Some(format!("a=msid:{stream} {track}")),
        Some(_) if line.contains(" mslabel:") || line.contains(" label:") => None,
        Some(Msid { stream, track }) if is_source => Some(match line.split_once(" msid:") {
            Some((source, _)) => format!("{source} msid:{stream} {track}"),
            None => line.to_owned(),
        }),
        Some(_) => Some(line.to_owned()),
    }
}

/// A candidate without the address that it was found from (RFC 8828 §5.2: with relayed candidates
/// only, `raddr` tells nothing).
pub(crate) fn without_base(candidate: &str) -> String {
    let mut hidden = Vec::new();
    let mut last = "";
    for word in candidate.split(' ') {
        hidden.push(match last {
            "raddr" => "0.0.0.0",
            "rport" => "0",
            _ => word,
        });
        last = word;
    }
    hidden.join(" ")
}

// ------------------------------------------------------------------------------------- by lines

/// Whether media comes to the writer of this direction.
pub(crate) const fn receives(direction: Direction) -> bool {
    match direction {
        Direction::SendRecv | Direction::RecvOnly => true,
        Direction::SendOnly | Direction::Inactive => false,
    }
}

/// The direction with these halves.
pub(crate) const fn direction(sending: bool, receiving: bool) -> Direction {
    match (sending, receiving) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

/// The part in the handshake that a description names.
pub(crate) fn setup(sdp: &str) -> Option<&str> {
    lines(sdp).find_map(|line| line.strip_prefix("a=setup:"))
}

fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().map(str::trim_end).filter(|line| !line.is_empty())
}

fn values<'a>(section: &'a [&'a str], prefix: &'a str) -> impl Iterator<Item = &'a str> {
    section.iter().filter_map(move |line| line.strip_prefix(prefix))
}

fn own(line: &&str) -> String {
    (*line).to_owned()
}

/// The part before the media, and each media section with its `m=` line.
fn split(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut session: Vec<&str> = Vec::new();
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in lines(sdp) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap_or(&mut session).push(line);
    }
    (session, sections)
}

/// Puts a description together again, each media section through `change`.
fn rewrite(
    sdp: &str,
    mut change: impl FnMut(usize, &MediaLine<'_>, &[&str], &mut Vec<String>),
) -> String {
    let (session, sections) = split(sdp);
    // A candidate of the session part would be for all lines; the crate knows none there.
    let mut out: Vec<String> =
        session.iter().filter(|line| stays_inward(line, false)).map(own).collect();
    for (at, (line, section)) in media_lines(sdp).iter().zip(&sections).enumerate() {
        change(at, line, section, &mut out);
    }
    out.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

fn is_direction(line: &str) -> bool {
    matches!(line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive")
}

const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}
