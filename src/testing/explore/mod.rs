//! Small worlds explored completely: every order of what can happen, and every state looked at.
//!
//! A [`SmallWorld`] seats a few engines at one table. From its first state every step is taken
//! that is possible: a command, a letter that arrives, an answer of the homeserver, a
//! timer, a connection that comes about. A step clones the one engine that it touches, once (`moves.rs`); states that
//! behave alike ([`Engine::fingerprint`](crate::machine::Engine::fingerprint) and what is under
//! way) are looked at once. The search is by breadth, so that a counterexample is as short as any.
//!
//! In every state the invariants of the machine hold that a [`Sim`](super::Sim) checks; when all is
//! quiet also what two sides must agree on (`rules.rs`).
//!
//! What is left out, so that the world stays small:
//!
//! - Delegates answer at once, in the order in which they are asked; TURN has no servers, nothing
//!   is refused. Gathering finds one candidate, after the description was read: so each side
//!   always trickles once.
//! - Short waits (gathering, batches of candidates, retries) end at any moment, but the clock does
//!   not move for them. Long ones (lifetimes, farewells) end when nothing else can happen.
//! - The homeserver has an event when it is sent. Its answer to an invite or an answer comes at any
//!   later moment, as does that to a farewell while a send may still fail; to all others at once.
//!   Our own echo comes with that answer. Each event is a batch of its own.
//! - What is said of a call that is over where it arrives, arrives there at once. Media flows at
//!   both ends at the same moment.
//! - Voice only, one room in the clear, the ledger is not saved, remote tracks are not told.
//!
//! The search is our own: the states are clones of engines that share all but one seat, and two
//! hundred lines do what a library would have to be bent for.

mod moves;
mod rules;
mod seat;
mod state;

use std::{collections::HashSet, fmt, time::Duration};

use self::{moves::Table, seat::Seat, state::State};
use crate::{
    config::{Config, OnAnswer},
    id::{DeviceId, UserId},
    machine::{Engine, Identity, guard::Guard},
};

/// Somebody with an engine, and what he may do. All may answer, reject and hang up.
#[derive(Debug, Clone)]
pub struct Role {
    identity: Identity,
    seed: u64,
    callee: Option<UserId>,
    without: Vec<Guard>,
    idle: bool,
}

impl Role {
    /// Somebody who calls nobody. The seed makes the ids that he mints.
    ///
    /// # Panics
    /// When an id is none.
    pub fn new(user: &str, device: &str, seed: u64) -> Self {
        let user = UserId::parse(user).expect("invariant: a test names valid users");
        let device = DeviceId::parse(device).expect("invariant: a test names valid devices");
        let identity = Identity { user, device };
        Self { identity, seed, callee: None, without: Vec::new(), idle: false }
    }

    /// He may call this user, once.
    ///
    /// # Panics
    /// When the id is none.
    #[must_use]
    pub fn calling(mut self, user: &str) -> Self {
        self.callee = Some(UserId::parse(user).expect("invariant: a test names valid users"));
        self
    }

    /// He only looks: he neither answers nor rejects nor hangs up.
    #[must_use]
    pub fn idle(mut self) -> Self {
        self.idle = true;
        self
    }

    /// His engine lacks a rule.
    #[must_use]
    pub fn without(mut self, guard: Guard) -> Self {
        self.without.push(guard);
        self
    }
}

/// How often something may go wrong on one way through the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Trouble {
    /// Sends that fail and are repeated: refused, lost, or taken without an answer.
    pub losses: u8,
    /// Events that arrive twice.
    pub duplicates: u8,
    /// Times at which the clock goes on by more than a lifetime while events are under way.
    pub delays: u8,
}

/// In which order events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Order {
    /// In any.
    #[default]
    Any,
    /// Those of one sender in the order in which he sent them.
    PerSender,
}

/// A world that is small enough to be explored. See the module.
#[derive(Debug, Clone, Default)]
pub struct SmallWorld {
    roles: Vec<Role>,
    trouble: Trouble,
    order: Order,
    on_answer: OnAnswer,
}

/// What a complete exploration saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Different states of one engine, together with its delegate.
    pub seats: usize,
    /// Steps between them.
    pub steps: usize,
    /// States in which nothing is under way.
    pub quiet: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// Most states that were kept at once.
    pub widest: usize,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, seats, steps, quiet, depth, widest } = self;
        write!(
            f,
            "{states} states ({quiet} quiet, {seats} of one engine), {steps} steps, depth {depth}, {widest} at once"
        )
    }
}

/// A way to a state in which a rule is broken, as short as any.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Counterexample {
    /// What is wrong.
    pub broken: String,
    /// What happened, one line each.
    pub column: Vec<String>,
    /// What had been seen by then.
    pub seen: Explored,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nafter {} steps:", self.broken, self.column.len())?;
        for (number, line) in self.column.iter().enumerate() {
            writeln!(f, "{:3}  {line}", number + 1)?;
        }
        write!(f, "seen: {}", self.seen)
    }
}

/// One state as the search remembers it: where it came from, and by which of the steps there.
type Trace = (u32, u16);

