//! Pieces of descriptions that every engine needs: lines, candidates, fingerprints, names of what is sent.
//!
//! What a description says as a whole is each engine's own to read and to write.

use std::{collections::BTreeSet, fmt};

use matrix_voip::{
    id::{StreamId, TrackId},
    machine::io::{MediaKind, Plan, PlanLine, Slot},
    sdp::{Direction, LineKind},
};

/// The lines of a description without their ends; empty ones are left out.
pub fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().map(str::trim_end).filter(|line| !line.is_empty())
}

/// The part before the media, and each media section with its `m=` line.
pub fn sections(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
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

/// The kind of media that a line carries, if it is sound or picture.
pub const fn media_kind(line: LineKind) -> Option<MediaKind> {
    match line {
        LineKind::Audio => Some(MediaKind::Audio),
        LineKind::Video => Some(MediaKind::Video),
        LineKind::Application | LineKind::Other => None,
    }
}

/// Whether a line says which way media flows.
pub fn is_direction(line: &str) -> bool {
    line.strip_prefix("a=").and_then(Direction::parse).is_some()
}

/// The candidate lines of a description, without `a=`.
pub fn candidates(sdp: &str) -> impl Iterator<Item = &str> {
    lines(sdp)
        .filter_map(|line| line.strip_prefix("a="))
        .filter(|line| line.starts_with("candidate:"))
}

// -------------------------------------------------------------------------------- fingerprints

/// A hash of certificates (RFC 8122 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// `sha-1`
    Sha1,
    /// `sha-256`
    Sha256,
    /// `sha-384`
    Sha384,
    /// `sha-512`
    Sha512,
}

impl Hash {
    /// The hash that a fingerprint (`sha-256 AB:CD:…`) is of, if it has all its bytes.
    fn of(fingerprint: &str) -> Option<Self> {
        let (hash, bytes) = fingerprint.split_once(' ')?;
        let (hash, length) = match hash.to_ascii_lowercase().as_str() {
            "sha-1" => (Self::Sha1, 20),
            "sha-256" => (Self::Sha256, 32),
            "sha-384" => (Self::Sha384, 48),
            "sha-512" => (Self::Sha512, 64),
            _ => return None,
        };
        let is_byte =
            |byte: &str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
        let is_whole = bytes.split(':').all(is_byte) && bytes.split(':').count() == length;
        is_whole.then_some(hash)
    }
}

/// The description with those fingerprints alone that an engine can check by one of these hashes: those
/// of the strongest hash that every section has which names any. `None`: there is none.
///
/// A description may name several (RFC 8122 §5). An engine that takes the first, whatever its hash,
/// would find out in the handshake that it cannot compute it; one that compares the sections would take
/// two hashes of one certificate for two certificates.
pub fn with_usable_fingerprints(sdp: &str, hashes: &[Hash]) -> Option<String> {
    let usable = |line: &str| {
        let hash = line.strip_prefix("a=fingerprint:").and_then(Hash::of);
        hash.filter(|hash| hashes.contains(hash))
    };
    let (session, sections) = sections(sdp);
    let (mut named, mut out) = (Vec::new(), String::new());
    for section in std::iter::once(&session).chain(&sections) {
        let of: BTreeSet<Hash> = section.iter().filter_map(|line| usable(line)).collect();
        named.extend(Some(of).filter(|of| !of.is_empty()));
    }
    let first = named.first()?;
    let shared = first.iter().rev().find(|hash| named.iter().all(|of| of.contains(hash)));
    for section in std::iter::once(&session).chain(&sections) {
        // Where no hash is in all of them, each has its own strongest.
        let best = shared.copied().or_else(|| section.iter().filter_map(|line| usable(line)).max());
        for line in section {
            if !line.starts_with("a=fingerprint:") || best.is_some() && usable(line) == best {
                out.extend([line, "\r\n"]);
            }
        }
    }
    Some(out)
}

// ------------------------------------------------------------------------------ what a line sends

/// What a line sends, by its names in `a=msid` (RFC 8830).
#[derive(Clone, PartialEq, Eq)]
pub struct Msid {
    stream: String,
    track: String,
}

