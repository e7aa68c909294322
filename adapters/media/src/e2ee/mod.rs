//! Frames that only members can read: LiveKit's end-to-end frame format, for any engine.
//!
//! Calls through an SFU pass a server that forwards media. So each encoded frame is encrypted before
//! the engine packs it, with a key that only members of the call have, and decrypted after the
//! engine has put it together:
//!
//! ```text
//! clear header | AES-128-GCM ciphertext and tag (16) | nonce (12) | 0x0C | index of the key
//! ```
//!
//! The header is what the server must see to forward well ([`Coding`] says how long it is); it is
//! authenticated. Source: `livekit.md` §2 and `livekit-proven.md` §4; judged by the frame worker of
//! npm `livekit-client` (`tests/real`).
//!
//! | file | holds |
//! | --- | --- |
//! | `derive.rs` | from what members share to the key of the cipher, and the ratchet |
//! | `coding.rs` | which bytes of a frame stay clear |
//! | `annexb.rs` | H.264: units, the normal form of the clear part, escapes |
//! | `nonce.rs` | nonces that do not repeat, and why |
//! | `seal.rs`, `open.rs` | one frame |
//! | `ring.rs` | the keys of one participant, with the ratchet window |
//! | `lane.rs`, `states.rs` | a participant in a call, and what became of his frames |
//! | `keys.rs`, `provider.rs` | all keys of all calls: the library's `KeyProvider` |
//! | `media.rs`, `sealing.rs`, `opening.rs` | around the sources and sinks of any engine |
//!
//! Everything up to `ring.rs` is pure: no clock, no lock, no task.
//!
//! What the format does not give: a frame that an SFU repeats or leaves out is not noticed, and
//! ratcheting protects little (the key in use is half of the next material), so a fresh key is
//! made when somebody leaves. Who sends, when, how much and how loud (the header extension for audio
//! levels) is open to the server.

mod annexb;
mod coding;
mod derive;
mod error;
mod keys;
mod lane;
mod media;
mod nonce;
mod open;
mod opening;
mod provider;
mod ring;
mod seal;
mod sealing;
mod states;
#[cfg(test)]
mod testkit;

pub use coding::Coding;
pub use derive::{MAX_KEY_BYTES, MIN_KEY_BYTES, frame_key, ratcheted};
pub use error::{KeyError, OpenError, SealError};
pub use keys::{Cover, FrameKeys, FrameKeysBuilder, MAX_TRAILER_BYTES};
pub use media::SealedMedia;
pub use ring::{MAX_WINDOW, Opened, Prepared, Refill, Ring};
pub use seal::Sealer;
pub use states::{Fate, FrameCounts, FrameState};
