//! Rewriting descriptions, line by line; reading is the core's (`matrix_voip::sdp`).
//!
//! str0m writes and reads SDP itself; four things it leaves to us (`str0m.md` §6). Its answers
//! repeat the *offerer's* stream ids, so [`claim`] writes our own into everything that goes out.
//! Its answers mirror the offer's directions, so [`restrict`] narrows an offer to what we want
//! before str0m sees it. An offer without fingerprint kills it, so [`check`] comes first. And
//! candidates found later are not in a description it made, so [`with_candidates`] adds them.

use matrix_voip::{
    machine::io::{Direction, MediaKind},
    sdp::{LineKind, MediaLine},
};

use crate::{error::PeerError, gather::Progress};

/// Longest `mid` that str0m can hold, in bytes.
const MAX_MID_BYTES: usize = 16;

/// Our identifiers for one sending m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Msid {
    pub(crate) stream: String,
    pub(crate) track: String,
}

/// Checks a remote description before str0m sees it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(sdp: &str) -> Result<(), PeerError> {
    matrix_voip::sdp::check(sdp).map_err(PeerError::Description)?;
    let media = matrix_voip::sdp::media_lines(sdp);
    let are_usable = media.iter().all(|line| line.mid.is_some_and(is_usable_mid));
    are_usable.then_some(()).ok_or(PeerError::BadMid)?;
    let mut fingerprints = lines(sdp).filter_map(|line| line.strip_prefix("a=fingerprint:"));
    fingerprints.all(is_usable_fingerprint).then_some(()).ok_or(PeerError::BadFingerprint)
}

/// `sha-256 AB:CD:…`. A hash that str0m cannot compute would be found out only in the handshake.
fn is_usable_fingerprint(value: &str) -> bool {
    let (hash, bytes) = value.split_once(' ').unwrap_or((value, ""));
    let length = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-1" => 20,
        // Others may stand beside one of these; alone they are refused by str0m in the handshake.
        "sha-224" | "sha-384" | "sha-512" => return true,
        _ => return false,
    };
    let is_byte = |byte: &str| byte.len() == 2 && u8::from_str_radix(byte, 16).is_ok();
    bytes.split(':').filter(|byte| is_byte(byte)).count() == length
}