impl Msid {
    /// The names of a track of ours in a stream: of another stream the track's is another one, though
    /// both sides count from 1.
    pub fn of(track: TrackId, stream: Option<&StreamId>) -> Self {
        let name = stream.map_or("track", StreamId::as_str);
        // Checked to be ASCII: any place to cut is one between characters.
        let track = format!("{}-{track}", name.get(..40).unwrap_or(name));
        Self { stream: stream.map_or("-", StreamId::as_str).to_owned(), track }
    }

    /// The stream, `-` for none.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The track.
    pub fn track(&self) -> &str {
        &self.track
    }

    /// Whether the stream of a planned line can be written: a token of at most 64 characters.
    pub fn fits(line: &PlanLine) -> bool {
        line.stream.as_ref().is_none_or(|id| {
            id.as_str().len() <= 64 && id.as_str().bytes().all(|byte| byte.is_ascii_graphic())
        })
    }

    /// One line of a section, with these names in place of an engine's own; `None` where it falls away
    /// because nothing is sent.
    pub fn claim(line: &str, ids: Option<&Self>) -> Option<String> {
        let is_source = line.starts_with("a=ssrc:") || line.starts_with("a=ssrc-group:");
        let is_msid = line.starts_with("a=msid:");
        match ids {
            None => (!is_source && !is_msid).then(|| line.to_owned()),
            Some(Self { stream, track }) if is_msid => Some(format!("a=msid:{stream} {track}")),
            // Older names of the same.
            Some(_) if is_source && (line.contains(" mslabel:") || line.contains(" label:")) => {
                None
            }
            Some(Self { stream, track }) if is_source => Some(match line.split_once(" msid:") {
                Some((source, _)) => format!("{source} msid:{stream} {track}"),
                None => line.to_owned(),
            }),
            Some(_) => Some(line.to_owned()),
        }
    }
}

impl fmt::Debug for Msid {
    /// Without the names, which may be those of a person's device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msid").finish_non_exhaustive()
    }
}

// --------------------------------------------------------------------------------------- the plan

/// The slots of a kind, in the order in which remote m-lines of that kind are given them.
pub const fn slots(kind: MediaKind) -> [Slot; 2] {
    match kind {
        MediaKind::Audio => [Slot::Audio, Slot::ScreenAudio],
        MediaKind::Video => [Slot::Video, Slot::Screen],
    }
}

/// What a plan says of a slot.
pub fn planned(plan: &Plan, slot: Slot) -> Option<&PlanLine> {
    plan.lines.iter().find(|line| line.slot == slot)
}

