//! What follows from the messages of a TURN server: whether they are believed, what they grant,
//! what they refuse.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use matrix_voip::machine::io::ServerFault;

use super::{Event, Pending, Purpose, State, TurnClient};
use crate::{
    reach::request::Step,
    stun::{Class, Message, Method, attribute},
};

/// Challenges that one request answers before the server counts as not to be satisfied.
const MAX_CHALLENGES: u32 = 4;

/// Shortest lifetime that is believed: a shorter one would make a storm of refreshes.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);

/// Longest lifetime that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(3600);

impl TurnClient {
    pub(super) fn on_indication<'a>(
        &mut self,
        message: &Message<'a>,
    ) -> Option<(SocketAddr, &'a [u8])> {
        let peer = message.address(attribute::XOR_PEER_ADDRESS);
        let data = message.attribute(attribute::DATA);
        let permitted = peer.filter(|peer| self.peers.is_permitted(peer.ip()));
        let content = permitted.zip(data).filter(|_| message.method == Method::Data);
        self.forged += u64::from(content.is_none());
        content
    }

    pub(super) fn on_answer(&mut self, step: &mut Step<'_>, message: &Message<'_>) {
        let is_its = |pending: &Pending| {
            pending.request.id == message.id && pending.purpose.method() == message.method
        };
        let found = self.pending.iter().position(is_its);
        // Servers leave errors unsigned (coturn does so with 401 and 438); what is signed must
        // be signed well, and a success always is.
        let must_verify = message.class == Class::Success || message.is_signed();
        let is_trusted = !must_verify || self.auth.has_signed(message);
        let Some(index) = found.filter(|_| is_trusted && message.class != Class::Request) else {
            self.forged += 1;
            return;
        };
        let pending = self.pending.swap_remove(index);
        match message.class {
            Class::Success => self.on_success(step, pending.purpose, message),
            _ => self.on_error(step, &pending, message),
        }
    }

    fn on_success(&mut self, step: &mut Step<'_>, purpose: Purpose, message: &Message<'_>) {
        match purpose {
            Purpose::Allocate if self.state == State::Releasing => {
                self.ask(step, Purpose::Release, 0);
            }
            Purpose::Allocate => self.on_allocated(step.now, message),
            Purpose::Refresh => {
                if let State::Allocated { relayed, .. } = self.state {
                    self.state = allocated(relayed, step.now, message);
                }
            }
            Purpose::Release => self.state = State::Over,
            Purpose::Permit(ip) => {
                for (to, data) in self.peers.on_permitted(step.now, ip) {
                    self.send(step, to, &data);
                }
            }
            Purpose::Bind(peer, _) => self.peers.on_bound(step.now, peer),
        }
    }

    fn on_allocated(&mut self, now: Instant, message: &Message<'_>) {
        let relayed = message.address(attribute::XOR_RELAYED_ADDRESS);
        let usable = |address: &SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
        let Some(relayed) = relayed.filter(usable) else {
            return self.end(ServerFault::Nonsense);
        };
        self.state = allocated(relayed, now, message);
        let mapped = message.address(attribute::XOR_MAPPED_ADDRESS);
        self.events.push_back(Event::Allocated { relayed, mapped });
    }

    fn on_error(&mut self, step: &mut Step<'_>, pending: &Pending, message: &Message<'_>) {
        if self.state == State::Releasing && pending.purpose == Purpose::Allocate {
            // Closed before anything was granted: there is nothing to give back.
            self.state = State::Over;
            return;
        }
        let code = message.error().unwrap_or(0);
        let is_challenge = match code {
            401 => !pending.is_signed,
            438 => pending.is_signed,
            _ => false,
        };
        if !is_challenge {
            return self.on_refusal(pending.purpose, code);
        }
        if pending.challenges == MAX_CHALLENGES {
            return self.on_refusal(pending.purpose, 438);
        }
        if !self.auth.on_challenge(message) {
            return self.on_refusal(pending.purpose, 0);
        }
        self.ask(step, pending.purpose, pending.challenges + 1);
    }

    fn on_refusal(&mut self, purpose: Purpose, code: u16) {
        let fault = fault(code);
        match purpose {
            Purpose::Allocate => self.end(fault),
            // It is not there any more.
            Purpose::Refresh if code == 437 => self.end(ServerFault::Lost),
            // It stays until its time is over.
            Purpose::Refresh => self.events.push_back(Event::Refused(fault)),
            Purpose::Release => self.state = State::Over,
            Purpose::Permit(ip) => {
                self.peers.forbid(ip);
                self.events.push_back(Event::Refused(fault));
            }
            Purpose::Bind(peer, _) => self.peers.on_unbound(peer),
        }
    }

    /// It is of no use any more: refused, or the way to the server is gone.
    pub(crate) fn end(&mut self, fault: ServerFault) {
        if self.state != State::Over {
            self.state = State::Over;
            self.pending.clear();
            self.events.push_back(Event::Ended(fault));
        }
    }
}

/// The state that a successful answer brings: refreshed a minute before the end, or at three
/// quarters of a short life.
fn allocated(relayed: SocketAddr, now: Instant, message: &Message<'_>) -> State {
    let seconds = message.number(attribute::LIFETIME).unwrap_or(0);
    let life = Duration::from_secs(u64::from(seconds));
    let life = life.clamp(SHORTEST_LIFETIME, LONGEST_LIFETIME);
    let margin = Duration::from_secs(60).min(life / 4);
    State::Allocated { relayed, refresh: now + life - margin, ends: now + life }
}

/// What an error code says (RFC 8489 §14.8, RFC 8656 §19).
const fn fault(code: u16) -> ServerFault {
    match code {
        0 => ServerFault::Nonsense,
        300 => ServerFault::Redirects,
        401 | 441 => ServerFault::WrongCredentials(code),
        403 => ServerFault::Forbidden,
        438 => ServerFault::StaleNonce,
        486 => ServerFault::QuotaReached,
        508 => ServerFault::NoCapacity,
        _ => ServerFault::Refused(code),
    }
}
