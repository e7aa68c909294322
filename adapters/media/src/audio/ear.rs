//! What is heard: level, and the one tone that stands out.
//!
//! [`Ear`] takes sound of any length, looks at windows of 85 ms through a spectrum, and says which
//! frequency carries the most energy, how loud that tone is, and how much of all energy it has.
//! [`Ear::now`] speaks of the last window, for a meter; [`Ear::overall`] of all sound since the
//! beginning, for a verdict. [`EarSink`] does the same with a remote track.

use std::sync::{Arc, Mutex, PoisonError};

use matrix_voip::host::{Frame, FrameSink};

use super::{
    level::Level,
    sound::{SAMPLE_RATE, Sample},
    spectrum::{BINS, Spectrum, WINDOW},
    track::{TrackCounts, TrackDecoder},
};

/// Below this root mean square nothing is called a tone: -60 dB.
const SILENCE: f32 = 0.001;

/// Bins on each side of the greatest that belong to the same tone, under the window used.
const LOBE: usize = 3;

/// A tone that stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeardTone {
    /// Its frequency in Hz, within 5 Hz (within 1 Hz when it is the only sound).
    pub hz: f32,
    /// Its amplitude, 0 to 1: what was given to [`Tone::new`](super::tone::Tone::new), as far as
    /// the codec keeps it.
    pub level: f32,
    /// Its share of all energy, 0 to 1. Noise and speech stay well below 0.8.
    pub share: f32,
}

/// What was heard in a stretch of sound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heard {
    /// How loud it was.
    pub level: Level,
    /// The tone with the most energy; `None` in silence.
    pub tone: Option<HeardTone>,
    /// How many samples this speaks of.
    pub samples: u64,
}

/// Listens.
#[derive(Debug, Clone)]
pub struct Ear {
    spectrum: Spectrum,
    window: Vec<f32>,
    now: Heard,
    sums: Vec<f64>,
    peak: f32,
    energy: f64,
    samples: u64,
}

impl Ear {
    /// An ear that has heard nothing.
    pub fn new() -> Self {
        Self {
            spectrum: Spectrum::new(),
            window: Vec::with_capacity(WINDOW),
            now: Heard::default(),
            sums: vec![0.0; BINS],
            peak: 0.0,
            energy: 0.0,
            samples: 0,
        }
    }

    /// Takes sound of any length.
    pub fn push(&mut self, mut sound: &[f32]) {
        while !sound.is_empty() {
            let (head, rest) = sound.split_at(sound.len().min(WINDOW - self.window.len()));
            // One NaN would stay in the sums for ever.
            self.window.extend(head.iter().map(|sample| sample.to_f32()));
            sound = rest;
            if self.window.len() == WINDOW {
                self.look();
                self.window.clear();
            }
        }
    }

    /// The last whole window: 85 ms.
    pub fn now(&self) -> Heard {
        self.now
    }

    /// Nothing is heard any more: [`now`](Self::now) is silence until sound comes again.
    pub fn hush(&mut self) {
        self.window.clear();
        self.now = Heard::default();
    }

    /// All whole windows so far. Where the tone sounded only part of the time, its level is the
    /// lower for it.
    pub fn overall(&self) -> Heard {
        let windows = (self.samples / WINDOW as u64).max(1) as f64;
        let powers: Vec<f64> = self.sums.iter().map(|sum| sum / windows).collect();
        let rms = (self.energy / (self.samples.max(1) as f64)).sqrt() as f32;
        let level = Level { rms, peak: self.peak };
        Heard { level, tone: tone_in(&powers, level), samples: self.samples }
    }

    fn look(&mut self) {
        let level = Level::of(&self.window);
        let powers = self.spectrum.powers(&self.window);
        self.now = Heard { level, tone: tone_in(powers, level), samples: WINDOW as u64 };
        self.sums.iter_mut().zip(powers).for_each(|(sum, power)| *sum += power);
        self.peak = self.peak.max(level.peak);
        self.energy += f64::from(level.rms).powi(2) * WINDOW as f64;
        self.samples += WINDOW as u64;
    }
}

impl Default for Ear {
    fn default() -> Self {
        Self::new()
    }
}

/// The tone with the most energy in a power spectrum whose sum is the mean square of the sound.
fn tone_in(powers: &[f64], level: Level) -> Option<HeardTone> {
    if level.rms < SILENCE {
        return None;
    }
    // The lowest bins hold what is no sound: a constant offset.
    let greatest = (LOBE..powers.len() - LOBE).max_by(|a, b| powers[*a].total_cmp(&powers[*b]))?;
    let lobe = &powers[greatest - LOBE..=greatest + LOBE];
    let power: f64 = lobe.iter().sum();
    let total: f64 = powers.iter().sum();
    let hz = (greatest as f64 + offset(powers, greatest)) * f64::from(SAMPLE_RATE) / WINDOW as f64;
    Some(HeardTone {
        hz: hz as f32,
        level: (2.0 * power).sqrt().min(1.0) as f32,
        share: (power / total.max(f64::MIN_POSITIVE)) as f32,
    })
}

/// Where between the bins the tone lies, -0.5 to 0.5: the top of the parabola through the
/// logarithms of three powers.
fn offset(powers: &[f64], at: usize) -> f64 {
    let [left, top, right] = [at - 1, at, at + 1].map(|n| powers[n].max(1e-30).ln());
    let bend = left - 2.0 * top + right;
    if bend >= 0.0 { 0.0 } else { (0.5 * (left - right) / bend).clamp(-0.5, 0.5) }
}

/// Decodes a remote track and listens to it.
#[derive(Debug)]
pub struct EarSink {
    decoder: TrackDecoder,
    sound: Vec<f32>,
    ear: Arc<Mutex<(Ear, TrackCounts)>>,
}

