//! H.264 files in Annex B form: played as a camera, and written from what is seen.
//!
//! Such a file is a row of units, each after a start code `00 00 01`; there are no times in it, so
//! the rate is given when it is opened. The units of one picture ("access unit", ITU-T H.264
//! §7.4.1.2.3) make one frame. Pictures are neither decoded nor encoded here.

use std::{io::Read, num::NonZeroU32, ops::Range, path::Path};

use matrix_voip::host::{Codec, Frame, FrameSink, SourceControl};

use super::ivf::MAX_PICTURE_BYTES;
use crate::{
    error::{FileKind, OpenError, ReadError, WriteError},
    file::{self, AtEnd, Input, Output},
    sink::{Progressing, Recording},
    source::{Gate, Made, Script},
};

const KIND: FileKind = FileKind::H264;

/// Longest file that is played: it is held in memory.
pub const MAX_FILE_BYTES: usize = 256 * 1024 * 1024;

/// Kinds of units (ITU-T H.264 table 7-1).
mod unit {
    pub(super) const SLICE: u8 = 1;
    pub(super) const KEY_SLICE: u8 = 5;
    pub(super) const INFORMATION: u8 = 6;
    pub(super) const DELIMITER: u8 = 9;
}

/// An H.264 file to be played.
pub struct H264File {
    bytes: Vec<u8>,
    position: usize,
    ahead: Option<Range<usize>>,
    at_end: AtEnd,
    rate: NonZeroU32,
    number: u64,
    gate: Gate,
}

impl H264File {
    /// Opens a file with this many pictures a second.
    ///
    /// # Errors
    /// [`OpenError`] when there is no such file, it is longer than [`MAX_FILE_BYTES`], or it is no
    /// Annex B file with pictures.
    pub fn open(path: impl AsRef<Path>, rate: NonZeroU32) -> Result<Self, OpenError> {
        Self::read(file::open(KIND, path.as_ref())?, rate)
    }

    /// Reads a file from anywhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(input: impl Input, rate: NonZeroU32) -> Result<Self, OpenError> {
        let mut bytes = Vec::new();
        let limit = MAX_FILE_BYTES as u64 + 1;
        input.take(limit).read_to_end(&mut bytes).map_err(OpenError::io(KIND))?;
        if bytes.len() > MAX_FILE_BYTES {
            let has = format!("more than {MAX_FILE_BYTES} bytes");
            return Err(OpenError::Unsupported { kind: KIND, has, accepted: "a shorter one" });
        }
        if next_unit(&bytes, 0).is_none_or(|unit| unit.start > 1) {
            return Err(OpenError::not_such(KIND, "it does not begin with a start code"));
        }
        let gate = Gate::default();
        let (ahead, at_end) = (None, AtEnd::Stop);
        let mut file = Self { bytes, position: 0, ahead, at_end, rate, number: 0, gate };
        file.ahead = file.read_or_rewind();
        if file.ahead.is_none() {
            return Err(OpenError::Empty { kind: KIND });
        }
        Ok(file)
    }

    /// What happens at the end of the file.
    #[must_use]
    pub fn at_end(mut self, at_end: AtEnd) -> Self {
        self.at_end = at_end;
        self
    }

    /// The next picture with what belongs to it, start codes included; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`] for a picture of more than [`MAX_PICTURE_BYTES`].
    pub fn next_picture(&mut self) -> Result<Option<&[u8]>, ReadError> {
        let range = match self.ahead.take() {
            Some(range) => Some(range),
            None => self.read_picture()?,
        };
        Ok(range.map(|range| &self.bytes[range]))
    }

    fn read_picture(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        let Some(range) = picture_at(&self.bytes, self.position) else { return Ok(None) };
        self.position = range.end;
        if range.len() > MAX_PICTURE_BYTES {
            let bytes = range.len() as u64;
            return Err(ReadError::TooLarge { kind: KIND, bytes, limit: MAX_PICTURE_BYTES });
        }
        Ok(Some(range))
    }

    fn read_or_rewind(&mut self) -> Option<Range<usize>> {
        let next = self.read_picture().unwrap_or_else(|error| {
            tracing::warn!(%error, "an H.264 file ends early");
            None
        });
        if next.is_some() || self.at_end == AtEnd::Stop {
            return next;
        }
        self.position = 0;
        self.read_picture().ok().flatten()
    }
}

