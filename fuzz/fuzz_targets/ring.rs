//! Pushes by a structured input: events of few people about few calls, with any content now and then.
//! Nothing panics, what is remembered stays within its bound and comes back from its bytes, and what
//! rings rings once.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use matrix_voip::{
    id::{EventId, RoomId, UserId},
    ring::{Inspection, MAX_NOTES, MemberChange, MemberNews, Pushed, Seen, inspect, on_member},
    time::Wall,
    wire::delivery::{Facts, Place, Protection, RawEvent},
};
use matrix_voip_fuzz::{EVENT_TYPES, origin};

const USERS: [&str; 3] = ["@ada:example", "@ben:example", "@carl:example"];

/// One push.
#[derive(Debug, Arbitrary)]
struct Push {
    event_type: u8,
    sender: u8,
    event: u8,
    call: u8,
    /// Seconds since the event was sent, by its server; and by its host, if that says so.
    sent: Option<u8>,
    age: Option<u8>,
    clear: bool,
    later: u8,
    left: Option<bool>,
    content: Option<String>,
}

fuzz_target!(|pushes: Vec<Push>| {
    let room = RoomId::parse("!one:example").expect("a room id");
    let place = Place::Room { room: room.clone(), encrypted: true };
    let us = origin().identity;
    let mut seen = Seen::default();
    let mut now = Wall(1_700_000_000_000);
    for push in pushes.iter().take(300) {
        now = now.plus(secs(push.later / 8));
        let user = UserId::parse(USERS[usize::from(push.sender) % 3]).expect("a user id");
        if let Some(left) = push.left {
            let news = if left { MemberNews::Left } else { MemberNews::Joined };
            let at = Wall(now.0 - u64::from(push.age.unwrap_or_default()) * 1000);
            on_member(now, &us, &mut seen, &MemberChange { room: &room, user: &user, news, at });
        }
        let event = push.event(now, user);
        let pushed = Pushed { place: &place, event: &event };
        let first = inspect(now, &us, &mut seen, &pushed);
        assert!(seen.len() <= MAX_NOTES);
        assert_eq!(Seen::from_bytes(&seen.to_bytes()).as_ref(), Ok(&seen));
        if matches!(first, Inspection::Ring(_)) {
            assert_eq!(inspect(now, &us, &mut seen, &pushed), Inspection::Duplicate);
        }
    }
});

fn secs(n: u8) -> Duration {
    Duration::from_secs(n.into())
}

impl Push {
    fn event(&self, now: Wall, sender: UserId) -> RawEvent {
        let facts = Facts {
            event_id: EventId::parse(format!("${}", self.event)).ok(),
            sender,
            device: None,
            protection: if self.clear { Protection::Clear } else { Protection::Verified },
            sent: self.sent.map(|ago| Wall(now.0 - u64::from(ago) * 1000)),
            age: self.age.map(secs),
        };
        let event_type = EVENT_TYPES[usize::from(self.event_type) % EVENT_TYPES.len()];
        let content = self.content.clone().unwrap_or_else(|| self.honest(now));
        RawEvent { facts, event_type: event_type.into(), content, redacts: None }
    }

    /// What any of these events could say.
    fn honest(&self, now: Wall) -> String {
        let (call, event) = (self.call % 8, self.call % 16);
        format!(
            r#"{{"call_id":"{call}","party_id":"p{}","version":"1","lifetime":60000,
            "offer":{{"sdp":"{OFFER}"}},"answer":{{"sdp":"{OFFER}"}},"selected_party_id":"x",
            "notification_type":"ring","sender_ts":{},"m.mentions":{{"room":true}},
            "m.relates_to":{{"rel_type":"m.reference","event_id":"${event}"}}}}"#,
            self.call / 128,
            now.0
        )
    }
}

const OFFER: &str = r"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:efghijklmnopqrstuvwxyzab\r\na=fingerprint:sha-256 00:11:22\r\na=mid:0\r\na=sendrecv\r\n";
