//! Where events become snapshots and reach subscribers: all in one place, published by the driver
//! alone.
//!
//! Each call has a [`CallCell`]: its snapshot, folded from its events, and its subscribers, under
//! one lock. So a snapshot and the stream that continues it are taken together. Locks are taken in
//! the order hub, cell, queue, and held for no longer than it takes to copy a snapshot.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
};

use super::{
    lock,
    queue::{Queue, Queued},
};
use crate::{
    id::{CallId, RoomId, SessionId, UserId},
    machine::{
        diagnostics::Diagnostics,
        event::{
            CallEvent, CallSnapshot, CallState, End, EndParty, EndReason, MissedWhy, RingStop,
            Transfer, VoipEvent,
        },
        io::CallMedia,
    },
    time::Wall,
};

/// How many calls that are over can still be asked for by their session id.
const RECENT: usize = 64;

/// News about one call, as its subscribers get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallNews {
    /// Something happened.
    Event(CallEvent),
    /// The subscriber was too slow: `n` events were dropped. What follows continues `snapshot`.
    Skipped {
        /// How many events were dropped.
        n: u64,
        /// How the call stood after them.
        snapshot: Box<CallSnapshot>,
    },
}

impl CallNews {
    /// Takes the news into account: folding all news into the snapshot of `subscribe` gives the
    /// present snapshot.
    pub fn apply(&self, snapshot: &mut CallSnapshot) {
        match self {
            Self::Event(event) => snapshot.apply(event),
            Self::Skipped { snapshot: present, .. } => snapshot.clone_from(present),
        }
    }
}

impl Queued for CallNews {
    fn facts(&self) -> u64 {
        match self {
            Self::Event(_) => 1,
            Self::Skipped { n, .. } => *n,
        }
    }
}

/// A call that nobody answered here: for the list of missed calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedCall {
    /// The room.
    pub room: RoomId,
    /// Who called.
    pub caller: UserId,
    /// The call.
    pub call_id: CallId,
    /// Voice or video.
    pub media: CallMedia,
    /// Why nobody answered.
    pub why: MissedWhy,
}

/// News about all calls, with what is needed to make handles of it.
#[derive(Debug)]
pub(crate) enum VoipItem {
    /// A call exists; the queue begins with it.
    Added(Arc<CallCell>, Box<CallSnapshot>, Arc<Queue<CallNews>>),
    /// It rings until then.
    RingStarted(Arc<CallCell>, Wall),
    /// It rings no more.
    RingStopped(Arc<CallCell>, RingStop),
    /// Somebody called and was not answered.
    Missed(MissedCall),
    /// Somebody else is to be called instead.
    TransferRequested(Arc<CallCell>, Box<Transfer>),
    /// Somebody else will call instead.
    TransferAnnounced(Arc<CallCell>, Box<Transfer>),
    /// A device of this user is not verified.
    Unverified(Arc<CallCell>, UserId),
    /// It is over.
    Ended(Arc<CallCell>, End),
    /// The subscriber was too slow: so many facts are lost, and these calls live.
    Skipped(u64, Vec<Arc<CallCell>>),
}

impl Queued for VoipItem {
    fn facts(&self) -> u64 {
        match self {
            Self::Skipped(n, _) => *n,
            Self::Added(..) | Self::RingStarted(..) | Self::RingStopped(..) => 1,
            Self::TransferRequested(..) | Self::TransferAnnounced(..) | Self::Unverified(..) => 1,
            Self::Missed(_) | Self::Ended(..) => 1,
        }
    }
}

/// One call: its snapshot and its subscribers.
#[derive(Debug)]
pub(crate) struct CallCell {
    id: SessionId,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    snapshot: CallSnapshot,
    subscribers: Vec<Weak<Queue<CallNews>>>,
}

impl CallCell {
    fn new(id: SessionId, snapshot: CallSnapshot) -> Self {
        Self { id, shared: Mutex::new(Shared { snapshot, subscribers: Vec::new() }) }
    }

    /// The call's session id.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Looks at the snapshot without copying it.
    pub(crate) fn look<R>(&self, at: impl FnOnce(&CallSnapshot) -> R) -> R {
        at(&lock(&self.shared).snapshot)
    }

    /// The snapshot and the queue that continues it. After the end the queue is closed.
    pub(crate) fn subscribe(&self) -> (CallSnapshot, Arc<Queue<CallNews>>) {
        let queue = Arc::new(Queue::default());
        let mut shared = lock(&self.shared);
        if shared.snapshot.state == CallState::Ended {
            queue.close();
        } else {
            shared.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
            shared.subscribers.push(Arc::downgrade(&queue));
        }
        (shared.snapshot.clone(), queue)
    }

