//! The world by numbers.
//!
//! What a member does is a function of what he was and heard (`member.rs`). So members, letters and rows
//! of letters get a number each when they first occur, and an engine is asked once for what one of its
//! steps does: a few thousand times. A state of the world is then the numbers of three members and
//! twelve rows, and there may be a hundred million of these.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    member::{Act, Letter, Member, USERS},
    world::{WAYS, Way, World},
};

/// What may happen: one of twelve letters is heard, or one of three takes a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step(u8);

impl Step {
    /// Whose turn it is, or else by which way a letter is heard.
    pub(crate) fn turn(self) -> Result<usize, usize> {
        let way = usize::from(self.0);
        way.checked_sub(WAYS.len()).ok_or(way)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.turn() {
            Ok(at) => write!(f, "{} enters or leaves", USERS[at]),
            Err(way) => {
                let (from, to, state) = WAYS[way];
                let what = if state { "membership" } else { "message" };
                write!(f, "{} hears a {what} of {}", USERS[to], USERS[from])
            }
        }
    }
}

/// A set of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Steps(pub(crate) u16);

impl Steps {
    /// All that one member may ever do.
    pub(crate) fn of(at: usize) -> Self {
        Self(0b1111 << (4 * at) | 1 << (WAYS.len() + at))
    }

    pub(crate) fn pop(&mut self) -> Option<Step> {
        let step = Step(u8::try_from(self.0.trailing_zeros()).expect("at most sixteen"));
        let some = self.0 != 0;
        self.0 &= self.0.wrapping_sub(1);
        some.then_some(step)
    }
}

/// See the file. The empty row is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) members: [u32; 3],
    /// How often each may still enter or leave.
    pub(crate) turns: [u8; 3],
    pub(crate) rows: [u32; WAYS.len()],
}

impl State {
    pub(crate) fn possible(&self) -> Steps {
        let rows = self.rows.iter().map(|row| *row != 0);
        let may = rows.chain(self.turns.iter().map(|turns| *turns != 0));
        Steps(may.enumerate().fold(0, |steps, (bit, may)| steps | u16::from(may) << bit))
    }

    /// Whether a letter is on this way.
    pub(crate) fn waits(&self, way: Way) -> bool {
        self.rows[number_of(way)] != 0
    }

    pub(crate) fn print(&self) -> u64 {
        let parts = self.members.into_iter().chain(self.turns.map(u32::from)).chain(self.rows);
        parts.fold(0, |print, part| mix(print ^ u64::from(part)))
    }
}

/// The place of a way in [`WAYS`].
pub(crate) fn number_of((from, to, state): Way) -> usize {
    4 * to + 2 * ((from + 2 - to) % 3) + usize::from(state)
}

/// Folded multiplication: of a hundred million states two look alike in one of some thousand runs.
pub(crate) fn mix(word: u64) -> u64 {
    let wide = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
    (wide as u64) ^ (wide >> 64) as u64
}

