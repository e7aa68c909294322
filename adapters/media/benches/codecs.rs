//! How long one frame takes: 20 ms of sound, one picture of 320 x 240.
//!
//! Each figure stands beside a baseline of the same run: copying the same samples or pixels, which
//! depends on the machine and its load alone. Run with `cargo bench -p matrix-voip-media`.

use std::hint::black_box;

use divan::Bencher;
use matrix_voip::host::Frame;
use matrix_voip_media::{
    Ear, FRAME_SAMPLES, Made, Picture, PictureSize, Script, TestPicture, Tone, TrackDecoder, Voice,
    audio::opus,
    video::vp8::{self, Want},
};

fn main() {
    divan::main();
}

/// 20 ms that are not the same each time.
fn tones() -> impl FnMut() -> [f32; FRAME_SAMPLES] {
    let mut tone = Tone::new(440.0, 0.2);
    let mut other = Tone::new(1234.5, 0.1);
    move || std::array::from_fn(|_| tone.next().unwrap_or(0.0) + other.next().unwrap_or(0.0))
}

fn packets() -> impl FnMut() -> Frame {
    let mut voice = Voice::new(Tone::new(440.0, 0.2));
    move || match voice.make() {
        Made::Frame(frame) => frame,
        Made::Skipped => unreachable!("a tone has no end"),
    }
}

#[divan::bench]
fn baseline_copy_20_ms_of_sound(bencher: Bencher) {
    bencher.with_inputs(tones()).bench_local_refs(|sound| black_box(sound.to_vec()));
}

#[divan::bench]
fn opus_encode_20_ms(bencher: Bencher) {
    let mut encoder = opus::Encoder::new().expect("an encoder");
    bencher.with_inputs(tones()).bench_local_refs(|sound| encoder.encode(sound));
}

#[divan::bench]
fn opus_decode_20_ms(bencher: Bencher) {
    let mut decoder = TrackDecoder::new();
    let mut sound = Vec::new();
    bencher.with_inputs(packets()).bench_local_refs(|frame| {
        sound.clear();
        decoder.push(frame, &mut sound);
    });
}

#[divan::bench]
fn opus_conceal_20_ms(bencher: Bencher) {
    let mut packets = packets();
    bencher
        .with_inputs(|| decoder_after(&packets().data))
        .bench_local_refs(|decoder| decoder.conceal(FRAME_SAMPLES).is_ok());
}

fn decoder_after(packet: &[u8]) -> opus::Decoder {
    let mut decoder = opus::Decoder::new().expect("a decoder");
    decoder.decode(packet).expect("a packet of our own");
    decoder
}

#[divan::bench]
fn ear_hears_20_ms(bencher: Bencher) {
    let mut ear = Ear::new();
    bencher.with_inputs(tones()).bench_local_refs(|sound| ear.push(&sound[..]));
}

#[divan::bench]
fn baseline_copy_a_picture(bencher: Bencher) {
    let picture = Picture::test(PictureSize::QVGA, 1);
    bencher.bench_local(|| black_box(&picture).clone());
}

#[divan::bench]
fn draw_a_picture(bencher: Bencher) {
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        Picture::test(PictureSize::QVGA, number)
    });
}

#[divan::bench]
fn vp8_encode_a_picture(bencher: Bencher) {
    let mut encoder = vp8::Encoder::new();
    let mut number = 0;
    bencher
        .with_inputs(|| {
            number += 1;
            Picture::test(PictureSize::QVGA, number)
        })
        .bench_local_refs(|picture| encoder.encode(picture, Want::Any));
}

#[divan::bench]
fn vp8_decode_a_picture(bencher: Bencher) {
    let mut script = TestPicture::new();
    let frames: Vec<Frame> = std::iter::repeat_with(|| script.make())
        .filter_map(|made| if let Made::Frame(frame) = made { Some(frame) } else { None })
        .take(50)
        .collect();
    let mut decoder = vp8::Decoder::new();
    let mut turn = frames.iter().cycle();
    bencher
        .with_inputs(|| turn.next().expect("frames without end"))
        .bench_local_values(|frame| decoder.decode(&frame.data).is_ok());
}
