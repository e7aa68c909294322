//! One peer connection as a value: no clock, no socket, no task, no randomness of its own.
//!
//! Bytes and time go in through [`Peer::handle`], requests through [`Peer::perform`]; what is to
//! be done comes out of [`Peer::poll`], which ends with the time at which it wants to be called
//! again. The tokio shell and the simulated network drive the same value, so a call can be
//! simulated hours long in a second.
//!
//! ```text
//! loop { perform or handle → poll until Output::Timeout(at) → wait for input or `at` }
//! ```
//!
//! Inside: str0m (ICE, DTLS, SRTP, RTP), `Negotiation` (m-lines), `Gathering` (our candidates),
//! `RemoteCandidates` (theirs), `Health` (state), `Measurements`.

mod config;
mod early;
mod events;
mod health;
mod io;
mod media;
mod outside;
mod remote;
mod tones;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use matrix_voip::{
    id::StreamId,
    machine::io::{Description, Fault, MediaKind, PeerOp, Plan, Reply, SdpKind},
    sdp::{ice_ufrag, media_lines},
};
use str0m::{
    Rtc,
    net::{Protocol, Receive},
};

pub use self::{
    config::PeerSetup,
    io::{Input, Output, ServerAddress, ToneReport},
};
use self::{
    early::{Early, Packet},
    health::Health,
    tones::Dialling,
};
use crate::{
    candidates::RemoteCandidates,
    entropy::Entropy,
    error::PeerError,
    gather::{Gathering, Origin},
    guard::fenced,
    negotiate::Negotiation,
    reach::Reach,
    sdp,
    stats::Measurements,
};

/// One peer connection.
pub struct Peer {
    rtc: Rtc,
    entropy: Entropy,
    epoch: Instant,
    now: Instant,
    deadline: Instant,
    outputs: VecDeque<Output>,
    negotiation: Negotiation,
    gathering: Gathering,
    reach: Reach,
    remote: RemoteCandidates,
    early: Early,
    health: Health,
    measured: Measurements,
    dialling: Dialling,
    /// What flows to us: per `mid` its stream and kind.
    flows: BTreeMap<String, (Option<StreamId>, MediaKind)>,
    key_frames_asked: BTreeMap<String, Instant>,
    /// Input that str0m could not use.
    refused: u64,
    is_relay_only: bool,
    is_closed: bool,
    was_closed_by_remote: bool,
}

impl Peer {
    /// Makes a connection at the time `now`, with a host candidate for each address.
    pub fn new(now: Instant, mut setup: PeerSetup) -> Self {
        let rtc = config::build(now, &mut setup);
        let reach = Reach::new(&setup.ice_servers, setup.addresses.clone(), setup.relay_only);
        let mut peer = Self {
            rtc,
            entropy: setup.entropy,
            epoch: setup.epoch,
            now,
            deadline: now,
            outputs: VecDeque::new(),
            negotiation: Negotiation::default(),
            gathering: Gathering::default(),
            reach,
            remote: RemoteCandidates::new(),
            early: Early::default(),
            health: Health::default(),
            measured: Measurements::default(),
            dialling: Dialling::default(),
            flows: BTreeMap::new(),
            key_frames_asked: BTreeMap::new(),
            refused: 0,
            is_relay_only: setup.relay_only,
            is_closed: false,
            was_closed_by_remote: false,
        };
        for address in setup.addresses.into_iter().filter(|_| !setup.relay_only) {
            peer.add_local(Origin::Host(address));
        }
        peer.drain();
        peer
    }

