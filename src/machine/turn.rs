//! TURN credentials: fetched when a call needs them, used until shortly before they expire.
//!
//! Lazy on purpose: a client that places one call a week fetches once a week. A call never fails
//! for want of them.

use std::{collections::BTreeSet, time::Duration};

use super::{
    fingerprint::Fingerprint,
    io::{Fault, Fetch, IceServer, Op, TurnServers},
    world::{Owner, World},
};
use crate::{
    id::SessionId,
    time::{Deadline, Now},
};

/// What an engine was given of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    told: u32,
    good_until: Now,
}

impl Given {
    /// Whether it is good for so long still.
    pub(super) fn are_good(self, now: Now, margin: Duration) -> bool {
        let then = now.plus(margin);
        then.wall < self.good_until.wall && then.mono < self.good_until.mono
    }

    pub(super) fn fingerprint(self, print: &mut Fingerprint) {
        print.value(self.told);
        print.deadline(Deadline::Wall(self.good_until.wall));
        print.deadline(Deadline::Mono(self.good_until.mono));
    }

    /// Whether it is the same as this.
    pub(super) fn is(self, other: Self) -> bool {
        self.told == other.told
    }
}

/// The credentials, and who waits for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Turn {
    servers: Vec<IceServer>,
    /// On both clocks: the wall clock may be set back, the other may stand still in sleep.
    good_until: Option<Now>,
    /// How often the homeserver has told them: names what was told last.
    told: u32,
    fetching: bool,
    waiting: BTreeSet<SessionId>,
}

impl Turn {
    /// The servers as last told; none after a failed fetch.
    pub(super) fn servers(&self) -> &[IceServer] {
        &self.servers
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.servers, self.told, self.fetching));
        if let Some(until) = self.good_until {
            print.deadline(Deadline::Wall(until.wall));
            print.deadline(Deadline::Mono(until.mono));
        }
        for session in &self.waiting {
            print.session(*session);
        }
    }

    /// Whether the credentials that we have are good for this long; `None` when there are none.
    fn are_good(&self, now: Now, margin: Duration) -> Option<bool> {
        let given = Given { told: self.told, good_until: self.good_until? };
        Some(given.are_good(now, margin))
    }

    /// What an engine that gets the servers now is given; `None` where there are none.
    pub(super) fn given(&self) -> Option<Given> {
        let good_until = self.good_until.filter(|_| !self.servers.is_empty())?;
        Some(Given { told: self.told, good_until })
    }

    /// A call that ended waits no more.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.waiting.remove(&session);
    }

    /// Whether this call still waits.
    pub(super) fn is_awaited_by(&self, session: SessionId) -> bool {
        self.waiting.contains(&session)
    }

    /// Takes the reply of the homeserver and gives back who waited for it.
    pub(super) fn on_reply(
        &mut self,
        now: Now,
        result: Result<TurnServers, Fault>,
    ) -> BTreeSet<SessionId> {
        self.fetching = false;
        match result {
            Ok(turn) => {
                self.good_until = Some(now.plus(turn.ttl));
                self.told += 1;
                self.servers = turn.servers;
            }
            Err(_) => {
                // What we have may be expired: a call without TURN connects in most networks, one
                // with bad credentials is slower to find that out.
                self.good_until = None;
                self.servers.clear();
            }
        }
        std::mem::take(&mut self.waiting)
    }
}

impl World {
    /// Whether credentials were had, and are good no more.
    pub(super) fn has_stale_turn(&self) -> bool {
        let margin = self.config.timeouts.turn_margin;
        self.turn.are_good(self.now, margin) == Some(false)
    }

    /// Makes sure that good credentials are there or on their way; `true` when they are there.
    pub(super) fn want_turn(&mut self, session: SessionId) -> bool {
        let margin = self.config.timeouts.turn_margin;
        if self.turn.are_good(self.now, margin) == Some(true) {
            return true;
        }
        self.turn.waiting.insert(session);
        if !self.turn.fetching {
            self.turn.fetching = true;
            self.request(Owner::Turn, Op::Fetch(Fetch::Turn));
        }
        false
    }
}