/// What we say of an offered line: what the plan wants and the offer allows. A line without slot may
/// bring us what the plan receives of its kind.
pub fn acceptable(
    plan: &Plan,
    slot: Option<Slot>,
    kind: Option<MediaKind>,
    offered: Direction,
) -> Direction {
    let receives = |line: &PlanLine| Some(line.slot.kind()) == kind && line.direction.receives();
    let wanted = match slot {
        Some(slot) => planned(plan, slot).map_or(Direction::Inactive, |line| line.direction),
        None => Direction::of(false, plan.lines.iter().any(receives)),
    };
    Direction::of(wanted.sends() && offered.receives(), wanted.receives() && offered.sends())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(hash: &str, length: usize) -> String {
        format!("a=fingerprint:{hash} {}\r\n", vec!["aB"; length].join(":"))
    }

    #[test]
    fn of_several_fingerprints_the_strongest_that_can_be_checked_stays() {
        let [weak, usual] = [fingerprint("sha-1", 20), fingerprint("SHA-256", 32)];
        let [strong, odd] = [fingerprint("sha-512", 64), fingerprint("rot13", 32)];
        let all = format!("v=0\r\n{odd}m=audio 9 x 0\r\n{weak}{strong}{usual}a=mid:0\r\n");
        let kept = with_usable_fingerprints(&all, &[Hash::Sha1, Hash::Sha256]);
        assert_eq!(kept, Some(format!("v=0\r\nm=audio 9 x 0\r\n{usual}a=mid:0\r\n")));
        let kept = with_usable_fingerprints(&all, &[Hash::Sha1]);
        assert_eq!(kept, Some(format!("v=0\r\nm=audio 9 x 0\r\n{weak}a=mid:0\r\n")));
        assert_eq!(with_usable_fingerprints(&all, &[Hash::Sha384]), None);
    }

    #[test]
    fn sections_keep_fingerprints_of_one_hash() {
        let [usual, strong] = [fingerprint("sha-256", 32), fingerprint("sha-512", 64)];
        let both = [Hash::Sha256, Hash::Sha512];
        let kept = |session: &str, line: &str| {
            let all = format!("v=0\r\n{session}m=audio 9 x 0\r\n{line}m=video 9 x 0\r\n");
            let kept = with_usable_fingerprints(&all, &both).unwrap_or_default();
            [usual.trim_end(), strong.trim_end()].map(|line| kept.matches(line).count())
        };
        assert_eq!(kept(&usual, &format!("{strong}{usual}")), [2, 0]);
        assert_eq!(kept(&format!("{usual}{strong}"), &format!("{strong}{usual}")), [0, 2]);
        assert_eq!(kept(&usual, ""), [1, 0]);
        // Nothing that both have: each its own.
        assert_eq!(kept(&usual, &strong), [1, 1]);
    }

    #[test]
    fn a_fingerprint_without_all_its_bytes_is_none() {
        let whole = fingerprint("sha-256", 32);
        let is_usable = |line: &str| with_usable_fingerprints(line, &[Hash::Sha256]).is_some();
        assert!(is_usable(&whole));
        for broken in [
            whole.replacen("aB:aB", "aB", 1),
            whole.replacen("aB:", "aB:aB:", 1),
            whole.replacen("aB", "xx", 1),
            whole.replacen("aB", "+1", 1),
            whole.replace(' ', ""),
            format!("{}:zz\r\n", whole.trim_end()),
        ] {
            assert!(!is_usable(&broken), "{broken}");
        }
    }

    #[test]
    fn our_names_take_the_place_of_an_engines_own() {
        let stream = StreamId::parse("mine").ok();
        let ids = Msid::of(TrackId(3), stream.as_ref());
        let claim = |line: &str| Msid::claim(line, Some(&ids));
        assert_eq!(claim("a=msid:cam mic").as_deref(), Some("a=msid:mine mine-3"));
        assert_eq!(claim("a=ssrc:7 msid:cam mic").as_deref(), Some("a=ssrc:7 msid:mine mine-3"));
        assert_eq!(claim("a=ssrc:7 cname:x").as_deref(), Some("a=ssrc:7 cname:x"));
        assert_eq!(claim("a=ssrc:7 label:x"), None);
        assert_eq!(claim("a=mid:0").as_deref(), Some("a=mid:0"));
        for gone in ["a=msid:cam mic", "a=ssrc:7 cname:x", "a=ssrc-group:FID 7 8"] {
            assert_eq!(Msid::claim(gone, None), None, "a line that sends nothing names no source");
        }
        assert_eq!(Msid::of(TrackId(3), None).stream(), "-");
    }

    #[test]
    fn what_is_answered_is_what_both_want() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        let line = |slot, direction| PlanLine { slot, direction, track: None, stream: None };
        let plan = Plan { lines: vec![line(Slot::Audio, SendRecv), line(Slot::Video, SendOnly)] };
        let audio = |offered| acceptable(&plan, Some(Slot::Audio), Some(MediaKind::Audio), offered);
        assert_eq!([SendOnly, RecvOnly, Inactive].map(audio), [RecvOnly, SendOnly, Inactive]);
        let video = |offered| acceptable(&plan, Some(Slot::Video), Some(MediaKind::Video), offered);
        assert_eq!([SendRecv, SendOnly].map(video), [SendOnly, Inactive]);
        let more = |kind| acceptable(&plan, None, Some(kind), SendRecv);
        assert_eq!([MediaKind::Audio, MediaKind::Video].map(more), [RecvOnly, Inactive]);
        assert_eq!(acceptable(&plan, Some(Slot::Screen), None, SendRecv), Inactive);
    }
}
