//! The one task of an adapter: it feeds the worker, does what that wants, and takes everything
//! apart at the end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use matrix_sdk::{
    Client, EncryptionState, Room,
    event_handler::EventHandlerHandle,
    room::MessagesOptions,
    ruma::{RoomId as RumaRoomId, UInt},
    sync::RoomUpdates,
};
use matrix_voip::{
    host::News,
    id::{RoomId, UserId},
    machine::io::Lifecycle,
    time::{Mono, Now, Wall},
};
use tokio::{
    sync::{Notify, Semaphore},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    attached::{Attached, State},
    forward,
    inbox::{Arrival, Outlet},
    intake::{Item, Locked, RoomUpdate, Standing},
    state,
    worker::{Action, Answer, Ask, Input, Page, Reading, Worker},
};

/// How many events of history are asked for at once.
const PAGE: u32 = 50;
/// How long a page of history, a room's encryption, its state, or the keys of the events of one
/// update may take. Events that came after it wait, but for state.
const ASKING: Duration = Duration::from_secs(8);
/// How many rooms are asked about at once.
const MAX_ASKING: usize = 8;

/// What the task is made of.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) attached: Arc<Attached>,
    pub(crate) handlers: [EventHandlerHandle; 2],
    pub(crate) forwarders: JoinSet<()>,
    pub(crate) outlet: Outlet,
    pub(crate) news: News,
}

impl Parts {
    /// What listens to the client from now on, for the task that serves `attached`.
    pub(crate) fn of(
        client: &Client,
        attached: &Arc<Attached>,
        outlet: Outlet,
        news: News,
    ) -> Self {
        let inbox = attached.inbox();
        let direct = Arc::<Notify>::default();
        Self {
            client: client.clone(),
            attached: Arc::clone(attached),
            handlers: [
                forward::handle_to_device(client, inbox.clone()),
                forward::handle_direct(client, Arc::clone(&direct)),
            ],
            forwarders: forward::start(client, inbox, direct),
            outlet,
            news,
        }
    }
}

/// The task.
pub(crate) struct Shell {
    parts: Parts,
    worker: Worker,
    asking: Asking,
    clock: Clock,
}

/// What is being found out.
#[derive(Debug)]
struct Asking {
    tasks: JoinSet<Answer>,
    rooms: HashMap<Id, (RoomId, Answer)>,
    gate: Arc<Semaphore>,
}

impl Shell {
    pub(crate) fn new(me: UserId, parts: Parts) -> Self {
        let asking = Asking {
            tasks: JoinSet::new(),
            rooms: HashMap::new(),
            gate: Arc::new(Semaphore::new(MAX_ASKING)),
        };
        Self { parts, worker: Worker::new(me), asking, clock: Clock::start() }
    }

    /// Runs until the library stops or the adapter is detached.
    pub(crate) async fn run(mut self) {
        let attached = Arc::clone(&self.parts.attached);
        let news = self.parts.news.clone();
        loop {
            tokio::select! {
                biased;
                () = news.closed() => break,
                () = attached.reaches(State::Ending) => break,
                // Before answers: what was read of a room's state may be from before our own write.
                Some(arrival) = self.parts.outlet.next() => self.on_arrival(arrival),
                Some(done) = self.asking.tasks.join_next_with_id() => self.on_answer(done),
            }
            self.act();
        }
        self.asking.tasks.shutdown().await;
        self.parts.forwarders.shutdown().await;
    }

