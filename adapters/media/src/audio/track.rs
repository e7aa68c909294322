//! From received Opus frames to sound: in order, with gaps concealed.
//!
//! A simple path: frames are put into the order of the RTP sequence and decoded as they come. What is
//! missing is recovered from the correction in the next packet or concealed, so that the sound stays as
//! long as the call. It has no clock and evens out no jitter: for files, meters and tests. What a person
//! hears comes from [`JitterBuffer`](crate::jitter::JitterBuffer).

use matrix_voip::host::{Codec, Frame};

use super::{
    opus::{CONCEAL_STEP, Decoder, MAX_PACKET_SAMPLES, has_correction},
    order::{Order, Place},
    reorder::Reorder,
    sound::FRAME_SAMPLES,
};

/// What happened to the frames of one track; the counters never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackCounts {
    /// Frames decoded.
    pub decoded: u64,
    /// Frames that were no Opus packets; 20 ms were concealed for each.
    pub broken: u64,
    /// Frames that came twice or after a later one; dropped.
    pub late: u64,
    /// Frames of another codec; dropped.
    pub foreign: u64,
    /// Samples made up in place of lost packets.
    pub concealed: u64,
    /// Samples recovered by the correction that the next packet carried.
    pub recovered: u64,
    /// Samples of silence where the sender sent nothing, without a loss.
    pub pauses: u64,
}

/// Decodes one remote track.
#[derive(Debug)]
pub struct TrackDecoder {
    reorder: Reorder,
    in_order: InOrder,
}

/// The same for packets that are in order.
#[derive(Debug)]
struct InOrder {
    decoder: Decoder,
    order: Order,
    packet: usize,
    counts: TrackCounts,
}

impl TrackDecoder {
    /// A decoder for a track of which nothing was heard yet.
    pub fn new() -> Self {
        let decoder = Decoder::new().expect("invariant: ropus takes 48 kHz, one channel");
        let (order, counts) = (Order::default(), TrackCounts::default());
        let in_order = InOrder { decoder, order, packet: FRAME_SAMPLES, counts };
        Self { reorder: Reorder::default(), in_order }
    }

    /// What happened so far.
    pub fn counts(&self) -> TrackCounts {
        self.in_order.counts
    }

    /// Appends the sound of one frame to `sound`, and before it what fills the gap to the last
    /// one. A frame that came before one that is missing waits for that, until a few others have come.
    /// Appends at most one second and 120 ms for each frame that waited.
    pub fn push(&mut self, frame: &Frame, sound: &mut Vec<f32>) {
        if frame.codec != Codec::Opus {
            self.in_order.counts.foreign += 1;
            return;
        }
        self.reorder.push(frame, |frame| self.in_order.push(frame, sound));
    }

    /// There will be no more frames: appends the sound of those that wait.
    pub fn finish(&mut self, sound: &mut Vec<f32>) {
        self.reorder.finish(|frame| self.in_order.push(frame, sound));
    }
}

impl InOrder {
    fn push(&mut self, frame: &Frame, sound: &mut Vec<f32>) {
        match self.order.place(frame) {
            Place::Next => {}
            Place::Late => {
                self.counts.late += 1;
                return;
            }
            Place::AfterPause(gap) => {
                self.counts.pauses += gap as u64;
                sound.extend(std::iter::repeat_n(0.0, gap));
            }
            Place::AfterLoss(gap) => {
                self.conceal(gap.saturating_sub(self.packet), sound);
                self.recover(&frame.data, gap.min(self.packet), sound);
            }
        }
        let made = self.decode(&frame.data, sound);
        self.order.played(frame, made);
        self.packet = made.clamp(CONCEAL_STEP, MAX_PACKET_SAMPLES);
    }

    fn conceal(&mut self, mut samples: usize, sound: &mut Vec<f32>) {
        while samples >= CONCEAL_STEP {
            let Ok(made) = self.decoder.conceal(samples.min(FRAME_SAMPLES)) else { break };
            sound.extend_from_slice(made);
            self.counts.concealed += made.len() as u64;
            samples -= made.len().max(1).min(samples);
        }
    }

    fn recover(&mut self, next: &[u8], samples: usize, sound: &mut Vec<f32>) {
        if has_correction(next)
            && let Ok(made) = self.decoder.recover(next, samples)
        {
            sound.extend_from_slice(made);
            self.counts.recovered += made.len() as u64;
        } else {
            self.conceal(samples, sound);
        }
    }

    fn decode(&mut self, packet: &[u8], sound: &mut Vec<f32>) -> usize {
        match self.decoder.decode(packet) {
            Ok(made) => {
                sound.extend_from_slice(made);
                self.counts.decoded += 1;
                made.len()
            }
            Err(error) => {
                tracing::debug!(%error, "a packet concealed");
                self.counts.broken += 1;
                self.conceal(FRAME_SAMPLES, sound);
                FRAME_SAMPLES
            }
        }
    }
}

