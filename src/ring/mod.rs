//! Whether something rings: a pure function for push handlers, without session and network.
//!
//! A push wakes a small process that has one event, a few hundred milliseconds and no engine.
//! [`inspect`] tells it what to do with that event; what it remembers from one push to the next is
//! [`Seen`], a small value that the application stores. The same [`RingInfo`] comes of 1:1 invites
//! (`m.call.invite`) and of notifications of group calls (MSC4075). The rules are the engine's own,
//! as far as one event can show them; `famedly-dart.md` §2.4 has those of notifications.
//!
//! | file | holds |
//! | --- | --- |
//! | `invite.rs` | 1:1 calls: invites, and what ends their ring |
//! | `group.rs` | group calls: notifications, and what ends theirs |
//!
//! What it cannot know is left to the application: whether the sender is ignored, whether somebody
//! may mention the whole room, whether the user is busy, how many calls ring already.

mod group;
mod invite;

pub(crate) use self::group::on_stopped;
pub(crate) use self::group::sent_and_spent;
pub use self::group::{CLOCK_TOLERANCE, MemberChange, MemberNews, on_member};
pub use crate::wire::{
    notify::Style,
    seen::{MAX_NOTES, MAX_SEEN_BYTES, Seen, UnreadableSeen},
};
use crate::{
    config::{Config, Unverified},
    id::{CallId, EventId, Identity, RoomId, UserId},
    time::Wall,
    wire::{
        call::{self, CallMessage},
        delivery::{Facts, Malformed, Place, Protection, RawEvent},
        rtc::{RtcEvent, read_rtc_event},
        seen::{About, Note, What, Why},
    },
};

/// How long at least it is remembered what rang and what is over. An invite that is believed longer
/// (`Timeouts::longest_invite`) is remembered as long.
pub const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(300);

/// One event as a push handler has it: decrypted, with what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Pushed<'a> {
    /// The room, and whether it is encrypted. Nothing that comes to-device rings here.
    pub place: &'a Place,
    /// The event.
    pub event: &'a RawEvent,
}

/// What an event means for the ring.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Inspection {
    /// Ring, or notify.
    Ring(RingInfo),
    /// It would have rung, but its time is over: a missed call, if no session knows better.
    Expired,
    /// A device of ours took or refused this call, or the caller chose who answered: stop this
    /// ring. Also where this very device answered: ask its session. Of an invite that came later
    /// than that: do not ring.
    AnsweredElsewhere(RingId),
    /// The call is over: stop this ring, do not ring.
    Ended(RingId),
    /// It rang already, or another ring of a group call of this room goes on.
    Duplicate,
    /// It is a call of our own, or for another user or device of ours; or it mentions others.
    NotForUs,
    /// It cannot be trusted or understood: do nothing.
    Unusable(Unusable),
    /// It rings and stops nothing; some of it is remembered for a ring that may come.
    Nothing,
}

/// Why an event counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Its content.
    #[error("{0}")]
    Malformed(Malformed),
    /// It came in the clear, in an encrypted room.
    #[error("it came in the clear, in an encrypted room")]
    Plaintext,
    /// Its device is not verified, and [`Unverified::Refuse`] is set.
    #[error("its device is not verified")]
    UnverifiedDevice,
    /// The host has not said which event it is.
    #[error("it has no event id")]
    NoEventId,
}

/// A ring, for the screen and for the session that answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RingInfo {
    /// The room.
    pub room: RoomId,
    /// Who calls.
    pub caller: UserId,
    /// Which call.
    pub call: RingCall,
    /// Voice or video, as far as the event says.
    pub kind: RingKind,
    /// How loud it wants to be; invites always ring.
    pub style: Style,
    /// When to stop, by the clock that `now` was read from.
    pub expires: Wall,
    /// The invite or the notification. A decline (MSC4310) refers to it.
    pub event_id: EventId,
}

