//! Media keys of calls through an SFU, and requests for them (to-device messages).

use crate::redact::SecretBytes;

/// A key and its place in its owner's ring. Prints without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaKey {
    /// Its place in the ring.
    pub index: u8,
    /// Its bytes: 16 or 32.
    pub key: SecretBytes,
}
