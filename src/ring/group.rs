//! Group calls: whether a notification (MSC4075) rings, and what ends its ring.
//!
//! It rings until a device of ours declines (MSC4310, or Famedly's reject) or joins, until the
//! caller leaves, or until its lifetime is over. What comes before the notification counts too.

use std::time::Duration;

use super::{
    Inspection, Look, REMEMBERED, RingCall, RingId, RingInfo, RingKind, RingSource, Seen, Style,
    Unusable,
};
use crate::{
    id::{EventId, Identity, RoomId, UserId},
    time::Wall,
    wire::{
        delivery::Facts,
        notify::{Intent, Notification},
        rtc::RtcEvent,
        seen::{About, Note, Ringing, Said, What, Why},
    },
};

/// How far the sender's clock may be from the homeserver's; beyond that the homeserver's counts.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(20);

/// A member of a room came into its group calls or left the last of them. Whoever reads the room's
/// state says so: a push seldom holds it.
#[derive(Debug, Clone, Copy)]
pub struct MemberChange<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// Who; the sender of the membership, whatever its state key says.
    pub user: &'a UserId,
    /// What he did.
    pub news: MemberNews,
    /// `origin_server_ts` of the membership: what was announced after it is another call.
    pub at: Wall,
}

/// What a member did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberNews {
    /// He is in a group call of the room.
    Joined,
    /// He is in none any more, on no device.
    Left,
}

/// The rings that are over with this: because we joined on a device of ours, or because the caller
/// left. Joins of others change nothing.
pub fn on_member(
    now: Wall,
    identity: &Identity,
    seen: &mut Seen,
    change: &MemberChange<'_>,
) -> Vec<RingId> {
    let MemberChange { room, user, news, at } = *change;
    let by_us = *user == identity.user;
    let (what, why) = match news {
        MemberNews::Joined if by_us => (What::Joined(at), Why::Elsewhere),
        MemberNews::Left if !by_us => (What::Left(at), Why::Ended),
        MemberNews::Joined | MemberNews::Left => return Vec::new(),
    };
    let (about, by) = (About::Group, user.clone());
    let note =
        Note { room: room.clone(), about, by, party: None, what, until: now.plus(REMEMBERED) };
    seen.note(now, note);
    end_rings(now, (seen, room), why, |note, ring| ring.sent <= at && (by_us || note.by == *user))
}

/// An announcement rings no more, as the engine knows: whoever announces the next call is heard.
pub(crate) fn on_stopped(now: Wall, seen: &mut Seen, (room, event): (&RoomId, &EventId)) {
    let is_it = |note: &Note, _| matches!(&note.about, About::Notification(id) if id == event);
    end_rings(now, (seen, room), Why::Ended, is_it);
}

/// Ends the rings of group calls in a room.
fn end_rings(
    now: Wall,
    (seen, room): (&mut Seen, &RoomId),
    why: Why,
    ends: impl Fn(&Note, Ringing) -> bool,
) -> Vec<RingId> {
    let mut over = Vec::new();
    for note in seen.of_mut(now, room) {
        let (About::Notification(event), What::Rings(ring)) = (&note.about, note.what) else {
            continue;
        };
        if ends(note, ring) {
            let source = RingSource::Notification(event.clone());
            over.push(RingId { room: room.clone(), source });
            note.what = What::Over(why);
        }
    }
    over
}