    /// Takes what happened at the time `now`. Poll afterwards until [`Output::Timeout`].
    ///
    /// Nothing that a remote party sends makes this fail: what cannot be used is counted.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Timeout => {
                self.feed(str0m::Input::Timeout(self.now));
                self.reach(|reach, step| reach.on_timeout(step));
                self.sound_next();
                let state = self.health.on_time(self.now);
                self.report(state);
            }
            Input::Datagram { local, from, data } => self.on_datagram(local, from, data),
            Input::Resolved { server, addresses } => {
                self.reach(|reach, step| reach.on_resolved(step, server, addresses));
            }
            Input::Connected { server, local } => {
                self.reach(|reach, step| reach.on_connected(step, server, local));
            }
            Input::Stream { server, data } => {
                self.reach(|reach, step| reach.on_stream(step, server, data));
            }
            Input::Disconnected { server, fault } => {
                self.reach(|reach, step| reach.on_disconnected(step, server, fault));
            }
            Input::Socket(local) => self.on_socket(local),
            Input::SocketGone(local) => self.on_socket_gone(local),
            Input::Frame { track, frame } => self.send(track, frame),
            Input::WantKeyFrame { mid } => self.request_key_frame(mid),
        }
    }

    /// Carries out a request of the machine at the time `now`; poll afterwards.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] for [`PeerOp::Open`] (that is [`Peer::new`]); [`Fault::Failed`] with
    /// the text of a [`PeerError`] for what cannot be done now or is wrong with a description.
    pub fn perform(&mut self, now: Instant, op: PeerOp) -> Result<Reply, Fault> {
        match op {
            PeerOp::Open(_) => return Err(Fault::Unsupported),
            PeerOp::Offer(plan) => return Ok(Reply::Description(self.offer(now, &plan)?)),
            PeerOp::Answer(plan) => return Ok(Reply::Description(self.answer(now, &plan)?)),
            PeerOp::SetLocal(description) => self.set_local(now, &description)?,
            PeerOp::LocalDescription => return Ok(Reply::Description(self.local_description()?)),
            PeerOp::SetRemote(description) => self.set_remote(now, &description)?,
            PeerOp::Rollback => self.rollback(now)?,
            PeerOp::Candidates(candidates) => self.add_candidates(now, &candidates)?,
            PeerOp::RestartIce => {
                self.alive(now)?;
                self.negotiation.restart_ice();
                self.reach(|reach, _| reach.on_restart());
            }
            PeerOp::SetServers(servers) => {
                self.alive(now)?;
                self.reach.set_servers(&servers);
            }
            PeerOp::Stats => {
                self.now = self.now.max(now);
                return Ok(Reply::Stats(Box::new(self.stats())));
            }
            PeerOp::Close => self.close(now),
        }
        Ok(Reply::Done)
    }

    /// The next thing to do; [`Output::Timeout`] when there is no more.
    pub fn poll(&mut self) -> Output {
        self.settle();
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.next_deadline()))
    }

    /// Makes an offer for the plan.
    ///
    /// # Errors
    /// [`PeerError::BadStreamId`], [`PeerError::Dead`].
    pub fn offer(&mut self, now: Instant, plan: &Plan) -> Result<Description, PeerError> {
        self.alive(now)?;
        let offer = self.negotiation.offer(&mut self.rtc, &mut self.entropy, plan);
        self.drain();
        Ok(self.dressed(&offer?))
    }

    /// Answers the remote offer, as near to the plan as it allows, and puts both into force.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn answer(&mut self, now: Instant, plan: &Plan) -> Result<Description, PeerError> {
        self.alive(now)?;
        let generation = self.generation();
        let answer = self.negotiation.answer(&mut self.rtc, &mut self.entropy, plan);
        self.drain();
        let (answer, offer) = answer?;
        if self.generation() != generation {
            self.on_restarted();
        }
        self.on_remote_description(&offer);
        Ok(self.dressed(&answer))
    }

    /// Puts our description into force; our candidates are reported from then on.
    ///
    /// # Errors
    /// [`PeerError::NoDescription`] when no such description was made here.
    pub fn set_local(&mut self, now: Instant, description: &Description) -> Result<(), PeerError> {
        self.alive(now)?;
        if !self.negotiation.has_made(description.kind) {
            return Err(PeerError::NoDescription);
        }
        self.announce(description.sdp.expose());
        Ok(())
    }

    /// Candidates are reported for this description of ours.
    fn announce(&mut self, text: &str) {
        let mid = media_lines(text).first().and_then(|line| line.mid).unwrap_or_default();
        let ufrag = ice_ufrag(text).unwrap_or_default();
        self.gathering.announce(mid, ufrag);
    }

    /// Our last description with all candidates found so far.
    ///
    /// # Errors
    /// [`PeerError::NoDescription`].
    pub fn local_description(&self) -> Result<Description, PeerError> {
        self.negotiation.local().map(|made| self.dressed(made)).ok_or(PeerError::NoDescription)
    }

    /// A description of ours with the candidates that there are now.
    fn dressed(&self, made: &Description) -> Description {
        let text = made.sdp.expose();
        let candidates = self.gathering.lines(ice_ufrag(text).unwrap_or_default());
        let text = sdp::with_candidates(text, candidates, self.progress());
        Description { kind: made.kind, sdp: text.into() }
    }

    /// The name of our ICE generation.
    fn generation(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Takes the other side's description: an offer waits for [`answer`](Self::answer), an answer
    /// takes effect.
    ///
    /// # Errors
    /// [`PeerError`]; nothing has changed then, but that an answer which str0m refuses uses up our
    /// offer.
    pub fn set_remote(&mut self, now: Instant, description: &Description) -> Result<(), PeerError> {
        self.alive(now)?;
        let text = description.sdp.expose();
        match description.kind {
            SdpKind::Offer => self.negotiation.take_offer(text),
            SdpKind::Answer => {
                let generation = self.generation();
                let taken = self.negotiation.take_answer(&mut self.rtc, text);
                self.drain();
                taken?;
                if self.generation() != generation {
                    self.on_restarted();
                }
                self.on_remote_description(text);
                Ok(())
            }
        }
    }

    /// Forgets our unanswered offer.
    ///
    /// # Errors
    /// [`PeerError::Dead`].
    pub fn rollback(&mut self, now: Instant) -> Result<(), PeerError> {
        self.alive(now)?;
        self.negotiation.rollback(&mut self.rtc);
        self.drain();
        match self.negotiation.local().map(|former| former.sdp.expose().to_owned()) {
            Some(former) => self.announce(&former),
            None => self.gathering.withdraw(),
        }
        Ok(())
    }

    /// Takes remote candidates; what cannot be used is skipped and counted, what is early waits.
    ///
    /// # Errors
    /// [`PeerError::Dead`].
    pub fn add_candidates(
        &mut self,
        now: Instant,
        candidates: &[matrix_voip::machine::io::Candidate],
    ) -> Result<(), PeerError> {
        self.alive(now)?;
        let ready = self.remote.add(candidates);
        self.add_remote(ready);
        Ok(())
    }

    /// The latest measurements; str0m makes them once a second.
    pub fn stats(&self) -> matrix_voip::machine::io::PeerStats {
        let local = |local| self.gathering.kind_of(local);
        let mut stats =
            self.measured.snapshot(self.now, local, |remote| self.remote.kind_of(remote));
        if let Some(pair) = &mut stats.pair {
            let relayed = pair.local.address.expose().parse().ok();
            pair.local.relay_protocol = relayed.and_then(|at| self.reach.transport(at));
        }
        stats.servers = self.reach.stats();
        stats.unusable_candidates = self.remote.skipped();
        stats
    }

    /// How many remote candidates and datagrams could not be used.
    pub fn skipped(&self) -> u64 {
        self.remote.skipped() + self.refused + self.reach.refused()
    }

    /// Whether nothing of this connection is left on any server. After [`close`](Self::close) it
    /// takes an answer or a few seconds; who cannot wait leaves the rest to the servers' clocks.
    pub fn is_released(&self) -> bool {
        self.reach.is_released()
    }

    /// Says goodbye (RTCP BYE, DTLS close); afterwards everything is refused but polling.
    pub fn close(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if !std::mem::replace(&mut self.is_closed, true) {
            drop(self.rtc.close());
            self.drain();
            self.feed(str0m::Input::Timeout(self.now));
            self.rtc.disconnect();
            self.reach(|reach, step| reach.close(step));
        }
    }

    fn alive(&mut self, now: Instant) -> Result<(), PeerError> {
        self.now = self.now.max(now);
        let is_alive = self.rtc.is_alive() && !self.is_closed;
        is_alive.then_some(()).ok_or(PeerError::Dead)
    }

    fn add_local(&mut self, origin: Origin) {
        let candidate = origin.candidate();
        let taken = candidate.and_then(|candidate| self.rtc.add_local_candidate(candidate));
        if let Some(line) = taken.map(str0m::Candidate::to_sdp_string) {
            self.gathering.on_found(origin, &line);
        }
        self.drain();
    }

    /// A packet for str0m, that came in at one of our addresses.
    fn receive(&mut self, local: SocketAddr, from: SocketAddr, data: &[u8]) {
        // With relayed candidates only, nobody is to find us at our own address.
        let input = received(self.now, (local, from), data);
        let Some(input) = input.filter(|_| self.gathering.has_base(local)) else {
            self.refused += 1;
            return;
        };
        let is_connected = self.rtc.is_connected();
        // DTLS of a stranger could break the handshake; STUN has a password of its own.
        if self.rtc.accepts(&input) {
            if self.measured.route() == Some((local, from)) {
                self.health.on_heard(self.now);
            }
            self.feed(input);
            if !is_connected {
                self.early.note(from);
                self.feed_early();
            }
        } else if is_connected || !self.early.keep((local, from), data) {
            self.refused += 1;
        }
    }

    /// What came too early, if ICE knows its sender now; nothing of it is needed any more once the
    /// connection is there.
    fn feed_early(&mut self) {
        let now = self.now;
        let accepts = |rtc: &Rtc, packet: &Packet| {
            received(now, packet.way, &packet.data).is_some_and(|input| rtc.accepts(&input))
        };
        while !self.rtc.is_connected()
            && let Some(packet) = self.early.take(|packet| accepts(&self.rtc, packet))
        {
            if let Some(input) = received(now, packet.way, &packet.data) {
                self.feed(input);
            }
        }
        if self.rtc.is_connected() {
            self.refused += self.early.clear();
        }
    }

    fn feed(&mut self, input: str0m::Input<'_>) {
        let handled = fenced(&mut self.rtc, |rtc| rtc.handle_input(input).is_ok());
        if handled != Ok(true) {
            self.refused += 1;
        }
        self.drain();
    }
}

/// A packet as str0m takes it; `None` when it is nothing that WebRTC sends.
fn received(
    now: Instant,
    (local, from): (SocketAddr, SocketAddr),
    data: &[u8],
) -> Option<str0m::Input<'_>> {
    let packet = Receive::new(Protocol::Udp, from, local, data).ok()?;
    Some(str0m::Input::Receive(now, packet))
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("health", &self.health).finish_non_exhaustive()
    }
}
