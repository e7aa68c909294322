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
//! | `reach`, `stun` | STUN and TURN servers: reflexive and relayed candidates, as one value too |
//! | `dtls`, [`entropy`] | crypto provider, random numbers |
//! | `guard` | the fence that keeps a panic of str0m from more than one connection |
//! | `stats` | measurements |
//! | `sockets`, `uplinks` | the tokio side: UDP; names, TCP and TLS |
//! | `shell`, `delegate` | a task per connection; a task per captured track is `matrix-voip-engine`'s |
//! | `sim` (feature `testing`) | a simulated network and peers over it, in virtual time |
//!
//! # Supported
//!
//! Host candidates on every interface, server-reflexive ones by STUN, relayed ones by TURN over
//! UDP, TCP and TLS; trickle both ways, peer-reflexive candidates, ICE restart in offers and
//! answers, several audio and video lines, statistics. With `relay_only` nothing but relayed
//! candidates is used and named. Tones of a telephone are sent and received as RTP events (RFC 4733,
//! `telephone-event/48000`). Not yet: tones on another clock than the sound's, bandwidth estimation, simulcast, data channels.
//!
//! # Servers
//!
//! The machine gives each connection the homeserver's STUN and TURN servers. They are asked as
//! soon as it is opened, before there is any description, and what becomes of each is in [`PeerStats::servers`](matrix_voip::machine::io::PeerStats): refusals are told as what
//! they are (credentials, quota, capacity …), within two round trips. No candidate waits for a
//! slow server. Allocations are refreshed for as long as the connection lasts and given back when
//! it closes. TURN servers over TLS must have a certificate that the system trusts, or one of
//! [`TrustedRoots`]:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use matrix_voip::host::Media;
//! # fn example(media: Arc<dyn Media>, pem: &[u8]) -> Result<(), matrix_voip_str0m::BadCertificate> {
//! use matrix_voip_str0m::{Str0m, TrustedRoots};
//!
//! let engine = Str0m::builder(media).trusted_roots(TrustedRoots::system_and(pem)?).build();
//! # let _ = engine;
//! # Ok(())
//! # }
//! ```
//!
//! What is not done: relayed IPv6 addresses, DTLS to servers, proxies, following a server that
//! sends us to another one (300), moving a live call to a new allocation. Remote `.local` names
//! are skipped, never looked up: such a peer is found by its packets, or by its other candidates.
//!
//! # Changes of the network
//!
//! Each connection looks at the machine's addresses every second. New ones get a socket and
//! candidates at once; those that are gone are no longer named, and given up with the next ICE restart
//! unless they come back. The machine hears `Network::Changed`, once for all connections.

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
mod uplinks;

pub use delegate::{Builder, Str0m};
pub use error::PeerError;
#[cfg(feature = "testing")]
pub use impairment::{Impairment, Impairments};
pub use matrix_voip_engine::{BadCertificate, Interfaces, TrustedRoots};
pub use peer::{Peer, PeerSetup};
