//! The protocol as a value: no clock, no randomness it was not given, no task, no lock, no I/O.
//!
//! [`Engine`] takes an [`Input`] and answers with a [`Verdict`]; what it wants of the world comes
//! out of [`Engine::poll_output`] as data. Drain outputs to `None` after every call.
//!
//! | file | holds |
//! | --- | --- |
//! | `io.rs` | everything that goes in and comes out |
//! | `matrix.rs`, `media.rs`, `stats.rs`, `fault.rs` | what that speaks of: the homeserver, lines and sources, measurements, failures |
//! | `verdict.rs` | what becomes of an input, and why |
//! | `event.rs` | what the application learns |
//! | `router/` | which call gets a delivered event; batch rules, staleness, parking |
//! | `crossing.rs` | two users call each other at the same moment |
//! | `call/` | one 1:1 call, or one leg of a group call |
//! | `group/` | group calls |
//! | `world.rs` | what all calls share: the way out, timers, ids |
//! | `roster.rs` | which call is where |
//! | `turn.rs`, `book.rs`, `memory.rs` | credentials, the ledger, what was seen and what is over |
//! | `aside.rs` | which call gives way to which |
//! | `vacant.rs` | calls of ours that another is about to replace |
//! | `transferring.rs`, `expected.rs` | what of a transfer concerns more than one call; ids it named |
//! | `bounds.rs` | every bound on what others can make grow |
//! | `diagnostics.rs`, `explain.rs` | what was ignored, counted; what a call waits for |
//! | `ids.rs`, `fingerprint.rs` | ids that we mint; which engines are alike |
//! | `guard.rs` | the rules by name, so that tests can switch one off |
//! | `playout.rs`, `hearing.rs` | how received sound is heard; why somebody is not heard |
//! | `quality.rs` | how good a call is, from two measurements |
//! | `hashed.rs` | keys of large maps |

mod aside;
mod book;
pub mod bounds;
mod call;
mod crossing;
pub mod diagnostics;
pub mod event;
mod expected;
pub mod explain;
mod fault;
mod fingerprint;
pub mod group;
#[doc(hidden)]
pub mod guard;
mod hashed;
pub mod hearing;
mod ids;
pub mod io;
mod matrix;
mod media;
mod memory;
pub mod playout;
pub mod quality;
mod roster;
mod router;
mod sfu;
mod stats;
mod token;
mod transferring;
mod turn;
mod vacant;
mod verdict;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use self::{
    call::Call,
    diagnostics::{Case, Diagnostics},
    event::{CallSnapshot, EndReason, RingStop},
    group::{Groups, event::GroupSnapshot},
    io::{
        CallCommand, Callee, Chat, Command, Fault, Ignored, Input, Lifecycle, Network, Output,
        Refusal, Reply, RoomNews, TransferTo, Verdict,
    },
    world::{Owner, Timer, World},
};
pub use crate::id::Identity;
use crate::{
    config::{Config, OnAnswer},
    id::{OpId, PartyId, PeerId, RoomId, SessionId, UserId},
    time::Now,
    wire::{
        call::{Body, Reason},
        ledger::Ledger,
    },
};

/// Whether the engine takes new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Service {
    Open,
    ShuttingDown,
}

/// All calls of one device: a value that can be cloned, compared and fingerprinted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    world: World,
    /// Boxed: they come and go, and a tree of large values moves its neighbours each time.
    calls: BTreeMap<SessionId, Box<Call>>,
    groups: Groups,
    ignored_users: BTreeSet<UserId>,
    service: Service,
    diagnostics: Diagnostics,
}

impl Engine {
    /// An engine without calls. The seed makes ids only, never keys.
    pub fn new(identity: Identity, config: Config, seed: u64) -> Self {
        Self {
            world: World::new(identity, config, seed),
            calls: BTreeMap::new(),
            groups: Groups::default(),
            ignored_users: BTreeSet::new(),
            service: Service::Open,
            diagnostics: Diagnostics::default(),
        }
    }

