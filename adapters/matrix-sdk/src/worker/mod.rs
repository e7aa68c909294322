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
//! Beside it, a few rooms at a time, the [`survey`](self::survey::Survey) has the whole state of
//! each room read, as far as calls are made of it: once, and again after a gap that was not closed.
//!
//! Source: `matrix-sdk.md` §0.

mod known;
mod lane;
mod parking;
mod rooms;
mod shared;
mod survey;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use matrix_voip::{
    id::{RoomId, UserId},
    machine::io::RoomNews,
    time::Now,
    wire::{
        delivery::{Batch, Place, RawEvent},
        state::StateBatch,
    },
};

pub(crate) use self::lane::{Answer, Ask, Page, Reading, Source};
use self::{
    lane::{Lane, Progress, Work},
    parking::Sessions,
    shared::Shared,
};
use zeroize::Zeroize;

use crate::{counts::Counts, intake::RoomUpdate};

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
    /// A sync response is over: its rooms were named.
    Synced,
    /// Updates were lost, nobody knows of which rooms.
    Lagged,
    /// The rooms that we are in, those with the latest news first: the answer to
    /// [`Action::ListRooms`].
    Rooms(Listed, Vec<RoomId>),
    /// Room keys came, by room and session.
    Keys(Vec<(RoomId, String)>),
    /// Room keys came, nobody knows which.
    KeysLagged,
    /// A to-device message that concerns calls.
    ToDevice(Box<RawEvent>),
    /// So many to-device messages could not be decrypted.
    Undecryptable(u64),
    /// So many messages about media keys were not believed.
    Unbelieved(u64),
    /// The complete list of ignored users.
    Ignored(BTreeSet<UserId>),
    /// The complete list of rooms that are direct chats.
    Direct(BTreeSet<RoomId>),
    /// We have sent something about a call into this room.
    Sent(RoomId),
    /// We write state of this room now, or have just done so.
    Wrote(RoomId),
}

/// Why rooms are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// A sync has told for the first time which they are.
    AtFirst,
    /// Something was missed, nobody knows in which.
    AfterLag,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Hand it to the core.
    Deliver(Batch),
    /// Hand it to the core.
    State(StateBatch),
    /// Tell the core of a room.
    Tell(RoomId, RoomNews),
    /// Tell the core who is ignored.
    Ignore(BTreeSet<UserId>),
    /// Find something out about a room; comes back through [`Worker::on_answer`].
    Ask(RoomId, Ask),
    /// Say which rooms we are in, with [`Input::Rooms`].
    ListRooms(Listed),
}

/// The worker.
#[derive(Debug)]
pub(crate) struct Worker {
    me: UserId,
    ignored: BTreeSet<UserId>,
    lanes: BTreeMap<RoomId, Lane>,
    shared: Shared,
    has_synced: bool,
}

impl Worker {
    /// A worker for this user.
    pub(crate) fn new(me: UserId) -> Self {
        let (ignored, lanes, shared) = (BTreeSet::new(), BTreeMap::new(), Shared::default());
        Self { me, ignored, lanes, shared, has_synced: false }
    }

