//! From the SDK's values to the little that calls need of them: pure functions.
//!
//! An event becomes an [`Item`]. Its facts come from where they cannot be forged: who encrypted
//! it from the decryption, its id and age from the outer event, whether it is state from its not
//! having been encrypted (`matrix-sdk.md` §1 and traps 1, 2, 3, 11). Contents stay JSON text: the
//! core reads them, ruma's typed call events would refuse much of what clients really send.

mod whole;

use std::{collections::BTreeSet, time::Duration};

use matrix_sdk::{
    deserialized_responses::{
        EncryptionInfo, TimelineEvent, TimelineEventKind, VerificationLevel, VerificationState,
    },
    ruma::{
        events::{AnySyncTimelineEvent, AnyToDeviceEvent},
        serde::Raw,
    },
    sync::{JoinedRoomUpdate, State},
};
use matrix_voip::{
    id::{DeviceId, EventId, RoomId, UserId},
    time::{Now, Wall},
    wire::{
        call::is_call_event,
        delivery::{Facts, Protection, RawEvent},
        keys::is_key_event,
        member::{Dialect, read_members},
        rtc::is_rtc_event,
        state::{RawState, STATE_TYPES, StateFacts},
    },
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use zeroize::ZeroizeOnDrop;

pub(crate) use self::whole::{WholeState, state_batch};

const REDACTION: &str = "m.room.redaction";

/// One event of a room, as far as calls are concerned.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The outer event's id.
    pub(crate) id: Option<EventId>,
    /// `origin_server_ts`.
    pub(crate) sent: Option<Wall>,
    /// `unsigned.age`, when it reached us.
    pub(crate) age: Option<Duration>,
    /// When it reached us, on both clocks.
    pub(crate) received: Now,
    /// What it is.
    pub(crate) what: What,
}

/// What an event is to us.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A call event, or one around a group call, that can be read.
    Call(Box<Readable>),
    /// A state event, believed.
    Fact(Fact),
    /// State that calls are made of, believed.
    State(Box<Stated>),
    /// The event of that id was emptied.
    Redaction(EventId),
    /// Encrypted under a key that may yet come.
    Locked(Locked),
    /// Decrypted with the session of another user than its sender.
    Forged,
    /// Nothing to us, or nothing that will ever be readable.
    Other,
}

/// A call event whose content can be read.
#[derive(Debug, Clone)]
pub(crate) struct Readable {
    /// The sender.
    pub(crate) sender: UserId,
    /// The device that encrypted it.
    pub(crate) device: Option<DeviceId>,
    /// How it was protected.
    pub(crate) protection: Protection,
    /// The (decrypted) type.
    pub(crate) event_type: String,
    /// The (decrypted) content.
    pub(crate) content: Content,
    /// What it redacts.
    pub(crate) redacts: Option<EventId>,
}

/// A state event of [`STATE_TYPES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated {
    /// Who wrote it.
    pub(crate) sender: UserId,
    /// The type.
    pub(crate) event_type: String,
    /// The state key.
    pub(crate) state_key: String,
    /// The content.
    pub(crate) content: Content,
}

/// A content as JSON text; prints as a length, and is wiped when it is dropped: media keys may stand in
/// it.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub(crate) struct Content(pub(crate) String);

impl Content {
    /// The text, for the library.
    fn into_text(mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What a state event says of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A user is in it now.
    Joined(UserId),
    /// A user is not in it now: left, was banned, knocks, is only invited.
    Outside(UserId),
    /// It is encrypted.
    Encrypted,
}

/// An event that waits for its room key.
#[derive(Clone)]
pub(crate) struct Locked {
    /// The Megolm session.
    pub(crate) session: String,
    /// The encrypted event.
    pub(crate) event: Raw<AnySyncTimelineEvent>,
}

impl std::fmt::Debug for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locked").field("session", &self.session).finish_non_exhaustive()
    }
}

/// What one sync response says of one joined room.
#[derive(Debug, Clone)]
pub(crate) struct RoomUpdate {
    /// The room.
    pub(crate) room: RoomId,
    /// Whether it is encrypted, where the SDK knows.
    pub(crate) encrypted: Option<bool>,
    /// Set when events may be missing before the first one.
    pub(crate) gap: Option<Gap>,
    /// The state block.
    pub(crate) block: Vec<Item>,
    /// Which part of the response tells the state.
    pub(crate) told: Told,
    /// The timeline, oldest first.
    pub(crate) items: Vec<Item>,
    /// When it reached us.
    pub(crate) received: Now,
}

/// What the SDK knows of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Whether it is encrypted, where that is known.
    pub(crate) encrypted: Option<bool>,
    /// Whether syncs bring all of its state: a sliding sync brings what it asked for.
    pub(crate) complete: bool,
}

