//! One call between two devices, from invite to end: a 1:1 call, or one leg of a group call.
//!
//! A call is a phase (`phase.rs`) and facets beside it, each with its own file and tests: local
//! media, remote streams, candidates, outbox. It is handed the [`World`] with every input and
//! reaches nothing else.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `outgoing.rs`, `incoming.rs` | how a call begins, and its answer |
//! | `phase.rs` | where it stands, with the diagram |
//! | `setup.rs` | media, peer connection and description, the same for both directions |
//! | `negotiation.rs`, `renegotiating.rs` | descriptions after the first: whose turn it is; how it happens |
//! | `connected.rs`, `recovery.rs`, `servers.rs` | news of the peer connection; lost paths; TURN credentials that run out |
//! | `trickle.rs`, `candidates.rs` | candidates of both sides on their way |
//! | `media.rs`, `sources.rs`, `muting.rs`, `hold.rs` | what we send: sources, mutes, hold |
//! | `streams.rs` | what they send |
//! | `transfer.rs` | transfers, asked for and received |
//! | `messages.rs` | what the other side says, bound to user and party |
//! | `sending.rs`, `outbox.rs` | what we say, and what becomes of it |
//! | `ending.rs` | how a call ends, and what it leaves behind |
//! | `explain.rs` | what it waits for |
//! | `leg.rs` | a call as one leg of a group call |
//! | `glare.rs`, `estate.rs` | who survives when two call each other, and what he takes over |

mod candidates;
mod connected;
mod ending;
pub(super) mod estate;
mod explain;
pub(super) mod glare;
mod hold;
mod incoming;
pub(super) mod leg;
pub(super) mod media;
mod messages;
mod muting;
mod negotiation;
mod outbox;
mod outgoing;
mod phase;
mod recovery;
mod renegotiating;
mod sending;
mod servers;
mod setup;
mod sources;
mod streams;
pub(super) mod transfer;
mod trickle;

pub(super) use self::incoming::Arrival;

use std::collections::BTreeMap;

use self::{
    candidates::{LocalCandidates, RemoteCandidates},
    explain::History,
    media::LocalMedia,
    negotiation::Negotiation,
    outbox::Outbox,
    phase::{Outgoing, Phase},
    streams::RemoteStreams,
};
use super::{
    event::{CallDirection, CallEvent, CallSnapshot, CallState},
    fingerprint::Fingerprint,
    guard::Guard,
    io::{
        CallCommand, CallMedia, Fault, Ignored, MediaSource, Op, PeerState, Refusal, Reply, Verdict,
    },
    turn::Given,
    world::{Owner, Timer, World},
};
use crate::{
    config::Proceed,
    id::{DeviceId, OpId, PartyId, PeerId, SessionId, UserId},
    redact::Redacted,
    time::{Deadline, Wall},
    wire::{call::Version, metadata::StreamMetadata},
};

/// What a call waits for with a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum CallTimer {
    /// Incoming, until our answer leaves: the invite's lifetime is over (wall clock: the caller
    /// counts it too).
    Ring,
    /// Outgoing: our invite's lifetime is over (wall clock: the callee counts it too).
    Invite,
    /// Either of these by the monotonic clock, which nobody sets back (monotonic).
    Unanswered,
    /// Descriptions are exchanged, media does not flow (`Timeouts::connect`, monotonic).
    Connect,
    /// The connection wavers (`Timeouts::waver`, monotonic): from then on it is called lost.
    Waver,
    /// The connection is lost (`Timeouts::lost`, monotonic).
    Lost,
    /// The connection is lost, and ICE is to be restarted (`Timeouts::restart_*`, monotonic).
    Restart,
    /// Our offer of a new description is not answered (`Timeouts::negotiate`, monotonic).
    Negotiate,
    /// Gathering takes too long (`Timeouts::gather`, monotonic).
    Gather,
    /// A batch of candidates is due (`Timeouts::candidates_*`, monotonic).
    Candidates,
    /// The pause after a failed send is over (`Timeouts::retry_*`, monotonic).
    Retry,
    /// The farewell no longer matters (`Timeouts::farewell`, monotonic).
    Farewell,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ask {
    Members,
    Capture(MediaSource),
    Open,
    SetRemote,
    Describe,
    SetLocal,
    Read,
    Rollback,
    /// Another device for a source.
    Replace(MediaSource),
    /// Whether a source is sent (`true`), or silence.
    Switch(MediaSource, bool),
    /// Tones to be sent.
    Tones,
    /// Something whose failure changes nothing: candidates, closing.
    Nothing,
    Send,
}