impl Look<'_> {
    pub(super) fn on_rtc(&mut self, event: &RtcEvent) -> Inspection {
        match event {
            RtcEvent::Notification(notification) => self.on_notification(notification),
            RtcEvent::Decline(decline) => self.on_decline(&decline.notification),
            RtcEvent::SfuReject(_) => self.on_sfu_reject(),
            RtcEvent::Reaction(_) | RtcEvent::ReactionRemoval(_) => Inspection::Nothing,
        }
    }

    fn on_notification(&mut self, notification: &Notification) -> Inspection {
        if self.is_by_us() || !notification.mentions.names(&self.identity.user) {
            return Inspection::NotForUs;
        }
        let Some(event_id) = self.facts.event_id.clone() else {
            return Inspection::Unusable(Unusable::NoEventId);
        };
        let (sent, spent) = sent_and_spent(self.now, self.facts, notification);
        if let Some(known) = self.known_notification(&event_id, sent) {
            return known;
        }
        if spent > notification.lifetime {
            return Inspection::Expired;
        }
        if notification.style == Style::Ring && self.rings_already() {
            return Inspection::Duplicate;
        }
        let expires = self.now.plus(notification.lifetime.saturating_sub(spent));
        let (about, style) = (About::Notification(event_id.clone()), notification.style);
        let note = self.note(about, What::Rings(Ringing { style, sent, expires }));
        let info = RingInfo {
            room: self.room.clone(),
            caller: self.facts.sender.clone(),
            call: RingCall::Group { member_event: notification.member_event.clone() },
            kind: kind(notification.intent.as_ref()),
            style,
            expires,
            event_id,
        };
        self.ring(info, note)
    }

    /// What was seen of this notification before, or of those whom it concerns.
    fn known_notification(&self, event: &EventId, sent: Wall) -> Option<Inspection> {
        let source = || RingSource::Notification(event.clone());
        let mut notes = self.seen.of(self.now, self.room);
        notes.find_map(|note| match (&note.about, note.what) {
            (About::Notification(id), _) if id != event => None,
            (About::Notification(_), What::Rings(_)) => Some(Inspection::Duplicate),
            (About::Notification(_), What::Over(why)) => Some(self.over(why, source())),
            (About::Notification(_), What::Said(_)) => Some(self.over(Why::Elsewhere, source())),
            (About::Group, What::Joined(at)) if at >= sent && note.by == self.identity.user => {
                Some(self.over(Why::Elsewhere, source()))
            }
            (About::Group, What::Left(at)) if at >= sent && note.by == self.facts.sender => {
                Some(self.over(Why::Ended, source()))
            }
            (About::Notification(_) | About::Group | About::Call(_), _) => None,
        })
    }

    /// Whether a notification of this room rings now: several who come first call once.
    fn rings_already(&self) -> bool {
        self.seen.of(self.now, self.room).any(|note| match (&note.about, note.what) {
            (About::Notification(_), What::Rings(ring)) => {
                ring.style == Style::Ring && self.now <= ring.expires
            }
            (About::Notification(_) | About::Group | About::Call(_), _) => false,
        })
    }

    /// Somebody declines: that of a device of ours stops the ring, others stay away by themselves.
    fn on_decline(&mut self, notification: &EventId) -> Inspection {
        if !self.is_by_us() {
            return Inspection::Nothing;
        }
        let about = About::Notification(notification.clone());
        let names_it = |note: &Note, _| note.about == about;
        if end_rings(self.now, (self.seen, self.room), Why::Elsewhere, names_it).is_empty() {
            let note = self.note(about, What::Said(Said::Taken));
            self.keep(note);
        }
        self.over(Why::Elsewhere, RingSource::Notification(notification.clone()))
    }

    /// It names no ring: a device of ours refuses what rings in the room now.
    fn on_sfu_reject(&mut self) -> Inspection {
        if !self.is_by_us() {
            return Inspection::Nothing;
        }
        let now = self.now;
        let rings = |_: &Note, ring: Ringing| ring.style == Style::Ring && now <= ring.expires;
        let over = end_rings(now, (self.seen, self.room), Why::Elsewhere, rings);
        over.into_iter().next_back().map_or(Inspection::Nothing, Inspection::AnsweredElsewhere)
    }
}

/// When it was sent by the homeserver's clock, and how much of its lifetime is spent. The sender's
/// clock counts, unless it is far from the homeserver's; what lies in the future is now. Where the
/// homeserver gives an age, ours need not be right.
pub(crate) fn sent_and_spent(
    now: Wall,
    facts: &Facts,
    notification: &Notification,
) -> (Wall, Duration) {
    let by_age = |age| Wall(now.0.saturating_sub(Wall(0).plus(age).0));
    let origin = facts.sent.or_else(|| facts.age.map(by_age));
    let origin = origin.or(notification.sender_ts).unwrap_or(now);
    let close = |theirs: &Wall| theirs.since(origin).max(origin.since(*theirs)) <= CLOCK_TOLERANCE;
    let start = notification.sender_ts.filter(close).unwrap_or(origin);
    let now = facts.age.map_or(now, |age| origin.plus(age));
    (origin, now.since(start))
}

fn kind(intent: Option<&Intent>) -> RingKind {
    match intent {
        Some(Intent::Audio) => RingKind::Voice,
        Some(Intent::Video) => RingKind::Video,
        Some(Intent::Unknown(_)) | None => RingKind::Unknown,
    }
}