/// Events may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    /// From where to read backwards; `None`: from the newest event of the room.
    pub(crate) from: Option<String>,
}

/// Which part of a response tells the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The state block, then the timeline on top of it.
    Both,
    /// The state block alone.
    Block,
    /// The state block, as far as it goes: it has only what was asked for, and of the rest the
    /// timeline is all that is told.
    BlockInPart,
}

impl RoomUpdate {
    /// An update that says nothing but that events may be missing up to now.
    pub(crate) fn catch_up(room: RoomId, now: Now) -> Self {
        Self {
            room,
            encrypted: None,
            gap: Some(Gap { from: None }),
            block: Vec::new(),
            told: Told::Both,
            items: Vec::new(),
            received: now,
        }
    }

    /// Reads what the SDK says of a joined room.
    pub(crate) fn read(
        room: RoomId,
        standing: Standing,
        update: &JoinedRoomUpdate,
        received: Now,
    ) -> Self {
        let (block, told) = match &update.state {
            State::Before(block) => (block, Told::Both),
            State::After(block) if standing.complete => (block, Told::Block),
            State::After(block) => (block, Told::BlockInPart),
        };
        let timeline = &update.timeline;
        Self {
            room,
            encrypted: standing.encrypted,
            gap: timeline.limited.then(|| Gap { from: timeline.prev_batch.clone() }),
            block: block.iter().filter_map(|event| Item::of_state(event, received)).collect(),
            told,
            items: timeline.events.iter().map(|event| Item::read(event, received)).collect(),
            received,
        }
    }
}

/// The fields of an event that are looked at. Each may be anything: what it is not, it has not.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(rename = "type", default)]
    event_type: Value,
    #[serde(default)]
    sender: Value,
    #[serde(default)]
    origin_server_ts: Value,
    #[serde(default)]
    state_key: Value,
    #[serde(default)]
    unsigned: Value,
    #[serde(default)]
    event_id: Value,
    #[serde(default)]
    redacts: Value,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl<'a> Outline<'a> {
    fn of<T>(event: &'a Raw<T>) -> Option<Self> {
        event.deserialize_as_unchecked().ok()
    }

    fn sender(&self) -> Option<UserId> {
        UserId::parse(self.sender.as_str()?).ok()
    }

    fn age(&self) -> Option<Duration> {
        let age = self.unsigned.get("age")?.as_f64()?;
        Duration::try_from_secs_f64(age.max(0.0) / 1000.0).ok()
    }

    fn sent(&self) -> Option<Wall> {
        let sent = &self.origin_server_ts;
        sent.as_u64().or_else(|| sent.as_f64().map(|sent| sent as u64)).map(Wall)
    }

    /// Type and content of what is said between devices: a call event, or one about media keys.
    fn call_or_key(&self) -> Option<(String, Content)> {
        self.message(|name| is_call_event(name) || is_key_event(name))
    }

    /// Those of a call event, or of one around a group call; state events are none.
    fn call_or_around(&self) -> Option<(String, Content)> {
        self.message(|name| is_call_event(name) || self.is_around_call(name))
    }

    fn message(&self, concerns: impl Fn(&str) -> bool) -> Option<(String, Content)> {
        let event_type = self.event_type.as_str().filter(|name| concerns(name))?;
        let content = self.content?.get().to_owned();
        self.state_key.is_null().then(|| (event_type.to_owned(), Content(content)))
    }

    /// Of redactions only those that say so: in most rooms most have nothing to do with calls.
    fn is_around_call(&self, event_type: &str) -> bool {
        let says_so = || self.in_content("redacts_type").is_some_and(|it| it.is_string());
        is_rtc_event(event_type) && (event_type != REDACTION || says_so())
    }

    fn fact(&self) -> Option<Fact> {
        let key = self.state_key.as_str()?;
        match self.event_type.as_str()? {
            "m.room.encryption" if key.is_empty() => Some(Fact::Encrypted),
            "m.room.member" => {
                let user = UserId::parse(key).ok()?;
                let joined = self.in_content("membership")?.as_str() == Some("join");
                Some(if joined { Fact::Joined(user) } else { Fact::Outside(user) })
            }
            _ => None,
        }
    }

    /// What a state event says.
    fn state(&self) -> Option<What> {
        let stated = || self.stated().map(|stated| What::State(Box::new(stated)));
        self.fact().map(What::Fact).or_else(stated)
    }

    /// State that calls are made of. Without an id there is none: the core tells it by that.
    fn stated(&self) -> Option<Stated> {
        let event_type = self.event_type.as_str().filter(|name| STATE_TYPES.contains(name))?;
        self.id()?;
        Some(Stated {
            sender: self.sender()?,
            event_type: event_type.to_owned(),
            state_key: self.state_key.as_str()?.to_owned(),
            content: Content(self.content?.get().to_owned()),
        })
    }

    /// What a redaction empties. Where its id stands depends on the room's version.
    fn redaction(&self) -> Option<EventId> {
        let is_redaction = self.event_type.as_str() == Some(REDACTION) && self.state_key.is_null();
        is_redaction.then_some(())?;
        let at_top = self.redacts.as_str().and_then(|id| EventId::parse(id).ok());
        at_top.or_else(|| EventId::parse(self.in_content("redacts")?.as_str()?).ok())
    }

    /// A field of the content; of one that has not this field `null`, of none that is JSON `None`.
    fn in_content(&self, field: &str) -> Option<Value> {
        let mut content: Value = serde_json::from_str(self.content?.get()).ok()?;
        Some(content.get_mut(field).map(Value::take).unwrap_or_default())
    }

    fn id(&self) -> Option<EventId> {
        EventId::parse(self.event_id.as_str()?).ok()
    }
}

