//! Packets of a handshake that come before we know whose they are.
//!
//! The side whose check succeeds first begins DTLS at once, while the answer to our own check is
//! still under way. str0m takes no DTLS until ICE has verified the sender, and a dropped hello
//! comes again only by the other side's timer: 0.6 s later, measured with Chromium, in every second
//! call. So the first few wait here.

use std::net::SocketAddr;

/// Most packets that wait: two flights of a handshake, with their certificates in pieces.
const MAX_PACKETS: usize = 8;

/// Longest packet that waits, in bytes: what an Ethernet carries.
const MAX_LENGTH: usize = 1500;

/// Most senders that are remembered: more addresses than a host with many interfaces has.
const MAX_SENDERS: usize = 32;

/// A packet as it came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Our address, and theirs.
    pub(super) way: (SocketAddr, SocketAddr),
    pub(super) data: Vec<u8>,
}

/// Packets that wait until ICE has verified their sender.
#[derive(Debug, Default)]
pub(super) struct Early {
    packets: Vec<Packet>,
    /// Who has sent something that was accepted: before the handshake that are checks with the
    /// password of our description. Whose address is not among them does not take up the room.
    senders: Vec<SocketAddr>,
}

impl Early {
    /// Something of this sender was accepted.
    pub(super) fn note(&mut self, from: SocketAddr) {
        if self.senders.len() < MAX_SENDERS && !self.senders.contains(&from) {
            self.senders.push(from);
        }
    }

    /// Keeps a packet, if it is DTLS (RFC 7983 §7) of somebody who has sent a check, and there is
    /// room; says whether it does.
    pub(super) fn keep(&mut self, way: (SocketAddr, SocketAddr), data: &[u8]) -> bool {
        let is_dtls = data.first().is_some_and(|first| (20..=63).contains(first));
        let fits = data.len() <= MAX_LENGTH && self.packets.len() < MAX_PACKETS;
        let is_kept = is_dtls && fits && self.senders.contains(&way.1);
        if is_kept {
            self.packets.push(Packet { way, data: data.to_vec() });
        }
        is_kept
    }

    /// The first packet from a sender that is known by now.
    pub(super) fn take(&mut self, is_known: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let place = self.packets.iter().position(is_known)?;
        Some(self.packets.remove(place))
    }

    /// Forgets what waits, since the connection is there; says how much it was.
    pub(super) fn clear(&mut self) -> u64 {
        std::mem::take(&mut self.packets).len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> (SocketAddr, SocketAddr) {
        (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], port)))
    }

    #[test]
    fn only_handshakes_are_kept_and_only_so_many() {
        let mut early = Early::default();
        assert!(!early.keep(from(2), &[22; 100]), "a stranger");
        early.note(from(2).1);
        assert!(!early.keep(from(2), &[0x80; 100]), "RTP");
        assert!(!early.keep(from(2), &[]), "nothing");
        assert!(!early.keep(from(2), &[22; MAX_LENGTH + 1]), "too long");
        for _ in 0..MAX_PACKETS {
            assert!(early.keep(from(2), &[22; 100]));
        }
        assert!(!early.keep(from(2), &[22; 100]), "one too many");
        assert_eq!(early.clear(), MAX_PACKETS as u64);
    }

    #[test]
    fn packets_of_a_known_sender_come_out_in_their_order_and_no_others() {
        let mut early = Early::default();
        for (port, first) in [(2, 20), (3, 21), (2, 22)] {
            early.note(from(port).1);
            assert!(early.keep(from(port), &[first]));
        }
        let mut next = || early.take(|packet| packet.way == from(2)).map(|packet| packet.data);
        assert_eq!([next(), next(), next()], [Some(vec![20]), Some(vec![22]), None]);
    }
}
