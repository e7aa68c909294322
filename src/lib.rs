//! Native Matrix VoIP.
#![forbid(unsafe_code)]

pub mod config;
pub mod host;
pub mod id;
pub mod machine;
pub mod redact;
pub mod sdp;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod wire;
