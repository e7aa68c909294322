//! A homeserver as a value: no clock, no task, no socket.
//!
//! Events are JSON text, exactly as they would travel. Every device has an inbox; [`take`] empties
//! it as one sync would, all events of a room in one batch, with their age. A sender's own devices
//! get the event too: that is the echo. Events of one sender keep their order; those of different
//! senders may overtake each other when [`set_delay`] says so, as between federated servers.
//!
//! [`take`]: FakeHomeserver::take
//! [`set_delay`]: FakeHomeserver::set_delay

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{delays::Delays, posted::Posted};
use crate::{
    host::{SendEvent, SendState},
    id::{DeviceId, EventId, RoomId, UserId},
    machine::{
        Identity,
        io::{Fault, RoomNews, TurnServers},
    },
    time::Wall,
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        member::Dialect,
        power::{POWER_LEVELS_TYPE, PowerLevels},
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

/// One device of one user.
pub(super) type Account = (UserId, DeviceId);

/// An event as it stands in a room's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its id.
    pub event_id: EventId,
    /// Its room.
    pub room: RoomId,
    /// Who sent it.
    pub sender: UserId,
    /// From which device.
    pub device: DeviceId,
    /// The event type.
    pub event_type: String,
    /// The content as JSON text.
    pub content: String,
    /// `origin_server_ts`.
    pub sent: Wall,
    /// Whether it was sent in the clear, whatever the room is.
    pub clear: bool,
    /// What it redacts, where its room has that at the event's top level.
    pub redacts: Option<EventId>,
}

/// One part of what a sync brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncItem {
    /// All new events of one room, in order.
    Batch(Batch),
    /// The room itself changed.
    Room(RoomId, RoomNews),
    /// State of a room: all of it at first, then what changes.
    State(StateBatch),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    pub(super) members: BTreeSet<UserId>,
    pub(super) encrypted: bool,
    pub(super) timeline: Vec<StoredEvent>,
    pub(super) state: BTreeMap<(String, String), StoredState>,
    state_sent: usize,
    /// Whether redactions say at their top level what they redact, as before room version 11.
    pub(super) is_old: bool,
}

/// A state event as it stands in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredState {
    event_id: EventId,
    pub(super) sender: UserId,
    event_type: String,
    state_key: String,
    pub(super) content: String,
    sent: Wall,
}

impl StoredState {
    fn raw(&self, now: Wall) -> RawState {
        RawState {
            facts: StateFacts {
                event_id: self.event_id.clone(),
                sender: self.sender.clone(),
                state_key: self.state_key.clone(),
                sent: self.sent,
                age: Some(now.since(self.sent)),
            },
            event_type: self.event_type.clone(),
            content: self.content.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) visible: Wall,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// By its place in the timeline.
    Event(RoomId, usize),
    News(RoomId, RoomNews),
    ToDevice(Box<RawEvent>),
    State(RoomId, Box<StoredState>),
    /// As it is when it is taken.
    WholeState(RoomId),
}

/// A homeserver, and all homeservers that it federates with, in one value.
#[derive(Debug, Clone)]
pub struct FakeHomeserver {
    pub(super) rooms: BTreeMap<RoomId, Room>,
    pub(super) inboxes: BTreeMap<Account, Vec<Pending>>,
    transactions: BTreeMap<(Account, String), EventId>,
    pub(super) to_device: Posted,
    pub(super) ways: BTreeMap<(UserId, UserId), Duration>,
    turn: Result<TurnServers, Fault>,
    sent: u64,
    rooms_reversed: bool,
    pub(super) delays: Delays,
}

impl Default for FakeHomeserver {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHomeserver {
    /// A server without rooms and users; it has no TURN servers.
    pub fn new() -> Self {
        Self {
            rooms: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            transactions: BTreeMap::new(),
            to_device: Posted::default(),
            ways: BTreeMap::new(),
            turn: Ok(TurnServers { servers: Vec::new(), ttl: Duration::from_secs(86_400) }),
            sent: 0,
            rooms_reversed: false,
            delays: Delays::default(),
        }
    }

    /// Makes a device known. It learns of its rooms with its first [`take`](Self::take), and of
    /// events that are sent from now on.
    pub fn login(&mut self, identity: &Identity) {
        let news = self.news_for(&identity.user);
        let inbox = self.inboxes.entry(account(identity)).or_default();
        inbox.extend(news);
    }

