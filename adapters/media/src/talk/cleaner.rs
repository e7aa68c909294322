//! Echo, noise and loudness of a microphone, by `sonora`.
//!
//! What it does is measured in `tests/echo.rs`. It turns phases (there is a high-pass in it), so sound that
//! went through is compared by its energies and never by its wave.

use sonora::{
    AudioProcessing, Config, StreamConfig,
    config::{
        AdaptiveDigital, EchoCanceller, GainController2, NoiseSuppression, NoiseSuppressionLevel,
    },
};

use super::STEP_SAMPLES;
use crate::audio::sound::SAMPLE_RATE;

/// How much of steady noise is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NoiseLevel {
    /// Some 6 dB.
    Low,
    /// Some 12 dB.
    Moderate,
    /// Some 18 dB.
    High,
}

/// What is done to the microphone's sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CleanerOptions {
    /// Whether what the loudspeaker plays is taken out of what the microphone hears. Adds 9 ms.
    pub echo: bool,
    /// How much noise is taken away. Adds 6 ms.
    pub noise: Option<NoiseLevel>,
    /// Whether a low voice is made louder and a loud one softer.
    pub gain: bool,
}

impl CleanerOptions {
    /// Nothing at all: for tones, files and programs.
    pub const NOTHING: Self = Self { echo: false, noise: None, gain: false };

    /// All of it: for a person with a loudspeaker.
    pub const PERSON: Self = Self { echo: true, noise: Some(NoiseLevel::Moderate), gain: true };
}

impl Default for CleanerOptions {
    fn default() -> Self {
        Self::PERSON
    }
}

/// Cleans one microphone.
pub(super) struct Cleaner {
    /// `None`: nothing is to be done.
    inner: Option<AudioProcessing>,
    options: CleanerOptions,
}

impl Cleaner {
    pub(super) fn new(options: CleanerOptions) -> Self {
        let stream = StreamConfig::new(SAMPLE_RATE, 1);
        let is_idle = options == CleanerOptions::NOTHING;
        let inner = (!is_idle).then(|| {
            let builder = AudioProcessing::builder().config(config(options));
            builder.capture_config(stream).render_config(stream).build()
        });
        Self { inner, options }
    }

    /// What the loudspeaker is about to play: exactly that, and before the sound that may hold its echo.
    pub(super) fn plays(&mut self, sound: &[f32; STEP_SAMPLES]) {
        let Some(inner) = self.inner.as_mut().filter(|_| self.options.echo) else { return };
        let mut unused = [0.0; STEP_SAMPLES];
        if let Err(error) = inner.process_render_f32(&[sound], &mut [&mut unused]) {
            tracing::debug!(?error, "10 ms that are played are not known to the echo canceller");
        }
    }

    /// Cleans what the microphone heard. Where it fails the sound is left as it is.
    pub(super) fn clean(&mut self, sound: &mut [f32; STEP_SAMPLES]) {
        let Some(inner) = &mut self.inner else { return };
        let mut clean = [0.0; STEP_SAMPLES];
        match inner.process_capture_f32(&[&sound[..]], &mut [&mut clean]) {
            Ok(()) => *sound = clean,
            Err(error) => tracing::debug!(?error, "10 ms not cleaned"),
        }
    }
}

impl std::fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cleaner({:?})", self.options)
    }
}

fn config(options: CleanerOptions) -> Config {
    let level = |level| match level {
        NoiseLevel::Low => NoiseSuppressionLevel::Low,
        NoiseLevel::Moderate => NoiseSuppressionLevel::Moderate,
        NoiseLevel::High => NoiseSuppressionLevel::High,
    };
    let noise = |wanted| NoiseSuppression { level: level(wanted), ..NoiseSuppression::default() };
    let gain = || GainController2 {
        // It would begin with 15 dB: the first words of a loud voice are too loud then.
        adaptive_digital: Some(AdaptiveDigital {
            initial_gain_db: 0.0,
            ..AdaptiveDigital::default()
        }),
        ..GainController2::default()
    };
    Config {
        echo_canceller: options.echo.then(EchoCanceller::default),
        noise_suppression: options.noise.map(noise),
        gain_controller2: options.gain.then(gain),
        ..Config::default()
    }
}