/// What is a hash is not hashed again.
#[derive(Default)]
pub(crate) struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {
        unreachable!("numbers only");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(crate) type Prints = HashSet<u64, BuildHasherDefault<Same>>;
type ByPrint<T> = HashMap<u64, T, BuildHasherDefault<Same>>;

/// What a step of a member leads to: who he is then, and which letters go which ways.
#[derive(Debug, Clone)]
struct Effect {
    member: u32,
    sent: Vec<(usize, u32)>,
}

/// Letters in their order.
struct Row {
    letters: Vec<u32>,
    /// All but the first.
    rest: u32,
}

/// The numbers of everything that occurred.
pub(crate) struct Book {
    members: Vec<(Member, u64)>,
    members_by: ByPrint<u32>,
    letters: Vec<Letter>,
    letters_by: HashMap<Letter, u32>,
    rows: Vec<Row>,
    rows_by: HashMap<Vec<u32>, u32>,
    longer: ByPrint<u32>,
    effects: Vec<Effect>,
    effects_by: ByPrint<usize>,
    /// What goes this way never arrives.
    lost: Option<Way>,
}

impl Book {
    pub(crate) fn new(lost: Option<Way>) -> Self {
        Self {
            members: Vec::new(),
            members_by: ByPrint::default(),
            letters: Vec::new(),
            letters_by: HashMap::new(),
            rows: vec![Row { letters: Vec::new(), rest: 0 }],
            rows_by: HashMap::from([(Vec::new(), 0)]),
            longer: ByPrint::default(),
            effects: Vec::new(),
            effects_by: ByPrint::default(),
            lost,
        }
    }

    /// How often an engine was asked.
    pub(crate) fn asked(&self) -> usize {
        self.effects.len()
    }

    /// Nobody has done anything.
    pub(crate) fn begin(&mut self, turns: [u8; 3]) -> State {
        let members = [0, 1, 2].map(|at| self.member(Member::new(at)));
        State { members, turns, rows: [0; WAYS.len()] }
    }

    /// Who the members are, in numbers that are the same in every book.
    pub(crate) fn prints(&self, state: &State) -> [u64; 3] {
        state.members.map(|member| self.members[member as usize].1)
    }

    /// The letter that a way brings next.
    pub(crate) fn letter_on(&self, state: &State, way: usize) -> &Letter {
        let row = &self.rows[state.rows[way] as usize];
        &self.letters[row.letters[0] as usize]
    }

    /// All letters that are on a way.
    pub(crate) fn letters_on(&self, state: &State, way: usize) -> Vec<&Letter> {
        let row = &self.rows[state.rows[way] as usize];
        row.letters.iter().map(|letter| &self.letters[*letter as usize]).collect()
    }

    pub(crate) fn take(&mut self, state: &State, step: Step) -> State {
        let mut next = *state;
        let (at, letter) = match step.turn() {
            Ok(at) => {
                next.turns[at] -= 1;
                (at, 0)
            }
            Err(way) => {
                let row = &self.rows[state.rows[way] as usize];
                next.rows[way] = row.rest;
                if self.lost == Some(WAYS[way]) {
                    return next;
                }
                (WAYS[way].1, row.letters[0])
            }
        };
        let effect = self.effect(state.members[at], step, letter);
        next.members[at] = self.effects[effect].member;
        for sent in 0..self.effects[effect].sent.len() {
            let (way, letter) = self.effects[effect].sent[sent];
            next.rows[way] = self.longer(next.rows[way], letter);
        }
        next
    }

    /// What becomes of a state in which all that was sent was heard, when time passes.
    pub(crate) fn judge(&self, state: &State) -> Result<(), String> {
        let members = state.members.map(|member| self.members[member as usize].0.clone());
        let mut world = World::new(members, self.lost);
        world.settle();
        world.check()
    }

    fn effect(&mut self, member: u32, step: Step, letter: u32) -> usize {
        let key = mix(mix(pair(member, letter)) ^ u64::from(step.0));
        if let Some(known) = self.effects_by.get(&key) {
            return *known;
        }
        let mut member = self.members[member as usize].0.clone();
        let at = member.at;
        let sent = match step.turn() {
            Ok(_) => member.act(Act::Turn),
            Err(way) => member.act(Act::Hear(WAYS[way].0, &self.letters[letter as usize])),
        };
        let by_way = |(to, letter): (usize, Letter)| {
            let way = (at, to, letter.is_state());
            assert_expected(step, way);
            (number_of(way), self.letter(letter))
        };
        let sent = sent.into_iter().map(by_way).collect();
        let effect = Effect { member: self.member(member), sent };
        self.effects.push(effect);
        self.effects_by.insert(key, self.effects.len() - 1);
        self.effects.len() - 1
    }

    fn member(&mut self, member: Member) -> u32 {
        let print = member.print();
        *self.members_by.entry(print).or_insert_with(|| {
            self.members.push((member, print));
            last(&self.members)
        })
    }

    fn letter(&mut self, letter: Letter) -> u32 {
        match self.letters_by.entry(letter) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.letters.push(new.key().clone());
                *new.insert(last(&self.letters))
            }
        }
    }

    fn row(&mut self, letters: Vec<u32>) -> u32 {
        if let Some(known) = self.rows_by.get(&letters) {
            return *known;
        }
        let rest = self.row(letters[1..].to_vec());
        self.rows.push(Row { letters: letters.clone(), rest });
        self.rows_by.insert(letters, last(&self.rows));
        last(&self.rows)
    }

    /// A row and one letter more.
    fn longer(&mut self, row: u32, letter: u32) -> u32 {
        let key = mix(pair(row, letter));
        if let Some(known) = self.longer.get(&key) {
            return *known;
        }
        let mut letters = self.rows[row as usize].letters.clone();
        letters.push(letter);
        let longer = self.row(letters);
        self.longer.insert(key, longer);
        longer
    }
}

/// What the reduction in `explore.rs` rests upon: whoever hears something writes no state, and
/// messages only to whom he heard.
fn assert_expected(step: Step, (at, to, state): Way) {
    if let Err(way) = step.turn() {
        let expected = WAYS[way].0 == to && !state;
        assert!(expected, "{step}, and {} writes to {}: state {state}", USERS[at], USERS[to]);
    }
}

fn pair(one: u32, other: u32) -> u64 {
    u64::from(one) << 32 | u64::from(other)
}

fn last<T>(all: &[T]) -> u32 {
    u32::try_from(all.len() - 1).expect("not so many")
}