    /// Tells every subscriber, then folds. Nothing is published after the end.
    fn publish(&self, event: &CallEvent) {
        let mut shared = lock(&self.shared);
        let Shared { snapshot, subscribers } = &mut *shared;
        if snapshot.state == CallState::Ended {
            return;
        }
        subscribers.retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else { return false };
            queue.push(CallNews::Event(event.clone()), |n| CallNews::Skipped {
                n,
                snapshot: Box::new(snapshot.clone()),
            });
            if matches!(event, CallEvent::Ended(_)) {
                queue.close();
            }
            true
        });
        snapshot.apply(event);
    }
}

/// All calls and all who listen.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// What the engine had ignored when the driver stopped.
    last_words: Mutex<Diagnostics>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<SessionId, Live>,
    recent: VecDeque<Arc<CallCell>>,
    subscribers: Vec<Weak<Queue<VoipItem>>>,
    closed: bool,
}

/// A call of which not everything was told.
#[derive(Debug)]
struct Live {
    cell: Arc<CallCell>,
    /// Its own stream has ended.
    ended: bool,
    /// `CallEnded` was published.
    end_told: bool,
}

impl Hub {
    /// A call that lives or ended not long ago.
    pub(crate) fn call(&self, id: SessionId) -> Option<Arc<CallCell>> {
        lock(&self.state).call(id)
    }

    /// All calls that live, oldest first.
    pub(crate) fn calls(&self) -> Vec<Arc<CallCell>> {
        lock(&self.state).calls()
    }

    /// A queue of everything from now on.
    pub(crate) fn subscribe(&self) -> Arc<Queue<VoipItem>> {
        let queue = Arc::new(Queue::default());
        let mut state = lock(&self.state);
        if state.closed {
            queue.close();
        } else {
            state.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
            state.subscribers.push(Arc::downgrade(&queue));
        }
        queue
    }

    /// What the engine had ignored when the driver stopped.
    pub(crate) fn last_words(&self) -> Diagnostics {
        lock(&self.last_words).clone()
    }

    /// Publishes an event about all calls.
    pub(super) fn on_voip(&self, event: VoipEvent) {
        lock(&self.state).on_voip(event);
    }

    /// Publishes an event of one call.
    pub(super) fn on_call(&self, id: SessionId, event: &CallEvent) {
        let mut state = lock(&self.state);
        let Some(live) = state.live.get_mut(&id) else {
            tracing::error!(session = id.0, "an event of a call that does not live");
            return;
        };
        live.cell.publish(event);
        if matches!(event, CallEvent::Ended(_)) {
            live.ended = true;
            state.retire(id);
        }
    }

    /// The driver is gone: whatever still lives has ended with it, and every stream ends.
    pub(super) fn close(&self, diagnostics: Diagnostics) {
        *lock(&self.last_words) = diagnostics;
        let end = End { party: EndParty::Local, reason: EndReason::ShutDown };
        let left: Vec<SessionId> = lock(&self.state).live.keys().copied().collect();
        for id in left {
            self.on_call(id, &CallEvent::Ended(end.clone()));
            self.on_voip(VoipEvent::CallEnded { session: id, end: end.clone() });
        }
        let mut state = lock(&self.state);
        state.closed = true;
        for queue in state.subscribers.drain(..).filter_map(|queue| queue.upgrade()) {
            queue.close();
        }
    }
}

impl State {
    fn call(&self, id: SessionId) -> Option<Arc<CallCell>> {
        let live = self.live.get(&id).map(|live| &live.cell);
        live.or_else(|| self.recent.iter().find(|cell| cell.id == id)).cloned()
    }

    fn calls(&self) -> Vec<Arc<CallCell>> {
        let unended = self.live.values().filter(|live| !live.ended);
        unended.map(|live| Arc::clone(&live.cell)).collect()
    }

    fn on_voip(&mut self, event: VoipEvent) {
        match event {
            VoipEvent::CallAdded { session, snapshot } => self.add(session, *snapshot),
            VoipEvent::RingStarted { session, until } => {
                self.tell_of(session, |cell| VoipItem::RingStarted(cell, until));
            }
            VoipEvent::RingStopped { session, why } => {
                self.tell_of(session, |cell| VoipItem::RingStopped(cell, why));
            }
            VoipEvent::Missed { room, caller, call_id, media, why } => {
                let missed = MissedCall { room, caller, call_id, media, why };
                self.tell(|| VoipItem::Missed(missed.clone()));
            }
            VoipEvent::TransferRequested { session, transfer } => {
                self.tell_of(session, |cell| VoipItem::TransferRequested(cell, transfer.clone()));
            }
            VoipEvent::TransferAnnounced { session, transfer } => {
                self.tell_of(session, |cell| VoipItem::TransferAnnounced(cell, transfer.clone()));
            }
            VoipEvent::UnverifiedDevice { session, user } => {
                self.tell_of(session, |cell| VoipItem::Unverified(cell, user.clone()));
            }
            VoipEvent::CallEnded { session, end } => self.end(session, &end),
        }
    }

