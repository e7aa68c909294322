//! WAV files: played as a microphone, and written from what is heard.
//!
//! Read: PCM of 8 to 32 bits or 32-bit float, one channel or two (mixed to one), at 8 to 192 kHz
//! (converted to 48). Written:
//! 48 kHz, 16 bits, one channel; the head is brought up to date every second, so that a file of a
//! process that died is short of its last second at most.

use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use matrix_voip::host::{Frame, FrameSink};

use super::{
    resample::FrameResampler,
    sound::{FRAME_SAMPLES, SAMPLE_RATE, Sample},
    track::TrackDecoder,
    voice::{Filled, Pcm},
};
use crate::{
    error::{FileKind, OpenError, ReadError, WriteError},
    file::{self, AtEnd, Input, Output},
    sink::{Progressing, Recording},
};

/// What can be read, for the error that says so.
const ACCEPTED: &str =
    "8000 to 192000 Hz, one or two channels, PCM of 8 to 32 bits or 32-bit float";

/// A WAV file to be played.
pub struct WavFile {
    reader: WavReader<Box<dyn Input>>,
    at_end: AtEnd,
    rate: Option<FrameResampler>,
}

impl WavFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`OpenError`] when there is no such file, it is no WAV file, or it is of a form that is not
    /// played; the text names the forms that are.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::read(file::open(FileKind::Wav, path.as_ref())?)
    }

    /// Reads a file from anywhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(input: impl Input) -> Result<Self, OpenError> {
        let input: Box<dyn Input> = Box::new(input);
        let reader = WavReader::new(input).map_err(open_error)?;
        let rate = check(reader.spec())?;
        if reader.duration() == 0 {
            return Err(OpenError::Empty { kind: FileKind::Wav });
        }
        Ok(Self { reader, at_end: AtEnd::Stop, rate })
    }

    /// What happens at the end of the file.
    #[must_use]
    pub fn at_end(mut self, at_end: AtEnd) -> Self {
        self.at_end = at_end;
        self
    }

    /// How many samples the file says it has, per channel, at its own rate.
    pub fn samples(&self) -> u32 {
        self.reader.duration()
    }

    /// The next samples at the file's own rate, up to the length of `out`; fewer only at the end of
    /// the file.
    ///
    /// # Errors
    /// [`ReadError`] when the file is broken or shorter than it says.
    pub fn read_samples(&mut self, out: &mut [f32]) -> Result<usize, ReadError> {
        let spec = self.reader.spec();
        let channels = usize::from(spec.channels);
        for (n, sample) in out.iter_mut().enumerate() {
            let mut sum = 0.0;
            for _ in 0..channels {
                match read_one(&mut self.reader, spec)? {
                    Some(value) => sum += value,
                    None => return Ok(n),
                }
            }
            *sample = sum / channels as f32;
        }
        Ok(out.len())
    }

    fn rewind(&mut self) -> bool {
        match self.at_end {
            AtEnd::Stop => false,
            AtEnd::Again => self.reader.seek(0).is_ok(),
        }
    }

    /// Fills `out` at the file's own rate, over the end of the file if it begins again; how much
    /// of it is sound. The rest is silence.
    fn fill_own(&mut self, out: &mut [f32]) -> usize {
        let mut filled = self.read_on(out);
        if filled < out.len() && self.rewind() {
            filled += self.read_on(&mut out[filled..]);
        }
        out[filled..].fill(0.0);
        filled
    }

    fn read_on(&mut self, out: &mut [f32]) -> usize {
        self.read_samples(out).unwrap_or_else(|error| {
            tracing::warn!(%error, "a WAV file ends early");
            0
        })
    }
}

impl Pcm for WavFile {
    fn fill(&mut self, out: &mut [f32; FRAME_SAMPLES]) -> Filled {
        let filled = match self.rate.take() {
            None => self.fill_own(out),
            Some(mut rate) => {
                let mut own = vec![0.0; rate.wants()];
                let filled = self.fill_own(&mut own);
                rate.convert(&own, out);
                self.rate = Some(rate);
                filled
            }
        };
        if filled == 0 { Filled::Over } else { Filled::Frame }
    }
}

