//! Whether two pieces of sound are the same speech: how loud it is in each band over time is compared,
//! never the wave form, which codecs, echo cancellers and high-passes turn around.
//!
//! All sound here is of [`RATE`], one channel.

use std::f32::consts::TAU;

/// Samples of a second.
pub const RATE: u32 = 16_000;

/// Samples of one step of time: 20 ms.
const STEP: usize = RATE as usize / 50;

/// Bands, their middles evenly spread over the logarithm of the frequency.
const BANDS: usize = 14;
const LOWEST: f32 = 150.0;
const HIGHEST: f32 = 7_000.0;

/// What is softer than the loudest step of a band by this much (in tens of decibels) is as good as silence:
/// there noise is compared, and not speech.
const DEPTH: f32 = 3.5;

/// Softer than this (mean square) nothing is speech: -80 dB below full scale.
const SILENCE: f32 = 1e-8;

/// How loud speech is in each band, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Contour {
    /// The logarithm of the energy (to the base of ten).
    steps: Vec<[f32; BANDS]>,
}

impl Contour {
    /// Of this sound.
    #[must_use]
    pub fn of(sound: &[f32]) -> Self {
        let mut steps = vec![[0.0; BANDS]; sound.len() / STEP];
        for band in 0..BANDS {
            let energies = energies(sound, band);
            let loudest = energies.iter().copied().fold(SILENCE, f32::max).log10();
            for (step, energy) in steps.iter_mut().zip(energies) {
                step[band] = energy.max(SILENCE).log10().max(loudest - DEPTH);
            }
        }
        Self { steps }
    }

    /// How much this, heard at some moment while `said` was spoken again and again, is like it: 1 where
    /// all bands rise and fall together, around 0 where they do not. The best over all moments.
    #[must_use]
    pub fn likeness(&self, said: &Self) -> f64 {
        let (length, round) = (self.steps.len(), said.steps.len());
        if length == 0 || round == 0 {
            return 0.0;
        }
        let heard = centred(self.steps.iter());
        let at = |begin: usize| {
            let window = said.steps.iter().cycle().skip(begin).take(length);
            correlation(&heard, &centred(window))
        };
        (0..round).map(at).fold(0.0, f64::max)
    }
}

/// How loud sound is: root mean square, in decibels below full scale. Of silence -120.
#[must_use]
pub fn decibels(sound: &[f32]) -> f64 {
    let sum: f64 = sound.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (sum / sound.len().max(1) as f64).max(1e-12).log10()
}

/// The energy in a band, step by step.
fn energies(sound: &[f32], band: usize) -> Vec<f32> {
    let ratio = (HIGHEST / LOWEST).powf(1.0 / (BANDS - 1) as f32);
    let (mut first, mut second) = (Band::at(band, ratio), Band::at(band, ratio));
    let steps = sound.chunks_exact(STEP).map(|step| {
        let energy = step.iter().map(|sample| second.pass(first.pass(*sample)).powi(2));
        energy.sum::<f32>() / STEP as f32
    });
    steps.collect()
}

/// A band-pass of second order, 1 in its middle (the usual one, of the "Audio EQ Cookbook").
struct Band {
    gain: f32,
    back: [f32; 2],
    given: [f32; 2],
    made: [f32; 2],
}

impl Band {
    fn at(band: usize, ratio: f32) -> Self {
        let turn = TAU * LOWEST * ratio.powi(band as i32) / RATE as f32;
        let quality = 1.0 / (ratio.sqrt() - 1.0 / ratio.sqrt());
        let alpha = turn.sin() / (2.0 * quality);
        let whole = 1.0 + alpha;
        let back = [-2.0 * turn.cos() / whole, (1.0 - alpha) / whole];
        Self { gain: alpha / whole, back, given: [0.0; 2], made: [0.0; 2] }
    }

    fn pass(&mut self, sample: f32) -> f32 {
        let past = self.back[0] * self.made[0] + self.back[1] * self.made[1];
        let made = self.gain * (sample - self.given[1]) - past;
        self.given = [sample, self.given[0]];
        self.made = [made, self.made[0]];
        made
    }
}

/// Without the mean of each band: no microphone and no volume matters then.
fn centred<'a>(steps: impl Iterator<Item = &'a [f32; BANDS]>) -> Vec<[f32; BANDS]> {
    let mut steps: Vec<[f32; BANDS]> = steps.copied().collect();
    for band in 0..BANDS {
        let mean = steps.iter().map(|step| step[band]).sum::<f32>() / steps.len().max(1) as f32;
        steps.iter_mut().for_each(|step| step[band] -= mean);
    }
    steps
}

fn correlation(one: &[[f32; BANDS]], other: &[[f32; BANDS]]) -> f64 {
    let product = |a: &[[f32; BANDS]], b: &[[f32; BANDS]]| {
        let pairs = a.as_flattened().iter().zip(b.as_flattened());
        f64::from(pairs.map(|(a, b)| a * b).sum::<f32>())
    };
    let scale = (product(one, one) * product(other, other)).sqrt();
    if scale < f64::EPSILON { 0.0 } else { product(one, other) / scale }
}

