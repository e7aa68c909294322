//! What the tests of the engines share: plans, tones and an ear that knows them; a studio and a side
//! of a call over any engine ([`studio`]), a person who calls ([`person`]), a TURN server ([`coturn`]).

#![allow(clippy::unwrap_used, reason = "for test programs")]

pub mod coturn;
pub mod person;
pub mod studio;

use std::{
    collections::BTreeMap,
    f32::consts::TAU,
    fmt::Display,
    io::{Write, stdout},
};

use matrix_voip::{
    host::{Codec, Frame},
    id::{StreamId, TrackId},
    machine::io::{Description, Direction, Plan, PlanLine, Reply, Slot},
};
use ropus::{Application, Channels, DecodeMode, Decoder, Encoder};

/// Samples of 20 ms at 48 kHz.
pub const FRAME: usize = 960;

/// At once and past libtest, which swallows what print macros say: where a long test hangs is to be
/// seen.
pub fn say(what: impl Display) {
    stdout().write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// A line that sends this track in this stream, and receives.
pub fn line(slot: Slot, direction: Direction, track: u64, stream: &str) -> PlanLine {
    let sends = direction.sends();
    PlanLine {
        slot,
        direction,
        track: sends.then_some(TrackId(track)),
        stream: sends.then(|| StreamId::parse(stream).unwrap()),
    }
}

/// A voice call of this track in this stream.
pub fn voice(track: u64, stream: &str) -> Plan {
    Plan { lines: vec![line(Slot::Audio, Direction::SendRecv, track, stream)] }
}

/// A video call: the microphone is `track`, the camera the next one.
pub fn video(track: u64, stream: &str) -> Plan {
    let mut plan = voice(track, stream);
    plan.lines.push(line(Slot::Video, Direction::SendRecv, track + 1, stream));
    plan
}

/// The description in a reply.
pub fn description(reply: Reply) -> Description {
    match reply {
        Reply::Description(description) => description,
        other => panic!("not a description: {other:?}"),
    }
}

/// The frames of an endless tone of whole hertz: one second of it, again and again.
pub struct Tone(Vec<Vec<u8>>);

impl Tone {
    /// A tone of that frequency.
    pub fn new(hertz: f32) -> Self {
        let mut encoder =
            Encoder::builder(48_000, Channels::Mono, Application::Voip).build().unwrap();
        let sample = |at: usize| ((TAU * hertz * at as f32 / 48_000.0).sin() * 12_000.0) as i16;
        let packet = |n: usize| {
            let pcm: Vec<i16> = (n * FRAME..(n + 1) * FRAME).map(sample).collect();
            let mut packet = [0; 1500];
            let length = encoder.encode(&pcm, &mut packet).unwrap();
            packet[..length].to_vec()
        };
        Self((0..50).map(packet).collect())
    }

    /// Its frame of that number.
    pub fn frame(&mut self, n: u64) -> Frame {
        Frame::new(Codec::Opus, n * FRAME as u64, self.0[n as usize % 50].clone())
    }
}

/// The frequency and level (0 to 1, of the peak) of the last half second of sound in these frames.
pub fn heard<'a>(frames: impl Iterator<Item = &'a Frame>) -> (f32, f32) {
    let mut decoder = Decoder::new(48_000, Channels::Mono).unwrap();
    let mut sound: Vec<i16> = Vec::new();
    let mut pcm = [0_i16; 5760];
    for frame in frames {
        let samples = decoder.decode(&frame.data, &mut pcm, DecodeMode::Normal).unwrap();
        sound.extend_from_slice(&pcm[..samples]);
    }
    let end = &sound[sound.len().saturating_sub(24_000)..];
    let rises = end.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    let peak = end.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    (rises as f32 * 48_000.0 / end.len().max(1) as f32, f32::from(peak) / 32_768.0)
}

/// The same SDP without candidates, as it would be sent with trickle.
pub fn without_candidates(description: &Description) -> Description {
    let keep = |line: &&str| !line.starts_with("a=candidate") && *line != "a=end-of-candidates";
    let text: String =
        description.sdp.expose().lines().filter(keep).flat_map(|line| [line, "\r\n"]).collect();
    Description { kind: description.kind, sdp: text.into() }
}

/// The values of all lines that begin so, per m-line.
pub fn values(sdp: &str, prefix: &str) -> BTreeMap<usize, Vec<String>> {
    let mut line_number = 0;
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for line in sdp.lines() {
        line_number += usize::from(line.starts_with("m="));
        if let Some(value) = line.strip_prefix(prefix) {
            found.entry(line_number).or_default().push(value.to_owned());
        }
    }
    found
}