    /// A process of this device starts: the state of its rooms is handed in once more, as a client does
    /// from its store.
    pub fn remember(&mut self, identity: &Identity) {
        let rooms = self.rooms.iter();
        let rooms = rooms.filter(|(_, it)| it.members.contains(&identity.user));
        let rooms = rooms.filter(|(_, it)| !it.state.is_empty()).map(|(room, _)| room.clone());
        let states: Vec<_> = rooms.collect();
        let inbox = self.inboxes.entry(account(identity)).or_default();
        inbox.extend(
            states
                .into_iter()
                .map(|room| Pending { visible: Wall(0), what: What::WholeState(room) }),
        );
    }

    /// Makes a room with these members, or replaces its members.
    pub fn set_room(&mut self, room: &RoomId, members: impl IntoIterator<Item = UserId>) {
        let members: BTreeSet<UserId> = members.into_iter().collect();
        self.rooms.entry(room.clone()).or_default().members.clone_from(&members);
        self.announce(room, &members.clone(), RoomNews::Members(members));
    }

    /// Makes a room encrypted: its events arrive as proven to come from their device.
    pub fn encrypt(&mut self, room: &RoomId) {
        let Some(found) = self.rooms.get_mut(room) else { return };
        found.encrypted = true;
        let members = found.members.clone();
        self.announce(room, &members, RoomNews::Encrypted);
    }

    /// A user enters a room.
    pub fn join(&mut self, room: &RoomId, user: &UserId) {
        let found = self.rooms.entry(room.clone()).or_default();
        found.members.insert(user.clone());
        let members = found.members.clone();
        self.announce(room, &members, RoomNews::Members(members.clone()));
    }

    /// A user leaves a room, or is banned from it.
    pub fn leave(&mut self, room: &RoomId, user: &UserId) {
        let Some(found) = self.rooms.get_mut(room) else { return };
        let members = found.members.clone();
        found.members.remove(user);
        self.announce(room, &members, RoomNews::Left(user.clone()));
    }

    /// What the TURN endpoint answers from now on.
    pub fn set_turn(&mut self, answer: Result<TurnServers, Fault>) {
        self.turn = answer;
    }

    /// How long events of `sender` take to become visible to `receiver`.
    pub fn set_delay(&mut self, sender: &UserId, receiver: &UserId, delay: Duration) {
        self.ways.insert((sender.clone(), receiver.clone()), delay);
    }

    /// Whether the batches of a sync come in the reverse order of their rooms (default: no).
    pub fn set_rooms_reversed(&mut self, reversed: bool) {
        self.rooms_reversed = reversed;
    }

    /// Takes an event into its room, and into the inbox of every device of every member, the
    /// sender's own included. The same transaction of the same device is taken once.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without such a room, [`Fault::Forbidden`] when the sender is not in it.
    pub fn send(&mut self, now: Wall, from: &Identity, event: SendEvent) -> Result<EventId, Fault> {
        let key = (account(from), event.transaction);
        if let Some(known) = self.transactions.get(&key) {
            return Ok(known.clone());
        }
        let room = self.rooms.get(&event.room).ok_or(Fault::NotFound)?;
        if !room.members.contains(&from.user) {
            return Err(Fault::Forbidden("M_FORBIDDEN: not in the room".to_owned()));
        }
        let id = self.store(now, from, &event.room, (event.event_type, event.content));
        self.transactions.insert(key, id.clone());
        Ok(id)
    }

    /// Writes a state event, and tells every device of every member.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without such a room; [`Fault::Forbidden`] when the sender is not in it,
    /// the key names another user, or the room's power levels do not let him.
    pub fn send_state(
        &mut self,
        now: Wall,
        from: &Identity,
        event: SendState,
    ) -> Result<EventId, Fault> {
        let room = self.rooms.get(&event.room).ok_or(Fault::NotFound)?;
        let refused = |why: &str| Err(Fault::Forbidden(format!("M_FORBIDDEN: {why}")));
        if !room.members.contains(&from.user) {
            return refused("not in the room");
        }
        let owner = event.state_key.strip_prefix(from.user.as_str());
        let owned = owner.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        if event.state_key.starts_with('@') && !owned {
            return refused("another user's state key");
        }
        let levels = room.state.get(&(POWER_LEVELS_TYPE.to_owned(), String::new()));
        let levels = levels.and_then(|levels| PowerLevels::read(&levels.content).ok());
        let dialect = Dialect::of(&event.event_type).unwrap_or_default();
        if levels.is_some_and(|levels| !levels.may_write_memberships(&from.user, dialect)) {
            return refused("the power level is too low");
        }
        self.delays.on_state(&from.user, &event);
        Ok(self.put_state(now, &from.user, event))
    }

