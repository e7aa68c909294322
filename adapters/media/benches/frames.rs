//! What encryption of frames costs: 20 ms of sound (160 bytes), a picture (11 kB), a key.
//!
//! Each figure stands beside a baseline of the same run: plain AES-128-GCM of the same bytes under the
//! same library. Run with `cargo bench -p matrix-voip-media --bench frames`.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use divan::{Bencher, counter::BytesCount};
use matrix_voip::{
    config::{KeyDerivation, KeyProfile},
    redact::SecretBytes,
    wire::keys::MediaKey,
};
use matrix_voip_media::e2ee::{Coding, Prepared, Ring, Sealer, frame_key};

/// The last one is H.264, whose escapes are looked for byte by byte.
const SIZES: [usize; 3] = [160, 11_000, 11_001];

fn main() {
    divan::main();
}

fn media_key() -> MediaKey {
    MediaKey { index: 3, key: SecretBytes::new([7; 32]) }
}

fn sealer() -> Sealer {
    Sealer::new(KeyDerivation::Hkdf, &media_key()).expect("a key")
}

/// Sound is Opus, a picture VP8 or H.264.
fn frame(size: usize) -> (Coding, Vec<u8>) {
    let mut bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
    bytes[..6].copy_from_slice(&[0, 0, 0, 1, 0x65, 0x88]);
    let coding = [Coding::Opus, Coding::Vp8, Coding::H264];
    let at = SIZES.iter().position(|known| *known == size);
    (coding[at.expect("one of them")], bytes)
}

fn plain_cipher() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([1; 12])
}

#[divan::bench(args = SIZES)]
fn baseline_aes_gcm_encrypts(bencher: Bencher, size: usize) {
    let (key, frame) = (plain_cipher(), frame(size).1);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let mut bytes = Vec::with_capacity(size + 16);
        bytes.extend_from_slice(black_box(&frame));
        key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes).map(|()| bytes)
    });
}

#[divan::bench(args = SIZES)]
fn seal(bencher: Bencher, size: usize) {
    let (sealer, (coding, frame)) = (sealer(), frame(size));
    bencher.counter(BytesCount::new(size)).bench_local(|| sealer.seal(coding, black_box(&frame)));
}

#[divan::bench(args = SIZES)]
fn baseline_aes_gcm_decrypts(bencher: Bencher, size: usize) {
    let (key, mut sealed) = (plain_cipher(), frame(size).1);
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).expect("a frame");
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let mut bytes = black_box(&sealed).clone();
        key.open_in_place(nonce(), Aad::empty(), &mut bytes).is_ok()
    });
}

#[divan::bench(args = SIZES)]
fn open(bencher: Bencher, size: usize) {
    let (coding, frame) = frame(size);
    let sealed = sealer().seal(coding, &frame).expect("a frame");
    let mut ring = Ring::new(KeyProfile::ELEMENT_CALL).expect("a ring");
    let key = Prepared::derive(KeyDerivation::Hkdf, 8, &media_key()).expect("a key");
    ring.set(key).expect("a place");
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| ring.open(coding, black_box(&sealed)).is_ok());
}

/// A frame under a wrong key, with the window, until it is left alone.
#[divan::bench(args = SIZES)]
fn refuse(bencher: Bencher, size: usize) {
    let (coding, frame) = frame(size);
    let sealed = sealer().seal(coding, &frame).expect("a frame");
    let other = MediaKey { index: 3, key: SecretBytes::new([8; 32]) };
    let key = || Prepared::derive(KeyDerivation::Hkdf, 8, &other).expect("a key");
    bencher
        .with_inputs(|| {
            let mut ring = Ring::new(KeyProfile::ELEMENT_CALL).expect("a ring");
            ring.set(key()).expect("a place");
            ring
        })
        .counter(BytesCount::new(size))
        .bench_local_refs(|ring| ring.open(coding, black_box(&sealed)).is_err());
}

#[divan::bench]
fn derive_by_hkdf() -> bool {
    frame_key(KeyDerivation::Hkdf, black_box(&[7; 32])).is_ok()
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn derive_by_pbkdf2() -> bool {
    frame_key(KeyDerivation::Pbkdf2, black_box(&[7; 32])).is_ok()
}
