//! What the jitter buffer does to speech, in virtual time: loss, jitter, stalls, clocks that differ,
//! silence that is not sent, outages. A table with bounds; `--nocapture` prints it.
//!
//! A delay is the time from the first sample of a packet at the sender to the same sample at the
//! speaker, less the way through the network: 20 ms for the packet itself, and what the buffer waits.

#![allow(clippy::unwrap_used, reason = "a test program")]

#[path = "speech/mod.rs"]
mod speech;

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use matrix_voip::host::{Codec, Frame};
use matrix_voip_media::{
    FRAME_SAMPLES, Tone,
    audio::opus::{Encoder, OpusOptions, PAUSE_BYTES, has_correction},
    jitter::{JitterBuffer, JitterStats},
};

use self::speech::speech;

/// What is pulled at a time: 10 ms.
const STEP: usize = 480;

/// The shortest way through the network, in milliseconds.
const WAY: f64 = 50.0;

/// How long one packet is, in milliseconds.
const PACKET: f64 = 20.0;

/// One packet as it leaves.
#[derive(Debug, Clone)]
struct Sent {
    timestamp: u64,
    sequence: u64,
    data: Vec<u8>,
}

/// A minute of speech.
fn minute() -> &'static [Sent] {
    static MINUTE: OnceLock<Vec<Sent>> = OnceLock::new();
    MINUTE.get_or_init(|| encoded(&[speech(), speech()].concat(), OpusOptions::default()))
}

fn encoded(sound: &[f32], options: OpusOptions) -> Vec<Sent> {
    let mut encoder = Encoder::with(options).unwrap();
    let frames = sound.chunks_exact(FRAME_SAMPLES).enumerate();
    let packets = frames.map(|(n, sound)| {
        ((n * FRAME_SAMPLES) as u64, encoder.encode(sound.try_into().unwrap()).unwrap())
    });
    let packets = packets.filter(|(_, data)| data.len() > PAUSE_BYTES).zip(0..);
    packets.map(|((timestamp, data), sequence)| Sent { timestamp, sequence, data }).collect()
}

/// A way through the network.
#[derive(Debug, Clone, Copy, Default)]
struct Network {
    /// Share of packets that get lost.
    loss: f64,
    /// Each packet is late by up to so many milliseconds, one as likely as the other.
    jitter: f64,
    /// For so many milliseconds nothing gets through, every one to three seconds.
    stall: f64,
    /// The sender's clock is faster than ours by so many millionths.
    faster: f64,
    /// Share of packets that come twice.
    doubled: f64,
    /// What is sent from the first of these on, and before the second, is lost, in milliseconds.
    outage: (f64, f64),
}

impl Network {
    /// When each packet arrives, in microseconds, and which one it is.
    fn carry(&self, sent: &[Sent], seed: u64) -> BTreeMap<(u64, usize), usize> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut arrivals = BTreeMap::new();
        let (mut stalled_until, mut next_stall) = (0.0, 1_000.0);
        for (n, packet) in sent.iter().enumerate() {
            let leaves = packet.timestamp as f64 / 48.0 / (1.0 + self.faster / 1e6) + PACKET;
            if self.stall > 0.0 && leaves >= next_stall {
                stalled_until = leaves + self.stall;
                next_stall = leaves + 1_000.0 + random.f64() * 2_000.0;
            }
            let arrives = (leaves + random.f64() * self.jitter).max(stalled_until) + WAY;
            let is_lost = random.f64() < self.loss;
            let is_out = (self.outage.0..self.outage.1).contains(&leaves);
            if !is_lost && !is_out {
                arrivals.insert(((arrives * 1_000.0) as u64, 2 * n), n);
            }
            if random.f64() < self.doubled {
                let again = arrives + random.f64() * 100.0;
                arrivals.insert(((again * 1_000.0) as u64, 2 * n + 1), n);
            }
        }
        arrivals
    }
}

/// What was heard.
struct Heard {
    sound: Vec<f32>,
    stats: JitterStats,
    /// The delay at each step, in milliseconds.
    delays: Vec<f64>,
}

