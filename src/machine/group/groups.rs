//! All group calls of an engine: which there are, in which rooms, and what is being written there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    GroupCall,
    delayed::DelayedLeave,
    event::Rights,
    membership::{Next, Ours, Outcome},
    order::{Order, StateKey},
    post::Posts,
    reactions::EarlyReactions,
    ringing::Rings,
    roster::{ParticipantId, Roster},
};
use crate::{
    config::MemberKey,
    id::{OpId, RoomId, SessionId, UserId},
    machine::{
        fingerprint::Fingerprint,
        io::{Fetch, MatrixOp, Op, Refusal},
        world::{Owner, World},
    },
    time::{Deadline, Mono, Now, Timers, Wall},
    wire::{
        ledger::LiveMembership,
        member::{Dialect, GroupCallId, KeyLayout},
        power::{Creation, PowerLevels},
        state::StateFacts,
    },
};

/// What a room waits for, with its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::machine) enum GroupTimer {
    /// The next membership expires (wall).
    Expiry,
    /// Ours is written anew before it is believed no more (`Timeouts::membership_refresh`, wall).
    Refresh,
    /// The same by the clock that nobody sets (monotonic): a wall clock that was ahead would put it
    /// off.
    RefreshAwake,
    /// What failed is tried again (monotonic).
    Retry,
    /// Our delayed leave is restarted, or tried again (`Timeouts::delayed_restart`, monotonic).
    Heartbeat,
    /// Its time has passed without a restart (`Timeouts::delayed_leave`, wall: we may have slept).
    Overslept,
    /// What is to be cancelled is tried again (monotonic).
    Cancelling,
    /// A leg that failed is placed anew (`Timeouts::leg_retry_*`, monotonic).
    Legs,
    /// It is looked who speaks (`Timeouts::speaker`, monotonic).
    Levels,
    /// A token of an SFU or a connection to it is due (monotonic).
    Sfus,
    /// A token of an SFU is fetched anew before it expires (wall: we may have slept).
    Tokens,
    /// A media key is to be made, used, sent or asked for (monotonic).
    Keys,
    /// A post that failed is tried again (monotonic).
    Posts,
    /// A ring is over (wall).
    Rings,
}

/// No clock is further ahead of ours than that: what says so says nothing.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a room's state is not asked for once more.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// What a state event tells of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Told {
    Members(StateKey),
    PowerLevels,
    Creation,
}

/// Whether a room's state was heard as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reading {
    #[default]
    NotYet,
    /// The application opened a call there: it is asked for.
    Asked(OpId),
    Done,
}

/// What is known of a room besides who is joined.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GroupRoom {
    pub(super) roster: Roster,
    pub(super) order: Order,
    pub(super) reading: Reading,
    /// When it was asked for once more.
    read_again: Option<Mono>,
    /// What was told while a fetch of the room's state was under way.
    pub(super) heard_meanwhile: BTreeSet<Told>,
    pub(super) ours: Ours,
    pub(super) delayed: DelayedLeave,
    pub(super) levels: Option<PowerLevels>,
    pub(super) creation: Option<Creation>,
    pub(super) posts: Posts,
    pub(super) early: EarlyReactions,
    /// The calls in which nobody else was when we wrote our membership.
    pub(super) first_in: BTreeSet<GroupCallId>,
    /// By which its timers know it: in the order in which rooms came, whatever their ids.
    number: u64,
}

impl GroupRoom {
    /// Who may write memberships in these words, as far as is known.
    pub(super) fn rights(&self, ours: &UserId, dialect: Dialect) -> Rights {
        let above = self.creation.as_ref().is_some_and(|it| it.creators.contains(ours));
        let Some(levels) = &self.levels else { return Rights::default() };
        Rights {
            can_join: above || levels.may_write_memberships(ours, dialect),
            can_everyone_join: levels.everybody_may_write_memberships(dialect),
        }
    }

    /// Whether the room's state was asked for and is on its way.
    pub(super) const fn is_being_read(&self) -> bool {
        matches!(self.reading, Reading::Asked(_)) || self.ours.is_fetching()
    }

    /// Asks for the room's state; what is told from now on is newer.
    fn fetch(&mut self, world: &mut World, room: &RoomId) -> OpId {
        self.heard_meanwhile.clear();
        world.request(Owner::Groups, Op::Fetch(Fetch::State(room.clone())))
    }

    /// Under which key we write here.
    pub(super) fn layout(&self, world: &World) -> KeyLayout {
        let owned = self.creation.as_ref().is_some_and(|creation| creation.owned_keys);
        match world.config.member_key {
            MemberKey::Device => KeyLayout::UnprotectedDevice,
            MemberKey::Protected if owned => KeyLayout::OwnedDevice,
            MemberKey::Protected => KeyLayout::User,
        }
    }

