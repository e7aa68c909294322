//! Reading and rewriting descriptions, line by line.
//!
//! str0m writes and reads SDP itself; four things it leaves to us (`str0m.md` §6). Its answers
//! repeat the *offerer's* stream ids, so [`claim`] writes our own into everything that goes out.
//! Its answers mirror the offer's directions, so [`restrict`] narrows an offer to what we want
//! before str0m sees it. An offer without fingerprint kills it, so [`check`] comes first. And
//! candidates found later are not in a description it made, so [`with_candidates`] adds them.

use matrix_voip::{
    id::StreamId,
    machine::io::{Direction, MediaKind},
    sdp::MAX_SDP_BYTES,
};

use crate::error::PeerError;

/// Most m-lines that a description may have. A call has four; browsers keep dead ones for ever.
pub const MAX_LINES: usize = 32;

/// Longest `mid` that str0m can hold, in bytes.
const MAX_MID_BYTES: usize = 16;

/// What one m-line of a description says, from the view of who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mid: String,
    /// `None`: neither audio nor video.
    pub(crate) kind: Option<MediaKind>,
    pub(crate) direction: Direction,
    /// Whether the line is switched off: port 0 and not part of the bundle.
    pub(crate) rejected: bool,
    /// The stream that the line belongs to, where it names one.
    pub(crate) stream: Option<StreamId>,
}

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
    if sdp.len() > MAX_SDP_BYTES {
        return Err(PeerError::TooLong);
    }
    let (_, sections) = split(sdp);
    if sections.is_empty() {
        return Err(PeerError::NoLines);
    }
    if sections.len() > MAX_LINES {
        return Err(PeerError::TooManyLines);
    }
    if !sections.iter().all(|section| mid(section).is_some_and(is_usable_mid)) {
        return Err(PeerError::BadMid);
    }
    if !lines(sdp).any(is_fingerprint) {
        return Err(PeerError::NoFingerprint);
    }
    Ok(())
}

/// The m-lines of a description, in order. Lines without `mid` are left out; [`check`] refuses
/// them in remote descriptions.
pub(crate) fn read(sdp: &str) -> Vec<Line> {
    let (session, sections) = split(sdp);
    let bundle = bundle(&session);
    sections.iter().filter_map(|section| read_section(section, &bundle)).collect()
}

/// The remote ICE user name, where the description has one.
pub(crate) fn ufrag(sdp: &str) -> Option<&str> {
    lines(sdp).find_map(|line| line.strip_prefix("a=ice-ufrag:"))
}

/// The candidate lines of a description, without `a=`.
pub(crate) fn candidates(sdp: &str) -> impl Iterator<Item = &str> {
    lines(sdp)
        .filter_map(|line| line.strip_prefix("a="))
        .filter(|line| line.starts_with("candidate:"))
}

/// The offer with other directions: what `direction` gives for a line replaces what stands there.
pub(crate) fn restrict(offer: &str, direction: impl Fn(&Line) -> Direction) -> String {
    rewrite(offer, |section, bundle, out| {
        let Some(line) = read_section(section, bundle) else {
            return out.extend(section.iter().copied().map(str::to_owned));
        };
        out.extend(section.iter().filter(|text| as_direction(text).is_none()).map(own));
        out.push(format!("a={}", direction_name(direction(&line))));
    })
}

/// A description of ours with our own stream and track ids: `msid` gives those of a line that
/// sends; lines that send nothing lose the ids that str0m wrote.
pub(crate) fn claim(sdp: &str, msid: impl Fn(&Line) -> Option<Msid>) -> String {
    let claimed = rewrite(sdp, |section, bundle, out| {
        let Some(line) = read_section(section, bundle) else {
            return out.extend(section.iter().copied().map(str::to_owned));
        };
        let ids = msid(&line).filter(|_| sends(line.direction) && !line.rejected);
        out.extend(section.iter().filter_map(|text| claim_line(text, ids.as_ref())));
    });
    claimed.replace_line("a=msid-semantic:", "a=msid-semantic: WMS *")
}

