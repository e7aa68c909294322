//! STUN messages and channel data out of a stream of bytes (RFC 8656 §3.3, §12.5).
//!
//! On streams channel data is filled up to a multiple of four bytes. What is longer than anything
//! of ours is skipped, not kept: whoever may send to our relayed address can make the server send
//! it, and must neither fill our memory nor break the stream.

use crate::stun::{HEADER, padded};

/// Longest message that is kept; media packets have at most 1500 bytes.
pub(crate) const MAX_MESSAGE: usize = 4096;

/// First bytes from here on are no STUN, but channel data.
pub(crate) const FIRST_CHANNEL_BYTE: u8 = 0x40;

/// First bytes from here on are neither: the stream is no TURN.
const FIRST_NEITHER: u8 = 0x80;

/// The stream does not carry TURN.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotTurn;

/// The bytes of a stream that are no whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    pending: Vec<u8>,
    to_skip: usize,
}

impl Framing {
    /// Takes bytes; returns the messages that are whole now, without their padding.
    ///
    /// # Errors
    /// [`NotTurn`]; nothing after it makes sense.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, NotTurn> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            bytes = self.skip(bytes);
            // A message at a time, so that never more than one is pending.
            let wanted = self.wanted()?.min(bytes.len());
            let (taken, rest) = bytes.split_at(wanted);
            self.pending.extend(taken);
            bytes = rest;
            messages.extend(self.whole()?);
        }
        Ok(messages)
    }

    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let skipped = self.to_skip.min(bytes.len());
        self.to_skip -= skipped;
        &bytes[skipped..]
    }

    /// How many bytes the pending message lacks, as far as that is known.
    fn wanted(&self) -> Result<usize, NotTurn> {
        let (_, on_wire) = self.lengths()?.unwrap_or((0, 4));
        Ok(on_wire - self.pending.len())
    }

    /// The pending message if it is whole, or what to skip if it is too long.
    fn whole(&mut self) -> Result<Option<Vec<u8>>, NotTurn> {
        let Some((length, on_wire)) = self.lengths()? else { return Ok(None) };
        if length > MAX_MESSAGE {
            self.to_skip = on_wire - self.pending.len();
            self.pending.clear();
        }
        if self.pending.len() < on_wire {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.pending);
        message.truncate(length);
        Ok(Some(message))
    }

    /// The length of the pending message, and the one with padding; `None` before its head is
    /// there.
    fn lengths(&self) -> Result<Option<(usize, usize)>, NotTurn> {
        let Some(first) = self.pending.first() else { return Ok(None) };
        if *first >= FIRST_NEITHER {
            return Err(NotTurn);
        }
        let &[_, _, high, low, ..] = self.pending.as_slice() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let head = if *first < FIRST_CHANNEL_BYTE { HEADER } else { 4 };
        Ok(Some((head + length, padded(head + length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel_data(length: usize) -> Vec<u8> {
        let mut bytes = vec![0x40, 0, (length >> 8) as u8, length as u8];
        bytes.resize(4 + length, 7);
        bytes
    }

    fn padding(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(padded(bytes.len()), 0);
        bytes
    }

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stun = [vec![0, 1, 0, 4], vec![9; 20]].concat();
        let messages = [channel_data(1), stun, channel_data(0), channel_data(1203)];
        let stream: Vec<u8> = messages.iter().cloned().flat_map(padding).collect();
        for size in [1, 2, 3, 5, 7, 100, stream.len()] {
            let mut framing = Framing::default();
            let cut = stream.chunks(size).flat_map(|part| framing.take(part).unwrap());
            assert_eq!(cut.collect::<Vec<_>>(), messages, "{size} bytes at a time");
        }
    }

    #[test]
    fn a_giant_message_is_skipped_and_never_kept() {
        let stream = [padding(channel_data(65_535)), channel_data(8)].concat();
        let mut framing = Framing::default();
        let mut messages = Vec::new();
        for part in stream.chunks(1000) {
            messages.extend(framing.take(part).unwrap());
            assert!(framing.pending.len() <= MAX_MESSAGE);
        }
        assert_eq!(messages, [channel_data(8)]);
    }

    #[test]
    fn what_is_no_turn_is_found_at_its_first_byte() {
        assert_eq!(Framing::default().take(b"\x80"), Err(NotTurn));
        let mut framing = Framing::default();
        assert_eq!(framing.take(&channel_data(4)).unwrap().len(), 1);
        assert_eq!(framing.take(b"\xff\xff"), Err(NotTurn));
        // A web server: "HTTP" reads as channel data of some length, or as too much of it.
        assert!(Framing::default().take(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_ok());
    }
}
