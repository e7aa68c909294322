//! The way of sound through a call: from a microphone to packets, from packets to a loudspeaker.
//!
//! ```text
//!  push_capture -> Cleaner (echo, noise, gain) -> mute -> level -> Opus -> poll_packet
//!                     ^ what the loudspeaker plays
//!  pull_playout <- limiter <- sum <- volume <- JitterBuffer, one for each participant <- push_packet
//! ```
//!
//! [`AudioCore`] is all of it, as a value: no thread, no clock, no device. Whoever has a device calls
//! [`push_capture`](AudioCore::push_capture) with what it records and [`pull_playout`](AudioCore::pull_playout)
//! for what it is to play, each by the clock of that device; the difference of the two clocks, and of the
//! clocks of the others, is taken up on the way.

mod choose;
mod cleaner;
mod clerk;
mod clock;
mod core;
mod device;
mod headset;
mod lane;
mod limiter;
mod metronome;
mod pace;
mod program;
mod rig;
#[cfg(test)]
mod testkit;
mod wishes;

pub use self::{
    cleaner::{CleanerOptions, NoiseLevel},
    core::{
        AudioCore, AudioOptions, CaptureStats, MAX_PACKETS, MAX_RECORDED, MAX_VOICES, MAX_VOLUME,
        TooManyVoices, VoiceId, VoiceReport,
    },
    device::{DeviceError, DeviceInfo, DeviceKind, Devices, Player, Recorder, Which},
    headset::{DeviceNews, Headset, HeadsetError, HeadsetOptions},
    lane::{MAX_ARRIVED, MAX_UNSENT, Microphone, Speaker},
    wishes::{DeviceState, HeadsetView, Talker},
};
pub use crate::audio::opus::OpusOptions;

/// Samples of one step: 10 ms.
pub const STEP_SAMPLES: usize = 480;
