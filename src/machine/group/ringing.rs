//! How a group call is announced (MSC4075), and how the announcements of others ring here.
//!
//! ```text
//! first in the call, accepted ─▶ announced, once for a visit ─▶ who declines is told
//! announcement ─▶ is its sender in the call? (waits for his membership) ─▶ are we? ─▶ ring::judge
//!              ─▶ rings until answered, declined, over, or its caller has left
//! ```
//!
//! Lifetimes, clocks and mentions are judged by [`crate::ring`], as in push handlers; who is in
//! the call is known better here, from the room's state.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    GroupCall,
    event::{GroupEvent, GroupState},
    groups::GroupTimer,
    post::{Letter, Patience, Post, Purpose},
    roster::Participant,
};
use crate::{
    id::{EventId, RoomId, SessionId, UserId},
    machine::{
        Engine,
        bounds::{MAX_DECLINES, MAX_RINGING_PER_CALLER, MAX_WAITING_RINGS},
        event::{RingStop, VoipEvent},
        fingerprint::Fingerprint,
        guard::Guard,
        io::{Ignored, Refusal, Verdict},
    },
    ring::{self, Heard, Inspection, MemberChange, MemberNews, RingInfo, RingKind, Seen},
    time::{Deadline, Mono, Wall},
    wire::{
        delivery::{Facts, Protection},
        member::{GroupCallId, Scope},
        notify::{
            DEFAULT_NOTIFICATION_LIFETIME, Decline, Intent, Mentions, Notification, SfuReject,
            Style,
        },
        rtc::RtcEvent,
    },
};

/// The application of a call of two over an SFU, by voice (`famedly-dart.md` §2.5).
const AUDIO_CALL: &str = "m.call.audio";
/// The same with pictures.
const VIDEO_CALL: &str = "m.call.video";

/// How the call is announced that we enter as the first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Announce {
    /// Whether, and how loud.
    pub notify: Notify,
    /// To whom.
    pub mentions: Mentions,
}

/// Whether others hear that a call begins, and how loud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Notify {
    /// Like a message; nobody in a direct chat, where the application decides whether it rings.
    #[default]
    Automatic,
    /// Like a telephone.
    Ring,
    /// Like a message.
    Notification,
    /// Nobody.
    Nobody,
}

impl Default for Announce {
    fn default() -> Self {
        Self { notify: Notify::Automatic, mentions: Mentions::everybody() }
    }
}

impl Announce {
    /// To everybody in the room.
    pub fn new(notify: Notify) -> Self {
        Self { notify, ..Self::default() }
    }

    /// To these users alone.
    #[must_use]
    pub fn users(mut self, users: impl IntoIterator<Item = UserId>) -> Self {
        self.mentions = Mentions { room: false, users: users.into_iter().collect() };
        self
    }
}

/// Somebody calls us into a group call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IncomingRing {
    /// The room.
    pub room: RoomId,
    /// The announcement. Together with the room it names the ring.
    pub notification: EventId,
    /// Who calls.
    pub caller: UserId,
    /// The group call: to answer is to enter it.
    pub session: SessionId,
    /// Which group call of the room.
    pub call: GroupCallId,
    /// Voice or video, as far as the announcement or the call's application says.
    pub kind: RingKind,
    /// Whether it wants to ring like a telephone, or to be shown like a message.
    pub style: Style,
    /// When it stops by itself.
    pub until: Wall,
}

/// How a call of ours is announced, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Calling {
    how: Announce,
    /// The same for the next time.
    next: Announce,
    /// The announcement goes out, and is not answered yet.
    on_its_way: bool,
    sent: Option<EventId>,
    /// Who declined what may be the announcement that is on its way.
    early: Vec<(UserId, EventId)>,
    declined: BTreeSet<UserId>,
}

/// An announcement whose sender's membership was not seen yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    room: RoomId,
    facts: Facts,
    notification: Notification,
    since: Mono,
}

/// All that rings, and what was heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::machine) struct Rings {
    seen: Seen,
    live: BTreeMap<(RoomId, EventId), IncomingRing>,
    /// When each of them is over, by our clock as it is now.
    ends: BTreeMap<(RoomId, EventId), Wall>,
    waiting: VecDeque<Waiting>,
}

impl Rings {
    pub(super) fn on_clock_set_back(&mut self, by: Duration) {
        for at in self.ends.values_mut() {
            *at = at.minus(by);
        }
    }

