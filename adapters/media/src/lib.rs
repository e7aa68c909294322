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
//! For people there is a [`Headset`](talk::Headset): microphone, loudspeaker, a jitter buffer for each
//! voice, echo cancellation, a mixer, on an audio thread of its own. With the feature `devices` its
//! devices are the machine's sound cards; without, an application's own
//! ([`talk::Devices`]) or a program ([`Headset::of_program`](talk::Headset::of_program)).
//!
//! Sound is 48 kHz, one channel, in steps of 20 ms, `f32` from -1 to 1 (applications may use `i16`
//! as well); on the way it is Opus. Pictures are VP8, or H.264 from and to files.
//!
//! Frames that only members of a call can read, whatever server they pass: [`e2ee`].
//!
//! # PCM in, PCM out
//!
//! A bot that answers what it hears:
//!
//! ```
//! use matrix_voip_media::{MICROPHONE, Studio, pcm_sink, pcm_source};
//!
//! # async fn bot(think: impl Fn(Vec<i16>) -> Vec<i16>, join: impl AsyncFn(std::sync::Arc<Studio>)) {
//! let (mut mouth, microphone) = pcm_source();
//! let (speaker, mut ear) = pcm_sink();
//! let studio = Studio::builder().source_once(MICROPHONE, microphone).speaker_once(speaker).build();
//! join(studio).await; // hand it to the engine, and be in a call
//! while let Some(heard) = ear.read::<i16>().await {
//!     let words: Vec<i16> = think(heard);
//!     if mouth.write(&words).await.is_err() {
//!         break; // the call is over
//!     }
//! }
//! # }
//! # use matrix_voip::{host::{Media, RemoteTrack}, id::{PeerId, SessionId, TrackId}, machine::io::MediaKind};
//! # // An engine whose other side is a tone of ten frames, and which collects what the bot says.
//! # async fn call(studio: std::sync::Arc<Studio>) {
//! #     let mut source = studio.capture(SessionId(1), TrackId(1), MICROPHONE).await.unwrap();
//! #     let track = RemoteTrack {
//! #         session: SessionId(1), member: None, peer: PeerId(1), mid: "0".into(), stream: None,
//! #         kind: MediaKind::Audio,
//! #     };
//! #     let mut sink = studio.sink(track).unwrap();
//! #     for _ in 0..10 {
//! #         sink.push(source.next().await.unwrap());
//! #     }
//! # }
//! # let mut runtime = tokio::runtime::Builder::new_current_thread();
//! # let runtime = runtime.enable_time().start_paused(true).build().unwrap();
//! # let thought = std::cell::Cell::new(0);
//! # let think = |heard: Vec<i16>| { thought.set(thought.get() + heard.len()); heard };
//! # runtime.block_on(bot(think, call));
//! # assert_eq!(thought.get(), 960, "one frame, then the call is over");
//! ```
//!
//! # A call with files
//!
//! ```no_run
//! use matrix_voip_media::{
//!     AtEnd, CAMERA, EarSink, IvfFile, MICROPHONE, OpenError, Pcm, Script, Studio, Tee, Threaded,
//!     WavFile, WavSink,
//! };
//!
//! # fn main() -> Result<(), OpenError> {
//! let (wav, recording) = WavSink::create("heard.wav")?;
//! let (ear, meter) = EarSink::new();
//! let studio = Studio::builder()
//!     .source(MICROPHONE, || WavFile::open("speech.wav").map(Pcm::source))
//!     .source(CAMERA, || IvfFile::open("film.ivf").map(|film| film.at_end(AtEnd::Again).paced()))
//!     .speaker_once(Tee::new().and(ear).and(Threaded::new(wav)))
//!     .build();
//! // … the call …
//! println!("heard {:?}", meter.overall());
//! # Ok(())
//! # }
//! ```

pub mod audio;
mod desk;
#[cfg(feature = "devices")]
pub mod devices;
pub mod e2ee;
pub mod error;
pub mod file;
pub mod jitter;
pub mod sink;
pub mod source;
pub mod splice;
pub mod studio;
pub mod talk;
pub mod video;

#[cfg(test)]
mod testkit;

/// The examples of README.md compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use audio::{
    ear::{Ear, EarSink, EarView, Heard, HeardTone},
    level::Level,
    ogg::{OggFile, OggSink},
    opus::OpusOptions,
    pcm::{PcmClosed, PcmInput, PcmOutput, PcmSink, pcm_sink, pcm_source},
    sound::{FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE, Sample},
    tone::{Silence, Tone},
    track::{TrackCounts, TrackDecoder},
    voice::{Filled, Pcm, Voice},
    wav::{WavFile, WavSink},
};
#[cfg(feature = "devices")]
pub use devices::SoundCards;
pub use error::{CodecError, FileKind, OpenError, ReadError, WriteError};
pub use file::AtEnd;
pub use sink::{Recording, Tee, Threaded, Written};
pub use source::{Made, Paced, Script, Weight};
pub use splice::Splice;
pub use studio::{CAMERA, MICROPHONE, SCREEN, Studio, StudioBuilder};
pub use video::{
    ask::KeyFrameAnswers,
    check::{VideoCheck, VideoReport, VideoView},
    freeze::Freezes,
    h264::{H264File, H264Sink},
    ivf::{IvfFile, IvfSink},
    picture::{Picture, PictureSize, TestPicture},
    still::probe_png,
};