    fn on_arrival(&mut self, arrival: Arrival) {
        let now = self.clock.now();
        match arrival {
            Arrival::Rooms(updates, at) => self.on_rooms(now, &updates, self.clock.at(at, now)),
            Arrival::Synced => self.worker.on(now, Input::Synced),
            Arrival::Lagged => self.worker.on(now, Input::Lagged),
            Arrival::Keys(keys) => self.worker.on(now, Input::Keys(keys)),
            Arrival::KeysLagged => self.worker.on(now, Input::KeysLagged),
            Arrival::ToDevice(message) => self.worker.on(now, Input::ToDevice(message)),
            Arrival::Undecryptable(more) => self.worker.on(now, Input::Undecryptable(more)),
            Arrival::Unbelieved(more) => self.worker.on(now, Input::Unbelieved(more)),
            Arrival::DeviceKeys(user) => self.parts.news.device_keys(user),
            Arrival::Ignored(users) => self.worker.on(now, Input::Ignored(users)),
            Arrival::Direct(rooms) => self.worker.on(now, Input::Direct(rooms)),
            Arrival::Sent(room) => self.worker.on(now, Input::Sent(room)),
            Arrival::Wrote(room) => self.worker.on(now, Input::Wrote(room)),
            Arrival::LoggedOut => self.parts.news.lifecycle(Lifecycle::LoggedOut),
        }
    }

    fn on_rooms(&mut self, now: Now, updates: &RoomUpdates, received: Now) {
        for (id, update) in &updates.joined {
            let Ok(room) = RoomId::parse(id.as_str()) else { continue };
            let standing = self.parts.client.get_room(id).map(|room| standing(&room));
            let update = RoomUpdate::read(room, standing.unwrap_or_default(), update, received);
            self.worker.on(now, Input::Room(update));
        }
        for id in updates.left.keys() {
            let Ok(room) = RoomId::parse(id.as_str()) else { continue };
            self.worker.on(now, Input::Left(room));
        }
        self.worker.on(now, Input::Synced);
    }

    fn on_answer(&mut self, done: Result<(Id, Answer), JoinError>) {
        let (id, answer) = match done {
            Ok((id, answer)) => (id, Some(answer)),
            Err(error) => (error.id(), None),
        };
        if let Some((room, failed)) = self.asking.rooms.remove(&id) {
            self.worker.on_answer(self.clock.now(), &room, answer.unwrap_or(failed));
        }
    }

    /// Does everything that the worker wants.
    fn act(&mut self) {
        while let Some(action) = self.worker.poll() {
            match action {
                Action::Deliver(batch) => self.parts.news.deliver(batch),
                Action::State(batch) => self.parts.news.state(batch),
                Action::Tell(room, news) => self.parts.news.room(room, news),
                Action::Ignore(users) => self.parts.news.ignored_users(users),
                Action::Ask(room, ask) => self.ask(room, ask),
                Action::ListRooms(why) => {
                    let rooms = rooms(&self.parts.client);
                    self.worker.on(self.clock.now(), Input::Rooms(why, rooms));
                }
            }
        }
        self.parts.attached.set_counts(self.worker.counts());
    }

    fn ask(&mut self, room: RoomId, ask: Ask) {
        let failed = ask.failed();
        let id = RumaRoomId::parse(room.as_str()).ok();
        let known = id.and_then(|id| self.parts.client.get_room(&id));
        let gate = Arc::clone(&self.asking.gate);
        let clock = self.clock;
        let answer = async move {
            match known {
                Some(known) => find_out(&known, ask, &gate, clock).await,
                None => ask.failed(),
            }
        };
        let task = self.asking.tasks.spawn(answer);
        self.asking.rooms.insert(task.id(), (room, failed));
    }
}

impl Drop for Shell {
    /// However the task ended, its runtime gone included: nothing of ours stays in the client.
    fn drop(&mut self) {
        for handler in &self.parts.handlers {
            self.parts.client.remove_event_handler(handler.clone());
        }
        self.parts.attached.let_go();
    }
}

/// What the SDK knows of a room.
fn standing(room: &Room) -> Standing {
    Standing { encrypted: encrypted(room), complete: room.is_state_fully_synced() }
}

/// Whether a room is encrypted, where the SDK knows: in classic sync it does not of a room that is
/// not.
pub(crate) fn encrypted(room: &Room) -> Option<bool> {
    match room.encryption_state() {
        EncryptionState::NotEncrypted => Some(false),
        EncryptionState::Unknown => None,
        // `Encrypted`, and with a feature that an application may have, one more.
        _ => Some(true),
    }
}