impl Heard {
    fn new(sent: &[Sent], network: Network, seed: u64) -> Self {
        let mut arrivals = network.carry(sent, seed).into_iter().peekable();
        let (mut buffer, mut sound, mut delays) = (JitterBuffer::new(), Vec::new(), Vec::new());
        let end = (sent.last().unwrap().timestamp / 48 + WAY as u64) * 1_000;
        for now in (0..end).step_by(10_000) {
            while let Some(((at, _), n)) = arrivals.next_if(|((at, _), _)| *at <= now) {
                let mut frame = Frame::new(Codec::Opus, sent[n].timestamp, sent[n].data.clone());
                frame.sequence = Some(sent[n].sequence);
                buffer.push(Duration::from_micros(at), &frame);
            }
            let mut out = [0.0; STEP];
            buffer.pull(Duration::from_micros(now), &mut out);
            sound.extend_from_slice(&out);
            delays.push(buffer.stats().delay.as_secs_f64() * 1_000.0 + PACKET);
        }
        Self { sound, stats: buffer.stats(), delays }
    }

    /// The delay that so great a share of the steps has at most, of those from the fifth second on.
    fn delay(&self, share: f64) -> f64 {
        let mut delays = self.delays[500..].to_vec();
        delays.sort_by(f64::total_cmp);
        delays[((delays.len() - 1) as f64 * share) as usize]
    }

    /// Percent of what was played.
    fn percent(&self, samples: u64) -> f64 {
        samples as f64 * 100.0 / self.stats.played as f64
    }

    fn print(&self, name: &str) {
        let JitterStats { concealed, recovered, pauses, shortened, lengthened, late, .. } =
            self.stats;
        println!(
            "{name:22} delay {:5.1} ms, 95 % {:5.1}; concealed {:5.2} %, recovered {:5.2} %, pauses \
             {:5.2} %; shorter by {:4} ms, longer by {:4}; {late} late",
            self.delay(0.5),
            self.delay(0.95),
            self.percent(concealed),
            self.percent(recovered),
            self.percent(pauses),
            shortened / 48,
            lengthened / 48,
        );
    }
}

/// Plays a minute of speech through the network, three times with other luck, and holds each to the
/// bounds: median of the delay in milliseconds, percent concealed.
fn holds(name: &str, network: Network, delay: f64, concealed: f64) {
    for seed in 1..=3 {
        let heard = Heard::new(minute(), network, seed);
        heard.print(name);
        let made_up = heard.percent(heard.stats.concealed);
        assert!(heard.delay(0.5) <= delay, "{name}, seed {seed}: {} ms", heard.delay(0.5));
        assert!(made_up <= concealed, "{name}, seed {seed}: {made_up} %");
        assert_eq!((heard.stats.broken, heard.stats.strange, heard.stats.overrun), (0, 0, 0));
    }
}

#[test]
fn loss_on_a_quiet_link() {
    holds("nothing lost", Network::default(), 45.0, 0.1);
    holds("5 % lost", Network { loss: 0.05, ..Network::default() }, 45.0, 2.0);
    holds("10 % lost", Network { loss: 0.1, ..Network::default() }, 45.0, 4.5);
    holds("20 % lost", Network { loss: 0.2, ..Network::default() }, 45.0, 10.0);
}

/// What FEC brings back is counted only where there is some, and it is the better sound.
#[test]
fn without_corrections_everything_lost_is_concealed() {
    let network = Network { loss: 0.1, ..Network::default() };
    let mut options = OpusOptions::default();
    options.correction = false;
    let bare = encoded(&[speech(), speech()].concat(), options);
    let [with, without] = [("10 %, FEC", minute()), ("10 %, no FEC", &bare)].map(|(name, sent)| {
        let heard = Heard::new(sent, network, 1);
        heard.print(name);
        let whole = Heard::new(sent, Network::default(), 1);
        (heard.stats, noise(&whole, &heard))
    });
    let (without, noise_without) = without;
    assert_eq!(without.recovered, 0);
    assert!(without.concealed_share() > 0.08, "{without:?}");
    let (with, noise_with) = with;
    assert!(with.recovered > 2 * with.concealed, "{with:?}");
    println!("noise of what was lost: {noise_with:.1} dB with FEC, {noise_without:.1} without");
    assert!(noise_with < noise_without - 2.0, "{noise_with} dB, {noise_without} dB without");
}