    /// What has been done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// The next thing to be done.
    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.shared.actions.pop_front()
    }

    /// Takes one input.
    pub(crate) fn on(&mut self, now: Now, input: Input) {
        match input {
            Input::Room(update) => {
                self.shared.survey.meet(&update.room);
                self.enqueue(now, update.room.clone(), Work::Update(update));
            }
            Input::Left(room) => self.on_left(room),
            Input::Synced => self.on_synced(now),
            Input::Lagged => {
                self.shared.counts.lags += 1;
                self.shared.actions.push_back(Action::ListRooms(Listed::AfterLag));
            }
            Input::Rooms(why, rooms) => self.on_rooms(now, why, rooms),
            Input::Keys(keys) => {
                for (room, session) in keys {
                    self.on_keys(now, room, Sessions::one(session));
                }
            }
            Input::KeysLagged => {
                let busy = self.lanes.keys().cloned();
                let rooms: BTreeSet<RoomId> = busy.chain(self.shared.parking.rooms()).collect();
                for room in rooms {
                    self.on_keys(now, room, Sessions::Any);
                }
            }
            Input::ToDevice(message) => self.on_to_device(*message),
            Input::Undecryptable(more) => self.shared.counts.undecryptable += more,
            Input::Unbelieved(more) => self.shared.counts.unbelieved += more,
            Input::Ignored(users) => {
                self.ignored.clone_from(&users);
                self.shared.actions.push_back(Action::Ignore(users));
            }
            Input::Direct(rooms) => self.shared.on_direct(rooms),
            Input::Sent(room) => self.shared.call_rooms.note(&room),
            Input::Wrote(room) => {
                self.shared.call_rooms.note(&room);
                self.shared.survey.wrote(&room);
            }
        }
        self.shared.survey(now);
    }

    /// Takes the answer to an [`Action::Ask`] about `room`.
    pub(crate) fn on_answer(&mut self, now: Now, room: &RoomId, answer: Answer) {
        match answer {
            Answer::State(reading) => self.shared.on_state(now, room, reading),
            answer => self.on_lane_answer(now, room, answer),
        }
        self.shared.survey(now);
    }

    fn on_lane_answer(&mut self, now: Now, room: &RoomId, answer: Answer) {
        let Some(lane) = self.lanes.get_mut(room) else { return };
        if lane.on_answer(now, room, answer, &mut self.shared) == Progress::Idle {
            self.lanes.remove(room);
        }
    }

    // ------------------------------------------------------------------------------------ inputs

    /// Nothing of it is told any more, and all of it when we are there again.
    fn on_left(&mut self, room: RoomId) {
        self.shared.survey.forget(&room);
        self.shared.actions.push_back(Action::Tell(room, RoomNews::Left(self.me.clone())));
    }

    /// Before the first sync nobody knows in which rooms we still are.
    fn on_synced(&mut self, now: Now) {
        if !std::mem::replace(&mut self.has_synced, true) {
            self.shared.actions.push_back(Action::ListRooms(Listed::AtFirst));
        }
        self.shared.survey.on_synced(now);
    }

    fn on_rooms(&mut self, now: Now, why: Listed, rooms: Vec<RoomId>) {
        for room in &rooms {
            self.shared.survey.meet(room);
        }
        match why {
            Listed::AtFirst => {}
            Listed::AfterLag => self.catch_up(now, rooms),
        }
    }

    /// Each room may have a gap: those with calls first, then those with the latest news.
    fn catch_up(&mut self, now: Now, rooms: Vec<RoomId>) {
        for room in &rooms {
            self.shared.survey.doubt(room, now);
        }
        let (with_calls, others): (Vec<_>, Vec<_>) =
            rooms.into_iter().partition(|room| self.shared.call_rooms.has(room));
        for room in with_calls.into_iter().chain(others).take(MAX_CATCH_UPS) {
            self.enqueue(now, room.clone(), Work::Update(RoomUpdate::catch_up(room, now)));
        }
    }

    /// A key is worth a try where something waits for it, or is about to: what is under way in the
    /// room may have failed for want of this very key.
    fn on_keys(&mut self, now: Now, room: RoomId, sessions: Sessions) {
        if self.lanes.contains_key(&room) || self.shared.parking.awaits(&room, &sessions) {
            self.enqueue(now, room, Work::Keys(sessions));
        }
    }

    /// The SDK does not filter to-device messages by ignored users.
    fn on_to_device(&mut self, mut message: RawEvent) {
        if self.ignored.contains(&message.facts.sender) {
            self.shared.counts.ignored += 1;
            message.content.zeroize();
            return;
        }
        self.shared.counts.to_device += 1;
        self.shared
            .actions
            .push_back(Action::Deliver(Batch { place: Place::ToDevice, events: vec![message] }));
    }

    fn enqueue(&mut self, now: Now, room: RoomId, work: Work) {
        let lane = self.lanes.entry(room.clone()).or_default();
        if !lane.push(now, &room, work) {
            self.shared.counts.lags += 1;
        }
        if lane.run(now, &room, &mut self.shared) == Progress::Idle {
            self.lanes.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests;