impl Script for H264File {
    fn codec(&self) -> Codec {
        Codec::H264
    }

    fn due(&mut self) -> Option<u64> {
        if self.ahead.is_none() {
            self.ahead = self.read_or_rewind();
        }
        let time = self.number * u64::from(Codec::H264.clock_rate()) / u64::from(self.rate.get());
        self.ahead.as_ref().map(|_| time)
    }

    fn make(&mut self) -> Made {
        let (Some(timestamp), Some(range)) = (self.due(), self.ahead.take()) else {
            return Made::Skipped;
        };
        self.number += 1;
        let data = self.bytes[range].to_vec();
        let key_frame = is_key_frame(&data);
        self.gate.pass(Frame { key_frame, ..Frame::new(Codec::H264, timestamp, data) })
    }

    fn control(&mut self, control: SourceControl) {
        self.gate.control(control);
    }
}

impl std::fmt::Debug for H264File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H264File")
            .field("bytes", &self.bytes.len())
            .field("at_end", &self.at_end)
            .finish_non_exhaustive()
    }
}

/// Whether a frame in Annex B form holds a key picture.
pub fn is_key_frame(frame: &[u8]) -> bool {
    units(frame, 0).any(|unit| unit.kind == unit::KEY_SLICE)
}

/// One unit: where its start code begins and what it is.
#[derive(Debug, Clone, Copy)]
struct Unit {
    start: usize,
    head: usize,
    kind: u8,
}

fn units(bytes: &[u8], from: usize) -> impl Iterator<Item = Unit> {
    let mut at = from;
    std::iter::from_fn(move || {
        let unit = next_unit(bytes, at)?;
        at = unit.head;
        Some(unit)
    })
}

/// The first unit whose start code begins at `from` or later. A zero byte before the start code
/// belongs to it.
fn next_unit(bytes: &[u8], from: usize) -> Option<Unit> {
    let code = from + bytes.get(from..)?.windows(3).position(|three| three == [0, 0, 1])?;
    let start = if code > from && bytes[code - 1] == 0 { code - 1 } else { code };
    let head = code + 3;
    let kind = bytes.get(head)? & 0x1f;
    Some(Unit { start, head, kind })
}

/// The units of the picture that begins at `from`, up to the first that belongs to the next one.
/// Units at the end of the file that belong to no picture are left out.
fn picture_at(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let mut rest = units(bytes, from).peekable();
    let start = rest.peek()?.start;
    rest.find(|unit| is_slice(unit.kind))?;
    let end = rest.find(|unit| begins_picture(bytes, *unit)).map_or(bytes.len(), |unit| unit.start);
    Some(start..end)
}

fn is_slice(kind: u8) -> bool {
    (unit::SLICE..=unit::KEY_SLICE).contains(&kind)
}

/// Whether a unit after a slice belongs to the next picture: a head of any kind, or a slice whose
/// first macroblock is the picture's first (its number, 0, is written as a single one bit).
fn begins_picture(bytes: &[u8], unit: Unit) -> bool {
    let heads = unit::INFORMATION..=unit::DELIMITER;
    let first_slice = bytes.get(unit.head + 1).is_some_and(|byte| byte & 0x80 != 0);
    heads.contains(&unit.kind) || (is_slice(unit.kind) && first_slice)
}

/// Writes a remote H.264 track into an Annex B file, from its first key picture on. Writes to the
/// disk in `push`: put it into a [`Threaded`](crate::Threaded).
pub struct H264Sink {
    output: Box<dyn Output>,
    started: bool,
    progress: Progressing,
}

impl H264Sink {
    /// Makes the file; an old one is overwritten. The file is complete when the sink is dropped.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> Result<(Self, Recording), OpenError> {
        Ok(Self::write(file::create(KIND, path.as_ref())?))
    }

    /// Writes the file anywhere.
    pub fn write(output: impl Output) -> (Self, Recording) {
        let (progress, recording) = Progressing::new();
        (Self { output: Box::new(output), started: false, progress }, recording)
    }
}

