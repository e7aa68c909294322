//! What an engine measures on a peer connection.

use std::time::Duration;

use super::{media::MediaKind, playout::Playout};
use crate::id::TrackId;
use crate::redact::Redacted;

/// What an engine measured on one peer connection since it was opened.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct PeerStats {
    /// When the counters were taken, on a clock of the engine's, for engines that count every so
    /// often; `None`: they are of this moment.
    pub counted: Option<Duration>,
    /// The chosen pair of candidates; `None` before there is one.
    pub pair: Option<CandidatePair>,
    /// Round trip of the chosen path.
    pub round_trip: Option<Duration>,
    /// Each m-line's received media.
    pub inbound: Vec<StreamStats>,
    /// Each m-line's sent media.
    pub outbound: Vec<StreamStats>,
    /// How the STUN and TURN servers fared, in the order in which they were given.
    pub servers: Vec<ServerStats>,
    /// Remote candidates that the engine has no use for: names (`.local`, never looked up), TCP,
    /// nonsense. Their peers are found by the packets that they send.
    pub unusable_candidates: u64,
    /// Tracks that go out over this connection and whose source says that its device is gone
    /// ([`FrameSource::has_device`](crate::host::FrameSource::has_device)): what they carry is silence.
    pub without_device: Vec<TrackId>,
}

/// How one URI of a STUN or TURN server fared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// The URI as it was given; never credentials.
    pub uri: Redacted,
    /// What became of it.
    pub state: ServerState,
}

impl ServerStats {
    /// The fate of a URI.
    pub fn new(uri: Redacted, state: ServerState) -> Self {
        Self { uri, state }
    }
}

/// What became of a STUN or TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    /// It is being asked.
    Asked,
    /// It answers: our address is known (STUN), a relayed address is ours (TURN).
    Works,
    /// It is of no use, and why.
    Failed(ServerFault),
}

/// Why a STUN or TURN server is of no use (RFC 8489 §14.8, RFC 8656 §19 for the codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ServerFault {
    /// The engine cannot use such a URI, or has enough servers without it.
    #[error("the engine does not use this URI")]
    Unusable,
    /// Its name has no address.
    #[error("the name of the server has no address")]
    Unresolved,
    /// No connection could be made, or it broke.
    #[error("the server cannot be reached")]
    Unreachable,
    /// TLS failed: its certificate is not trusted, or is for another name.
    #[error("the server's certificate is not accepted")]
    Untrusted,
    /// It does not answer.
    #[error("the server does not answer")]
    Silent,
    /// What it answers is no TURN.
    #[error("the server answers nonsense")]
    Nonsense,
    /// It does not accept the credentials (401, 441).
    #[error("the server does not accept the credentials ({0})")]
    WrongCredentials(u16),
    /// It forbids what was asked (403).
    #[error("the server forbids it (403)")]
    Forbidden,
    /// Our present nonce is never good enough (438, again and again).
    #[error("the server finds every nonce stale (438)")]
    StaleNonce,
    /// It sends us to another server (300), which is not followed.
    #[error("the server sends us to another one (300)")]
    Redirects,
    /// The user has as many allocations as are allowed (486).
    #[error("the allocation quota is reached (486)")]
    QuotaReached,
    /// The server has no more to give (508).
    #[error("the server has no capacity left (508)")]
    NoCapacity,
    /// It refuses for another reason.
    #[error("the server refuses with {0}")]
    Refused(u16),
    /// It worked, and then the relayed address was gone.
    #[error("the relayed address was lost")]
    Lost,
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
    /// How our own relay is reached: `udp`, `tcp` or `tls`; `None` for every other candidate.
    pub relay_protocol: Option<&'static str>,
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
    /// How loud the received sound was last, 0 to 1, as its sender says (RFC 6464); `None` where
    /// nothing is said.
    pub level: Option<f32>,
    /// Received media: how long ago the last packet of it came; `None`: none came yet, or the engine
    /// does not say.
    pub silence: Option<Duration>,
    /// Received sound: how it is heard, as its sink tells; `None` where that does not know.
    pub playout: Option<Playout>,
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
        Self { kind, protocol, address: address.into(), relay_protocol: None }
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
            level: None,
            silence: None,
            playout: None,
        }
    }
}
