//! What an engine measures on a peer connection.

use std::time::Duration;

use super::media::MediaKind;
use crate::redact::Redacted;

/// What an engine measured on one peer connection since it was opened.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct CandidatePair {
    /// Ours.
    pub local: CandidateInfo,
    /// Theirs.
    pub remote: CandidateInfo,
}

/// One end of the chosen path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
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

impl CandidatePair {
    /// A pair.
    pub fn new(local: CandidateInfo, remote: CandidateInfo) -> Self {
        Self { local, remote }
    }
}

impl CandidateInfo {
    /// A candidate of this kind (`host`, `srflx`, `prflx`, `relay`) and protocol (`udp`, `tcp`) at
    /// `address:port`.
    pub fn new(kind: &'static str, protocol: &'static str, address: impl Into<Redacted>) -> Self {
        Self { kind, protocol, address: address.into() }
    }
}

impl StreamStats {
    /// Counters at zero; an engine fills in what it knows.
    pub fn new(mid: impl Into<String>, kind: MediaKind, codec: impl Into<String>) -> Self {
        Self {
            mid: mid.into(),
            kind,
            codec: codec.into(),
            bytes: 0,
            packets: 0,
            lost: None,
            jitter: None,
            key_frame_requests: 0,
        }
    }
}