    /// Whether no more rings, or no more of this caller.
    fn is_full_for(&self, caller: &UserId, most: usize) -> (bool, bool) {
        let of_caller = self.live.values().filter(|ring| ring.caller == *caller).count();
        (self.live.len() >= most, of_caller >= MAX_RINGING_PER_CALLER)
    }

    fn wait(&mut self, waiting: Waiting) -> Verdict {
        let sender = &waiting.facts.sender;
        let of_sender = self.waiting.iter().filter(|it| it.facts.sender == *sender).count();
        if of_sender >= MAX_RINGING_PER_CALLER {
            return Verdict::Ignored(Ignored::TooMany);
        }
        if self.waiting.len() == MAX_WAITING_RINGS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(waiting);
        Verdict::Ignored(Ignored::Parked)
    }

    /// Announcements of users who are ignored ring no more.
    pub(super) fn forget_waiting_of(&mut self, users: &BTreeSet<UserId>) {
        self.waiting.retain(|it| !users.contains(&it.facts.sender));
    }

    fn take_waiting(&mut self, room: &RoomId) -> VecDeque<Waiting> {
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (taken, left) = all.partition(|it| it.room == *room);
        self.waiting = left;
        taken
    }

    /// When the next ring of a room stops by itself.
    fn next_end(&self, room: &RoomId) -> Option<Wall> {
        self.ends.iter().filter(|((of, _), _)| of == room).map(|(_, at)| *at).min()
    }

    pub(super) fn forget_room(&mut self, room: &RoomId) {
        self.waiting.retain(|it| it.room != *room);
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for (id, ring) in &self.live {
            print.value((id, ring.style, ring.until));
        }
        for at in self.ends.values() {
            print.deadline(Deadline::Wall(*at));
        }
        for waiting in &self.waiting {
            print.value((&waiting.room, &waiting.facts.event_id, &waiting.facts.sender));
            print.since(waiting.since);
        }
    }
}

impl Engine {
    // --------------------------------------------------------------------------------- ours

