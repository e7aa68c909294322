//! The little that must be known about SDP: sizes, kinds, directions, candidates.
//!
//! Nothing is rewritten here; engines make and read descriptions themselves.

/// Longest description that is accepted, in bytes. Browsers with six video lines write 20 KiB.
pub const MAX_SDP_BYTES: usize = 64 * 1024;

/// Whether the description has a video line that is not switched off (port 0).
pub fn offers_video(sdp: &str) -> bool {
    sdp.lines().any(|line| line.starts_with("m=video ") && !line.starts_with("m=video 0 "))
}

/// Whether the description already holds this candidate (`candidate:…`, as it is trickled).
pub fn holds_candidate(sdp: &str, candidate: &str) -> bool {
    sdp.lines().filter_map(|line| line.trim_end().strip_prefix("a=")).any(|line| line == candidate)
}
