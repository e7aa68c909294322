//! What a person is told of a group call as it happens, a line for each thing.
//!
//! A connection that breaks is told a moment later: who leaves hangs up before the room knows that he
//! has left, and what is repaired at once is not worth a line.

use std::{collections::BTreeMap, time::Duration};

use matrix_voip::{
    Connection, GroupEvent, GroupSnapshot, GroupState, MediaSource, ParticipantId, Stream,
};
use tokio::time::Instant;

use super::words::{marks, name};
use crate::matrix::plain::plain;

/// How long a connection is broken before that is told.
const BROKEN: Duration = Duration::from_secs(3);

/// Finds the words.
pub(super) struct Told {
    me: ParticipantId,
    /// Connections that broke, and since when; not told yet.
    broken: BTreeMap<ParticipantId, Instant>,
}

impl Told {
    pub(super) fn new(me: ParticipantId) -> Self {
        Self { me, broken: BTreeMap::new() }
    }

    /// What is told of an event that has come and is not in `before` yet.
    pub(super) fn on_event(
        &mut self,
        event: &GroupEvent,
        before: &GroupSnapshot,
        now: Instant,
    ) -> Option<String> {
        match event {
            GroupEvent::ParticipantJoined(one) if one.id != self.me => {
                Some(format!("{} is in the call", name(&one.id)))
            }
            GroupEvent::ParticipantLeft(who) if *who != self.me => {
                self.broken.remove(who);
                Some(format!("{} has left", name(who)))
            }
            GroupEvent::ConnectionChanged { participant, connection } => {
                self.on_connection(participant, *connection, before, now)
            }
            GroupEvent::StreamsChanged { participant, streams } if *participant != self.me => {
                on_streams(participant, streams, before)
            }
            GroupEvent::ReactionAdded { participant, key, .. } => {
                Some(format!("{}: {}", name(participant), plain(key)))
            }
            GroupEvent::ReactionRemoved { participant, key } => {
                Some(format!("{}: no more {}", name(participant), plain(key)))
            }
            GroupEvent::Declined(user) => Some(format!("{} does not come", plain(user.as_str()))),
            GroupEvent::RightsChanged(rights) => {
                let newly = rights.can_everyone_join && !before.rights.can_everyone_join;
                newly.then(|| "every member of the room may be in its calls".to_owned())
            }
            GroupEvent::MediaMissing(source) => Some(format!("{} cannot be had", word(*source))),
            _ => None,
        }
    }

    /// What is told because it has lasted: connections that are still broken while both are in the
    /// call.
    pub(super) fn overdue(&mut self, call: &GroupSnapshot, now: Instant) -> Vec<String> {
        let is_there = |who: &ParticipantId| call.participants.iter().any(|one| one.id == *who);
        if call.state != GroupState::Entered {
            self.broken.clear();
        }
        self.broken.retain(|who, _| is_there(who));
        let due = self.broken.extract_if(.., |_, since| now.duration_since(*since) >= BROKEN);
        due.map(|(who, _)| format!("the connection to {} is lost", name(&who))).collect()
    }

    fn on_connection(
        &mut self,
        who: &ParticipantId,
        connection: Connection,
        before: &GroupSnapshot,
        now: Instant,
    ) -> Option<String> {
        let was = before.connections.get(who).copied();
        match connection {
            Connection::Connected => {
                let repaired = self.broken.remove(who).is_some();
                (!repaired).then(|| format!("connected to {}", name(who)))
            }
            _ if was == Some(Connection::Connected) => {
                self.broken.insert(who.clone(), now);
                None
            }
            _ => None,
        }
    }
}

/// Whoever shows nothing is not connected, or leaves.
fn on_streams(who: &ParticipantId, streams: &[Stream], before: &GroupSnapshot) -> Option<String> {
    let was = before.streams.get(who).map(|old| marks(old)).unwrap_or_default();
    let now = marks(streams);
    let words = if now.is_empty() { "sound".to_owned() } else { now.join(", ") };
    (!streams.is_empty() && now != was).then(|| format!("{}: {words}", name(who)))
}

const fn word(source: MediaSource) -> &'static str {
    match source {
        MediaSource::Microphone => "the microphone",
        MediaSource::Camera => "the camera",
        MediaSource::Screen => "the screen",
        _ => "a source",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testkit::*, *};

    /// A call that ada is in with ben, and what she is told of it.
    struct Hearing {
        call: GroupSnapshot,
        told: Told,
        now: Instant,
    }

    impl Hearing {
        async fn new() -> Self {
            Self { call: call_with_ben().await, told: Told::new(ada()), now: Instant::now() }
        }

        fn gets(&mut self, event: GroupEvent) -> Option<String> {
            let told = self.told.on_event(&event, &self.call, self.now);
            self.call.apply(&event);
            told
        }

        fn connection_is(&mut self, connection: Connection) -> Option<String> {
            self.gets(GroupEvent::ConnectionChanged { participant: ben(), connection })
        }

        fn after(&mut self, seconds: u64) -> Vec<String> {
            self.now += Duration::from_secs(seconds);
            self.told.overdue(&self.call, self.now)
        }
    }

    #[tokio::test]
    async fn a_connection_that_stays_broken_while_both_are_in_the_call_is_lost() {
        let mut ada = Hearing::new().await;
        assert_eq!(ada.connection_is(Connection::Connecting), None);
        assert_eq!(ada.after(1), Vec::<String>::new());
        assert_eq!(ada.after(2), ["the connection to @ben:x is lost"]);
        assert_eq!(ada.after(9), Vec::<String>::new(), "once");
        assert_eq!(ada.connection_is(Connection::Connected).unwrap(), "connected to @ben:x");
    }

    #[tokio::test]
    async fn a_connection_that_is_repaired_at_once_is_not_told_of() {
        let mut ada = Hearing::new().await;
        ada.connection_is(Connection::Connecting);
        assert_eq!(ada.after(1), Vec::<String>::new());
        assert_eq!(ada.connection_is(Connection::Connected), None);
        assert_eq!(ada.after(9), Vec::<String>::new());
    }

    #[tokio::test]
    async fn who_leaves_is_told_to_have_left_and_nothing_else() {
        let mut ada = Hearing::new().await;
        assert_eq!(ada.gets(streams(vec![voice(Muted::Yes)])).unwrap(), "@ben:x: muted");
        assert_eq!(ada.connection_is(Connection::Waiting), None);
        assert_eq!(ada.gets(streams(Vec::new())), None);
        assert_eq!(ada.gets(GroupEvent::ParticipantLeft(ben())).unwrap(), "@ben:x has left");
        assert_eq!(ada.after(9), Vec::<String>::new());
    }

    #[tokio::test]
    async fn of_our_own_leaving_no_connection_is_lost() {
        let mut ada = Hearing::new().await;
        ada.gets(GroupEvent::StateChanged(GroupState::Leaving));
        ada.connection_is(Connection::Waiting);
        assert_eq!(ada.after(9), Vec::<String>::new());
    }

    #[tokio::test]
    async fn who_is_unmuted_is_heard_again() {
        let mut ada = Hearing::new().await;
        ada.gets(streams(vec![voice(Muted::Yes)]));
        assert_eq!(ada.gets(streams(vec![voice(Muted::No)])).unwrap(), "@ben:x: sound");
    }
}
