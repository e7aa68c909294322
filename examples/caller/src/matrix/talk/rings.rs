//! Group calls that ring while a person waits for a call: they are told; `caller group` enters them.

use matrix_sdk::{Client, ruma::RoomId};
use matrix_voip::{CallSession, IncomingRing, RingStop, VoipEvents, VoipNews, wire::notify::Style};

use crate::matrix::{account::rooms::name, plain::plain, say::say};

/// The next call that rings. What rings of group calls meanwhile, and stops, is told.
pub(super) async fn next_call(client: &Client, events: &mut VoipEvents) -> Option<CallSession> {
    loop {
        match events.next().await? {
            VoipNews::RingStarted { call, .. } => return Some(call),
            VoipNews::GroupRingStarted { ring, .. } => say(Rings::of(&ring, client).await.begun()),
            VoipNews::GroupRingStopped { ring, why, .. } => {
                let rings = Rings::of(&ring, client).await;
                rings.stopped(why).into_iter().for_each(say);
            }
            _ => {}
        }
    }
}

/// A ring in words; what others named themselves can be printed.
struct Rings {
    caller: String,
    room: String,
    /// How the room is called.
    name: String,
    /// Which call of the room.
    call: String,
    style: Style,
}

impl Rings {
    async fn of(ring: &IncomingRing, client: &Client) -> Self {
        let room = RoomId::parse(ring.room.as_str()).ok().and_then(|id| client.get_room(&id));
        let name = match room {
            Some(room) => name(&room).await,
            None => ring.room.to_string(),
        };
        Self {
            caller: plain(&ring.caller),
            room: plain(&ring.room),
            name: plain(name),
            call: plain(&ring.call.call_id),
            style: ring.style,
        }
    }

    /// Who calls whereto, and how that is answered.
    fn begun(&self) -> String {
        let Self { caller, room, name, call, style } = self;
        let does = match style {
            Style::Ring => "calls you into",
            Style::Notification => "has begun",
        };
        let which = if call.is_empty() { String::new() } else { format!(" --call {call}") };
        format!("{caller} {does} the group call of {name}: caller group {room}{which}")
    }

    /// That it is over; of what was shown like a message nobody waits for that.
    fn stopped(&self, why: RingStop) -> Option<String> {
        let Self { caller, name, .. } = self;
        let told = match why {
            RingStop::Elsewhere => format!(
                "the group call of {name} was answered or declined on another device of yours"
            ),
            _ => format!("{caller} no longer calls you into the group call of {name}"),
        };
        (self.style == Style::Ring).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(style: Style, call: &str) -> Rings {
        let text = str::to_owned;
        let (caller, room, name) = (text("@ada:a"), text("!r:a"), text("Kitchen"));
        Rings { caller, room, name, call: text(call), style }
    }

    #[test]
    fn what_rings_says_how_it_is_entered() {
        assert_eq!(
            rings(Style::Ring, "").begun(),
            "@ada:a calls you into the group call of Kitchen: caller group !r:a"
        );
        assert_eq!(
            rings(Style::Notification, "chess").begun(),
            "@ada:a has begun the group call of Kitchen: caller group !r:a --call chess"
        );
    }

    #[test]
    fn the_end_of_a_ring_is_told_and_that_of_a_message_is_not() {
        let over = rings(Style::Ring, "").stopped(RingStop::CallerGone);
        let words = "@ada:a no longer calls you into the group call of Kitchen";
        assert_eq!(over.as_deref(), Some(words));
        assert!(rings(Style::Ring, "").stopped(RingStop::Elsewhere).unwrap().contains("another"));
        assert_eq!(rings(Style::Notification, "").stopped(RingStop::CallerGone), None);
    }
}
