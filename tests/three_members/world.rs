//! Three members and the letters between them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use matrix_voip::{Connection, GroupState, ParticipantId};

use super::member::{Act, EPOCH, Letter, Member, Sent, USERS, id};

/// From whom, to whom, and which way: state or message.
pub(crate) type Way = (usize, usize, bool);

/// All of them; those to one beside each other.
pub(crate) const WAYS: [Way; 12] = [
    (1, 0, false),
    (1, 0, true),
    (2, 0, false),
    (2, 0, true),
    (2, 1, false),
    (2, 1, true),
    (0, 1, false),
    (0, 1, true),
    (0, 2, false),
    (0, 2, true),
    (1, 2, false),
    (1, 2, true),
];

/// See the file.
pub(crate) struct World {
    members: [Member; 3],
    ways: BTreeMap<Way, VecDeque<Letter>>,
    lost: Option<Way>,
}

impl World {
    /// In which nothing is on its way; what goes the lost way never arrives.
    pub(crate) fn new(members: [Member; 3], lost: Option<Way>) -> Self {
        Self { members, ways: BTreeMap::new(), lost }
    }

    /// Time passes, nobody does anything any more, and everything is heard.
    pub(crate) fn settle(&mut self) {
        let mut now = EPOCH;
        for _ in 0..12 {
            now = now.plus(Duration::from_secs(5));
            for at in 0..USERS.len() {
                let sent = self.members[at].wait(now);
                self.send(at, sent);
            }
            while let Some((way, letter)) = self.next_letter() {
                let sent = self.members[way.1].act(Act::Hear(way.0, &letter));
                self.send(way.1, sent);
            }
        }
    }

    fn send(&mut self, from: usize, sent: Sent) {
        for (to, letter) in sent {
            let way = (from, to, letter.is_state());
            if self.lost != Some(way) {
                self.ways.entry(way).or_default().push_back(letter);
            }
        }
    }

    fn next_letter(&mut self) -> Option<(Way, Letter)> {
        self.ways.iter_mut().find_map(|(way, letters)| Some((*way, letters.pop_front()?)))
    }

    /// See `main.rs`.
    pub(crate) fn check(&self) -> Result<(), String> {
        let shown: Vec<_> = self.members.iter().map(Member::shown).collect();
        let within =
            |at: &usize| shown[*at].as_ref().is_some_and(|it| it.state == GroupState::Entered);
        let present: Vec<usize> = (0..USERS.len()).filter(within).collect();
        for (at, user) in USERS.iter().enumerate() {
            let others: BTreeSet<_> =
                present.iter().filter(|it| **it != at).map(|it| id(*it)).collect();
            let is_in = present.contains(&at);
            let expected = if is_in { others.len() } else { 0 };
            let legs = self.members[at].legs();
            if legs != expected {
                return Err(format!("{user} has {legs} legs, not {expected}"));
            }
            let Some(shown) = &shown[at] else { continue };
            let seen: BTreeSet<_> = shown.participants.iter().map(|one| one.id.clone()).collect();
            let all: BTreeSet<_> = present.iter().map(|it| id(*it)).collect();
            // Our own echo does not come here.
            let ours: BTreeSet<_> = [id(at)].into();
            if &seen | &ours != &all | &ours {
                return Err(format!("{user} sees {seen:?}, not {all:?}"));
            }
            let connected =
                |it: &&ParticipantId| shown.connections.get(*it) == Some(&Connection::Connected);
            if is_in && others.iter().filter(connected).count() != others.len() {
                return Err(format!("{user} is connected as {:?}", shown.connections));
            }
        }
        Ok(())
    }
}
