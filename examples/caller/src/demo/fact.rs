//! What happens in the demo, as values: made by the call, shown by a face, kept by the story.
//!
//! A [`Moment`] is a [`Fact`] and its time since the call was placed. What is measured again and
//! again comes as one [`Gauge`] per side.

use std::{fmt, time::Duration};

use matrix_voip::machine::{
    event::{CallState, End},
    io::{CandidateInfo, CandidatePair, PeerStats},
};

/// One of the two who talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Places the call.
    Ada,
    /// Is called.
    Ben,
}

impl Who {
    /// Both, the caller first.
    pub(crate) const BOTH: [Self; 2] = [Self::Ada, Self::Ben];

    /// The other one.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Ada => Self::Ben,
            Self::Ben => Self::Ada,
        }
    }

    /// The name, in small letters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ada => "ada",
            Self::Ben => "ben",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A fact and when it was.
#[derive(Debug, Clone)]
pub(crate) struct Moment<F = Fact> {
    /// Since the call was placed.
    pub(crate) at: Duration,
    /// What was.
    pub(crate) fact: F,
}

/// What can happen.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// A side's call is in another state.
    State(Who, CallState),
    /// A side's call is over.
    Ended(Who, End),
    /// A side sent a Matrix event.
    Sent(Who, WireEvent),
    /// A side announced its certificate by this fingerprint.
    Announced(Who, String),
    /// This fingerprint is what the other side was told of that side's certificate.
    ToldOf(Who, String),
    /// A side found the path that media takes.
    Path(Who, Path),
    /// A side heard something for the first time.
    FirstSound(Who),
    /// A side saw the first picture.
    FirstPicture(Who),
    /// A side learned how the other one's microphone is.
    OtherMicrophone(Who, OtherMicrophone),
    /// A side was measured again.
    Gauge(Who, Gauge),
}

/// What the other side says of its microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OtherMicrophone {
    /// Nothing, so it should sound.
    #[default]
    On,
    /// That it is muted.
    Muted,
}

/// A Matrix event on its way.
#[derive(Debug, Clone)]
pub(crate) struct WireEvent {
    /// As `m.call.invite`.
    pub(crate) event_type: String,
    /// The content: JSON text.
    pub(crate) content: String,
}

/// The path that ICE chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// `udp` or `tcp`.
    pub(crate) protocol: &'static str,
    /// Our end.
    pub(crate) local: PathEnd,
    /// The other end.
    pub(crate) remote: PathEnd,
}

/// One end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathEnd {
    /// `host`, `srflx`, `prflx` or `relay`.
    pub(crate) kind: &'static str,
    /// `address:port`.
    pub(crate) address: String,
}

impl From<&CandidatePair> for Path {
    fn from(pair: &CandidatePair) -> Self {
        let end = |info: &CandidateInfo| {
            // Only this demo prints addresses: they are its own, on this machine.
            PathEnd { kind: info.kind, address: info.address.expose().to_owned() }
        };
        Self { protocol: pair.local.protocol, local: end(&pair.local), remote: end(&pair.remote) }
    }
}

/// How a side stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Gauge {
    /// RTP packets sent, sound and picture.
    pub(crate) sent: u64,
    /// RTP packets received.
    pub(crate) received: u64,
    /// RTP packets that never came.
    pub(crate) lost: u64,
    /// Round trip of the path, once measured.
    pub(crate) round_trip: Option<Duration>,
    /// What is heard at this moment.
    pub(crate) now: Sound,
    /// What was heard in all, since the first sound.
    pub(crate) overall: Sound,
    /// Pictures, in a video call.
    pub(crate) pictures: Option<Pictures>,
}

impl Gauge {
    /// Takes the packets that an engine has counted into account.
    pub(crate) fn count(&mut self, stats: &PeerStats) {
        self.sent = stats.outbound.iter().map(|line| line.packets).sum();
        self.received = stats.inbound.iter().map(|line| line.packets).sum();
        self.lost = stats.inbound.iter().filter_map(|line| line.lost).sum();
        self.round_trip = stats.round_trip.or(self.round_trip);
    }

    /// Share of packets that never came, in per cent.
    pub(crate) fn loss_percent(&self) -> f64 {
        let expected = self.received + self.lost;
        if expected == 0 { 0.0 } else { self.lost as f64 * 100.0 / expected as f64 }
    }
}

/// Decoded sound, as an ear describes it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sound {
    /// Root mean square, 0 to 1.
    pub(crate) rms: f32,
    /// The tone that stands out.
    pub(crate) tone: Option<Tone>,
    /// How much sound this speaks of.
    pub(crate) length: Duration,
}

/// A tone in sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tone {
    /// Frequency in Hz.
    pub(crate) hz: f32,
    /// Amplitude, 0 to 1.
    pub(crate) level: f32,
    /// Share of all energy, 0 to 1.
    pub(crate) share: f32,
}

/// Decoded pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pictures {
    /// Shown.
    pub(crate) shown: u64,
    /// Shown, with a number that could be read.
    pub(crate) numbered: u64,
    /// Numbers that were left out.
    pub(crate) missing: u64,
    /// The number that was read last.
    pub(crate) last_number: Option<u16>,
    /// Width and height in pixels.
    pub(crate) size: Option<(u32, u32)>,
}

/// An amplitude or root mean square in dB relative to full scale; -99 for silence.
pub(crate) fn decibels(amplitude: f32) -> f32 {
    if amplitude <= 0.0 { -99.0 } else { (20.0 * amplitude.log10()).max(-99.0) }
}
