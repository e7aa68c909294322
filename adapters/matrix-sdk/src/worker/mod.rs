//! What becomes of what the SDK tells: a value without clock, task or I/O.
//!
//! An [`Input`] goes in; [`Action`]s come out of [`Worker::poll`], to be drained after each input.
//! An [`Action::Ask`] is answered by [`Worker::on_answer`] with the same room. Per room one update
//! after the other is worked through, in a [`lane`](self::lane::Lane); rooms do not wait for each
//! other, so a slow backfill in one delays no hangup in another.
//!
//! ```text
//! update ─▶ drop what is known ─▶ backfill a gap ─▶ try keys again ─▶ room encrypted? ─▶ one batch
//!                                                        │ no key                      and facts
//!                                                        ▼
//!                                                     parking ◀── a key came
//! ```
//!
//! Source: `matrix-sdk.md` §0.

mod known;
mod lane;
mod parking;
mod rooms;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use matrix_voip::{
    id::{RoomId, UserId},
    machine::io::RoomNews,
    time::Now,
    wire::delivery::{Batch, Place, RawEvent},
};

pub(crate) use self::lane::{Answer, Ask, Page};
use self::{
    known::Known,
    lane::{Lane, Step, Work},
    parking::Parking,
    rooms::CallRooms,
};
use crate::{
    counts::Counts,
    intake::{Fact, Item, RoomUpdate, What},
};

/// Nothing that is older can matter to a call that is not known yet: the longest lifetime of an
/// invite that the core believes by default.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(300);

/// In how many rooms is looked for missed events when nobody can say in which they were missed.
const MAX_CATCH_UPS: usize = 128;

/// What the SDK tells, and what our own end does.
#[derive(Debug)]
pub(crate) enum Input {
    /// A sync response speaks of a joined room.
    Room(RoomUpdate),
    /// We are in this room no more.
    Left(RoomId),
    /// Updates were lost, nobody knows of which rooms.
    Lagged,
    /// The rooms that we are in, those with the latest news first: the answer to
    /// [`Action::ListRooms`].
    Rooms(Vec<RoomId>),
    /// Room keys came, by room and session.
    Keys(Vec<(RoomId, String)>),
    /// Room keys came, nobody knows which.
    KeysLagged,
    /// A to-device message that concerns calls.
    ToDevice(Box<RawEvent>),
    /// The complete list of ignored users.
    Ignored(BTreeSet<UserId>),
    /// We have sent something about a call into this room.
    Sent(RoomId),
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Hand it to the core.
    Deliver(Batch),
    /// Tell the core of a room.
    Tell(RoomId, RoomNews),
    /// Tell the core who is ignored.
    Ignore(BTreeSet<UserId>),
    /// Find something out about a room; comes back through [`Worker::on_answer`].
    Ask(RoomId, Ask),
    /// Say which rooms we are in, with [`Input::Rooms`].
    ListRooms,
}

/// The worker.
#[derive(Debug)]
pub(crate) struct Worker {
    me: UserId,
    lanes: BTreeMap<RoomId, Lane>,
    known: Known,
    parking: Parking,
    call_rooms: CallRooms,
    ignored: BTreeSet<UserId>,
    actions: VecDeque<Action>,
    counts: Counts,
}

