//! One inbox for everything that comes from the SDK, in the order in which it came.
//!
//! Whoever puts something in never waits: the application's sync does it (`matrix-sdk.md` §0). So
//! the queue has no bound of its own, but all that others can feed is counted, and what is beyond a
//! bound is left out. Left-out updates become one [`Arrival::Lagged`], left-out keys one
//! [`Arrival::KeysLagged`]; of what is only ever said anew, the latest waits.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_sdk::sync::RoomUpdates;
use matrix_voip::{
    id::{RoomId, UserId},
    wire::delivery::RawEvent,
};
use tokio::{sync::mpsc, time::Instant};
use zeroize::Zeroize;

/// Most updates of rooms that wait; beyond them rooms are caught up with instead. One response may
/// be larger: the first of an account has all its rooms.
pub(crate) const MAX_ROOM_UPDATES: usize = 4096;
/// Most to-device messages that wait; those beyond are lost, which whoever sends them must be able
/// to bear: nothing delivers them twice.
pub(crate) const MAX_TO_DEVICE: usize = 4096;
/// Most bytes of their contents.
pub(crate) const MAX_TO_DEVICE_BYTES: usize = 8 << 20;
/// Most news of keys that wait; beyond them everything is tried that waits for any.
pub(crate) const MAX_KEYS: usize = 4096;
/// Most users of whose devices keys are awaited; more than a mesh has members. Beyond them the
/// library tries again without having been told.
pub(crate) const MAX_AWAITED: usize = 1024;

/// What came.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// What one sync response says of rooms, and when it came.
    Rooms(Box<RoomUpdates>, Instant),
    /// A sync response that says nothing of rooms.
    Synced,
    /// Such updates were lost.
    Lagged,
    /// Room keys, by room and session.
    Keys(Vec<(RoomId, String)>),
    /// Room keys, nobody knows which.
    KeysLagged,
    /// A to-device message that concerns calls.
    ToDevice(Box<RawEvent>),
    /// So many to-device messages that could not be decrypted.
    Undecryptable(u64),
    /// So many messages about media keys whose sender cannot be who they say, or may not speak.
    Unbelieved(u64),
    /// Keys of a device of this user came, which were awaited.
    DeviceKeys(UserId),
    /// The complete list of ignored users.
    Ignored(BTreeSet<UserId>),
    /// The complete list of rooms that are direct chats.
    Direct(BTreeSet<RoomId>),
    /// Our access token is no longer good.
    LoggedOut,
    /// We have sent something about a call into this room.
    Sent(RoomId),
    /// We write state of this room now, or have just done so.
    Wrote(RoomId),
}

/// What waits, as far as it is counted.
#[derive(Debug, Default)]
struct Waiting {
    rooms: usize,
    messages: usize,
    bytes: usize,
    keys: usize,
    /// A `Lagged` is the last word about rooms.
    lagging: bool,
    /// A `KeysLagged` waits: it stands for all keys until it is taken.
    keys_lagging: bool,
    /// The latest list; the queue keeps the place of the first.
    ignored: Option<BTreeSet<UserId>>,
    direct: Option<BTreeSet<RoomId>>,
    logged_out: bool,
    synced: bool,
    sent: BTreeSet<RoomId>,
    wrote: BTreeSet<RoomId>,
    /// To-device messages that could not be decrypted: one word of them waits.
    undecryptable: u64,
    /// Of those that are not believed too.
    unbelieved: u64,
    /// Of whose devices keys are awaited: news of others is none. In a large room it would be news of
    /// thousands.
    awaited: BTreeSet<UserId>,
}

impl Waiting {
    /// What is to be put into the queue, if anything.
    fn admit(&mut self, mut arrival: Arrival) -> Option<Arrival> {
        let admitted = match &mut arrival {
            Arrival::Rooms(updates, _) => return self.admit_rooms(rooms_of(updates), arrival),
            Arrival::Synced => !std::mem::replace(&mut self.synced, true),
            Arrival::Lagged => !std::mem::replace(&mut self.lagging, true),
            Arrival::Keys(keys) => return self.admit_keys(keys.len(), arrival),
            Arrival::KeysLagged => !std::mem::replace(&mut self.keys_lagging, true),
            Arrival::ToDevice(message) => self.admit_message(&mut message.content),
            Arrival::Undecryptable(more) => {
                let all = self.undecryptable + *more;
                std::mem::replace(&mut self.undecryptable, all) == 0
            }
            Arrival::Unbelieved(more) => {
                let all = self.unbelieved + *more;
                std::mem::replace(&mut self.unbelieved, all) == 0
            }
            Arrival::DeviceKeys(user) => self.awaited.remove(user),
            Arrival::Ignored(users) => self.ignored.replace(users.clone()).is_none(),
            Arrival::Direct(rooms) => self.direct.replace(rooms.clone()).is_none(),
            Arrival::LoggedOut => !std::mem::replace(&mut self.logged_out, true),
            Arrival::Sent(room) => self.sent.insert(room.clone()),
            Arrival::Wrote(room) => self.wrote.insert(room.clone()),
        };
        admitted.then_some(arrival)
    }

