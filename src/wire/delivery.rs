//! What the host hands in: a complete, ordered batch of events with their facts.
//!
//! Facts (sender, device, age, encryption) travel beside the JSON, never inside it, where a
//! sender could have put them. [`Batch`] is what a host fills in, [`Delivery`] what the machine
//! reads; `Batch::parse` is the door between them.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use super::{
    call::CallMessage,
    keys::{KeyMessage, is_key_event, read_key_event},
    read::{is_call_event, read},
    rtc::{RtcEvent, is_rtc_event, read_rtc_event},
};
use crate::{
    id::{DeviceId, EventId, RoomId, UserId},
    time::Wall,
};

/// Where a batch comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The timeline of one room.
    Room {
        /// The room.
        room: RoomId,
        /// Whether the room is encrypted: then events in the clear are refused.
        encrypted: bool,
    },
    /// To-device messages.
    ToDevice,
}

/// How an event was protected on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// In the clear.
    Clear,
    /// Encrypted end to end, from a device that the host trusts.
    Verified,
    /// Encrypted end to end, from a device that nobody has verified.
    Unverified,
}

/// What the host knows of an event besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The event's id; to-device messages have none.
    pub event_id: Option<EventId>,
    /// Who sent it, as the homeserver (or Olm) says.
    pub sender: UserId,
    /// The sending device as the encryption proves it; `None` in the clear.
    pub device: Option<DeviceId>,
    /// How it was protected.
    pub protection: Protection,
    /// `origin_server_ts`.
    pub sent: Option<Wall>,
    /// `unsigned.age`, with the time added that the host itself held the event back. Goes before
    /// [`sent`](Self::sent), which trusts two clocks.
    pub age: Option<Duration>,
}

/// One event as the host has it. Its content prints as a length.
#[derive(Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// What the host knows of it.
    pub facts: Facts,
    /// The (decrypted) event type.
    pub event_type: String,
    /// The (decrypted) content, as JSON text.
    pub content: String,
    /// What an `m.room.redaction` redacts, from `redacts` of the event's top level: room versions
    /// before 11 have it there. Newer ones have it in the content, where it is read as well.
    pub redacts: Option<EventId>,
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEvent")
            .field("facts", &self.facts)
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .field("redacts", &self.redacts)
            .finish()
    }
}

/// A batch as the host has it: all events of one room in one sync response, in order.
///
/// ```
/// use matrix_voip::{
///     VoIP,
///     id::{EventId, InvalidId, RoomId, UserId},
///     time::Wall,
///     wire::delivery::{Batch, Facts, Place, Protection, RawEvent},
/// };
///
/// /// One event of an unencrypted room, from the fields that `/sync` gives.
/// fn hand_in(voip: &VoIP, event_type: &str, content: &str) -> Result<(), InvalidId> {
///     let facts = Facts {
///         event_id: Some(EventId::parse("$event")?),
///         sender: UserId::parse("@ben:hs")?,
///         device: None,
///         protection: Protection::Clear,
///         sent: Some(Wall(1_786_100_000_000)), // `origin_server_ts`
///         age: None,                           // `unsigned.age`, if it is there
///     };
///     let (event_type, content) = (event_type.into(), content.into());
///     // `redacts` is a field of redactions alone, in rooms of old versions.
///     let event = RawEvent { facts, event_type, content, redacts: None };
///     let place = Place::Room { room: RoomId::parse("!room:hs")?, encrypted: false };
///     voip.deliver(Batch { place, events: vec![event] });
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where it comes from.
    pub place: Place,
    /// The events, oldest first.
    pub events: Vec<RawEvent>,
}

/// A parsed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where it comes from.
    pub place: Place,
    /// The events, oldest first; those that do not concern calls are left out.
    pub events: Vec<Parsed>,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are about calls")]
pub enum Content {
    /// Something about a call of two, or about a leg of a group call.
    Call(CallMessage),
    /// Something around a group call: its announcement, a reaction.
    Rtc(RtcEvent),
    /// Media keys of a group call, or a request for them.
    Key(KeyMessage),
}

impl From<CallMessage> for Content {
    fn from(message: CallMessage) -> Self {
        Self::Call(message)
    }
}

impl From<RtcEvent> for Content {
    fn from(event: RtcEvent) -> Self {
        Self::Rtc(event)
    }
}