    /// Takes up what a dead process left behind: its calls are hung up under their own party id,
    /// and calls that were over do not ring again. To be called once, before anything else.
    pub fn restore(&mut self, now: Now, ledger: Ledger) {
        self.set_now(now);
        for call in ledger.ended {
            self.world.memory.note_over(&call.room, &call.call_id, call.until);
        }
        for call in ledger.live {
            let hangup = Body::Hangup { reason: Some(Reason::UserHangup) };
            let ghost = Call::parting(&mut self.world, &call, hangup);
            self.world.note_live(ghost.session(), call);
            self.calls.insert(ghost.session(), Box::new(ghost));
        }
        self.lay_ghosts(ledger.memberships);
    }

    /// Takes one input. Drain [`poll_output`](Self::poll_output) to `None` afterwards.
    pub fn handle(&mut self, now: Now, input: Input) -> Verdict {
        self.set_now(now);
        let what = kind_of(&input);
        if let Input::Command(_) = input {
            // The machine may have slept: nobody takes a call whose time is over.
            self.handle_timeout(now);
        }
        let verdict = match input {
            Input::Command(Command::Invite { room, callee, media }) => {
                self.invite(room, callee, media)
            }
            Input::Command(Command::Follow { session, transfer, room, media }) => {
                self.follow(session, *transfer, room, media)
            }
            Input::Command(Command::Call(session, command)) => {
                self.on_call_command(session, command)
            }
            Input::Command(Command::OpenGroup { room, call, backend, application, keys }) => {
                self.open_group(room, call, (backend, application, keys))
            }
            Input::Command(Command::Group(session, command)) => {
                self.on_group_command(session, command)
            }
            Input::Command(Command::DeclineRing { room, notification }) => {
                self.decline_ring(room, notification)
            }
            Input::Deliver(delivery) => return self.on_delivery(delivery),
            Input::State(state) => return self.on_state(state),
            Input::Peer(peer, news) => self.on_peer(peer, news),
            Input::Reply(op, result) => self.on_reply(op, result),
            Input::Room(room, news) => self.on_room(room, news),
            Input::IgnoredUsers(users) => self.on_ignored_users(users),
            Input::DeviceKeys(user) => self.on_device_keys(&user),
            Input::Sfu(session, news) => self.on_sfu_news(session, news),
            Input::Network(network) => self.on_network(network),
            Input::Lifecycle(lifecycle) => self.on_lifecycle(lifecycle),
        };
        if let Verdict::Ignored(reason) = verdict {
            self.note(what, None, reason);
        }
        verdict
    }

    fn set_now(&mut self, now: Now) {
        if let Some(by) = self.world.set_now(now) {
            self.groups.on_clock_set_back(by);
        }
    }

    /// Does what is due at `now`. Drain [`poll_output`](Self::poll_output) to `None` afterwards.
    pub fn handle_timeout(&mut self, now: Now) {
        self.set_now(now);
        while let Some(timer) = self.world.agenda.pop_due(now) {
            match timer {
                Timer::Call(session, timer) => {
                    self.with(session, |call, world| call.on_timer(world, timer));
                }
                Timer::Ledger => self.world.on_save_due(),
            }
        }
        self.on_group_timers();
    }

