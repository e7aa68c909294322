//! Where events become snapshots and reach subscribers: all in one place, published by the driver
//! alone.
//!
//! Each call and each group call has a [`Cell`](super::cell::Cell). Locks are taken in the order hub,
//! cell, queue, and held for no longer than it takes to copy a snapshot.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
};

use super::{
    cell::{CallCell, CallNews, GroupCell, GroupNews},
    lock,
    queue::{Queue, Queued},
};
use crate::{
    id::{CallId, RoomId, SessionId, UserId},
    machine::{
        diagnostics::Diagnostics,
        event::{
            CallEvent, CallSnapshot, End, EndParty, EndReason, MissedWhy, RingStop, Transfer,
            VoipEvent,
        },
        group::{
            event::{GroupEnd, GroupEvent, GroupSnapshot},
            ringing::IncomingRing,
        },
        io::CallMedia,
    },
    time::Wall,
};

/// How many calls that are over can still be asked for by their session id.
const RECENT: usize = 64;

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
    /// A group call is there; the queue begins with it.
    GroupAdded(Arc<GroupCell>, Box<GroupSnapshot>, Arc<Queue<GroupNews>>),
    /// It rings.
    GroupRingStarted(Arc<GroupCell>, Box<IncomingRing>),
    /// It rings no more.
    GroupRingStopped(Arc<GroupCell>, Box<IncomingRing>, RingStop),
    /// It is over.
    GroupEnded(Arc<GroupCell>, GroupEnd),
    /// The subscriber was too slow: so many facts are lost, and these calls live.
    Skipped(u64, Vec<Arc<CallCell>>, Vec<Arc<GroupCell>>),
}

impl Queued for VoipItem {
    fn facts(&self) -> u64 {
        match self {
            Self::Skipped(n, ..) => *n,
            Self::GroupAdded(..) | Self::GroupEnded(..) => 1,
            Self::GroupRingStarted(..) | Self::GroupRingStopped(..) => 1,
            Self::Added(..) | Self::RingStarted(..) | Self::RingStopped(..) => 1,
            Self::TransferRequested(..) | Self::TransferAnnounced(..) | Self::Unverified(..) => 1,
            Self::Missed(_) | Self::Ended(..) => 1,
        }
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
    groups: BTreeMap<SessionId, Arc<GroupCell>>,
    /// What rings of group calls; the machine bounds it.
    rings: Vec<IncomingRing>,
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

    /// A group call that lives.
    pub(crate) fn group(&self, id: SessionId) -> Option<Arc<GroupCell>> {
        lock(&self.state).groups.get(&id).cloned()
    }

    /// All group calls that live, oldest first.
    pub(crate) fn groups(&self) -> Vec<Arc<GroupCell>> {
        lock(&self.state).groups()
    }

    /// What rings of group calls now.
    pub(crate) fn rings(&self) -> Vec<IncomingRing> {
        lock(&self.state).rings.clone()
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

    /// Publishes an event of one group call.
    pub(super) fn on_group(&self, id: SessionId, event: &GroupEvent) {
        match self.group(id) {
            Some(cell) => cell.publish(event),
            None => tracing::error!(session = id.0, "an event of a group call that does not live"),
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
        for ring in self.rings() {
            let (ring, why) = (Box::new(ring), RingStop::Ended);
            self.on_voip(VoipEvent::GroupRingStopped { ring, why });
        }
        for cell in self.groups() {
            cell.publish(&GroupEvent::Ended(GroupEnd::ShutDown));
            self.on_voip(VoipEvent::GroupCallEnded { session: cell.id(), end: GroupEnd::ShutDown });
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
        live.or_else(|| self.recent.iter().find(|cell| cell.id() == id)).cloned()
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
            VoipEvent::GroupCallAdded { session, snapshot } => self.add_group(session, *snapshot),
            VoipEvent::GroupRingStarted { ring } => self.start_ring(ring),
            VoipEvent::GroupRingStopped { ring, why } => self.stop_ring(&ring, why),
            VoipEvent::GroupCallEnded { session, end } => {
                if let Some(cell) = self.groups.remove(&session) {
                    self.tell(|| VoipItem::GroupEnded(Arc::clone(&cell), end));
                }
            }
        }
    }

    fn start_ring(&mut self, ring: Box<IncomingRing>) {
        self.rings.push((*ring).clone());
        self.tell_of_group(ring.session, |cell| VoipItem::GroupRingStarted(cell, ring.clone()));
    }

    fn stop_ring(&mut self, ring: &IncomingRing, why: RingStop) {
        self.rings.retain(|other| other != ring);
        self.tell_of_group(ring.session, |cell| {
            VoipItem::GroupRingStopped(cell, Box::new(ring.clone()), why)
        });
    }

    fn tell_of_group(&mut self, id: SessionId, item: impl Fn(Arc<GroupCell>) -> VoipItem) {
        match self.groups.get(&id).cloned() {
            Some(cell) => self.tell(|| item(Arc::clone(&cell))),
            None => tracing::error!(session = id.0, "news of a group call that does not live"),
        }
    }

    fn groups(&self) -> Vec<Arc<GroupCell>> {
        self.groups.values().cloned().collect()
    }

    fn add_group(&mut self, id: SessionId, snapshot: GroupSnapshot) {
        let cell = Arc::new(GroupCell::new(id, snapshot));
        self.tell(|| {
            let (snapshot, events) = cell.subscribe();
            VoipItem::GroupAdded(Arc::clone(&cell), Box::new(snapshot), events)
        });
        self.groups.insert(id, cell);
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
            queue.push(item(), |n| VoipItem::Skipped(n, self.calls(), self.groups()));
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
        machine::event::{CallDirection, CallState},
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
