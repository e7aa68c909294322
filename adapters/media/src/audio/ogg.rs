//! Ogg/Opus files (RFC 7845): packets go through undecoded, both ways.
//!
//! Played, each packet is a frame of its own length. Written, lost packets are replaced by packets
//! without a body, which a player conceals, so that the file lasts as long as the call. The
//! output gain that a file may ask for is not applied.

use std::path::Path;

use matrix_voip::host::{Codec, Frame, FrameSink, SourceControl};
use ogg::{OggReadError, PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{
    opus::{MAX_PACKET_BYTES, SILENT_PACKET, packet_samples},
    order::{Order, Place},
    reorder::Reorder,
    sound::{FRAME_SAMPLES, SAMPLE_RATE},
};
use crate::{
    error::{FileKind, OpenError, ReadError, WriteError},
    file::{self, AtEnd, Input, Output},
    sink::{Progressing, Recording},
    source::{Made, Script},
};

const KIND: FileKind = FileKind::Ogg;

/// What can be played, for the error that says so.
const ACCEPTED: &str = "Opus of one or two channels";

/// An Ogg/Opus file to be played.
pub struct OggFile {
    reader: PacketReader<Box<dyn Input>>,
    serial: u32,
    at_end: AtEnd,
    ahead: Option<Vec<u8>>,
    position: u64,
    muted: bool,
}

impl OggFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`OpenError`] when there is no such file, it is no Ogg file, holds something else than Opus
    /// of one or two channels, or no sound.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::read(file::open(KIND, path.as_ref())?)
    }

    /// Reads a file from anywhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(input: impl Input) -> Result<Self, OpenError> {
        let input: Box<dyn Input> = Box::new(input);
        let mut reader = PacketReader::new(input);
        let serial = read_heads(&mut reader)?;
        let mut file =
            Self { reader, serial, at_end: AtEnd::Stop, ahead: None, position: 0, muted: false };
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

    /// The next Opus packet; `None` at the end of the file.
    ///
    /// # Errors
    /// [`ReadError`] when the file is broken, or a packet is no Opus or longer than
    /// [`MAX_PACKET_BYTES`].
    pub fn next_packet(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        match self.ahead.take() {
            Some(packet) => Ok(Some(packet)),
            None => self.read_packet(),
        }
    }

    fn read_packet(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        while let Some(packet) = self.reader.read_packet().map_err(read_error)? {
            if packet.stream_serial() == self.serial {
                return check_packet(packet.data).map(Some);
            }
        }
        Ok(None)
    }

    fn read_or_rewind(&mut self) -> Option<Vec<u8>> {
        let next = self.read_packet().unwrap_or_else(|error| {
            tracing::warn!(%error, "an Ogg file ends early");
            None
        });
        if next.is_some() || self.at_end == AtEnd::Stop {
            return next;
        }
        self.reader.seek_bytes(std::io::SeekFrom::Start(0)).ok()?;
        read_heads(&mut self.reader).ok()?;
        self.read_packet().ok().flatten()
    }
}

impl Script for OggFile {
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    fn due(&mut self) -> Option<u64> {
        if self.ahead.is_none() {
            self.ahead = self.read_or_rewind();
        }
        self.ahead.as_ref().map(|_| self.position)
    }

    fn make(&mut self) -> Made {
        let timestamp = self.due();
        let (Some(timestamp), Some(packet)) = (timestamp, self.ahead.take()) else {
            return Made::Skipped;
        };
        self.position += packet_samples(&packet).unwrap_or(FRAME_SAMPLES) as u64;
        let packet = if self.muted { SILENT_PACKET.to_vec() } else { packet };
        Made::Frame(Frame::new(Codec::Opus, timestamp, packet))
    }

    fn control(&mut self, control: SourceControl) {
        if let SourceControl::Enabled(on) = control {
            self.muted = !on;
        }
    }
}

impl std::fmt::Debug for OggFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OggFile").field("at_end", &self.at_end).finish_non_exhaustive()
    }
}

/// Reads the two head packets; the stream's serial number.
fn read_heads(reader: &mut PacketReader<Box<dyn Input>>) -> Result<u32, OpenError> {
    let head = next_head(reader)?;
    check_head(&head.data)?;
    let tags = next_head(reader)?;
    if !tags.data.starts_with(b"OpusTags") {
        return Err(OpenError::not_such(KIND, "its second packet is not OpusTags"));
    }
    Ok(head.stream_serial())
}

