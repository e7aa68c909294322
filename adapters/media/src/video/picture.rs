//! The test picture: it moves, and it carries a number that can be read back after the codec.
//!
//! Along the upper edge stand 20 cells, dark or bright: 16 bits of the frame's number and 4 bits
//! that check it. Below, a bright square moves over a gradient. [`TestPicture`] is the script that
//! draws and encodes it.

use std::num::NonZeroU32;

use matrix_voip::host::{Codec, Frame, SourceControl};

use super::{
    budget::Budget,
    vp8::{self, Want},
};
use crate::source::{Made, Script, Weight};

/// Width and height of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSize {
    width: u32,
    height: u32,
}

/// Smallest test picture: each cell must be wide enough to survive the codec.
pub const MIN_SIZE: (u32, u32) = (160, 64);

/// Largest test picture: 1280 x 720 takes the encoder 150 ms.
pub const MAX_SIZE: (u32, u32) = (1280, 720);

impl PictureSize {
    /// 320 x 240.
    pub const QVGA: Self = Self { width: 320, height: 240 };

    /// A size for test pictures, brought into [`MIN_SIZE`] to [`MAX_SIZE`] and made even.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width: width.clamp(MIN_SIZE.0, MAX_SIZE.0) & !1,
            height: height.clamp(MIN_SIZE.1, MAX_SIZE.1) & !1,
        }
    }

    /// Width and height.
    pub fn pixels(self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(crate) fn decoded(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    fn luma(self) -> (usize, usize) {
        (self.width as usize, self.height as usize)
    }
}

/// An uncompressed picture: planes of brightness and colour, the colour at half the size (I420).
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    size: PictureSize,
    /// Brightness, row by row, one byte a pixel.
    pub y: Vec<u8>,
    /// Blue difference, half the width and height, rounded up.
    pub u: Vec<u8>,
    /// Red difference, as `u`.
    pub v: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture {}x{}", self.size.width, self.size.height)
    }
}

const CELLS: usize = 20;
const NUMBER_BITS: usize = 16;
const DARK: u8 = 40;
const BRIGHT: u8 = 210;

/// The part of the height that the cells take.
const CELL_ROWS: usize = 8;

impl Picture {
    /// The test picture with this number; only its lower 16 bits are shown.
    pub fn test(size: PictureSize, number: u64) -> Self {
        let (width, height) = size.luma();
        let colours = width.div_ceil(2) * height.div_ceil(2);
        let mut picture =
            Self { size, y: gradient(width, height), u: vec![110; colours], v: vec![140; colours] };
        picture.draw_square(number);
        picture.draw_number(number as u16);
        picture
    }

    pub(crate) fn from_planes(size: PictureSize, y: Vec<u8>, u: Vec<u8>, v: Vec<u8>) -> Self {
        Self { size, y, u, v }
    }

    /// Its size.
    pub fn size(&self) -> PictureSize {
        self.size
    }

    /// The number that the picture shows; `None` when there is none or it cannot be read.
    pub fn number(&self) -> Option<u16> {
        let (width, height) = self.size.luma();
        if width < MIN_SIZE.0 as usize || height < MIN_SIZE.1 as usize {
            return None;
        }
        let mut bits = 0_u32;
        for cell in 0..CELLS {
            bits = (bits << 1) | u32::from(self.read_cell(cell)?);
        }
        let number = (bits >> (CELLS - NUMBER_BITS)) as u16;
        (bits & 0xf == check_bits(number)).then_some(number)
    }

    fn draw_number(&mut self, number: u16) {
        let (width, height) = self.size.luma();
        let bits = (u32::from(number) << (CELLS - NUMBER_BITS)) | check_bits(number);
        for row in self.y.chunks_exact_mut(width).take(height / CELL_ROWS) {
            for (x, pixel) in row.iter_mut().enumerate() {
                let cell = x * CELLS / width;
                let bit = bits >> (CELLS - 1 - cell) & 1;
                *pixel = if bit == 1 { BRIGHT } else { DARK };
            }
        }
    }

    fn draw_square(&mut self, number: u64) {
        let (width, height) = self.size.luma();
        let side = height / 4;
        let left = (number as usize).wrapping_mul(6) % (width - side);
        let top = height / 2;
        for row in self.y.chunks_exact_mut(width).skip(top).take(side) {
            row[left..left + side].fill(BRIGHT);
        }
    }

