//! Plausible session descriptions for the fake engine: written, and read back as far as it needs.

use std::fmt::Write as _;

use crate::{
    id::StreamId,
    machine::io::{Candidate, Direction, MediaKind, PeerNews, PlanLine, SdpKind},
    redact::Redacted,
};

/// One m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) kind: MediaKind,
    pub(super) direction: Direction,
    pub(super) stream: Option<StreamId>,
    /// Port 0: the line is switched off.
    pub(super) rejected: bool,
}

impl Line {
    pub(super) fn of(plan: &PlanLine) -> Self {
        Self {
            kind: plan.slot.kind(),
            direction: plan.direction,
            stream: plan.stream.clone(),
            rejected: false,
        }
    }

    /// Our line for their line, as near to our plan as their offer allows.
    pub(super) fn answered_with(&self, ours: Option<&PlanLine>) -> Self {
        let Some(ours) = ours.filter(|_| !self.rejected) else {
            return Self {
                kind: self.kind,
                direction: Direction::Inactive,
                stream: None,
                rejected: true,
            };
        };
        let (we_send, we_receive) = halves(ours.direction);
        let (they_send, they_receive) = halves(self.direction);
        let direction = direction(we_send && they_receive, we_receive && they_send);
        let stream = halves(direction).0.then(|| ours.stream.clone()).flatten();
        Self { kind: self.kind, direction, stream, rejected: false }
    }

    fn sends(&self) -> bool {
        !self.rejected && halves(self.direction).0
    }
}

/// Whether media is sent, and whether it is received.
const fn halves(direction: Direction) -> (bool, bool) {
    match direction {
        Direction::SendRecv => (true, true),
        Direction::SendOnly => (true, false),
        Direction::RecvOnly => (false, true),
        Direction::Inactive => (false, false),
    }
}

const fn direction(send: bool, receive: bool) -> Direction {
    match (send, receive) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

/// The whole description.
pub(super) fn write(credentials: &str, version: u64, lines: &[Line], kind: SdpKind) -> String {
    let mids: Vec<String> = (0..lines.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 4611731400430051336 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
         a=group:BUNDLE {}\r\na=msid-semantic: WMS *\r\n",
        mids.join(" ")
    );
    for (mid, line) in lines.iter().enumerate() {
        write_line(&mut sdp, credentials, (mid, line), kind);
    }
    sdp
}

fn write_line(sdp: &mut String, credentials: &str, (mid, line): (usize, &Line), kind: SdpKind) {
    let (media, codec) = match line.kind {
        MediaKind::Audio => ("audio", "111 opus/48000/2"),
        MediaKind::Video => ("video", "96 VP8/90000"),
    };
    let tones = line.kind == MediaKind::Audio;
    let port = if line.rejected { 0 } else { 9 };
    let payload = &codec[..codec.find(' ').unwrap_or(codec.len())];
    let setup = match kind {
        SdpKind::Offer => "actpass",
        SdpKind::Answer => "active",
    };
    let mut put = |text: std::fmt::Arguments<'_>| {
        sdp.write_fmt(text).expect("invariant: writing to a String works");
        sdp.push_str("\r\n");
    };
    let events = if tones { " 101" } else { "" };
    put(format_args!("m={media} {port} UDP/TLS/RTP/SAVPF {payload}{events}"));
    put(format_args!("c=IN IP4 0.0.0.0"));
    put(format_args!("a=mid:{mid}"));
    put(format_args!("a=ice-ufrag:{credentials}"));
    put(format_args!("a=ice-pwd:{SECRET}{credentials}{SECRET}"));
    put(format_args!("a=ice-options:trickle"));
    put(format_args!("a=fingerprint:sha-256 {}", FINGERPRINT));
    put(format_args!("a=setup:{setup}"));
    put(format_args!("a={}", word(line.direction)));
    if let Some(stream) = &line.stream {
        put(format_args!("a=msid:{stream} track{mid}"));
    }
    put(format_args!("a=rtcp-mux"));
    put(format_args!("a=rtpmap:{codec}"));
    if tones {
        put(format_args!("a=rtpmap:101 {TONES}"));
    }
}

/// Tones on the clock of the sound: the only ones that the fake engine knows (RFC 4733 §2.1).
const TONES: &str = "telephone-event/48000";

/// Our answer: without the tones where their offer has none that we know.
pub(super) fn with_tones_of(offer: &str, answer: String) -> String {
    if offer.contains(TONES) {
        return answer;
    }
    let kept = answer.lines().filter(|line| !line.ends_with(TONES));
    kept.flat_map(|line| [line, "\r\n"]).collect()
}