/// Which party of the other user this call is with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Party {
    /// Nobody has answered.
    Open,
    /// The inviting, or the first answering party; `None` in version 0.
    Chosen(Option<PartyId>),
}

/// Whether the application knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Role {
    /// A call like any other.
    Session,
    /// Only a farewell: it was never announced and never will be.
    Parting,
}

/// Whether the application lets media start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Gate {
    Open,
    Closed,
}

/// Whether the homeserver has our invite or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Announced {
    /// It cannot have it.
    No,
    /// A try failed in a way that leaves it open.
    Perhaps,
    /// It accepted it.
    Yes,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    session: SessionId,
    role: Role,
    /// What it knows of being a leg of a group call, if it is one.
    leg: Option<Box<leg::LegState>>,
    shown: CallSnapshot,
    phase: Phase,
    party: Party,
    version: Version,
    /// The one device that is called, where one was named.
    callee_device: Option<DeviceId>,
    /// The device of the chosen party, where encryption proves it.
    remote_device: Option<DeviceId>,
    /// Their description, until it is in force.
    offer: Option<Redacted>,
    negotiation: Negotiation,
    /// Whether their description takes tones (RFC 4733).
    takes_tones: bool,
    /// How often ICE was restarted since the connection was lost.
    restarts: u32,
    /// How often the other side asked for a transfer.
    transfers: usize,
    /// What we send: what we placed the call with, or took it with.
    sending: CallMedia,
    media: LocalMedia,
    streams: RemoteStreams,
    local_candidates: LocalCandidates,
    remote_candidates: RemoteCandidates,
    outbox: Outbox,
    gate: Gate,
    turn_asked: bool,
    /// What the engine may use of TURN; `None`: it was given nothing.
    servers: Option<Given>,
    peer: Option<PeerId>,
    peer_state: Option<PeerState>,
    remote_in_force: bool,
    announced: Announced,
    /// Our streams as the other side knows them.
    told: StreamMetadata,
    asks: BTreeMap<OpId, Ask>,
    timers: BTreeMap<CallTimer, Deadline>,
    history: History,
}

impl Call {
    fn new(world: &mut World, session: SessionId, shown: CallSnapshot, phase: Phase) -> Self {
        let gate = match world.config.proceed {
            Proceed::Auto => Gate::Open,
            Proceed::Manual => Gate::Closed,
        };
        let sending = shown.media;
        Self {
            session,
            role: Role::Session,
            leg: None,
            shown,
            phase,
            party: Party::Open,
            version: Version::V1,
            callee_device: None,
            remote_device: None,
            offer: None,
            negotiation: Negotiation::new(),
            takes_tones: false,
            restarts: 0,
            transfers: 0,
            sending,
            media: LocalMedia::new(world.ids.stream()),
            streams: RemoteStreams::default(),
            local_candidates: LocalCandidates::default(),
            remote_candidates: RemoteCandidates::default(),
            outbox: Outbox::default(),
            gate,
            turn_asked: false,
            servers: None,
            peer: None,
            peer_state: None,
            remote_in_force: false,
            announced: Announced::No,
            told: StreamMetadata::new(),
            asks: BTreeMap::new(),
            timers: BTreeMap::new(),
            history: History { since: world.now.mono, ..History::default() },
        }
    }

    pub(super) fn shown(&self) -> &CallSnapshot {
        &self.shown
    }

