//! IVF files: VP8 frames with their times, nothing else; played as a camera, and written from what
//! is seen.
//!
//! The file is a head of 32 bytes (size, time base, number of frames) and then per frame its
//! length, its time and its bytes. The form is read and written by `oxideav_vp8::ivf`.

use std::{
    io::{Read, SeekFrom},
    path::Path,
};

use matrix_voip::host::{Codec, Frame, FrameSink, SourceControl};
use oxideav_vp8::ivf::{self, IVF_FRAME_HEADER_LEN, IVF_HEADER_LEN, IVF_VP8_FOURCC, IvfHeader};

use super::vp8;
use crate::{
    error::{FileKind, OpenError, ReadError, WriteError},
    file::{self, AtEnd, Input, Output},
    sink::{Progressing, Recording},
    source::{Gate, Made, Script},
};

/// Greatest encoded picture that is read or kept, in bytes.
pub const MAX_PICTURE_BYTES: usize = 4 * 1024 * 1024;

/// Longest time between two pictures of a file; a greater step is taken as this. In ticks of the
/// 90 kHz clock: ten seconds.
const MAX_STEP: u64 = 10 * CLOCK;

/// Time between two pictures when the file does not tell: 1/30 s.
const USUAL_STEP: u64 = CLOCK / 30;

const CLOCK: u64 = 90_000;

/// A VP8 file to be played.
pub struct IvfFile {
    input: Box<dyn Input>,
    head: IvfHeader,
    at_end: AtEnd,
    ahead: Option<StoredPicture>,
    clock: Clock,
    gate: Gate,
    /// Where in the file the last key frame begins, in bytes.
    key_frame: u64,
}

/// One picture as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPicture {
    /// When it is shown, in units of the file's time base.
    pub time: u64,
    /// The encoded bytes.
    pub data: Vec<u8>,
}

/// Turns the file's times into the times of the track, which never go back.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    previous: Option<u64>,
    step: u64,
    due: u64,
}

impl Clock {
    fn advance(&mut self, time: u64) {
        if let Some(previous) = self.previous {
            let step = time.checked_sub(previous).filter(|step| *step > 0);
            self.step = step.unwrap_or(self.step).min(MAX_STEP);
            self.due += self.step;
        }
        self.previous = Some(time);
    }

    /// The file begins again: its first picture follows the last by the usual step.
    fn restart(&mut self) {
        self.due += self.step;
        self.previous = None;
    }
}

impl IvfFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`OpenError`] when there is no such file, it is no IVF file, holds another codec than VP8,
    /// or no picture.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::read(file::open(FileKind::Ivf, path.as_ref())?)
    }

    /// Reads a file from anywhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(input: impl Input) -> Result<Self, OpenError> {
        let mut input: Box<dyn Input> = Box::new(input);
        let head = read_head(&mut input)?;
        let clock = Clock { step: USUAL_STEP, ..Clock::default() };
        let gate = Gate::default();
        let key_frame = IVF_HEADER_LEN as u64;
        let mut file =
            Self { input, head, at_end: AtEnd::Stop, ahead: None, clock, gate, key_frame };
        file.look_ahead();
        if file.ahead.is_none() {
            return Err(OpenError::Empty { kind: FileKind::Ivf });
        }
        Ok(file)
    }

    /// What happens at the end of the file.
    #[must_use]
    pub fn at_end(mut self, at_end: AtEnd) -> Self {
        self.at_end = at_end;
        self
    }

    /// Width and height in pixels, as the head of the file has them.
    pub fn size(&self) -> (u32, u32) {
        (self.head.width, self.head.height)
    }

    /// The next picture; `None` at the end of the file.
    ///
    /// # Errors
    /// [`ReadError`] when the file ends within a picture, or says that one is larger than
    /// [`MAX_PICTURE_BYTES`].
    pub fn next_picture(&mut self) -> Result<Option<StoredPicture>, ReadError> {
        match self.ahead.take() {
            Some(picture) => Ok(Some(picture)),
            None => read_picture(&mut self.input),
        }
    }

    fn look_ahead(&mut self) {
        if self.ahead.is_some() {
            return;
        }
        self.ahead = self.read_or_rewind();
        let Some(picture) = &self.ahead else { return };
        self.clock.advance(in_ticks(picture.time, &self.head));
        if vp8::is_key_frame(&picture.data)
            && let Ok(end) = self.input.stream_position()
        {
            let length = IVF_FRAME_HEADER_LEN + picture.data.len();
            self.key_frame = end.saturating_sub(length as u64);
        }
    }

    /// The other side can decode nothing: what follows begins with the last key frame once more.
    fn go_back(&mut self) {
        match self.ahead.take() {
            Some(picture) if vp8::is_key_frame(&picture.data) => {
                self.ahead = Some(picture);
                return;
            }
            Some(_) => self.clock.previous = None,
            None => self.clock.restart(),
        }
        if let Err(error) = self.input.seek(SeekFrom::Start(self.key_frame)) {
            tracing::warn!(%error, "an IVF file cannot go back to its last key frame");
        }
        self.look_ahead();
    }

    fn read_or_rewind(&mut self) -> Option<StoredPicture> {
        let next = read_picture(&mut self.input).unwrap_or_else(|error| {
            tracing::warn!(%error, "an IVF file ends early");
            None
        });
        if next.is_some() || self.at_end == AtEnd::Stop {
            return next;
        }
        self.clock.restart();
        self.input.seek(SeekFrom::Start(IVF_HEADER_LEN as u64)).ok()?;
        read_picture(&mut self.input).ok().flatten()
    }
}

