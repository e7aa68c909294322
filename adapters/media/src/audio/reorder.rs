//! Packets of sound that were overtaken, back in their place: for who wants them in order and can wait,
//! as a file. (What a person hears comes from a jitter buffer, which takes any order.)

use std::collections::BTreeMap;

use matrix_voip::host::Frame;

use super::{opus::packet_samples, order::MAX_MISORDER};

/// Most packets that wait for one before them; then it is lost.
const MAX_WAITING: usize = 4;

/// Nor does anything wait beyond so much of the time of the stream, at 48 kHz: 100 ms. Who is silent sends a
/// packet each 400 ms.
const LONGEST_WAIT: u64 = 4_800;

/// Numbers that are so far above the next one are those of a source that began anew (RFC 3550 A.1).
const MAX_DROPOUT: u64 = 3_000;

/// Holds back what came too early. A value for one track.
#[derive(Debug, Default)]
pub(crate) struct Reorder {
    waiting: BTreeMap<u64, Frame>,
    /// The number of the packet that comes next.
    next: Option<u64>,
    /// The time stamp at which the last that was given ends.
    given: u64,
}

impl Reorder {
    /// Takes a packet, and gives those on whose turn it is: this one and those that waited for it, or
    /// none. One without a number is never held back, and neither is one that comes too late.
    pub(crate) fn push(&mut self, frame: &Frame, mut give: impl FnMut(&Frame)) {
        let jumps = |next: u64| {
            frame.sequence.is_some_and(|one| {
                one >= next.saturating_add(MAX_DROPOUT) || one.saturating_add(MAX_MISORDER) <= next
            })
        };
        if self.next.is_some_and(jumps) {
            self.finish(&mut give);
            self.next = None;
        }
        let next = match (frame.sequence, self.next) {
            (Some(sequence), Some(next)) if sequence > next => {
                self.waiting.insert(sequence, frame.clone());
                let waits = frame.timestamp.saturating_sub(self.given);
                if self.waiting.len() > MAX_WAITING || waits > LONGEST_WAIT {
                    self.next = self.waiting.keys().next().copied();
                }
                self.next
            }
            (Some(sequence), Some(next)) if sequence < next => {
                give(frame);
                Some(next)
            }
            (sequence, _) => {
                give(frame);
                self.given = end(frame);
                sequence.map(|sequence| sequence.saturating_add(1))
            }
        };
        self.next = next;
        self.give_ready(&mut give);
    }

    /// Gives what waits still: there will be no more.
    pub(crate) fn finish(&mut self, mut give: impl FnMut(&Frame)) {
        std::mem::take(&mut self.waiting).values().for_each(&mut give);
    }

    fn give_ready(&mut self, give: &mut impl FnMut(&Frame)) {
        while let Some(next) = self.next
            && let Some(frame) = self.waiting.remove(&next)
        {
            give(&frame);
            self.given = end(&frame);
            self.next = Some(next.saturating_add(1));
        }
    }
}

fn end(frame: &Frame) -> u64 {
    frame.timestamp.saturating_add(packet_samples(&frame.data).unwrap_or(0) as u64)
}

#[cfg(test)]
mod tests {
    use matrix_voip::host::Codec;

    use super::*;

    fn given(sequences: &[u64]) -> Vec<u64> {
        let (mut reorder, mut given) = (Reorder::default(), Vec::new());
        let mut keep = |frame: &Frame| given.push(frame.sequence.unwrap());
        for sequence in sequences {
            let frame = Frame::new(Codec::Opus, sequence.wrapping_mul(960), vec![0]);
            reorder.push(&Frame { sequence: Some(*sequence), ..frame }, &mut keep);
        }
        reorder.finish(&mut keep);
        given
    }

    #[test]
    fn what_was_overtaken_is_put_back() {
        assert_eq!(given(&[7, 8, 10, 11, 9, 12]), [7, 8, 9, 10, 11, 12]);
        assert_eq!(given(&[7, 9, 8, 11, 10]), [7, 8, 9, 10, 11]);
    }

    #[test]
    fn what_never_comes_is_waited_for_for_a_while() {
        assert_eq!(given(&[1, 3, 4, 5, 6, 7, 8, 2]), [1, 3, 4, 5, 6, 7, 8, 2]);
        assert_eq!(given(&[1, 3, 4]), [1, 3, 4], "at the end nothing is kept");
        assert_eq!(given(&[5, u64::MAX, 6]), [5, u64::MAX, 6], "two new beginnings");
    }

    #[test]
    fn who_is_silent_keeps_nobody_waiting() {
        let (mut reorder, mut given) = (Reorder::default(), Vec::new());
        // After the third a packet is lost, and then one comes each 400 ms.
        for (sequence, timestamp) in [(0, 0), (1, 960), (2, 1_920), (4, 21_120), (5, 40_320)] {
            let frame = Frame::new(Codec::Opus, timestamp, vec![0]);
            let frame = Frame { sequence: Some(sequence), ..frame };
            reorder.push(&frame, |frame| given.push(frame.sequence.unwrap()));
            assert_eq!(given.last(), Some(&sequence), "at once");
        }
    }

    #[test]
    fn a_source_that_begins_anew_is_put_into_order_too() {
        let sent = [9_000, 9_002, 7, 9, 8, 10];
        assert_eq!(given(&sent), [9_000, 9_002, 7, 8, 9, 10]);
        assert_eq!(given(&[200, 0, 2, 1, 3]), [200, 0, 1, 2, 3], "soon after it began at nothing");
    }

    #[test]
    fn packets_of_any_length_are_put_back() {
        // 60 ms of SILK (RFC 6716 table 2), one lost before them.
        let long = |sequence: u64| {
            let frame = Frame::new(Codec::Opus, sequence * 2_880, vec![11 << 3, 0]);
            Frame { sequence: Some(sequence), ..frame }
        };
        let (mut reorder, mut given) = (Reorder::default(), Vec::new());
        for sequence in [1, 3, 2, 4] {
            reorder.push(&long(sequence), |frame| given.push(frame.sequence.unwrap()));
        }
        assert_eq!(given, [1, 2, 3, 4]);
    }

    #[test]
    fn a_packet_without_a_number_is_given_at_once() {
        let mut reorder = Reorder::default();
        let mut count = 0;
        (0..9).for_each(|n| reorder.push(&Frame::new(Codec::Opus, n, vec![0]), |_| count += 1));
        assert_eq!(count, 9);
    }
}
