//! One allocation on a TURN server as a value (RFC 8656): messages and time in; messages, one
//! relayed address and the end of it out.
//!
//! ```text
//! Allocating ──success──▶ Allocated ──close──▶ Releasing ──▶ Over
//!     └──────refused, silent──▶ Over ◀──437, expired──┘
//! ```
//!
//! `answers` judges what the server says, [`auth`] answers its challenges, [`peers`] keeps permissions and channels. Only UDP is
//! relayed, over an IPv4 address. Why no crate: `turn-client-proto` logs addresses of both people,
//! hides the codes of refusals, takes half a minute to notice a wrong password and drops an
//! allocation whose lifetime is under ten minutes.

mod answers;
mod auth;
mod peers;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use matrix_voip::machine::io::ServerFault;
use matrix_voip_engine::uri::Transport;

use self::{auth::Auth, peers::Peers};
use super::{
    framing::FIRST_CHANNEL_BYTE,
    request::{Due, Request, Step},
    server::Credentials,
};
use crate::stun::{Class, Message, Method, Writer, attribute, padded};

/// Pause before a refresh that got no answer is tried again.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);

/// What an allocation wants or tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Send this message to the server; on streams it is padded already.
    Send(Vec<u8>),
    /// The relayed address is ours; the server sees us at `mapped`.
    Allocated { relayed: SocketAddr, mapped: Option<SocketAddr> },
    /// The server refused something other than the allocation itself.
    Refused(ServerFault),
    /// It is over, or never was; nothing follows.
    Ended(ServerFault),
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Allocate,
    Refresh,
    Release,
    Permit(IpAddr),
    Bind(SocketAddr, u16),
}

impl Purpose {
    const fn method(self) -> Method {
        match self {
            Self::Allocate => Method::Allocate,
            Self::Refresh | Self::Release => Method::Refresh,
            Self::Permit(_) => Method::CreatePermission,
            Self::Bind(..) => Method::ChannelBind,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Allocating,
    Allocated { relayed: SocketAddr, refresh: Instant, ends: Instant },
    Releasing,
    Over,
}

struct Pending {
    purpose: Purpose,
    request: Request,
    is_signed: bool,
    challenges: u32,
}

/// One allocation.
pub(crate) struct TurnClient {
    transport: Transport,
    auth: Auth,
    state: State,
    pending: Vec<Pending>,
    peers: Peers,
    events: VecDeque<Event>,
    /// Messages that cannot have come from the server.
    forged: u64,
}

impl TurnClient {
    /// Asks for an allocation.
    pub(crate) fn new(step: &mut Step<'_>, transport: Transport, credentials: Credentials) -> Self {
        let mut client = Self {
            transport,
            auth: Auth::new(credentials),
            state: State::Allocating,
            pending: Vec::new(),
            peers: Peers::default(),
            events: VecDeque::new(),
            forged: 0,
        };
        client.ask(step, Purpose::Allocate, 0);
        client
    }

    /// What it wants next.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When it must be called again at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let requests = self.pending.iter().map(|pending| pending.request.due);
        let own = match self.state {
            State::Allocated { refresh, ends, .. } => {
                self.peers.deadline().into_iter().chain([refresh.min(ends)]).min()
            }
            State::Allocating | State::Releasing | State::Over => None,
        };
        requests.chain(own).min().filter(|_| self.state != State::Over)
    }

    /// The relayed address, while it is ours.
    pub(crate) fn relayed(&self) -> Option<SocketAddr> {
        match self.state {
            State::Allocated { relayed, .. } => Some(relayed),
            State::Allocating | State::Releasing | State::Over => None,
        }
    }

    /// Whether it is neither wanted nor there.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// How many messages were not believed.
    pub(crate) fn forged(&self) -> u64 {
        self.forged
    }

    /// Lets packets of this address through, as far as there can be an allocation.
    pub(crate) fn permit(&mut self, step: &mut Step<'_>, ip: IpAddr) {
        let fits = self.relayed().is_some_and(|relayed| relayed.is_ipv4() == ip.is_ipv4());
        if fits && self.peers.want(ip) {
            self.ask(step, Purpose::Permit(ip), 0);
        }
    }

    /// Sends a packet from the relayed address. It waits for the permission where there is none
    /// yet; media gets a channel, which saves 32 bytes a packet.
    pub(crate) fn send(&mut self, step: &mut Step<'_>, to: SocketAddr, data: &[u8]) {
        self.permit(step, to.ip());
        if !self.peers.is_permitted(to.ip()) {
            return self.peers.hold(to, data);
        }
        let is_stun = data.first().is_some_and(|first| *first < 4);
        if !is_stun && let Some(number) = self.peers.want_channel(to) {
            self.ask(step, Purpose::Bind(to, number), 0);
        }
        let message = self.wrap(step, to, data);
        self.transmit(message);
    }

    /// Takes a message of the server, whole and without padding. Returns what a peer sent.
    pub(crate) fn on_message<'a>(
        &mut self,
        step: &mut Step<'_>,
        bytes: &'a [u8],
    ) -> Option<(SocketAddr, &'a [u8])> {
        if bytes.first().is_some_and(|first| *first >= FIRST_CHANNEL_BYTE) {
            let data = self.peers.channel_data(bytes);
            self.forged += u64::from(data.is_none());
            return data;
        }
        match Message::parse(bytes) {
            Some(message) if message.class == Class::Indication => self.on_indication(&message),
            Some(message) => {
                self.on_answer(step, &message);
                None
            }
            None => {
                self.forged += 1;
                None
            }
        }
    }

