//! How received sound is heard, as the sink of a track tells it: figures for statistics.

use std::time::Duration;

/// How received sound is heard: what a jitter buffer and a loudspeaker make of packets. Counters never
/// go back while the sink lives.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Playout {
    /// Samples played, at 48 kHz.
    pub played: u64,
    /// Of those, samples that packets brought: decoded, or recovered by a correction. The rest is made up, or
    /// the sender's silence.
    pub decoded: u64,
    /// Of those, samples that were made up in place of packets that were lost or late.
    pub concealed: u64,
    /// How long a packet waits now from its coming, against the fastest one, until it is played.
    pub delay: Duration,
    /// How long it is to wait, by the jitter that was seen.
    pub target: Duration,
    /// How loud it was last, 0 to 1 (root mean square of full scale), before any volume.
    pub level: f32,
    /// Where it goes.
    pub output: PlayoutOutput,
}

impl Playout {
    /// What came since an earlier look, with the figures of now. Counters that went back are those
    /// of another sink, which began anew.
    pub(super) fn since(self, earlier: Option<&Self>) -> Self {
        let former = earlier.filter(|was| was.played <= self.played);
        let was = former.copied().unwrap_or_default();
        let concealed = self.concealed.saturating_sub(was.concealed);
        let decoded = self.decoded.saturating_sub(was.decoded);
        Self { played: self.played - was.played, decoded, concealed, ..self }
    }
}

/// Where received sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum PlayoutOutput {
    /// To a loudspeaker, or to a program.
    #[default]
    Playing,
    /// Nowhere: there is no loudspeaker.
    NoDevice,
    /// Nowhere: this one is muted here, or the volume is nothing.
    Muted,
}