    /// How the call is announced the next time that we enter it.
    pub(super) fn set_announcement(&mut self, session: SessionId, how: Announce) -> Verdict {
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Refused(Refusal::UnknownSession);
        };
        call.calling.next = how;
        Verdict::Handled
    }

    /// We enter: what came of the last time counts no more.
    pub(super) fn begin_calling(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let next = call.calling.next.clone();
        call.calling = Calling { how: next.clone(), next, ..Calling::default() };
    }

    /// Our visit was accepted just now: if nobody was there before, others hear of it.
    pub(super) fn announce(&mut self, session: SessionId, room: &RoomId, group: &GroupCallId) {
        let of_room = self.groups.room(room);
        if !of_room.first_in.contains(group) {
            return;
        }
        let Some(member_event) = self.our_member_event(room, group) else { return };
        let Some(call) = self.groups.calls.get(&session) else { return };
        let direct = self.world.rooms.get(room).is_some_and(|facts| facts.direct);
        let style = match call.calling.how.notify {
            Notify::Nobody => return,
            Notify::Automatic if direct && group.scope == Scope::Room => return,
            Notify::Automatic | Notify::Notification => Style::Notification,
            Notify::Ring => Style::Ring,
        };
        let notification = Notification {
            style,
            sender_ts: Some(self.world.now.wall),
            lifetime: DEFAULT_NOTIFICATION_LIFETIME,
            mentions: call.calling.how.mentions.clone(),
            member_event,
            intent: intent(&call.shown.application),
        };
        let until = self.world.now.wall.plus(DEFAULT_NOTIFICATION_LIFETIME);
        let purpose = Purpose::Announcement(group.clone());
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.calling.on_its_way = true;
        }
        self.post_event(room, &RtcEvent::Notification(notification), purpose, until);
    }

    fn post_event(&mut self, room: &RoomId, event: &RtcEvent, purpose: Purpose, until: Wall) {
        let (event_type, content) = event.write();
        let letter = Letter::Event(event_type, content);
        self.post(room, Post { letter, purpose, patience: Patience::Until(until) });
    }

    /// Our announcement was accepted: what declines it names this event.
    pub(super) fn on_announced(&mut self, room: &RoomId, group: &GroupCallId, event: EventId) {
        let Some(session) = self.groups.find(room, group) else { return };
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let early = std::mem::take(&mut call.calling.early);
        call.calling.on_its_way = false;
        call.calling.sent = Some(event.clone());
        for (user, _) in early.into_iter().filter(|(_, declined)| *declined == event) {
            self.on_declined(Some(session), &user);
        }
    }

    /// Nobody will hear of the call any more.
    pub(super) fn on_unannounced(&mut self, room: &RoomId, group: &GroupCallId) {
        let session = self.groups.find(room, group);
        if let Some(call) = session.and_then(|session| self.groups.calls.get_mut(&session)) {
            call.calling.on_its_way = false;
            call.calling.early.clear();
        }
    }

    /// Refuses a ring: all devices of ours stop, and the caller hears of it.
    pub(in crate::machine) fn decline_ring(
        &mut self,
        room: RoomId,
        notification: EventId,
    ) -> Verdict {
        let key = (room, notification);
        let Some(ring) = self.groups.rings.live.get(&key).cloned() else {
            return Verdict::Refused(Refusal::NoSuchRing);
        };
        let (room, notification) = key;
        let facts = Facts {
            event_id: None,
            sender: self.world.identity.user.clone(),
            device: None,
            protection: Protection::Verified,
            sent: Some(self.world.now.wall),
            age: None,
        };
        let decline = RtcEvent::Decline(Decline { notification: notification.clone() });
        self.judge(&room, &facts, &decline);
        self.end_rings(|it| it.room == room && it.notification == notification, RingStop::Rejected);
        self.post_event(&room, &decline, Purpose::Nothing, ring.until);
        let application = self.groups.calls.get(&ring.session).map(|it| &it.shown.application);
        if let Some(application) = application.filter(|it| is_call_of_two(it)).cloned() {
            let reject = RtcEvent::SfuReject(SfuReject { application });
            self.post_event(&room, &reject, Purpose::Nothing, ring.until);
        }
        Verdict::Handled
    }

    // ------------------------------------------------------------------------- announcements

    pub(in crate::machine) fn on_ring(
        &mut self,
        room: &RoomId,
        facts: &Facts,
        notification: &Notification,
    ) -> Verdict {
        let us = &self.world.identity.user;
        if facts.sender == *us || !notification.mentions.names(us) {
            return Verdict::Ignored(Ignored::NotForUs);
        }
        let (_, spent) = ring::sent_and_spent(self.world.now.wall, facts, notification);
        if spent > notification.lifetime {
            return Verdict::Ignored(Ignored::Expired);
        }
        let Some((session, caller)) = self.called_into(room, facts, notification) else {
            let (room, facts) = (room.clone(), facts.clone());
            let (notification, since) = (notification.clone(), self.world.now.mono);
            return self.groups.rings.wait(Waiting { room, facts, notification, since });
        };
        if self.are_we_in(session) && self.world.holds(Guard::PresentUnrung) {
            return Verdict::Ignored(Ignored::InTheCall);
        }
        let (full, of_caller) =
            self.groups.rings.is_full_for(&facts.sender, self.world.config.max_ringing);
        let full = full && self.world.holds(Guard::RingingBounded);
        if full || (of_caller && self.world.holds(Guard::CallerBounded)) {
            return Verdict::Ignored(Ignored::TooManyRinging);
        }
        match self.judge(room, facts, &RtcEvent::Notification(notification.clone())) {
            Inspection::Ring(info) => self.ring_group(info, session, &caller),
            Inspection::Duplicate => Verdict::Ignored(Ignored::Duplicate),
            Inspection::AnsweredElsewhere(_) | Inspection::Ended(_) => {
                Verdict::Ignored(Ignored::AlreadyOver)
            }
            Inspection::Expired => Verdict::Ignored(Ignored::Expired),
            Inspection::NotForUs | Inspection::Nothing => Verdict::Ignored(Ignored::NotForUs),
            Inspection::Unusable(_) => Verdict::Ignored(Ignored::Malformed),
        }
    }

    fn judge(&mut self, room: &RoomId, facts: &Facts, event: &RtcEvent) -> Inspection {
        let (world, seen) = (&self.world, &mut self.groups.rings.seen);
        let heard = Heard { room, facts, event };
        ring::judge(&world.config, world.now.wall, &world.identity, seen, &heard)
    }

    fn ring_group(&mut self, info: RingInfo, session: SessionId, caller: &Participant) -> Verdict {
        let RingInfo { room, caller: user, kind, style, expires, event_id, .. } = info;
        let Some(call) = self.groups.calls.get(&session) else {
            return Verdict::Ignored(Ignored::NoMembership);
        };
        let kind = match (kind, caller.application.as_str()) {
            (RingKind::Unknown, AUDIO_CALL) => RingKind::Voice,
            (RingKind::Unknown, VIDEO_CALL) => RingKind::Video,
            (kind, _) => kind,
        };
        let ring = IncomingRing {
            room: room.clone(),
            notification: event_id.clone(),
            caller: user,
            session,
            call: call.shown.call.clone(),
            kind,
            style,
            until: expires,
        };
        self.groups.rings.ends.insert((room.clone(), event_id.clone()), expires);
        self.groups.rings.live.insert((room.clone(), event_id), ring.clone());
        self.watch_rings(&room);
        self.world.tell(VoipEvent::GroupRingStarted { ring: Box::new(ring) });
        Verdict::Handled
    }

    /// The call that its sender is in with the membership that he names.
    fn called_into(
        &self,
        room: &RoomId,
        facts: &Facts,
        notification: &Notification,
    ) -> Option<(SessionId, Participant)> {
        let of = Some(&facts.sender).filter(|_| self.world.holds(Guard::CallerPresent));
        let proven =
            |who: &Participant| facts.device.as_ref().is_none_or(|it| *it == who.id.device);
        let roster = &self.groups.rooms.get(room)?.roster;
        roster.holders(of, &notification.member_event).find_map(|(group, who)| {
            let session = self.groups.find(room, group)?;
            let shown = self.groups.calls.get(&session)?.shown.participant(&who.id).is_some();
            (shown && proven(who)).then(|| (session, who.clone()))
        })
    }

    /// Whether a device of ours is in this call, or this one is about to be.
    fn are_we_in(&self, session: SessionId) -> bool {
        let us = &self.world.identity.user;
        self.groups.calls.get(&session).is_some_and(|call| {
            call.is_wanted() || call.shown.participants.iter().any(|one| one.id.user == *us)
        })
    }

    /// The room's state changed: perhaps the membership came that an announcement refers to.
    pub(super) fn ring_waiting(&mut self, room: &RoomId) {
        for Waiting { mut facts, notification, since, .. } in self.groups.rings.take_waiting(room) {
            let waited = self.world.now.mono.since(since);
            facts.age = facts.age.map(|age| age.saturating_add(waited));
            self.on_ring(room, &facts, &notification);
        }
    }

    // ------------------------------------------------------------------------------ declines

    pub(in crate::machine) fn on_decline(
        &mut self,
        room: &RoomId,
        facts: &Facts,
        decline: &Decline,
    ) -> Verdict {
        let by_us = facts.sender == self.world.identity.user;
        if by_us || !self.world.holds(Guard::DeclineBound) {
            self.judge(room, facts, &RtcEvent::Decline(decline.clone()));
            let named =
                |it: &IncomingRing| it.room == *room && it.notification == decline.notification;
            let ended = self.end_rings(named, RingStop::Elsewhere);
            // Its announcement may come later, and does not ring then.
            let kept = Verdict::Ignored(Ignored::Parked);
            return if ended { Verdict::Handled } else { kept };
        }
        let ours = self
            .group_where(room, |call| call.calling.sent.as_ref() == Some(&decline.notification));
        match ours.or_else(|| self.group_where(room, |call| call.calling.on_its_way)) {
            Some(session) if ours.is_none() => self.keep_decline(session, facts, decline),
            session => self.on_declined(session, &facts.sender),
        }
    }

    /// The announcement may have arrived before its answer did.
    fn keep_decline(&mut self, session: SessionId, facts: &Facts, decline: &Decline) -> Verdict {
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::UnknownRing);
        };
        if call.calling.early.len() >= MAX_DECLINES {
            return Verdict::Ignored(Ignored::TooMany);
        }
        call.calling.early.push((facts.sender.clone(), decline.notification.clone()));
        Verdict::Ignored(Ignored::Parked)
    }

    /// Somebody in a call of two refuses it in Famedly's way, which names no announcement.
    pub(in crate::machine) fn on_sfu_reject(
        &mut self,
        room: &RoomId,
        facts: &Facts,
        reject: &SfuReject,
    ) -> Verdict {
        let by_us = facts.sender == self.world.identity.user;
        if by_us || !self.world.holds(Guard::DeclineBound) {
            self.judge(room, facts, &RtcEvent::SfuReject(reject.clone()));
            let of_two: BTreeSet<_> = self
                .groups
                .of_room(room)
                .filter(|call| is_call_of_two(&call.shown.application))
                .map(|call| call.session)
                .collect();
            let rings = |it: &IncomingRing| it.style == Style::Ring && of_two.contains(&it.session);
            return match self.end_rings(rings, RingStop::Elsewhere) {
                true => Verdict::Handled,
                false => Verdict::Ignored(Ignored::UnknownRing),
            };
        }
        let ours = self.group_where(room, |call| {
            let announced = call.calling.sent.is_some() || call.calling.on_its_way;
            let entered = call.shown.state == GroupState::Entered;
            announced && entered && is_call_of_two(&call.shown.application)
        });
        self.on_declined(ours, &facts.sender)
    }

    fn group_where(&self, room: &RoomId, is: impl Fn(&GroupCall) -> bool) -> Option<SessionId> {
        self.groups.of_room(room).find(|call| is(call)).map(|call| call.session)
    }

    fn on_declined(&mut self, ours: Option<SessionId>, user: &UserId) -> Verdict {
        let call = ours.and_then(|session| self.groups.calls.get_mut(&session));
        let Some(call) = call else {
            return Verdict::Ignored(Ignored::UnknownRing);
        };
        if call.calling.declined.contains(user) {
            return Verdict::Ignored(Ignored::NoChange);
        }
        if call.calling.declined.len() >= MAX_DECLINES {
            return Verdict::Ignored(Ignored::TooMany);
        }
        call.calling.declined.insert(user.clone());
        call.tell(&mut self.world, GroupEvent::Declined(user.clone()));
        Verdict::Handled
    }

    // ---------------------------------------------------------------------------------- ends

    /// Ends the rings that are meant; whether there was one.
    pub(in crate::machine) fn end_rings(
        &mut self,
        which: impl Fn(&IncomingRing) -> bool,
        why: RingStop,
    ) -> bool {
        let live = std::mem::take(&mut self.groups.rings.live);
        let (over, left): (BTreeMap<_, _>, _) = live.into_iter().partition(|(_, it)| which(it));
        self.groups.rings.ends.retain(|ring, _| left.contains_key(ring));
        self.groups.rings.live = left;
        let ended = !over.is_empty();
        for ring in over.into_values() {
            let (now, seen) = (self.world.now.wall, &mut self.groups.rings.seen);
            ring::on_stopped(now, seen, (&ring.room, &ring.notification));
            self.watch_rings(&ring.room);
            self.world.tell(VoipEvent::GroupRingStopped { ring: Box::new(ring), why });
        }
        ended
    }

    /// A device of ours is in the call: this one, or another.
    pub(super) fn on_our_device_in(&mut self, session: SessionId, who: &Participant) {
        if who.id.user != self.world.identity.user {
            return;
        }
        let here = who.id == self.ourselves();
        let why = if here { RingStop::Answered } else { RingStop::Elsewhere };
        if let Some(call) = self.groups.calls.get(&session) {
            let (world, room) = (&self.world, &call.shown.room);
            let (user, news) = (&who.id.user, MemberNews::Joined);
            let change = MemberChange { room, user, news, at: who.since };
            let seen = &mut self.groups.rings.seen;
            ring::on_member(world.now.wall, &world.identity, seen, &change);
        }
        self.end_rings(|it| it.session == session, why);
    }

    /// Somebody left a call: if no device of his is in it, he calls no more.
    pub(super) fn on_caller_gone(&mut self, session: SessionId, user: &UserId) {
        let Some(call) = self.groups.calls.get(&session) else { return };
        if call.shown.participants.iter().all(|one| one.id.user != *user) {
            let by_him = |it: &IncomingRing| it.session == session && it.caller == *user;
            self.end_rings(by_him, RingStop::CallerGone);
        }
    }

    pub(super) fn on_rings_due(&mut self, room: &RoomId) {
        let now = self.world.now.wall;
        let ends = self.groups.rings.ends.iter();
        let over = ends.filter(|((of, _), at)| of == room && **at <= now);
        let over: BTreeSet<_> = over.map(|((_, id), _)| id.clone()).collect();
        self.end_rings(|it| it.room == *room && over.contains(&it.notification), RingStop::Expired);
        self.watch_rings(room);
    }

    fn watch_rings(&mut self, room: &RoomId) {
        let next = self.groups.rings.next_end(room);
        self.groups.set_timer(room, GroupTimer::Rings, next.map(Deadline::Wall));
    }
}

/// Whether a group call is one of two, in Famedly's way.
fn is_call_of_two(application: &str) -> bool {
    matches!(application, AUDIO_CALL | VIDEO_CALL)
}

fn intent(application: &str) -> Option<Intent> {
    match application {
        AUDIO_CALL => Some(Intent::Audio),
        VIDEO_CALL => Some(Intent::Video),
        _ => None,
    }
}
