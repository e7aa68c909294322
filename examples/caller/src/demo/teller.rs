//! The way of facts from all the tasks and threads of the demo to the one that shows them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

use super::fact::{Fact, Moment};

/// Tells facts, each with its time. The channel is unbounded: what the demo itself tells in its
/// few seconds is little, and the tap of the homeserver must not wait.
#[derive(Debug, Clone)]
pub(crate) struct Teller<F = Fact> {
    placed: Arc<OnceLock<Instant>>,
    facts: UnboundedSender<Moment<F>>,
}

impl<F> Teller<F> {
    /// A teller and what it tells.
    pub(crate) fn new() -> (Self, UnboundedReceiver<Moment<F>>) {
        let (facts, told) = unbounded_channel();
        (Self { placed: Arc::default(), facts }, told)
    }

    /// Time counts from now.
    pub(crate) fn placed(&self) {
        self.placed.get_or_init(Instant::now);
    }

    /// Since the call was placed; zero before.
    pub(crate) fn time(&self) -> Duration {
        self.placed.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Tells a fact. When nobody shows it any more, nothing happens.
    pub(crate) fn tell(&self, fact: F) {
        drop(self.facts.send(Moment { at: self.time(), fact }));
    }
}