    fn admit_rooms(&mut self, rooms: usize, arrival: Arrival) -> Option<Arrival> {
        if self.rooms > 0 && self.rooms + rooms > MAX_ROOM_UPDATES {
            return self.admit(Arrival::Lagged);
        }
        self.rooms += rooms;
        self.lagging = false;
        Some(arrival)
    }

    fn admit_keys(&mut self, keys: usize, arrival: Arrival) -> Option<Arrival> {
        if keys == 0 {
            return None;
        }
        if self.keys_lagging || self.keys + keys > MAX_KEYS {
            return self.admit(Arrival::KeysLagged);
        }
        self.keys += keys;
        Some(arrival)
    }

    fn admit_message(&mut self, content: &mut String) -> bool {
        let bytes = content.len();
        if self.messages >= MAX_TO_DEVICE || self.bytes + bytes > MAX_TO_DEVICE_BYTES {
            tracing::warn!("a to-device message is dropped: too many wait");
            // Media keys may stand in it.
            content.zeroize();
            return false;
        }
        self.messages += 1;
        self.bytes += bytes;
        true
    }

    /// What comes out for what was in the queue.
    fn take(&mut self, mut arrival: Arrival) -> Arrival {
        match &mut arrival {
            Arrival::Rooms(updates, _) => self.rooms -= rooms_of(updates),
            Arrival::Synced => self.synced = false,
            Arrival::Lagged => self.lagging = false,
            Arrival::Keys(keys) => self.keys -= keys.len(),
            Arrival::KeysLagged => self.keys_lagging = false,
            Arrival::ToDevice(message) => {
                self.messages -= 1;
                self.bytes -= message.content.len();
            }
            Arrival::Undecryptable(all) => *all = std::mem::take(&mut self.undecryptable),
            Arrival::Unbelieved(all) => *all = std::mem::take(&mut self.unbelieved),
            Arrival::DeviceKeys(_) => {}
            Arrival::Ignored(users) => *users = self.ignored.take().unwrap_or_default(),
            Arrival::Direct(rooms) => *rooms = self.direct.take().unwrap_or_default(),
            Arrival::LoggedOut => self.logged_out = false,
            Arrival::Sent(room) => drop(self.sent.remove(room)),
            Arrival::Wrote(room) => drop(self.wrote.remove(room)),
        }
        arrival
    }
}

fn rooms_of(updates: &RoomUpdates) -> usize {
    updates.iter_all_room_ids().count().max(1)
}

/// Where things are put in. Cloneable; never blocks.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<Arrival>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Where they come out.
#[derive(Debug)]
pub(crate) struct Outlet {
    receiver: mpsc::UnboundedReceiver<Arrival>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Makes an inbox.
pub(crate) fn inbox() -> (Inbox, Outlet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::<Mutex<Waiting>>::default();
    (Inbox { sender, waiting: Arc::clone(&waiting) }, Outlet { receiver, waiting })
}

impl Inbox {
    /// Puts something in, if there is room for it.
    pub(crate) fn put(&self, arrival: Arrival) {
        // Held while it is sent: the order of the counts is the order of the queue.
        let mut waiting = lock(&self.waiting);
        if let Some(arrival) = waiting.admit(arrival) {
            // Whoever took things out is gone: then nobody wants them.
            drop(self.sender.send(arrival));
        }
    }

    /// Keys of devices of this user shall be told of when they come: once.
    pub(crate) fn await_keys(&self, user: UserId) {
        let mut waiting = lock(&self.waiting);
        if waiting.awaited.len() < MAX_AWAITED {
            waiting.awaited.insert(user);
        }
    }

    /// Keys came, nobody knows whose.
    pub(crate) fn put_all_awaited(&self) {
        let awaited = lock(&self.waiting).awaited.clone();
        for user in awaited {
            self.put(Arrival::DeviceKeys(user));
        }
    }

    /// How many can put something in.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.sender.strong_count()
    }
}

impl Outlet {
    /// The next thing; `None` when nobody can put anything in any more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Arrival> {
        let arrival = self.receiver.recv().await?;
        Some(lock(&self.waiting).take(arrival))
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    // Nothing that holds this lock can panic half-way.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use matrix_sdk::{ruma::OwnedRoomId, sync::JoinedRoomUpdate};
    use matrix_voip::wire::delivery::{Facts, Protection};