impl Item {
    /// Reads an event of a state block; `None` if it is nothing to us.
    pub(crate) fn of_state<T>(event: &Raw<T>, received: Now) -> Option<Self> {
        let outline = Outline::of(event)?;
        let what = outline.state()?;
        let (id, sent, age) = (outline.id(), outline.sent(), outline.age());
        Some(Self { id, sent, age, received, what })
    }

    /// Reads one event of a timeline. Never fails: what cannot be read is nothing to us.
    pub(crate) fn read(event: &TimelineEvent, received: Now) -> Self {
        let outline = Outline::of(event.raw());
        let outer = event.event_id();
        Self {
            id: outer.and_then(|id| EventId::parse(id.as_str()).ok()),
            sent: outline.as_ref().and_then(Outline::sent),
            age: outline.as_ref().and_then(Outline::age),
            received,
            what: outline.map_or(What::Other, |outline| what(&event.kind, &outline)),
        }
    }

    /// How many bytes of the event are kept.
    pub(crate) fn bytes(&self) -> usize {
        match &self.what {
            What::Call(call) => call.content.0.len(),
            What::State(stated) => stated.content.0.len(),
            What::Locked(locked) => locked.event.json().get().len(),
            What::Fact(_) | What::Redaction(_) | What::Forged | What::Other => 0,
        }
    }

    /// How old the event is, by the server's figure if there is one, and no less than the time
    /// that we have had it.
    pub(crate) fn age(&self, now: Now) -> Duration {
        let held = self.held(now);
        let by_server = self.age.map(|age| age.saturating_add(held));
        let by_clocks = || self.sent.map(|sent| now.wall.since(sent));
        by_server.or_else(by_clocks).unwrap_or_default().max(held)
    }

    /// How long we have had it. Monotonic time may have stopped meanwhile, in suspend.
    fn held(&self, now: Now) -> Duration {
        now.mono.since(self.received.mono).max(now.wall.since(self.received.wall))
    }

    /// The call event for the core, with its age as it is now.
    pub(crate) fn into_event(self, now: Now) -> Option<RawEvent> {
        let held = self.held(now);
        let What::Call(call) = self.what else { return None };
        let facts = Facts {
            event_id: self.id,
            sender: call.sender,
            device: call.device,
            protection: call.protection,
            sent: self.sent,
            age: self.age.map(|age| age.saturating_add(held)),
        };
        let Readable { event_type, content, redacts, .. } = *call;
        Some(RawEvent { facts, event_type, content: content.into_text(), redacts })
    }

    /// Who wrote this piece of state.
    pub(crate) fn writer(&self) -> Option<&UserId> {
        self.stated().map(|stated| &stated.sender)
    }

    /// The type and key of this piece of state: another one of the same place replaces it.
    pub(crate) fn place(&self) -> Option<(String, String)> {
        self.stated().map(|stated| (stated.event_type.clone(), stated.state_key.clone()))
    }

    /// Whether it is the membership of somebody in a group call, as far as our clock can tell.
    pub(crate) fn is_live_membership(&self, now: Now) -> bool {
        let Some(stated) = self.stated() else { return false };
        let Some(dialect) = Dialect::of(&stated.event_type) else { return false };
        let entries = read_members(dialect, &stated.content.0).unwrap_or_default();
        let mut memberships = entries.iter().filter_map(|entry| entry.membership.as_ref().ok());
        memberships.any(|membership| membership.expires > now.wall)
    }

    fn stated(&self) -> Option<&Stated> {
        match &self.what {
            What::State(stated) => Some(stated),
            _ => None,
        }
    }