/// The rooms that we are in, those with the latest news first, as far as the SDK knows.
fn rooms(client: &Client) -> Vec<RoomId> {
    let mut rooms = client.joined_rooms();
    rooms.sort_by_cached_key(|room| {
        let latest = room.latest_event_timestamp().map(|at| u64::from(at.get()));
        std::cmp::Reverse(room.recency_stamp().map(u64::from).max(latest))
    });
    rooms.iter().filter_map(|room| RoomId::parse(room.room_id().as_str()).ok()).collect()
}

async fn find_out(room: &Room, ask: Ask, gate: &Semaphore, clock: Clock) -> Answer {
    match ask {
        Ask::Unlock(events) => {
            let tries = events.iter().map(|event| decrypt(room, event, clock)).collect();
            Answer::Unlock(unlock(gate, tries).await)
        }
        Ask::Page { from, after } => {
            let page = patiently(after, gate, page(room, from, clock)).await;
            Answer::Page(page.flatten())
        }
        Ask::Encryption { after } => {
            let state = patiently(after, gate, room.latest_encryption_state()).await;
            Answer::Encryption(state.and_then(Result::ok).and_then(|_| encrypted(room)))
        }
        Ask::State { from, after } => {
            let read = patiently(after, gate, state::read(room, from, clock)).await;
            Answer::State(read.unwrap_or(Reading::Failed))
        }
    }
}

/// Waits, for the pause and for its turn; then at most [`ASKING`].
async fn patiently<T>(
    after: Duration,
    gate: &Semaphore,
    work: impl Future<Output = T>,
) -> Option<T> {
    if !after.is_zero() {
        sleep_until(Instant::now() + after).await;
    }
    let _turn = gate.acquire().await.ok()?;
    timeout(ASKING, work).await.ok()
}

/// Tries one event after the other. A store that is wedged ends it: what was readable until then
/// stays so, the rest waits for its keys.
async fn unlock(
    gate: &Semaphore,
    tries: Vec<impl Future<Output = Option<Item>>>,
) -> Vec<Option<Item>> {
    let mut items = Vec::with_capacity(tries.len());
    let all = async {
        for event in tries {
            items.push(event.await);
        }
    };
    patiently(Duration::ZERO, gate, all).await;
    items
}

async fn page(room: &Room, from: Option<String>, clock: Clock) -> Option<Page> {
    let mut options = MessagesOptions::backward();
    options.from = from;
    options.limit = UInt::from(PAGE);
    let messages = room.messages(options).await.ok()?;
    let received = clock.now();
    let items = messages.chunk.iter().map(|event| Item::read(event, received)).collect();
    Some(Page { items, end: messages.end })
}

/// Without a key this also makes the SDK ask the backup, where there is one.
async fn decrypt(room: &Room, locked: &Locked, clock: Clock) -> Option<Item> {
    let event = locked.event.cast_ref_unchecked();
    let decrypted = room.decrypt_event(event, None).await.ok()?;
    let readable = !decrypted.kind.is_utd();
    readable.then(|| Item::read(&decrypted, clock.now()))
}

/// Both clocks. The wall clock only judges events of which the server tells no age.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// An instant not long ago, on both clocks.
    fn at(self, instant: Instant, now: Now) -> Now {
        let mono = Mono(instant.saturating_duration_since(self.started));
        let ago: u64 = now.mono.since(mono).as_millis().try_into().unwrap_or(u64::MAX);
        Now { mono, wall: Wall(now.wall.0.saturating_sub(ago)) }
    }

    #[expect(clippy::disallowed_methods, reason = "the shell of an adapter")]
    pub(crate) fn now(self) -> Now {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { mono: Mono(self.started.elapsed()), wall: Wall(0).plus(since_epoch) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