    /// Whether a cell is bright: the mean of its middle. `None` in between.
    fn read_cell(&self, cell: usize) -> Option<bool> {
        let (width, height) = self.size.luma();
        let (rows, columns) = (height / CELL_ROWS, width / CELLS);
        let left = cell * width / CELLS + columns / 4;
        let (mut sum, mut pixels) = (0_u32, 0_u32);
        for row in self.y.chunks_exact(width).take(rows * 3 / 4).skip(rows / 4) {
            for pixel in &row[left..left + columns / 2] {
                sum += u32::from(*pixel);
                pixels += 1;
            }
        }
        match sum / pixels.max(1) {
            0..=105 => Some(false),
            145.. => Some(true),
            _ => None,
        }
    }
}

/// Four bits that depend on every bit of the number, and differ from it where all cells are alike.
fn check_bits(number: u16) -> u32 {
    let folded = number ^ (number >> 4) ^ (number >> 8) ^ (number >> 12);
    u32::from((folded & 0xf) ^ 0b1010)
}

fn gradient(width: usize, height: usize) -> Vec<u8> {
    let value = |x: usize, y: usize| (60 + x * 60 / width + y * 60 / height) as u8;
    (0..height).flat_map(|y| (0..width).map(move |x| value(x, y))).collect()
}

/// Draws and encodes the test picture, at a steady rate.
///
/// The encoder has one quality. Where the way out carries fewer bits than that takes
/// (`SourceControl::Bitrate`), pictures are left out: in any time at most so many bits are sent, a
/// quarter of a second of them, and one picture. A key frame that is wanted is the next one that is
/// sent. Pictures that are not sent have no number, so that who reads the numbers misses none.
#[derive(Debug)]
pub struct TestPicture {
    size: PictureSize,
    rate: NonZeroU32,
    encoder: vp8::Encoder,
    /// Of pictures that were due, sent or not.
    due: u64,
    /// Of the next picture that is sent.
    number: u64,
    budget: Budget,
    want: Want,
    shown: bool,
}

/// Most pictures a second: what is due at once must be encoded before the next.
pub const MAX_RATE: u32 = 30;

impl TestPicture {
    /// 320 x 240, ten pictures a second.
    pub fn new() -> Self {
        Self::sized(PictureSize::QVGA, 10)
    }

    /// Of this size, with this many pictures a second (1 to [`MAX_RATE`]; brought into that
    /// range). One picture of 320 x 240 takes 13 ms to encode, 51 ms where the codec is not
    /// optimised; larger ones longer in proportion.
    pub fn sized(size: PictureSize, rate: u32) -> Self {
        let rate = NonZeroU32::new(rate.min(MAX_RATE)).unwrap_or(NonZeroU32::MIN);
        let encoder = vp8::Encoder::new();
        let budget = Budget::default();
        Self { size, rate, encoder, due: 0, number: 0, budget, want: Want::Any, shown: true }
    }

    fn timestamp(&self) -> u64 {
        self.due * 90_000 / u64::from(self.rate.get())
    }

    fn encode(&mut self, timestamp: u64) -> Made {
        let picture = Picture::test(self.size, self.number);
        match self.encoder.encode(&picture, self.want) {
            Ok(data) => {
                self.want = Want::Any;
                self.number += 1;
                self.budget.spend(data.len());
                let key_frame = vp8::is_key_frame(&data);
                Made::Frame(Frame { key_frame, ..Frame::new(Codec::Vp8, timestamp, data) })
            }
            Err(error) => {
                tracing::warn!(%error, "a test picture not encoded");
                Made::Skipped
            }
        }
    }
}

impl Default for TestPicture {
    fn default() -> Self {
        Self::new()
    }
}

impl Script for TestPicture {
    fn codec(&self) -> Codec {
        Codec::Vp8
    }

    fn due(&mut self) -> Option<u64> {
        Some(self.timestamp())
    }

    fn make(&mut self) -> Made {
        let timestamp = self.timestamp();
        self.due += 1;
        // Time is paid for while nothing is shown, too.
        let has_room = self.budget.has_room(timestamp);
        if self.shown && has_room { self.encode(timestamp) } else { Made::Skipped }
    }

