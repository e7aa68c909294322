//! The [`FakeHomeserver`] as an async host: two or more `VoIP` instances of one process share it.
//!
//! ```text
//! VoIP of ada ──Signaling──▶ EmbeddedAccount ─▶ EmbeddedHomeserver ─News::deliver─▶ VoIP of ben
//! ```
//!
//! [`EmbeddedHomeserver::login`] gives the [`Signaling`] for one device; when its `VoIP` runs,
//! [`EmbeddedAccount::connect`] says where its events go. [`EmbeddedHomeserver::tap`] shows every
//! event that passes, as JSON text.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::server::{FakeHomeserver, SyncItem};
use crate::{
    host::{News, Redact, SendEvent, SendState, SendToDevice, Signaling},
    id::{DeviceId, EventId, RoomId, UserId},
    machine::{
        Identity,
        io::{Fault, OpenIdToken, ParticipantId, TurnServers},
    },
    redact::Secret,
    time::Wall,
    wire::{
        delivery::{Place, RawEvent},
        focus::Transport,
        state::StateBatch,
    },
};

/// Which way an event passed the homeserver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A device sent it to the room, or wrote it as state.
    Sent,
    /// A device sent it to these devices; the room is the one that it is about.
    SentTo(BTreeSet<ParticipantId>),
    /// It was delivered to this device.
    DeliveredTo(Identity),
}

/// One event on its way, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Passage {
    /// Which way.
    pub way: Way,
    /// When, by the server's clock.
    pub at: Wall,
    /// The room.
    pub room: RoomId,
    /// Who sent the event.
    pub sender: UserId,
    /// The event type.
    pub event_type: String,
    /// The content as JSON text.
    pub content: String,
}

// Contents hold SDP: whoever wants to see them asks for the field.
impl std::fmt::Debug for Passage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passage")
            .field("way", &self.way)
            .field("sender", &self.sender)
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

type Tap = Arc<dyn Fn(&Passage) + Send + Sync>;

/// A homeserver inside the process. Cloning it gives another handle to the same server.
#[derive(Clone)]
pub struct EmbeddedHomeserver {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

struct State {
    server: FakeHomeserver,
    connected: BTreeMap<(UserId, DeviceId), News>,
    tap: Option<Tap>,
    latency: Duration,
    transports: Vec<Transport>,
}

impl std::fmt::Debug for EmbeddedHomeserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedHomeserver").finish_non_exhaustive()
    }
}

impl Default for EmbeddedHomeserver {
    fn default() -> Self {
        Self::new()
    }
}