impl Script for IvfFile {
    fn codec(&self) -> Codec {
        Codec::Vp8
    }

    fn due(&mut self) -> Option<u64> {
        self.look_ahead();
        self.ahead.as_ref().map(|_| self.clock.due)
    }

    fn make(&mut self) -> Made {
        self.look_ahead();
        // Some encoders write a picture that they left out as one without bytes.
        let Some(picture) = self.ahead.take().filter(|picture| !picture.data.is_empty()) else {
            return Made::Skipped;
        };
        let key_frame = vp8::is_key_frame(&picture.data);
        let frame = Frame::new(Codec::Vp8, self.clock.due, picture.data);
        self.gate.pass(Frame { key_frame, ..frame })
    }

    fn control(&mut self, control: SourceControl) {
        if control == SourceControl::KeyFrame {
            self.go_back();
        }
        self.gate.control(control);
    }
}

impl std::fmt::Debug for IvfFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IvfFile")
            .field("head", &self.head)
            .field("at_end", &self.at_end)
            .finish_non_exhaustive()
    }
}

fn read_head(input: &mut impl Read) -> Result<IvfHeader, OpenError> {
    let kind = FileKind::Ivf;
    let mut bytes = [0; IVF_HEADER_LEN];
    input.read_exact(&mut bytes).map_err(OpenError::io(kind))?;
    let head =
        ivf::parse_header(&bytes).map_err(|error| OpenError::not_such(kind, error.to_string()))?;
    if head.fourcc != IVF_VP8_FOURCC {
        let has = format!("the codec {}", head.fourcc.escape_ascii());
        return Err(OpenError::Unsupported { kind, has, accepted: "VP8 (VP80)" });
    }
    Ok(head)
}

fn read_picture(input: &mut impl Read) -> Result<Option<StoredPicture>, ReadError> {
    let kind = FileKind::Ivf;
    let mut bytes = Vec::with_capacity(IVF_FRAME_HEADER_LEN);
    let head_limit = IVF_FRAME_HEADER_LEN as u64;
    input.by_ref().take(head_limit).read_to_end(&mut bytes).map_err(ReadError::io(kind))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let head = ivf::parse_frame_header(&bytes).map_err(|_| ReadError::Truncated { kind })?;
    let size = head.size as usize;
    if size > MAX_PICTURE_BYTES {
        return Err(ReadError::TooLarge { kind, bytes: size as u64, limit: MAX_PICTURE_BYTES });
    }
    let mut data = vec![0; size];
    input.read_exact(&mut data).map_err(ReadError::io(kind))?;
    Ok(Some(StoredPicture { time: head.pts, data }))
}

/// A time of the file on the 90 kHz clock. A time base of zero, which some writers leave, is taken
/// as 1/30 s.
fn in_ticks(time: u64, head: &IvfHeader) -> u64 {
    let (per_second, unit) = match (head.framerate_num, head.framerate_den) {
        (0, _) | (_, 0) => (30, 1),
        (per_second, unit) => (u128::from(per_second), u128::from(unit)),
    };
    let ticks = u128::from(time) * unit * u128::from(CLOCK) / per_second;
    ticks.min(u128::from(u64::MAX)) as u64
}

/// Writes a remote VP8 track into an IVF file, from its first key frame on. Writes to the disk in
/// `push`: put it into a [`Threaded`](crate::Threaded).
pub struct IvfSink {
    output: Box<dyn Output>,
    started: Option<Started>,
    frames: u32,
    progress: Progressing,
}