fn next_head(reader: &mut PacketReader<Box<dyn Input>>) -> Result<ogg::Packet, OpenError> {
    match reader.read_packet() {
        Ok(Some(packet)) => Ok(packet),
        Ok(None) => Err(OpenError::not_such(KIND, "it ends too early")),
        Err(OggReadError::ReadError(error)) => Err(OpenError::io(KIND)(error)),
        Err(error) => Err(OpenError::not_such(KIND, error.to_string())),
    }
}

/// Checks the identification head (RFC 7845 §5.1).
fn check_head(head: &[u8]) -> Result<(), OpenError> {
    let unsupported = |has| OpenError::Unsupported { kind: KIND, has, accepted: ACCEPTED };
    if !head.starts_with(b"OpusHead") {
        return Err(unsupported("another codec than Opus".into()));
    }
    let (Some(version), Some(channels), Some(mapping)) = (head.get(8), head.get(9), head.get(18))
    else {
        return Err(OpenError::not_such(KIND, "its head is too short"));
    };
    if version >> 4 != 0 {
        return Err(unsupported(format!("version {version} of the format")));
    }
    if *mapping != 0 || !(1..=2).contains(channels) {
        return Err(unsupported(format!("{channels} channels of mapping {mapping}")));
    }
    Ok(())
}

fn check_packet(packet: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    let bytes = packet.len();
    if bytes > MAX_PACKET_BYTES {
        return Err(ReadError::TooLarge {
            kind: KIND,
            bytes: bytes as u64,
            limit: MAX_PACKET_BYTES,
        });
    }
    match packet_samples(&packet) {
        Some(_) => Ok(packet),
        None => Err(ReadError::Broken { kind: KIND, what: "a packet that is no Opus".into() }),
    }
}

fn read_error(error: OggReadError) -> ReadError {
    match error {
        OggReadError::ReadError(error) => ReadError::io(KIND)(error),
        other => ReadError::Broken { kind: KIND, what: other.to_string() },
    }
}

/// Packets on one page of a file that is written: one second.
const PAGE_PACKETS: u32 = 50;

/// The stream's number in the file; a file holds one stream, so any will do.
const SERIAL: u32 = 1;

/// Samples at the beginning that a player leaves out: how long the encoder looks ahead.
const PRE_SKIP: u16 = 312;

/// Writes a remote track into an Ogg/Opus file. Writes to the disk in `push`: put it into a
/// [`Threaded`](crate::Threaded). A file of a process that died is short of its last second.
pub struct OggSink {
    writer: PacketWriter<'static, Box<dyn Output>>,
    reorder: Reorder,
    order: Order,
    held: Option<Vec<u8>>,
    granule: u64,
    on_page: u32,
    progress: Progressing,
}

impl OggSink {
    /// Makes the file; an old one is overwritten. The file is complete when the sink is dropped.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> Result<(Self, Recording), OpenError> {
        Self::write(file::create(KIND, path.as_ref())?)
    }

    /// Writes the file anywhere.
    ///
    /// # Errors
    /// [`OpenError`] when its head cannot be written.
    pub fn write(output: impl Output) -> Result<(Self, Recording), OpenError> {
        let output: Box<dyn Output> = Box::new(output);
        let mut writer = PacketWriter::new(output);
        for head in [head(), tags()] {
            writer
                .write_packet(head, SERIAL, PacketWriteEndInfo::EndPage, 0)
                .map_err(OpenError::io(KIND))?;
        }
        let (progress, recording) = Progressing::new();
        let (reorder, order, held) = (Reorder::default(), Order::default(), None);
        Ok((Self { writer, reorder, order, held, granule: 0, on_page: 0, progress }, recording))
    }

    /// Writes the packet before, which is no longer the last one.
    fn hold(&mut self, packet: Vec<u8>) -> Result<(), WriteError> {
        let Some(before) = self.held.replace(packet) else { return Ok(()) };
        self.on_page += 1;
        if self.on_page < PAGE_PACKETS {
            return self.put(before, PacketWriteEndInfo::NormalPacket);
        }
        self.on_page = 0;
        self.put(before, PacketWriteEndInfo::EndPage)?;
        self.writer.inner_mut().flush().map_err(WriteError::of(KIND))
    }

    fn put(&mut self, packet: Vec<u8>, end: PacketWriteEndInfo) -> Result<(), WriteError> {
        self.granule += packet_samples(&packet).unwrap_or(0) as u64;
        self.writer.write_packet(packet, SERIAL, end, self.granule).map_err(WriteError::of(KIND))
    }

    /// Fills a gap with packets without a body, of the form of the packet after it.
    fn fill(&mut self, packet: &[u8], gap: usize) -> Result<(), WriteError> {
        let empty = packet.first().map_or(0, |toc| toc & !0b11);
        let samples = packet_samples(&[empty]).unwrap_or(FRAME_SAMPLES);
        (0..gap / samples).try_for_each(|_| self.hold(vec![empty]))
    }

    /// Writes a frame whose turn it is.
    fn take(&mut self, frame: &Frame) {
        // What is no Opus packet would make the file unreadable.
        let Some(samples) = packet_samples(&frame.data) else { return };
        match self.write_frame(frame, samples) {
            Ok(true) => self.progress.note(Ok(())),
            Ok(false) => {}
            Err(error) => self.progress.note(Err(error)),
        }
    }

    fn write_frame(&mut self, frame: &Frame, samples: usize) -> Result<bool, WriteError> {
        match self.order.place(frame) {
            Place::Late => return Ok(false),
            Place::Next => {}
            Place::AfterLoss(gap) | Place::AfterPause(gap) => self.fill(&frame.data, gap)?,
        }
        self.order.played(frame, samples);
        self.hold(frame.data.clone())?;
        Ok(true)
    }

    fn complete(&mut self) -> Result<(), WriteError> {
        if let Some(last) = self.held.take() {
            self.put(last, PacketWriteEndInfo::EndStream)?;
        }
        self.writer.inner_mut().flush().map_err(WriteError::of(KIND))
    }
}