    /// The state event for the core, with its age as it is now.
    pub(crate) fn into_state(self, now: Now) -> Option<RawState> {
        let held = self.held(now);
        let written = self.sent.unwrap_or_else(|| before(now.wall, self.age(now)));
        let What::State(stated) = self.what else { return None };
        let facts = StateFacts {
            event_id: self.id?,
            sender: stated.sender,
            state_key: stated.state_key,
            sent: written,
            age: self.age.map(|age| age.saturating_add(held)),
        };
        let content = stated.content.into_text();
        Some(RawState { facts, event_type: stated.event_type, content })
    }
}

fn before(wall: Wall, span: Duration) -> Wall {
    Wall(wall.0.saturating_sub(span.as_millis().try_into().unwrap_or(u64::MAX)))
}

fn what(kind: &TimelineEventKind, outline: &Outline<'_>) -> What {
    match kind {
        TimelineEventKind::PlainText { .. } => {
            let told = outline.state().or_else(|| readable(outline, None));
            told.or_else(|| outline.redaction().map(What::Redaction)).unwrap_or(What::Other)
        }
        // A state key inside a ciphertext is the sender's invention: never a fact.
        TimelineEventKind::Decrypted(decrypted) => {
            if is_forged(&decrypted.encryption_info) {
                return What::Forged;
            }
            readable(outline, Some(&decrypted.encryption_info)).unwrap_or(What::Other)
        }
        TimelineEventKind::UnableToDecrypt { event, utd_info } => match &utd_info.session_id {
            Some(session) if utd_info.reason.is_missing_room_key() => {
                What::Locked(Locked { session: session.clone(), event: event.clone() })
            }
            Some(_) | None => What::Other,
        },
    }
}

fn readable(outline: &Outline<'_>, encryption: Option<&EncryptionInfo>) -> Option<What> {
    let (event_type, content) = outline.call_or_around()?;
    let sender = outline.sender()?;
    let (device, protection) = proof(encryption);
    let redacts = outline.redaction();
    let call = Readable { sender, device, protection, event_type, content, redacts };
    Some(What::Call(Box::new(call)))
}

/// Whether the key belongs to another user than the event says.
fn is_forged(info: &EncryptionInfo) -> bool {
    matches!(
        info.verification_state,
        VerificationState::Unverified(VerificationLevel::MismatchedSender)
    )
}

/// What the encryption proves of the device.
fn proof(info: Option<&EncryptionInfo>) -> (Option<DeviceId>, Protection) {
    let Some(info) = info else { return (None, Protection::Clear) };
    let device = info.sender_device.as_ref().and_then(|id| DeviceId::parse(id.as_str()).ok());
    let protection = match info.verification_state {
        VerificationState::Verified => Protection::Verified,
        VerificationState::Unverified(_) => Protection::Unverified,
    };
    (device, protection)
}

/// The rooms of an `m.direct`: by user a list of rooms. What is none of these is left out.
pub(crate) fn direct_chats(content: &Value) -> BTreeSet<RoomId> {
    let lists = content.as_object().into_iter().flat_map(|by_user| by_user.values());
    let rooms = lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    rooms.filter_map(|room| RoomId::parse(room).ok()).collect()
}

/// What a to-device message is to us.
#[derive(Debug)]
pub(crate) enum Message {
    /// A call event, or one about media keys.
    Call(Box<RawEvent>),
    /// Encrypted, and not for us to read.
    Undecryptable,
    /// Of a device that cannot be named: its id is longer than any that we know one by. It could speak
    /// for any other.
    Unbelieved,
    /// No call event, or none to be believed.
    Other,
}

/// Reads a to-device message.
///
/// Whether it was encrypted is decided by `info` alone: an undecryptable message comes without it,
/// and any JSON field could be the sender's (`matrix-sdk.md` §3).
pub(crate) fn to_device(message: &Raw<AnyToDeviceEvent>, info: Option<&EncryptionInfo>) -> Message {
    let Some(outline) = Outline::of(message) else { return Message::Other };
    if info.is_none() && outline.event_type.as_str() == Some("m.room.encrypted") {
        return Message::Undecryptable;
    }
    let Some((event_type, content)) = outline.call_or_key() else { return Message::Other };
    if info.is_some_and(is_forged) {
        return Message::Other;
    }
    let sender = match info {
        Some(info) => UserId::parse(info.sender.as_str()).ok(),
        None => outline.sender(),
    };
    let Some(sender) = sender else { return Message::Other };
    let (device, protection) = proof(info);
    if device.is_none() && info.is_some_and(|info| info.sender_device.is_some()) {
        return Message::Unbelieved;
    }
    let facts = Facts { event_id: None, sender, device, protection, sent: None, age: None };
    let content = content.into_text();
    Message::Call(Box::new(RawEvent { facts, event_type, content, redacts: None }))
}

#[cfg(test)]
mod tests;
