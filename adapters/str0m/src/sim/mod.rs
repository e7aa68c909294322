//! Simulation: real peers over a network that exists only in memory, in virtual time.
//!
//! Feature `testing`. [`Network`] carries datagrams with delay, loss, jitter, outages and address
//! changes; [`World`] runs [`Peer`](crate::Peer)s over it on one clock, from event to event, so an
//! hour of call takes a second and no test sleeps. ICE, DTLS, SRTP and RTCP are the real ones.
//! A [`TurnServer`] answers STUN and relays, kindly or not.
//! [`Phones`] are whole calls: engines of the core, a homeserver, and peers over the network.
//!
//! With the same seed the same world sends the same packets at the same times
//! ([`Network::schedule`]). The bytes differ: key exchange takes its secrets from the system, as
//! it must (`str0m.md` §2).

//!
//! ```
//! use std::time::Duration;
//! use matrix_voip::{
//!     host::{Codec, Frame},
//!     machine::{event::CallState, io::{CallCommand, CallMedia}},
//! };
//! use matrix_voip_str0m::sim::{Link, Phones, Scripted};
//!
//! // Silence, every 20 ms.
//! let frame = |n| Frame::new(Codec::Opus, n * 960, vec![0xf8, 0xff, 0xfe]);
//! let microphone = move |_| {
//!     Ok(Scripted { every: Duration::from_millis(20), make: Box::new(frame) })
//! };
//! let mut phones = Phones::new(1, Link { loss: 0.1, ..Link::default() });
//! let ada = phones.phone("@ada:example", microphone);
//! let ben = phones.phone("@ben:example", microphone);
//! let room = phones.room("!room:example");
//!
//! phones.invite(ada, &room, "@ben:example", CallMedia::Voice);
//! let limit = Duration::from_secs(30);
//! phones.run_until(limit, |phones| phones.state(ben) == Some(CallState::Ringing));
//! phones.act(ben, CallCommand::Answer(None));
//! phones.run_until(limit, |phones| phones.state(ada) == Some(CallState::Connected));
//! phones.network().take_down();
//! phones.run(Duration::from_secs(5));
//! phones.network().bring_up();
//! phones.run(Duration::from_secs(1));
//! assert!(phones.received(ada).count() > 0);
//! ```

mod faults;
mod network;
mod phones;
mod relay;
mod world;

pub use network::{Datagram, Link, Network, Traffic};
pub use phones::{Phone, Phones, Scripted};
pub use relay::TurnServer;
pub use world::{Node, Opening, Received, World};