/// Reads what an [`EarSink`] hears while the engine holds the sink.
#[derive(Debug, Clone)]
pub struct EarView(Arc<Mutex<(Ear, TrackCounts)>>);

impl EarSink {
    /// A sink, and the view of it.
    pub fn new() -> (Self, EarView) {
        let ear = Arc::new(Mutex::new((Ear::new(), TrackCounts::default())));
        let view = EarView(Arc::clone(&ear));
        (Self { decoder: TrackDecoder::new(), sound: Vec::new(), ear }, view)
    }
}

impl FrameSink for EarSink {
    fn push(&mut self, frame: Frame) {
        self.sound.clear();
        self.decoder.push(&frame, &mut self.sound);
        let mut ear = self.ear.lock().unwrap_or_else(PoisonError::into_inner);
        ear.0.push(&self.sound);
        ear.1 = self.decoder.counts();
    }
}

impl Drop for EarSink {
    fn drop(&mut self) {
        self.sound.clear();
        self.decoder.finish(&mut self.sound);
        let mut ear = self.ear.lock().unwrap_or_else(PoisonError::into_inner);
        ear.0.push(&self.sound);
        ear.0.hush();
        ear.1 = self.decoder.counts();
    }
}

impl EarView {
    /// The last 85 ms, for a meter; silence when the sink was dropped.
    pub fn now(&self) -> Heard {
        self.read(|(ear, _)| ear.now())
    }

    /// All that was heard, for a verdict.
    pub fn overall(&self) -> Heard {
        self.read(|(ear, _)| ear.overall())
    }

    /// What became of the packets.
    pub fn counts(&self) -> TrackCounts {
        self.read(|(_, counts)| *counts)
    }

    fn read<T>(&self, look: impl FnOnce(&(Ear, TrackCounts)) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audio::{tone::Tone, voice::Voice},
        source::{Made, Script},
    };

    fn heard(sound: impl IntoIterator<Item = f32>) -> Heard {
        let mut ear = Ear::new();
        ear.push(&sound.into_iter().collect::<Vec<_>>());
        ear.overall()
    }

    #[test]
    fn a_tone_is_named_wherever_it_lies_between_the_bins() {
        for tenth in (500..40_000).step_by(537) {
            let hz = tenth as f32 / 10.0;
            let tone = heard(Tone::new(hz, 0.2).take(9_600)).tone.unwrap();
            assert!((tone.hz - hz).abs() < 1.5, "{hz} was heard as {tone:?}");
            assert!((tone.level - 0.2).abs() < 0.005, "{hz}: {tone:?}");
            assert!(tone.share > 0.99, "{hz}: {tone:?}");
        }
    }

    #[test]
    fn silence_has_no_tone_and_noise_no_pure_one() {
        assert_eq!(heard([0.0; 48_000]).tone, None);
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / u32::MAX as f32 - 0.5
        });
        assert!(heard(noise.take(48_000)).tone.unwrap().share < 0.05);
    }

    #[test]
    fn the_louder_of_two_tones_is_named_with_its_own_level() {
        let both = Tone::new(440.0, 0.3).zip(Tone::new(1000.0, 0.1)).map(|(a, b)| a + b);
        let tone = heard(both.take(48_000)).tone.unwrap();
        assert!((tone.hz - 440.0).abs() < 1.0);
        assert!((tone.level - 0.3).abs() < 0.005);
        assert!((tone.share - 0.9).abs() < 0.01);
    }

    #[test]
    fn nonsense_does_not_deafen() {
        let mut ear = Ear::new();
        ear.push(&[f32::NAN, f32::INFINITY, -1e30]);
        ear.push(&Tone::new(440.0, 0.2).take(480_000).collect::<Vec<_>>());
        assert!((ear.overall().tone.unwrap().hz - 440.0).abs() < 1.0);
    }

    #[test]
    fn the_pieces_in_which_sound_comes_do_not_matter() {
        let sound: Vec<f32> = Tone::new(600.0, 0.4).take(20_000).collect();
        let mut in_pieces = Ear::new();
        sound.chunks(331).for_each(|piece| in_pieces.push(piece));
        assert_eq!(in_pieces.overall(), heard(sound));
    }

    #[test]
    fn of_a_track_that_has_ended_nothing_is_heard_now_and_all_in_all_as_before() {
        let (mut sink, view) = EarSink::new();
        let mut voice = Voice::new(Tone::new(440.0, 0.2));
        for _ in 0..20 {
            let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
            sink.push(frame);
        }
        let overall = view.overall();
        assert!(view.now().tone.is_some() && overall.tone.is_some());
        drop(sink);
        assert_eq!((view.now(), view.overall()), (Heard::default(), overall));
    }

    #[test]
    fn tones_are_recognised_after_opus() {
        for (hz, level) in [(220.0, 0.2), (440.0, 0.2), (660.0, 0.05), (1000.0, 0.5), (2500.0, 0.3)]
        {
            let (mut sink, view) = EarSink::new();
            let mut voice = Voice::new(Tone::new(hz, level));
            for sequence in 0..150 {
                let Made::Frame(frame) = voice.make() else { panic!("a tone has no end") };
                sink.push(Frame { sequence: Some(sequence), ..frame });
            }
            for heard in [view.now(), view.overall()] {
                let tone = heard.tone.unwrap();
                assert!((tone.hz - hz).abs() < 5.0, "{hz}: {heard:?}");
                assert!((tone.level / level - 1.0).abs() < 0.2, "{hz}: {heard:?}");
                assert!(tone.share > 0.9, "{hz}: {heard:?}");
            }
            assert_eq!(view.counts().decoded, 150);
        }
    }
}
