//! What every WebRTC engine of `matrix-voip` needs besides WebRTC: local tracks, from a device to
//! each connection that sends it ([`Tracks`]); the addresses of this machine ([`Known`]); TLS to
//! TURN servers, and their URIs ([`Tls`], [`ServerUri`]).
//!
//! An engine is an implementation of [`matrix_voip::host::WebRtc`]. What it does with descriptions,
//! candidates and packets is its own; how a capture is cancelled, a muted microphone sends silence
//! and another device takes over is the same for all, and stands here.
//!
//! | module | is |
//! | --- | --- |
//! | [`track`] | captures, mute, another device, the time stamps of what is sent |
//! | [`interfaces`] | which addresses carry calls, and who notices that they changed |
//! | [`losses`] | how many packets never came, those that come late not among them |
//! | [`tls`] | whom TURN servers over TLS must be vouched for by |
//! | [`uri`] | URIs of STUN and TURN servers |
//! | [`candidates`] | which remote candidates can be used now, and which must wait for their description |
//! | [`sdp`] | lines, fingerprints and names in descriptions; what of a plan an offer allows |
//!
//! What is not here, on purpose: reading and writing a description as a whole, the mapping of m-lines,
//! what is done before and after a rollback, when a candidate is told. Both engines of this project do
//! that by themselves, though it looks alike, so that in a call of one with the other each finds the
//! other's errors; what stands here, both would get wrong in the same way, and it has tests of its own.

#![forbid(unsafe_code)]

pub mod candidates;
pub mod interfaces;
pub mod losses;
pub mod sdp;
pub mod tls;
pub mod track;
pub mod uri;

pub use candidates::Generations;
pub use interfaces::{Interfaces, Known, Watch};
pub use losses::Losses;
pub use tls::{BadCertificate, Tls, TrustedRoots};
pub use track::{Subscriber, Tracks};
pub use uri::{ServerUri, UriFault};
