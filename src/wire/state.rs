//! The state of a room as the host hands it in: the whole of it once, and then what changes.
//!
//! State is no part of the timeline's batches: an event that claims to be state, in a timeline or
//! out of an encrypted event, is none.

use std::{fmt, time::Duration};

use super::{
    delivery::Malformed,
    member::{Dialect, LEGACY_MEMBER_TYPE, MEMBER_TYPE, MemberEntry, read_members},
    power::{CREATE_TYPE, Creation, POWER_LEVELS_TYPE, PowerLevels},
};
use crate::{
    id::{EventId, RoomId, UserId},
    time::Wall,
};

/// The state event types that a host has to hand in.
pub const STATE_TYPES: [&str; 4] =
    [MEMBER_TYPE, LEGACY_MEMBER_TYPE, POWER_LEVELS_TYPE, CREATE_TYPE];

/// Most state events of one hand-in that are read; those beyond are counted as malformed.
pub const MAX_STATE_EVENTS: usize = 20_000;

/// What the host knows of a state event besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateFacts {
    /// The event's id.
    pub event_id: EventId,
    /// Who wrote it, as the homeserver says.
    pub sender: UserId,
    /// What it is about: memberships are kept apart by it.
    pub state_key: String,
    /// `origin_server_ts`.
    pub sent: Wall,
    /// `unsigned.age`, with the time added that the host itself held the event back. Goes before
    /// [`sent`](Self::sent), which trusts two clocks.
    pub age: Option<Duration>,
}

/// One state event as the host has it. Its content prints as a length.
#[derive(Clone, PartialEq, Eq)]
pub struct RawState {
    /// What the host knows of it.
    pub facts: StateFacts,
    /// The event type.
    pub event_type: String,
    /// The content, as JSON text.
    pub content: String,
}

impl fmt::Debug for RawState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawState")
            .field("facts", &self.facts)
            .field("event_type", &self.event_type)
            .field("content_bytes", &self.content.len())
            .finish()
    }
}

/// How much of a room's state it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// All of it, as far as [`STATE_TYPES`] go: what is not named is not there.
    Whole,
    /// What changed.
    Changes,
}

/// State of one room as the host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateBatch {
    /// The room.
    pub room: RoomId,
    /// How much it is.
    pub extent: Extent,
    /// Whether the room is encrypted, where the host knows; read with the whole state it does. As
    /// long as nobody has said, media keys in the clear are refused.
    pub encrypted: Option<bool>,
    /// The events, in the order of the sync response.
    pub events: Vec<RawState>,
}

/// State of one room, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomState {
    /// The room.
    pub room: RoomId,
    /// How much it is.
    pub extent: Extent,
    /// Whether the room is encrypted, if that was said.
    pub encrypted: Option<bool>,
    /// The events; those that do not concern calls are left out.
    pub events: Vec<ParsedState>,
}

/// One state event, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedState {
    /// What the host knows of it.
    pub facts: StateFacts,
    /// What it says, or why it says nothing.
    pub content: Result<StateContent, Malformed>,
    /// The event type.
    pub event_type: String,
}

/// What a state event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateContent {
    /// Who is in group calls.
    Members(Dialect, Vec<MemberEntry>),
    /// Who may write that.
    PowerLevels(PowerLevels),
    /// How the room was made.
    Creation(Creation),
}

impl StateBatch {
    /// Reads every event; one that cannot be read harms no other. Those that do not concern calls
    /// are left out.
    pub fn parse(self) -> RoomState {
        let mut events = Vec::new();
        for RawState { facts, event_type, content } in self.events {
            let read = match events.len() < MAX_STATE_EVENTS {
                true => read(&event_type, &facts, &content),
                false => is_known(&event_type).then_some(Err(Malformed::TooLarge("batch"))),
            };
            events.extend(read.map(|content| ParsedState { facts, content, event_type }));
        }
        RoomState { room: self.room, extent: self.extent, encrypted: self.encrypted, events }
    }
}

fn is_known(event_type: &str) -> bool {
    STATE_TYPES.contains(&event_type)
}

fn read(
    event_type: &str,
    facts: &StateFacts,
    content: &str,
) -> Option<Result<StateContent, Malformed>> {
    if let Some(dialect) = Dialect::of(event_type) {
        let members = read_members(dialect, content);
        return Some(members.map(|entries| StateContent::Members(dialect, entries)));
    }
    // The room's own events have no key; one with a key is another's invention.
    match (event_type, facts.state_key.as_str()) {
        (POWER_LEVELS_TYPE, "") => Some(PowerLevels::read(content).map(StateContent::PowerLevels)),
        (CREATE_TYPE, "") => {
            Some(Creation::read(&facts.sender, content).map(StateContent::Creation))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(event_type: &str, state_key: &str, content: &str) -> RawState {
        RawState {
            facts: StateFacts {
                event_id: EventId::parse("$e").unwrap(),
                sender: UserId::parse("@a:x").unwrap(),
                state_key: state_key.to_owned(),
                sent: Wall(7),
                age: None,
            },
            event_type: event_type.to_owned(),
            content: content.to_owned(),
        }
    }

    fn parse(events: Vec<RawState>) -> Vec<ParsedState> {
        let room = RoomId::parse("!r").unwrap();
        StateBatch { room, extent: Extent::Whole, encrypted: Some(false), events }.parse().events
    }

    #[test]
    fn what_concerns_calls_is_read_and_one_bad_event_harms_no_other() {
        let read = parse(vec![
            raw("m.room.topic", "", "{}"),
            raw(MEMBER_TYPE, "@a:x", "7"),
            raw(LEGACY_MEMBER_TYPE, "@a:x", "{}"),
            raw(POWER_LEVELS_TYPE, "", "{}"),
            raw(POWER_LEVELS_TYPE, "x", r#"{"users_default":100}"#),
            raw(CREATE_TYPE, "", "{}"),
        ]);
        let types: Vec<_> = read.iter().map(|event| event.event_type.as_str()).collect();
        assert_eq!(types, [MEMBER_TYPE, LEGACY_MEMBER_TYPE, POWER_LEVELS_TYPE, CREATE_TYPE]);
        assert_eq!(read[0].content, Err(Malformed::NotAnObject));
        assert_eq!(read[1].content, Ok(StateContent::Members(Dialect::Msc3401, Vec::new())));
        assert!(matches!(read[2].content, Ok(StateContent::PowerLevels(_))));
        assert!(matches!(read[3].content, Ok(StateContent::Creation(_))));
    }

    #[test]
    fn events_beyond_the_bound_are_accounted_for_but_not_read() {
        let read = parse(vec![raw(MEMBER_TYPE, "@a:x", "{}"); MAX_STATE_EVENTS + 1]);
        assert!(read[MAX_STATE_EVENTS - 1].content.is_ok());
        assert_eq!(read[MAX_STATE_EVENTS].content, Err(Malformed::TooLarge("batch")));
    }

    #[test]
    fn the_content_of_a_raw_event_is_not_printed() {
        let text = format!("{:?}", raw(MEMBER_TYPE, "@a:x", r#"{"words":1}"#));
        assert!(text.contains("content_bytes: 11") && !text.contains("words"), "{text}");
    }
}
