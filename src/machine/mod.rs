//! The protocol as a value: no clock, no randomness it was not given, no task, no lock, no I/O.
//!
//! [`Engine`] takes an [`Input`] and answers with a [`Verdict`]; what it wants of the world comes
//! out of [`Engine::poll_output`] as data. Drain outputs to `None` after every call.

pub mod diagnostics;
pub mod event;
pub mod io;
pub mod verdict;

use std::time::Duration;

use self::{
    diagnostics::Diagnostics,
    event::CallSnapshot,
    io::{Ignored, Input, Output, Verdict},
};
use crate::{
    config::Config,
    id::{DeviceId, SessionId, UserId},
    time::Now,
    wire::ledger::Ledger,
};

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Our user.
    pub user: UserId,
    /// Our device.
    pub device: DeviceId,
}

/// All calls of one device: a value that can be cloned, compared and fingerprinted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    identity: Identity,
    config: Config,
    diagnostics: Diagnostics,
}

impl Engine {
    /// An engine without calls. The seed makes ids only, never keys.
    pub fn new(identity: Identity, config: Config, _seed: u64) -> Self {
        Self { identity, config, diagnostics: Diagnostics::default() }
    }

    /// Takes up what a dead process left behind: its calls are hung up under their own party id,
    /// and calls that were over do not ring again. To be called once, before anything else.
    pub fn restore(&mut self, _now: Now, _ledger: Ledger) {}

    /// Takes one input. Drain [`poll_output`](Self::poll_output) to `None` afterwards.
    pub fn handle(&mut self, _now: Now, _input: Input) -> Verdict {
        Verdict::Ignored(Ignored::NoChange)
    }

    /// Does what is due at `now`. Drain [`poll_output`](Self::poll_output) to `None` afterwards.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// The next thing that the machine wants of the world or has to tell.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// How long after the `now` of the last call [`handle_timeout`](Self::handle_timeout) is due:
    /// zero while outputs are queued, `None` when nothing is waited for.
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// Whether a wall-clock deadline is open: then the driver sleeps at most a minute at a time,
    /// because the wall clock goes on while the machine is suspended.
    pub fn has_wall_deadline(&self) -> bool {
        false
    }

    /// How a call stands; `None` after it has ended and all was sent that it had to send.
    pub fn snapshot(&self, _session: SessionId) -> Option<CallSnapshot> {
        None
    }

    /// What was ignored, counted, and the last 64 of them.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// A number that is equal for engines that will behave alike: deadlines relative, ids renamed
    /// by first use, counters left out.
    pub fn fingerprint(&self) -> u64 {
        0
    }
}
