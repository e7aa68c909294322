//! Opens a card: buffers of 10 ms, its own format, rate and number of channels.

use std::sync::Arc;

use cpal::{
    BufferSize, Device, Error, ErrorKind, SampleFormat, StreamConfig, SupportedBufferSize,
    SupportedStreamConfig,
    traits::{DeviceTrait, StreamTrait},
};
use rtrb::{Consumer, Producer};

use super::{
    ring::{self, Tally},
    system::Open,
};
use crate::audio::{resample::StreamResampler, sound::SAMPLE_RATE};

/// How often a second a card should call.
const CALLS: u32 = 100;

/// A microphone that records already.
pub(super) struct Recording {
    pub(super) ring: Consumer<f32>,
    pub(super) resampler: Option<StreamResampler>,
    pub(super) rate: u32,
    pub(super) tally: Arc<Tally>,
}

/// A loudspeaker that plays silence already.
pub(super) struct Playing {
    pub(super) ring: Producer<f32>,
    pub(super) resampler: Option<StreamResampler>,
    pub(super) rate: u32,
    pub(super) tally: Arc<Tally>,
}

/// Does something with the type of a format's samples, `None` where that is no sound as we know it.
macro_rules! with_sample {
    ($format:expr, $sample:ident => $what:expr) => {
        with_sample!(@ $format, $sample => $what;
            F32 f32, F64 f64, I8 i8, I16 i16, I24 cpal::I24, I32 i32, I64 i64,
            U8 u8, U16 u16, U24 cpal::U24, U32 u32, U64 u64)
    };
    (@ $format:expr, $sample:ident => $what:expr; $($name:ident $of:ty),+) => {
        match $format {
            $(SampleFormat::$name => {
                type $sample = $of;
                Some($what)
            })+
            _ => None,
        }
    };
}

/// Begins to record.
pub(super) fn record(device: &Device) -> Result<(Recording, Open), Error> {
    let supported = device.default_input_config()?;
    let (config, rate) = (config(&supported), supported.sample_rate());
    let tally = Arc::default();
    let resampler = resampler(rate, SAMPLE_RATE)?;
    let (mut card, ring) = ring::recording(rate, config.channels, &tally);
    let fault = on_fault(&tally);
    let stream = with_sample!(supported.sample_format(), Sample => device.build_input_stream(
        config,
        move |buffer: &[Sample], _: &_| card.take(buffer),
        fault,
        None,
    ));
    let stream = stream.ok_or_else(|| unknown(&supported))??;
    stream.play()?;
    let open = Open { stream, device: device.id()?, tally: Arc::clone(&tally) };
    Ok((Recording { ring, resampler, rate, tally }, open))
}

/// Begins to play.
pub(super) fn play(device: &Device) -> Result<(Playing, Open), Error> {
    let supported = device.default_output_config()?;
    let (config, rate) = (config(&supported), supported.sample_rate());
    let tally = Arc::default();
    let resampler = resampler(SAMPLE_RATE, rate)?;
    let (ring, mut card) = ring::playing(rate, config.channels, &tally);
    let fault = on_fault(&tally);
    let stream = with_sample!(supported.sample_format(), Sample => device.build_output_stream(
        config,
        move |buffer: &mut [Sample], _: &_| card.fill(buffer),
        fault,
        None,
    ));
    let stream = stream.ok_or_else(|| unknown(&supported))??;
    stream.play()?;
    let open = Open { stream, device: device.id()?, tally: Arc::clone(&tally) };
    Ok((Playing { ring, resampler, rate, tally }, open))
}

/// What the device does by itself, in buffers of 10 ms or as near as it can.
fn config(supported: &SupportedStreamConfig) -> StreamConfig {
    let wanted = supported.sample_rate() / CALLS;
    let frames = match *supported.buffer_size() {
        SupportedBufferSize::Range { min, max } => wanted.max(min).min(max),
        SupportedBufferSize::Unknown => wanted,
    };
    StreamConfig { buffer_size: BufferSize::Fixed(frames), ..supported.config() }
}

/// A conversion where the rates differ.
fn resampler(from: u32, to: u32) -> Result<Option<StreamResampler>, Error> {
    if from == to {
        return Ok(None);
    }
    let unknown = || {
        let words = format!("sound of {from} Hz does not become sound of {to} Hz");
        Error::with_message(ErrorKind::UnsupportedConfig, words)
    };
    StreamResampler::between(from, to).map(Some).ok_or_else(unknown)
}

fn unknown(supported: &SupportedStreamConfig) -> Error {
    let words = format!("samples of the format {} are not known", supported.sample_format());
    Error::with_message(ErrorKind::UnsupportedConfig, words)
}

/// Remembers the first error after which nothing comes any more.
fn on_fault(tally: &Arc<Tally>) -> impl FnMut(Error) + Send + 'static {
    let tally = tally.clone();
    move |error| match error.kind() {
        // It goes on, with another device, or after a gap.
        ErrorKind::DeviceChanged | ErrorKind::Xrun | ErrorKind::RealtimeDenied => {}
        _ => drop(tally.fault.set(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_of_ten_milliseconds_or_as_near_as_the_card_allows() {
        let size = |rate, range| {
            let supported = SupportedStreamConfig::new(2, rate, range, SampleFormat::I16);
            config(&supported).buffer_size
        };
        assert_eq!(size(44_100, SupportedBufferSize::Unknown), BufferSize::Fixed(441));
        let range = |min, max| SupportedBufferSize::Range { min, max };
        assert_eq!(size(48_000, range(1, 100_000)), BufferSize::Fixed(480));
        assert_eq!(size(48_000, range(1024, 4096)), BufferSize::Fixed(1024));
        assert_eq!(size(48_000, range(16, 128)), BufferSize::Fixed(128));
    }

    #[test]
    fn a_stream_that_moves_goes_on_and_the_first_error_that_ends_it_is_kept() {
        let tally = Arc::default();
        let mut fault = on_fault(&tally);
        for harmless in [ErrorKind::DeviceChanged, ErrorKind::Xrun, ErrorKind::RealtimeDenied] {
            fault(Error::new(harmless));
        }
        assert_eq!(tally.fault.get(), None);
        fault(Error::with_message(ErrorKind::DeviceNotAvailable, "unplugged"));
        fault(Error::with_message(ErrorKind::BackendError, "and more"));
        assert_eq!(tally.fault.get().unwrap(), "unplugged");
    }
}
