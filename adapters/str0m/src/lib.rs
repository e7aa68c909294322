//! The WebRTC engine of `matrix-voip`, over [`str0m`](https://docs.rs/str0m): peer connections
//! with ICE, DTLS-SRTP, Opus, VP8 and H.264, without any C++.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use matrix_voip::host::Media;
//! # fn example(media: Arc<dyn Media>) {
//! let engine = matrix_voip_str0m::Str0m::builder(media).build();
//! # let _ = engine;
//! # }
//! ```
//!
//! [`Str0m`] implements [`matrix_voip::host::WebRtc`]. Sound and picture come from and go to an
//! implementation of [`matrix_voip::host::Media`], as encoded frames; `matrix-voip-media` has
//! sources and sinks.
//!
//! # The house
//!
//! | module | is |
//! | --- | --- |
//! | [`peer`] | one connection as a value: no clock, no socket, no task, no randomness of its own |
//! | `negotiate`, `sdp`, `payload` | plan → m-lines; our stream ids in every description; checks |
//! | [`gather`], `candidates` | our candidates; theirs |
//! | `dtls`, [`entropy`] | crypto provider, random numbers |
//! | `guard` | the fence that keeps a panic of str0m from more than one connection |
//! | `stats` | measurements |
//! | `sockets`, `shell`, `track`, `delegate` | the tokio side: UDP, a task per connection, a task per captured track |
//! | `sim` (feature `testing`) | a simulated network and peers over it, in virtual time |
//!
//! # Supported
//!
//! Host candidates on every interface, trickle both ways, peer-reflexive candidates, ICE restart
//! in offers and answers, several audio and video lines, statistics. Not yet: STUN and TURN
//! servers (`relay_only` therefore finds no candidate), DTMF, bandwidth estimation, simulcast,
//! data channels.

#![forbid(unsafe_code)]

mod candidates;
mod delegate;
mod dtls;
pub mod entropy;
pub mod error;
pub mod gather;
mod guard;
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, unreachable_pub, reason = "only tests impair, through the same path")
)]
mod impairment;
mod interfaces;
mod negotiate;
mod payload;
pub mod peer;
mod reach;
mod sdp;
mod shell;
#[cfg(feature = "testing")]
pub mod sim;
mod sockets;
mod stats;
mod stun;
mod tls;
mod track;
mod uplinks;

pub use delegate::{Builder, Str0m};
pub use error::PeerError;
pub use gather::Interfaces;
#[cfg(feature = "testing")]
pub use impairment::{Impairment, Impairments};
pub use peer::{Peer, PeerSetup};
pub use tls::{BadCertificate, TrustedRoots};
