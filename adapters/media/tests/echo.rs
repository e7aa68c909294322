//! What a microphone beside a loudspeaker sends: the far voice is gone, the near one is there. In virtual
//! time, in four rooms; `--nocapture` prints what was measured.

#![allow(clippy::unwrap_used, reason = "a test program")]

#[path = "speech/mod.rs"]
mod speech;

use std::time::Duration;

use matrix_voip::host::{Codec, Frame};
use matrix_voip_media::{
    FRAME_SAMPLES,
    audio::opus::{Decoder, Encoder},
    talk::{AudioCore, AudioOptions, CleanerOptions, STEP_SAMPLES},
};

use self::speech::{decibels, speech};

/// From the microphone to the decoded packet: the canceller's 9 ms and the codec's 6.5.
const DELAY: usize = 744;

/// Noise of the room, in dB of full scale.
const NOISE: f64 = -65.0;

/// A room: how loud the loudspeaker comes back into the microphone, and after how long.
#[derive(Debug, Clone, Copy)]
struct Room {
    gain: f64,
    delay: usize,
}

/// What the loudspeaker plays comes back 60 times within 90 ms, ever softer.
struct Echo {
    taps: Vec<(usize, f32)>,
    played: Vec<f32>,
}

impl Echo {
    fn new(room: Room, random: &mut fastrand::Rng) -> Self {
        let mut taps: Vec<(usize, f32)> = (0..60)
            .map(|n| {
                let after = n * 72 + random.usize(..60);
                let fades = (-(after as f32) / 1_200.0).exp();
                let sign = if random.bool() { 1.0 } else { -1.0 };
                (after + room.delay * 48, sign * fades)
            })
            .collect();
        let energy: f32 = taps.iter().map(|(_, tap)| tap * tap).sum();
        let scale = 10_f32.powf(room.gain as f32 / 20.0) / energy.sqrt();
        taps.iter_mut().for_each(|(_, tap)| *tap *= scale);
        Self { taps, played: Vec::new() }
    }

    /// What comes back while this is played.
    fn hear(&mut self, played: &[f32; STEP_SAMPLES]) -> [f32; STEP_SAMPLES] {
        self.played.extend_from_slice(played);
        let begin = self.played.len() - STEP_SAMPLES;
        std::array::from_fn(|at| {
            let tap = |(after, tap): &(usize, f32)| {
                (begin + at).checked_sub(*after).map_or(0.0, |then| self.played[then] * tap)
            };
            self.taps.iter().map(tap).sum()
        })
    }
}

/// What went in and what came out, in steps of 10 ms.
struct Talk {
    echo: Vec<f32>,
    sent: Vec<f32>,
}

fn talk(room: Room, options: CleanerOptions, near: &[f32], seconds: usize) -> Talk {
    let mut random = fastrand::Rng::with_seed(3);
    let mut audio = AudioOptions::default();
    audio.clean = options;
    let mut core = AudioCore::new(audio).unwrap();
    let far = core.add().unwrap();
    let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new().unwrap());
    let mut echo = Echo::new(room, &mut random);
    let mut talk = Talk { echo: Vec::new(), sent: Vec::new() };
    let mut far_speech = speech().chunks_exact(FRAME_SAMPLES).cycle().enumerate();
    let noise = 10_f32.powf(NOISE as f32 / 20.0) * 3_f32.sqrt();
    for step in 0..seconds * 100 {
        let now = Duration::from_millis(10 * step as u64);
        if step % 2 == 0 {
            let (n, sound) = far_speech.next().unwrap();
            let data = encoder.encode(sound.try_into().unwrap()).unwrap();
            let timestamp = (n * FRAME_SAMPLES) as u64;
            let mut frame = Frame::new(Codec::Opus, timestamp, data);
            frame.sequence = Some(n as u64);
            core.push_packet(now, far, &frame);
        }
        let mut played = [0.0; STEP_SAMPLES];
        core.pull_playout(now, &mut played);
        let back = echo.hear(&played);
        let near = near.iter().skip(step * STEP_SAMPLES).copied().chain(std::iter::repeat(0.0));
        let heard: Vec<f32> = back
            .iter()
            .zip(near)
            .map(|(echo, near)| echo + near + (random.f32() * 2.0 - 1.0) * noise)
            .collect();
        talk.echo.extend_from_slice(&back);
        core.push_capture(&heard);
        while let Some(packet) = core.poll_packet() {
            talk.sent.extend_from_slice(decoder.decode(&packet.data).unwrap());
        }
    }
    talk
}

const CASES: [Room; 4] = [
    Room { gain: -6.0, delay: 50 },
    Room { gain: -12.0, delay: 80 },
    Room { gain: -20.0, delay: 80 },
    Room { gain: -12.0, delay: 300 },
];

fn echo_only() -> CleanerOptions {
    let mut options = CleanerOptions::NOTHING;
    options.echo = true;
    options
}

#[test]
fn the_far_voice_does_not_come_back() {
    for room in CASES {
        let heard = talk(room, echo_only(), &[], 20);
        let less = |from: usize, to: usize| {
            let span = from * 48_000..to * 48_000;
            decibels(&heard.echo[span.clone()]) - decibels(&heard.sent[span])
        };
        println!(
            "{room:?}: {:.1} dB less in the first 2 s, {:.1} from the 5th on",
            less(0, 2),
            less(5, 19)
        );
        assert!(less(5, 19) >= 30.0, "{room:?}: {:.1} dB", less(5, 19));
    }
}

/// Both talk at once: what is left of the near voice, in steps of 10 ms in which it speaks. Phases are
/// turned on the way, so energies are compared. It is the cost of it all: printed, and held to what it was.
#[test]
fn when_both_talk_the_near_voice_is_still_there() {
    // Another part of the same speech.
    let near: Vec<f32> =
        speech().iter().cycle().skip(48_000 * 13).take(48_000 * 20).copied().collect();
    for room in CASES {
        let heard = talk(room, echo_only(), &near, 20);
        let mut losses: Vec<f64> = near
            .chunks_exact(STEP_SAMPLES)
            .zip(heard.sent[DELAY..].chunks_exact(STEP_SAMPLES))
            .skip(500)
            .filter(|(near, _)| decibels(near) > -35.0)
            .map(|(near, sent)| decibels(sent) - decibels(near))
            .collect();
        losses.sort_by(f64::total_cmp);
        let at = |share: f64| losses[(losses.len() as f64 * share) as usize];
        println!("{room:?}: near voice {:.1} dB, worst tenth {:.1}", at(0.5), at(0.1));
        // An echo that is nearly as loud as the near voice takes some of that along.
        let bound = if room.gain > -10.0 { -9.0 } else { -3.0 };
        assert!(at(0.5) > bound, "{room:?}: {:.1} dB", at(0.5));
    }
}

#[test]
fn without_it_the_far_voice_comes_back() {
    let room = CASES[1];
    let heard = talk(room, CleanerOptions::NOTHING, &[], 10);
    let less = decibels(&heard.echo) - decibels(&heard.sent);
    assert!(less.abs() < 2.0, "{less:.1} dB");
}