#[cfg(test)]
mod tests {
    use matrix_voip::host::{Codec, Frame};
    use matrix_voip_media::{
        FRAME_SAMPLES, Filled, Made, OggFile, Pcm, Script, TrackDecoder, Voice,
    };

    use super::*;
    use crate::speech::thirds;

    /// What is recognised as the same, and what is not.
    const SAME: f64 = 0.7;
    const OTHER: f64 = 0.4;

    /// Seconds `from` to `to` of a voice that says many things.
    fn speech(from: usize, to: usize) -> Vec<f32> {
        let file = "/../../adapters/media/tests/files/speech.opus";
        let mut file = OggFile::open(env!("CARGO_MANIFEST_DIR").to_owned() + file).unwrap();
        let (mut decoder, mut sound, mut number) = (TrackDecoder::new(), Vec::new(), 0);
        while let Some(packet) = file.next_packet().unwrap() {
            let frame = Frame::new(Codec::Opus, number * FRAME_SAMPLES as u64, packet);
            decoder.push(&Frame { sequence: Some(number), ..frame }, &mut sound);
            number += 1;
        }
        thirds(&sound)[from * RATE as usize..to * RATE as usize].to_vec()
    }

    fn noise(length: usize, loudness: f32) -> Vec<f32> {
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..length).map(|_| next() * loudness).collect()
    }

    fn likeness(heard: &[f32], said: &[f32]) -> f64 {
        Contour::of(heard).likeness(&Contour::of(said))
    }

    /// Sound of 16 kHz as a microphone of 48 kHz has it.
    struct Spoken(Vec<f32>);

    impl Pcm for Spoken {
        fn fill(&mut self, out: &mut [f32; FRAME_SAMPLES]) -> Filled {
            if self.0.len() < FRAME_SAMPLES / 3 {
                return Filled::Over;
            }
            let step = self.0.drain(..FRAME_SAMPLES / 3);
            let thrice = step.flat_map(|sample| [sample; 3]);
            out.iter_mut().zip(thrice).for_each(|(out, sample)| *out = sample);
            Filled::Frame
        }
    }

    /// Through Opus, with each tenth packet lost.
    fn sent(sound: &[f32]) -> Vec<f32> {
        let (mut voice, mut decoder) = (Voice::new(Spoken(sound.to_vec())), TrackDecoder::new());
        let (mut heard, mut number) = (Vec::new(), 0);
        while voice.due().is_some() {
            let Made::Frame(frame) = voice.make() else { break };
            if number % 10 != 7 {
                decoder.push(&Frame { sequence: Some(number), ..frame }, &mut heard);
            }
            number += 1;
        }
        thirds(&heard)
    }

    /// A soft and thin copy in noise of -50 dB.
    fn through_a_wall(sound: &[f32]) -> Vec<f32> {
        let (mut passed, mut last) = (0.0, 0.0);
        let thin = sound.iter().map(|sample| {
            passed = 0.9 * (passed + sample - last);
            last = *sample;
            passed * 0.3
        });
        thin.zip(noise(sound.len(), 0.005)).map(|(sample, noise)| sample + noise).collect()
    }

    #[test]
    fn the_same_speech_is_recognised_after_opus_loss_noise_and_a_high_pass_at_any_moment() {
        let said = speech(0, 12);
        let (second, whole) = (RATE as usize, said.len());
        for (begin, end) in [(0, 6 * second), (5 * second + 77, 9 * second), (whole / 2, whole)] {
            let heard = through_a_wall(&sent(&said[begin..end]));
            let found = likeness(&heard, &said);
            assert!(found > SAME, "{begin}: {found}");
        }
    }

    #[test]
    fn who_says_it_again_and_again_is_recognised_across_the_beginning() {
        let said = speech(0, 8);
        let heard = [&said[6 * RATE as usize..], &said[..2 * RATE as usize]].concat();
        let found = likeness(&heard, &said);
        assert!(found > 0.9, "{found}");
    }

    #[test]
    fn another_speech_of_the_same_voice_is_not_recognised() {
        let said = speech(0, 12);
        for (from, to) in [(14, 18), (16, 22), (20, 30)] {
            let found = likeness(&speech(from, to), &said);
            assert!(found < OTHER, "{from}: {found}");
        }
    }

    #[test]
    fn silence_noise_and_nothing_are_no_speech() {
        let said = speech(0, 12);
        for loudness in [0.0, 1e-5, 0.1] {
            let found = likeness(&noise(6 * RATE as usize, loudness), &said);
            assert!(found < 0.2, "{loudness}: {found}");
        }
        assert_eq!(likeness(&[], &said), 0.0);
        assert_eq!(likeness(&said, &[]), 0.0);
        assert_eq!(likeness(&[f32::NAN; 9_600], &said), 0.0);
    }

    #[test]
    fn loudness_is_told_in_decibels() {
        assert!((decibels(&[0.1; 100]) + 20.0).abs() < 0.01);
        assert_eq!(decibels(&[]), -120.0);
    }
}