    /// Resends, refreshes, renews, gives up.
    pub(crate) fn on_timeout(&mut self, step: &mut Step<'_>) {
        self.resend(step);
        let State::Allocated { relayed, refresh, ends } = self.state else { return };
        if ends <= step.now {
            return self.end(ServerFault::Lost);
        }
        if refresh <= step.now {
            self.state = State::Allocated { relayed, refresh: ends, ends };
            self.ask(step, Purpose::Refresh, 0);
        }
        for ip in self.peers.permissions_due(step.now) {
            self.ask(step, Purpose::Permit(ip), 0);
        }
        for (peer, number) in self.peers.channels_due(step.now) {
            self.ask(step, Purpose::Bind(peer, number), 0);
        }
    }

    /// Gives the allocation back. It is over when the server has said so, or does not answer.
    pub(crate) fn close(&mut self, step: &mut Step<'_>) {
        match self.state {
            State::Allocated { .. } => {
                self.state = State::Releasing;
                self.pending.clear();
                self.ask(step, Purpose::Release, 0);
            }
            // The server may have made one already: its answer is awaited, to give it back.
            State::Allocating => self.state = State::Releasing,
            State::Releasing | State::Over => {}
        }
    }

    // --------------------------------------------------------------------------------- requests

    fn ask(&mut self, step: &mut Step<'_>, purpose: Purpose, challenges: u32) {
        let id = step.entropy.transaction_id();
        let writer = Writer::new(Class::Request, purpose.method(), id);
        let writer = match purpose {
            // UDP, as the number of its protocol.
            Purpose::Allocate => writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
            Purpose::Refresh => writer,
            Purpose::Release => writer.attribute(attribute::LIFETIME, &[0; 4]),
            Purpose::Permit(ip) => {
                writer.address(attribute::XOR_PEER_ADDRESS, SocketAddr::new(ip, 0))
            }
            Purpose::Bind(peer, number) => {
                let [high, low] = number.to_be_bytes();
                writer
                    .attribute(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
                    .address(attribute::XOR_PEER_ADDRESS, peer)
            }
        };
        let (bytes, is_signed) = self.auth.sign(writer);
        self.events.push_back(Event::Send(bytes.clone()));
        let request = Request::new(step.now, id, bytes, self.transport);
        self.pending.push(Pending { purpose, request, is_signed, challenges });
    }

    fn resend(&mut self, step: &mut Step<'_>) {
        let mut silent = Vec::new();
        for pending in &mut self.pending {
            match pending.request.on_timeout(step.now) {
                Some(Due::Resend(bytes)) => self.events.push_back(Event::Send(bytes.to_vec())),
                Some(Due::GiveUp) => silent.push(pending.purpose),
                None => {}
            }
        }
        self.pending.retain(|pending| !silent.contains(&pending.purpose));
        for purpose in silent {
            self.on_silence(step.now, purpose);
        }
    }

    fn on_silence(&mut self, now: Instant, purpose: Purpose) {
        match purpose {
            Purpose::Allocate => self.end(ServerFault::Silent),
            Purpose::Release => self.state = State::Over,
            Purpose::Refresh => {
                if let State::Allocated { refresh, ends, .. } = &mut self.state {
                    *refresh = (now + REFRESH_PAUSE).min(*ends);
                }
            }
            Purpose::Permit(ip) => self.peers.forget(ip),
            Purpose::Bind(peer, _) => self.peers.on_unbound(peer),
        }
    }

    // ---------------------------------------------------------------------------------- packets

    /// A packet for a peer, as the server wants it.
    fn wrap(&self, step: &mut Step<'_>, to: SocketAddr, data: &[u8]) -> Vec<u8> {
        let Some(number) = self.peers.channel(to) else {
            let writer =
                Writer::new(Class::Indication, Method::Send, step.entropy.transaction_id());
            let writer = writer.address(attribute::XOR_PEER_ADDRESS, to);
            return writer.attribute(attribute::DATA, data).finish();
        };
        let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
        let data = &data[..usize::from(length)];
        [&number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
    }

    fn transmit(&mut self, mut message: Vec<u8>) {
        if self.transport != Transport::Udp {
            message.resize(padded(message.len()), 0);
        }
        self.events.push_back(Event::Send(message));
    }
}
