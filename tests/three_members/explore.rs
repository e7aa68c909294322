//! All that can happen.
//!
//! # What is left out
//!
//! Steps of different members commute: each takes the first letter of a row of its own and adds to the
//! ends of others. So where nothing can come to some members by a row that is empty until one of
//! them has done something, it is enough to let these go on in every way, whatever others may do
//! besides: their steps are a persistent set (Godefroid, "Partial-Order Methods for the Verification
//! of Concurrent Systems", 1996), and no end is lost. Which rows may fill is known by two rules that
//! hold for all that an engine is ever asked (`numbers.rs` sees to it): state is written in one's own
//! turns alone, and messages go to whoever was heard, or are sent in one's own turns. An exception
//! in what was left out would be met nevertheless: those who let others wait take away nothing that
//! it needs.
//!
//! Where all rests while somebody has turns left is no end. It is one in the world in which he has
//! fewer, so all worlds with fewer turns are explored too.

use std::collections::BTreeSet;

use super::{
    member::USERS,
    numbers::{Book, Prints, State, Step, Steps, mix},
    world::{WAYS, Way},
};

/// Whether steps are left out that lead to no other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    Full,
    Reduced,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How often each may enter or leave.
    pub(crate) turns: [u8; 3],
    pub(crate) search: Search,
    /// What goes this way never arrives.
    pub(crate) lost: Option<Way>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) states: usize,
    /// How often an engine was asked.
    pub(crate) asked: usize,
    /// The members where nobody can do anything any more.
    pub(crate) ends: BTreeSet<[u64; 3]>,
}

/// All ways to take one or two of three.
const SOME: [&[usize]; 6] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]];

impl State {
    /// The steps to take from here: of the members with the fewest who are alone.
    fn steps(&self, search: Search) -> Steps {
        let all = self.possible();
        if search == Search::Full {
            return all;
        }
        let of = |some: &[usize]| {
            let theirs = some.iter().fold(0, |theirs, at| theirs | Steps::of(*at).0);
            Steps(all.0 & theirs)
        };
        let alone = SOME.into_iter().filter(|some| self.are_alone(some)).map(of);
        let enough = alone.filter(|steps| steps.0 != 0);
        enough.min_by_key(|steps| steps.0.count_ones()).unwrap_or(all)
    }

    /// Whether nothing can come to these by a row that is empty before one of them does something.
    fn are_alone(&self, some: &[usize]) -> bool {
        let mut others = (0..USERS.len()).filter(|at| !some.contains(at));
        others.all(|from| some.iter().all(|to| self.is_shut(from, *to)))
    }

    fn is_shut(&self, from: usize, to: usize) -> bool {
        let done = self.turns[from] == 0;
        let asked = self.waits((to, from, true)) || self.waits((to, from, false));
        let no_state = done || self.waits((from, to, true));
        let no_message = (done && !asked) || self.waits((from, to, false));
        no_state && no_message
    }
}

/// Where an exploration is: a state, what is to be tried from it, and which step led to it.
struct Place {
    state: State,
    print: u64,
    steps: Steps,
    by: Option<Step>,
}

struct Explorer {
    search: Search,
    book: Book,
    states: Prints,
    path: Vec<Place>,
    /// The states on the path.
    passed: Prints,
    judged: Prints,
    ends: BTreeSet<[u64; 3]>,
}

impl Explorer {
    fn new(plan: Plan) -> Self {
        Self {
            search: plan.search,
            book: Book::new(plan.lost),
            states: Prints::default(),
            path: Vec::new(),
            passed: Prints::default(),
            judged: Prints::default(),
            ends: BTreeSet::new(),
        }
    }

    fn explore(&mut self, turns: [u8; 3]) -> Result<(), String> {
        let begin = self.book.begin(turns);
        self.visit(begin, None)?;
        while let Some(place) = self.path.last_mut() {
            if let Some(step) = place.steps.pop() {
                let next = self.book.take(&place.state, step);
                self.visit(next, Some(step))
                    .map_err(|broken| format!("{turns:?}: {broken}\n{}", self.told(step)))?;
            } else {
                self.passed.remove(&place.print);
                self.path.pop();
            }
        }
        Ok(())
    }

    fn visit(&mut self, state: State, by: Option<Step>) -> Result<(), String> {
        let print = state.print();
        if !self.states.insert(print) {
            let circles = self.passed.contains(&print);
            return if circles { Err("letters go in circles".to_owned()) } else { Ok(()) };
        }
        if state.rows == [0; WAYS.len()] {
            self.rest(&state)?;
        }
        self.passed.insert(print);
        self.path.push(Place { state, print, steps: state.steps(self.search), by });
        Ok(())
    }

    /// All that was sent was heard.
    fn rest(&mut self, state: &State) -> Result<(), String> {
        let members = self.book.prints(state);
        if state.turns == [0; 3] {
            self.ends.insert(members);
        }
        let print = members.into_iter().fold(0, |print, member| mix(print ^ member));
        if self.judged.insert(print) { self.book.judge(state) } else { Ok(()) }
    }

    /// The way here, and this step.
    fn told(&self, step: Step) -> String {
        let steps = self.path.iter().filter_map(|place| place.by).chain([step]);
        steps.map(|step| format!("{step}\n")).collect()
    }
}

/// All that can happen in a world and in those in which some have fewer turns; or the way to the first
/// state in which a rule is broken.
pub(crate) fn explore(plan: Plan) -> Result<Seen, String> {
    let mut explorer = Explorer::new(plan);
    let mut states = 0;
    let [a, b, c] = plan.turns;
    let fewer = (0..=a).flat_map(|a| (0..=b).flat_map(move |b| (0..=c).map(move |c| [a, b, c])));
    for turns in fewer {
        explorer.states.clear();
        explorer.explore(turns)?;
        states += explorer.states.len();
    }
    Ok(Seen { states, asked: explorer.book.asked(), ends: explorer.ends })
}
