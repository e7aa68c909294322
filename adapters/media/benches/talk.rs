//! What 10 ms of a call cost: microphone, loudspeaker, and one or several others who talk. 1 ms for
//! 10 ms is a tenth of a core. The mean is what counts: in every other step there are packets.
//!
//! Beside them, as the baseline of the same run, 10 ms of sound that are copied. Run with
//! `cargo bench -p matrix-voip-media --bench talk`.

use std::{hint::black_box, time::Duration};

use divan::Bencher;
use matrix_voip::host::Frame;
use matrix_voip_media::{
    Made, Script, Tone, Voice,
    jitter::JitterBuffer,
    talk::{AudioCore, AudioOptions, CleanerOptions, STEP_SAMPLES, VoiceId},
};

fn main() {
    divan::main();
}

/// Time of one step.
const STEP: Duration = Duration::from_millis(10);

/// A call in which it is always one step later.
struct Call {
    core: AudioCore,
    others: Vec<(VoiceId, Voice<Tone>)>,
    mouth: Tone,
    step: u32,
}

impl Call {
    fn new(others: usize, clean: CleanerOptions) -> Self {
        let mut options = AudioOptions::default();
        options.clean = clean;
        let mut core = AudioCore::new(options).expect("ropus takes its own settings");
        let voice = |n| Voice::new(Tone::new(300.0 + 70.0 * n as f32, 0.1));
        let other = |n| (core.add().expect("few voices"), voice(n));
        let others = (0..others).map(other).collect();
        Self { core, others, mouth: Tone::new(200.0, 0.2), step: 0 }
    }

    /// What has come meanwhile: not measured, for its encoders are those of the others.
    fn arrived(&mut self) -> Vec<(VoiceId, Frame)> {
        if !self.step.is_multiple_of(2) {
            return Vec::new();
        }
        let sequence = Some(u64::from(self.step / 2));
        let packet = |(id, voice): &mut (VoiceId, Voice<Tone>)| match voice.make() {
            Made::Frame(frame) => (*id, Frame { sequence, ..frame }),
            Made::Skipped => unreachable!("a tone has no end"),
        };
        self.others.iter_mut().map(packet).collect()
    }

    fn pass(&mut self, packets: &[(VoiceId, Frame)]) {
        let now = STEP * self.step;
        self.step += 1;
        packets.iter().for_each(|(voice, frame)| self.core.push_packet(now, *voice, frame));
        let mut out = [0.0; STEP_SAMPLES];
        self.core.pull_playout(now, &mut out);
        black_box(out);
        let heard: [f32; STEP_SAMPLES] =
            std::array::from_fn(|_| self.mouth.next().unwrap_or_default());
        self.core.push_capture(&heard);
        black_box(self.core.poll_packet());
    }
}

fn call(bencher: Bencher, others: usize, clean: CleanerOptions) {
    let call = std::cell::RefCell::new(Call::new(others, clean));
    bencher
        .with_inputs(|| call.borrow_mut().arrived())
        .bench_local_refs(|packets| call.borrow_mut().pass(packets));
}

#[divan::bench]
fn baseline_copy_10_ms_of_sound(bencher: Bencher) {
    let sound: Vec<f32> = Tone::new(440.0, 0.2).take(STEP_SAMPLES).collect();
    bencher.bench_local(|| black_box(&sound).to_vec());
}

/// By the number of the others.
#[divan::bench(args = [1, 2, 5, 10], sample_count = 2_000)]
fn call_of_a_program(bencher: Bencher, others: usize) {
    call(bencher, others, CleanerOptions::NOTHING);
}

/// The same, with echo, noise and gain.
#[divan::bench(args = [1, 2, 5, 10], sample_count = 2_000)]
fn call_of_a_person(bencher: Bencher, others: usize) {
    call(bencher, others, CleanerOptions::PERSON);
}

/// One voice without a call around it, decoder included.
#[divan::bench(sample_count = 2_000)]
fn jitter_buffer(bencher: Bencher) {
    let mut buffer = JitterBuffer::new();
    let call = std::cell::RefCell::new(Call::new(1, CleanerOptions::NOTHING));
    let packets = || {
        let mut call = call.borrow_mut();
        let packets = call.arrived();
        call.step += 1;
        (STEP * call.step, packets)
    };
    bencher.with_inputs(packets).bench_local_refs(|(now, packets)| {
        packets.iter().for_each(|(_, frame)| buffer.push(*now, frame));
        let mut out = [0.0; STEP_SAMPLES];
        buffer.pull(*now, &mut out);
        black_box(out);
    });
}