#[derive(Debug, Clone, Copy)]
struct Started {
    first: u64,
    size: (u32, u32),
}

impl IvfSink {
    /// Makes the file; an old one is overwritten. The file is complete when the sink is dropped.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> Result<(Self, Recording), OpenError> {
        Ok(Self::write(file::create(FileKind::Ivf, path.as_ref())?))
    }

    /// Writes the file anywhere.
    pub fn write(output: impl Output) -> (Self, Recording) {
        let (progress, recording) = Progressing::new();
        (Self { output: Box::new(output), started: None, frames: 0, progress }, recording)
    }

    fn start(&mut self, frame: &Frame) -> Result<Option<Started>, WriteError> {
        if self.started.is_none()
            && let Some(size) = vp8::key_frame_size(&frame.data)
        {
            self.started = Some(Started { first: frame.timestamp, size });
            self.write_head(size)?;
        }
        Ok(self.started)
    }

    fn write_head(&mut self, (width, height): (u32, u32)) -> Result<(), WriteError> {
        let mut head = IvfHeader::vp8(width, height, CLOCK as u32, 1);
        head.frame_count = self.frames;
        self.output.write_all(&ivf::write_header(&head)).map_err(WriteError::of(FileKind::Ivf))
    }

    fn write_frame(&mut self, frame: &Frame) -> Result<bool, WriteError> {
        let Some(started) = self.start(frame)? else { return Ok(false) };
        let mut bytes = Vec::with_capacity(IVF_FRAME_HEADER_LEN + frame.data.len());
        ivf::write_frame(&mut bytes, frame.timestamp.saturating_sub(started.first), &frame.data);
        self.output.write_all(&bytes).map_err(WriteError::of(FileKind::Ivf))?;
        self.frames = self.frames.saturating_add(1);
        Ok(true)
    }

    /// Writes the number of frames into the head.
    fn complete(&mut self) -> Result<(), WriteError> {
        if let Some(started) = self.started {
            self.output.seek(SeekFrom::Start(0)).map_err(WriteError::of(FileKind::Ivf))?;
            self.write_head(started.size)?;
        }
        self.output.flush().map_err(WriteError::of(FileKind::Ivf))
    }
}

impl FrameSink for IvfSink {
    fn push(&mut self, frame: Frame) {
        let fits = frame.codec == Codec::Vp8 && frame.data.len() <= MAX_PICTURE_BYTES;
        if !fits || self.progress.failed() {
            return;
        }
        match self.write_frame(&frame) {
            Ok(true) => self.progress.note(Ok(())),
            Ok(false) => {}
            Err(error) => self.progress.note(Err(error)),
        }
    }

    fn wants_key_frame(&mut self) -> bool {
        self.started.is_none()
    }
}

impl Drop for IvfSink {
    fn drop(&mut self) {
        let result = self.complete();
        self.progress.close(result);
    }
}