    /// The next thing that the machine wants of the world or has to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.world.next_output()
    }

    /// How long after the `now` of the last call [`handle_timeout`](Self::handle_timeout) is due:
    /// zero while outputs are queued, `None` when nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.world.has_output() {
            return Some(Duration::ZERO);
        }
        let calls = self.world.agenda.next(self.world.now);
        let groups = self.groups.timers().next(self.world.now);
        [calls, groups].into_iter().flatten().min()
    }

    /// Whether a wall-clock deadline is open: then the driver sleeps at most a minute at a time,
    /// because the wall clock goes on while the machine is suspended.
    pub fn has_wall_deadline(&self) -> bool {
        self.world.agenda.has_wall() || self.groups.timers().has_wall()
    }

    /// Which party we are in all our calls.
    pub(crate) fn party(&self) -> &PartyId {
        &self.world.party
    }

    /// How a call stands; `None` after it has ended and all was sent that it had to send.
    pub fn snapshot(&self, session: SessionId) -> Option<CallSnapshot> {
        self.calls.get(&session)?.snapshot()
    }

    /// How a group call stands; `None` after it has ended.
    pub fn group_snapshot(&self, session: SessionId) -> Option<GroupSnapshot> {
        Some(self.groups.call(session)?.shown().clone())
    }

    /// The peer connection of a call, while it has one.
    pub fn peer(&self, session: SessionId) -> Option<PeerId> {
        self.calls.get(&session)?.peer()
    }

    /// Which calls the legs of a group call are: each is measured as a call of two. None where it has an
    /// SFU, or where there is no such group call.
    pub fn legs(&self, group: SessionId) -> Vec<(io::ParticipantId, SessionId)> {
        self.groups.call(group).map_or_else(Vec::new, |group| group.member_legs())
    }

    /// What was ignored, counted, and the last 64 of them.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    // ------------------------------------------------------------------------------------ calls

    /// Lets a call do something, and takes it away when nothing is left to do for it.
    fn with<T>(
        &mut self,
        session: SessionId,
        act: impl FnOnce(&mut Call, &mut World) -> T,
    ) -> Option<T> {
        let call = self.calls.get_mut(&session)?;
        let done = act(call, &mut self.world);
        if call.is_finished() {
            call.leave(&mut self.world);
            self.calls.remove(&session);
        }
        while let Some(news) = self.world.next_leg_news() {
            self.on_leg_news(news);
        }
        self.go_on_joining();
        Some(done)
    }

    /// Takes a new call in, unless it is over already.
    fn keep(&mut self, call: Call) -> SessionId {
        let session = call.session();
        self.calls.insert(session, Box::new(call));
        self.with(session, |_, _| ());
        session
    }

    fn invite(&mut self, room: RoomId, callee: Callee, media: io::CallMedia) -> Verdict {
        if let Err(refusal) = self.check_invite_to(&room, &callee) {
            return Verdict::Refused(refusal);
        }
        // Nobody is rung whose answer would end the call.
        let alone = self.world.config.on_answer == OnAnswer::Refuse;
        let talks = self.world.roster.other_taken(None) || self.groups.talking().next().is_some();
        if alone && talks {
            return Verdict::Refused(Refusal::OtherCallConnected);
        }
        let call = Call::place(&mut self.world, room, callee, media, None);
        let session = self.keep(call);
        self.on_callee_found(session);
        Verdict::Started(session)
    }

    /// Whether that can be called there, as far as it can be known.
    fn check_invite_to(&self, room: &RoomId, callee: &Callee) -> Result<(), Refusal> {
        if self.service == Service::ShuttingDown {
            return Err(Refusal::ShuttingDown);
        }
        if self.world.is_outside(room, &self.world.identity.user) {
            return Err(Refusal::NotInRoom);
        }
        let Identity { user: ours, device: here } = &self.world.identity;
        let ourselves = match callee {
            Callee::User(user) => user == ours,
            Callee::Device(user, device) => user == ours && device == here,
            Callee::TheOther => false,
        };
        if ourselves { Err(Refusal::CallingOurselves) } else { Ok(()) }
    }

    fn on_call_command(&mut self, session: SessionId, command: CallCommand) -> Verdict {
        if let CallCommand::Answer(_) = command
            && let Err(refusal) = self.make_way(session)
        {
            return Verdict::Refused(refusal);
        }
        // As beside another call of two: whoever talks holds or leaves first.
        if command == CallCommand::Unhold && self.groups.talking().next().is_some() {
            return Verdict::Refused(Refusal::OtherCallConnected);
        }
        if let CallCommand::Transfer(TransferTo::Call(target)) = command {
            return self.consult(session, target);
        }
        let of_group = self.calls.get(&session).is_some_and(|call| call.leg_place().is_some());
        let found = (!of_group).then_some(session);
        found
            .and_then(|session| self.with(session, |call, world| call.on_command(world, command)))
            .unwrap_or(Verdict::Refused(Refusal::UnknownSession))
    }

    // ------------------------------------------------------------------------------- the world

    fn on_peer(&mut self, peer: PeerId, news: io::PeerNews) -> Verdict {
        let session = self.world.peers.get(&peer).copied();
        session
            .and_then(|session| self.with(session, |call, world| call.on_peer(world, news)))
            .unwrap_or(Verdict::Ignored(Ignored::UnknownPeer))
    }

    fn on_reply(&mut self, op: OpId, result: Result<Reply, Fault>) -> Verdict {
        let owner = self.world.take_owner(op);
        let logged_out = result == Err(Fault::LoggedOut) && self.is_for_server(op, owner);
        let members = matches!(result, Ok(Reply::Members(_)));
        let verdict = match owner {
            None => return Verdict::Ignored(Ignored::StaleReply),
            Some(Owner::Call(session)) => self
                .with(session, |call, world| call.on_reply(world, op, result))
                .unwrap_or(Verdict::Ignored(Ignored::StaleReply)),
            Some(Owner::Turn) => self.on_turn(result),
            Some(Owner::Groups) => self.on_group_reply(op, result),
            Some(Owner::Group(session)) => self.on_group_media_reply(session, op, &result),
            Some(Owner::Sfu(session)) => self.on_sfu_reply(session, op, result),
            Some(Owner::Keys(session)) => self.on_key_reply(session, op, result),
            Some(Owner::Ledger) => {
                self.world.on_saved();
                Verdict::Handled
            }
            Some(Owner::Nobody) => Verdict::Handled,
        };
        if let (Some(Owner::Call(session)), true) = (owner, members) {
            self.on_callee_found(session);
        }
        if logged_out {
            self.on_logged_out();
        }
        verdict
    }

    /// Whether the homeserver was asked: only it knows whether we are logged out.
    fn is_for_server(&self, op: OpId, owner: Option<Owner>) -> bool {
        match owner {
            // Neither who gives tokens nor who takes keys says so of us.
            Some(Owner::Turn | Owner::Groups | Owner::Sfu(_) | Owner::Keys(_)) => true,
            Some(Owner::Call(session)) => {
                self.calls.get(&session).is_some_and(|call| call.asks_server(op))
            }
            Some(Owner::Group(_) | Owner::Ledger | Owner::Nobody) | None => false,
        }
    }

    fn on_turn(&mut self, result: Result<Reply, Fault>) -> Verdict {
        let servers = match result {
            Ok(Reply::Turn(servers)) => Ok(servers),
            Ok(_) => Err(Fault::Unsupported),
            Err(fault) => Err(fault),
        };
        for session in self.world.turn.on_reply(self.world.now, servers) {
            self.with(session, Call::on_turn);
        }
        Verdict::Handled
    }

    /// Whoever is ignored from now on stops ringing. A call that was taken goes on.
    fn on_ignored_users(&mut self, users: BTreeSet<UserId>) -> Verdict {
        let ringing: Vec<_> = self.world.roster.ringing().collect();
        for session in ringing {
            if users.iter().any(|user| self.is_with(session, user)) {
                self.with(session, Call::fall_silent);
            }
        }
        self.end_rings(|ring| users.contains(&ring.caller), RingStop::Ended);
        let before = std::mem::replace(&mut self.ignored_users, users);
        let changed: Vec<_> = before.symmetric_difference(&self.ignored_users).cloned().collect();
        self.on_group_ignored(&changed);
        Verdict::Handled
    }

    /// Keys of a user's devices came: what waits for them is sent.
    fn on_device_keys(&mut self, user: &UserId) -> Verdict {
        let legs = self.calls.values().filter(|call| call.leg_place().is_some());
        let legs = legs.filter(|call| call.shown().remote_user.as_ref() == Some(user));
        let legs: Vec<_> = legs.map(|call| call.session()).collect();
        for leg in &legs {
            self.with(*leg, Call::on_device_keys);
        }
        let waited = self.on_device_keys_of_groups(user);
        match waited || !legs.is_empty() {
            true => Verdict::Handled,
            false => Verdict::Ignored(Ignored::NoChange),
        }
    }

    fn is_with(&self, session: SessionId, user: &UserId) -> bool {
        let call = self.calls.get(&session);
        call.is_some_and(|call| call.shown().remote_user.as_ref() == Some(user))
    }

    fn on_room(&mut self, room: RoomId, news: RoomNews) -> Verdict {
        match news {
            RoomNews::Encrypted => self.world.note_encryption(&room, true),
            RoomNews::Chat(chat) => {
                self.world.rooms.entry(room).or_default().direct = chat == Chat::Direct;
            }
            RoomNews::Members(members) => self.on_members(room, members),
            RoomNews::Left(user) => self.on_left(&room, &user),
        }
        Verdict::Handled
    }

    /// Whoever was a member, or is in a call with us there, and is no member now has left.
    fn on_members(&mut self, room: RoomId, members: BTreeSet<UserId>) {
        let in_call = self.world.roster.in_room(&room).into_iter();
        let in_call =
            in_call.filter_map(|session| self.calls.get(&session)?.shown().remote_user.clone());
        let mut before: BTreeSet<_> = in_call.collect();
        let facts = self.world.rooms.entry(room.clone()).or_default();
        before.extend(facts.members.take().unwrap_or_default());
        let left: Vec<_> = before.difference(&members).cloned().collect();
        facts.members = Some(members);
        for user in left {
            self.on_left(&room, &user);
        }
        self.on_group_members(&room);
    }

    /// Somebody left a room: nobody can be talked to through it any more.
    fn on_left(&mut self, room: &RoomId, user: &UserId) {
        let members = self.world.rooms.get_mut(room).and_then(|facts| facts.members.as_mut());
        if let Some(members) = members {
            members.remove(user);
        }
        self.on_keys_of_removed(room, user);
        self.on_group_member(room, user, true);
        if *user == self.world.identity.user {
            for session in self.world.roster.in_room(room) {
                self.with(session, |call, world| call.fail(world, EndReason::LeftRoom));
            }
        } else {
            for session in self.world.roster.with_user(room, user) {
                self.with(session, |call, world| call.end_by_them(world, EndReason::LeftRoom));
            }
        }
    }

    fn on_network(&mut self, network: Network) -> Verdict {
        match network {
            Network::Back => {
                for session in self.sessions() {
                    self.with(session, Call::on_network_back);
                }
                self.on_groups_network_back();
                Verdict::Handled
            }
            Network::Changed => {
                for session in self.sessions() {
                    self.with(session, Call::on_network_changed);
                }
                Verdict::Handled
            }
            Network::Lost => Verdict::Ignored(Ignored::NoChange),
        }
    }

    fn on_lifecycle(&mut self, lifecycle: Lifecycle) -> Verdict {
        match lifecycle {
            Lifecycle::Foreground => {
                self.handle_timeout(self.world.now);
                Verdict::Handled
            }
            Lifecycle::Background => Verdict::Ignored(Ignored::NoChange),
            Lifecycle::LoggedOut => {
                self.on_logged_out();
                Verdict::Handled
            }
            Lifecycle::Ending => {
                self.service = Service::ShuttingDown;
                for session in self.sessions() {
                    self.with(session, |call, world| call.fail(world, EndReason::ShutDown));
                }
                self.leave_all_groups();
                Verdict::Handled
            }
        }
    }

    /// Nothing can be said any more, not even goodbye.
    fn on_logged_out(&mut self) {
        for session in self.sessions() {
            self.with(session, Call::on_logged_out);
        }
        self.end_groups_silently();
    }

    fn sessions(&self) -> Vec<SessionId> {
        self.calls.keys().copied().collect()
    }

    fn note(&mut self, what: &str, sender: Option<(&UserId, Option<SessionId>)>, reason: Ignored) {
        self.diagnostics.note(Case {
            at: self.world.now.wall,
            reason,
            what: what.to_owned(),
            sender: sender.map(|(user, _)| user.clone()),
            session: sender.and_then(|(_, session)| session),
        });
    }
}

/// What an input is called in the diagnostics.
fn kind_of(input: &Input) -> &'static str {
    match input {
        Input::Command(_) => "command",
        Input::Deliver(_) => "delivery",
        Input::State(_) => "state",
        Input::Peer(..) => "peer",
        Input::Reply(..) => "reply",
        Input::Room(..) => "room",
        Input::IgnoredUsers(_) => "ignored_users",
        Input::DeviceKeys(_) => "device_keys",
        Input::Sfu(..) => "sfu",
        Input::Network(_) => "network",
        Input::Lifecycle(_) => "lifecycle",
    }
}