#[test]
fn whoever_loses_much_and_may_send_little_still_sends_corrections() {
    let share = |bitrate, loss| {
        let mut encoder = Encoder::with(OpusOptions::default()).unwrap();
        encoder.limit_bitrate(bitrate);
        encoder.expect_loss(loss);
        let frames = speech()[..10 * 48_000].chunks_exact(FRAME_SAMPLES);
        let packets = frames.map(|frame| encoder.encode(frame.try_into().unwrap()).unwrap());
        let corrected = packets.filter(|packet| has_correction(packet)).count();
        corrected as f64 / 500.0
    };
    for (bitrate, loss) in [(32_000, 0.1), (32_000, 0.3), (24_000, 0.2), (24_000, 0.5)] {
        let share = share(bitrate, loss);
        println!("{bitrate} bit/s, {loss} lost: {share:.2} with a correction");
        assert!(share > 0.5, "{bitrate} bit/s, {loss} lost: {share} with a correction");
    }
    assert_eq!(share(12_000, 0.3), 0.0, "so few bits are for what is new");
}

/// How much the energy over time (20 ms each) differs from that of the same packets without a loss, in dB of
/// the speech.
fn noise(whole: &Heard, heard: &Heard) -> f64 {
    let energies = |heard: &Heard| -> Vec<f64> {
        let energy = |part: &[f32]| part.iter().map(|one| f64::from(*one).powi(2)).sum::<f64>();
        heard.sound.chunks_exact(960).map(|part| energy(part).sqrt()).collect()
    };
    let (whole, heard) = (energies(whole), energies(heard));
    let off: f64 = whole.iter().zip(&heard).map(|(one, other)| (one - other).powi(2)).sum();
    10.0 * (off / whole.iter().map(|one| one.powi(2)).sum::<f64>()).log10()
}

#[test]
fn jitter_of_60_ms() {
    let network = Network { jitter: 60.0, ..Network::default() };
    holds("60 ms", network, 105.0, 0.6);
    holds("60 ms, 5 % lost", Network { loss: 0.05, ..network }, 110.0, 2.5);
    holds("60 ms, 10 % lost", Network { loss: 0.1, ..network }, 115.0, 5.0);
    holds("60 ms, 20 % lost", Network { loss: 0.2, ..network }, 115.0, 11.0);
}

#[test]
fn jitter_of_120_ms() {
    let network = Network { jitter: 120.0, ..Network::default() };
    holds("120 ms", network, 165.0, 0.8);
    holds("120 ms, 5 % lost", Network { loss: 0.05, ..network }, 170.0, 2.5);
    holds("120 ms, 10 % lost", Network { loss: 0.1, ..network }, 175.0, 5.5);
    holds("120 ms, 20 % lost", Network { loss: 0.2, ..network }, 175.0, 11.0);
}

#[test]
fn stalls_of_120_ms() {
    holds("stalls", Network { stall: 120.0, ..Network::default() }, 150.0, 3.0);
}

#[test]
fn clocks_that_differ_for_ten_minutes() {
    let speech: Vec<Sent> = {
        let mut sound = Vec::new();
        (0..20).for_each(|_| sound.extend_from_slice(speech()));
        let mut quick = OpusOptions::default();
        quick.complexity = 0;
        encoded(&sound, quick)
    };
    for (name, faster) in [("100 ppm faster", 100.0), ("100 ppm slower", -100.0)] {
        let heard = Heard::new(&speech, Network { faster, ..Network::default() }, 1);
        heard.print(name);
        assert!(heard.delay(0.99) <= 60.0, "{name}: {} ms", heard.delay(0.99));
        assert!(heard.delay(0.0) >= PACKET, "{name}: {} ms", heard.delay(0.0));
        assert!(heard.percent(heard.stats.concealed) < 0.1, "{name}");
    }
}

