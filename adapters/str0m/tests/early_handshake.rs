//! A handshake that begins before our own check is answered goes on when it is, without a resend.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use matrix_voip::machine::io::{Description, PeerNews, PeerOp, PeerState};
use matrix_voip_str0m::{
    entropy::Entropy,
    peer::{Input, Output, Peer, PeerSetup},
};
use testkit::{description, voice};

/// Before the first resend of a handshake (200 ms).
const NO_RESEND: Duration = Duration::from_millis(150);

/// A datagram: from, to, content.
type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

fn is_dtls(data: &[u8]) -> bool {
    (20..=63).contains(&data[0])
}

/// A success response to a STUN binding request (RFC 8489 §5).
fn is_check_answered(data: &[u8]) -> bool {
    data.starts_with(&[0x01, 0x01])
}

struct Wire {
    now: Instant,
    peers: [(SocketAddr, Peer); 2],
    under_way: VecDeque<Datagram>,
    connected: [bool; 2],
    /// Answers to the second peer's checks are on a slow way until it has seen DTLS.
    late: Option<Vec<Datagram>>,
    early_handshakes: u32,
}

impl Wire {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
        let now = Instant::now();
        let peer = |number: u8| {
            let address = SocketAddr::from(([10, 0, 0, number], 5000));
            let setup = PeerSetup {
                entropy: Entropy::seeded(number.into()),
                ..PeerSetup::new(now, vec![address])
            };
            (address, Peer::new(now, setup))
        };
        Self {
            now,
            peers: [peer(1), peer(2)],
            under_way: VecDeque::new(),
            connected: [false; 2],
            late: Some(Vec::new()),
            early_handshakes: 0,
        }
    }

    fn perform(&mut self, who: usize, op: PeerOp) -> matrix_voip::machine::io::Reply {
        self.peers[who].1.perform(self.now, op).unwrap()
    }

    /// The first peer offers, and both know all candidates at once. The first begins the handshake
    /// too: as the side that nominates it may do so before the second's checks are answered.
    fn negotiate(&mut self) {
        let offer = description(self.perform(0, PeerOp::Offer(voice(1, "s"))));
        self.perform(0, PeerOp::SetLocal(offer));
        let offer = description(self.perform(0, PeerOp::LocalDescription));
        let sdp = offer.sdp.expose().replace("a=setup:actpass", "a=setup:active");
        let offer = Description { sdp: sdp.into(), ..offer };
        self.perform(1, PeerOp::SetRemote(offer));
        let answer = description(self.perform(1, PeerOp::Answer(voice(1, "s"))));
        self.perform(1, PeerOp::SetLocal(answer));
        let answer = description(self.perform(1, PeerOp::LocalDescription));
        self.perform(0, PeerOp::SetRemote(answer));
    }

    fn on_datagram(&mut self, (from, to, data): Datagram) {
        let who = usize::from(to != self.peers[0].0);
        if let Some(late) = self.late.as_mut().filter(|_| who == 1) {
            if is_check_answered(&data) {
                return late.push((from, to, data));
            }
            if is_dtls(&data) {
                self.early_handshakes += 1;
                self.under_way.extend(self.late.take().unwrap());
            }
        }
        let input = Input::Datagram { local: to, from, data: &data };
        self.peers[who].1.handle(self.now, input);
    }

    /// Everything until `end`; datagrams take no time.
    fn run_until(&mut self, end: Instant) {
        while self.now < end {
            let mut next = end;
            for who in 0..2 {
                loop {
                    match self.peers[who].1.poll() {
                        Output::Timeout(at) => break next = next.min(at),
                        Output::Datagram { local, to, data } => {
                            self.under_way.push_back((local, to, data));
                        }
                        Output::News(PeerNews::State(PeerState::Connected)) => {
                            self.connected[who] = true;
                        }
                        _ => {}
                    }
                }
            }
            if let Some(datagram) = self.under_way.pop_front() {
                self.on_datagram(datagram);
                continue;
            }
            self.now = next.max(self.now + Duration::from_micros(1));
            for (_, peer) in &mut self.peers {
                peer.handle(self.now, Input::Timeout);
            }
        }
    }
}

#[test]
fn a_handshake_that_comes_before_our_check_is_answered_needs_no_resend() {
    let mut wire = Wire::new();
    wire.negotiate();
    let end = wire.now + NO_RESEND;
    wire.run_until(end);
    assert!(wire.early_handshakes > 0, "the schedule is not what it should be");
    assert_eq!(wire.connected, [true, true]);
}
