//! Speech for tests, and how loud sound is.

use std::{io::Cursor, sync::OnceLock};

use matrix_voip_media::{Made, OggFile, Script, audio::opus::Decoder};

/// The speech of `tests/files/speech.txt`, half a minute, spoken by espeak-ng.
pub(crate) fn speech() -> &'static [f32] {
    static SPEECH: OnceLock<Vec<f32>> = OnceLock::new();
    SPEECH.get_or_init(|| {
        let mut file = OggFile::read(Cursor::new(include_bytes!("../files/speech.opus"))).unwrap();
        let (mut decoder, mut sound) = (Decoder::new().unwrap(), Vec::new());
        while file.due().is_some() {
            if let Made::Frame(frame) = file.make() {
                sound.extend_from_slice(decoder.decode(&frame.data).unwrap());
            }
        }
        let louder = 10_f32.powf((LEVEL - decibels(&sound)) as f32 / 20.0);
        sound.iter_mut().for_each(|sample| *sample *= louder);
        sound
    })
}

/// How loud the speech is on the whole, pauses included, in dB of full scale.
const LEVEL: f64 = -17.0;

/// Mean energy in dB of full scale; silence is -120.
pub(crate) fn decibels(sound: &[f32]) -> f64 {
    let energy: f64 = sound.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (energy / sound.len().max(1) as f64).max(1e-12).log10()
}