impl EmbeddedHomeserver {
    /// A server without rooms and users, that answers at once.
    pub fn new() -> Self {
        let state = State {
            server: FakeHomeserver::new(),
            connected: BTreeMap::new(),
            tap: None,
            latency: Duration::ZERO,
            transports: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), clock: Clock::start() }
    }

    /// How long each request takes, half of it before the server acts.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        self.lock().latency = latency;
        self
    }

    /// With a room, for a program that fits on a page.
    ///
    /// # Panics
    /// When an id has not the form of one.
    #[must_use]
    pub fn with_room<const N: usize>(self, room: &str, members: [&str; N]) -> Self {
        let member = |text| UserId::parse(text).expect("a user's id");
        self.set_room(&RoomId::parse(room).expect("a room's id"), members.map(member));
        self
    }

    /// Shows every event that passes to `tap`, sent ones first. One tap at a time; it must not
    /// call the server.
    pub fn tap(&self, tap: impl Fn(&Passage) + Send + Sync + 'static) {
        self.lock().tap = Some(Arc::new(tap));
    }

    /// Makes a device known and gives its way to the server.
    pub fn login(&self, identity: Identity) -> EmbeddedAccount {
        self.lock().server.login(&identity);
        EmbeddedAccount { home: self.clone(), identity }
    }

    /// Changes the server: rooms, members, TURN, delays. Connected devices hear of it at once.
    pub fn change<T>(&self, change: impl FnOnce(&mut FakeHomeserver) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.server);
        state.deliver(self.clock.now());
        result
    }

    /// Makes a room with these members, or replaces its members.
    pub fn set_room(&self, room: &RoomId, members: impl IntoIterator<Item = UserId>) {
        self.change(|server| server.set_room(room, members));
    }

    /// The SFUs that the server names from now on; at first none.
    pub fn set_transports(&self, transports: impl IntoIterator<Item = Transport>) {
        self.lock().transports = transports.into_iter().collect();
    }

    /// Does something at the server, half of the latency after it was asked for and half before it is
    /// answered.
    async fn trip<T>(&self, act: impl FnOnce(&Self) -> T) -> T {
        self.travel().await;
        let done = act(self);
        self.travel().await;
        done
    }

    async fn travel(&self) {
        let half = self.lock().latency / 2;
        if !half.is_zero() {
            tokio::time::sleep_until(Instant::now() + half).await;
        }
    }

    /// Does what a device asks for; what the server takes is shown, then handed over.
    fn pass<T>(
        &self,
        passage: Passage,
        act: impl FnOnce(&mut FakeHomeserver, Wall) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut state = self.lock();
        let done = act(&mut state.server, passage.at)?;
        if let Some(tap) = &state.tap {
            tap(&passage);
        }
        state.deliver(passage.at);
        Ok(done)
    }

    fn send(&self, from: &Identity, event: SendEvent) -> Result<EventId, Fault> {
        let content = (event.event_type.as_str(), event.content.as_str());
        let passage = self.passage(Way::Sent, from, &event.room, content);
        self.pass(passage, |server, now| server.send(now, from, event))
    }

    fn send_clear(&self, from: &Identity, event: SendEvent) -> Result<EventId, Fault> {
        let content = (event.event_type.as_str(), event.content.as_str());
        let passage = self.passage(Way::Sent, from, &event.room, content);
        self.pass(passage, |server, now| server.send_clear(now, from, event))
    }

    fn redact(&self, from: &Identity, redaction: Redact) -> Result<EventId, Fault> {
        let content = ("m.room.redaction", redaction.content.as_str());
        let passage = self.passage(Way::Sent, from, &redaction.room, content);
        self.pass(passage, |server, now| server.redact(now, from, redaction))
    }

    fn send_state(&self, from: &Identity, event: SendState) -> Result<EventId, Fault> {
        let content = (event.event_type.as_str(), event.content.as_str());
        let passage = self.passage(Way::Sent, from, &event.room, content);
        self.pass(passage, |server, now| server.send_state(now, from, event))
    }

    fn send_to_device(
        &self,
        from: &Identity,
        message: SendToDevice,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let content = (message.event_type.as_str(), message.content.as_str());
        let way = Way::SentTo(message.targets.clone());
        let passage = self.passage(way, from, &message.room, content);
        self.pass(passage, |server, now| server.send_to_device(now, from, message))
    }

    /// What a device sends now: its type and its content.
    fn passage(
        &self,
        way: Way,
        from: &Identity,
        room: &RoomId,
        (event_type, content): (&str, &str),
    ) -> Passage {
        Passage {
            way,
            at: self.clock.now(),
            room: room.clone(),
            sender: from.user.clone(),
            event_type: event_type.to_owned(),
            content: content.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A tap that panicked left the server whole: it only looked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands every connected device what is in its inbox. The lock is held meanwhile, so that two
    /// senders cannot turn the order round; the channel behind `News` never blocks.
    fn deliver(&mut self, now: Wall) {
        for ((user, device), news) in &self.connected {
            let identity = Identity { user: user.clone(), device: device.clone() };
            for item in self.server.take(now, &identity) {
                hand_over(item, &identity, news, self.tap.as_ref(), now);
            }
        }
    }
}

fn hand_over(item: SyncItem, to: &Identity, news: &News, tap: Option<&Tap>, at: Wall) {
    match item {
        SyncItem::Room(room, change) => news.room(room, change),
        SyncItem::State(state) => news.state(state),
        SyncItem::Batch(batch) => {
            for event in &batch.events {
                if let (Some(tap), Place::Room { room, .. }) = (tap, &batch.place) {
                    tap(&delivered(event, room, to, at));
                }
            }
            news.deliver(batch);
        }
    }
}

fn delivered(event: &RawEvent, room: &RoomId, to: &Identity, at: Wall) -> Passage {
    Passage {
        way: Way::DeliveredTo(to.clone()),
        at,
        room: room.clone(),
        sender: event.facts.sender.clone(),
        event_type: event.event_type.clone(),
        content: event.content.clone(),
    }
}

/// One device's way to an [`EmbeddedHomeserver`].
#[derive(Debug, Clone)]
pub struct EmbeddedAccount {
    home: EmbeddedHomeserver,
    identity: Identity,
}

impl EmbeddedAccount {
    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Says where events go. What came before is delivered now; nothing is lost between
    /// [`EmbeddedHomeserver::login`] and this.
    pub fn connect(&self, news: News) {
        let key = (self.identity.user.clone(), self.identity.device.clone());
        let mut state = self.home.lock();
        state.connected.insert(key, news);
        state.deliver(self.home.clock.now());
    }

    /// Events wait in the inbox from now on, as with a device that lost its network.
    pub fn disconnect(&self) {
        let key = (self.identity.user.clone(), self.identity.device.clone());
        self.home.lock().connected.remove(&key);
    }
}

#[async_trait]
impl Signaling for EmbeddedAccount {
    async fn send_event(&self, event: SendEvent) -> Result<EventId, Fault> {
        self.home.trip(|home| home.send(&self.identity, event)).await
    }

    async fn send_clear(&self, event: SendEvent) -> Result<EventId, Fault> {
        self.home.trip(|home| home.send_clear(&self.identity, event)).await
    }

    async fn redact(&self, redaction: Redact) -> Result<EventId, Fault> {
        self.home.trip(|home| home.redact(&self.identity, redaction)).await
    }

    async fn turn_servers(&self) -> Result<TurnServers, Fault> {
        self.home.trip(|home| home.lock().server.turn_servers()).await
    }

    async fn members(&self, room: RoomId) -> Result<BTreeSet<UserId>, Fault> {
        self.home.trip(|home| home.lock().server.members(&room)).await
    }

    async fn send_state(&self, event: SendState) -> Result<EventId, Fault> {
        self.home.trip(|home| home.send_state(&self.identity, event)).await
    }

    async fn send_to_device(
        &self,
        message: SendToDevice,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        self.home.trip(|home| home.send_to_device(&self.identity, message)).await
    }

    /// One that nobody can ask the server about: for token sources that believe it.
    async fn open_id_token(&self) -> Result<OpenIdToken, Fault> {
        let user = self.identity.user.as_str();
        let server_name = user.split_once(':').map_or("", |(_, server)| server).to_owned();
        let token = OpenIdToken {
            access_token: Secret::new(format!("open-id of {user}")),
            token_type: "Bearer".to_owned(),
            server_name,
            expires_in: Duration::from_secs(3600),
        };
        self.home.trip(|_| Ok(token)).await
    }

    async fn transports(&self) -> Result<Vec<Transport>, Fault> {
        self.home.trip(|home| Ok(home.lock().transports.clone())).await
    }

    async fn room_state(&self, room: RoomId) -> Result<StateBatch, Fault> {
        self.home.trip(|home| home.lock().server.room_state(home.clock.now(), &room)).await
    }
}

/// Wall time that follows the runtime's clock, so that a paused runtime pauses the server too.
#[derive(Debug, Clone, Copy)]
struct Clock {
    started: Instant,
    wall: Wall,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the shell of an adapter, read once")]
    fn start() -> Self {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), wall: Wall(0).plus(since_epoch) }
    }

    fn now(self) -> Wall {
        self.wall.plus(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::mailbox, machine::io::Input};

    fn identity(user: &str) -> Identity {
        Identity { user: UserId::parse(user).unwrap(), device: DeviceId::parse("D").unwrap() }
    }

    #[tokio::test]
    async fn an_sfu_is_named_once_it_is_set_and_a_made_up_token_prints_nothing() {
        let home = EmbeddedHomeserver::new();
        let account = home.login(identity("@ada:x"));
        assert_eq!(account.transports().await, Ok(Vec::new()));
        let sfu = Transport::Livekit { service_url: "https://sfu".to_owned() };
        home.set_transports([sfu.clone()]);
        assert_eq!(account.transports().await, Ok(vec![sfu]));
        let token = account.open_id_token().await.unwrap();
        assert_eq!((token.token_type.as_str(), token.server_name.as_str()), ("Bearer", "x"));
        assert!(!format!("{token:?}").contains("ada"));
    }

    #[tokio::test]
    async fn what_one_device_sends_the_other_gets_and_the_tap_shows() {
        let home = EmbeddedHomeserver::new();
        let room = RoomId::parse("!r:x").unwrap();
        let (ada, ben) = (identity("@ada:x"), identity("@ben:x"));
        home.set_room(&room, [ada.user.clone(), ben.user.clone()]);
        let (from, to) = (home.login(ada), home.login(ben.clone()));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&shown);
        home.tap(move |passage| seen.lock().unwrap().push(passage.clone()));

        let event_type = "m.call.hangup".to_owned();
        let content = r#"{"call_id":"c","party_id":"p","version":"1"}"#.to_owned();
        let transaction = "t".to_owned();
        let sent = SendEvent { room: room.clone(), event_type, content, transaction };
        from.send_event(sent).await.unwrap();

        let (mut driver, mailbox) = mailbox::pair();
        to.connect(mailbox.news());
        assert!(matches!(driver.next().await, Some(Input::Room(..))), "who is in the room");
        assert!(matches!(driver.next().await, Some(Input::Deliver(_))), "the waiting event");
        let ways = || shown.lock().unwrap().iter().map(|seen| seen.way.clone()).collect::<Vec<_>>();
        assert_eq!(ways(), [Way::Sent, Way::DeliveredTo(ben.clone())]);
        assert_eq!(from.members(room.clone()).await.unwrap().len(), 2);

        let targets = BTreeSet::from([ParticipantId { user: ben.user, device: ben.device }]);
        let (event_type, content) = ("m.call.hangup".to_owned(), "{}".to_owned());
        let transaction = "u".to_owned();
        let (to, trust) = (targets.clone(), crate::machine::io::Trust::Any);
        let message = SendToDevice { room, targets: to, trust, event_type, content, transaction };
        assert_eq!(from.send_to_device(message).await, Ok(BTreeSet::new()));
        assert_eq!(ways()[2..], [Way::SentTo(targets)], "its way to the device is not shown");
    }
}
