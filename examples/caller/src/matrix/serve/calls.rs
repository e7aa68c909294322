//! All calls of one client: what became of them, and who waits for something to become of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matrix_voip::{
    CallEvents, CallSession, CallSnapshot, CallState, PeerStats, VoipEvents, VoipNews,
    id::SessionId, machine::event::Transfer,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    engine::Watched,
    object::{self, Surroundings, end_names, state_name},
    out::Events,
    senses::{CallSenses, Senses},
};

/// Most calls that are remembered; the protocol asks for 100.
const MAX_CALLS: usize = 256;

/// All calls of one client, oldest first.
#[derive(Debug)]
pub(crate) struct Calls {
    me: String,
    list: Mutex<Vec<Arc<Call>>>,
    /// Grows with each change of any call.
    changes: watch::Sender<u64>,
    events: Events,
    senses: Senses,
    engine: Arc<Watched>,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) session: CallSession,
    pub(crate) senses: Arc<CallSenses>,
    tone: f32,
    view: Mutex<View>,
    stats: Mutex<PeerStats>,
    /// What the other side asked for last.
    transfer: Mutex<Option<Transfer>>,
}

/// How a call stands, and how it got there.
#[derive(Debug, Clone)]
struct View {
    snapshot: CallSnapshot,
    states: Vec<&'static str>,
}

impl Calls {
    pub(crate) fn new(me: &str, events: Events, senses: Senses, engine: Arc<Watched>) -> Self {
        let (list, changes) = (Mutex::default(), watch::Sender::new(0));
        Self { me: me.to_owned(), list, changes, events, senses, engine }
    }

    /// The call of that id; without one the newest that has not ended, else the newest.
    pub(crate) fn pick(&self, call_id: Option<&str>) -> Result<Arc<Call>, String> {
        let list = lock(&self.list);
        let found = match call_id {
            Some(id) => list.iter().rfind(|call| call.id() == id),
            None => list.iter().rfind(|call| !call.is_over()).or(list.last()),
        };
        found.cloned().ok_or_else(|| match call_id {
            Some(id) => format!("no call {id}"),
            None => "no call".to_owned(),
        })
    }

    /// An inbound call that rings.
    pub(crate) fn ringing(&self, call_id: Option<&str>) -> Option<Arc<Call>> {
        let fits = |call: &&Arc<Call>| {
            let asked_for = call_id.is_none_or(|id| call.id() == id);
            asked_for && call.look(|view| view.states.last() == Some(&"ringing"))
        };
        lock(&self.list).iter().find(fits).cloned()
    }

