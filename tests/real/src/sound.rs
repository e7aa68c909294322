//! Sound in files: what our programs are given to play, and what they have recorded.

use std::{fs, path::Path};

use matrix_voip_media::{Ear, Heard, SAMPLE_RATE, WavFile};

use crate::failure::{Context, Failure};

/// Amplitude of what is written.
const LOUDNESS: f32 = 0.25;

/// Writes a WAV file of one second, 48 kHz, mono, 16 bits, with a tone.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_tone(path: &Path, hertz: f32) -> Result<(), Failure> {
    let samples = (0..SAMPLE_RATE).map(|at| {
        let turn = std::f32::consts::TAU * hertz * at as f32 / SAMPLE_RATE as f32;
        (turn.sin() * LOUDNESS * f32::from(i16::MAX)) as i16
    });
    let sound: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = u32::try_from(sound.len()).context("a second of sound")?;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt ");
    // The length of what follows, PCM, mono, rate, bytes a second, bytes a sample, bits.
    file.extend([16_u32.to_le_bytes(), [1, 0, 1, 0]].concat());
    file.extend([SAMPLE_RATE.to_le_bytes(), (SAMPLE_RATE * 2).to_le_bytes()].concat());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(sound);
    fs::write(path, file).context(format_args!("writing {}", path.display()))
}

/// What is in a WAV file.
///
/// # Errors
///
/// When it cannot be read.
pub fn heard(path: &Path) -> Result<Heard, Failure> {
    let what = format!("reading {}", path.display());
    let mut file = WavFile::open(path).context(&what)?;
    let (mut ear, mut sound) = (Ear::new(), [0.0; 4096]);
    loop {
        match file.read_samples(&mut sound).context(&what)? {
            0 => return Ok(ear.overall()),
            length => ear.push(&sound[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{heard, write_tone};

    #[test]
    fn a_tone_that_is_written_is_heard() {
        let path = std::env::temp_dir().join("real-unit-tests.wav");
        write_tone(&path, 523.0).unwrap();
        let tone = heard(&path).unwrap().tone.unwrap();
        assert!((tone.hz - 523.0).abs() < 2.0 && tone.share > 0.9, "{tone:?}");
    }
}