impl std::fmt::Debug for IvfSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IvfSink").field("frames", &self.frames).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{FullDisk, SharedFile, broken, film as frames, play};

    fn ivf(frames: &[Frame]) -> Vec<u8> {
        let file = SharedFile::default();
        let (mut sink, _recording) = IvfSink::write(file.clone());
        frames.iter().cloned().for_each(|frame| sink.push(frame));
        drop(sink);
        file.contents()
    }

    fn opened(bytes: Vec<u8>) -> IvfFile {
        IvfFile::read(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let written = frames(12);
        let mut file = opened(ivf(&written));
        assert_eq!(file.size(), (160, 64));
        assert_eq!(file.head.frame_count, 12);
        assert_eq!(play(&mut file, 99), written);
    }

    #[test]
    fn a_recording_begins_with_a_key_frame_and_asks_for_one() {
        let all = frames(5);
        let (mut sink, recording) = IvfSink::write(SharedFile::default());
        sink.push(all[1].clone());
        assert!(sink.wants_key_frame());
        sink.push(all[0].clone());
        assert!(!sink.wants_key_frame());
        assert_eq!(recording.so_far().frames, 1);
    }

    #[test]
    fn a_file_that_begins_again_goes_on_in_time() {
        let mut file = opened(ivf(&frames(3))).at_end(AtEnd::Again);
        let times: Vec<u64> = play(&mut file, 8).iter().map(|frame| frame.timestamp).collect();
        assert_eq!(times, (0..8).map(|n| n * 9_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_picture_is_a_pause() {
        let mut all = frames(3);
        all[1].data.clear();
        let played = play(&mut opened(ivf(&all)), 9);
        let times: Vec<u64> = played.iter().map(|frame| frame.timestamp).collect();
        assert_eq!(times, [0, 18_000]);
    }

    #[test]
    fn asked_for_a_key_frame_it_goes_back_to_the_last_one_and_on_in_time() {
        let mut all = frames(6);
        let key = all[0].clone();
        all[3] = Frame { timestamp: 27_000, ..key };
        let mut file = opened(ivf(&all));
        play(&mut file, 5);
        for ahead in [false, true] {
            if ahead {
                assert!(file.due().is_some());
            }
            file.control(SourceControl::KeyFrame);
            let again = play(&mut file, 2);
            assert_eq!(again[0].data, all[3].data, "the last key frame, not the first");
            assert_eq!(again[1].data, all[4].data);
            assert_eq!(again[1].timestamp, again[0].timestamp + 9_000);
            assert_eq!(again[0].timestamp % 9_000, 0);
        }
        file.control(SourceControl::KeyFrame);
        file.control(SourceControl::KeyFrame);
        assert_eq!(play(&mut file, 9).len(), 3, "asked twice it goes back once");
    }

    #[test]
    fn a_muted_file_comes_back_with_a_key_frame() {
        let mut all = frames(2);
        let key = all[0].clone();
        all.push(Frame { timestamp: 18_000, ..all[1].clone() });
        all.push(Frame { timestamp: 27_000, ..key });
        let mut file = opened(ivf(&all));
        assert!(matches!(file.make(), Made::Frame(_)));
        file.control(SourceControl::Enabled(false));
        assert_eq!(file.make(), Made::Skipped);
        file.control(SourceControl::Enabled(true));
        assert_eq!(file.make(), Made::Skipped, "not decodable without what was muted");
        assert!(matches!(file.make(), Made::Frame(frame) if frame.key_frame));
    }

    #[test]
    fn other_codecs_other_files_and_empty_ones_are_refused() {
        let mut vp9 = ivf(&frames(1));
        vp9[11] = b'0';
        vp9[10] = b'9';
        let error = IvfFile::read(Cursor::new(vp9)).unwrap_err();
        assert!(error.to_string().contains("only VP8"), "{error}");
        let error = IvfFile::read(Cursor::new(vec![0; 64])).unwrap_err();
        assert!(error.to_string().starts_with("this is no IVF file"), "{error}");
        let error = IvfFile::read(Cursor::new(b"DKIF".to_vec())).unwrap_err();
        assert!(error.to_string().contains("too early"), "{error}");
        let error = IvfFile::read(Cursor::new(ivf(&frames(1))[..32].to_vec())).unwrap_err();
        assert!(matches!(error, OpenError::Empty { .. }));
    }

    #[test]
    fn a_file_cut_in_a_picture_says_so() {
        let bytes = ivf(&frames(2));
        let mut file = opened(bytes[..bytes.len() - 1].to_vec());
        assert!(file.next_picture().unwrap().is_some());
        assert!(matches!(file.next_picture(), Err(ReadError::Truncated { .. })));
    }

    #[test]
    fn a_picture_that_claims_gigabytes_is_refused() {
        let mut bytes = ivf(&frames(2));
        let second = 32 + 12 + frames(1)[0].data.len();
        bytes[second..second + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut file = opened(bytes);
        file.next_picture().unwrap();
        assert!(matches!(file.next_picture(), Err(ReadError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn a_full_disk_is_told_once_and_ends_the_recording() {
        let (mut sink, recording) = IvfSink::write(FullDisk);
        frames(3).into_iter().for_each(|frame| sink.push(frame));
        drop(sink);
        let error = recording.finished().await.unwrap_err();
        assert_eq!(error.kind, FileKind::Ivf);
    }

    proptest! {
        #[test]
        fn broken_files_do_not_panic(
            changes in proptest::collection::vec((0_u32..400, any::<u8>()), 0..8),
            keep in any::<u32>(),
        ) {
            let bytes = broken(ivf(&frames(2)), &changes, keep);
            if let Ok(file) = IvfFile::read(Cursor::new(bytes)) {
                let played = play(&mut file.at_end(AtEnd::Again), 8);
                prop_assert!(played.windows(2).all(|two| two[0].timestamp <= two[1].timestamp));
            }
        }
    }
}