impl FrameSink for OggSink {
    fn push(&mut self, frame: Frame) {
        if frame.codec != Codec::Opus || self.progress.failed() {
            return;
        }
        let mut reorder = std::mem::take(&mut self.reorder);
        reorder.push(&frame, |frame| self.take(frame));
        self.reorder = reorder;
    }
}

impl Drop for OggSink {
    fn drop(&mut self) {
        std::mem::take(&mut self.reorder).finish(|frame| self.take(frame));
        let result = self.complete();
        self.progress.close(result);
    }
}

impl std::fmt::Debug for OggSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OggSink").field("granule", &self.granule).finish_non_exhaustive()
    }
}

/// The identification head (RFC 7845 §5.1): version 1, one channel, no gain, mapping 0.
fn head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(PRE_SKIP.to_le_bytes());
    head.extend(SAMPLE_RATE.to_le_bytes());
    head.extend([0, 0, 0]);
    head
}

/// The comment head (RFC 7845 §5.2): who wrote it, and no comments.
fn tags() -> Vec<u8> {
    let vendor = concat!("matrix-voip-media ", env!("CARGO_PKG_VERSION"));
    let mut tags = b"OpusTags".to_vec();
    tags.extend((vendor.len() as u32).to_le_bytes());
    tags.extend(vendor.as_bytes());
    tags.extend(0_u32.to_le_bytes());
    tags
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        audio::{tone::Tone, track::TrackDecoder, voice::Voice},
        testkit::{FullDisk, SharedFile, broken, play},
    };

    fn frames(count: u64) -> Vec<Frame> {
        let mut voice = Voice::new(Tone::new(440.0, 0.2));
        (0..count)
            .map(|sequence| match voice.make() {
                Made::Frame(frame) => {
                    Frame { sequence: Some(sequence), audio_level: None, ..frame }
                }
                Made::Skipped => panic!("a tone has no end"),
            })
            .collect()
    }

    fn written(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
        let file = SharedFile::default();
        let (mut sink, _recording) = OggSink::write(file.clone()).unwrap();
        frames.into_iter().for_each(|frame| sink.push(frame));
        drop(sink);
        file.contents()
    }

    fn opened(bytes: Vec<u8>) -> OggFile {
        OggFile::read(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let all = frames(120);
        let played = play(&mut opened(written(all.clone())), 999);
        assert_eq!(played.len(), 120);
        for (played, written) in played.iter().zip(&all) {
            assert_eq!((played.timestamp, &played.data), (written.timestamp, &written.data));
        }
    }

    #[test]
    fn the_positions_of_the_pages_are_the_samples_so_far() {
        let bytes = written(frames(120));
        let mut reader = PacketReader::new(Cursor::new(bytes));
        let mut ends = Vec::new();
        while let Some(packet) = reader.read_packet().unwrap() {
            if packet.last_in_page() {
                ends.push((packet.absgp_page(), packet.last_in_stream()));
            }
        }
        let second = 48_000;
        let expected =
            [(0, false), (0, false), (second, false), (2 * second, false), (115_200, true)];
        assert_eq!(ends, expected);
    }

    #[test]
    fn lost_packets_leave_the_file_as_long_as_the_call() {
        let all = frames(50);
        let bytes = written(all.into_iter().enumerate().filter(|(n, _)| n % 10 != 3).map(|f| f.1));
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let played = play(&mut opened(bytes), 999);
        assert_eq!(played.len(), 50);
        assert_eq!(played.iter().filter(|frame| frame.data.len() == 1).count(), 5);
        played.iter().for_each(|frame| decoder.push(frame, &mut sound));
        assert_eq!(sound.len(), 50 * FRAME_SAMPLES);
        assert_eq!(decoder.counts().broken, 0);
    }

    #[test]
    fn doubled_late_and_foreign_frames_are_left_out() {
        let all = frames(4);
        let mut given: Vec<Frame> = [0, 1, 1, 3, 2].map(|n: usize| all[n].clone()).to_vec();
        given.push(Frame::new(Codec::Vp8, 0, vec![1, 2, 3]));
        given.push(Frame { sequence: Some(9), ..Frame::new(Codec::Opus, 99_999, vec![]) });
        assert_eq!(play(&mut opened(written(given)), 99).len(), 4);
    }

    #[test]
    fn a_file_that_begins_again_goes_on_in_time() {
        let mut file = opened(written(frames(3))).at_end(AtEnd::Again);
        let times: Vec<u64> = play(&mut file, 9).iter().map(|frame| frame.timestamp).collect();
        assert_eq!(times, (0..9).map(|n| n * 960).collect::<Vec<_>>());
    }

    #[test]
    fn a_muted_file_goes_on_as_silence() {
        let all = frames(3);
        let mut file = opened(written(all.clone()));
        file.control(SourceControl::Enabled(false));
        assert!(matches!(file.make(), Made::Frame(frame) if frame.data == SILENT_PACKET));
        file.control(SourceControl::Enabled(true));
        let Made::Frame(frame) = file.make() else { panic!("nothing was made") };
        assert_eq!((frame.timestamp, frame.data), (960, all[1].data.clone()));
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let refused = |bytes: Vec<u8>| OggFile::read(Cursor::new(bytes)).unwrap_err().to_string();
        for other in [vec![7; 100], vec![]] {
            assert!(refused(other).starts_with("this is no Ogg/Opus file"));
        }
        let file = SharedFile::default();
        let mut writer = PacketWriter::new(file.clone());
        writer.write_packet(&b"\x01vorbis"[..], 7, PacketWriteEndInfo::EndPage, 0).unwrap();
        let other = refused(file.contents());
        assert!(other.contains("another codec than Opus"), "{other}");
        let empty = refused(written([]));
        assert!(empty.contains("empty"), "{empty}");
        for (at, value, says) in
            [(9, 6, "6 channels"), (8, 0x20, "version 32"), (18, 1, "mapping 1")]
        {
            let mut head = head();
            head[at] = value;
            assert!(check_head(&head).unwrap_err().to_string().contains(says));
        }
        assert!(check_head(b"OpusHead\x01").is_err());
    }

    #[test]
    fn packets_that_do_not_fit_into_a_datagram_are_errors() {
        assert!(matches!(check_packet(vec![0; 2_000]), Err(ReadError::TooLarge { .. })));
        assert!(matches!(check_packet(vec![3, 0]), Err(ReadError::Broken { .. })));
    }

    #[test]
    fn a_full_disk_is_an_error_when_the_file_is_made() {
        assert!(OggSink::write(FullDisk).is_err());
    }

    proptest! {
        #[test]
        fn broken_files_do_not_panic(
            changes in proptest::collection::vec((0_u32..600, any::<u8>()), 0..6),
            keep in any::<u32>(),
        ) {
            let bytes = broken(written(frames(5)), &changes, keep);
            if let Ok(file) = OggFile::read(Cursor::new(bytes)) {
                prop_assert!(play(&mut file.at_end(AtEnd::Again), 20).len() <= 20);
            }
        }

        #[test]
        fn files_broken_beneath_their_checksums_do_not_panic(
            packets in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..40), 0..8,
            )
        ) {
            let file = SharedFile::default();
            let mut writer = PacketWriter::new(file.clone());
            for (n, packet) in [head(), tags()].into_iter().chain(packets).enumerate() {
                writer.write_packet(packet, 1, PacketWriteEndInfo::EndPage, n as u64).unwrap();
            }
            if let Ok(mut file) = OggFile::read(Cursor::new(file.contents())) {
                prop_assert!(play(&mut file, 20).len() <= 8);
            }
        }
    }
}