    /// How it stands, if the application knows of it.
    pub(super) fn snapshot(&self) -> Option<CallSnapshot> {
        match self.role {
            Role::Session if self.leg.is_none() => Some(self.shown.clone()),
            Role::Session | Role::Parting => None,
        }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn peer(&self) -> Option<PeerId> {
        self.peer
    }

    /// Whether this request is one for the homeserver.
    pub(super) fn asks_server(&self, op: OpId) -> bool {
        matches!(self.asks.get(&op), Some(Ask::Send | Ask::Members))
    }

    /// Whether it waits for the user to take it.
    pub(super) fn is_ringing(&self) -> bool {
        self.phase.is_ringing()
    }

    /// How far an outgoing call without answer is; `None` for every other call.
    pub(super) fn glare(&self) -> Option<glare::OurCall<'_>> {
        match &self.phase {
            Phase::Outgoing(Outgoing::Preparing(_)) => Some(glare::OurCall::Preparing),
            // Every try so far was refused without being taken.
            Phase::Outgoing(Outgoing::Inviting) if !self.may_be_known() => {
                Some(glare::OurCall::Preparing)
            }
            Phase::Outgoing(Outgoing::Inviting | Outgoing::InviteSent) => {
                Some(glare::OurCall::Sent(&self.shown.call_id))
            }
            Phase::Incoming(_) | Phase::Connecting | Phase::Connected | Phase::Ended(_) => None,
        }
    }

    /// The device of the other side, where encryption proves it.
    pub(super) fn remote_device(&self) -> Option<&DeviceId> {
        self.remote_device.as_ref()
    }

    /// Whether a call from this device is from whom this call is to: one that names a device is to
    /// no other.
    pub(super) fn may_be_called_by(&self, device: Option<&DeviceId>) -> bool {
        estate::is_meant(self.callee_device.as_ref(), device)
    }

    /// Whether nothing is left to do for it.
    pub(super) fn is_finished(&self) -> bool {
        self.phase.is_ended() && self.outbox.is_empty()
    }

    /// What the call will do and show depends on all of this and on nothing else. State, party,
    /// mutes and end of what is shown stand in phase, party and media.
    pub(super) fn fingerprint(&self, print: &mut Fingerprint, world: &World) {
        let shown = &self.shown;
        print.value((self.role, &shown.room, &shown.call_id, &shown.party_id));
        print.value((shown.direction, shown.media, &shown.remote_user));
        print.value((&self.phase, self.announced));
        if let Some(leg) = &self.leg {
            leg.fingerprint(print);
        }
        self.outbox.fingerprint(print);
        self.print_waits(print);
        if !self.phase.is_ended() || !world.holds(Guard::EndedUnheard) {
            self.print_what_lives(print);
        }
    }

    fn print_waits(&self, print: &mut Fingerprint) {
        print.value((self.asks.len(), self.timers.len()));
        for (op, ask) in &self.asks {
            print.op(*op);
            print.value(ask);
        }
        for (timer, deadline) in &self.timers {
            print.value(timer);
            print.deadline(*deadline);
        }
    }

    /// What nothing depends on once the call is over, while it says so.
    fn print_what_lives(&self, print: &mut Fingerprint) {
        let shown = &self.shown;
        print.value((shown.remote_capabilities, &shown.streams, &shown.identity, shown.hold));
        print.value((&self.party, self.version, &self.callee_device, &self.offer));
        print.value((self.takes_tones, self.restarts, self.sending, &self.streams));
        print.value((self.transfers, &self.remote_device));
        self.negotiation.fingerprint(print);
        print.value((&self.local_candidates, &self.remote_candidates));
        print.value((self.gate, self.turn_asked, self.peer_state, self.remote_in_force));
        print.value(&self.told);
        self.media.fingerprint(print);
        print.value(self.peer.is_some());
        if let Some(peer) = self.peer {
            print.peer(peer);
        }
        print.value(self.servers.is_some());
        if let Some(servers) = self.servers {
            servers.fingerprint(print);
        }
    }

