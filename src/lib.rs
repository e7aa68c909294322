//! Native Matrix VoIP.
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod config;
pub mod host;
pub mod id;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod machine;
pub mod redact;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod sdp;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod wire;