    use super::*;

    fn rooms(n: usize) -> Arrival {
        let mut updates = RoomUpdates::default();
        for n in 0..n {
            let id = OwnedRoomId::try_from(format!("!{n}:x")).unwrap();
            updates.joined.insert(id, JoinedRoomUpdate::default());
        }
        Arrival::Rooms(Box::new(updates), Instant::now())
    }

    fn message(content: String) -> Arrival {
        let sender = UserId::parse("@a:x").unwrap();
        let protection = Protection::Clear;
        let facts =
            Facts { event_id: None, sender, device: None, protection, sent: None, age: None };
        let event_type = "com.famedly.call.member.hangup".into();
        Arrival::ToDevice(Box::new(RawEvent { facts, event_type, content, redacts: None }))
    }

    /// What waits, however much.
    fn taken(outlet: &mut Outlet) -> Vec<Arrival> {
        let next = || tokio::task::unconstrained(outlet.next()).now_or_never().flatten();
        std::iter::from_fn(next).collect()
    }

    #[tokio::test]
    async fn room_updates_beyond_the_bound_become_one_lag() {
        let (inbox, mut outlet) = inbox();
        inbox.put(rooms(MAX_ROOM_UPDATES));
        inbox.put(rooms(1));
        inbox.put(rooms(1));
        inbox.put(Arrival::KeysLagged);
        let all = taken(&mut outlet);
        assert!(
            matches!(all[..], [Arrival::Rooms(..), Arrival::Lagged, Arrival::KeysLagged]),
            "{}",
            all.len()
        );
        inbox.put(rooms(1));
        assert!(matches!(taken(&mut outlet)[..], [Arrival::Rooms(..)]), "there is room again");
    }

    /// The first response of a large account.
    #[tokio::test]
    async fn one_response_may_be_larger_than_the_bound() {
        let (inbox, mut outlet) = inbox();
        inbox.put(rooms(MAX_ROOM_UPDATES + 1));
        assert!(matches!(taken(&mut outlet)[..], [Arrival::Rooms(..)]));
    }

    #[tokio::test]
    async fn to_device_messages_are_bounded() {
        let (inbox, mut outlet) = inbox();
        for _ in 0..MAX_TO_DEVICE + 5 {
            inbox.put(message("{}".into()));
        }
        assert_eq!(taken(&mut outlet).len(), MAX_TO_DEVICE);
        inbox.put(message("{}".into()));
        assert_eq!(taken(&mut outlet).len(), 1);
    }

    /// Anybody may send them, at 64 KiB each.
    #[tokio::test]
    async fn to_device_messages_are_bounded_in_bytes() {
        let (inbox, mut outlet) = inbox();
        let large = || message(" ".repeat(MAX_TO_DEVICE_BYTES / 4));
        for _ in 0..6 {
            inbox.put(large());
        }
        assert_eq!(taken(&mut outlet).len(), 4);
        inbox.put(large());
        assert_eq!(taken(&mut outlet).len(), 1, "there is room again");
    }

    fn key(n: usize) -> Arrival {
        Arrival::Keys(vec![(RoomId::parse("!r:x").unwrap(), n.to_string())])
    }

    /// Any device may send us room keys.
    #[tokio::test]
    async fn keys_beyond_the_bound_become_one_lag() {
        let (inbox, mut outlet) = inbox();
        for n in 0..MAX_KEYS + 5 {
            inbox.put(key(n));
        }
        inbox.put(Arrival::KeysLagged);
        let mut all = taken(&mut outlet);
        assert!(matches!(all.pop(), Some(Arrival::KeysLagged)));
        assert_eq!(all.len(), MAX_KEYS);
        inbox.put(key(0));
        assert!(matches!(taken(&mut outlet)[..], [Arrival::Keys(_)]), "there is room again");
    }

    #[tokio::test]
    async fn one_piece_of_news_may_not_have_more_keys_than_the_bound() {
        let (inbox, mut outlet) = inbox();
        let key = (RoomId::parse("!r:x").unwrap(), "s".to_owned());
        inbox.put(Arrival::Keys(vec![key; MAX_KEYS + 1]));
        assert!(matches!(taken(&mut outlet)[..], [Arrival::KeysLagged]));
    }

