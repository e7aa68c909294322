//! Rewriting descriptions, line by line; reading is the core's (`matrix_voip::sdp`).
//!
//! str0m writes and reads SDP itself; four things it leaves to us (`str0m.md` §6). Its answers
//! repeat the *offerer's* stream ids, so [`claim`] writes our own into everything that goes out.
//! Its answers mirror the offer's directions, so [`restrict`] narrows an offer to what we want
//! before str0m sees it. An offer without fingerprint kills it, so [`checked`] comes first. And
//! candidates found later are not in a description it made, so [`with_candidates`] adds them.

use matrix_voip::{machine::io::Direction, sdp::MediaLine};
use matrix_voip_engine::sdp::{
    Hash, Msid, is_direction, lines, sections, with_usable_fingerprints,
};

use crate::{error::PeerError, gather::Progress};

/// Longest `mid` that str0m can hold, in bytes.
const MAX_MID_BYTES: usize = 16;

/// The hashes of certificates that str0m can compute.
const HASHES: [Hash; 2] = [Hash::Sha1, Hash::Sha256];

/// Checks a remote description before str0m sees it; returns it with fingerprints that str0m can
/// check alone, as it takes the first, whatever its hash.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(sdp: &str) -> Result<String, PeerError> {
    matrix_voip::sdp::check(sdp).map_err(PeerError::Description)?;
    let media = matrix_voip::sdp::media_lines(sdp);
    let are_usable = media.iter().all(|line| line.mid.is_some_and(is_usable_mid));
    are_usable.then_some(()).ok_or(PeerError::BadMid)?;
    with_usable_fingerprints(sdp, &HASHES).ok_or(PeerError::BadFingerprint)
}

/// str0m keeps letters, digits and `_`; any other character it replaces, and its answer would name
/// another line than the offer.
fn is_usable_mid(mid: &str) -> bool {
    let fits = !mid.is_empty() && mid.len() <= MAX_MID_BYTES;
    fits && mid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The offer with other directions: what `direction` gives for a line replaces what stands there.
pub(crate) fn restrict(offer: &str, direction: impl Fn(&MediaLine<'_>) -> Direction) -> String {
    rewrite(offer, |line, section, out| {
        out.extend(section.iter().filter(|text| !is_direction(text)).map(own));
        out.push(format!("a={}", direction(line).name()));
    })
}

/// A description of ours with our own stream and track ids: `msid` gives those of a line that
/// sends or has sent; other lines lose the ids that str0m wrote.
pub(crate) fn claim(sdp: &str, msid: impl Fn(&MediaLine<'_>) -> Option<Msid>) -> String {
    let claimed = rewrite(sdp, |line, section, out| {
        let ids = msid(line);
        out.extend(section.iter().filter_map(|text| Msid::claim(text, ids.as_ref())));
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

// ------------------------------------------------------------------------------------- by lines

fn own(line: &&str) -> String {
    (*line).to_owned()
}

/// Puts a description together again, each media section through `change`.
fn rewrite(sdp: &str, mut change: impl FnMut(&MediaLine<'_>, &[&str], &mut Vec<String>)) -> String {
    let (session, sections) = sections(sdp);
    let mut out: Vec<String> = session.iter().map(own).collect();
    for (line, section) in matrix_voip::sdp::media_lines(sdp).iter().zip(&sections) {
        change(line, section, &mut out);
    }
    out.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix_voip::{
        id::{StreamId, TrackId},
        sdp::{SdpFault, media_lines},
    };
    use matrix_voip_engine::sdp::candidates;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=msid-semantic: WMS cam\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:x\r\na=fingerprint:sha-256 X\r\n\
        a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=sendrecv\r\n\
        a=msid:cam mic\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:cam mic\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\na=ssrc:8 msid:old t\r\n";

    #[test]
    fn our_ids_replace_those_that_str0m_repeats() {
        let msid = || Msid::of(TrackId(1), StreamId::parse("mine").ok().as_ref());
        let ours = claim(OFFER, |line| (line.mid == Some("0")).then(msid));
        assert!(ours.contains("a=msid:mine mine-1\r\n"));
        assert!(ours.contains("a=ssrc:7 msid:mine mine-1\r\n"));
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
        assert_eq!(checked(&offer).as_deref(), Ok(offer.as_str()));
        let odd = offer.replace("a=fingerprint", "a=fingerprint:sha-512 AB\r\na=fingerprint");
        assert_eq!(checked(&odd), Ok(offer.clone()), "of several one is enough");
        assert_eq!(checked(&offer.replace("AB:AB", "AB")), Err(PeerError::BadFingerprint));
        assert_eq!(checked(&offer.replace("sha-256", "rot13")), Err(PeerError::BadFingerprint));
        assert_eq!(checked(&OFFER.replace("a=mid:1\r\n", "")), Err(PeerError::BadMid));
        assert_eq!(checked(&OFFER.replace("a=mid:1\r\n", "a=mid:a-b\r\n")), Err(PeerError::BadMid));
        let bare = OFFER.replace("a=fingerprint:sha-256 X\r\n", "");
        assert_eq!(checked(&bare), Err(PeerError::Description(SdpFault::NoFingerprint)));
    }
}