    /// Writes a state event without asking anybody.
    pub fn put_state(&mut self, now: Wall, sender: &UserId, event: SendState) -> EventId {
        let SendState { room, event_type, state_key, content } = event;
        let event_id = self.next_event_id();
        let stored = StoredState {
            event_id: event_id.clone(),
            sender: sender.clone(),
            event_type,
            state_key,
            content,
            sent: now,
        };
        let found = self.rooms.entry(room.clone()).or_default();
        let key = (stored.event_type.clone(), stored.state_key.clone());
        found.state.insert(key, stored.clone());
        found.state_sent += 1;
        let members = found.members.clone();
        self.distribute(now, sender, &members, What::State(room, Box::new(stored)));
        event_id
    }

    /// How many state events were written in a room.
    pub fn state_sent(&self, room: &RoomId) -> usize {
        self.rooms.get(room).map_or(0, |found| found.state_sent)
    }

    /// The content of a state event.
    pub fn state_of(&self, room: &RoomId, event_type: &str, state_key: &str) -> Option<String> {
        let key = (event_type.to_owned(), state_key.to_owned());
        Some(self.rooms.get(room)?.state.get(&key)?.content.clone())
    }

    /// The present state of a room.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without such a room.
    pub fn room_state(&self, now: Wall, room: &RoomId) -> Result<StateBatch, Fault> {
        let found = self.rooms.get(room).ok_or(Fault::NotFound)?;
        let events = found.state.values().map(|stored| stored.raw(now)).collect();
        let (extent, encrypted) = (Extent::Whole, Some(found.encrypted));
        Ok(StateBatch { room: room.clone(), extent, encrypted, events })
    }

    fn next_event_id(&mut self) -> EventId {
        self.sent += 1;
        EventId::parse(format!("$event{}", self.sent))
            .expect("invariant: the text is a valid event id")
    }

    /// Puts an event into a room without asking anybody: for traffic that no client of ours sends.
    /// `event` is its type and its content as JSON text.
    pub fn inject(
        &mut self,
        now: Wall,
        from: &Identity,
        room: &RoomId,
        event: (&str, &str),
    ) -> EventId {
        self.store(now, from, room, (event.0.to_owned(), event.1.to_owned()))
    }

    /// Everything that is visible to the device and was not taken before, as one sync: news of
    /// rooms first, then one batch for each room with events.
    pub fn take(&mut self, now: Wall, identity: &Identity) -> Vec<SyncItem> {
        let Some(inbox) = self.inboxes.get_mut(&account(identity)) else { return Vec::new() };
        inbox.sort_by_key(|pending| pending.visible);
        let due = inbox.partition_point(|pending| pending.visible <= now);
        let taken: Vec<Pending> = inbox.drain(..due).collect();
        self.items(now, taken)
    }

    /// When the next event becomes visible to the device; `None` when its inbox is empty.
    pub fn next_visible(&self, identity: &Identity) -> Option<Wall> {
        self.inboxes.get(&account(identity))?.iter().map(|pending| pending.visible).min()
    }

    /// Puts the latest `count` events of a room into the device's inbox once more.
    pub fn repeat(&mut self, identity: &Identity, room: &RoomId, count: usize) {
        let Some(length) = self.rooms.get(room).map(|found| found.timeline.len()) else { return };
        let Some(inbox) = self.inboxes.get_mut(&account(identity)) else { return };
        for place in length.saturating_sub(count)..length {
            inbox.push(Pending { visible: Wall(0), what: What::Event(room.clone(), place) });
        }
    }

    /// The TURN endpoint.
    ///
    /// # Errors
    /// What [`set_turn`](Self::set_turn) said.
    pub fn turn_servers(&self) -> Result<TurnServers, Fault> {
        self.turn.clone()
    }

