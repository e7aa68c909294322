//! Opus by `ropus`: an encoder and a decoder of 48 kHz, one channel (RFC 6716, RFC 7587).
//!
//! Packets of a remote party are hostile until decoded: nothing here panics on them, and a packet that
//! cannot be decoded is an error, which the jitter buffer and [`TrackDecoder`](super::track::TrackDecoder)
//! turn into concealment.

use matrix_voip::host::{Codec, Frame};
use ropus::{Application, Bitrate, Channels, DecodeMode, InbandFec};

use super::{
    level::Level,
    sound::{FRAME_SAMPLES, SAMPLE_RATE},
};
use crate::error::CodecError;

/// Bits per second that speech is sent with, and the most that the way out may ask for.
pub const BITRATE: u32 = 32_000;

/// Bits per second below which speech is no longer understood; a lower wish is raised to it.
pub const MIN_BITRATE: u32 = 8_000;

/// Longest packet that is sent or read, in bytes: one Opus frame of the greatest size (RFC 6716
/// §3.4). Longer ones would not fit into a datagram either.
pub const MAX_PACKET_BYTES: usize = 1_275;

/// Longest sound of one packet, in samples: 120 ms (RFC 6716 §3.4).
pub const MAX_PACKET_SAMPLES: usize = 5_760;

/// Shortest sound that can be concealed, in samples: 2.5 ms.
pub const CONCEAL_STEP: usize = 120;

/// A packet of 20 ms of silence (full band, one frame without content).
pub const SILENT_PACKET: [u8; 3] = [0xf8, 0xff, 0xfe];

/// See [`OpusOptions::complexity`].
const COMPLEXITY: u8 = 5;
const MOST_COMPLEX: u8 = 10;

/// Loss that the encoder is told before anything was measured; forward error correction is only
/// made with a value above zero.
const ASSUMED_LOSS_PERCENT: u8 = 10;

/// How speech is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpusOptions {
    /// Bits per second, from [`MIN_BITRATE`] to [`BITRATE`].
    pub bitrate: u32,
    /// How much the encoder computes, 0 to 10. 5 costs 0.2 dB against 10, and little more than half the
    /// time.
    pub complexity: u8,
    /// Whether each packet carries a correction for the one before it (in-band FEC).
    pub correction: bool,
    /// Whether nothing is sent in silence, but for a packet every 400 ms (DTX). It spares the network,
    /// and tells everybody on the way when somebody speaks.
    pub pauses: bool,
}

impl Default for OpusOptions {
    fn default() -> Self {
        Self { bitrate: BITRATE, complexity: COMPLEXITY, correction: true, pauses: false }
    }
}

/// Longest packet that says no more than "still silent", in bytes: it is not sent (RFC 7587 §3.1.3).
pub const PAUSE_BYTES: usize = 2;

/// Makes one packet of each 20 ms.
pub struct Encoder {
    inner: ropus::Encoder,
    /// What was chosen, in bits per second: no wish of the way is more.
    most: u32,
    packet: [u8; MAX_PACKET_BYTES],
}

impl Encoder {
    /// An encoder for speech: 32 kbit/s, complexity 5, in-band forward error correction.
    ///
    /// # Errors
    /// [`CodecError::Opus`] when the codec refuses its own settings, which it never did.
    pub fn new() -> Result<Self, CodecError> {
        Self::with(OpusOptions::default())
    }

