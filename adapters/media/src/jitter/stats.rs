//! What became of packets and of time: the figures of a jitter buffer. Names of WebRTC's statistics
//! (`RTCInboundRtpStreamStats`) find the nearest figure here; its delays are sums, to be divided by
//! `jitterBufferEmittedCount`, those here are of now.

use std::time::Duration;

/// What became of packets and of the time that was played. Counters never go back; `delay` and `target`
/// are of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JitterStats {
    /// Samples played, of any kind.
    pub played: u64,
    /// Samples decoded from packets.
    pub decoded: u64,
    /// Samples recovered by the correction that the next packet carried (Opus in-band FEC).
    #[doc(alias = "fec")]
    pub recovered: u64,
    /// Samples made up in place of packets that were lost or late.
    #[doc(alias = "concealedSamples")]
    pub concealed: u64,
    /// Samples of the sender's silence, in which he sent nothing.
    #[doc(alias = "dtx")]
    pub pauses: u64,
    /// Samples left out, to catch up.
    #[doc(alias = "removedSamplesForAcceleration")]
    pub shortened: u64,
    /// Samples played twice, to wait.
    #[doc(alias = "insertedSamplesForDeceleration")]
    pub lengthened: u64,
    /// Packets that came after their time.
    #[doc(alias = "packetsDiscarded")]
    pub late: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that could not be decoded.
    pub broken: u64,
    /// Packets of other codecs, or with time stamps that nobody believes.
    pub strange: u64,
    /// Packets that were given up since nobody played them.
    pub overrun: u64,
    /// How long the sound that is played now has waited, against the fastest packet.
    #[doc(alias = "jitterBufferDelay")]
    pub delay: Duration,
    /// How long it should wait.
    #[doc(alias = "jitterBufferTargetDelay")]
    pub target: Duration,
}

impl JitterStats {
    /// The share of what was played that was made up, 0 to 1.
    pub fn concealed_share(&self) -> f64 {
        if self.played == 0 { 0.0 } else { self.concealed as f64 / self.played as f64 }
    }
}
