//! Sound in files: what our programs are given to play, and what they have recorded.

use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};
use matrix_voip_media::{Ear, Heard, SAMPLE_RATE, WavFile};

use crate::failure::{Context, Failure};

/// Amplitude of what is written.
const LOUDNESS: f32 = 0.25;

/// How it is written.
pub(crate) const FORMAT: WavSpec = WavSpec {
    channels: 1,
    sample_rate: SAMPLE_RATE,
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};

/// Writes a WAV file of one second, 48 kHz, mono, 16 bits, with a tone.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_tone(path: &Path, hertz: f32) -> Result<(), Failure> {
    let what = format!("writing {}", path.display());
    let mut file = WavWriter::create(path, FORMAT).context(&what)?;
    for at in 0..SAMPLE_RATE {
        let turn = std::f32::consts::TAU * hertz * at as f32 / SAMPLE_RATE as f32;
        let sample = (turn.sin() * LOUDNESS * f32::from(i16::MAX)) as i16;
        file.write_sample(sample).context(&what)?;
    }
    file.finalize().context(&what)
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
