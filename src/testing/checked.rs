//! One engine under the eyes of the invariants, without a world around it: for fuzzing and for
//! tests that hand in whatever they like.

use super::watch::Watch;
use crate::{
    id::OpId,
    machine::{
        Engine,
        io::{Input, Output, Verdict},
    },
    time::Now,
};

/// An engine whose contract is checked after every step, as [`Sim`](super::Sim) does.
#[derive(Debug, Clone)]
pub struct Checked {
    engine: Engine,
    watch: Watch,
}

impl Checked {
    /// Looks after a new engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine, watch: Watch::default() }
    }

    /// `Engine::handle`, with all that comes out.
    ///
    /// # Panics
    /// When an invariant is broken.
    pub fn handle(&mut self, now: Now, input: Input) -> (Verdict, Vec<Output>) {
        let answered = answered(&input);
        let verdict = self.engine.handle(now, input);
        if let Some(id) = answered {
            hold(self.watch.on_reply(id, &verdict));
        }
        (verdict, self.drain())
    }

    /// `Engine::handle_timeout`, with all that comes out.
    ///
    /// # Panics
    /// When an invariant is broken.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Output> {
        self.engine.handle_timeout(now);
        self.drain()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A number that is the same for the same outputs.
    pub fn digest(&self) -> u64 {
        self.watch.digest()
    }

    fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.engine.poll_output()).collect();
        for output in &outputs {
            hold(self.watch.on_output(output));
        }
        hold(self.watch.on_step(&self.engine));
        outputs
    }
}

fn answered(input: &Input) -> Option<OpId> {
    match input {
        Input::Reply(id, _) => Some(*id),
        _ => None,
    }
}

fn hold(kept: Result<(), String>) {
    if let Err(broken) = kept {
        panic!("invariant broken: {broken}");
    }
}
