//! Group calls in a play: state that members write, sound and broken, and what the application asks.

use arbitrary::Arbitrary;
use matrix_voip::{
    id::{DeviceId, EventId, RoomId, SessionId, UserId},
    machine::io::{
        CallMedia, Command, GroupCommand, Input, ParticipantId, SfuLoss, SfuNews, SfuState,
        SfuTrack, Slot, Speaking,
    },
    time::Wall,
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
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
        StateBatch {
            room,
            extent,
            encrypted: Some(false),
            events: vec![RawState { facts, event_type, content }],
        }
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
                "expires_ts":{expires},"foci_active":[{}]}}]}}"#,
                ["", "x"][usize::from(self.what & 2) / 2],
                ["D", "MINE", "E"][usize::from(self.key) % 3],
                [
                    r#"{"type":"mesh"}"#,
                    r#"{"type":"livekit","livekit_service_url":"https://s","livekit_alias":"a"}"#,
                ][usize::from(self.key >> 3) % 2],
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
        let command = match self.what % 11 {
            9 | 10 => return Some(Input::Deliver(self.key(&room).parse())),
            6 | 7 => return Some(Input::Sfu(session?, self.news())),
            8 => {
                let member = |user: &str| ParticipantId {
                    user: UserId::parse(user).expect("a user id"),
                    device: DeviceId::parse("D").expect("a device id"),
                };
                let members = [member("@ada:example"), member("@ben:example")].into();
                Command::Group(session?, GroupCommand::RequestKeys(members))
            }
            0 | 1 => {
                let call = [GroupCallId::room(), GroupCallId::named("x")];
                let call = call[usize::from(self.what & 1)].clone();
                let backends = [Backend::Mesh, Backend::sfu(), Backend::livekit("https://s", "a")];
                let backend = backends[usize::from(self.which) % backends.len()].clone();
                let application = "m.call".to_owned();
                Command::OpenGroup {
                    room,
                    call,
                    backend,
                    application,
                    keys: matrix_voip::KeyUse::Usual,
                }
            }
            2 => Command::Group(session?, GroupCommand::Enter(CallMedia::Voice)),
            3 => Command::Group(session?, GroupCommand::Leave),
            4 => Command::Group(session?, GroupCommand::AllowEveryone),
            _ => Command::Group(session?, GroupCommand::SetApplication("m.game".to_owned())),
        };
        Some(Input::Command(command))
    }

    /// A key, or a request for one, to this device.
    fn key(&self, room: &RoomId) -> Batch {
        let sender = ["@ada:example", "@ben:example"][usize::from(self.which) % 2];
        let device = ["D", "E"][usize::from(self.which >> 1) % 2];
        let facts = Facts {
            event_id: None,
            sender: UserId::parse(sender).expect("a user id"),
            device: (self.which & 4 == 0).then(|| DeviceId::parse("D").expect("a device id")),
            protection: if self.which & 4 == 0 { Protection::Verified } else { Protection::Clear },
            sent: None,
            age: None,
        };
        let names = [
            "com.famedly.call.member.encryption_keys",
            "com.famedly.call.encryption_keys",
            "com.famedly.call.member.encryption_keys_request",
        ];
        let content = format!(
            r#"{{"room_id":"{room}","conf_id":"{}","call_id":"","device_id":"{device}","keys":[{{"index":{},
            "key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}]}}"#,
            ["", "x"][usize::from(self.room >> 4) % 2],
            self.which,
        );
        let event_type = names[usize::from(self.room) % names.len()].to_owned();
        let event = RawEvent { facts, event_type, content, redacts: None };
        Batch { place: Place::ToDevice, events: vec![event] }
    }

    /// What an SFU may tell.
    fn news(&self) -> SfuNews {
        let identity =
            ["@ada:example:D", "@ben:example:D", "somebody"][usize::from(self.which) % 3];
        let (identity, id) = (identity.to_owned(), format!("TR_{}", self.which));
        let losses =
            [SfuLoss::Unreachable, SfuLoss::TokenRefused, SfuLoss::Replaced, SfuLoss::Removed];
        match self.room % 9 {
            0 => SfuNews::State(SfuState::Connected),
            1 => SfuNews::State(SfuState::Reconnecting),
            2 => SfuNews::State(SfuState::Lost(losses[usize::from(self.which) % 4])),
            3 => SfuNews::Joined(identity),
            4 => SfuNews::Left(identity),
            5 => {
                let (slot, encrypted) = (Slot::Audio, self.which & 1 == 0);
                SfuNews::Published(identity, SfuTrack { id, slot, muted: false, encrypted })
            }
            6 => SfuNews::Unpublished(identity, id),
            7 => SfuNews::Speakers(vec![Speaking { identity, level: -20 }]),
            _ => SfuNews::Undecryptable(identity),
        }
    }
}