    /// The members of a room.
    ///
    /// # Errors
    /// [`Fault::NotFound`] without such a room.
    pub fn members(&self, room: &RoomId) -> Result<BTreeSet<UserId>, Fault> {
        self.rooms.get(room).map(|found| found.members.clone()).ok_or(Fault::NotFound)
    }

    /// All events of a room, oldest first; none without such a room.
    pub fn timeline(&self, room: &RoomId) -> &[StoredEvent] {
        self.rooms.get(room).map_or(&[], |found| &found.timeline)
    }

    /// All rooms.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.keys()
    }

    /// All devices that are logged in.
    pub fn devices(&self) -> impl Iterator<Item = Identity> + '_ {
        self.inboxes
            .keys()
            .map(|(user, device)| Identity { user: user.clone(), device: device.clone() })
    }

    fn store(
        &mut self,
        now: Wall,
        from: &Identity,
        room: &RoomId,
        (event_type, content): (String, String),
    ) -> EventId {
        let event_id = self.next_event_id();
        let found = self.rooms.entry(room.clone()).or_default();
        found.timeline.push(StoredEvent {
            event_id: event_id.clone(),
            room: room.clone(),
            sender: from.user.clone(),
            device: from.device.clone(),
            event_type,
            content,
            sent: now,
            clear: false,
            redacts: None,
        });
        let (place, members) = (found.timeline.len() - 1, found.members.clone());
        self.distribute(now, &from.user, &members, What::Event(room.clone(), place));
        event_id
    }

    pub(super) fn distribute(
        &mut self,
        now: Wall,
        from: &UserId,
        to: &BTreeSet<UserId>,
        what: What,
    ) {
        for ((user, _), inbox) in &mut self.inboxes {
            if to.contains(user) {
                let delay = self.ways.get(&(from.clone(), user.clone())).copied();
                let visible = now.plus(delay.unwrap_or_default());
                inbox.push(Pending { visible, what: what.clone() });
            }
        }
    }

    pub(super) fn announce(&mut self, room: &RoomId, to: &BTreeSet<UserId>, news: RoomNews) {
        for ((user, _), inbox) in &mut self.inboxes {
            if to.contains(user) {
                let what = What::News(room.clone(), news.clone());
                inbox.push(Pending { visible: Wall(0), what });
            }
        }
    }

    fn news_for(&self, user: &UserId) -> Vec<Pending> {
        let mut news = Vec::new();
        for (room, found) in self.rooms.iter().filter(|(_, found)| found.members.contains(user)) {
            news.push(What::News(room.clone(), RoomNews::Members(found.members.clone())));
            let encrypted = || What::News(room.clone(), RoomNews::Encrypted);
            news.extend(found.encrypted.then(encrypted));
            if !found.state.is_empty() {
                news.push(What::WholeState(room.clone()));
            }
        }
        news.into_iter().map(|what| Pending { visible: Wall(0), what }).collect()
    }

    fn items(&self, now: Wall, taken: Vec<Pending>) -> Vec<SyncItem> {
        let mut items = Vec::new();
        let mut batches: BTreeMap<RoomId, Vec<RawEvent>> = BTreeMap::new();
        let mut to_device = Vec::new();
        for pending in taken {
            match pending.what {
                What::News(room, news) => items.push(SyncItem::Room(room, news)),
                What::ToDevice(event) => to_device.push(*event),
                What::State(room, stored) => {
                    let events = vec![stored.raw(now)];
                    let (extent, encrypted) = (Extent::Changes, None);
                    items.push(SyncItem::State(StateBatch { room, extent, encrypted, events }));
                }
                What::WholeState(room) => {
                    let whole = self.room_state(now, &room).map(SyncItem::State);
                    items.extend(whole.ok());
                }
                What::Event(room, place) => {
                    let event = self.raw(now, &room, place);
                    batches.entry(room).or_default().push(event);
                }
            }
        }
        if !to_device.is_empty() {
            let batch = Batch { place: Place::ToDevice, events: to_device };
            // Clients look at these first: they hold the keys of what comes with the rooms.
            items.insert(0, SyncItem::Batch(batch));
        }
        let mut batches: Vec<_> = batches.into_iter().collect();
        if self.rooms_reversed {
            batches.reverse();
        }
        items.extend(batches.into_iter().map(|(room, events)| {
            let encrypted = self.rooms[&room].encrypted;
            SyncItem::Batch(Batch { place: Place::Room { room, encrypted }, events })
        }));
        items
    }