impl Worker {
    /// A worker for this user.
    pub(crate) fn new(me: UserId) -> Self {
        Self {
            me,
            lanes: BTreeMap::new(),
            known: Known::default(),
            parking: Parking::default(),
            call_rooms: CallRooms::default(),
            ignored: BTreeSet::new(),
            actions: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// What has been done so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts { waiting_for_key: self.parking.len() as u64, ..self.counts }
    }

    /// The next thing to be done.
    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes one input.
    pub(crate) fn on(&mut self, now: Now, input: Input) {
        match input {
            Input::Room(update) => self.enqueue(now, update.room.clone(), Work::Update(update)),
            Input::Left(room) => {
                self.actions.push_back(Action::Tell(room, RoomNews::Left(self.me.clone())))
            }
            Input::Lagged => {
                self.counts.lags += 1;
                self.actions.push_back(Action::ListRooms);
            }
            Input::Rooms(rooms) => self.on_rooms(now, rooms),
            Input::Keys(keys) => {
                for (room, session) in keys {
                    self.on_key(now, room, Some(session));
                }
            }
            Input::KeysLagged => {
                let busy = self.lanes.keys().cloned();
                let rooms: BTreeSet<RoomId> = busy.chain(self.parking.rooms()).collect();
                for room in rooms {
                    self.on_key(now, room, None);
                }
            }
            Input::ToDevice(message) => self.on_to_device(*message),
            Input::Ignored(users) => {
                self.ignored.clone_from(&users);
                self.actions.push_back(Action::Ignore(users));
            }
            Input::Sent(room) => self.call_rooms.note(&room),
        }
    }

    /// Takes the answer to an [`Action::Ask`] about `room`.
    pub(crate) fn on_answer(&mut self, now: Now, room: &RoomId, answer: Answer) {
        let Some(mut lane) = self.lanes.remove(room) else { return };
        if let Some(job) = &mut lane.job {
            job.on_answer(answer);
        }
        self.advance(now, room, lane);
    }

    // ------------------------------------------------------------------------------------ inputs

    /// Each room may have a gap: those with calls first, then those with the latest news.
    fn on_rooms(&mut self, now: Now, rooms: Vec<RoomId>) {
        let (with_calls, others): (Vec<_>, Vec<_>) =
            rooms.into_iter().partition(|room| self.call_rooms.has(room));
        for room in with_calls.into_iter().chain(others).take(MAX_CATCH_UPS) {
            self.enqueue(now, room.clone(), Work::Update(RoomUpdate::catch_up(room)));
        }
    }

    /// A key is worth a try where something waits for it, or is about to: what is under way in the
    /// room may have failed for want of this very key.
    fn on_key(&mut self, now: Now, room: RoomId, session: Option<String>) {
        if self.lanes.contains_key(&room) || self.parking.awaits(&room, session.as_deref()) {
            self.enqueue(now, room, Work::Keys(session));
        }
    }

    /// The SDK does not filter to-device messages by ignored users.
    fn on_to_device(&mut self, message: RawEvent) {
        if self.ignored.contains(&message.facts.sender) {
            self.counts.ignored += 1;
            return;
        }
        self.counts.to_device += 1;
        self.actions
            .push_back(Action::Deliver(Batch { place: Place::ToDevice, events: vec![message] }));
    }

    fn enqueue(&mut self, now: Now, room: RoomId, work: Work) {
        let mut lane = self.lanes.remove(&room).unwrap_or_default();
        if !lane.push(&room, work) {
            self.counts.lags += 1;
        }
        self.advance(now, &room, lane);
    }

    // -------------------------------------------------------------------------------------- work

    /// Does in a lane what can be done without asking, and keeps it while something is asked.
    fn advance(&mut self, now: Now, room: &RoomId, mut lane: Lane) {
        loop {
            if lane.job.is_none() {
                let Some(work) = lane.next() else { return };
                lane.job = Some(self.begin(now, room, work));
            }
            let Some(job) = &mut lane.job else { return };
            if job.asked {
                break;
            }
            let in_call = self.call_rooms.has(room);
            match job.step(now, in_call, &self.known) {
                Step::Ask(ask) => {
                    self.counts.note(&ask);
                    self.actions.push_back(Action::Ask(room.clone(), ask));
                    break;
                }
                Step::Done => {
                    if let Some(job) = lane.job.take() {
                        self.finish(now, job);
                    }
                }
            }
        }
        self.lanes.insert(room.clone(), lane);
    }

    fn begin(&mut self, now: Now, room: &RoomId, work: Work) -> lane::Job {
        match work {
            Work::Update(mut update) => {
                // Behind an event that is known nothing can be missing.
                if update.items.iter().any(|item| self.is_known(item)) {
                    update.gap = None;
                }
                update.items.retain(|item| self.is_news(item));
                lane::Job::new(update)
            }
            Work::Keys(session) => {
                let items = self.parking.take(now, room, session.as_deref());
                lane::Job::retry(room.clone(), items)
            }
        }
    }

    fn is_known(&self, item: &Item) -> bool {
        item.id.as_ref().is_some_and(|id| self.known.has(id))
    }

    /// Whether an event was not seen before; one that waited for its key is news when it comes
    /// again and can be read.
    fn is_news(&mut self, item: &Item) -> bool {
        if !self.is_known(item) {
            return true;
        }
        let readable = !matches!(item.what, What::Locked(_));
        readable && item.id.as_ref().is_some_and(|id| self.parking.remove(id))
    }

    /// Hands everything of one update over, in its order.
    fn finish(&mut self, now: Now, job: lane::Job) {
        let done = job.into_done();
        self.counts.late_keys += done.unlocked;
        self.counts.unfilled += done.unfilled;
        let mut events = Vec::new();
        for item in done.items {
            if let Some(id) = &item.id {
                self.known.note(id);
            }
            match item.what {
                What::Call(_) => events.extend(item.into_event(now)),
                What::Locked(_) if item.age(now) < LONGEST_LIFE => {
                    self.parking.park(&done.room, item);
                }
                What::Forged => self.counts.forged += 1,
                What::Locked(_) | What::Fact(_) | What::Other => {}
            }
        }
        self.hand_over(done.room, done.encrypted, events, &done.facts);
    }

    /// The room's encryption goes before the events that it protects, departures after the last
    /// words of those who left.
    fn hand_over(&mut self, room: RoomId, encrypted: bool, events: Vec<RawEvent>, facts: &[Fact]) {
        if !events.is_empty() {
            self.call_rooms.note(&room);
        }
        // Of other rooms nobody needs to know: a large one would fill the core's mailbox.
        let in_call = self.call_rooms.has(&room);
        if in_call && facts.contains(&Fact::Encrypted) {
            self.actions.push_back(Action::Tell(room.clone(), RoomNews::Encrypted));
        }
        if !events.is_empty() {
            self.counts.batches += 1;
            self.counts.events += events.len() as u64;
            let place = Place::Room { room: room.clone(), encrypted };
            self.actions.push_back(Action::Deliver(Batch { place, events }));
        }
        if in_call {
            for user in departed(facts) {
                self.actions.push_back(Action::Tell(room.clone(), RoomNews::Left(user)));
            }
        }
    }
}

/// Who is outside after all of it; somebody may leave and come back within one response.
fn departed(facts: &[Fact]) -> BTreeSet<UserId> {
    let mut outside = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::Joined(user) => drop(outside.remove(user)),
            Fact::Outside(user) => drop(outside.insert(user.clone())),
            Fact::Encrypted => {}
        }
    }
    outside
}

#[cfg(test)]
mod tests;
