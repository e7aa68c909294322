//! For tests of frames: hexadecimal, and frames of each coding.

use super::Coding;

/// The bytes; spaces are for the reader.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// A frame of the coding whose content is `body`.
pub(super) fn frame(coding: Coding, body: &[u8]) -> Vec<u8> {
    let head = match coding {
        Coding::Opus => "f8",
        Coding::Vp8 => "9001009d012a80026801",
        Coding::Vp9 => "82",
        Coding::H264 => "000000016742c01f0000000168ce3c80000000016588",
    };
    [&hex(head), body].concat()
}

/// All codings.
pub(super) const CODINGS: [Coding; 4] = [Coding::Opus, Coding::Vp8, Coding::Vp9, Coding::H264];