/// Which call rings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingCall {
    /// A 1:1 call.
    OneToOne(CallId),
    /// The group call in which the caller is with this membership. That it is his, and which call,
    /// the room's state tells.
    Group {
        /// The membership's event.
        member_event: EventId,
    },
}

/// What a caller offers to talk by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingKind {
    /// Sound.
    Voice,
    /// Sound and picture.
    Video,
    /// A group call that does not say.
    Unknown,
}

/// What tells one ring from every other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId {
    /// The room.
    pub room: RoomId,
    /// What rings there.
    pub source: RingSource,
}

/// What rings in a room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingSource {
    /// The invite of this 1:1 call.
    Call(CallId),
    /// This notification of a group call.
    Notification(EventId),
}

impl RingInfo {
    /// What [`Inspection::Ended`] and [`Inspection::AnsweredElsewhere`] will call it.
    pub fn id(&self) -> RingId {
        let source = match &self.call {
            RingCall::OneToOne(call) => RingSource::Call(call.clone()),
            RingCall::Group { .. } => RingSource::Notification(self.event_id.clone()),
        };
        RingId { room: self.room.clone(), source }
    }
}

/// What an event means for the ring, with the default settings; see [`inspect_with`].
///
/// `seen` goes in and comes out changed: one value that lives as long as the application, stored
/// wherever the next push handler finds it. Whatever the order of events is, what was over before
/// its invite came does not ring.
///
/// ```
/// use matrix_voip::{
///     id::{DeviceId, EventId, Identity, RoomId, UserId},
///     ring::{Inspection, Pushed, RingId, RingInfo, Seen, inspect},
///     time::Wall,
///     wire::delivery::{Facts, Place, Protection, RawEvent},
/// };
///
/// # fn show(_: &RingInfo) {}
/// # fn stop(_: &RingId) {}
/// # fn missed() {}
/// /// One push. Gives the bytes to store for the next one.
/// fn on_push(now: Wall, us: &Identity, stored: &[u8], place: &Place, event: &RawEvent) -> Vec<u8> {
///     let mut seen = Seen::from_bytes(stored).unwrap_or_default();
///     match inspect(now, us, &mut seen, &Pushed { place, event }) {
///         Inspection::Ring(ring) => show(&ring), // and until `ring.expires`
///         Inspection::AnsweredElsewhere(ring) | Inspection::Ended(ring) => stop(&ring),
///         Inspection::Expired => missed(),
///         _ => {}
///     }
///     seen.to_bytes()
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let us = Identity { user: UserId::parse("@ben:hs")?, device: DeviceId::parse("PHONE")? };
/// let place = Place::Room { room: RoomId::parse("!room:hs")?, encrypted: false };
/// let facts = Facts {
///     event_id: Some(EventId::parse("$ring")?),
///     sender: UserId::parse("@ada:hs")?,
///     device: None,
///     protection: Protection::Clear,
///     sent: Some(Wall(1_786_100_000_000)), // `origin_server_ts`
///     age: None,                           // `unsigned.age`, if it is there
/// };
/// let event = RawEvent {
///     facts,
///     event_type: "org.matrix.msc4075.rtc.notification".into(),
///     content: r#"{"notification_type": "ring", "sender_ts": 1786100000000, "lifetime": 30000,
///         "m.mentions": {"room": true}, "m.call.intent": "video",
///         "m.relates_to": {"rel_type": "m.reference", "event_id": "$membership"}}"#.into(),
///     redacts: None,
/// };
/// let now = Wall(1_786_100_001_000);
/// let mut seen = Seen::default();
/// let pushed = Pushed { place: &place, event: &event };
/// assert!(matches!(inspect(now, &us, &mut seen, &pushed), Inspection::Ring(_)));
/// assert_eq!(inspect(now, &us, &mut seen, &pushed), Inspection::Duplicate);
/// # on_push(now, &us, &seen.to_bytes(), &place, &event);
/// # Ok(())
/// # }
/// ```
pub fn inspect(now: Wall, identity: &Identity, seen: &mut Seen, pushed: &Pushed<'_>) -> Inspection {
    inspect_with(&Config::default(), now, identity, seen, pushed)
}