#[test]
fn silence_that_is_not_sent_is_no_loss() {
    let mut options = OpusOptions::default();
    options.pauses = true;
    // Between the sentences four seconds in which nobody speaks.
    let mut sound = Vec::new();
    for sentence in speech().chunks(4 * 48_000) {
        sound.extend_from_slice(sentence);
        sound.extend(std::iter::repeat_n(0.0, 4 * 48_000));
    }
    let sent = encoded(&sound, options);
    let all = sound.len() / FRAME_SAMPLES;
    println!("{} of {all} packets sent", sent.len());
    assert!(sent.len() < all * 3 / 4);
    for (name, loss, concealed) in [("pauses", 0.0, 0.5), ("pauses, 10 % lost", 0.1, 3.0)] {
        let heard = Heard::new(&sent, Network { loss, jitter: 20.0, ..Network::default() }, 1);
        heard.print(name);
        assert!(heard.percent(heard.stats.concealed) < concealed, "{name}");
        assert!(heard.percent(heard.stats.pauses) > 30.0, "{name}");
        assert!(heard.delay(0.95) <= 120.0, "{name}");
    }
}

#[test]
fn packets_that_come_twice_change_nothing() {
    let network = Network { doubled: 0.3, jitter: 30.0, ..Network::default() };
    holds("30 % twice", network, 75.0, 0.3);
}

/// Engines unwrap what RTP wraps (`adapters/webrtc/src/receive.rs`; str0m does so itself); here the numbers go on.
#[test]
fn numbers_and_time_stamps_beyond_what_rtp_can_count_are_like_others() {
    let heard = |number: u64, stamp: u64| {
        let shift = |sent: &Sent| Sent {
            timestamp: sent.timestamp + stamp,
            sequence: sent.sequence + number,
            ..sent.clone()
        };
        let sent: Vec<Sent> = minute()[..500].iter().map(shift).collect();
        let mut buffer = JitterBuffer::new();
        let network = Network { loss: 0.1, ..Network::default() };
        for ((at, _), n) in network.carry(&sent, 1) {
            let mut frame = Frame::new(Codec::Opus, sent[n].timestamp, sent[n].data.clone());
            frame.sequence = Some(sent[n].sequence);
            buffer.push(Duration::from_micros(at), &frame);
            buffer.pull(Duration::from_micros(at), &mut [0.0; 2 * STEP]);
        }
        buffer.stats()
    };
    let stats = heard(0, 0);
    assert!(stats.decoded > 400 * FRAME_SAMPLES as u64, "{stats:?}");
    assert_eq!(heard(0xff00, 0xffff_0000), stats);
}

#[test]
fn after_an_outage_of_two_seconds_sound_comes_back_with_the_delay_of_before() {
    let network = Network { outage: (20_000.0, 22_000.0), ..Network::default() };
    let heard = Heard::new(minute(), network, 1);
    heard.print("outage of 2 s");
    let before = heard.delays[1_900];
    let after = heard.delays[2_200..2_500].iter().copied().fold(f64::MAX, f64::min);
    assert!(after <= before + 20.0, "{before} ms before, {after} ms within three seconds after");
    // Two seconds of sixty.
    assert!((3.0..4.0).contains(&heard.percent(heard.stats.concealed)));
    assert_eq!(heard.stats.late, 0);
}

