//! Packets of sound as an attacker sends them, to several voices at once, a microphone that gives any
//! number of any samples, and a clock that jumps. Nothing panics or grows, what is played can be
//! played, and when honest packets come again they are heard.
#![no_main]

use std::{sync::OnceLock, time::Duration};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use matrix_voip::host::{Codec, Frame, SourceControl};
use matrix_voip_media::{
    Level, Made, Script, Tone, Voice,
    talk::{AudioCore, AudioOptions, CleanerOptions, MAX_READY, STEP_SAMPLES, VoiceId},
};

/// One thing that happens.
#[derive(Debug, Arbitrary)]
enum Act {
    /// A packet for one of three voices: any bytes, or an honest packet with one byte changed.
    Packet {
        voice: u8,
        sequence: Option<i32>,
        timestamp: Stamp,
        data: Data,
    },
    /// Time passes by so many milliseconds, and 10 ms are played.
    Play(u8),
    /// The clock jumps, also back.
    Jump(i32),
    /// So many samples are recorded.
    Record {
        samples: u16,
        value: f32,
    },
    Control(u8, u64),
    Volume(u8, f32),
}

#[derive(Debug, Arbitrary)]
enum Stamp {
    /// So many samples after the last one.
    Near(i16),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
enum Data {
    Any(Vec<u8>),
    Honest { nth: u8, at: u8, byte: u8 },
    Large(u16),
}

/// How long honest packets come in the end, in packets of 20 ms: two seconds.
const HONEST: u64 = 100;

fn honest() -> &'static [Vec<u8>] {
    static PACKETS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    PACKETS.get_or_init(|| {
        let mut voice = Voice::new(Tone::new(440.0, 0.5));
        let packet = |_| match voice.make() {
            Made::Frame(frame) => frame.data,
            Made::Skipped => unreachable!("a tone has no end"),
        };
        (0..HONEST).map(packet).collect()
    })
}

struct Play {
    core: AudioCore,
    voices: [VoiceId; 3],
    now: Duration,
    stamps: [u64; 3],
    sequences: [u64; 3],
}

impl Play {
    fn new() -> Self {
        let mut options = AudioOptions::default();
        options.clean = CleanerOptions::NOTHING;
        let mut core = AudioCore::new(options).expect("ropus takes its own settings");
        let voices = [(); 3].map(|()| core.add().expect("three are few"));
        Self { core, voices, now: Duration::from_secs(1 << 20), stamps: [0; 3], sequences: [0; 3] }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Packet { voice, sequence, timestamp, data } => {
                let at = usize::from(*voice) % 3;
                self.stamps[at] = match timestamp {
                    Stamp::Near(by) => self.stamps[at].wrapping_add_signed(i64::from(*by)),
                    Stamp::Any(stamp) => *stamp,
                };
                let sequence = sequence.map(|by| {
                    self.sequences[at] = self.sequences[at].wrapping_add_signed(i64::from(by));
                    self.sequences[at]
                });
                let frame = Frame::new(Codec::Opus, self.stamps[at], bytes(data));
                self.core.push_packet(self.now, self.voices[at], &Frame { sequence, ..frame });
            }
            Act::Play(milliseconds) => {
                self.now += Duration::from_millis(u64::from(*milliseconds));
                self.play();
            }
            Act::Jump(milliseconds) => {
                let by = Duration::from_millis(u64::from(milliseconds.unsigned_abs()));
                let later = if *milliseconds < 0 {
                    self.now.checked_sub(by)
                } else {
                    self.now.checked_add(by)
                };
                self.now = later.unwrap_or(self.now);
            }
            Act::Record { samples, value } => {
                self.core.push_capture(&vec![*value; usize::from(*samples)]);
                assert!(self.packets() <= MAX_READY);
            }
            Act::Control(kind, value) => self.core.control(match kind % 3 {
                0 => SourceControl::Enabled(*value > 0),
                1 => SourceControl::Bitrate(*value),
                _ => SourceControl::Loss(*value as f32 / 100.0),
            }),
            Act::Volume(voice, volume) => {
                self.core.set_volume(self.voices[usize::from(*voice) % 3], *volume);
            }
        }
    }

    fn packets(&mut self) -> usize {
        std::iter::from_fn(|| self.core.poll_packet()).count()
    }

    /// 10 ms, which a loudspeaker can play.
    fn play(&mut self) -> [f32; STEP_SAMPLES] {
        let mut out = [0.0; STEP_SAMPLES];
        self.core.pull_playout(self.now, &mut out);
        assert!(out.iter().all(|sample| sample.abs() <= 1.0), "{out:?}");
        out
    }

    /// Honest packets for the first voice, from a new beginning.
    fn recover(&mut self) {
        let (voice, origin) = (self.voices[0], 1 << 40);
        self.voices[1..].iter().for_each(|other| self.core.remove(*other));
        self.core.set_volume(voice, 1.0);
        let mut heard = Vec::new();
        for (n, data) in (0..).zip(honest()) {
            let frame = Frame::new(Codec::Opus, origin + n * 960, data.clone());
            let sequence = Some(self.sequences[0].wrapping_add(1 << 20).wrapping_add(n));
            self.core.push_packet(self.now, voice, &Frame { sequence, ..frame });
            for _ in 0..2 {
                self.now += Duration::from_millis(10);
                let out = self.play();
                if n >= HONEST - 25 {
                    heard.extend(out);
                }
            }
        }
        let voice = self.core.voice(voice).expect("nobody has left");
        assert!(Level::of(&heard).rms > 0.1, "not heard: {voice:?}");
    }
}

fn bytes(data: &Data) -> Vec<u8> {
    match data {
        Data::Any(bytes) => bytes.clone(),
        Data::Large(size) => vec![0x78; usize::from(*size)],
        Data::Honest { nth, at, byte } => {
            let mut packet = honest()[usize::from(*nth) % honest().len()].clone();
            let at = usize::from(*at) % packet.len();
            packet[at] = *byte;
            packet
        }
    }
}

fuzz_target!(|acts: Vec<Act>| {
    let mut play = Play::new();
    acts.iter().for_each(|act| play.act(act));
    play.recover();
});