    /// The calls that we want to be in, and in which nobody is before us: a write whose answer was lost
    /// may stand there already.
    fn first_calls(&self, ours: &ParticipantId) -> BTreeSet<GroupCallId> {
        let alone = |group: &&GroupCallId| {
            let visit = self.ours.visit(group).map(|visit| &visit.session);
            let present = self.roster.participants(group);
            let first = present.iter().find(|one| one.id != *ours || one.session.as_ref() == visit);
            first.is_none_or(|first| first.id == *ours)
        };
        self.ours.wanted().filter(alone).cloned().collect()
    }

    /// Our state key here.
    pub(super) fn our_key(&self, world: &World) -> String {
        let identity = &world.identity;
        let layout = match self.ours.dialect() {
            Dialect::Famedly => self.layout(world),
            Dialect::Msc3401 => KeyLayout::User,
        };
        layout.key(&identity.user, &identity.device)
    }
}

/// All group calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::machine) struct Groups {
    pub(super) rooms: BTreeMap<RoomId, GroupRoom>,
    pub(super) calls: BTreeMap<SessionId, GroupCall>,
    pub(super) by_id: BTreeMap<(RoomId, GroupCallId), SessionId>,
    timers: Timers<(u64, GroupTimer)>,
    numbers: BTreeMap<u64, RoomId>,
    latest: u64,
    /// By how much the homeserver's clock was seen ahead of ours.
    ahead: Duration,
    asked: BTreeMap<OpId, RoomId>,
    pub(super) rings: Rings,
}

impl Groups {
    pub(in crate::machine) fn call(&self, session: SessionId) -> Option<&GroupCall> {
        self.calls.get(&session)
    }

    /// The calls in which the user talks by our media: those that he is in and does not hold.
    pub(in crate::machine) fn talking(&self) -> impl Iterator<Item = SessionId> {
        let talking = self
            .calls
            .values()
            .filter(|call| call.media.is_ours() && call.is_wanted() && !call.shown.held);
        talking.map(|call| call.session)
    }

    pub(in crate::machine) fn timers(&self) -> &Timers<(u64, GroupTimer)> {
        &self.timers
    }

    pub(super) fn find(&self, room: &RoomId, call: &GroupCallId) -> Option<SessionId> {
        self.by_id.get(&(room.clone(), call.clone())).copied()
    }

    /// The calls of a room, each with its session.
    pub(super) fn of_room(&self, room: &RoomId) -> impl Iterator<Item = &GroupCall> {
        // The one call of a room is ordered before all others.
        let first = (room.clone(), GroupCallId::room());
        let of_room = self.by_id.range(first..).take_while(move |((of, _), _)| of == room);
        of_room.filter_map(|(_, session)| self.calls.get(session))
    }

    /// The same, for whoever changes them.
    pub(super) fn sessions_of(&self, room: &RoomId) -> Vec<SessionId> {
        self.of_room(room).map(|call| call.session).collect()
    }

    /// A call whose media is ours: a mesh, or one through an SFU to which the host connects.
    pub(super) fn with_media(&mut self, session: SessionId) -> Result<&mut GroupCall, Refusal> {
        let call = self.calls.get_mut(&session).ok_or(Refusal::UnknownSession)?;
        if call.media.is_ours() { Ok(call) } else { Err(Refusal::MediaNotOurs) }
    }

    /// The same, which we are in.
    pub(super) fn entered(&mut self, session: SessionId) -> Result<&mut GroupCall, Refusal> {
        let call = self.with_media(session)?;
        if call.is_wanted() { Ok(call) } else { Err(Refusal::NotEntered) }
    }

    pub(super) fn room(&mut self, room: &RoomId) -> &mut GroupRoom {
        self.rooms.entry(room.clone()).or_insert_with(|| {
            self.latest += 1;
            self.numbers.insert(self.latest, room.clone());
            GroupRoom { number: self.latest, ..GroupRoom::default() }
        })
    }

    /// All rooms, in the order in which they came.
    pub(super) fn all_rooms(&self) -> Vec<RoomId> {
        self.numbers.values().cloned().collect()
    }

