//! The simulation kit: calls in virtual time, for the tests of applications as well as our own.
//!
//! | part | is |
//! | --- | --- |
//! | [`Sim`], [`Device`], [`Puppet`] | engines in one virtual clock; what users do and see; a client in the test's hand |
//! | [`Column`] | what happened, as lines that read like the protocol |
//! | [`Cue`], [`Habits`] | what the world does to them: slow, lost, denied, hanging |
//! | [`FakeHomeserver`] | a homeserver as a value: rooms, members, timelines, syncs per device |
//! | [`FakeWebRtc`] | WebRTC engines as a value: descriptions, candidates, states, no media |
//! | [`EmbeddedHomeserver`] | the homeserver as an async `Signaling` host, for real `VoIP` instances |
//! | [`EmbeddedWebRtc`] | the engines as an async `WebRtc` host, for real `VoIP` instances |
//!
//! Everything here is for tests and demonstrations: what is written wrong in a test (an id without
//! its sigil, an answer without a call) panics with a message that says so.

mod column;
mod cue;
mod device;
mod dice;
mod embedded;
mod embedded_webrtc;
mod puppet;
mod sdp;
mod server;
mod serving;
mod sim;
mod telling;
mod watch;
mod webrtc;
mod world;

pub use column::{Column, Kind, Line};
pub use cue::{Cue, Cues, Ending, OpKind};
pub use device::{Device, room_batch};
pub use dice::Dice;
pub use embedded::{EmbeddedAccount, EmbeddedHomeserver, Passage, Way};
pub use embedded_webrtc::{EmbeddedEngine, EmbeddedWebRtc};
pub use puppet::Puppet;
pub use server::{FakeHomeserver, StoredEvent, SyncItem};
pub use sim::{Sim, User, millis, secs};
pub use webrtc::{FakePeer, FakeTrack, FakeWebRtc, FollowUp, Habits, Performed, Seat};
