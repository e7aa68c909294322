//! Reading and rewriting descriptions, line by line.
//!
//! The crate never hears of directions, streams or candidates: what comes in is made uniform
//! ([`inward`]), what goes out gets our own ([`outward`]). That is how corrections A (`a=setup`),
//! B (directions), H (`raddr`), I (lines without `ssrc`) and M (without codecs) are made: it sees every
//! line as `sendrecv` for ever, stops none, and what flows is decided here and in `negotiate`.
//!
//! Attributes are read by hand: `rtc-sdp` refuses a whole description for one line that it cannot read,
//! and what is asked here are six attributes.

use std::collections::{BTreeMap, BTreeSet};

use matrix_voip::{
    host::Codec,
    id::StreamId,
    machine::io::{Direction, MediaKind},
    sdp::{LineKind, MediaLine, media_lines},
};
use matrix_voip_engine::sdp::{
    Hash, Msid, is_direction, lines, media_kind, sections, with_usable_fingerprints,
};

use crate::{
    codecs::{self, AUDIO_LEVEL, MID},
    error::PeerError,
    send::crate_kind,
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

/// The hashes of certificates that the crate can compute.
const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

/// Checks a remote description before the crate sees it; returns it with fingerprints that the crate
/// can check alone, as it takes the first, whatever its hash.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(sdp: &str) -> Result<String, PeerError> {
    matrix_voip::sdp::check(sdp).map_err(PeerError::Description)?;
    let media = media_lines(sdp);
    let mut mids = BTreeSet::new();
    let are_usable =
        media.iter().all(|line| line.mid.is_some_and(|mid| is_usable_mid(mid) && mids.insert(mid)));
    are_usable.then_some(()).ok_or(PeerError::BadMid)?;
    // The crate would leave it out of its answer, whose lines then fit no more.
    let are_known = media.iter().all(|line| line.kind != LineKind::Other);
    are_known.then_some(()).ok_or(PeerError::Unfit)?;
    with_usable_fingerprints(sdp, &HASHES).ok_or(PeerError::BadFingerprint)
}

fn is_usable_mid(mid: &str) -> bool {
    let fits = !mid.is_empty() && mid.len() <= MAX_MID_BYTES;
    fits && mid.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The media lines of a description.
pub(crate) fn read(sdp: &str) -> Vec<Line> {
    let (_, sections) = sections(sdp);
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

/// In the order of the `m=` line, which is that of preference; each once, however often it is there.
fn payloads(section: &[&str]) -> Vec<(u8, Codec)> {
    let (names, formats) = (by_payload(section, "a=rtpmap:"), by_payload(section, "a=fmtp:"));
    let listed = section.first().into_iter().flat_map(|first| first.split(' ').skip(3));
    let mut known = Vec::new();
    let mut seen = BTreeSet::new();
    for number in listed.filter_map(|number| number.parse().ok()) {
        if number > MAX_PAYLOAD_TYPE || !seen.insert(number) {
            continue;
        }
        let name = names.get(&number).map(|name| name.to_ascii_lowercase());
        let format = formats.get(&number).copied().unwrap_or_default();
        known.extend(name.and_then(|name| Some((number, codec(&name, format)?))));
    }
    known
}

/// What the attributes of this name say of each payload type; the first one counts.
fn by_payload<'a>(section: &'a [&'a str], prefix: &'a str) -> BTreeMap<u8, &'a str> {
    let mut said = BTreeMap::new();
    for value in values(section, prefix) {
        let Some((number, rest)) = value.split_once(' ') else { continue };
        if let Ok(number) = number.parse() {
            said.entry(number).or_insert(rest);
        }
    }
    said
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
        let section = in_our_codecs(section, line);
        out.extend(section.into_iter().filter(|text| stays_inward(text, line.is_some())));
        if let Some(line) = line {
            // Correction I: a line that names no source is refused, so it gets one.
            let source = line.sources.first().copied().or_else(|| free.next()).unwrap_or_default();
            // Correction B, towards the crate: it never hears of another direction.
            out.push("a=sendrecv".to_owned());
            // The crate keeps its tracks by these names: each must be one of a kind.
            out.push(format!("a=msid:s{at} t{at}"));
            out.push(format!("a=ssrc:{source} cname:remote"));
        }
    })
}

/// Correction M: a line without a codec of ours, as one that is refused often is, gets all of ours. The
/// crate would make no offer any more, for a sender without codecs. Nothing flows on it.
fn in_our_codecs(section: &[&str], line: Option<&Line>) -> Vec<String> {
    const FORMATS: [&str; 3] = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"];
    let lacking = line.filter(|line| line.payloads.is_empty()).and_then(|line| line.kind);
    let (Some(kind), Some((first, rest))) = (lacking, section.split_first()) else {
        return section.iter().map(own).collect();
    };
    let (numbers, formats) = codecs::described(crate_kind(kind));
    let head: Vec<&str> = first.split(' ').take(3).collect();
    let kept = rest.iter().filter(|text| !FORMATS.iter().any(|prefix| text.starts_with(prefix)));
    let mut out = vec![format!("{} {numbers}", head.join(" "))];
    out.extend(kept.map(own).chain(formats));
    out
}

fn stays_inward(text: &str, is_media: bool) -> bool {
    const CANDIDATES: [&str; 2] = ["a=candidate:", "a=end-of-candidates"];
    const MEDIA: [&str; 6] =
        ["a=ssrc:", "a=ssrc-group:", "a=msid:", "a=rid:", "a=simulcast:", "a=mid-rid"];
    let begins = |with: &[&str]| with.iter().any(|prefix| text.starts_with(prefix));
    !(begins(&CANDIDATES) || is_media && (begins(&MEDIA) || is_direction(text)))
}

