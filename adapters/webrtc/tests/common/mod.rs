//! Sides of the test kit, with this engine.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs")]

use matrix_voip_webrtc::{Builder, Interfaces, Webrtc};

/// Longer than anything takes that goes well.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// One side of a call.
pub type Side = testkit::studio::Side<Webrtc>;

/// A side on loopback whose microphone gives this tone.
pub fn side(hertz: f32) -> Side {
    side_with(hertz, |builder| builder)
}

/// The same with another engine.
pub fn side_with(hertz: f32, change: impl FnOnce(Builder) -> Builder) -> Side {
    Side::over(hertz, |media| {
        change(Webrtc::builder(media).interfaces(Interfaces::Loopback)).build()
    })
}
