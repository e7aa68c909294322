//! One inbox for everything that comes from the SDK, in the order in which it came.
//!
//! Whoever puts something in never waits: the application's sync does it (`matrix-sdk.md` §0). So
//! the queue is unbounded, but counted: what is beyond a bound is left out, and a left-out update
//! becomes one [`Arrival::Lagged`].

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use matrix_sdk::sync::RoomUpdates;
use matrix_voip::{
    id::{RoomId, UserId},
    wire::delivery::RawEvent,
};
use tokio::{sync::mpsc, time::Instant};

/// Most updates of rooms that wait; beyond them rooms are caught up with instead. One response may
/// be larger: the first of an account has all its rooms.
pub(crate) const MAX_ROOM_UPDATES: usize = 4096;
/// Most to-device messages that wait; those beyond are lost, which whoever sends them must be able
/// to bear: nothing delivers them twice.
pub(crate) const MAX_TO_DEVICE: usize = 4096;

/// What came.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// What one sync response says of rooms, and when it came.
    Rooms(Box<RoomUpdates>, Instant),
    /// Such updates were lost.
    Lagged,
    /// Room keys, by room and session.
    Keys(Vec<(RoomId, String)>),
    /// Room keys, nobody knows which.
    KeysLagged,
    /// A to-device message that concerns calls.
    ToDevice(Box<RawEvent>),
    /// The complete list of ignored users.
    Ignored(BTreeSet<UserId>),
    /// Our access token is no longer good.
    LoggedOut,
    /// We have sent something about a call into this room.
    Sent(RoomId),
}

impl Arrival {
    fn rooms(&self) -> usize {
        match self {
            Self::Rooms(updates, _) => updates.iter_all_room_ids().count(),
            Self::Lagged | Self::Keys(_) | Self::KeysLagged | Self::ToDevice(_) => 0,
            Self::Ignored(_) | Self::LoggedOut | Self::Sent(_) => 0,
        }
    }

    fn messages(&self) -> usize {
        usize::from(matches!(self, Self::ToDevice(_)))
    }
}

#[derive(Debug, Default)]
struct Waiting {
    rooms: AtomicUsize,
    messages: AtomicUsize,
    /// A `Lagged` is the last word about rooms.
    lagging: AtomicBool,
}

/// Where things are put in. Cloneable; never blocks.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<Arrival>,
    waiting: Arc<Waiting>,
}

/// Where they come out.
#[derive(Debug)]
pub(crate) struct Outlet {
    receiver: mpsc::UnboundedReceiver<Arrival>,
    waiting: Arc<Waiting>,
}

/// Makes an inbox.
pub(crate) fn inbox() -> (Inbox, Outlet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::<Waiting>::default();
    (Inbox { sender, waiting: Arc::clone(&waiting) }, Outlet { receiver, waiting })
}

impl Inbox {
    /// Puts something in, if there is room for it.
    pub(crate) fn put(&self, arrival: Arrival) {
        if let Some(arrival) = self.admit(arrival) {
            // Whoever took things out is gone: then nobody wants them.
            drop(self.sender.send(arrival));
        }
    }

    /// How many can put something in.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.sender.strong_count()
    }

    fn admit(&self, arrival: Arrival) -> Option<Arrival> {
        let (rooms, messages) = (arrival.rooms(), arrival.messages());
        let waiting = self.waiting.messages.fetch_add(messages, Ordering::Relaxed);
        if messages > 0 && waiting >= MAX_TO_DEVICE {
            self.waiting.messages.fetch_sub(messages, Ordering::Relaxed);
            tracing::warn!("a to-device message is dropped: too many wait");
            return None;
        }
        let waiting = self.waiting.rooms.fetch_add(rooms, Ordering::Relaxed);
        if rooms > 0 && waiting > 0 && waiting + rooms > MAX_ROOM_UPDATES {
            self.waiting.rooms.fetch_sub(rooms, Ordering::Relaxed);
            let first = !self.waiting.lagging.swap(true, Ordering::Relaxed);
            return first.then_some(Arrival::Lagged);
        }
        if rooms > 0 {
            self.waiting.lagging.store(false, Ordering::Relaxed);
        }
        Some(arrival)
    }
}

impl Outlet {
    /// The next thing; `None` when nobody can put anything in any more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Arrival> {
        let arrival = self.receiver.recv().await?;
        self.waiting.rooms.fetch_sub(arrival.rooms(), Ordering::Relaxed);
        self.waiting.messages.fetch_sub(arrival.messages(), Ordering::Relaxed);
        Some(arrival)
    }
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

    fn message() -> Arrival {
        let sender = UserId::parse("@a:x").unwrap();
        let protection = Protection::Clear;
        let facts =
            Facts { event_id: None, sender, device: None, protection, sent: None, age: None };
        let event_type = "com.famedly.call.member.hangup".into();
        Arrival::ToDevice(Box::new(RawEvent { facts, event_type, content: "{}".into() }))
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
            inbox.put(message());
        }
        assert_eq!(taken(&mut outlet).len(), MAX_TO_DEVICE);
        inbox.put(message());
        assert_eq!(taken(&mut outlet).len(), 1);
    }
}
