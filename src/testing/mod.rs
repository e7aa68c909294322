//! The simulation kit: calls in virtual time, for the tests of applications as well as our own.
//!
//! | part | is |
//! | --- | --- |
//! | [`Sim`], [`Device`], [`Puppet`] | engines in one virtual clock; what users do and see; a client in the test's hand |
//! | [`Column`] | what happened, as lines that read like the protocol |
//! | [`Replayed`] | a recording (`record`) as such lines |
//! | [`Cue`], [`Habits`] | what the world does to them: slow, lost, denied, hanging |
//! | [`Checked`] | one engine under the eyes of the invariants, for fuzzing |
//! | [`FakeHomeserver`] | a homeserver as a value: rooms, members, timelines, syncs per device |
//! | [`FakeWebRtc`] | WebRTC engines as a value: descriptions, candidates, states, no media |
//! | [`FakeSfu`] | SFUs, their tokens and the keys of providers as a value, no media |
//! | [`SmallWorld`] | two or three engines, and everything that can happen to them |
//! | [`EmbeddedHomeserver`] | the homeserver as an async `Signaling` host, for real `VoIP` instances |
//! | [`EmbeddedWebRtc`] | the engines as an async `WebRtc` host, for real `VoIP` instances |
//! | [`conformance`] | one suite that judges every WebRTC engine |
//!
//! A test says what people do, lets time pass, and compares what happened:
//!
//! ```
//! use matrix_voip::{CallMedia, EndReason, testing::{Cue, OpKind, Sim, secs}};
//!
//! let sim = Sim::new(1);
//! let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
//! let ada = sim.device("@ada:example", "PHONE");
//! let ben = sim.device("@ben:example", "LAPTOP");
//!
//! ada.drop_next();                                  // the first send is lost
//! ada.invite(&room, "@ben:example", CallMedia::Voice);
//! sim.advance(secs(5));
//! ben.next(OpKind::Capture, Cue::denied());         // Ben's microphone will be refused
//! ben.answer();
//! sim.run_to_the_end();
//!
//! sim.column().calls().expect("
//!     0.000 ada calls @ben:example (voice)
//!     0.090 ada fails to send m.call.invite (unreachable)
//!     1.130 ada sends m.call.invite
//!     1.150 ben rings
//!     1.150 ada is invite_sent
//!     1.170 ada sends m.call.candidates
//!     5.000 ben answers
//!     5.000 ben stops ringing (answered)
//!     5.000 ben is answering
//!     5.000 ben ended: local user_media_failed
//!     5.020 ben sends m.call.hangup
//!     5.040 ada ended: remote said user_media_failed
//!     5.060 ada sends m.call.select_answer
//! ");
//! assert_eq!(ben.end().map(|end| end.reason), Some(EndReason::UserMediaFailed));
//! ```
//!
//! After every step of a [`Sim`] the invariants of the machine's contract are checked: one answer
//! for each request, one message of a call in flight, `Ended` once and last, nothing asked for
//! after it, nothing left open, events that fold to the snapshot, no secret in `Debug` output.
//!
//! Everything here is for tests and demonstrations: what is written wrong in a test (an id without
//! its sigil, an answer without a call) panics with a message that says so.

mod checked;
mod column;
pub mod conformance;
mod cue;
mod delays;
mod device;
mod dice;
mod embedded;
mod embedded_webrtc;
mod explore;
mod fake_peer;
mod group;
mod posted;
mod puppet;
mod redacting;
mod replayed;
mod sdp;
mod server;
mod serving;
mod sfu;
mod sim;
mod tape;
mod telling;
mod watch;
mod webrtc;
mod world;

pub use checked::Checked;
pub use column::{Column, Kind, Line};
pub use cue::{Cue, Cues, Ending, OpKind};
pub use delays::{DelaySupport, Delayed, Delays};
pub use device::{Device, room_batch};
pub use dice::Dice;
pub use embedded::{EmbeddedAccount, EmbeddedHomeserver, Passage, Way};
pub use embedded_webrtc::{EmbeddedEngine, EmbeddedWebRtc};
pub use explore::{Counterexample, Explored, Order, Role, SmallWorld, Trouble};
pub use posted::SentToDevice;
pub use puppet::Puppet;
pub use replayed::Replayed;
pub use server::{FakeHomeserver, StoredEvent, SyncItem};
pub use sfu::{FakeSfu, SfuFollowUp};
pub use sim::{Sim, User, millis, secs};
pub use webrtc::{FakePeer, FakeTrack, FakeWebRtc, FollowUp, Habits, Performed, Seat};