    fn raw(&self, now: Wall, room: &RoomId, place: usize) -> RawEvent {
        let found = &self.rooms[room];
        let event = &found.timeline[place];
        let secret = found.encrypted && !event.clear;
        let protection = if secret { Protection::Verified } else { Protection::Clear };
        RawEvent {
            facts: Facts {
                event_id: Some(event.event_id.clone()),
                sender: event.sender.clone(),
                device: secret.then(|| event.device.clone()),
                protection,
                sent: Some(event.sent),
                age: Some(now.since(event.sent)),
            },
            event_type: event.event_type.clone(),
            content: event.content.clone(),
            redacts: event.redacts.clone(),
        }
    }
}

pub(super) fn account(identity: &Identity) -> Account {
    (identity.user.clone(), identity.device.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(user: &str, device: &str) -> Identity {
        Identity { user: UserId::parse(user).unwrap(), device: DeviceId::parse(device).unwrap() }
    }

    fn send(transaction: &str) -> SendEvent {
        SendEvent {
            room: RoomId::parse("!r:x").unwrap(),
            event_type: "m.call.hangup".to_owned(),
            content: format!("{{\"n\":\"{transaction}\"}}"),
            transaction: transaction.to_owned(),
        }
    }

    fn two() -> (FakeHomeserver, Identity, Identity, RoomId) {
        let (ada, ben) = (device("@ada:x", "A"), device("@ben:x", "B"));
        let room = RoomId::parse("!r:x").unwrap();
        let mut server = FakeHomeserver::new();
        server.set_room(&room, [ada.user.clone(), ben.user.clone()]);
        server.login(&ada);
        server.login(&ben);
        server.take(Wall(0), &ada);
        server.take(Wall(0), &ben);
        (server, ada, ben, room)
    }

    fn contents(items: &[SyncItem]) -> Vec<String> {
        let batches = items.iter().filter_map(|item| match item {
            SyncItem::Batch(batch) => Some(batch.events.iter().map(|event| event.content.clone())),
            SyncItem::Room(..) | SyncItem::State(_) => None,
        });
        batches.flatten().collect()
    }

    #[test]
    fn an_event_reaches_every_device_of_every_member_once_with_its_age() {
        let (mut server, ada, ben, _) = two();
        let id = server.send(Wall(5), &ada, send("1")).unwrap();
        assert_eq!(server.send(Wall(6), &ada, send("1")), Ok(id), "a retry is the same event");
        assert_eq!(contents(&server.take(Wall(9), &ada)).len(), 1, "the echo");
        let items = server.take(Wall(9), &ben);
        let [SyncItem::Batch(batch)] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(batch.events[0].facts.age, Some(Duration::from_millis(4)));
        assert!(server.take(Wall(9), &ben).is_empty());
    }

    #[test]
    fn a_stranger_cannot_send() {
        let (mut server, _, ben, room) = two();
        server.leave(&room, &ben.user);
        assert!(matches!(server.send(Wall(5), &ben, send("1")), Err(Fault::Forbidden(_))));
    }

    #[test]
    fn events_of_different_senders_may_overtake_each_other_but_not_those_of_one() {
        let (mut server, ada, ben, _) = two();
        server.set_delay(&ada.user, &ben.user, Duration::from_millis(100));
        server.send(Wall(0), &ada, send("1")).unwrap();
        server.send(Wall(1), &ada, send("2")).unwrap();
        server.send(Wall(2), &ben, send("3")).unwrap();
        assert_eq!(contents(&server.take(Wall(50), &ben)), [r#"{"n":"3"}"#]);
        assert_eq!(server.next_visible(&ben), Some(Wall(100)));
        assert_eq!(contents(&server.take(Wall(101), &ben)), [r#"{"n":"1"}"#, r#"{"n":"2"}"#]);
    }

    #[test]
    fn a_room_tells_who_is_in_it() {
        let (mut server, ada, ben, room) = two();
        server.leave(&room, &ben.user);
        let items = server.take(Wall(0), &ada);
        assert_eq!(items, [SyncItem::Room(room, RoomNews::Left(ben.user))]);
    }
}
