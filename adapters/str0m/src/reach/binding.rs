//! Our addresses as STUN servers see them (RFC 8489 §7.3): one Binding request from each socket
//! to each server.

use std::{net::SocketAddr, time::Instant};

use matrix_voip_engine::uri::Transport;

use super::request::{Due, Request, Step};
use crate::stun::{Class, Message, Method, Writer, attribute};

/// Most requests of one connection: sockets times servers.
pub(super) const MAX_BINDINGS: usize = 32;

/// A request from a socket to a server.
pub(super) struct Binding {
    /// Which server of the list.
    pub(super) server: usize,
    pub(super) local: SocketAddr,
    pub(super) to: SocketAddr,
    request: Request,
}

/// What became of a request whose time has come.
pub(super) enum Outcome {
    Send(Vec<u8>),
    Silent,
}

impl Binding {
    /// Asks; the bytes are to be sent.
    pub(super) fn new(
        step: &mut Step<'_>,
        server: usize,
        local: SocketAddr,
        to: SocketAddr,
    ) -> (Self, Vec<u8>) {
        let id = step.entropy.transaction_id();
        let bytes = Writer::new(Class::Request, Method::Binding, id).finish();
        let request = Request::new(step.now, id, bytes.clone(), Transport::Udp);
        (Self { server, local, to, request }, bytes)
    }

    /// Reads the answer: our address, or `None` in it when the server has refused. The outer
    /// `None`: this is not the answer.
    pub(super) fn on_message(&self, message: &Message<'_>) -> Option<Option<SocketAddr>> {
        let is_its = message.id == self.request.id && message.method == Method::Binding;
        let mapped = message.address(attribute::XOR_MAPPED_ADDRESS);
        match message.class {
            Class::Success if is_its => Some(mapped.filter(|address| address.port() != 0)),
            Class::Error if is_its => Some(None),
            _ => None,
        }
    }

    /// When it must be looked at again.
    pub(super) fn due(&self) -> Instant {
        self.request.due
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Option<Outcome> {
        match self.request.on_timeout(now)? {
            Due::Resend(bytes) => Some(Outcome::Send(bytes.to_vec())),
            Due::GiveUp => Some(Outcome::Silent),
        }
    }
}
