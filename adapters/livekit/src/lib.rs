//! Where the tokens of a LiveKit SFU come from: implementations of
//! [`TokenSource`](matrix_voip::host::TokenSource).
//!
//! A member of a call shows its SFU a token (JWT). It is made by a service beside the SFU
//! (lk-jwt-service, or another one with its endpoints), which asks our homeserver who we are, by an
//! OpenID token. `backend.livekit_service_url` of the call says where that service is.
//!
//! | source | asks | we are then known as |
//! | --- | --- | --- |
//! | [`SfuGet`] | `POST …/sfu/get`: every version, and what Famedly's apps expect | `@user:server:DEVICE` |
//! | [`GetToken`] | `POST …/get_token`: newer versions | a hash of user, device and visit |
//! | [`Newest`] | `/get_token`, and `/sfu/get` of a service that lacks it | what the service has |
//! | [`HomeserverRtc`] | the homeserver itself (MSC4195) | what the homeserver says |
//! | [`StaticToken`] | nobody: for tests and development | what the token says |
//!
//! **Which one?** [`SfuGet`], unless you know that every member of your calls expects something
//! else. The identity is how the others map an SFU's participant to a member, and to his key:
//! Famedly's apps and the older Element Call take it to be `@user:server:DEVICE`, which only
//! `/sfu/get` gives.
//!
//! ```no_run
//! use std::sync::Arc;
//! use matrix_voip::host::TokenSource;
//! use matrix_voip_livekit::{Settings, SfuGet};
//!
//! let tokens: Arc<dyn TokenSource> = Arc::new(SfuGet::new(&Settings::default())?);
//! # Ok::<(), matrix_voip_livekit::SetupError>(())
//! ```
//!
//! Each question is one attempt within [`DEADLINE`]; when to try again, and when a token is to be
//! renewed, the library decides. Dropping the future of a question ends it: nothing goes on behind it.
//! Tokens stand in no log, no error and no `Debug`, nor does anything that a service has said: its
//! answer to a bad token may repeat that token (`livekit-proven.md` §3.4).
//!
//! | file | holds |
//! | --- | --- |
//! | `services.rs` | [`SfuGet`], [`GetToken`], [`Newest`] |
//! | `homeserver.rs` | [`HomeserverRtc`] |
//! | `fixed.rs` | [`StaticToken`] |
//! | `claims.rs` | [`Claims`]: what a token says of itself |
//! | `address.rs` | which addresses are taken, [`PlainText`] |
//! | `http.rs` | one request, bounded in time and size; [`Settings`] |
//! | `answer.rs` | what an answer means: a token, or which fault |

mod address;
mod answer;
mod claims;
mod fixed;
mod homeserver;
mod http;
mod services;

pub use crate::{
    address::PlainText,
    claims::{BadToken, Claims},
    fixed::StaticToken,
    homeserver::HomeserverRtc,
    http::{DEADLINE, Settings, SetupError},
    services::{GetToken, Newest, RoomField, SfuGet},
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