impl std::fmt::Debug for WavFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavFile")
            .field("spec", &self.reader.spec())
            .field("at_end", &self.at_end)
            .finish_non_exhaustive()
    }
}

/// Checks that it can be played; with what must be converted.
fn check(spec: WavSpec) -> Result<Option<FrameResampler>, OpenError> {
    let depth_fits = match spec.sample_format {
        SampleFormat::Int => (8..=32).contains(&spec.bits_per_sample),
        SampleFormat::Float => spec.bits_per_sample == 32,
    };
    let WavSpec { channels, sample_rate, bits_per_sample, sample_format } = spec;
    let unsupported = || OpenError::Unsupported {
        kind: FileKind::Wav,
        has: format!(
            "{sample_rate} Hz, {channels} channels, {bits_per_sample} bits {sample_format:?}"
        ),
        accepted: ACCEPTED,
    };
    if !depth_fits || !(1..=2).contains(&channels) {
        return Err(unsupported());
    }
    match sample_rate {
        SAMPLE_RATE => Ok(None),
        other => FrameResampler::of(other).map(Some).ok_or_else(unsupported),
    }
}

fn read_one(
    reader: &mut WavReader<Box<dyn Input>>,
    spec: WavSpec,
) -> Result<Option<f32>, ReadError> {
    let sample = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().next().map(|read| read.map(f32::to_f32)),
        SampleFormat::Int => reader.samples::<i32>().next().map(|read| {
            let full_scale = (1_u64 << (spec.bits_per_sample - 1)) as f32;
            read.map(|value| value as f32 / full_scale)
        }),
    };
    sample.transpose().map_err(read_error)
}

fn open_error(error: hound::Error) -> OpenError {
    match error {
        hound::Error::IoError(error) => OpenError::io(FileKind::Wav)(error),
        hound::Error::Unsupported => OpenError::Unsupported {
            kind: FileKind::Wav,
            has: "a compressed or unusual format".into(),
            accepted: ACCEPTED,
        },
        other => OpenError::not_such(FileKind::Wav, other.to_string()),
    }
}

fn read_error(error: hound::Error) -> ReadError {
    match error {
        hound::Error::IoError(error) => ReadError::io(FileKind::Wav)(error),
        other => ReadError::Broken { kind: FileKind::Wav, what: other.to_string() },
    }
}

fn write_error(error: hound::Error) -> WriteError {
    WriteError { kind: FileKind::Wav, what: error.to_string() }
}

/// Samples between two updates of the head of a file that is written: one second.
const FLUSH_EVERY: u32 = SAMPLE_RATE;

/// Decodes a remote track into a WAV file. Writes to the disk in `push`: put it into a
/// [`Threaded`](crate::Threaded).
pub struct WavSink {
    decoder: TrackDecoder,
    sound: Vec<f32>,
    writer: Option<WavWriter<Box<dyn Output>>>,
    unflushed: u32,
    progress: Progressing,
}

impl WavSink {
    /// Makes the file; an old one is overwritten. The file is complete when the sink is dropped.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> Result<(Self, Recording), OpenError> {
        Self::write(file::create(FileKind::Wav, path.as_ref())?)
    }

    /// Writes the file anywhere.
    ///
    /// # Errors
    /// [`OpenError`] when its head cannot be written.
    pub fn write(output: impl Output) -> Result<(Self, Recording), OpenError> {
        let spec = WavSpec {
            channels: 1,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let output: Box<dyn Output> = Box::new(output);
        let writer = Some(WavWriter::new(output, spec).map_err(open_error)?);
        let (progress, recording) = Progressing::new();
        let sink = Self {
            decoder: TrackDecoder::new(),
            sound: Vec::new(),
            writer,
            unflushed: 0,
            progress,
        };
        Ok((sink, recording))
    }

    fn write_sound(&mut self) -> Result<(), hound::Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        for sample in &self.sound {
            writer.write_sample(i16::from_f32(*sample))?;
        }
        self.unflushed += self.sound.len() as u32;
        if self.unflushed >= FLUSH_EVERY {
            self.unflushed = 0;
            writer.flush()?;
        }
        Ok(())
    }
}

