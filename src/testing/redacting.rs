//! What the fake homeserver does with events that go in the clear whatever their room is: reactions in
//! group calls, and redactions.

use super::server::{FakeHomeserver, StoredEvent, What};
use crate::{
    host::{Redact, SendEvent},
    id::{EventId, RoomId},
    machine::{
        Identity,
        io::{Chat, Fault, RoomNews},
    },
    time::Wall,
};

impl FakeHomeserver {
    /// Makes a room one of an old version: `redacts` stands at the top level of redactions.
    pub fn make_old(&mut self, room: &RoomId) {
        self.rooms.entry(room.clone()).or_default().is_old = true;
    }

    /// Says what kind of room it is to its members.
    pub fn set_chat(&mut self, room: &RoomId, chat: Chat) {
        let found = self.rooms.entry(room.clone()).or_default();
        let members = found.members.clone();
        self.announce(room, &members, RoomNews::Chat(chat));
    }

    /// The same for an event in the clear, which in an encrypted room nobody can be shown to have
    /// sent from a device.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_clear(
        &mut self,
        now: Wall,
        from: &Identity,
        event: SendEvent,
    ) -> Result<EventId, Fault> {
        let room = event.room.clone();
        let sent = self.send(now, from, event)?;
        if let Some(found) = self.rooms.get_mut(&room) {
            let same = found.timeline.iter_mut().filter(|stored| stored.event_id == sent);
            same.for_each(|stored| stored.clear = true);
        }
        Ok(sent)
    }

    /// Redacts an event: its content is gone for whoever has not taken it yet, and the redaction
    /// comes as an event in the clear.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Fault::NotFound`] also without such an event, and
    /// [`Fault::Forbidden`] when it is somebody else's.
    pub fn redact(
        &mut self,
        now: Wall,
        from: &Identity,
        redaction: Redact,
    ) -> Result<EventId, Fault> {
        let Redact { room, redacts, content, transaction } = redaction;
        let found = self.rooms.get(&room).ok_or(Fault::NotFound)?;
        let of_event = |stored: &&StoredEvent| stored.event_id == redacts;
        let target = found.timeline.iter().find(of_event).ok_or(Fault::NotFound)?;
        if target.sender != from.user {
            return Err(Fault::Forbidden("M_FORBIDDEN: somebody else's event".to_owned()));
        }
        let old = found.is_old;
        let event_type = "m.room.redaction".to_owned();
        let content = with_redacts(&content, (!old).then_some(&redacts));
        let sent = self.send_clear(
            now,
            from,
            SendEvent { room: room.clone(), event_type, content, transaction },
        )?;
        let found = self.rooms.get_mut(&room).ok_or(Fault::NotFound)?;
        for stored in &mut found.timeline {
            if stored.event_id == redacts {
                stored.content = "{}".to_owned();
            } else if stored.event_id == sent {
                stored.redacts = old.then(|| redacts.clone());
            }
        }
        Ok(sent)
    }

    /// A moderator redacts a state event: it comes again under its id, with an empty content.
    pub fn redact_state(&mut self, now: Wall, room: &RoomId, event_type: &str, state_key: &str) {
        let key = (event_type.to_owned(), state_key.to_owned());
        let Some(found) = self.rooms.get_mut(room) else { return };
        let Some(stored) = found.state.get_mut(&key) else { return };
        stored.content = "{}".to_owned();
        let (stored, members) = (Box::new(stored.clone()), found.members.clone());
        let sender = stored.sender.clone();
        self.distribute(now, &sender, &members, What::State(room.clone(), stored));
    }
}

/// The content of a redaction, with what it redacts where the room has that there.
fn with_redacts(content: &str, redacts: Option<&EventId>) -> String {
    let mut parts: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(content).unwrap_or_default();
    parts.remove("redacts");
    parts.extend(redacts.map(|id| ("redacts".to_owned(), id.as_str().into())));
    serde_json::Value::Object(parts).to_string()
}