    /// An encoder for speech. What is out of range is brought into it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(options: OpusOptions) -> Result<Self, CodecError> {
        let bitrate = options.bitrate.clamp(MIN_BITRATE, BITRATE);
        let correction = if options.correction { InbandFec::Enabled } else { InbandFec::Disabled };
        let inner = ropus::Encoder::builder(SAMPLE_RATE, Channels::Mono, Application::Voip)
            .bitrate(Bitrate::Bits(bitrate))
            .complexity(options.complexity.min(MOST_COMPLEX))
            .inband_fec(correction)
            .packet_loss_perc(ASSUMED_LOSS_PERCENT)
            .dtx(options.pauses)
            .build()
            .map_err(|error| CodecError::Opus(error.to_string()))?;
        Ok(Self { inner, most: bitrate, packet: [0; MAX_PACKET_BYTES] })
    }

    /// Encodes 20 ms.
    ///
    /// # Errors
    /// [`CodecError::Opus`] when the codec fails; it can be used further.
    pub fn encode(&mut self, samples: &[f32; FRAME_SAMPLES]) -> Result<Vec<u8>, CodecError> {
        let length = self
            .inner
            .encode_float(samples, &mut self.packet)
            .map_err(|error| CodecError::Opus(error.to_string()))?;
        Ok(self.packet[..length.min(MAX_PACKET_BYTES)].to_vec())
    }

    /// Encodes 20 ms into a frame to be sent, with its level. `None`: of a pause nothing is sent, and the time goes
    /// on, so that to the other side it is a pause and no loss; nor of what cannot be encoded.
    pub(crate) fn frame(
        &mut self,
        samples: &[f32; FRAME_SAMPLES],
        timestamp: u64,
    ) -> Option<Frame> {
        match self.encode(samples) {
            Ok(data) if data.len() <= PAUSE_BYTES => None,
            Ok(data) => {
                let audio_level = Some(Level::of(samples).dbov());
                Some(Frame { audio_level, ..Frame::new(Codec::Opus, timestamp, data) })
            }
            Err(error) => {
                tracing::warn!(%error, "20 ms of sound not encoded");
                None
            }
        }
    }

    /// Spends at most this many bits per second, within [`MIN_BITRATE`] and what was chosen at first.
    pub fn limit_bitrate(&mut self, bits_per_second: u64) {
        let wanted = bits_per_second.clamp(u64::from(MIN_BITRATE), u64::from(self.most)) as u32;
        if let Err(error) = self.inner.set_bitrate(Bitrate::Bits(wanted)) {
            tracing::debug!(%error, wanted, "opus bitrate not changed");
        }
    }

    /// Prepares for this share of packets to be lost, 0 to 1. Never below the assumed 10 %: the
    /// correction must be in the packets before the loss comes.
    pub fn expect_loss(&mut self, share: f32) {
        let percent = ((share * 100.0).round() as u8).clamp(ASSUMED_LOSS_PERCENT, 100);
        if let Err(error) = self.inner.set_packet_loss_perc(percent) {
            tracing::debug!(%error, percent, "opus loss not changed");
        }
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// Makes sound of packets, and of packets that never came.
pub struct Decoder {
    inner: ropus::Decoder,
    sound: Box<[f32; MAX_PACKET_SAMPLES]>,
}

impl Decoder {
    /// A decoder; stereo packets are mixed down.
    ///
    /// # Errors
    /// [`CodecError::Opus`] when the codec refuses its own settings, which it never did.
    pub fn new() -> Result<Self, CodecError> {
        let inner = ropus::Decoder::new(SAMPLE_RATE, Channels::Mono)
            .map_err(|error| CodecError::Opus(error.to_string()))?;
        Ok(Self { inner, sound: Box::new([0.0; MAX_PACKET_SAMPLES]) })
    }

    /// The sound of one packet: up to [`MAX_PACKET_SAMPLES`].
    ///
    /// # Errors
    /// [`CodecError::Opus`] when it is no Opus packet; the decoder can be used further.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], CodecError> {
        if packet.is_empty() {
            return Err(CodecError::Opus("an empty packet".into()));
        }
        self.run(packet, MAX_PACKET_SAMPLES, DecodeMode::Normal)
    }

    /// Sound in place of a packet that did not come, made up from what was before. `samples` is
    /// rounded down to a multiple of [`CONCEAL_STEP`], and to [`MAX_PACKET_SAMPLES`].
    ///
    /// # Errors
    /// [`CodecError::Opus`] when less than [`CONCEAL_STEP`] is asked for, or the codec fails.
    pub fn conceal(&mut self, samples: usize) -> Result<&[f32], CodecError> {
        self.run(&[], whole_steps(samples), DecodeMode::Normal)
    }

    /// Sound of the lost packet before `next`, from the correction that `next` carries; without
    /// one the codec conceals. Afterwards `next` itself is to be decoded.
    ///
    /// # Errors
    /// As [`conceal`](Self::conceal), and when `next` is no Opus packet.
    pub fn recover(&mut self, next: &[u8], samples: usize) -> Result<&[f32], CodecError> {
        self.run(next, whole_steps(samples), DecodeMode::Fec)
    }

    fn run(&mut self, packet: &[u8], space: usize, mode: DecodeMode) -> Result<&[f32], CodecError> {
        let made = self
            .inner
            .decode_float(packet, &mut self.sound[..space], mode)
            .map_err(|error| CodecError::Opus(error.to_string()))?;
        Ok(&self.sound[..made.min(space)])
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

fn whole_steps(samples: usize) -> usize {
    samples.min(MAX_PACKET_SAMPLES) / CONCEAL_STEP * CONCEAL_STEP
}

/// Whether a packet carries a correction of the one before it (RFC 6716 §4.2.4).
pub fn has_correction(packet: &[u8]) -> bool {
    let length = i32::try_from(packet.len()).unwrap_or(0);
    length > 0 && ropus::opus::decoder::opus_packet_has_lbrr(packet, length).unwrap_or(false)
}

/// How long a packet sounds, in samples at 48 kHz, read from its first two bytes (RFC 6716 §3.1,
/// §3.2). `None` when it is no packet or lasts longer than 120 ms.
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let toc = *packet.first()?;
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(packet.get(1)? & 0x3f),
    };
    let samples = frames * frame_samples(toc >> 3);
    (1..=MAX_PACKET_SAMPLES).contains(&samples).then_some(samples)
}

