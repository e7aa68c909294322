//! Why a peer refuses something: what can be wrong with a description, or with the moment.
//!
//! Nothing of a description is repeated in these errors, so they can go into a log.

use matrix_voip::machine::io::Fault;

/// Why a peer did not do what it was asked. The peer is alive afterwards unless it says
/// [`Dead`](Self::Dead).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The description is longer than [`MAX_SDP_BYTES`](matrix_voip::sdp::MAX_SDP_BYTES).
    #[error("the description is too long")]
    TooLong,
    /// The description has more m-lines than [`MAX_LINES`](crate::sdp::MAX_LINES).
    #[error("the description has too many m-lines")]
    TooManyLines,
    /// The description has no m-line.
    #[error("the description has no m-line")]
    NoLines,
    /// An m-line has no `a=mid`, or one that this engine cannot carry (other than letters, digits
    /// and `_`, or longer than 16 bytes).
    #[error("an m-line has no usable mid")]
    BadMid,
    /// The description has no `a=fingerprint`: nothing would vouch for the other side's key.
    #[error("the description has no fingerprint")]
    NoFingerprint,
    /// The description is no SDP that the engine can read.
    #[error("the description cannot be read")]
    Unreadable,
    /// The description can be read, but contradicts itself or what was agreed before.
    #[error("the description does not fit the session")]
    Unfit,
    /// Our own stream or track identifier cannot be written into SDP.
    #[error("a stream id does not fit into SDP")]
    BadStreamId,
    /// An answer came, or is to be put into force, without an offer of ours.
    #[error("there is no offer of ours")]
    NoOffer,
    /// An answer is wanted without an offer of theirs.
    #[error("there is no offer of theirs")]
    NoRemoteOffer,
    /// There is no local description yet.
    #[error("there is no local description")]
    NoDescription,
    /// The connection is closed or broken for good.
    #[error("the peer connection is dead")]
    Dead,
}

impl From<PeerError> for Fault {
    fn from(error: PeerError) -> Self {
        Self::Failed(error.to_string())
    }
}