/// What an event means for the ring. Of the settings it obeys `timeouts.longest_invite` and
/// `unverified`, so that nothing rings that an engine with the same settings refuses.
pub fn inspect_with(
    config: &Config,
    now: Wall,
    identity: &Identity,
    seen: &mut Seen,
    pushed: &Pushed<'_>,
) -> Inspection {
    let Place::Room { room, encrypted } = pushed.place else { return Inspection::Nothing };
    let facts = &pushed.event.facts;
    let mut look = Look { config, now, identity, seen, room, facts };
    look.inspect(*encrypted, &pushed.event.event_type, &pushed.event.content)
}

/// An event around a group call that is known to be sound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard<'a> {
    pub(crate) room: &'a RoomId,
    pub(crate) facts: &'a Facts,
    pub(crate) event: &'a RtcEvent,
}

/// The same for the engine, which has looked at who sent it and how.
pub(crate) fn judge(
    config: &Config,
    now: Wall,
    identity: &Identity,
    seen: &mut Seen,
    heard: &Heard<'_>,
) -> Inspection {
    let Heard { room, facts, event } = *heard;
    Look { config, now, identity, seen, room, facts }.on_rtc(event)
}

/// One look at one event.
struct Look<'a> {
    config: &'a Config,
    now: Wall,
    identity: &'a Identity,
    seen: &'a mut Seen,
    room: &'a RoomId,
    facts: &'a Facts,
}

impl Look<'_> {
    fn inspect(&mut self, encrypted: bool, event_type: &str, content: &str) -> Inspection {
        let unusable = self.unusable(encrypted);
        if let Some(event) = read_rtc_event(event_type, content, None) {
            return match event {
                Ok(RtcEvent::Reaction(_) | RtcEvent::ReactionRemoval(_)) => Inspection::Nothing,
                Ok(event) => unusable.unwrap_or_else(|| self.on_rtc(&event)),
                Err(why) => Inspection::Unusable(Unusable::Malformed(why)),
            };
        }
        match call::read(event_type, content) {
            // A leg of a group call.
            Some(Ok(CallMessage { header, .. })) if header.leg.is_some() => Inspection::Nothing,
            Some(Ok(message)) => unusable.unwrap_or_else(|| self.on_call(&message)),
            Some(Err(why)) => Inspection::Unusable(Unusable::Malformed(why)),
            None => Inspection::Nothing,
        }
    }

    /// Why this event counts for nothing, whatever it says.
    fn unusable(&self, encrypted: bool) -> Option<Inspection> {
        let why = match self.facts.protection {
            Protection::Clear if encrypted => Unusable::Plaintext,
            Protection::Unverified if self.config.unverified == Unverified::Refuse && encrypted => {
                Unusable::UnverifiedDevice
            }
            Protection::Clear | Protection::Verified | Protection::Unverified => return None,
        };
        Some(Inspection::Unusable(why))
    }

    fn is_by_us(&self) -> bool {
        self.facts.sender == self.identity.user
    }

    /// A note about this event's sender.
    fn note(&self, about: About, what: What) -> Note {
        let kept = self.config.timeouts.longest_invite.max(REMEMBERED);
        Note {
            room: self.room.clone(),
            about,
            by: self.facts.sender.clone(),
            party: None,
            what,
            until: self.now.plus(kept),
        }
    }

    fn keep(&mut self, note: Note) {
        self.seen.note(self.now, note);
    }

    /// It rings, and is remembered.
    fn ring(&mut self, info: RingInfo, note: Note) -> Inspection {
        self.keep(note);
        Inspection::Ring(info)
    }

    fn over(&self, why: Why, source: RingSource) -> Inspection {
        let ring = RingId { room: self.room.clone(), source };
        match why {
            Why::Ended => Inspection::Ended(ring),
            Why::Elsewhere => Inspection::AnsweredElsewhere(ring),
        }
    }
}
