//! A telephone that is woken by pushes, and the events that wake it.

use std::time::Duration;

use matrix_voip::{
    Config,
    id::{DeviceId, EventId, Identity, RoomId, UserId},
    ring::{Inspection, MAX_NOTES, MemberChange, MemberNews, Pushed, RingId, RingSource, Seen},
    ring::{inspect_with, on_member},
    time::Wall,
    wire::delivery::{Facts, Place, Protection, RawEvent},
};
use serde_json::{Value, json};

pub(crate) const NOW: Wall = Wall(1_786_100_000_000);

pub(crate) const ADA: &str = "@ada:one.example";
pub(crate) const BEN: &str = "@ben:two.example";
pub(crate) const EVE: &str = "@eve:two.example";

/// Ben's telephone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phone {
    pub(crate) config: Config,
    pub(crate) seen: Seen,
    /// Time that has passed since [`NOW`].
    pub(crate) later: Duration,
    pub(crate) place: Option<Place>,
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn room() -> RoomId {
    RoomId::parse("!room:one.example").unwrap()
}

pub(crate) fn in_room(encrypted: bool) -> Place {
    Place::Room { room: room(), encrypted }
}

pub(crate) fn us() -> Identity {
    Identity { user: user(BEN), device: DeviceId::parse("PHONE").unwrap() }
}

impl Phone {
    pub(crate) fn now(&self) -> Wall {
        NOW.plus(self.later)
    }

    /// One push; what is remembered comes from the disk and goes there.
    pub(crate) fn push(&mut self, event: &RawEvent) -> Inspection {
        let (place, now) = (self.place.clone().unwrap_or_else(|| in_room(false)), self.now());
        let pushed = Pushed { place: &place, event };
        let inspection = inspect_with(&self.config, now, &us(), &mut self.seen, &pushed);
        self.store();
        inspection
    }

    pub(crate) fn member(&mut self, id: &str, news: MemberNews, at: Wall) -> Vec<RingId> {
        let (room, user) = (room(), user(id));
        let change = MemberChange { room: &room, user: &user, news, at };
        let over = on_member(self.now(), &us(), &mut self.seen, &change);
        self.store();
        over
    }

    fn store(&mut self) {
        let stored = Seen::from_bytes(&self.seen.to_bytes()).unwrap();
        assert_eq!(stored, self.seen);
        assert!(stored.len() <= MAX_NOTES);
        self.seen = stored;
    }

    pub(crate) fn rings(&mut self, event: &RawEvent) -> bool {
        matches!(self.push(event), Inspection::Ring(_))
    }

    /// Until when it rings.
    pub(crate) fn expiry(&mut self, event: &RawEvent) -> Wall {
        match self.push(event) {
            Inspection::Ring(ring) => ring.expires,
            other => panic!("{other:?}"),
        }
    }
}

/// An event that was sent now.
pub(crate) fn event(event_type: &str, sender: &str, content: &Value) -> RawEvent {
    let facts = Facts {
        event_id: EventId::parse("$event").ok(),
        sender: user(sender),
        device: None,
        protection: Protection::Clear,
        sent: Some(NOW),
        age: None,
    };
    RawEvent { facts, event_type: event_type.into(), content: content.to_string(), redacts: None }
}

/// The event with another id.
pub(crate) fn named(id: &str, mut event: RawEvent) -> RawEvent {
    event.facts.event_id = EventId::parse(id).ok();
    event
}

/// The content with these keys put over it.
pub(crate) fn with(mut content: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        content[key] = value.clone();
    }
    content
}

pub(crate) const VOICE: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:efghijklmnopqrstuvwxyzab\r\n\
    a=fingerprint:sha-256 00:11:22\r\na=mid:0\r\na=sendrecv\r\n";

/// A 1:1 call event of Ada's call `c` from her party `ada`.
pub(crate) fn call(event_type: &str, sender: &str, changes: Value) -> RawEvent {
    let content = json!({
        "call_id": "c", "party_id": "ada", "version": "1", "lifetime": 60_000,
        "offer": {"type": "offer", "sdp": VOICE}, "answer": {"type": "answer", "sdp": VOICE},
        "selected_party_id": "x",
    });
    event(event_type, sender, &with(content, changes))
}

pub(crate) fn invite(changes: Value) -> RawEvent {
    call("m.call.invite", ADA, changes)
}

/// Ada announces a group call.
pub(crate) fn ring(changes: Value) -> RawEvent {
    let content = json!({
        "notification_type": "ring", "sender_ts": NOW.0, "lifetime": 30_000,
        "m.mentions": {"room": true},
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$ada_member"},
    });
    event("org.matrix.msc4075.rtc.notification", ADA, &with(content, changes))
}

pub(crate) fn decline(sender: &str, notification: &str) -> RawEvent {
    let relation = json!({"rel_type": "m.reference", "event_id": notification});
    event("org.matrix.msc4310.rtc.decline", sender, &json!({"m.relates_to": relation}))
}

pub(crate) fn the_call() -> RingId {
    RingId { room: room(), source: RingSource::Call("c".parse().unwrap()) }
}

pub(crate) fn the_notification() -> RingId {
    RingId { room: room(), source: RingSource::Notification("$event".parse().unwrap()) }
}
