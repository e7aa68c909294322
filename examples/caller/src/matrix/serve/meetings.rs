//! The group calls of one client: which were seen, and what happens in them, as events.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_voip::{
    Connection, GroupCallSession, GroupEvent, GroupEvents, GroupNews, GroupSnapshot, IncomingRing,
    ParticipantId, RingStop, Stay, VoipEvents, VoipNews, id::SessionId, wire::notify::Style,
};
use serde_json::{Value, json};

use super::{out::Events, rtc, senses::Senses};

/// All group calls that live.
#[derive(Debug)]
pub(crate) struct Meetings {
    events: Events,
    /// By what names them.
    names: Mutex<BTreeMap<SessionId, String>>,
    /// What the last command was about.
    latest: Mutex<Option<GroupCallSession>>,
}

impl Meetings {
    pub(crate) fn new(events: Events) -> Self {
        Self { events, names: Mutex::default(), latest: Mutex::default() }
    }

    /// The group call that the last command was about.
    pub(crate) fn latest(&self) -> Option<GroupCallSession> {
        lock(&self.latest).clone()
    }

    /// A command is about this one.
    pub(crate) fn note(&self, call: &GroupCallSession) {
        *lock(&self.latest) = Some(call.clone());
    }

    /// Follows all group calls until the library has stopped.
    pub(crate) async fn follow(self: Arc<Self>, mut news: VoipEvents, senses: Senses) {
        while let Some(news) = news.next().await {
            match news {
                VoipNews::GroupCallAdded { call, snapshot, events } => {
                    self.see(&call, &snapshot);
                    tokio::spawn(Arc::clone(&self).follow_one(call.id(), *snapshot, events));
                }
                VoipNews::GroupRingStarted { ring, .. } => self.rings(&ring, None),
                VoipNews::GroupRingStopped { ring, why, .. } => self.rings(&ring, Some(why)),
                VoipNews::GroupCallEnded { call, .. } => {
                    lock(&self.names).remove(&call.id());
                    senses.forget(call.id());
                }
                _ => {}
            }
        }
    }

    /// A participant is heard for the first time.
    pub(crate) fn note_first_audio(&self, call: SessionId, of: &ParticipantId) {
        self.tell("groupFirstAudio", call, named(of));
    }

    /// The keeper of media keys has got one.
    pub(crate) fn note_key(&self, call: SessionId, told: Value) {
        self.tell("rtcKey", call, told);
    }

    /// A group call is there; one in which nobody is was opened by ourselves.
    fn see(&self, call: &GroupCallSession, shown: &GroupSnapshot) {
        lock(&self.names).insert(call.id(), shown.call.call_id.clone());
        if let Some(first) = shown.participants.first() {
            let told = json!({
                "roomId": shown.room.as_str(), "dialect": super::groups::dialect(&shown.backend),
                "application": first.application, "backend": rtc::backend(&shown.backend),
            });
            self.tell("groupIncoming", call.id(), told);
        }
    }

    async fn follow_one(
        self: Arc<Self>,
        call: SessionId,
        mut shown: GroupSnapshot,
        mut events: GroupEvents,
    ) {
        while let Some(news) = events.next().await {
            let before = shown.state;
            if let GroupNews::Event(event) = &news {
                self.note_event(call, event);
            }
            news.apply(&mut shown);
            if shown.state != before {
                let (state, old) = (shown.state.to_string(), before.to_string());
                self.tell("groupState", call, json!({"state": state, "old": old}));
            }
        }
    }

    fn note_event(&self, call: SessionId, event: &GroupEvent) {
        match event {
            GroupEvent::ParticipantJoined(who) => {
                self.tell("groupJoined", call, named(&who.id));
            }
            GroupEvent::ParticipantLeft(who) => self.tell("groupLeft", call, named(who)),
            GroupEvent::ConnectionChanged { participant, connection } => {
                let mut told = named(participant);
                told["state"] = connection_name(*connection).into();
                self.tell("groupConnection", call, told);
            }
            GroupEvent::StreamsChanged { participant, streams } => {
                let mut told = named(participant);
                told["feeds"] = streams.iter().map(|it| it.purpose.as_str()).collect();
                self.tell("groupFeeds", call, told);
            }
            GroupEvent::ReactionAdded { participant, key, stay } => {
                let shows = match stay {
                    Stay::Permanent => Shows::FromNowOn,
                    Stay::Ephemeral => Shows::ForAMoment,
                };
                self.reacts(call, participant, key, shows);
            }
            GroupEvent::ReactionRemoved { participant, key } => {
                self.reacts(call, participant, key, Shows::NoMore);
            }
            GroupEvent::Declined(user) => {
                self.tell("groupDeclined", call, json!({"user": user.as_str()}));
            }
            GroupEvent::Refused(why) => {
                self.tell("groupError", call, json!({"message": format!("{why:?}")}));
            }
            other => {
                if let Some((name, told)) = rtc::event(other) {
                    self.tell(name, call, told);
                }
            }
        }
    }

    /// Something rings, or has stopped for this reason.
    fn rings(&self, ring: &IncomingRing, stopped: Option<RingStop>) {
        let style = match ring.style {
            Style::Ring => "ring",
            Style::Notification => "notification",
        };
        let mut told = json!({
            "groupCallId": ring.call.call_id, "roomId": ring.room.as_str(),
            "user": ring.caller.as_str(), "style": style,
        });
        let Some(why) = stopped else { return self.events.tell("groupRing", told) };
        told["why"] = stop_name(why).into();
        self.events.tell("groupRingStopped", told);
    }

    fn reacts(&self, call: SessionId, who: &ParticipantId, key: &str, shows: Shows) {
        let mut told = named(who);
        told["key"] = key.into();
        told["on"] = (shows != Shows::NoMore).into();
        told["stays"] = (shows != Shows::ForAMoment).into();
        self.tell("groupReaction", call, told);
    }

    fn tell(&self, name: &str, call: SessionId, mut told: Value) {
        told["groupCallId"] = lock(&self.names).get(&call).cloned().into();
        self.events.tell(name, told);
    }
}

/// How something is shown in a group call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    FromNowOn,
    ForAMoment,
    NoMore,
}

/// Why a ring has stopped, in the words of the library.
fn stop_name(why: RingStop) -> &'static str {
    match why {
        RingStop::Answered => "answered",
        RingStop::Rejected => "rejected",
        RingStop::Elsewhere => "elsewhere",
        RingStop::CallerGone => "caller_gone",
        RingStop::Expired => "expired",
        RingStop::Ended => "ended",
        _ => "unknown",
    }
}

/// The name of a participant: user and device.
pub(crate) fn named(who: &ParticipantId) -> Value {
    json!({"user": who.user.as_str(), "device": who.device.as_str()})
}

/// The state of a connection to a participant, as that of a call where there is such a state.
pub(crate) fn connection_name(connection: Connection) -> &'static str {
    match connection {
        Connection::Waiting => "waiting",
        Connection::Connecting => "connecting",
        Connection::Connected => "connected",
        _ => "unknown",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
