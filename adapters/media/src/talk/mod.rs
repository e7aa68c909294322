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
//!
//! | where | what |
//! | --- | --- |
//! | `core.rs` | [`AudioCore`]; in it `cleaner.rs` and `limiter.rs`, and the jitter buffers |
//! | `rig.rs` | what the audio thread does at each turn, with the time told |
//! | `headset.rs`, `program.rs` | that thread, and the handle to it: of a person, of a program |
//! | `ends.rs`, `lane.rs` | what an engine has of it, and the queues between |
//! | `wishes.rs`, `view.rs` | what the application wants of it, and sees |
//! | `device.rs`, `choose.rs` | what a device is, and which one a name means |
//! | `slot.rs`, `clerk.rs` | a device that is open or missing, and who opens it |
//! | `pace.rs`, `metronome.rs`, `clock.rs` | time: of a loudspeaker, without one, of the thread |

mod choose;
mod cleaner;
mod clerk;
mod clock;
mod core;
mod device;
mod ends;
mod headset;
mod lane;
mod limiter;
mod metronome;
mod pace;
mod program;
mod rig;
mod slot;
#[cfg(test)]
mod testkit;
mod view;
mod wishes;

pub use self::{
    cleaner::{CleanerOptions, NoiseLevel},
    core::{
        AudioCore, AudioOptions, CaptureStats, MAX_READY, MAX_RECORDED, MAX_VOICES, MAX_VOLUME,
        TooManyVoices, VoiceId, VoiceReport,
    },
    device::{DeviceError, DeviceInfo, DeviceKind, Devices, Player, Recorder, Which},
    ends::{Microphone, Speaker},
    headset::{DeviceNews, Headset, HeadsetError, HeadsetOptions},
    lane::{MAX_ARRIVED, MAX_UNSENT},
    view::{DeviceState, HeadsetView, Talker},
};
pub use crate::audio::opus::OpusOptions;

/// Samples of one step: 10 ms.
pub const STEP_SAMPLES: usize = 480;