#[test]
fn a_sender_who_begins_anew_is_heard_again() {
    let mut sent = minute()[..1_000].to_vec();
    let jumped = |sent: &Sent| Sent { timestamp: sent.timestamp + 7_777_777, ..sent.clone() };
    let mut arrivals = Vec::new();
    for (n, packet) in sent.iter_mut().enumerate() {
        arrivals.push(n as u64 * 20_000);
        if n >= 500 {
            *packet = jumped(packet);
        }
    }
    let mut buffer = JitterBuffer::new();
    for (packet, at) in sent.iter().zip(arrivals) {
        let mut frame = Frame::new(Codec::Opus, packet.timestamp, packet.data.clone());
        frame.sequence = Some(packet.sequence);
        buffer.push(Duration::from_micros(at), &frame);
        let mut out = [0.0; 2 * STEP];
        buffer.pull(Duration::from_micros(at), &mut out);
    }
    let stats = buffer.stats();
    assert_eq!(stats.strange, 2, "the third is believed");
    assert!(stats.decoded >= 990 * FRAME_SAMPLES as u64, "{stats:?}");
}

/// The pitch rises with each packet: what is far from its place would fall. (That no packet at all is played
/// after a later one the inner tests of the buffer show.)
#[test]
fn nothing_is_played_out_of_order() {
    let mut sound = Vec::new();
    let mut phase = 0.0_f32;
    for n in 0..60_000 * 10 {
        phase += (300.0 + n as f32 / 1_200.0) / 48_000.0;
        sound.push((phase.fract() * std::f32::consts::TAU).sin() * 0.3);
    }
    let sent = encoded(&sound, OpusOptions::default());
    let heard = Heard::new(&sent, Network { jitter: 120.0, loss: 0.05, ..Network::default() }, 1);
    heard.print("a rising tone");
    assert!(heard.stats.late > 0, "the network did disorder them");
    // Rising zero crossings of 100 ms; what is concealed may be off by some.
    let pitch =
        |sound: &[f32]| sound.windows(2).filter(|two| two[0] < 0.0 && two[1] >= 0.0).count();
    let pitches: Vec<usize> = heard.sound.chunks_exact(4_800).skip(10).map(pitch).collect();
    for (n, two) in pitches.windows(2).enumerate() {
        assert!(two[1] + 5 >= two[0], "at {n}: {two:?}");
    }
    assert!(pitches.last().unwrap() > &70 && pitches[0] < 45, "{pitches:?}");
}

/// The delay that is told is the one that is heard: by the energies of sender and speaker.
#[test]
fn the_delay_that_is_told_is_the_one_that_is_heard() {
    for jitter in [0.0, 60.0] {
        let heard = Heard::new(minute(), Network { jitter, ..Network::default() }, 1);
        let energies = |sound: &[f32]| -> Vec<f64> {
            let energy = |part: &[f32]| part.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            sound.chunks_exact(48).map(energy).collect()
        };
        let (said, played) = (energies(speech()), energies(&heard.sound[48 * 31_000..]));
        // From the 31st second on the speech is said a second time.
        let begins = (speech().len() / FRAME_SAMPLES * FRAME_SAMPLES / 48) as isize - 31_000;
        let likeness = |shift: isize| -> f64 {
            let at = |ms: usize| played.get((ms as isize + begins + shift).max(0) as usize);
            (0..25_000).map(|ms| said[ms] * at(ms).copied().unwrap_or(0.0)).sum()
        };
        let shift =
            (0..300).max_by(|one, other| likeness(*one).total_cmp(&likeness(*other))).unwrap();
        // The codec itself holds sound back by 6.5 ms.
        let told = heard.delay(0.5) + WAY + 6.5;
        println!("jitter {jitter} ms: heard after {shift} ms, told {told:.1}");
        assert!((shift as f64 - told).abs() < 12.0, "heard after {shift} ms, told {told}");
    }
}

#[test]
fn a_tone_is_whole_after_all_that() {
    let tone: Vec<f32> = Tone::new(440.0, 0.2).take(48_000 * 20).collect();
    let sent = encoded(&tone, OpusOptions::default());
    let network = Network { jitter: 40.0, loss: 0.05, faster: 200.0, ..Network::default() };
    let heard = Heard::new(&sent, network, 1);
    heard.print("a tone");
    let mut ear = matrix_voip_media::Ear::new();
    ear.push(&heard.sound[48_000..]);
    let tone = ear.overall().tone.unwrap();
    assert!((tone.hz - 440.0).abs() < 3.0, "{tone:?}");
}