impl Default for TrackDecoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        audio::{ear::Ear, order::MAX_GAP, tone::Tone, voice::Voice},
        source::{Made, Script},
    };

    fn frames(count: u64) -> Vec<Frame> {
        let mut voice = Voice::new(Tone::new(440.0, 0.2));
        (0..count)
            .map(|sequence| match voice.make() {
                Made::Frame(frame) => Frame { sequence: Some(sequence), ..frame },
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn one_packet_in_ten_lost_leaves_the_length_and_the_tone() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let (mut lost_before, mut corrected) = (false, 0);
        for (n, mut frame) in frames(200).into_iter().enumerate() {
            if n % 10 == 5 {
                lost_before = true;
                continue;
            }
            corrected += u64::from(lost_before && has_correction(&frame.data));
            frame.contiguous = !std::mem::take(&mut lost_before);
            decoder.push(&frame, &mut sound);
        }
        decoder.finish(&mut sound);
        assert_eq!(sound.len(), 200 * FRAME_SAMPLES);
        assert_eq!(decoder.counts().decoded, 180);
        let TrackCounts { recovered, concealed, .. } = decoder.counts();
        assert_eq!(recovered, corrected * FRAME_SAMPLES as u64);
        assert!(corrected > 0 && recovered + concealed == 20 * FRAME_SAMPLES as u64, "{corrected}");
        let mut ear = Ear::new();
        ear.push(&sound);
        let tone = ear.overall().tone.unwrap();
        assert!((tone.hz - 440.0).abs() < 2.0, "{tone:?}");
        assert!((tone.level - 0.2).abs() < 0.03, "{tone:?}");
    }

    #[test]
    fn a_longer_loss_is_concealed_and_the_last_packet_of_it_recovered() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let all = frames(40);
        all[..20].iter().chain(&all[25..]).for_each(|frame| decoder.push(frame, &mut sound));
        assert_eq!(sound.len(), 40 * FRAME_SAMPLES);
        assert_eq!(decoder.counts().concealed, 4 * FRAME_SAMPLES as u64);
        assert_eq!(decoder.counts().recovered, FRAME_SAMPLES as u64);
    }

    #[test]
    fn a_pause_of_the_sender_is_silence_and_no_loss() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let all = frames(20);
        for (n, frame) in all.iter().enumerate() {
            let mut frame = frame.clone();
            frame.timestamp += if n < 10 { 0 } else { 4800 };
            decoder.push(&frame, &mut sound);
        }
        assert_eq!(sound.len(), 20 * FRAME_SAMPLES + 4800);
        assert_eq!(decoder.counts().pauses, 4800);
        assert_eq!(decoder.counts().concealed, 0);
    }

    #[test]
    fn doubled_and_late_frames_are_dropped() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let all = frames(10);
        [0, 1, 1, 3, 2, 4, 0].iter().for_each(|n| decoder.push(&all[*n], &mut sound));
        assert_eq!(sound.len(), 5 * FRAME_SAMPLES);
        let TrackCounts { late, decoded, .. } = decoder.counts();
        assert_eq!((late, decoded), (2, 5), "what was overtaken is put back");
    }

    #[test]
    fn a_source_that_begins_anew_with_lower_numbers_is_heard_at_once() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        for (n, frame) in frames(20).into_iter().enumerate() {
            let began = if n < 10 { 200 } else { 0 };
            let sequence = frame.sequence.map(|sequence| sequence + began);
            decoder.push(&Frame { sequence, ..frame }, &mut sound);
        }
        assert_eq!((decoder.counts().decoded, decoder.counts().late), (20, 0));
    }

    #[test]
    fn a_jump_of_the_clock_is_not_filled() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let mut all = frames(3);
        all[1].timestamp = u64::MAX;
        all.iter().for_each(|frame| decoder.push(frame, &mut sound));
        assert_eq!(sound.len(), 3 * FRAME_SAMPLES);
    }

    #[test]
    fn a_broken_packet_sounds_as_long_as_a_whole_one() {
        let mut decoder = TrackDecoder::new();
        let mut sound = Vec::new();
        let mut all = frames(10);
        all[5].data = vec![0xff; 3];
        all[6].data = Vec::new();
        all.iter().for_each(|frame| decoder.push(frame, &mut sound));
        assert_eq!(sound.len(), 10 * FRAME_SAMPLES);
        assert_eq!(decoder.counts().broken, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_frames_make_it_panic_or_grow(
            given in proptest::collection::vec(
                (any::<u16>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()),
                1..20,
            )
        ) {
            let mut decoder = TrackDecoder::new();
            for (sequence, timestamp, data, contiguous) in given {
                let mut sound = Vec::new();
                let mut frame = Frame::new(Codec::Opus, timestamp >> (sequence % 64), data);
                frame.sequence = Some(u64::from(sequence));
                frame.contiguous = contiguous;
                decoder.push(&frame, &mut sound);
                prop_assert!(sound.len() as u64 <= 6 * (MAX_GAP + MAX_PACKET_SAMPLES as u64));
            }
        }
    }
}