impl FrameSink for H264Sink {
    fn push(&mut self, frame: Frame) {
        let fits = frame.codec == Codec::H264 && frame.data.len() <= MAX_PICTURE_BYTES;
        self.started |= fits && is_key_frame(&frame.data);
        if fits && self.started && !self.progress.failed() {
            let result = self.output.write_all(&frame.data).map_err(WriteError::of(KIND));
            self.progress.note(result);
        }
    }

    fn wants_key_frame(&mut self) -> bool {
        !self.started
    }
}

impl Drop for H264Sink {
    fn drop(&mut self) {
        let result = self.output.flush().map_err(WriteError::of(KIND));
        self.progress.close(result);
    }
}

impl std::fmt::Debug for H264Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H264Sink").field("started", &self.started).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{SharedFile, play};

    const RATE: NonZeroU32 = NonZeroU32::new(25).unwrap();

    /// A unit with a start code of three or four bytes.
    fn nal(long: bool, head: u8, body: &[u8]) -> Vec<u8> {
        let code: &[u8] = if long { &[0, 0, 0, 1] } else { &[0, 0, 1] };
        [code, &[head], body].concat()
    }

    /// Parameters and a key picture of two slices.
    fn key_picture() -> Vec<u8> {
        let parts = [
            nal(true, 0x67, &[1, 2, 3]),
            nal(true, 0x68, &[4]),
            nal(false, 0x65, &[0x88, 5, 0, 3, 6]),
            nal(false, 0x65, &[0x40, 7]),
        ];
        parts.concat()
    }

    fn plain_picture(value: u8) -> Vec<u8> {
        nal(true, 0x41, &[0x9a, value, 0x55])
    }

    fn film() -> Vec<Vec<u8>> {
        vec![key_picture(), plain_picture(1), plain_picture(2), key_picture(), plain_picture(3)]
    }

    fn opened(bytes: Vec<u8>) -> Result<H264File, OpenError> {
        H264File::read(Cursor::new(bytes), RATE)
    }

    #[test]
    fn a_file_falls_into_its_pictures() {
        let played = play(&mut opened(film().concat()).unwrap(), 99);
        let data: Vec<_> = played.iter().map(|frame| frame.data.clone()).collect();
        assert_eq!(data, film());
        let keys: Vec<_> = played.iter().map(|frame| frame.key_frame).collect();
        assert_eq!(keys, [true, false, false, true, false]);
        let times: Vec<_> = played.iter().map(|frame| frame.timestamp).collect();
        assert_eq!(times, [0, 3_600, 7_200, 10_800, 14_400]);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let file = SharedFile::default();
        let (mut sink, recording) = H264Sink::write(file.clone());
        for (n, data) in film().into_iter().enumerate() {
            sink.push(Frame::new(Codec::H264, n as u64, data));
        }
        drop(sink);
        assert_eq!(recording.so_far().frames, 5);
        assert_eq!(file.contents(), film().concat());
    }

    #[test]
    fn a_recording_begins_with_a_key_picture_and_asks_for_one() {
        let file = SharedFile::default();
        let (mut sink, _recording) = H264Sink::write(file.clone());
        sink.push(Frame::new(Codec::H264, 0, plain_picture(1)));
        assert!(sink.wants_key_frame() && file.contents().is_empty());
        sink.push(Frame::new(Codec::H264, 1, key_picture()));
        assert!(!sink.wants_key_frame());
    }

    #[test]
    fn a_file_that_begins_again_goes_on_in_time() {
        let mut file = opened(film().concat()).unwrap().at_end(AtEnd::Again);
        let played = play(&mut file, 7);
        assert_eq!(played[5].data, key_picture());
        assert_eq!(played[6].timestamp, 6 * 3_600);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(opened(b"RIFF....".to_vec()), Err(OpenError::NotSuch { .. })));
        assert!(matches!(opened(vec![]), Err(OpenError::NotSuch { .. })));
        assert!(matches!(opened(nal(true, 0x67, &[1])), Err(OpenError::Empty { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_fall_into_pieces_of_themselves(
            body in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0x65), any::<u8>()], 0..300)
        ) {
            let bytes = [&[0, 0, 1][..], &body].concat();
            if let Ok(mut file) = opened(bytes.clone()) {
                let joined = play(&mut file, 999).into_iter().flat_map(|frame| frame.data);
                let joined: Vec<u8> = joined.collect();
                prop_assert!(bytes.starts_with(&joined));
            }
        }
    }
}
