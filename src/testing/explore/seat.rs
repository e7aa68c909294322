//! One engine of a small world, and the delegate that serves it at once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{NEVER, Role};
use crate::{
    id::{CallId, EventId, OpId, PeerId, RoomId, UserId},
    machine::{
        Engine,
        event::{CallSnapshot, CallState, MissedWhy, VoipEvent},
        io::{
            Candidate, Description, Fault, Fetch, Input, MatrixOp, Op, Output, PeerNews, PeerOp,
            PeerState, Reply, RoomNews, SdpKind, TurnServers,
        },
    },
    redact::Redacted,
    testing::{sdp, watch::Watch},
    time::{Mono, Now, Wall},
    wire::{
        call::{Body, CallMessage},
        delivery::{Delivery, Facts, Parsed, Place, Protection},
        read,
    },
};

/// When small worlds begin.
pub(super) const EPOCH: Now = Now { mono: Mono(Duration::ZERO), wall: Wall(1_786_100_000_000) };

/// The one room.
pub(super) fn room() -> RoomId {
    RoomId::parse("!room:example").expect("invariant: the text is a room id")
}

/// An event on its way to the homeserver and from there to others.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// From its sender and content: the same in every history.
    pub(super) event: EventId,
    pub(super) event_type: Arc<str>,
    pub(super) message: Arc<CallMessage>,
}

// An event's id says what it is.
impl PartialEq for Sent {
    fn eq(&self, other: &Self) -> bool {
        self.event == other.event
    }
}

impl Eq for Sent {}

impl Hash for Sent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.event.hash(state);
    }
}

impl Sent {
    /// The event as it arrives.
    fn arrives(&self, sender: &UserId, at: Wall, now: Now) -> Parsed {
        let facts = Facts {
            event_id: Some(self.event.clone()),
            sender: sender.clone(),
            device: None,
            protection: Protection::Clear,
            sent: Some(at),
            age: Some(now.wall.since(at)),
        };
        let event = Ok((*self.message).clone().into());
        Parsed { facts, event, event_type: self.event_type.to_string() }
    }
}