    /// They stand for what was lost up to the moment in which they are taken.
    #[tokio::test]
    async fn of_lost_updates_one_word_waits() {
        let (inbox, mut outlet) = inbox();
        for _ in 0..3 {
            inbox.put(Arrival::Lagged);
            inbox.put(Arrival::KeysLagged);
            inbox.put(Arrival::LoggedOut);
            inbox.put(Arrival::Synced);
        }
        let all = taken(&mut outlet);
        let [Arrival::Lagged, Arrival::KeysLagged, Arrival::LoggedOut, Arrival::Synced] = all[..]
        else {
            panic!("{all:?}")
        };
        inbox.put(Arrival::Lagged);
        inbox.put(Arrival::Synced);
        assert!(matches!(taken(&mut outlet)[..], [Arrival::Lagged, Arrival::Synced]));
    }

    #[tokio::test]
    async fn of_the_lists_of_ignored_users_the_latest_waits() {
        let (inbox, mut outlet) = inbox();
        let list = |user: &str| BTreeSet::from([UserId::parse(user).unwrap()]);
        inbox.put(Arrival::Ignored(list("@a:x")));
        inbox.put(Arrival::Ignored(list("@b:x")));
        let all = taken(&mut outlet);
        let [Arrival::Ignored(users)] = &all[..] else { panic!("{all:?}") };
        assert_eq!(*users, list("@b:x"));
        inbox.put(Arrival::Ignored(list("@c:x")));
        assert_eq!(taken(&mut outlet).len(), 1);
    }

    /// Anybody may send them.
    #[tokio::test]
    async fn of_messages_that_cannot_be_decrypted_their_number_waits() {
        let (inbox, mut outlet) = inbox();
        for _ in 0..3 {
            inbox.put(Arrival::Undecryptable(1));
        }
        let all = taken(&mut outlet);
        assert!(matches!(all[..], [Arrival::Undecryptable(3)]), "{all:?}");
        inbox.put(Arrival::Undecryptable(1));
        assert!(matches!(taken(&mut outlet)[..], [Arrival::Undecryptable(1)]));
    }

    #[tokio::test]
    async fn of_messages_that_are_not_believed_their_number_waits() {
        let (inbox, mut outlet) = inbox();
        for _ in 0..3 {
            inbox.put(Arrival::Unbelieved(1));
        }
        let all = taken(&mut outlet);
        assert!(matches!(all[..], [Arrival::Unbelieved(3)]), "{all:?}");
        inbox.put(Arrival::Unbelieved(1));
        assert!(matches!(taken(&mut outlet)[..], [Arrival::Unbelieved(1)]));
    }

    /// A room may have thousands of users with new devices.
    #[tokio::test]
    async fn only_keys_that_are_awaited_are_news_and_once() {
        let (inbox, mut outlet) = inbox();
        let user = |n: usize| UserId::parse(format!("@{n}:x")).unwrap();
        inbox.put(Arrival::DeviceKeys(user(1)));
        assert_eq!(taken(&mut outlet).len(), 0);
        for n in 0..=MAX_AWAITED {
            inbox.await_keys(user(n));
        }
        for n in [1, 1, MAX_AWAITED] {
            inbox.put(Arrival::DeviceKeys(user(n)));
        }
        let all = taken(&mut outlet);
        assert!(matches!(&all[..], [Arrival::DeviceKeys(one)] if *one == user(1)), "{all:?}");
        inbox.put_all_awaited();
        inbox.put_all_awaited();
        assert_eq!(taken(&mut outlet).len(), MAX_AWAITED - 1);
    }

    #[tokio::test]
    async fn of_the_lists_of_direct_chats_the_latest_waits() {
        let (inbox, mut outlet) = inbox();
        let list = |room: &str| BTreeSet::from([RoomId::parse(room).unwrap()]);
        inbox.put(Arrival::Direct(list("!a:x")));
        inbox.put(Arrival::Direct(list("!b:x")));
        let all = taken(&mut outlet);
        let [Arrival::Direct(rooms)] = &all[..] else { panic!("{all:?}") };
        assert_eq!(*rooms, list("!b:x"));
        inbox.put(Arrival::Direct(list("!c:x")));
        assert_eq!(taken(&mut outlet).len(), 1);
    }

    #[tokio::test]
    async fn what_we_have_sent_waits_once_for_each_room() {
        let (inbox, mut outlet) = inbox();
        let room = |id: &str| RoomId::parse(id).unwrap();
        for id in ["!a:x", "!b:x", "!a:x"] {
            inbox.put(Arrival::Sent(room(id)));
            inbox.put(Arrival::Wrote(room(id)));
        }
        assert_eq!(taken(&mut outlet).len(), 4);
        inbox.put(Arrival::Sent(room("!a:x")));
        inbox.put(Arrival::Wrote(room("!a:x")));
        assert_eq!(taken(&mut outlet).len(), 2);
    }
}
