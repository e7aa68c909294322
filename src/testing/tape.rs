//! What the engine of a simulated device is given, written down as a recorder does.

use super::world::Host;
use crate::{
    machine::io::{Input, Verdict},
    record::{Entry, Origin, Scribe},
    time::Now,
};

/// Begins a recording in memory.
pub(super) fn begin(origin: &Origin, at: Now) -> Scribe<Vec<u8>> {
    Scribe::begin(Vec::new(), origin, at).expect("invariant: memory takes what is written")
}

impl Host {
    /// Gives the engine an input; `None` while the process is dead.
    pub(super) fn hand(&mut self, now: Now, input: Input) -> Option<Verdict> {
        let engine = self.engine.as_mut()?;
        if self.scribe.is_none() {
            return Some(engine.handle(now, input));
        }
        let kept = Box::new(input.clone());
        let verdict = engine.handle(now, input);
        self.keep(now, &Entry::Input(kept, verdict.clone()));
        Some(verdict)
    }

    /// Tells the engine the time; `false` while the process is dead.
    pub(super) fn wake(&mut self, now: Now) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        engine.handle_timeout(now);
        self.keep(now, &Entry::Due);
        true
    }

    /// Writes an entry down, where that is asked for.
    pub(super) fn keep(&mut self, now: Now, entry: &Entry) {
        if let Some(scribe) = &mut self.scribe {
            scribe.note(now, entry).expect("invariant: memory takes what is written");
        }
    }
}
