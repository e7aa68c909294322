//! Simulation: real peers over a network that exists only in memory, in virtual time.
//!
//! Feature `testing`. [`Network`] carries datagrams with delay, loss, jitter, outages and address
//! changes; [`World`] runs [`Peer`](crate::Peer)s over it on one clock, from event to event, so an
//! hour of call takes a second and no test sleeps. ICE, DTLS, SRTP and RTCP are the real ones.
//! [`Phones`] are whole calls: engines of the core, a homeserver, and peers over the network.
//!
//! With the same seed the same world sends the same packets at the same times
//! ([`Network::schedule`]). The bytes differ: key exchange takes its secrets from the system, as
//! it must (`str0m.md` §2).

mod network;
mod phones;
mod world;

pub use network::{Datagram, Link, Network, Traffic};
pub use phones::{Phone, Phones, Scripted};
pub use world::{Node, Received, World};