impl From<KeyMessage> for Content {
    fn from(message: KeyMessage) -> Self {
        Self::Key(message)
    }
}

/// One parsed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What the host knows of it.
    pub facts: Facts,
    /// What it says, or why it says nothing.
    pub event: Result<Content, Malformed>,
    /// The event type, for diagnostics.
    pub event_type: String,
}

impl Parsed {
    /// The call message that it is, if it is one that can be read.
    pub fn call(&self) -> Option<&CallMessage> {
        match &self.event {
            Ok(Content::Call(message)) => Some(message),
            Ok(Content::Rtc(_) | Content::Key(_)) | Err(_) => None,
        }
    }
}

/// Why an event with a known type says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The content is not a JSON object.
    #[error("the content is not a JSON object")]
    NotAnObject,
    /// A mandatory field is absent.
    #[error("no {0}")]
    Missing(&'static str),
    /// A field has a type or form that nobody sends.
    #[error("{0} has a wrong type or form")]
    Wrong(&'static str),
    /// A field or the whole event is larger than any honest one.
    #[error("{0} is too large")]
    TooLarge(&'static str),
}

impl Malformed {
    /// How the door calls what it turns away: every name that a variant can hold.
    pub const FIELDS: &[&'static str] = &[
        "answer",
        "answer.sdp",
        "application",
        "asserted_identity",
        "batch",
        "call_id",
        "candidates",
        "conf_id",
        "content",
        "description",
        "description.sdp",
        "description.type",
        "dest_session_id",
        "device_id",
        "event_id",
        "expires_ts",
        "foci_active",
        "invitee",
        "invitee_device_id",
        "key",
        "keys",
        "keys.index",
        "keys.key",
        "livekit_alias",
        "livekit_service_url",
        "m.call_id",
        "m.relates_to",
        "membershipID",
        "offer",
        "offer.sdp",
        "org.matrix.msc4143.rtc_foci",
        "party_id",
        "redacts",
        "rel_type",
        "room_id",
        "rtc_transports",
        "scope",
        "sdp_stream_metadata",
        "selected_party_id",
        "sender_session_id",
        "session_id",
        "type",
    ];
}

/// Most call events of one batch that are read; the contents of those beyond are not looked at. A
/// sync after a long absence has some hundreds.
pub const MAX_BATCH_EVENTS: usize = 10_000;

impl Batch {
    /// Reads every event of the batch; one that cannot be read harms no other. Events that do not
    /// concern calls are left out; call events beyond [`MAX_BATCH_EVENTS`] are kept as malformed,
    /// so that each is accounted for.
    pub fn parse(self) -> Delivery {
        let mut events = Vec::new();
        for RawEvent { facts, event_type, content, redacts } in self.events {
            // Media keys may stand in it.
            let content = Zeroizing::new(content);
            let event = if events.len() < MAX_BATCH_EVENTS {
                read_any(&event_type, &content, redacts.as_ref())
            } else {
                concerns_calls(&event_type).then_some(Err(Malformed::TooLarge("batch")))
            };
            events.extend(event.map(|event| Parsed { facts, event, event_type }));
        }
        Delivery { place: self.place, events }
    }
}

fn concerns_calls(event_type: &str) -> bool {
    is_call_event(event_type) || is_rtc_event(event_type) || is_key_event(event_type)
}

/// An event of any kind. An `m.call.reject` without a call id is about a group call.
fn read_any(
    event_type: &str,
    content: &str,
    redacts: Option<&EventId>,
) -> Option<Result<Content, Malformed>> {
    let rtc = read_rtc_event(event_type, content, redacts);
    let rtc = rtc.map(|event| event.map(Content::Rtc));
    let key = || read_key_event(event_type, content).map(|message| message.map(Content::Key));
    let call = || read(event_type, content).map(|message| message.map(Content::Call));
    rtc.or_else(key).or_else(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(event_type: &str, content: &str) -> RawEvent {
        RawEvent {
            facts: Facts {
                event_id: None,
                sender: UserId::parse("@a:b").unwrap(),
                device: None,
                protection: Protection::Clear,
                sent: Some(Wall(7)),
                age: None,
            },
            event_type: event_type.into(),
            content: content.into(),
            redacts: None,
        }
    }

    const HANGUP: &str = r#"{"call_id":"c","version":"1","party_id":"p"}"#;

    #[test]
    fn a_batch_keeps_its_call_events_in_order() {
        let batch = Batch {
            place: Place::ToDevice,
            events: vec![
                raw("m.room.message", "{}"),
                raw("m.call.hangup", HANGUP),
                raw("m.call.invite", "7"),
                raw("m.call.reject", HANGUP),
            ],
        };
        let delivery = batch.parse();
        assert_eq!(delivery.place, Place::ToDevice);
        let types: Vec<_> = delivery.events.iter().map(|e| e.event_type.as_str()).collect();
        assert_eq!(types, ["m.call.hangup", "m.call.invite", "m.call.reject"]);
        assert_eq!(delivery.events[0].facts, raw("", "").facts);
        assert_eq!(delivery.events[0].call(), read("m.call.hangup", HANGUP).unwrap().ok().as_ref());
        assert!(delivery.events[0].event.is_ok());
        assert_eq!(delivery.events[1].event, Err(Malformed::NotAnObject));
        assert!(delivery.events[2].event.is_ok());
    }

    #[test]
    fn a_reject_without_a_call_id_is_about_a_group_call_and_redactions_say_what_they_redact() {
        let mut removal = raw(
            "m.room.redaction",
            r#"{"redacts_type":"com.famedly.call.member.reaction","device_id":"D","call_id":""}"#,
        );
        removal.redacts = EventId::parse("$reaction").ok();
        let other = raw("m.room.redaction", r#"{"redacts":"$message"}"#);
        let reject = raw("m.call.reject", r#"{"call_id":"","application":"m.call.audio"}"#);
        let events = vec![removal, other, reject, raw("m.call.reject", HANGUP)];
        let read = Batch { place: Place::ToDevice, events }.parse().events;
        let said: Vec<_> = read.iter().map(|event| event.event.as_ref().unwrap()).collect();
        assert!(matches!(
            said[..],
            [
                Content::Rtc(RtcEvent::ReactionRemoval(removal)),
                Content::Rtc(RtcEvent::SfuReject(_)),
                Content::Call(_)
            ] if removal.redacts.as_str() == "$reaction"
        ));
    }

    #[test]
    fn events_beyond_the_bound_are_accounted_for_but_not_read() {
        let mut events = vec![raw("m.call.hangup", HANGUP); MAX_BATCH_EVENTS + 1];
        events.insert(0, raw("m.room.message", "{}"));
        events.push(raw("m.room.message", "{}"));
        events.push(raw(KEYS, "{}"));
        let read = Batch { place: Place::ToDevice, events }.parse().events;
        assert_eq!(read.len(), MAX_BATCH_EVENTS + 2);
        assert!(read[MAX_BATCH_EVENTS - 1].event.is_ok());
        assert_eq!(read[MAX_BATCH_EVENTS].event, Err(Malformed::TooLarge("batch")));
        assert_eq!(read[MAX_BATCH_EVENTS + 1].event, Err(Malformed::TooLarge("batch")));
    }

    const KEYS: &str = "com.famedly.call.member.encryption_keys";

    #[test]
    fn media_keys_are_read_and_print_nowhere() {
        let text = "AAECAwQFBgcICQoLDA0ODw==";
        let content = format!(
            r#"{{"keys":[{{"index":1,"key":"{text}"}}],"conf_id":"","device_id":"D","room_id":"!r"}}"#
        );
        let batch = Batch { place: Place::ToDevice, events: vec![raw(KEYS, &content)] };
        assert!(!format!("{batch:?}").contains("AAEC"), "{batch:?}");
        let delivery = batch.parse();
        assert_eq!(delivery.events[0].call(), None);
        assert!(matches!(delivery.events[0].event, Ok(Content::Key(_))), "{delivery:?}");
        let printed = format!("{delivery:?}");
        assert!(printed.contains("<secret>") && !printed.contains("AAEC"), "{printed}");
        assert!(!printed.contains("[0, 1, 2"), "{printed}");
    }

    #[test]
    fn the_content_of_a_raw_event_is_not_printed() {
        let text = format!("{:?}", raw("m.call.hangup", HANGUP));
        assert!(text.contains("m.call.hangup") && text.contains("content_bytes: 44"), "{text}");
        assert!(!text.contains("party"), "{text}");
    }
}
