//! The WebRTC engine of `matrix-voip`, over [`str0m`](https://docs.rs/str0m).
//!
//! [`peer::Peer`] is one peer connection as a value without clock, socket or task.

#![forbid(unsafe_code)]

mod candidates;
mod dtls;
pub mod entropy;
pub mod error;
pub mod gather;
mod negotiate;
pub mod peer;
pub mod sdp;
#[cfg(feature = "testing")]
pub mod sim;
mod stats;

pub use error::PeerError;
pub use peer::{Peer, PeerSetup};