/// An event in a batch of its own.
fn alone(event: Parsed) -> Input {
    let place = Place::Room { room: room(), encrypted: false };
    Input::Deliver(Delivery { place, events: vec![event] })
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct End {
    /// What tells this end from all others: the call and who sits here.
    pub(super) credentials: String,
    local: Option<Description>,
    gathered: bool,
    pub(super) remote: Option<String>,
    candidates: BTreeSet<String>,
    pub(super) connected: bool,
}

impl End {
    pub(super) fn is_ready(&self) -> bool {
        self.local.is_some() && self.remote.is_some() && !self.candidates.is_empty()
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) engine: Engine,
    pub(super) watch: Watch,
    pub(super) role: Arc<Role>,
    pub(super) ends: BTreeMap<PeerId, End>,
    /// Sends of invites, answers and farewells that the homeserver has not answered.
    pub(super) sends: BTreeMap<OpId, Sent>,
    /// Events that the homeserver has although we got no answer.
    pub(super) known: BTreeSet<EventId>,
    pub(super) invited: bool,
    /// Calls whose answer was selected.
    pub(super) selected: BTreeSet<CallId>,
    /// Calls that came while another was connected.
    pub(super) busy: BTreeSet<CallId>,
    /// Calls whose end came before their invite.
    gone: BTreeSet<CallId>,
    /// Calls that were refused or hung up from here.
    pub(super) refused: BTreeSet<CallId>,
    /// Events that arrived and will arrive again.
    repeats: BTreeSet<EventId>,
    /// Whether a send may still fail on this way.
    pub(super) may_lose: bool,
    /// Its number among all different seats.
    pub(super) number: usize,
    /// When the engine last heard the time.
    heard: Now,
    /// The present.
    at: Now,
    print: u64,
}

type Step = Result<(), String>;

impl Seat {
    pub(super) fn new(role: &Role, engine: Engine, users: &[UserId]) -> Result<Self, String> {
        let mut seat = Self {
            engine,
            watch: Watch::quick(),
            role: Arc::new(role.clone()),
            ends: BTreeMap::new(),
            sends: BTreeMap::new(),
            known: BTreeSet::new(),
            invited: false,
            selected: BTreeSet::new(),
            busy: BTreeSet::new(),
            gone: BTreeSet::new(),
            refused: BTreeSet::new(),
            repeats: BTreeSet::new(),
            may_lose: false,
            number: 0,
            heard: EPOCH,
            at: EPOCH,
            print: 0,
        };
        let members = RoomNews::Members(users.iter().cloned().collect());
        seat.input(EPOCH, Input::Room(room(), members), &mut Vec::new())?;
        Ok(seat)
    }

    pub(super) fn user(&self) -> &UserId {
        &self.role.identity.user
    }

    /// How steps call it.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.user(), self.role.identity.device)
    }

    /// Every call that it ever had.
    pub(super) fn calls(&self) -> impl Iterator<Item = &CallSnapshot> {
        self.watch.calls.values().map(|call| &call.folded)
    }

    /// How it stands with a call; `None` when it never had it.
    pub(super) fn call(&self, id: &CallId) -> Option<&CallSnapshot> {
        self.calls().find(|call| call.call_id == *id)
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = &CallSnapshot> {
        self.calls().filter(|call| call.state == CallState::Connected)
    }

    /// Whether nothing that is said of a call can change anything here.
    pub(super) fn is_over(&self, id: &CallId) -> bool {
        match self.call(id) {
            Some(call) => call.state == CallState::Ended,
            None => self.refused.contains(id),
        }
    }

    /// How long until it wants to be woken; `None` for never.
    pub(super) fn wakes_in(&self, now: Now) -> Option<Duration> {
        let left = self.engine.poll_timeout()?.saturating_sub(now.mono.since(self.heard.mono));
        (left < NEVER / 2).then_some(left)
    }

    /// A number that is equal for seats that will behave alike, and of which the rules know alike.
    pub(super) fn print(&self) -> u64 {
        self.print
    }

    /// The same seat, later.
    pub(super) fn later(&self, now: Now) -> Self {
        let mut seat = Self { at: now, ..self.clone() };
        seat.print = seat.new_print();
        seat
    }

    /// Seats with the same key are the same to the search.
    pub(super) fn key(&self) -> (u64, Now) {
        (self.print, self.at)
    }

    fn new_print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.name(), self.engine.fingerprint_at(self.at)).hash(&mut hasher);
        for (call, end) in self.ends.values().map(|end| (&end.credentials, end)) {
            (call, end).hash(&mut hasher);
        }
        let sends: BTreeSet<_> = self.sends.values().map(|sent| &sent.event).collect();
        (sends, &self.known, self.invited, &self.busy, &self.refused).hash(&mut hasher);
        let selected = self.selected.iter().filter(|call| !self.is_over(call));
        selected.collect::<Vec<_>>().hash(&mut hasher);
        self.gone.hash(&mut hasher);
        self.repeats.hash(&mut hasher);
        let calls: BTreeMap<_, _> = self.calls().map(|c| (&c.call_id, c.state)).collect();
        calls.hash(&mut hasher);
        hasher.finish()
    }

    // ------------------------------------------------------------------------------- the engine

    fn now(&mut self, now: Now) {
        (self.heard, self.at) = (now, now);
    }

    /// Hands an input to the engine; what it sends is posted.
    pub(super) fn input(&mut self, now: Now, input: Input, post: &mut Vec<Sent>) -> Step {
        self.now(now);
        let reply = if let Input::Reply(id, _) = &input { Some(*id) } else { None };
        let verdict = self.engine.handle(now, input);
        if let Some(id) = reply {
            self.watch.on_reply(id, &verdict)?;
        }
        self.settle(now, post)
    }

    /// Whether the event that arrives will arrive again. One that does no more is heard while it
    /// is known that it came before.
    pub(super) fn expect_again(&mut self, event: &EventId, last: bool) {
        if last {
            self.repeats.remove(event);
        } else {
            self.repeats.insert(event.clone());
        }
    }

    /// An event arrives: who sent it, and when.
    pub(super) fn hear(
        &mut self,
        now: Now,
        (sent, sender, at): (&Sent, &UserId, Wall),
        post: &mut Vec<Sent>,
    ) -> Step {
        let call = &sent.message.header.call_id;
        let by_us = sender == self.user();
        let over = match &sent.message.body {
            Body::Hangup { .. } => true,
            Body::Answer(_) | Body::Reject { .. } => by_us,
            _ => false,
        };
        if over && !by_us && self.call(call).is_none() {
            self.gone.insert(call.clone());
        }
        self.input(now, alone(sent.arrives(sender, at, now)), post)?;
        if over && self.call(call).is_some_and(|call| call.state == CallState::Ringing) {
            return Err(format!("{} rings on although the call is over", self.name()));
        }
        Ok(())
    }

    /// Lets the engine do what is due.
    pub(super) fn wake(&mut self, now: Now, post: &mut Vec<Sent>) -> Step {
        self.now(now);
        self.engine.handle_timeout(now);
        self.settle(now, post)
    }

    /// Serves the engine until it wants nothing more.
    fn settle(&mut self, now: Now, post: &mut Vec<Sent>) -> Step {
        let mut due = VecDeque::new();
        loop {
            while let Some(output) = self.engine.poll_output() {
                self.watch.on_output(&output)?;
                self.serve(now, output, &mut due, post)?;
            }
            let Some(input) = due.pop_front() else { break };
            let reply = if let Input::Reply(id, _) = &input { Some(*id) } else { None };
            if reply.is_some_and(|id| !self.watch.awaits(id)) {
                continue;
            }
            let verdict = self.engine.handle(now, input);
            if let Some(id) = reply {
                self.watch.on_reply(id, &verdict)?;
            }
        }
        self.watch.on_step(&self.engine)?;
        self.engine.forget_seen(|event| self.repeats.contains(event));
        self.print = self.new_print();
        Ok(())
    }

    fn serve(
        &mut self,
        now: Now,
        output: Output,
        due: &mut VecDeque<Input>,
        post: &mut Vec<Sent>,
    ) -> Step {
        match output {
            Output::Request { id, op } => match op {
                Op::Matrix(send) => due.extend(self.send(now, (id, &send), post)),
                Op::Peer(peer, op) => {
                    let result = self.peer(peer, &op)?;
                    due.push_back(Input::Reply(id, result));
                    if op == PeerOp::LocalDescription {
                        due.extend(self.gathered(peer));
                    }
                }
                Op::Fetch(what) => due.push_back(Input::Reply(id, found(&what))),
                Op::Track(..) | Op::Sfu(..) | Op::Keys(..) | Op::Save(_) => {
                    due.push_back(Input::Reply(id, Ok(Reply::Done)))
                }
            },
            Output::Cancel(id) => {
                self.sends.remove(&id);
            }
            Output::Voip(event) => self.voip(now, event)?,
            Output::Call { .. } | Output::Group { .. } => {}
        }
        Ok(())
    }

    fn voip(&mut self, now: Now, event: VoipEvent) -> Step {
        match event {
            VoipEvent::RingStarted { until, .. } if until <= now.wall => {
                Err("a call rings whose lifetime is over".to_owned())
            }
            VoipEvent::RingStarted { session, .. } => {
                let call = self.watch.calls.get(&session).map(|call| &call.folded.call_id);
                if call.is_some_and(|call| self.gone.contains(call)) {
                    return Err("a call rings whose end came before it".to_owned());
                }
                Ok(())
            }
            VoipEvent::Missed { call_id, why: MissedWhy::Busy, .. } => {
                self.busy.insert(call_id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Posts an event. Of most the homeserver says at once that it has them, after the echo.
    fn send(
        &mut self,
        now: Now,
        (id, send): (OpId, &MatrixOp),
        post: &mut Vec<Sent>,
    ) -> Vec<Input> {
        let MatrixOp::SendEvent { event_type, content, .. } = send else {
            return vec![Input::Reply(id, Err(Fault::Unsupported))];
        };
        let Some(Ok(message)) = read::read(event_type, content) else { return Vec::new() };
        let call = &message.header.call_id;
        let counts = match &message.body {
            Body::SelectAnswer { .. } => {
                self.selected.insert(call.clone());
                false
            }
            Body::Hangup { .. } | Body::Reject { .. } => {
                self.refused.insert(call.clone());
                self.may_lose
            }
            Body::Invite(_) | Body::Answer(_) => true,
            _ => false,
        };
        let mut hasher = DefaultHasher::new();
        (self.name(), event_type, content).hash(&mut hasher);
        let event = EventId::parse(format!("${:016x}", hasher.finish()))
            .expect("invariant: the text is an event id");
        let message = Arc::new(message);
        let sent = Sent { event: event.clone(), event_type: event_type.as_str().into(), message };
        if !self.known.contains(&event) {
            post.push(sent.clone());
        }
        if counts {
            self.sends.insert(id, sent);
            return Vec::new();
        }
        let echo = sent.arrives(self.user(), now.wall, now);
        vec![alone(echo), Input::Reply(id, Ok(Reply::Sent(event)))]
    }

    // ----------------------------------------------------------------------------- the delegate

    fn peer(&mut self, peer: PeerId, op: &PeerOp) -> Result<Result<Reply, Fault>, String> {
        if let PeerOp::Open(config) = op {
            let call = self.engine.snapshot(config.session).map(|call| call.call_id);
            let call = call.ok_or("a connection is opened for no call")?;
            let end = End {
                credentials: format!("{call}{}", self.role.identity.device),
                local: None,
                remote: None,
                candidates: BTreeSet::new(),
                gathered: false,
                connected: false,
            };
            self.ends.insert(peer, end);
            return Ok(Ok(Reply::Done));
        }
        if *op == PeerOp::Close {
            self.ends.remove(&peer);
            return Ok(Ok(Reply::Done));
        }
        let end = self.ends.get_mut(&peer).ok_or("a connection is used that is not open")?;
        Ok(Ok(end.perform(op)?))
    }

    /// Gathering ends when the first description was read: always one candidate to trickle.
    fn gathered(&mut self, peer: PeerId) -> Vec<Input> {
        let Some(end) = self.ends.get_mut(&peer) else { return Vec::new() };
        if std::mem::replace(&mut end.gathered, true) {
            return Vec::new();
        }
        let candidate = Candidate {
            candidate: Redacted::new(format!("candidate:0 ufrag {}", end.credentials)),
            sdp_mid: Some("0".to_owned()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        let news = [PeerNews::Candidate(candidate), PeerNews::GatheringDone];
        news.into_iter().map(|news| Input::Peer(peer, news)).collect()
    }

    /// The connection came about.
    pub(super) fn connect(&mut self, now: Now, peer: PeerId, post: &mut Vec<Sent>) -> Step {
        if let Some(end) = self.ends.get_mut(&peer) {
            end.connected = true;
        }
        let connected = PeerNews::State(PeerState::Connected);
        self.input(now, Input::Peer(peer, connected), post)
    }
}

impl End {
    fn perform(&mut self, op: &PeerOp) -> Result<Reply, String> {
        Ok(match op {
            PeerOp::Offer(_) => self.describe(SdpKind::Offer),
            PeerOp::Answer(_) => self.describe(SdpKind::Answer),
            PeerOp::LocalDescription => {
                Reply::Description(self.local.clone().ok_or("nothing was put into force")?)
            }
            PeerOp::SetLocal(ours) => {
                self.local = Some(ours.clone());
                Reply::Done
            }
            PeerOp::SetRemote(theirs) => {
                self.remote = sdp::credentials(theirs.sdp.expose()).map(str::to_owned);
                Reply::Done
            }
            PeerOp::Candidates(candidates) => {
                for candidate in candidates.iter().filter(|candidate| !candidate.is_end()) {
                    self.take(candidate.candidate.expose())?;
                }
                Reply::Done
            }
            PeerOp::Open(_) | PeerOp::Rollback | PeerOp::RestartIce => Reply::Done,
            PeerOp::SetServers(_) | PeerOp::Stats | PeerOp::Close => Reply::Done,
        })
    }

    fn take(&mut self, candidate: &str) -> Step {
        let theirs =
            self.remote.as_ref().is_some_and(|theirs| candidate.ends_with(theirs.as_str()));
        if !theirs {
            return Err("a connection is given candidates that are not the other side's".to_owned());
        }
        if !self.candidates.insert(candidate.to_owned()) {
            return Err("a connection is given the same candidate twice".to_owned());
        }
        Ok(())
    }

    /// As short as a description can be: it is hashed with every step.
    fn describe(&self, kind: SdpKind) -> Reply {
        let sdp = format!(
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:{}\r\na=ice-pwd:p\r\n\
             a=fingerprint:f\r\n",
            self.credentials
        );
        Reply::Description(Description { kind, sdp: Redacted::new(sdp) })
    }
}

/// Whatever these worlds have: no servers, no other members, no state.
fn found(what: &Fetch) -> Result<Reply, Fault> {
    match what {
        Fetch::Turn => Ok(Reply::Turn(TurnServers { servers: Vec::new(), ttl: NEVER })),
        Fetch::Members(_) => Ok(Reply::Members(BTreeSet::new())),
        Fetch::State(_) | Fetch::OpenId | Fetch::SfuToken(_) => Err(Fault::Unsupported),
        Fetch::Transports | Fetch::KeyMaterial => Err(Fault::Unsupported),
    }
}
