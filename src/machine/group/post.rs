//! Events of ours around the group calls of one room: reactions, announcements, declines, rights. Each goes
//! out until it is accepted, or no use to anybody any more.

use std::{collections::BTreeMap, time::Duration};

use super::{
    event::{GroupEvent, GroupRefusal},
    groups::GroupTimer,
};
use crate::{
    config::Timeouts,
    id::{EventId, OpId, RoomId},
    machine::{
        Engine,
        bounds::MAX_POSTS,
        fingerprint::Fingerprint,
        io::{Fault, MatrixOp, Op, Reply},
        world::{Owner, World},
    },
    time::{Deadline, Mono, Now, Wall},
    wire::member::GroupCallId,
};

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Letter {
    /// A room event: its type and its content.
    Event(String, String),
    /// The same, in the clear whatever the room is.
    Clear(String, String),
    /// A redaction: what it redacts, and its content.
    Redaction(EventId, String),
    /// A state event that is no membership: its type, its key and its content.
    State(String, String, String),
}

/// What it is for: whoever is told what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// A permanent reaction of ours, by what it shows.
    Reaction(GroupCallId, String),
    /// That it is taken back.
    Removal(GroupCallId, String),
    /// The announcement of this call.
    Announcement(GroupCallId),
    /// The same for clients of matrix-js-sdk, as state.
    LegacyAnnouncement(GroupCallId),
    /// Who may be in calls of the room: asked for in this one.
    Rights(GroupCallId),
    /// Nobody needs to know.
    Nothing,
}

/// How long it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Patience {
    /// Once.
    Once,
    /// Until then.
    Until(Wall),
    /// Until it is accepted.
    Endless,
}

/// One event on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) letter: Letter,
    pub(super) purpose: Purpose,
    pub(super) patience: Patience,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Sending(OpId),
    Waiting(Mono),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    post: Post,
    transaction: String,
    step: Step,
    tries: u32,
    /// Until when the homeserver wants to be left alone.
    quiet: Option<Mono>,
}

impl Post {
    fn send(&self, world: &mut World, room: &RoomId, transaction: &str) -> OpId {
        let (room, transaction) = (room.clone(), transaction.to_owned());
        let op = match self.letter.clone() {
            Letter::Event(event_type, content) => {
                MatrixOp::SendEvent { room, event_type, content, transaction }
            }
            Letter::Clear(event_type, content) => {
                MatrixOp::SendClear { room, event_type, content, transaction }
            }
            Letter::Redaction(redacts, content) => {
                MatrixOp::Redact { room, redacts, content, transaction }
            }
            Letter::State(event_type, state_key, content) => {
                MatrixOp::SendState { room, event_type, state_key, content }
            }
        };
        world.request(Owner::Groups, Op::Matrix(op))
    }
}

impl Entry {
    /// After which pause it is tried again, if it is.
    fn pause(&self, fault: &Fault, now: Now, timeouts: &Timeouts) -> Option<Duration> {
        let pause = fault.pause_before(self.tries, timeouts);
        let useful = match self.post.patience {
            Patience::Once => false,
            Patience::Until(until) => now.wall.plus(pause) <= until,
            Patience::Endless => true,
        };
        (useful && fault.is_passing()).then_some(pause)
    }
}

/// All of one room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Posts {
    entries: BTreeMap<u64, Entry>,
    latest: u64,
}

impl Posts {
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_POSTS
    }

    /// Whether other rights are on their way.
    pub(super) fn has_rights(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry.post.purpose, Purpose::Rights(_)))
    }

    /// Drops what waits for this call: nobody needs it any more.
    pub(super) fn forget(&mut self, group: &GroupCallId) {
        self.entries.retain(|_, entry| {
            let of = match &entry.post.purpose {
                Purpose::Reaction(of, _) | Purpose::Announcement(of) => of,
                Purpose::LegacyAnnouncement(of) | Purpose::Rights(of) => of,
                Purpose::Removal(..) | Purpose::Nothing => return true,
            };
            if of != group {
                return true;
            }
            // What is under way may arrive, but is not tried again.
            entry.post.patience = Patience::Once;
            matches!(entry.step, Step::Sending(_))
        });
    }

    /// Our wall clock was set back: nothing is tried longer for that.
    pub(super) fn on_clock_set_back(&mut self, by: Duration) {
        for entry in self.entries.values_mut() {
            if let Patience::Until(until) = &mut entry.post.patience {
                *until = until.minus(by);
            }
        }
    }

    fn take(&mut self, op: OpId) -> Option<(u64, Entry)> {
        let mut sending = self.entries.iter().filter(|(_, it)| it.step == Step::Sending(op));
        let number = *sending.next()?.0;
        self.entries.remove(&number).map(|entry| (number, entry))
    }

    fn next(&self) -> Option<Mono> {
        let waiting = self.entries.values().filter_map(|entry| match entry.step {
            Step::Waiting(at) => Some(at),
            Step::Sending(_) => None,
        });
        waiting.min()
    }

    /// What waits waits no longer, but where the homeserver asked for it.
    pub(super) fn on_network_back(&mut self, now: Mono) {
        for entry in self.entries.values_mut() {
            if let Step::Waiting(at) = &mut entry.step {
                *at = (*at).min(entry.quiet.unwrap_or_default().max(now));
            }
        }
    }

    fn send_due(&mut self, world: &mut World, room: &RoomId, by: Mono) -> Vec<OpId> {
        let due = self.entries.values_mut().filter(|entry| match entry.step {
            Step::Waiting(at) => at <= by,
            Step::Sending(_) => false,
        });
        let sent = due.map(|entry| {
            let op = entry.post.send(world, room, &entry.transaction);
            entry.step = Step::Sending(op);
            op
        });
        sent.collect()
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for entry in self.entries.values() {
            print.value((&entry.post.purpose, entry.tries));
            match entry.step {
                Step::Sending(op) => print.op(op),
                Step::Waiting(at) => print.deadline(Deadline::Mono(at)),
            }
        }
    }
}

