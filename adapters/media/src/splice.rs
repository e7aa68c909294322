//! Frames of one track after the other, numbered as those of one: a sink that hears a track after
//! another takes what begins with smaller numbers for frames that come too late.

use matrix_voip::host::Frame;

/// Makes the frames of tracks that follow each other into those of one. Its time passes by one
/// sample between two tracks: a pause is not sound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Splice {
    /// Where the frames that were taken end.
    end: Position,
    /// By how much the numbers of the present track are moved.
    by: Option<Position>,
}

/// Sequence number and time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Position {
    sequence: u64,
    timestamp: u64,
}

impl Splice {
    /// No frame was taken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next frame is the first of another track.
    pub fn cut(&mut self) {
        self.by = None;
    }

    /// The frame with numbers that go on after those before it.
    #[must_use]
    pub fn join(&mut self, mut frame: Frame) -> Frame {
        let (sequence, timestamp) = (frame.sequence.unwrap_or_default(), frame.timestamp);
        let end = self.end;
        let by = *self.by.get_or_insert_with(|| Position {
            sequence: end.sequence.wrapping_sub(sequence),
            timestamp: end.timestamp.wrapping_sub(timestamp),
        });
        // What was overtaken by the first frame of a track would come before its beginning.
        let from = |number: u64| if number > u64::MAX / 2 { 0 } else { number };
        let at = Position {
            sequence: from(sequence.wrapping_add(by.sequence)),
            timestamp: from(timestamp.wrapping_add(by.timestamp)),
        };
        frame.sequence = frame.sequence.map(|_| at.sequence);
        frame.timestamp = at.timestamp;
        // A packet that was overtaken ends before others.
        self.end = Position {
            sequence: end.sequence.max(at.sequence.saturating_add(1)),
            timestamp: end.timestamp.max(at.timestamp.saturating_add(1)),
        };
        frame
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::host::Codec;

    use super::*;

    #[test]
    fn a_track_that_follows_another_goes_on_where_that_has_ended() {
        let mut splice = Splice::new();
        let mut numbers = |sequence, timestamp| {
            let frame = Frame::new(Codec::Opus, timestamp, vec![0]);
            let joined = splice.join(Frame { sequence: Some(sequence), ..frame });
            if sequence == 11 {
                splice.cut();
            }
            (joined.sequence.unwrap(), joined.timestamp)
        };
        assert_eq!(numbers(9, 5_000_000), (0, 0));
        assert_eq!(numbers(11, 5_000_960), (2, 960));
        assert_eq!(numbers(3, 100), (3, 961));
    }
}