impl FrameSink for WavSink {
    fn push(&mut self, frame: Frame) {
        if self.progress.failed() {
            return;
        }
        self.sound.clear();
        self.decoder.push(&frame, &mut self.sound);
        let result = self.write_sound().map_err(write_error);
        self.progress.note(result);
    }
}

impl Drop for WavSink {
    fn drop(&mut self) {
        self.sound.clear();
        self.decoder.finish(&mut self.sound);
        let rest = if self.progress.failed() { Ok(()) } else { self.write_sound() };
        if let Some(writer) = self.writer.take() {
            self.progress.close(rest.and(writer.finalize()).map_err(write_error));
        }
    }
}

impl std::fmt::Debug for WavSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WavSink").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        audio::{ear::Ear, tone::Tone, voice::Voice},
        source::{Made, Script},
        testkit::{FullDisk, SharedFile, broken},
    };

    fn wav(spec: WavSpec, samples: &[i32]) -> Vec<u8> {
        let file = SharedFile::default();
        let mut writer = WavWriter::new(file.clone(), spec).unwrap();
        for sample in samples {
            match spec.sample_format {
                SampleFormat::Int => writer.write_sample(*sample).unwrap(),
                SampleFormat::Float => writer.write_sample(*sample as f32 / 100.0).unwrap(),
            }
        }
        writer.finalize().unwrap();
        file.contents()
    }

    fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16) -> WavSpec {
        WavSpec { channels, sample_rate, bits_per_sample, sample_format: SampleFormat::Int }
    }

    fn all(mut file: WavFile) -> Vec<f32> {
        let mut samples = vec![0.0; 10_000];
        let read = file.read_samples(&mut samples).unwrap();
        samples.truncate(read);
        samples
    }

    fn opened(bytes: Vec<u8>) -> WavFile {
        WavFile::read(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn every_depth_is_read_as_the_same_sound() {
        for bits in [8, 16, 24, 32] {
            let half = 1 << (bits - 2);
            let samples = all(opened(wav(spec(1, 48_000, bits), &[half, -half, 0])));
            assert_eq!(samples, [0.5, -0.5, 0.0], "{bits} bits");
        }
        let float = WavSpec { sample_format: SampleFormat::Float, ..spec(1, 48_000, 32) };
        assert_eq!(all(opened(wav(float, &[50, -25, 400]))), [0.5, -0.25, 1.0]);
    }

    #[test]
    fn two_channels_are_mixed_to_one() {
        let samples = all(opened(wav(spec(2, 48_000, 16), &[16_384, 0, 8_192, 8_192])));
        assert_eq!(samples, [0.25, 0.25]);
    }

    #[test]
    fn other_rates_sound_the_same() {
        for rate in [8_000, 16_000, 22_050, 44_100, 96_000] {
            let tone = Tone::new(440.0 * 48_000.0 / rate as f32, 0.4);
            let samples: Vec<i32> =
                tone.take(rate as usize).map(|value| (value * 32_768.0) as i32).collect();
            let mut file = opened(wav(spec(1, rate, 16), &samples));
            let (mut sound, mut frame) = (Vec::new(), [0.0; FRAME_SAMPLES]);
            while file.fill(&mut frame) == Filled::Frame {
                sound.extend(frame);
            }
            assert!((sound.len() as i64 - 48_000).abs() <= 960, "{rate} Hz: {}", sound.len());
            let mut ear = Ear::new();
            ear.push(&sound);
            let tone = ear.overall().tone.unwrap();
            assert!((tone.hz - 440.0).abs() < 1.0, "{rate} Hz: {tone:?}");
            assert!((tone.level - 0.4).abs() < 0.01 && tone.share > 0.99, "{rate} Hz: {tone:?}");
        }
    }

    #[test]
    fn what_is_not_played_is_refused_with_what_is() {
        for refused in [spec(1, 4_000, 16), spec(1, 400_000, 16), spec(6, 48_000, 16)] {
            let samples = vec![1; usize::from(refused.channels)];
            let error = WavFile::read(Cursor::new(wav(refused, &samples))).unwrap_err();
            assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains("8000 to 192000 Hz, one or two"), "{error}");
        }
        let empty = WavFile::read(Cursor::new(wav(spec(1, 48_000, 16), &[]))).unwrap_err();
        assert!(matches!(empty, OpenError::Empty { .. }));
        let other = WavFile::read(Cursor::new(b"OggS and so on".to_vec())).unwrap_err();
        assert!(other.to_string().starts_with("this is no WAV file"), "{other}");
    }

    #[test]
    fn a_file_ends_or_begins_again_without_a_pause() {
        let bytes = wav(spec(1, 48_000, 16), &[16_384; 1_000]);
        let mut frame = [0.0; FRAME_SAMPLES];
        let mut once = opened(bytes.clone());
        assert_eq!(once.fill(&mut frame), Filled::Frame);
        assert_eq!(once.fill(&mut frame), Filled::Frame);
        assert_eq!((frame[39], frame[40]), (0.5, 0.0), "the rest of the last frame is silence");
        assert_eq!(once.fill(&mut frame), Filled::Over);
        let mut again = opened(bytes).at_end(AtEnd::Again);
        for _ in 0..10 {
            assert_eq!(again.fill(&mut frame), Filled::Frame);
            assert_eq!(frame, [0.5; FRAME_SAMPLES]);
        }
    }

    #[tokio::test]
    async fn what_is_heard_is_what_the_file_holds() {
        let file = SharedFile::default();
        let (mut sink, recording) = WavSink::write(file.clone()).unwrap();
        let mut voice = Voice::new(Tone::new(440.0, 0.2));
        for _ in 0..100 {
            let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
            sink.push(frame);
        }
        assert_eq!(recording.so_far().frames, 100);
        drop(sink);
        assert_eq!(recording.finished().await.unwrap().frames, 100);
        let mut reader = opened(file.contents());
        assert_eq!(reader.samples(), 96_000);
        let mut sound = vec![0.0; 96_000];
        assert_eq!(reader.read_samples(&mut sound).unwrap(), 96_000);
        let mut ear = Ear::new();
        ear.push(&sound);
        let tone = ear.overall().tone.unwrap();
        assert!((tone.hz - 440.0).abs() < 2.0 && (tone.level - 0.2).abs() < 0.03, "{tone:?}");
    }

    #[test]
    fn a_file_that_was_never_closed_holds_its_whole_seconds() {
        let file = SharedFile::default();
        let (mut sink, _recording) = WavSink::write(file.clone()).unwrap();
        let mut voice = Voice::new(Tone::new(440.0, 0.2));
        for _ in 0..75 {
            let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
            sink.push(frame);
        }
        assert_eq!(opened(file.contents()).samples(), 48_000);
    }

    #[test]
    fn a_full_disk_is_an_error_when_the_file_is_made() {
        assert!(WavSink::write(FullDisk).is_err());
    }

    proptest! {
        #[test]
        fn broken_files_do_not_panic(
            changes in proptest::collection::vec((0_u32..64, any::<u8>()), 0..6),
            keep in any::<u32>(),
            channels in 1_u16..3,
            rate in prop_oneof![Just(48_000_u32), Just(16_000)],
        ) {
            let bytes = broken(wav(spec(channels, rate, 16), &[1_000; 2_000]), &changes, keep);
            if let Ok(mut file) = WavFile::read(Cursor::new(bytes)) {
                let mut frame = [0.0; FRAME_SAMPLES];
                let mut frames = 0;
                while frames < 10 && file.fill(&mut frame) == Filled::Frame {
                    prop_assert!(frame.iter().all(|sample| (-1.0..=1.0).contains(sample)));
                    frames += 1;
                }
            }
        }
    }
}
