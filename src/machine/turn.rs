//! TURN credentials: fetched when a call needs them, used until shortly before they expire.
//!
//! Lazy on purpose: a client that places one call a week fetches once a week. A call never fails
//! for want of them.

use std::collections::BTreeSet;

use super::{
    fingerprint::Fingerprint,
    io::{Fault, Fetch, IceServer, Op, TurnServers},
    world::{Owner, World},
};
use crate::{
    id::SessionId,
    time::{Deadline, Wall},
};

/// The credentials, and who waits for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Turn {
    servers: Vec<IceServer>,
    good_until: Option<Wall>,
    fetching: bool,
    waiting: BTreeSet<SessionId>,
}

impl Turn {
    /// The servers as last told; none after a failed fetch.
    pub(super) fn servers(&self) -> &[IceServer] {
        &self.servers
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.servers, self.fetching));
        if let Some(until) = self.good_until {
            print.deadline(Deadline::Wall(until));
        }
        for session in &self.waiting {
            print.session(*session);
        }
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
        now: Wall,
        result: Result<TurnServers, Fault>,
    ) -> BTreeSet<SessionId> {
        self.fetching = false;
        match result {
            Ok(turn) => {
                self.good_until = Some(now.plus(turn.ttl));
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
    /// Makes sure that good credentials are there or on their way; `true` when they are there.
    pub(super) fn want_turn(&mut self, session: SessionId) -> bool {
        let margin = self.config.timeouts.turn_margin;
        let good = self.turn.good_until.is_some_and(|until| self.now.wall.plus(margin) < until);
        if good {
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
