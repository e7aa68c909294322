//! Where a received packet of sound stands: after the last one, after a gap, or too late.
//!
//! Decided by the RTP sequence number and the time stamp alone. A gap in time without a gap in the
//! sequence is a pause of the sender, any other a loss.

use matrix_voip::host::Frame;

use super::sound::SAMPLE_RATE;

/// Longest gap that is filled, in samples: one second. Beyond it the sender paused or jumped, and
/// the sound goes on without the pause.
pub const MAX_GAP: u64 = SAMPLE_RATE as u64;

/// Numbers that are so far below the one that is expected are those of a source that began anew: two seconds
/// of sound (RFC 3550 A.1).
pub(crate) const MAX_MISORDER: u64 = 100;

/// Where a packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It follows the last one, or there is nothing to be filled in before it.
    Next,
    /// So many samples were lost before it; at most [`MAX_GAP`].
    AfterLoss(usize),
    /// The sender sent nothing for so many samples; at most [`MAX_GAP`].
    AfterPause(usize),
    /// It came before, or later ones were played already.
    Late,
}

/// Follows the packets of one track.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Order(Option<Expected>);

#[derive(Debug, Clone, Copy)]
struct Expected {
    timestamp: u64,
    sequence: Option<u64>,
}

impl Order {
    /// Where the packet stands.
    pub(crate) fn place(&self, frame: &Frame) -> Place {
        let Some(expected) = self.0 else { return Place::Next };
        if let (Some(next), Some(sequence)) = (expected.sequence, frame.sequence)
            && sequence < next
        {
            return if next - sequence < MAX_MISORDER { Place::Late } else { Place::Next };
        }
        let gap = frame.timestamp.saturating_sub(expected.timestamp);
        if gap == 0 || gap > MAX_GAP {
            Place::Next
        } else if is_next(expected.sequence, frame) {
            Place::AfterPause(gap as usize)
        } else {
            Place::AfterLoss(gap as usize)
        }
    }

    /// The packet was played, and lasted so many samples.
    pub(crate) fn played(&mut self, frame: &Frame, samples: usize) {
        self.0 = Some(Expected {
            timestamp: frame.timestamp.saturating_add(samples as u64),
            sequence: frame.sequence.map(|sequence| sequence.saturating_add(1)),
        });
    }
}

/// Whether no packet is missing before this one. Numbers tell; where there are none the engine does.
fn is_next(expected: Option<u64>, frame: &Frame) -> bool {
    match (expected, frame.sequence) {
        (Some(expected), Some(sequence)) => expected == sequence,
        _ => frame.contiguous,
    }
}