    /// Takes one timer that is due.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<(RoomId, GroupTimer)> {
        let (number, timer) = self.timers.pop_due(now)?;
        self.numbers.get(&number).map(|room| (room.clone(), timer))
    }

    pub(super) fn set_timer(
        &mut self,
        room: &RoomId,
        timer: GroupTimer,
        deadline: Option<Deadline>,
    ) {
        let Some(number) = self.rooms.get(room).map(|of_room| of_room.number) else { return };
        match deadline {
            Some(deadline) => self.timers.set((number, timer), deadline),
            None => self.timers.clear(&(number, timer)),
        }
    }

    /// A reply belongs to this room.
    pub(super) fn await_reply(&mut self, op: OpId, room: &RoomId) {
        self.asked.insert(op, room.clone());
    }

    /// Whether a room waits for this.
    pub(super) fn is_set(&self, room: &RoomId, timer: GroupTimer) -> bool {
        let number = self.rooms.get(room).map(|of_room| of_room.number);
        number.is_some_and(|number| self.timers.is_set(&(number, timer)))
    }

    /// Announcements of users who are ignored ring no more.
    pub(super) fn forget_waiting_rings_of(&mut self, users: &BTreeSet<UserId>) {
        self.rings.forget_waiting_of(users);
    }

    /// Whose request it was.
    pub(super) fn take_asked(&mut self, op: OpId) -> Option<RoomId> {
        self.asked.remove(&op)
    }

    /// Does for our memberships of a room what is to be done now.
    pub(super) fn push(&mut self, world: &mut World, room: &RoomId) {
        let Some(of_room) = self.rooms.get_mut(room) else { return };
        if of_room.ours.next() == Next::Repair {
            let pause = of_room.ours.begin_repair(world.now.wall, &world.config.timeouts);
            if !pause.is_zero() {
                // Our other devices have something to repair at the same time.
                let pause = pause + pause.mul_f64(world.ids.share());
                let after = world.now.mono_after(pause);
                self.set_timer(room, GroupTimer::Retry, Some(after));
            }
        }
        self.push_delayed(world, room);
        let Some(of_room) = self.rooms.get_mut(room) else { return };
        let op = match of_room.ours.next() {
            Next::Nothing | Next::Repair => return self.note_memberships(world, room),
            Next::Write if of_room.delayed.holds_writes(world.now) => {
                return self.note_memberships(world, room);
            }
            // What comes tells this too.
            Next::Fetch if of_room.is_being_read() => return self.note_memberships(world, room),
            Next::Fetch => {
                let op = of_room.fetch(world, room);
                of_room.ours.on_fetching(op);
                op
            }
            Next::Write => {
                let until = world.now.wall.plus(world.config.timeouts.membership);
                let state_key = of_room.our_key(world);
                // Others count from when the homeserver took it, by its clock.
                let said = until.plus(self.ahead);
                let content = of_room.ours.content(&world.identity.device, said);
                let event_type = of_room.ours.dialect().member_type().to_owned();
                let room = room.clone();
                let write = MatrixOp::SendState { room, event_type, state_key, content };
                let op = world.request(Owner::Groups, Op::Matrix(write));
                of_room.first_in = of_room.first_calls(&world.ourselves());
                of_room.ours.on_writing(op, until);
                op
            }
        };
        self.await_reply(op, room);
        self.set_timer(room, GroupTimer::Refresh, None);
        self.set_timer(room, GroupTimer::RefreshAwake, None);
        self.note_memberships(world, room);
    }

    /// What the homeserver's clock said when it told of an event, at the latest: a clock of ours that is
    /// slow would have our memberships expire before they are written anew.
    pub(super) fn note_clock(&mut self, now: Wall, facts: &StateFacts) {
        if let Some(age) = facts.age {
            let ahead = facts.sent.plus(age).since(now);
            self.ahead = self.ahead.max(ahead).min(MAX_AHEAD);
        }
    }

    /// Asks for the state of a room of which nothing was heard; whether it is on its way.
    pub(super) fn read(&mut self, world: &mut World, room: &RoomId) -> bool {
        let of_room = self.room(room);
        if of_room.reading == Reading::NotYet && !of_room.is_being_read() {
            let op = of_room.fetch(world, room);
            of_room.reading = Reading::Asked(op);
            self.await_reply(op, room);
        }
        matches!(self.room(room).reading, Reading::Asked(_))
    }

    /// Asks for the state of a room once more: somebody may be there of whom we have not heard. Not
    /// as often as whoever has us ask likes.
    pub(super) fn read_again(&mut self, world: &mut World, room: &RoomId) {
        let now = world.now.mono;
        let of_room = self.room(room);
        let lately = of_room.read_again.is_some_and(|at| now.since(at) < READ_AGAIN);
        if !lately && !of_room.is_being_read() {
            of_room.read_again = Some(now);
            let op = of_room.fetch(world, room);
            of_room.reading = Reading::Asked(op);
            self.await_reply(op, room);
        }
    }

    /// The state of a room was heard as a whole: what was asked for comes too late.
    pub(super) fn on_read(&mut self, world: &mut World, room: &RoomId) {
        if let Reading::Asked(op) = std::mem::replace(&mut self.room(room).reading, Reading::Done)
            && self.take_asked(op).is_some()
        {
            world.cancel(op);
        }
    }

    /// Writes down what a crash would leave behind.
    fn note_memberships(&self, world: &mut World, room: &RoomId) {
        let Some(of_room) = self.rooms.get(room) else { return };
        let (dialect, visits) = (of_room.ours.dialect(), of_room.ours.known_visits().cloned());
        let live = visits.map(|session| LiveMembership { room: room.clone(), session, dialect });
        let live = live.collect();
        world.note_memberships(room, live);
    }

    /// What a write or fetch left to wait for.
    pub(super) fn after(&mut self, world: &World, room: &RoomId, outcome: &Outcome) {
        match outcome {
            Outcome::Later(pause) => {
                let after = world.now.mono_after(*pause);
                self.set_timer(room, GroupTimer::Retry, Some(after));
            }
            Outcome::Accepted(in_it) if !in_it.is_empty() => {
                let after = world.config.timeouts.membership_refresh;
                let (wall, mono) = (world.now.wall_after(after), world.now.mono_after(after));
                self.set_timer(room, GroupTimer::Refresh, Some(wall));
                self.set_timer(room, GroupTimer::RefreshAwake, Some(mono));
            }
            Outcome::Accepted(_) | Outcome::GivenUp(..) => {}
        }
    }

    /// The timer of a room's next expiry is set anew.
    pub(super) fn watch_expiry(&mut self, room: &RoomId) {
        let next = self.rooms.get(room).and_then(|of_room| of_room.roster.next_expiry());
        self.set_timer(room, GroupTimer::Expiry, next.map(Deadline::Wall));
    }

    /// Our wall clock was set back: what counts until some time of it would count for longer.
    pub(in crate::machine) fn on_clock_set_back(&mut self, by: Duration) {
        self.timers.set_back(by);
        self.rings.on_clock_set_back(by);
        for of_room in self.rooms.values_mut() {
            of_room.roster.on_clock_set_back(by);
            of_room.order.on_clock_set_back(by);
            of_room.ours.on_clock_set_back(by);
            of_room.delayed.on_clock_set_back(by);
            of_room.posts.on_clock_set_back(by);
        }
        for call in self.calls.values_mut() {
            call.sfu.on_clock_set_back(by);
        }
    }

    /// We are in this room no more: nothing of it is kept.
    pub(super) fn forget_room(&mut self, world: &mut World, room: &RoomId) {
        if let Some(GroupRoom { number, .. }) = self.rooms.remove(room) {
            self.timers.clear_where(|(of, _)| *of == number);
            self.numbers.remove(&number);
        }
        self.rings.forget_room(room);
        let asked: Vec<_> = self.asked.iter().filter(|(_, of)| *of == room).collect();
        for op in asked.into_iter().map(|(op, _)| *op).collect::<Vec<_>>() {
            world.cancel(op);
            self.asked.remove(&op);
        }
        world.note_memberships(room, Vec::new());
    }

    pub(in crate::machine) fn fingerprint(&self, print: &mut Fingerprint, now: Now) {
        for (room, of_room) in &self.rooms {
            print.value(room);
            of_room.roster.fingerprint(print, now);
            of_room.ours.fingerprint(print);
            of_room.posts.fingerprint(print);
            of_room.early.fingerprint(print);
            of_room.delayed.fingerprint(print);
            match of_room.reading {
                Reading::NotYet => print.value("unread"),
                Reading::Asked(op) => print.op(op),
                Reading::Done => {}
            }
            print.value((&of_room.levels, &of_room.creation, &of_room.heard_meanwhile));
            print.value(&of_room.first_in);
        }
        for ((room, timer), deadline) in self.timers.iter() {
            print.value((self.numbers.get(room), timer));
            print.deadline(deadline);
        }
        for (session, call) in &self.calls {
            print.session(*session);
            print.value(call.shown());
            call.touched.fingerprint(print);
            call.mesh.fingerprint(print);
            call.sfu.fingerprint(print);
            call.keys.fingerprint(print);
            call.media.fingerprint(print);
            call.reactions.fingerprint(print);
            print.value(&call.calling);
            call.speaker.fingerprint(print);
        }
        self.rings.fingerprint(print);
    }
}