    /// All calls, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Call>> {
        lock(&self.list).clone()
    }

    /// The call object of the protocol.
    pub(crate) fn describe(&self, call: &Call) -> Value {
        call.look(|view| {
            let around = Surroundings { me: &self.me, states: &view.states, tone: call.tone };
            object::describe(&view.snapshot, around)
        })
    }

    /// Waits until `look` finds something; it looks again after each change of any call. Cancel
    /// safe.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look(self) {
                return found;
            }
            // The sender is ours: it lives.
            drop(changes.changed().await);
        }
    }

    /// The call of a handle, if it is in the list.
    pub(crate) fn known(&self, session: SessionId) -> Option<Arc<Call>> {
        lock(&self.list).iter().rfind(|call| call.session.id() == session).cloned()
    }

    /// The call of a handle, as soon as it is in the list. Cancel safe.
    pub(crate) async fn of(&self, session: SessionId) -> Arc<Call> {
        self.until(|calls| calls.known(session)).await
    }

    /// Follows all calls until the library has stopped.
    pub(crate) async fn follow(self: Arc<Self>, mut events: VoipEvents) {
        while let Some(news) = events.next().await {
            match news {
                VoipNews::CallAdded { call, snapshot, events } => {
                    let call = self.add(call, *snapshot);
                    tokio::spawn(Arc::clone(&self).follow_one(call, events));
                }
                VoipNews::RingStarted { call, .. } => self.rings(call.id()),
                VoipNews::TransferRequested { call, transfer } => {
                    self.note_transfer("transferRequested", call.id(), &transfer);
                    if let Some(call) = self.known(call.id()) {
                        *lock(&call.transfer) = Some(*transfer);
                    }
                }
                VoipNews::TransferAnnounced { call, transfer } => {
                    self.note_transfer("transferAnnounced", call.id(), &transfer);
                }
                _ => {}
            }
        }
    }

    async fn follow_one(self: Arc<Self>, call: Arc<Call>, mut events: CallEvents) {
        while let Some(news) = events.next().await {
            let before = call.snapshot();
            news.apply(&mut lock(&call.view).snapshot);
            self.note_changes(&call, &before);
            self.note_state(&call);
        }
    }

    /// Tells of other streams, and of a hold.
    fn note_changes(&self, call: &Call, before: &CallSnapshot) {
        let now = call.snapshot();
        if now.streams != before.streams {
            let feeds = self.describe(call)["feeds"].clone();
            self.events.tell("feeds", json!({"callId": call.id(), "feeds": feeds}));
        }
        for (name, on, was) in [
            ("localHold", now.hold.by_them, before.hold.by_them),
            ("remoteHold", now.hold.by_us, before.hold.by_us),
        ] {
            if on != was {
                self.events.tell(name, json!({"callId": call.id(), "on": on}));
            }
        }
    }

    fn add(&self, session: CallSession, snapshot: CallSnapshot) -> Arc<Call> {
        let id = session.id();
        let states = vec![state_name(snapshot.state)];
        let view = Mutex::new(View { snapshot, states });
        let (senses, tone) = (self.senses.of(id), self.senses.tone(id));
        let call = Arc::new(Call {
            session,
            senses,
            tone,
            view,
            stats: Mutex::default(),
            transfer: Mutex::default(),
        });
        let mut list = lock(&self.list);
        if list.len() >= MAX_CALLS
            && let Some(oldest) = list.iter().position(|call| call.is_over())
        {
            let gone = list.remove(oldest).session.id();
            self.senses.forget(gone);
            self.engine.forget(gone);
        }
        list.push(Arc::clone(&call));
        drop(list);
        self.changed();
        call
    }

    fn rings(&self, session: SessionId) {
        if let Some(call) = self.known(session) {
            self.events.tell("incoming", json!({"call": self.describe(&call)}));
        }
    }

    /// Tells what the other side asks for.
    fn note_transfer(&self, name: &str, session: SessionId, transfer: &Transfer) {
        let call = self.known(session).map(|call| call.id());
        let told = json!({
            "callId": call, "newCallId": transfer.call_id.as_str(),
            "userId": transfer.user.as_str(),
            "targetRoomId": transfer.room.as_ref().map(|room| room.as_str()),
        });
        self.events.tell(name, told);
    }

    /// Tells of a new state, and of an end.
    fn note_state(&self, call: &Call) {
        let mut view = lock(&call.view);
        let (state, old) = (state_name(view.snapshot.state), view.states.last().copied());
        if old == Some(state) {
            drop(view);
            return self.changed();
        }
        view.states.push(state);
        let end = view.snapshot.end.clone().map(|end| end_names(&end, view.snapshot.direction));
        drop(view);
        let told = json!({"callId": call.id(), "state": state, "old": old});
        self.events.tell("callState", told);
        if let Some((party, reason)) = end {
            let told = json!({"callId": call.id(), "party": party, "reason": reason});
            self.events.tell("callHangup", told);
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

impl Call {
    /// Its id on the wire.
    pub(crate) fn id(&self) -> String {
        self.look(|view| view.snapshot.call_id.as_str().to_owned())
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.state() == state_name(CallState::Ended)
    }

    /// The present state, as the protocol calls it.
    pub(crate) fn state(&self) -> &'static str {
        self.look(|view| view.states.last().copied().unwrap_or_default())
    }

    /// Keeps measurements for when there are no more.
    pub(crate) fn keep(&self, stats: PeerStats) -> PeerStats {
        lock(&self.stats).clone_from(&stats);
        stats
    }

    /// The last measurements.
    pub(crate) fn kept(&self) -> PeerStats {
        lock(&self.stats).clone()
    }

    /// What the other side asked for last: whom to call instead.
    pub(crate) fn transfer(&self) -> Option<Transfer> {
        lock(&self.transfer).clone()
    }

    /// How it stands.
    pub(crate) fn snapshot(&self) -> CallSnapshot {
        self.look(|view| view.snapshot.clone())
    }

    fn look<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&lock(&self.view))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
