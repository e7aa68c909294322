//! What a person says: text that espeak-ng speaks, as a file and as sound to compare with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use hound::{WavSpec, WavWriter};
use matrix_voip_media::{FRAME_SAMPLES, Filled, Pcm, WavFile};

use crate::{
    equipment::SoundEquipment,
    failure::{Context, Failure},
    likeness::{Contour, RATE},
    sound::FORMAT,
};

/// A voice and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// A voice of espeak-ng, "en-us".
    pub voice: &'static str,
    /// What is said; some ten seconds of it, so that it is not soon heard again.
    pub text: &'static str,
}

/// Something that was said.
#[derive(Debug, Clone)]
pub struct Speech {
    /// A WAV file of it: 48 kHz, one channel, 16 bits.
    pub file: PathBuf,
    /// The same, 48 kHz.
    pub sound: Vec<f32>,
    /// What it is compared by.
    pub contour: Contour,
}

impl Line {
    /// Speaks it into that file.
    ///
    /// # Errors
    ///
    /// What espeak-ng says, or when the file cannot be written.
    pub fn spoken(self, by: &SoundEquipment, file: PathBuf) -> Result<Speech, Failure> {
        let raw = file.with_extension("raw.wav");
        let mut command = Command::new(&by.espeak);
        command.args(["-v", self.voice, "-w"]).arg(&raw).arg(self.text);
        let output = command.output().context("starting espeak-ng")?;
        if !output.status.success() {
            return Err(Failure::of("espeak-ng", String::from_utf8_lossy(&output.stderr)));
        }
        let sound = read(&raw)?;
        fs::remove_file(&raw).context("removing what espeak-ng wrote")?;
        write(&file, &sound, FORMAT)?;
        let contour = Contour::of(&thirds(&sound));
        Ok(Speech { file, sound, contour })
    }
}

/// Sound of 48 kHz at a third of that, where it is compared.
#[must_use]
pub fn thirds(sound: &[f32]) -> Vec<f32> {
    sound.as_chunks::<3>().0.iter().map(|three| three.iter().sum::<f32>() / 3.0).collect()
}

/// Sound of any WAV file, at 48 kHz.
fn read(path: &Path) -> Result<Vec<f32>, Failure> {
    let what = format!("reading {}", path.display());
    let mut file = WavFile::open(path).context(&what)?;
    let (mut sound, mut frame) = (Vec::new(), [0.0; FRAME_SAMPLES]);
    while let Filled::Frame = file.fill(&mut frame) {
        sound.extend_from_slice(&frame);
    }
    Ok(sound)
}

/// Keeps what was heard, at [`RATE`], in a WAV file for who looks into a failure.
///
/// # Errors
///
/// When it cannot be written.
pub fn keep(path: &Path, sound: &[f32]) -> Result<(), Failure> {
    write(path, sound, WavSpec { sample_rate: RATE, ..FORMAT })
}

fn write(path: &Path, sound: &[f32], format: WavSpec) -> Result<(), Failure> {
    let what = format!("writing {}", path.display());
    let mut file = WavWriter::create(path, format).context(&what)?;
    for sample in sound {
        file.write_sample((sample * f32::from(i16::MAX)) as i16).context(&what)?;
    }
    file.finalize().context(&what)
}