    fn add(&mut self, id: SessionId, snapshot: CallSnapshot) {
        let cell = Arc::new(CallCell::new(id, snapshot));
        self.tell(|| {
            let (snapshot, events) = cell.subscribe();
            VoipItem::Added(Arc::clone(&cell), Box::new(snapshot), events)
        });
        self.live.insert(id, Live { cell, ended: false, end_told: false });
    }

    fn end(&mut self, id: SessionId, end: &End) {
        self.tell_of(id, |cell| VoipItem::Ended(cell, end.clone()));
        if let Some(live) = self.live.get_mut(&id) {
            live.end_told = true;
        }
        self.retire(id);
    }

    fn tell_of(&mut self, id: SessionId, item: impl Fn(Arc<CallCell>) -> VoipItem) {
        match self.call(id) {
            Some(cell) => self.tell(|| item(Arc::clone(&cell))),
            None => tracing::error!(session = id.0, "news of a call that does not live"),
        }
    }

    /// Gives each subscriber an item of its own.
    fn tell(&mut self, item: impl Fn() -> VoipItem) {
        let subscribers = std::mem::take(&mut self.subscribers);
        for queue in subscribers.iter().filter_map(Weak::upgrade) {
            queue.push(item(), |n| VoipItem::Skipped(n, self.calls()));
        }
        self.subscribers = subscribers;
        self.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
    }

    /// A call of which everything was told lives no more.
    fn retire(&mut self, id: SessionId) {
        if !self.live.get(&id).is_some_and(|live| live.ended && live.end_told) {
            return;
        }
        if let Some(live) = self.live.remove(&id) {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(live.cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{
        id::PartyId,
        machine::event::CallDirection,
        wire::call::{Capabilities, Identity},
    };

    fn snapshot() -> CallSnapshot {
        CallSnapshot {
            room: RoomId::parse("!room:hs").unwrap(),
            call_id: CallId::parse("c1").unwrap(),
            party_id: PartyId::parse("p1").unwrap(),
            direction: CallDirection::Outgoing,
            media: CallMedia::Voice,
            state: CallState::Preparing,
            remote_user: None,
            remote_party: None,
            remote_capabilities: Capabilities::default(),
            streams: Vec::new(),
            muted: BTreeMap::new(),
            hold: crate::machine::event::Hold::default(),
            identity: None,
            end: None,
        }
    }

    fn add(hub: &Hub, id: u64) -> SessionId {
        let session = SessionId(id);
        hub.on_voip(VoipEvent::CallAdded { session, snapshot: Box::new(snapshot()) });
        session
    }

    fn end() -> End {
        End { party: EndParty::Remote, reason: EndReason::Hangup }
    }

    fn drain<T: Queued>(queue: &Queue<T>) -> Vec<T> {
        let mut context = Context::from_waker(Waker::noop());
        let next = || match queue.poll_next(&mut context) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn many_calls_that_end_at_once_are_all_told_of() {
        let hub = Hub::default();
        let all = hub.subscribe();
        let sessions: Vec<_> = (0..200).map(|id| add(&hub, id)).collect();
        for session in &sessions {
            hub.on_call(*session, &CallEvent::Ended(end()));
        }
        assert!(hub.calls().is_empty(), "what has ended does not live");
        for session in &sessions {
            hub.on_voip(VoipEvent::CallEnded { session: *session, end: end() });
        }
        let ends = drain(&all).into_iter().filter(|item| matches!(item, VoipItem::Ended(..)));
        assert_eq!(ends.count(), sessions.len());
    }

    #[test]
    fn nothing_changes_after_the_end() {
        let hub = Hub::default();
        let session = add(&hub, 1);
        let cell = hub.call(session).unwrap();
        let (_, events) = cell.subscribe();
        hub.on_call(session, &CallEvent::Ended(end()));
        hub.on_call(session, &CallEvent::IdentityAsserted(Identity::default()));
        assert_eq!(cell.look(|present| present.identity.clone()), None);
        assert_eq!(drain(&events), [CallNews::Event(CallEvent::Ended(end()))]);
    }

    #[test]
    fn a_hub_that_closes_ends_what_lives_and_then_every_stream() {
        let hub = Hub::default();
        let all = hub.subscribe();
        let cell = hub.call(add(&hub, 1)).unwrap();
        let (_, events) = cell.subscribe();
        hub.close(Diagnostics::default());
        let shut_down = End { party: EndParty::Local, reason: EndReason::ShutDown };
        assert_eq!(drain(&events), [CallNews::Event(CallEvent::Ended(shut_down.clone()))]);
        let told = drain(&all);
        assert!(
            matches!(&told[..], [VoipItem::Added(..), VoipItem::Ended(_, end)] if *end == shut_down)
        );
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(all.poll_next(&mut context), Poll::Ready(None)));
        assert!(matches!(hub.subscribe().poll_next(&mut context), Poll::Ready(None)));
    }
}
