//! Why a peer refuses something: what can be wrong with a description, or with the moment.
//!
//! Nothing of a description is repeated in these errors, so they can go into a log.

use matrix_voip::{machine::io::Fault, sdp::SdpFault};

/// Why a peer did not do what it was asked. The peer is alive afterwards unless it says
/// [`Dead`](Self::Dead).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The description lacks what no engine can do without, or is too large.
    #[error(transparent)]
    Description(SdpFault),
    /// An m-line has no `a=mid`, or one that this engine cannot carry (other than letters, digits
    /// and `_`, or longer than 16 bytes).
    #[error("an m-line has no usable mid")]
    BadMid,
    /// No fingerprint of the description can be checked: another hash than SHA-256 or SHA-1, or
    /// no bytes of one.
    #[error("the description has no usable fingerprint")]
    BadFingerprint,
    /// Payload types out of range, or with two meanings.
    #[error("the description's payload types contradict each other")]
    BadPayloadTypes,
    /// The description is no SDP that the engine can read.
    #[error("the description cannot be read")]
    Unreadable,
    /// The description can be read, but contradicts itself or what was agreed before.
    #[error("the description does not fit the session")]
    Unfit,
    /// There is nothing to offer: the plan and the connection have no lines.
    #[error("there is nothing to offer")]
    NothingToOffer,
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
    /// The other side takes no tones (RFC 4733) beside this sound, or the track is in no line.
    #[error("no line takes tones")]
    NoTones,
    /// Nothing is sent now: the call is on hold, or not connected yet.
    #[error("nothing is sent now")]
    NotSending,
    /// As many tones as may wait do so.
    #[error("too many tones wait")]
    TooManyTones,
    /// The connection is closed or broken for good.
    #[error("the peer connection is dead")]
    Dead,
}

impl From<PeerError> for Fault {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::NoTones => Self::Unsupported,
            error => Self::Failed(error.to_string()),
        }
    }
}
