//! Why a connection refuses something: what can be wrong with a description, or with the moment.
//!
//! Nothing of a description is repeated in these errors, so they can go into a log.

use matrix_voip::{machine::io::Fault, sdp::SdpFault};

/// Why a connection did not do what it was asked. It is alive afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum PeerError {
    /// The description lacks what no engine can do without, or is too large.
    #[error(transparent)]
    Description(SdpFault),
    /// An m-line has no `a=mid`, the same as another, or one that does not fit into RTP (longer
    /// than 16 bytes).
    #[error("an m-line has no usable mid")]
    BadMid,
    /// No fingerprint of the description can be checked: another hash than SHA-256 to SHA-512, or
    /// no bytes of one.
    #[error("the description has no usable fingerprint")]
    BadFingerprint,
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
}

impl From<PeerError> for Fault {
    fn from(error: PeerError) -> Self {
        Self::Failed(error.to_string())
    }
}