/// Stands in every description: whoever prints one is found by it.
pub(super) const SECRET: &str = "fakeIcePassword";
const FINGERPRINT: &str = "6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:\
                           DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08";
/// Stands in every candidate: whoever prints one is found by it.
pub(super) const ADDRESS: &str = "192.0.2.";

/// The n-th candidate of a connection.
pub(super) fn candidate(credentials: &str, place: usize) -> Candidate {
    let port = 50_000 + place;
    let priority = 2_122_260_223 - place;
    let text = format!(
        "candidate:{place} 1 udp {priority} {ADDRESS}{} {port} typ host ufrag {credentials}",
        place + 1
    );
    Candidate {
        candidate: Redacted::new(text),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: Some(credentials.to_owned()),
    }
}

/// The description with candidates in its first m-line.
pub(super) fn with_candidates(
    sdp: &str,
    candidates: impl Iterator<Item = Candidate>,
    all: bool,
) -> String {
    let mut lines = String::new();
    for candidate in candidates {
        lines.push_str("a=");
        lines.push_str(candidate.candidate.expose());
        lines.push_str("\r\n");
    }
    if all {
        lines.push_str("a=end-of-candidates\r\n");
    }
    let second = sdp.match_indices("m=").map(|(at, _)| at).filter(|at| *at > 0).nth(1);
    let at = second.unwrap_or(sdp.len());
    format!("{}{lines}{}", &sdp[..at], &sdp[at..])
}

/// The candidates that stand in a description.
pub(super) fn candidates(sdp: &str) -> impl Iterator<Item = String> + '_ {
    let lines = sdp.lines().filter_map(|line| line.trim_end().strip_prefix("a="));
    lines.filter(|line| line.starts_with("candidate:")).map(str::to_owned)
}

/// The ICE user of a description.
pub(super) fn credentials(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.trim_end().strip_prefix("a=ice-ufrag:"))
}

/// The m-lines of a description.
pub(super) fn read(sdp: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in sdp.lines().map(str::trim_end) {
        if let Some(media) = text.strip_prefix("m=") {
            let mut words = media.split(' ');
            let kind = match words.next() {
                Some("video") => MediaKind::Video,
                _ => MediaKind::Audio,
            };
            let rejected = words.next() == Some("0");
            lines.push(Line { kind, direction: Direction::SendRecv, stream: None, rejected });
        } else if let Some(line) = lines.last_mut() {
            read_attribute(line, text);
        }
    }
    lines
}

fn read_attribute(line: &mut Line, text: &str) {
    if let Some(msid) = text.strip_prefix("a=msid:") {
        let stream = msid.split(' ').next().unwrap_or(msid);
        line.stream = StreamId::parse(stream).ok().filter(|_| stream != "-");
    }
    for known in
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
    {
        if text.strip_prefix("a=") == Some(word(known)) {
            line.direction = known;
        }
    }
}

/// What a new description changes about a track.
pub(super) enum TrackChange {
    Added(MediaKind, Option<StreamId>),
    Removed,
}

impl TrackChange {
    pub(super) fn into_news(self, mid: String) -> PeerNews {
        match self {
            Self::Added(kind, stream) => PeerNews::TrackAdded { mid, stream, kind },
            Self::Removed => PeerNews::TrackRemoved { mid },
        }
    }
}

/// Which remote tracks a new description adds or removes, by `mid`.
pub(super) fn track_changes(before: &[Line], after: &[Line]) -> Vec<(String, TrackChange)> {
    let mut changes = Vec::new();
    for (mid, line) in after.iter().enumerate() {
        let sent = before.get(mid).is_some_and(Line::sends);
        if line.sends() && !sent {
            let added = TrackChange::Added(line.kind, line.stream.clone());
            changes.push((mid.to_string(), added));
        } else if !line.sends() && sent {
            changes.push((mid.to_string(), TrackChange::Removed));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let stream = StreamId::parse("s1").ok();
        let audio = Line {
            kind: MediaKind::Audio,
            direction: Direction::SendRecv,
            stream,
            rejected: false,
        };
        let video = Line {
            kind: MediaKind::Video,
            direction: Direction::RecvOnly,
            stream: None,
            rejected: false,
        };
        let sdp = write("abc", 1, &[audio.clone(), video.clone()], SdpKind::Offer);
        assert_eq!(read(&sdp), [audio, video]);
        assert_eq!(credentials(&sdp), Some("abc"));
        let full = with_candidates(&sdp, (0..2).map(|place| candidate("abc", place)), true);
        assert_eq!(candidates(&full).count(), 2);
        assert!(full.find("a=candidate").unwrap() < full.find("m=video").unwrap());
        assert_eq!(read(&full), read(&sdp));
    }
}