    fn control(&mut self, control: SourceControl) {
        match control {
            SourceControl::KeyFrame => self.want = Want::KeyFrame,
            SourceControl::Bitrate(limit) => self.budget.limit(limit),
            SourceControl::Enabled(on) => {
                self.shown = on;
                self.want = Want::KeyFrame;
            }
            _ => {}
        }
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::vp8::{Decoded, Decoder};

    #[test]
    fn every_number_can_be_read_from_its_picture() {
        let size = PictureSize::new(160, 64);
        for number in (0..=u16::MAX).step_by(13) {
            assert_eq!(Picture::test(size, u64::from(number)).number(), Some(number));
        }
    }

    #[test]
    fn a_grey_picture_shows_no_number() {
        let mut picture = Picture::test(PictureSize::QVGA, 5);
        picture.y.fill(128);
        assert_eq!(picture.number(), None);
        picture.y.fill(0);
        assert_eq!(picture.number(), None);
        picture.y.fill(255);
        assert_eq!(picture.number(), None);
    }

    #[test]
    fn the_number_survives_the_codec_and_key_frames_come_when_asked_for() {
        let mut script = TestPicture::sized(PictureSize::QVGA, 10);
        let mut decoder = Decoder::new();
        for number in 0..8_u16 {
            if number == 5 {
                script.control(SourceControl::KeyFrame);
            }
            let Made::Frame(frame) = script.make() else { panic!("not encoded") };
            assert_eq!(frame.key_frame, number == 0 || number == 5);
            assert_eq!(frame.timestamp, u64::from(number) * 9_000);
            let Decoded::Shown(picture) = decoder.decode(&frame.data).unwrap() else {
                panic!("hidden")
            };
            assert_eq!(picture.number(), Some(number));
        }
    }

    /// Bits of each of ten seconds within this limit, and of the largest frame; with the numbers.
    fn ten_seconds(limit: u64) -> (Vec<u64>, u64, Vec<u16>) {
        let mut script = TestPicture::new();
        let mut decoder = Decoder::new();
        script.control(SourceControl::Bitrate(limit));
        let (mut seconds, mut largest, mut numbers) = (vec![0; 10], 0, Vec::new());
        for due in 0..100 {
            let Made::Frame(frame) = script.make() else { continue };
            assert_eq!(frame.timestamp, due * 9_000, "time goes on");
            let bits = 8 * frame.data.len() as u64;
            seconds[due as usize / 10] += bits;
            largest = largest.max(bits);
            if let Decoded::Shown(picture) = decoder.decode(&frame.data).unwrap() {
                numbers.push(picture.number().unwrap());
            }
        }
        (seconds, largest, numbers)
    }

    #[test]
    fn fewer_pictures_are_sent_where_the_way_out_carries_fewer_bits() {
        let mut counts = Vec::new();
        // Unlimited it takes 54 kbit/s.
        for limit in [20_000, 50_000, 150_000, 400_000] {
            let (seconds, largest, numbers) = ten_seconds(limit);
            let count = numbers.len();
            println!(
                "{limit} bit/s: {count} of 100 pictures, bits of each second {seconds:?}, largest {largest}"
            );
            let most = limit + limit / 4 + largest;
            assert!(seconds.iter().all(|bits| *bits <= most), "{limit}: {seconds:?}");
            let all: u64 = seconds.iter().sum();
            assert!(all <= 10 * limit + limit / 4 + largest, "{limit}: {all}");
            assert!(numbers.iter().enumerate().all(|(n, number)| n == usize::from(*number)));
            counts.push(count);
        }
        assert!((20..50).contains(&counts[0]) && (80..100).contains(&counts[1]), "{counts:?}");
        assert_eq!(counts[2..], [100, 100], "enough for all");
    }

    #[test]
    fn a_key_frame_that_is_asked_for_is_the_next_picture_that_there_is_room_for() {
        let mut script = TestPicture::new();
        script.control(SourceControl::Bitrate(50_000));
        let (mut asked, mut answered) = (None, None);
        for n in 0..40 {
            if n == 10 {
                script.control(SourceControl::KeyFrame);
                asked = Some(n);
            }
            if let Made::Frame(frame) = script.make()
                && asked.is_some()
            {
                assert!(frame.key_frame, "nothing else before it");
                answered = Some(n);
                break;
            }
        }
        let took = answered.zip(asked).map(|(answered, asked)| answered - asked);
        assert!(took.is_some_and(|took| took <= 10), "{took:?} tenths of a second");
    }

    #[test]
    fn a_muted_picture_sends_nothing_and_comes_back_with_a_key_frame() {
        let mut script = TestPicture::sized(PictureSize::new(160, 64), 15);
        script.make();
        script.control(SourceControl::Enabled(false));
        assert_eq!(script.make(), Made::Skipped);
        assert_eq!(script.due(), Some(12_000), "time goes on");
        script.control(SourceControl::Enabled(true));
        let Made::Frame(frame) = script.make() else { panic!("not encoded") };
        assert!(frame.key_frame);
    }
}
