//! What an engine measures on a peer connection.

use std::time::Duration;

use super::media::MediaKind;
use crate::redact::Redacted;

/// What an engine measured on one peer connection since it was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PeerStats {
    /// The chosen pair of candidates; `None` before there is one.
    pub pair: Option<CandidatePair>,
    /// Round trip of the chosen path.
    pub round_trip: Option<Duration>,
    /// Each m-line's received media.
    pub inbound: Vec<StreamStats>,
    /// Each m-line's sent media.
    pub outbound: Vec<StreamStats>,
}

/// The candidates that ICE chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidatePair {
    /// Ours.
    pub local: CandidateInfo,
    /// Theirs.
    pub remote: CandidateInfo,
}

/// One end of the chosen path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateInfo {
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: &'static str,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// `address:port`.
    pub address: Redacted,
}

/// Counters of one m-line in one direction; they never go back.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamStats {
    /// The m-line.
    pub mid: String,
    /// Sound or picture.
    pub kind: MediaKind,
    /// The codec, as `audio/opus`.
    pub codec: String,
    /// RTP payload bytes.
    pub bytes: u64,
    /// RTP packets.
    pub packets: u64,
    /// Packets that never came; as the other side reports where we send. `None`: not known yet.
    pub lost: Option<u64>,
    /// Jitter of the arrival times, as the receiving side measures it.
    pub jitter: Option<Duration>,
    /// Key frames that the receiving side asked for.
    pub key_frame_requests: u64,
}
