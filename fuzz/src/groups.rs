//! Group calls in a play: state that members write, sound and broken, and what the application asks.

use arbitrary::Arbitrary;
use matrix_voip::{
    id::{EventId, RoomId, SessionId, UserId},
    machine::io::{CallMedia, Command, GroupCommand, Input},
    time::Wall,
    wire::{
        member::{Backend, GroupCallId, LEGACY_MEMBER_TYPE, MEMBER_TYPE},
        power::{CREATE_TYPE, POWER_LEVELS_TYPE},
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

/// State of a room, as somebody wrote it.
#[derive(Debug, Clone, Arbitrary)]
pub struct Written {
    pub room: u8,
    pub sender: u8,
    key: u8,
    what: u8,
    /// In seconds, before or after now.
    sent: i16,
    expires: i16,
    whole: bool,
    /// Instead of something sound.
    raw: Option<String>,
}

impl Written {
    pub fn batch(&self, (room, sender): (RoomId, UserId), now: Wall, n: u64) -> StateBatch {
        let types = [
            MEMBER_TYPE,
            MEMBER_TYPE,
            MEMBER_TYPE,
            LEGACY_MEMBER_TYPE,
            POWER_LEVELS_TYPE,
            CREATE_TYPE,
        ];
        let event_type = types[usize::from(self.what) % types.len()].to_owned();
        let facts = StateFacts {
            event_id: EventId::parse(format!("$state{n}")).expect("an event id"),
            state_key: self.key(&event_type, &sender),
            sender,
            sent: around(now, self.sent),
            age: None,
        };
        let content = self.raw.clone().unwrap_or_else(|| self.content(&event_type, now));
        let extent = if self.whole { Extent::Whole } else { Extent::Changes };
        StateBatch { room, extent, events: vec![RawState { facts, event_type, content }] }
    }

    fn key(&self, event_type: &str, sender: &UserId) -> String {
        if event_type == POWER_LEVELS_TYPE || event_type == CREATE_TYPE {
            return String::new();
        }
        match self.key % 8 {
            0..=3 => sender.to_string(),
            4 => format!("{sender}_D"),
            5 => format!("D_{sender}"),
            6 => "@me:example".to_owned(),
            _ => String::new(),
        }
    }

    fn content(&self, event_type: &str, now: Wall) -> String {
        let expires = around(now, self.expires).0;
        let session = ["a", "b"][usize::from(self.what & 1)];
        match event_type {
            POWER_LEVELS_TYPE => format!(r#"{{"users_default":{}}}"#, i32::from(self.what) - 100),
            CREATE_TYPE => r#"{"room_version":"12"}"#.to_owned(),
            LEGACY_MEMBER_TYPE => format!(
                r#"{{"m.calls":[{{"m.call_id":"","m.devices":[{{"device_id":"D",
                "session_id":"{session}","expires_ts":{expires},"feeds":[]}}]}}]}}"#
            ),
            _ if self.what % 7 == 6 => "{}".to_owned(),
            _ => format!(
                r#"{{"memberships":[{{"call_id":"{}","device_id":"{}","membershipID":"{session}",
                "expires_ts":{expires},"foci_active":[{{"type":"mesh"}}]}}]}}"#,
                ["", "x"][usize::from(self.what & 2) / 2],
                ["D", "MINE", "E"][usize::from(self.key) % 3],
            ),
        }
    }
}

fn around(now: Wall, seconds: i16) -> Wall {
    Wall(now.0.saturating_add_signed(i64::from(seconds) * 1000))
}

/// What the application asks.
#[derive(Debug, Clone, Arbitrary)]
pub struct Asked {
    pub room: u8,
    pub which: u8,
    what: u8,
}

impl Asked {
    pub fn input(&self, room: RoomId, session: Option<SessionId>) -> Option<Input> {
        let command = match self.what % 6 {
            0 | 1 => {
                let call = [GroupCallId::room(), GroupCallId::named("x")];
                let call = call[usize::from(self.what & 1)].clone();
                let (backend, application) = (Backend::Mesh, "m.call".to_owned());
                Command::OpenGroup { room, call, backend, application }
            }
            2 => Command::Group(session?, GroupCommand::Enter(CallMedia::Voice)),
            3 => Command::Group(session?, GroupCommand::Leave),
            4 => Command::Group(session?, GroupCommand::AllowEveryone),
            _ => Command::Group(session?, GroupCommand::SetApplication("m.game".to_owned())),
        };
        Some(Input::Command(command))
    }
}