impl Engine {
    /// Sends something; the number by which its purpose hears of it.
    pub(super) fn post(&mut self, room: &RoomId, post: Post) -> u64 {
        let transaction = self.world.ids.transaction(&self.world.party);
        let op = post.send(&mut self.world, room, &transaction);
        self.groups.await_reply(op, room);
        let entry = Entry { post, transaction, step: Step::Sending(op), tries: 0, quiet: None };
        let posts = &mut self.groups.room(room).posts;
        posts.latest += 1;
        posts.entries.insert(posts.latest, entry);
        posts.latest
    }

    /// What became of a post; `false` where the request was for something else.
    pub(super) fn on_post_reply(
        &mut self,
        room: &RoomId,
        op: OpId,
        result: &Result<Reply, Fault>,
    ) -> bool {
        let Some((number, mut entry)) = self.groups.room(room).posts.take(op) else {
            return false;
        };
        entry.tries = entry.tries.saturating_add(1);
        let fault = match result {
            Ok(Reply::Sent(event)) => {
                self.on_posted(room, entry.post.purpose, event.clone());
                return true;
            }
            Ok(_) => &Fault::Unsupported,
            Err(fault) => fault,
        };
        match entry.pause(fault, self.world.now, &self.world.config.timeouts) {
            Some(pause) => {
                entry.quiet = fault.asked_pause().map(|_| self.world.now.mono.plus(pause));
                entry.step = Step::Waiting(self.world.now.mono.plus(pause));
                self.groups.room(room).posts.entries.insert(number, entry);
                self.watch_posts(room);
            }
            None => self.on_unposted(room, (number, entry.post.purpose), fault),
        }
        true
    }

    /// Sends again what has waited until now.
    pub(super) fn on_posts_due(&mut self, room: &RoomId, by: Mono) {
        let posts = &mut self.groups.room(room).posts;
        let sent = posts.send_due(&mut self.world, room, by);
        for op in sent {
            self.groups.await_reply(op, room);
        }
        self.watch_posts(room);
    }

    fn watch_posts(&mut self, room: &RoomId) {
        let next = self.groups.room(room).posts.next();
        self.groups.set_timer(room, GroupTimer::Posts, next.map(Deadline::Mono));
    }

    fn on_posted(&mut self, room: &RoomId, purpose: Purpose, event: EventId) {
        match purpose {
            Purpose::Reaction(group, key) => self.on_reaction_sent(room, &group, key, event),
            Purpose::Removal(group, key) => self.on_removal_sent(room, &group, key),
            Purpose::Announcement(group) => self.on_announced(room, &group, event),
            // What the room says afterwards is told as `RightsChanged`.
            Purpose::Rights(_) | Purpose::LegacyAnnouncement(_) | Purpose::Nothing => {}
        }
    }

    fn on_unposted(&mut self, room: &RoomId, (number, purpose): (u64, Purpose), fault: &Fault) {
        match purpose {
            Purpose::Reaction(group, key) => self.on_reaction_refused(room, &group, (number, key)),
            Purpose::Rights(group) => {
                if let Some(session) = self.groups.find(room, &group) {
                    let why = GroupRefusal::of(fault);
                    self.tell_group(session, GroupEvent::AllowEveryoneFailed(why));
                }
            }
            Purpose::Announcement(group) => self.on_unannounced(room, &group),
            Purpose::Removal(..) | Purpose::LegacyAnnouncement(_) | Purpose::Nothing => {}
        }
    }
}