/// A description of ours with the candidates that it lacks in its first m-line, and the mark that
/// there will be no more.
pub(crate) fn with_candidates<'a>(sdp: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    const END: &str = "a=end-of-candidates";
    let mut missing: Vec<String> = candidates
        .filter(|candidate| !matrix_voip::sdp::holds_candidate(sdp, candidate))
        .map(|candidate| format!("a={candidate}"))
        .collect();
    if !lines(sdp).any(|line| line == END) {
        missing.push(END.to_owned());
    }
    rewrite(sdp, |section, _, out| {
        out.extend(section.iter().map(own));
        out.append(&mut missing);
    })
}

/// Whether media leaves the writer of this direction.
pub(crate) const fn sends(direction: Direction) -> bool {
    matches!(direction, Direction::SendRecv | Direction::SendOnly)
}

/// Whether media comes to the writer of this direction.
pub(crate) const fn receives(direction: Direction) -> bool {
    matches!(direction, Direction::SendRecv | Direction::RecvOnly)
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

/// The session part and the m-sections.
fn split(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut session = Vec::new();
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in lines(sdp) {
        if line.starts_with("m=") {
            sections.push(vec![line]);
        } else if let Some(section) = sections.last_mut() {
            section.push(line);
        } else {
            session.push(line);
        }
    }
    (session, sections)
}

/// Puts a description together again, each m-section through `change`.
fn rewrite(sdp: &str, mut change: impl FnMut(&[&str], &[&str], &mut Vec<String>)) -> String {
    let (session, sections) = split(sdp);
    let bundle = bundle(&session);
    let mut out: Vec<String> = session.iter().map(own).collect();
    for section in &sections {
        change(section, &bundle, &mut out);
    }
    out.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

/// The mids of the bundle group.
fn bundle<'a>(session: &[&'a str]) -> Vec<&'a str> {
    session
        .iter()
        .find_map(|line| line.strip_prefix("a=group:BUNDLE"))
        .map(|mids| mids.split_ascii_whitespace().collect())
        .unwrap_or_default()
}

fn read_section(section: &[&str], bundle: &[&str]) -> Option<Line> {
    let mid = mid(section)?;
    let mut head = section.first()?.strip_prefix("m=")?.split_ascii_whitespace();
    let kind = match head.next()? {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    Some(Line {
        mid: mid.to_owned(),
        kind,
        direction: section
            .iter()
            .find_map(|line| as_direction(line))
            .unwrap_or(Direction::SendRecv),
        rejected: head.next() == Some("0") && !bundle.contains(&mid),
        stream: stream(section),
    })
}

fn mid<'a>(section: &[&'a str]) -> Option<&'a str> {
    section.iter().find_map(|line| line.strip_prefix("a=mid:"))
}

fn is_usable_mid(mid: &str) -> bool {
    let fits = !mid.is_empty() && mid.len() <= MAX_MID_BYTES;
    fits && mid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_fingerprint(line: &str) -> bool {
    line.strip_prefix("a=fingerprint:")
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(hash, bytes)| !hash.is_empty() && !bytes.trim().is_empty())
}

/// The stream of a section: from `a=msid`, or from the older `a=ssrc:… msid:…`.
fn stream(section: &[&str]) -> Option<StreamId> {
    let modern = section.iter().find_map(|line| line.strip_prefix("a=msid:"));
    let ids = modern.or_else(|| {
        section
            .iter()
            .filter_map(|line| line.strip_prefix("a=ssrc:"))
            .find_map(|rest| rest.split_once(' ')?.1.strip_prefix("msid:"))
    });
    let stream = ids?.split_ascii_whitespace().next()?;
    (stream != "-").then(|| StreamId::parse(stream).ok()).flatten()
}

fn as_direction(line: &str) -> Option<Direction> {
    match line.strip_prefix("a=")? {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
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

trait ReplaceLine {
    fn replace_line(&self, prefix: &str, with: &str) -> String;
}

impl ReplaceLine for String {
    /// The text with every line that begins so replaced.
    fn replace_line(&self, prefix: &str, with: &str) -> String {
        let kept = |line| if str::starts_with(line, prefix) { with } else { line };
        lines(self).flat_map(|line| [kept(line), "\r\n"]).collect()
    }
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