    /// Takes a command of the application.
    pub(super) fn on_command(&mut self, world: &mut World, command: CallCommand) -> Verdict {
        let done = match command {
            CallCommand::Answer(media) => self.answer(world, media),
            CallCommand::Reject(tell) => self.reject(world, tell),
            CallCommand::Hangup => {
                self.hang_up(world);
                Ok(())
            }
            CallCommand::Proceed => self.proceed(world),
            CallCommand::Mute(source) => self.set_muted(world, source, true),
            CallCommand::Unmute(source) => self.set_muted(world, source, false),
            CallCommand::Hold => self.set_held(world, true),
            CallCommand::Unhold => self.set_held(world, false),
            CallCommand::Start(source) => self.start(world, source),
            CallCommand::Stop(source) => self.stop(world, source),
            CallCommand::Switch(source, input) => self.switch(world, source, input),
            CallCommand::Dtmf(tones) => self.dial(world, tones),
            CallCommand::Transfer(to) => self.transfer(world, &to),
            CallCommand::RestartIce => self.restart_by_command(world),
        };
        done.map_or_else(Verdict::Refused, |()| Verdict::Handled)
    }

    /// The application lets media start. Again: nothing happens.
    fn proceed(&mut self, world: &mut World) -> Result<(), Refusal> {
        if self.phase.is_ended() {
            return Err(self.wrong_state());
        }
        self.gate = Gate::Open;
        self.advance(world);
        Ok(())
    }

    /// Takes the reply to a request of this call.
    pub(super) fn on_reply(
        &mut self,
        world: &mut World,
        op: OpId,
        result: Result<Reply, Fault>,
    ) -> Verdict {
        let Some(ask) = self.asks.remove(&op) else { return Verdict::Ignored(Ignored::StaleReply) };
        match ask {
            Ask::Send => self.on_sent(world, op, result),
            Ask::Members => self.on_members(world, result),
            Ask::Capture(source) => self.on_captured(world, source, result),
            Ask::Open => self.on_opened(world, result),
            Ask::SetRemote => self.on_remote_set(world, result),
            Ask::Describe => self.on_described(world, result),
            Ask::SetLocal => self.on_local_set(world, result),
            Ask::Read => self.on_read(world, result),
            Ask::Rollback => self.on_rolled_back(world),
            Ask::Replace(source) => self.on_replaced(world, source, &result),
            Ask::Switch(source, on) => self.on_switched(world, (source, on), &result),
            Ask::Tones => self.on_dialled(world, &result),
            Ask::Nothing => {}
        }
        Verdict::Handled
    }

    /// A timer of this call is due.
    pub(super) fn on_timer(&mut self, world: &mut World, timer: CallTimer) {
        self.timers.remove(&timer);
        match timer {
            CallTimer::Ring => self.on_ring_expired(world),
            CallTimer::Invite => self.on_invite_expired(world),
            CallTimer::Unanswered if self.is_outgoing() => self.on_invite_expired(world),
            CallTimer::Unanswered => self.on_ring_expired(world),
            CallTimer::Connect | CallTimer::Lost => self.on_no_connection(world),
            CallTimer::Waver => self.on_wavered(world),
            CallTimer::Restart => self.on_restart_due(world),
            CallTimer::Negotiate => self.on_offer_expired(world),
            CallTimer::Gather => self.read_description(world),
            CallTimer::Candidates => self.on_batch_due(world),
            CallTimer::Retry => {
                self.outbox.resume();
                self.pump(world);
            }
            CallTimer::Farewell => self.give_up_farewell(world),
        }
    }

    // ------------------------------------------------------------------------------- the base

    /// The only writer of the phase.
    fn enter(&mut self, world: &mut World, phase: Phase) {
        let (before, after) = (self.phase.state(), phase.state());
        self.phase = phase;
        self.history.since = world.now.mono;
        if before == after {
            return;
        }
        if self.leg.is_none() {
            world.roster.set_ringing(self.session, after == CallState::Ringing);
            self.tell_roster(world);
        }
        if after != CallState::Ended {
            self.tell(world, CallEvent::StateChanged(after));
        }
    }