impl SmallWorld {
    /// A world without anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Seats somebody.
    #[must_use]
    pub fn seat(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    /// What may go wrong.
    #[must_use]
    pub fn trouble(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    /// In which order events arrive.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// What becomes of a call when another is answered; the default is that of [`Config`].
    #[must_use]
    pub fn on_answer(mut self, policy: OnAnswer) -> Self {
        self.on_answer = policy;
        self
    }

    /// The default policies; short waits take no time.
    fn config(&self) -> Config {
        let mut config = Config { on_answer: self.on_answer, ..Config::default() };
        let timeouts = &mut config.timeouts;
        timeouts.gather = Duration::ZERO;
        timeouts.candidates_outgoing = Duration::ZERO;
        timeouts.candidates_incoming = Duration::ZERO;
        timeouts.retry_first = Duration::ZERO;
        timeouts.retry_longest = Duration::ZERO;
        timeouts.ledger = NEVER;
        config
    }

    fn begin(&self, table: &mut Table) -> Result<State, String> {
        let mut seats = Vec::new();
        let users: Vec<_> = self.roles.iter().map(|role| role.identity.user.clone()).collect();
        for role in &self.roles {
            let engine = Engine::new(role.identity.clone(), self.config(), role.seed);
            let engine = role.without.iter().fold(engine, |engine, guard| engine.without(*guard));
            seats.push(table.seat(Seat::new(role, engine, &users)?));
        }
        Ok(State::new(seats, self.trouble, self.order))
    }

    /// Looks at every state.
    ///
    /// # Errors
    /// The shortest way to a state in which a rule is broken.
    ///
    /// # Panics
    /// When there are more states than a search can number.
    pub fn explore(&self) -> Result<Explored, Box<Counterexample>> {
        let mut search = Search::default();
        match self.search(&mut search) {
            Ok(()) => Ok(search.seen),
            Err(fault) => Err(Box::new(Counterexample {
                column: self.column(&search.way_to(&fault)),
                broken: fault.broken,
                seen: search.seen,
            })),
        }
    }

    fn search(&self, search: &mut Search) -> Result<(), Fault> {
        let root = self.begin(&mut search.table);
        let root = root.map_err(|broken| Fault { broken, node: 0, step: None })?;
        search.note(root.print(), (0, 0));
        let mut level = vec![(0, root)];
        while !level.is_empty() {
            search.seen.depth += 1;
            search.seen.widest = search.seen.widest.max(level.len());
            let mut next = Vec::new();
            for (node, state) in level {
                search.look_at(node, &state, &mut next)?;
            }
            level = next;
        }
        Ok(())
    }

    /// Goes a way again, and says what happens on it.
    fn column(&self, way: &[u16]) -> Vec<String> {
        let mut table = Table::default();
        let Ok(mut state) = self.begin(&mut table) else { return Vec::new() };
        let mut column = Vec::new();
        for number in way {
            let Some(step) = state.steps().into_iter().nth(usize::from(*number)) else { break };
            let what = state.tell(&step);
            match state.after(&step, &mut table) {
                Ok(after) => {
                    let stands = after.calls();
                    column.push(format!("{what:<60} {stands}"));
                    state = after;
                }
                Err(_) => column.push(what),
            }
        }
        column
    }
}

/// A rule is broken in this state, or by this step from there.
#[derive(Debug)]
struct Fault {
    broken: String,
    node: u32,
    step: Option<u16>,
}

/// What the search knows.
#[derive(Default)]
struct Search {
    seen: Explored,
    prints: HashSet<u64>,
    traces: Vec<Trace>,
    table: Table,
}

impl Search {
    /// Notes a state; its number if it is new.
    fn note(&mut self, print: u64, from: Trace) -> Option<u32> {
        if !self.prints.insert(print) {
            return None;
        }
        self.seen.states += 1;
        self.traces.push(from);
        Some(
            u32::try_from(self.traces.len() - 1)
                .expect("invariant: states are numbered in 32 bits"),
        )
    }

    /// Looks at a state, and finds those that follow.
    fn look_at(
        &mut self,
        node: u32,
        state: &State,
        next: &mut Vec<(u32, State)>,
    ) -> Result<(), Fault> {
        self.seen.quiet += usize::from(state.is_quiet());
        rules::check(state).map_err(|broken| Fault { broken, node, step: None })?;
        for (number, step) in state.steps().iter().enumerate() {
            let number = u16::try_from(number).expect("invariant: few steps lead from a state");
            self.seen.steps += 1;
            let after = state.after(step, &mut self.table);
            let after = after.map_err(|broken| Fault { broken, node, step: Some(number) })?;
            if let Some(node) = self.note(after.print(), (node, number)) {
                next.push((node, after));
            }
        }
        self.seen.seats = self.table.seats();
        Ok(())
    }

    fn way_to(&self, fault: &Fault) -> Vec<u16> {
        let mut way: Vec<u16> = fault.step.into_iter().collect();
        let mut at = fault.node;
        while at != 0 {
            let (before, step) = self.traces[at as usize];
            way.push(step);
            at = before;
        }
        way.reverse();
        way
    }
}

/// How long what never happens in a small world waits.
const NEVER: Duration = Duration::from_secs(1_000_000);
