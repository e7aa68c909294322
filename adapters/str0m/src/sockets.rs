//! The sockets of one peer connection: one UDP socket for each address of this machine.
//!
//! Sending uses a std socket and receiving a tokio one over the same file: tokio's own
//! `try_send_to` says "would block" right after the bind, and the first packets of every call
//! would be lost (`str0m.md` §3).

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
    time::Instant,
};

use tokio::{io::ReadBuf, net::UdpSocket};

use matrix_voip_engine::interfaces::MAX_ADDRESSES;

use crate::impairment::{Delayed, Impairment, Impairments, Outgoing};

/// Longest datagram: nothing in WebRTC exceeds an Ethernet frame.
const MAX_DATAGRAM: usize = 2048;

/// Most sockets of one connection, those of interfaces that are gone included.
const MAX_SOCKETS: usize = 2 * MAX_ADDRESSES;

/// Receive errors in a row after which a socket is left alone: its interface is gone.
const MAX_ERRORS: u32 = 16;

struct Socket {
    address: SocketAddr,
    sender: std::net::UdpSocket,
    receiver: UdpSocket,
    errors: u32,
    /// Its address is not ours at present.
    is_gone: bool,
}

/// What became of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It can be used, for the first time or again.
    Here(SocketAddr),
    /// Its address is not ours any more.
    Gone(SocketAddr),
}

/// A datagram that came in; its content is in [`Sockets::content`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) local: SocketAddr,
    pub(crate) from: SocketAddr,
    length: usize,
}

/// A datagram that impaired sockets have held back.
#[derive(Debug)]
pub(crate) struct Late {
    pub(crate) local: SocketAddr,
    pub(crate) from: SocketAddr,
    pub(crate) data: Vec<u8>,
}

/// All sockets of one peer connection.
pub(crate) struct Sockets {
    sockets: Vec<Socket>,
    /// Where the next look for a datagram begins, so that a busy socket starves no other.
    turn: usize,
    buffer: Box<[u8; MAX_DATAGRAM]>,
    impairments: Option<Impairments>,
    delayed: Delayed<Outgoing>,
    late: Delayed<Late>,
}

impl Sockets {
    /// Opens a socket on each address. Addresses that cannot be bound are left out.
    ///
    /// # Errors
    /// No address could be bound.
    pub(crate) fn open(addresses: &[IpAddr], impairments: Option<Impairments>) -> io::Result<Self> {
        let sockets: Vec<Socket> =
            addresses.iter().filter_map(|ip| Socket::open(*ip).ok()).collect();
        if sockets.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let buffer = Box::new([0; MAX_DATAGRAM]);
        let (delayed, late) = (Delayed::default(), Delayed::default());
        Ok(Self { sockets, turn: 0, buffer, impairments, delayed, late })
    }

    /// These are the machine's addresses now: opens sockets for new ones, and says what became of
    /// the others. Those whose address is gone stay: it may come back.
    pub(crate) fn follow(&mut self, present: &[IpAddr]) -> Vec<Turn> {
        let mut turns = Vec::new();
        for socket in &mut self.sockets {
            let is_gone = !present.contains(&socket.address.ip());
            if std::mem::replace(&mut socket.is_gone, is_gone) != is_gone {
                socket.errors = 0;
                let (here, gone) = (Turn::Here(socket.address), Turn::Gone(socket.address));
                turns.push(if is_gone { gone } else { here });
            }
        }
        turns.extend(present.iter().filter_map(|ip| self.add(*ip)).map(Turn::Here));
        turns
    }

    /// Whether other machines can reach one of them.
    pub(crate) fn reach_others(&self) -> bool {
        self.sockets.iter().any(|socket| !socket.address.ip().is_loopback())
    }

    /// Opens a socket on an address that has none; returns what it is bound to.
    fn add(&mut self, ip: IpAddr) -> Option<SocketAddr> {
        let is_known = self.sockets.iter().any(|socket| socket.address.ip() == ip);
        if is_known || self.sockets.len() == MAX_SOCKETS {
            return None;
        }
        let socket = Socket::open(ip).ok()?;
        let address = socket.address;
        self.sockets.push(socket);
        Some(address)
    }

    /// The bound addresses.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.address).collect()
    }

    /// Sends from the socket with that address. What the system refuses is lost, as on any
    /// network.
    pub(crate) fn send(&mut self, now: Instant, datagram: Outgoing) {
        let Some(impairments) = &self.impairments else { return self.transmit(&datagram) };
        let impairment = impairments.sent();
        if let Some(datagram) = self.delayed.admit(now, impairment, datagram) {
            self.transmit(&datagram);
        }
    }

    /// Sends what was delayed until now.
    pub(crate) fn send_due(&mut self, now: Instant) {
        while let Some(datagram) = self.delayed.due(now) {
            self.transmit(&datagram);
        }
    }

    /// When something that is to be sent is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.next()
    }

    /// Whether bad luck keeps this arrival: it is lost, or comes by [`late`](Self::late).
    pub(crate) fn keeps(&mut self, now: Instant, arrival: &Arrival) -> bool {
        let Some(impairments) = &self.impairments else { return false };
        let impairment = impairments.received();
        if impairment == Impairment::default() {
            return false;
        }
        let Arrival { local, from, .. } = *arrival;
        let late = Late { local, from, data: self.content(arrival).to_vec() };
        self.late.admit(now, impairment, late).is_none()
    }

    /// The next arrival whose time has come.
    pub(crate) fn late(&mut self, now: Instant) -> Option<Late> {
        self.late.due(now)
    }

    /// When the next one of those is due.
    pub(crate) fn next_late(&self) -> Option<Instant> {
        self.late.next()
    }

    /// Waits for a datagram. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Arrival {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// The bytes of the last arrival.
    pub(crate) fn content(&self, arrival: &Arrival) -> &[u8] {
        self.buffer.get(..arrival.length).unwrap_or_default()
    }

    fn transmit(&self, datagram: &Outgoing) {
        let mut sockets = self.sockets.iter();
        if let Some(socket) = sockets.find(|socket| socket.address == datagram.local) {
            drop(socket.sender.send_to(&datagram.data, datagram.to));
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Arrival> {
        for _ in 0..self.sockets.len() {
            self.turn = (self.turn + 1) % self.sockets.len();
            let Some(socket) = self.sockets.get_mut(self.turn) else { continue };
            let mut buffer = ReadBuf::new(self.buffer.as_mut_slice());
            while socket.errors < MAX_ERRORS {
                match socket.receiver.poll_recv_from(context, &mut buffer) {
                    Poll::Pending => break,
                    // Windows tells so that somebody we sent to is gone; the socket is fine.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {}
                    Poll::Ready(Err(_)) => socket.errors += 1,
                    Poll::Ready(Ok(from)) => {
                        socket.errors = 0;
                        let (local, length) = (socket.address, buffer.filled().len());
                        return Poll::Ready(Arrival { local, from, length });
                    }
                }
            }
        }
        Poll::Pending
    }
}

impl Socket {
    fn open(ip: IpAddr) -> io::Result<Self> {
        let sender = std::net::UdpSocket::bind((ip, 0))?;
        sender.set_nonblocking(true)?;
        let receiver = UdpSocket::from_std(sender.try_clone()?)?;
        Ok(Self { address: sender.local_addr()?, sender, receiver, errors: 0, is_gone: false })
    }
}