    /// Whether the user talks here, or is about to: a call that he holds is none of both.
    fn tell_roster(&self, world: &mut World) {
        let is_taken = self.phase.is_taken() && !self.shown.hold.by_us;
        world.roster.set_answered(self.session, self.phase.is_taken());
        world.roster.set_connected(self.session, self.holds_the_line());
        world.roster.set_taken(self.session, is_taken);
    }

    /// Whether the user talks in this call: connected, or lost and perhaps back soon, and not on
    /// hold. How an engine calls the loss is no matter: some only say that they connect again.
    fn holds_the_line(&self) -> bool {
        !self.shown.hold.by_us && self.was_connected()
    }

    /// Whether media flows or has flowed.
    fn was_connected(&self) -> bool {
        match self.phase {
            Phase::Connected => true,
            Phase::Connecting => self.has_timer(CallTimer::Lost),
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Ended(_) => false,
        }
    }

    fn tell(&mut self, world: &mut World, event: CallEvent) {
        self.shown.apply(&event);
        match self.leg_place() {
            None => world.tell_call(self.session, event),
            Some(place) => {
                let (group, member) = (place.group, place.member.clone());
                world.tell_leg(leg::LegNews { group, leg: self.session, member, event });
            }
        }
    }

    fn ask(&mut self, world: &mut World, ask: Ask, op: Op) -> OpId {
        let id = world.request(Owner::Call(self.session), op);
        self.asks.insert(id, ask);
        id
    }

    /// Sets or moves a deadline.
    fn set_timer(&mut self, world: &mut World, timer: CallTimer, deadline: Deadline) {
        self.clear_timer(world, timer);
        self.timers.insert(timer, deadline);
        world.agenda.set(Timer::Call(self.session, timer), deadline);
    }

    /// The call waits for its answer until then, however the wall clock is set meanwhile.
    fn await_answer(&mut self, world: &mut World, timer: CallTimer, until: Wall) {
        let span = until.since(world.now.wall);
        self.set_timer(world, timer, Deadline::Wall(until));
        self.set_timer(world, CallTimer::Unanswered, world.now.mono_after(span));
    }

    fn await_answer_no_more(&mut self, world: &mut World) {
        for timer in [CallTimer::Ring, CallTimer::Invite, CallTimer::Unanswered] {
            self.clear_timer(world, timer);
        }
    }

    fn clear_timer(&mut self, world: &mut World, timer: CallTimer) {
        if let Some(deadline) = self.timers.remove(&timer) {
            world.agenda.clear(Timer::Call(self.session, timer), deadline);
        }
    }

    fn clear_timers(&mut self, world: &mut World) {
        for (timer, deadline) in std::mem::take(&mut self.timers) {
            world.agenda.clear(Timer::Call(self.session, timer), deadline);
        }
    }

    fn has_timer(&self, timer: CallTimer) -> bool {
        self.timers.contains_key(&timer)
    }

    fn wrong_state(&self) -> Refusal {
        Refusal::WrongState(self.phase.state())
    }

    fn is_outgoing(&self) -> bool {
        self.shown.direction == CallDirection::Outgoing
    }

    /// The other user, once known.
    fn remote_user(&self) -> Option<&UserId> {
        self.shown.remote_user.as_ref()
    }

    /// Shows the streams again if they changed.
    fn refresh_streams(&mut self, world: &mut World) {
        let mut streams = match world.holds(Guard::StreamsHaveTracks) {
            true => self.streams.list(),
            false => self.streams.claimed(),
        };
        streams.extend(self.media.streams());
        streams.sort_by_key(super::event::Stream::display_order);
        if streams != self.shown.streams {
            self.tell(world, CallEvent::StreamsChanged(streams));
        }
    }

    fn sources(&self) -> &'static [MediaSource] {
        LocalMedia::sources_of(self.sending)
    }
}