/// Samples of one frame of a configuration, 0 to 31 (RFC 6716 table 2).
fn frame_samples(config: u8) -> usize {
    let tens: [usize; 4] = match config {
        0..=11 => [480, 960, 1920, 2880],
        12..=15 => [480, 960, 480, 960],
        _ => [120, 240, 480, 960],
    };
    tens[usize::from(config & 0b11)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audio::tone::Tone;

    fn packet_of_a_tone() -> Vec<u8> {
        let mut sound = [0.0; FRAME_SAMPLES];
        for (sample, value) in sound.iter_mut().zip(Tone::new(440.0, 0.3)) {
            *sample = value;
        }
        Encoder::new().unwrap().encode(&sound).unwrap()
    }

    #[test]
    fn a_packet_lasts_as_long_as_its_head_says() {
        let packet = packet_of_a_tone();
        assert_eq!(packet_samples(&packet), Some(FRAME_SAMPLES));
        let mut decoder = Decoder::new().unwrap();
        assert_eq!(decoder.decode(&packet).unwrap().len(), FRAME_SAMPLES);
    }

    #[test]
    fn heads_of_every_kind_are_read() {
        assert_eq!(packet_samples(&[]), None);
        assert_eq!(packet_samples(&[3 << 3]), Some(2880));
        assert_eq!(packet_samples(&[(16 << 3) | 1]), Some(240));
        assert_eq!(packet_samples(&[(13 << 3) | 3, 3]), Some(2880));
        assert_eq!(packet_samples(&[(13 << 3) | 3]), None);
        assert_eq!(packet_samples(&[(3 << 3) | 3, 48]), None, "48 x 60 ms is beyond 120 ms");
        assert_eq!(packet_samples(&[(13 << 3) | 3, 0]), None, "no frames");
    }

    #[test]
    fn too_short_a_gap_and_an_empty_packet_are_errors() {
        let mut decoder = Decoder::new().unwrap();
        assert!(decoder.conceal(CONCEAL_STEP - 1).is_err());
        assert!(decoder.decode(&[]).is_err());
        assert_eq!(decoder.conceal(CONCEAL_STEP * 2 + 1).unwrap().len(), CONCEAL_STEP * 2);
    }

    #[test]
    fn the_silent_packet_is_silent() {
        let mut decoder = Decoder::new().unwrap();
        decoder.decode(&packet_of_a_tone()).unwrap();
        decoder.decode(&SILENT_PACKET).unwrap();
        let sound = decoder.decode(&SILENT_PACKET).unwrap();
        assert_eq!(sound.len(), FRAME_SAMPLES);
        assert!(sound.iter().all(|sample| sample.abs() < 0.001));
    }

    #[test]
    fn samples_that_are_no_numbers_are_encoded_as_something() {
        let mut encoder = Encoder::new().unwrap();
        let mut sound = [f32::NAN; FRAME_SAMPLES];
        sound[7] = f32::INFINITY;
        sound[8] = -1e30;
        for _ in 0..5 {
            assert!(encoder.encode(&sound).is_ok());
        }
        let mut decoder = Decoder::new().unwrap();
        let packet = encoder.encode(&[0.0; FRAME_SAMPLES]).unwrap();
        assert!(decoder.decode(&packet).unwrap().iter().all(|sample| sample.is_finite()));
    }

    #[test]
    fn wishes_out_of_range_do_no_harm() {
        let mut encoder = Encoder::new().unwrap();
        encoder.limit_bitrate(0);
        encoder.limit_bitrate(u64::MAX);
        encoder.expect_loss(f32::NAN);
        encoder.expect_loss(9.0);
        assert!(!encoder.encode(&[0.0; FRAME_SAMPLES]).unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn hostile_packets_are_errors_or_sound(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new().unwrap();
            let _ = decoder.recover(&packet, FRAME_SAMPLES);
            if let Ok(sound) = decoder.decode(&packet) {
                prop_assert!(sound.len() <= MAX_PACKET_SAMPLES);
            }
            prop_assert_eq!(decoder.decode(&packet_of_a_tone()).unwrap().len(), FRAME_SAMPLES);
        }
    }

    #[test]
    fn a_wider_way_spends_no_more_than_was_chosen() {
        let mut options = OpusOptions::default();
        (options.bitrate, options.correction) = (12_000, false);
        let bytes = |limit: Option<u64>| {
            let mut encoder = Encoder::with(options).unwrap();
            if let Some(limit) = limit {
                encoder.limit_bitrate(limit);
            }
            let mut tone = crate::Tone::new(440.0, 0.3);
            let mut sound = || std::array::from_fn(|_| tone.next().unwrap_or_default());
            (0..50).map(|_| encoder.encode(&sound()).unwrap().len()).sum::<usize>()
        };
        assert_eq!(bytes(Some(24_000)), bytes(None));
        assert_eq!(bytes(Some(u64::MAX)), bytes(None));
        assert!(bytes(Some(0)) < bytes(None));
    }

    #[test]
    fn of_anything_it_can_be_asked_whether_it_has_a_correction() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            let _ = has_correction(&bytes);
        }
        assert!(!has_correction(&[]) && !has_correction(&SILENT_PACKET));
    }
}