/// What our description says of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saying {
    /// Nothing: another line has its place.
    Gone,
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
        .filter(|mid| matches!((how.saying)(mid), Saying::Gone | Saying::Off))
        .map(str::to_owned)
        .collect();
    let text = rewrite(sdp, |_, line, section, out| {
        if media_kind(line.kind).is_none() {
            return out.extend(section.iter().map(own));
        }
        match (how.saying)(line.mid.unwrap_or_default()) {
            Saying::Gone => {}
            Saying::Off => out.extend(section.iter().enumerate().filter_map(off_line)),
            Saying::On(direction, msid) => {
                let kept = section.iter().filter(|text| !is_direction(text));
                out.extend(kept.filter_map(|text| Msid::claim(text, msid.as_ref())));
                // Correction B, towards the other side.
                out.push(format!("a={}", direction.name()));
            }
        }
    });
    // `a=setup` is correction A, `without_base` correction H.
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

/// Correction H: a candidate without the address that it was found from (RFC 8828 §5.2: with relayed candidates
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

/// The part in the handshake that a description names.
pub(crate) fn setup(sdp: &str) -> Option<&str> {
    lines(sdp).find_map(|line| line.strip_prefix("a=setup:"))
}

fn values<'a>(section: &'a [&'a str], prefix: &'a str) -> impl Iterator<Item = &'a str> {
    section.iter().filter_map(move |line| line.strip_prefix(prefix))
}

fn own(line: &&str) -> String {
    (*line).to_owned()
}

/// Puts a description together again, each media section through `change`.
fn rewrite(
    sdp: &str,
    mut change: impl FnMut(usize, &MediaLine<'_>, &[&str], &mut Vec<String>),
) -> String {
    let (session, sections) = sections(sdp);
    // A candidate of the session part would be for all lines; the crate knows none there.
    let mut out: Vec<String> =
        session.iter().filter(|line| stays_inward(line, false)).map(own).collect();
    for (at, (line, section)) in media_lines(sdp).iter().zip(&sections).enumerate() {
        change(at, line, section, &mut out);
    }
    out.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(payloads: &str, lines: &str) -> Line {
        read(&format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF {payloads}\r\na=mid:0\r\n{lines}"))
            .remove(0)
    }

    #[test]
    fn each_payload_type_counts_once_and_the_first_word_on_it() {
        let lines = "a=rtpmap:99 opus/48000/2\r\na=rtpmap:99 VP8/90000\r\na=rtpmap:98 VP8/90000\r\n\
            a=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1\r\na=rtpmap:96 H264/90000\r\n";
        let read = section("98 99 99 97 98 96 200 x 300", lines);
        assert_eq!(read.payloads, [(98, Codec::Vp8), (99, Codec::Opus), (97, Codec::H264)]);
        let many = section(&"99 ".repeat(7000), lines);
        assert_eq!(many.payloads, [(99, Codec::Opus)]);
    }

    #[test]
    fn sources_that_repair_others_are_none_of_the_lines() {
        let lines = "a=ssrc-group:FID 1 2\r\na=ssrc-group:SIM 1 3\r\na=ssrc:1 cname:x\r\n\
            a=ssrc:1 msid:s t\r\na=ssrc:2 cname:x\r\na=ssrc:3 cname:x\r\n";
        assert_eq!(section("99", lines).sources, [1, 3]);
    }

    #[test]
    fn a_relayed_candidate_goes_out_without_its_base() {
        let sdp = "v=0\r\nm=audio 9 x 99\r\na=mid:0\r\n\
            a=candidate:1 1 udp 1 192.0.2.1 5 typ relay raddr 10.0.0.1 rport 9\r\n";
        let saying = |_: &str| Saying::On(Direction::SendRecv, None);
        let told = |relay_only| outward(sdp, &Outward { saying, role: None, relay_only });
        assert!(told(true).contains("typ relay raddr 0.0.0.0 rport 0\r\n"));
        assert!(!told(true).contains("10.0.0.1") && told(false).contains("10.0.0.1"));
    }

    #[test]
    fn a_line_without_a_codec_of_ours_goes_in_with_all_of_them() {
        let sdp = "v=0\r\nm=audio 9 x 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
            m=video 0 x 0\r\na=mid:1\r\na=rtpmap:0 XX8/90000\r\na=fmtp:0 y\r\n";
        let told = read(&inward(sdp));
        assert_eq!(told[0].payloads, [(111, Codec::Opus)]);
        let codecs: BTreeSet<_> = told[1].payloads.iter().map(|(_, codec)| codec.mime()).collect();
        assert!(codecs.len() == 2 && told[1].is_off && !inward(sdp).contains("XX8"), "{told:?}");
    }

    #[test]
    fn the_crate_hears_of_one_direction_and_of_a_source_on_every_line() {
        let sdp = "v=0\r\nm=audio 9 x 99\r\na=mid:0\r\na=inactive\r\n\
            m=video 9 x 98\r\na=mid:1\r\na=recvonly\r\na=ssrc:1 cname:x\r\n";
        let told = inward(sdp);
        assert_eq!(told.matches("a=sendrecv").count(), 2);
        assert!(!told.contains("a=inactive") && !told.contains("a=recvonly"));
        assert_eq!(told.matches("a=ssrc:").count(), 2, "{told}");
    }
}