/// str0m keeps letters, digits and `_`; any other character it replaces, and its answer would name
/// another line than the offer.
fn is_usable_mid(mid: &str) -> bool {
    let fits = !mid.is_empty() && mid.len() <= MAX_MID_BYTES;
    fits && mid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What a line carries, if that is sound or picture.
pub(crate) const fn media_kind(line: &MediaLine<'_>) -> Option<MediaKind> {
    match line.kind {
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

/// The offer with other directions: what `direction` gives for a line replaces what stands there.
pub(crate) fn restrict(offer: &str, direction: impl Fn(&MediaLine<'_>) -> Direction) -> String {
    rewrite(offer, |line, section, out| {
        out.extend(section.iter().filter(|text| !is_direction(text)).map(own));
        out.push(format!("a={}", direction_name(direction(line))));
    })
}

/// A description of ours with our own stream and track ids: `msid` gives those of a line that
/// sends or has sent; other lines lose the ids that str0m wrote.
pub(crate) fn claim(sdp: &str, msid: impl Fn(&MediaLine<'_>) -> Option<Msid>) -> String {
    let claimed = rewrite(sdp, |line, section, out| {
        let ids = msid(line);
        out.extend(section.iter().filter_map(|text| claim_line(text, ids.as_ref())));
    });
    let semantic = |line| str::starts_with(line, "a=msid-semantic:");
    lines(&claimed)
        .map(|line| if semantic(line) { "a=msid-semantic: WMS *" } else { line })
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

/// A description of ours with these candidates, in its first m-line, in place of those that str0m
/// wrote; and with the mark that there will be no more of them, where that is so and only there.
pub(crate) fn with_candidates(
    sdp: &str,
    candidates: impl Iterator<Item = String>,
    progress: Progress,
) -> String {
    const END: &str = "a=end-of-candidates";
    let mut named: Vec<String> = candidates.map(|candidate| format!("a={candidate}")).collect();
    if progress == Progress::Done {
        named.push(END.to_owned());
    }
    rewrite(sdp, |_, section, out| {
        let stays = |line: &&&str| **line != END && !line.starts_with("a=candidate:");
        out.extend(section.iter().filter(stays).map(own));
        out.append(&mut named);
    })
}

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

// ------------------------------------------------------------------------------------- by lines

fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().map(str::trim_end).filter(|line| !line.is_empty())
}

fn own(line: &&str) -> String {
    (*line).to_owned()
}

/// Puts a description together again, each media section through `change`.
fn rewrite(sdp: &str, mut change: impl FnMut(&MediaLine<'_>, &[&str], &mut Vec<String>)) -> String {
    let mut session: Vec<&str> = Vec::new();
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in lines(sdp) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap_or(&mut session).push(line);
    }
    let mut out: Vec<String> = session.iter().map(own).collect();
    for (line, section) in matrix_voip::sdp::media_lines(sdp).iter().zip(&sections) {
        change(line, section, &mut out);
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

/// One line of a section with our ids; `None` where it falls away because nothing is sent.
fn claim_line(line: &str, ids: Option<&Msid>) -> Option<String> {
    let is_source = line.starts_with("a=ssrc:") || line.starts_with("a=ssrc-group:");
    let is_msid = line.starts_with("a=msid:");
    match ids {
        None => (!is_source && !is_msid).then(|| line.to_owned()),
        Some(Msid { stream, track }) if is_msid => Some(format!("a=msid:{stream} {track}")),
        Some(Msid { stream, track }) if is_source => Some(match line.split_once(" msid:") {
            Some((source, _)) => format!("{source} msid:{stream} {track}"),
            None => line.to_owned(),
        }),
        Some(_) => Some(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix_voip::sdp::{SdpFault, media_lines};

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=msid-semantic: WMS cam\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:x\r\na=fingerprint:sha-256 X\r\n\
        a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=sendrecv\r\n\
        a=msid:cam mic\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:cam mic\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\na=ssrc:8 msid:old t\r\n";

    #[test]
    fn our_ids_replace_those_that_str0m_repeats() {
        let msid = || Msid { stream: "mine".to_owned(), track: "t".to_owned() };
        let ours = claim(OFFER, |line| (line.mid == Some("0")).then(msid));
        assert!(ours.contains("a=msid:mine t\r\n"));
        assert!(ours.contains("a=ssrc:7 msid:mine t\r\n"));
        assert!(ours.contains("a=ssrc:7 cname:x\r\n"));
        assert!(!ours.contains("msid:cam"));
        assert!(!ours.contains("a=ssrc:8"), "a line that sends nothing names no source");
        assert!(ours.contains("a=msid-semantic: WMS *\r\n"));
    }

    #[test]
    fn an_offer_is_narrowed_to_what_we_want() {
        let narrow = restrict(OFFER, |_| Direction::Inactive);
        assert!(media_lines(&narrow).iter().all(|line| line.direction == Direction::Inactive));
        assert_eq!(narrow.matches("a=inactive").count(), 2);
    }

    #[test]
    fn candidates_stand_once_in_the_first_line_and_no_others() {
        let held = "candidate:1 1 udp 1 10.0.0.1 5 typ host";
        let new = "candidate:2 1 udp 1 10.0.0.2 5 typ host";
        let both = || [held, new].map(str::to_owned).into_iter();
        let text = with_candidates(OFFER, both(), Progress::Done);
        assert_eq!(text, with_candidates(&text, both(), Progress::Done));
        assert_eq!(candidates(&text).collect::<Vec<_>>(), [held, new]);
        let first = text.split("m=video").next().unwrap();
        assert!(first.ends_with("a=end-of-candidates\r\n"));
    }

    #[test]
    fn what_str0m_could_not_survive_is_refused_before() {
        let bytes = ["AB"; 32].join(":");
        let offer = OFFER.replace("sha-256 X", &format!("sha-256 {bytes}"));
        assert_eq!(check(&offer), Ok(()));
        assert_eq!(check(&offer.replace("AB:AB", "AB")), Err(PeerError::BadFingerprint));
        assert_eq!(check(&offer.replace("sha-256", "rot13")), Err(PeerError::BadFingerprint));
        assert_eq!(check(&OFFER.replace("a=mid:1\r\n", "")), Err(PeerError::BadMid));
        assert_eq!(check(&OFFER.replace("a=mid:1\r\n", "a=mid:a-b\r\n")), Err(PeerError::BadMid));
        let bare = OFFER.replace("a=fingerprint:sha-256 X\r\n", "");
        assert_eq!(check(&bare), Err(PeerError::Description(SdpFault::NoFingerprint)));
    }

    #[test]
    fn directions_compose_of_two_halves() {
        for (sending, receiving) in [(true, true), (true, false), (false, true), (false, false)] {
            let one = direction(sending, receiving);
            assert_eq!((one.sends(), receives(one)), (sending, receiving));
        }
    }
}
