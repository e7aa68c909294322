//! The time stamps of a track over all devices that it has had.
//!
//! Every source counts media time from an origin of its own. To the other side a track is one RTP
//! stream, whose time never jumps back (RFC 3550 §5.1): what a new device gives goes on where the
//! old one stopped, as much later as the clock says.

use std::time::{Duration, Instant};

use matrix_voip::host::{Codec, Frame};

/// Where a track's time stands.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// What is added to the stamps of the present device, modulo 2^64.
    offset: u64,
    last: Option<Sent>,
    is_cut: bool,
}

/// The last frame.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    stamp: u64,
    /// From the frame before it to this one.
    step: u64,
}

impl Timeline {
    /// The next frame is the first one of another device.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// The time stamp of a frame that is sent now.
    pub(super) fn stamp(&mut self, now: Instant, frame: &Frame) -> u64 {
        if std::mem::take(&mut self.is_cut) {
            self.splice(now, frame);
        }
        let stamp = frame.timestamp.wrapping_add(self.offset);
        let step = self.last.map_or(0, |last| stamp.saturating_sub(last.stamp));
        self.last = Some(Sent { at: now, stamp, step });
        stamp
    }

    fn splice(&mut self, now: Instant, frame: &Frame) {
        let Some(last) = self.last else { return };
        let passed = ticks(now.saturating_duration_since(last.at), frame.codec);
        // Sound that is not over yet is not overlapped.
        let next = last.stamp.wrapping_add(passed.max(last.step).max(1));
        self.offset = next.wrapping_sub(frame.timestamp);
    }
}

fn ticks(time: Duration, codec: Codec) -> u64 {
    (time.as_nanos() * u128::from(codec.clock_rate()) / 1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn sound(timestamp: u64) -> Frame {
        Frame::new(Codec::Opus, timestamp, Vec::new())
    }

    fn clock() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
        Instant::now()
    }

    #[test]
    fn another_device_goes_on_as_much_later_as_the_clock_says() {
        let (mut timeline, start) = (Timeline::default(), clock());
        assert_eq!(timeline.stamp(start, &sound(960)), 960, "the first device is not changed");
        assert_eq!(timeline.stamp(start + 20 * MILLI, &sound(1920)), 1920);
        timeline.cut();
        assert_eq!(timeline.stamp(start + 120 * MILLI, &sound(77)), 1920 + 4800);
        assert_eq!(timeline.stamp(start + 140 * MILLI, &sound(77 + 960)), 1920 + 4800 + 960);
    }

    #[test]
    fn the_time_never_jumps_back_and_never_stands() {
        let (mut timeline, start) = (Timeline::default(), clock());
        timeline.stamp(start, &sound(0));
        timeline.stamp(start + 20 * MILLI, &sound(960));
        timeline.cut();
        assert_eq!(timeline.stamp(start + 21 * MILLI, &sound(1 << 40)), 1920, "no overlap");
        timeline.cut();
        assert_eq!(timeline.stamp(start + 60 * MILLI, &sound(0)), 1920 + 1872);
    }

    #[test]
    fn a_cut_before_the_first_frame_is_none() {
        let mut timeline = Timeline::default();
        timeline.cut();
        assert_eq!(timeline.stamp(clock(), &sound(5)), 5);
    }
}
