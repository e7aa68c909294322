//! Calls for an application that has a [`matrix_sdk::Client`].
//!
//! One line connects the client that the application owns and syncs, by classic sync or by the
//! sliding `SyncService`:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use matrix_voip::{VoIP, CallOptions, VoipNews, host::WebRtc};
//! # async fn f(client: matrix_sdk::Client, engine: Arc<dyn WebRtc>) -> Result<(), Box<dyn std::error::Error>> {
//! let (voip, matrix) = matrix_voip_matrix_sdk::connect(&client, |voip| voip.webrtc(engine))?;
//!
//! let mut arrivals = voip.events(); // VoipNews::RingStarted { call, .. } => call.answer().await?
//! let call = voip.invite("!room:server", "@ben:server", CallOptions::voice()).await?;
//! // … and when the account is done with:
//! matrix.detach().await;
//! # Ok(()) }
//! ```
//!
//! What is done for it: complete, ordered batches of each room's call events, gaps of a limited
//! sync filled from the history, events tried again when their room key comes late, ages with the
//! time that we held an event back, the state that group calls are made of, of each joined room
//! whole and then as it changes, to-device messages with the facts of their encryption, who is
//! ignored, who left, whether a room is encrypted; sends under the library's transaction ids and
//! within deadlines; TURN credentials. A login that is lost ends all calls.
//!
//! The crate never syncs. It chooses no store, and of the features of `matrix-sdk` it switches on
//! `e2e-encryption` and `experimental-send-custom-to-device` alone; the application chooses the
//! others. `README.md` of the package says what it has to look after itself.
//!
//! | file | holds |
//! | --- | --- |
//! | `connect.rs` | the public face: [`connect`], [`Matrix`] |
//! | `forward.rs`, `inbox.rs` | what the SDK says, into one ordered inbox |
//! | `intake.rs` | the SDK's values as ours: pure |
//! | `belief.rs` | messages about media keys against what the store knows of their sender |
//! | `worker/` | what becomes of it: a value without I/O |
//! | `shell.rs` | the one task around the worker |
//! | `state.rs` | the state of a room, from the store or the homeserver |
//! | `signaling.rs`, `turn.rs`, `transports.rs`, `delayed.rs`, `request.rs`, `endpoint.rs`, `fault.rs` | the way out |
//! | `ledger.rs` | what survives a crash, in the client's store |
//! | `to_device.rs` | messages to devices, of the library and of [`Matrix`] |
//! | `services.rs` | more of the homeserver, as methods of [`Matrix`] |

mod attached;
mod belief;
mod connect;
mod counts;
mod delayed;
mod endpoint;
mod fault;
mod forward;
mod inbox;
mod intake;
mod ledger;
mod request;
mod services;
mod shell;
mod signaling;
mod state;
mod to_device;
mod transports;
mod turn;
mod worker;

pub use connect::{ConnectError, Matrix, connect};
pub use counts::Counts;
pub use ledger::{KeptLedger, ledger};
pub use services::{DelayedAction, RoomFacts, StateEvent};
pub use to_device::{Envelope, KnownDevice, ToDeviceMessage};
