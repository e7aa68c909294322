//! The simulation kit: calls in virtual time, for the tests of applications as well as our own.
//!
//! | part | is |
//! | --- | --- |
//! | [`FakeHomeserver`] | a homeserver as a value: rooms, members, timelines, syncs per device |
//! | [`EmbeddedHomeserver`] | the same as an async `Signaling` host, for real `VoIP` instances |
//!
//! Everything here is for tests and demonstrations: what is written wrong in a test (an id without
//! its sigil, a room that nobody made) panics with a message that says so.

mod cue;
mod embedded;
mod sdp;
mod server;
mod webrtc;

pub use cue::{Cue, Cues, Ending, OpKind};
pub use embedded::{EmbeddedAccount, EmbeddedHomeserver, Passage, Way};
pub use server::{FakeHomeserver, StoredEvent, SyncItem};
pub use webrtc::{FakePeer, FakeTrack, FakeWebRtc, FollowUp, Habits, Performed, Seat};
