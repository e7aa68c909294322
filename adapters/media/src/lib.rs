//! Sound and picture for `matrix-voip`: where encoded frames come from and where they go.
//!
//! An engine asks a [`Media`](matrix_voip::host::Media) for sources and sinks of encoded frames.
//! This package makes them out of three kinds of small values:
//!
//! * **scripts** ([`Script`]) make one frame after the other and know no clock: a [`Tone`], a
//!   [`WavFile`], an [`IvfFile`], a [`TestPicture`]. [`Paced`] puts one on the clock and is a
//!   `FrameSource`;
//! * **sinks** take received frames: [`PcmSink`], [`WavSink`], [`EarSink`], [`VideoCheck`], several
//!   at once by [`Tee`], on a thread of their own by [`Threaded`];
//! * a [`Studio`] puts them together: it says what the microphone and the camera are and who hears
//!   and sees the other side.
//!
//! Sound is 48 kHz, one channel, in steps of 20 ms, `f32` from -1 to 1; on the way it is Opus.

pub mod audio;
pub mod error;
pub mod file;
pub mod sink;
pub mod source;
pub mod studio;
pub mod video;

#[cfg(test)]
mod testkit;

pub use audio::{
    ear::{Ear, EarSink, EarView, Heard, HeardTone},
    hearing::{Hearing, HearingCounts},
    level::Level,
    sound::{FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE, Sample},
    tone::{Silence, Tone},
    voice::{Pcm, Voice},
    wav::{WavFile, WavSink},
};
pub use error::{CodecError, FileKind, OpenError, ReadError, WriteError};
pub use file::AtEnd;
pub use sink::{Recording, Tee, Threaded, Written};
pub use source::{Made, Paced, Script, Weight};
pub use studio::{Studio, StudioBuilder};
pub use video::{
    check::{VideoCheck, VideoReport, VideoView},
    ivf::{IvfFile, IvfSink},
    picture::{Picture, PictureSize, TestPicture},
};
