//! One call or group call as its subscribers see it: a snapshot and the streams that continue it,
//! under one lock, so that both are taken together.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
};

use super::{
    lock,
    queue::{Queue, Queued},
};
use crate::{
    id::SessionId,
    machine::{
        event::{CallEvent, CallSnapshot, CallState},
        group::event::{GroupEvent, GroupSnapshot, GroupState},
    },
};

/// A snapshot that folds from events.
pub trait Folded: Clone + fmt::Debug {
    /// What happens to it.
    type Event: Clone + fmt::Debug;

    /// Takes an event into account.
    fn fold(&mut self, event: &Self::Event);

    /// Whether nothing can happen to it any more.
    fn is_over(&self) -> bool;

    /// Whether nothing follows this event.
    fn is_last(event: &Self::Event) -> bool;
}

impl Folded for CallSnapshot {
    type Event = CallEvent;

    fn fold(&mut self, event: &CallEvent) {
        self.apply(event);
    }

    fn is_over(&self) -> bool {
        self.state == CallState::Ended
    }

    fn is_last(event: &CallEvent) -> bool {
        matches!(event, CallEvent::Ended(_))
    }
}

impl Folded for GroupSnapshot {
    type Event = GroupEvent;

    fn fold(&mut self, event: &GroupEvent) {
        self.apply(event);
    }

    fn is_over(&self) -> bool {
        self.state == GroupState::Ended
    }

    fn is_last(event: &GroupEvent) -> bool {
        matches!(event, GroupEvent::Ended(_))
    }
}

/// News about one call or group call, as its subscribers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionNews<S: Folded> {
    /// Something happened.
    Event(S::Event),
    /// The subscriber was too slow: `n` events were dropped. What follows continues `snapshot`.
    Skipped {
        /// How many events were dropped.
        n: u64,
        /// How it stood after them.
        snapshot: Box<S>,
    },
}

/// News about one call.
pub type CallNews = SessionNews<CallSnapshot>;

/// News about one group call.
pub type GroupNews = SessionNews<GroupSnapshot>;

impl<S: Folded> SessionNews<S> {
    /// Takes the news into account: folding all news into the snapshot of `subscribe` gives the
    /// present snapshot.
    pub fn apply(&self, snapshot: &mut S) {
        match self {
            Self::Event(event) => snapshot.fold(event),
            Self::Skipped { snapshot: present, .. } => snapshot.clone_from(present),
        }
    }
}

impl<S: Folded> Queued for SessionNews<S> {
    fn facts(&self) -> u64 {
        match self {
            Self::Event(_) => 1,
            Self::Skipped { n, .. } => *n,
        }
    }
}

/// One call or group call: its snapshot and its subscribers.
#[derive(Debug)]
pub(crate) struct Cell<S: Folded> {
    id: SessionId,
    shared: Mutex<Shared<S>>,
}

/// A call's.
pub(crate) type CallCell = Cell<CallSnapshot>;

/// A group call's.
pub(crate) type GroupCell = Cell<GroupSnapshot>;

/// What a cell's subscriber reads.
pub(crate) type NewsQueue<S> = Queue<SessionNews<S>>;

#[derive(Debug)]
struct Shared<S: Folded> {
    snapshot: S,
    subscribers: Vec<Weak<NewsQueue<S>>>,
}

impl<S: Folded> Cell<S> {
    pub(super) fn new(id: SessionId, snapshot: S) -> Self {
        Self { id, shared: Mutex::new(Shared { snapshot, subscribers: Vec::new() }) }
    }

    /// The session id.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Looks at the snapshot without copying it.
    pub(crate) fn look<R>(&self, at: impl FnOnce(&S) -> R) -> R {
        at(&lock(&self.shared).snapshot)
    }

    /// The snapshot and the queue that continues it. After the end the queue is closed.
    pub(crate) fn subscribe(&self) -> (S, Arc<NewsQueue<S>>) {
        let queue = Arc::new(Queue::default());
        let mut shared = lock(&self.shared);
        if shared.snapshot.is_over() {
            queue.close();
        } else {
            shared.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
            shared.subscribers.push(Arc::downgrade(&queue));
        }
        (shared.snapshot.clone(), queue)
    }

    /// Tells every subscriber, then folds. Nothing is published after the end.
    pub(super) fn publish(&self, event: &S::Event) {
        let mut shared = lock(&self.shared);
        let Shared { snapshot, subscribers } = &mut *shared;
        if snapshot.is_over() {
            return;
        }
        subscribers.retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else { return false };
            queue.push(SessionNews::Event(event.clone()), |n| SessionNews::Skipped {
                n,
                snapshot: Box::new(snapshot.clone()),
            });
            if S::is_last(event) {
                queue.close();
            }
            true
        });
        snapshot.fold(event);
    }
}
