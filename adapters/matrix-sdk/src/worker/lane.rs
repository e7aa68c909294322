//! The work on one room: one update after the other, each through its stages.
//!
//! A [`Lane`] keeps what waits and the one [`Job`] that awaits an answer; what all lanes know and
//! what they want done is in [`Shared`].

use std::{collections::VecDeque, time::Duration};

use matrix_voip::{id::RoomId, time::Now, wire::delivery::Protection};

use super::{LONGEST_LIFE, known::Known, parking::Sessions, shared::Shared};
use crate::intake::{Fact, Gap, Item, Locked, RoomUpdate, Told, What, WholeState};

/// Most pages of history that are read to fill one gap.
pub(crate) const MAX_PAGES: u32 = 10;
/// Most bytes of events that are kept to fill one gap: ten pages of events of 4 KiB. One event may
/// have 64.
pub(crate) const MAX_GAP_BYTES: usize = 2 << 20;
/// Most updates of one room that wait for the one before; beyond them the room is caught up with.
pub(crate) const MAX_WAITING: usize = 64;
/// How often the homeserver is asked the same before we go on without.
const MAX_TRIES: u32 = 2;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Something to find out about a room.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// A page of history, backwards. Answer: [`Answer::Page`].
    Page {
        /// From where; `None`: from the newest event.
        from: Option<String>,
        /// How long to wait first.
        after: Duration,
    },
    /// Try to decrypt these. Answer: [`Answer::Unlock`].
    Unlock(Vec<Locked>),
    /// Whether the room is encrypted. Answer: [`Answer::Encryption`].
    Encryption {
        /// How long to wait first.
        after: Duration,
    },
    /// The whole state of the room, as far as calls are made of it. Answer: [`Answer::State`].
    State {
        /// Where to read it.
        from: Source,
        /// How long to wait first.
        after: Duration,
    },
}

/// Where the state of a room is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the SDK's store, where that has all of it; else at the homeserver.
    Nearest,
    /// At the homeserver: the store does not know yet what we have written.
    Homeserver,
}

/// What was found out; `None`: it could not be.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To [`Ask::Page`].
    Page(Option<Page>),
    /// To [`Ask::Unlock`], one for each event.
    Unlock(Vec<Option<Item>>),
    /// To [`Ask::Encryption`].
    Encryption(Option<bool>),
    /// To [`Ask::State`].
    State(Reading),
}

/// What became of reading the state of a room.
#[derive(Debug)]
pub(crate) enum Reading {
    /// It was read.
    Read(WholeState),
    /// We may not read it.
    Refused,
    /// Another time perhaps.
    Failed,
}

/// A page of history.
#[derive(Debug)]
pub(crate) struct Page {
    /// The events, newest first.
    pub(crate) items: Vec<Item>,
    /// Where it goes on; `None`: the room begins here.
    pub(crate) end: Option<String>,
}

/// Work that waits in a lane.
#[derive(Debug)]
pub(super) enum Work {
    /// What a sync response says.
    Update(RoomUpdate),
    /// Keys of these sessions came.
    Keys(Sessions),
}

/// Whether a lane has still something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// An answer is awaited.
    Asking,
    /// Nothing is left.
    Idle,
}

/// The work on one room. It exists while there is some.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: VecDeque<Work>,
    /// What awaits an answer.
    job: Option<Job>,
}

impl Lane {
    /// Puts work at the end. When too much waits, all of it is replaced by catching up, and the
    /// answer is `false`. Keys after keys are one piece of work: a busy room brings many.
    pub(super) fn push(&mut self, now: Now, room: &RoomId, work: Work) -> bool {
        let fits = self.waiting.len() < MAX_WAITING;
        match (self.waiting.back_mut(), work) {
            (Some(Work::Keys(waiting)), Work::Keys(more)) => waiting.merge(more),
            (_, work) if fits => self.waiting.push_back(work),
            _ => {
                let catch_up = Work::Update(RoomUpdate::catch_up(room.clone(), now));
                self.waiting = [catch_up, Work::Keys(Sessions::Any)].into();
                return false;
            }
        }
        true
    }

    /// Goes on until an answer is awaited or nothing waits.
    pub(super) fn run(&mut self, now: Now, room: &RoomId, shared: &mut Shared) -> Progress {
        while self.job.is_none() {
            let Some(work) = self.waiting.pop_front() else { return Progress::Idle };
            let update = shared.begin(now, room, work);
            let step = Job::begin(update, &shared.sight(now, room));
            self.follow(now, step, shared);
        }
        Progress::Asking
    }

    /// Takes the answer that was awaited, and goes on.
    pub(super) fn on_answer(
        &mut self,
        now: Now,
        room: &RoomId,
        answer: Answer,
        shared: &mut Shared,
    ) -> Progress {
        if let Some(job) = self.job.take() {
            let step = job.on_answer(answer, &shared.sight(now, room));
            self.follow(now, step, shared);
        }
        self.run(now, room, shared)
    }

    fn follow(&mut self, now: Now, step: Step, shared: &mut Shared) {
        match step {
            Step::Ask(job, ask) => {
                shared.ask(job.update.room.clone(), ask);
                self.job = Some(job);
            }
            Step::Done(done) => shared.finish(now, done),
        }
    }
}

/// What a job may look at.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    pub(super) now: Now,
    /// Whether calls have been in its room.
    pub(super) in_call: bool,
    pub(super) known: &'a Known,
}

/// One update on its way through the stages: it always awaits an answer.
#[derive(Debug)]
pub(super) struct Job {
    update: RoomUpdate,
    stage: Stage,
    /// How many of the update's items were not in it, but in its gap.
    filled: usize,
    unlocked: u64,
    unfilled: u64,
    continuity: Continuity,
}

/// Whether all is known that happened before an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuity {
    /// It follows on what is known.
    Whole,
    /// There may have been more.
    Broken,
}

/// What is being found out.
#[derive(Debug)]
enum Stage {
    /// What is in the gap.
    Fill(Fill),
    /// What the events at these places say.
    Unlock { places: Vec<usize> },
    /// Whether the room is encrypted.
    Encryption { tries: u32 },
}

/// A gap that is being filled.
#[derive(Debug)]
struct Fill {
    gap: Gap,
    /// What fills it, newest first.
    before: Vec<Item>,
    bytes: usize,
    pages: u32,
    /// How often this page could not be had.
    tries: u32,
}

/// How a job goes on.
#[derive(Debug)]
pub(super) enum Step {
    /// With an answer.
    Ask(Job, Ask),
    /// Not at all.
    Done(Done),
}

/// An update that has been worked through.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) room: RoomId,
    pub(super) encrypted: bool,
    /// All events, oldest first.
    pub(super) items: Vec<Item>,
    /// The room's state as it changed, in order.
    pub(super) facts: Vec<Fact>,
    /// Likewise, of the state that calls are made of.
    pub(super) state: Vec<Item>,
    /// Whether that is all that changed.
    pub(super) continuity: Continuity,
    /// When the update reached us.
    pub(super) received: Now,
    /// How many events could be decrypted after all.
    pub(super) unlocked: u64,
    /// How many gaps were left.
    pub(super) unfilled: u64,
}

/// How far a gap is filled.
enum Reach {
    More,
    /// All of it.
    Whole,
    /// All that can matter to a call between two.
    Enough,
    /// Something is left of it.
    Short,
}

impl Fill {
    fn new(gap: Gap) -> Self {
        Self { gap, before: Vec::new(), bytes: 0, pages: 0, tries: 0 }
    }

    fn ask(&self) -> Ask {
        Ask::Page { from: self.gap.from.clone(), after: PAUSE * self.tries }
    }

    fn on_page(&mut self, page: Option<Page>, sight: &Sight<'_>) -> Reach {
        let Some(page) = page else {
            self.tries += 1;
            return if self.tries < MAX_TRIES { Reach::More } else { Reach::Short };
        };
        self.tries = 0;
        self.pages += 1;
        for item in page.items {
            if item.id.as_ref().is_some_and(|id| sight.known.has(id)) {
                return Reach::Whole;
            }
            if !sight.in_call && item.age(sight.now) >= LONGEST_LIFE {
                return Reach::Enough;
            }
            self.bytes += item.bytes();
            if self.bytes > MAX_GAP_BYTES {
                return Reach::Short;
            }
            self.before.push(item);
        }
        match page.end {
            Some(_) if self.pages >= MAX_PAGES => Reach::Short,
            Some(end) => {
                self.gap.from = Some(end);
                Reach::More
            }
            None => Reach::Whole,
        }
    }
}

impl Job {
    /// The first step. A gap matters in a room with calls, and where something that is missing may
    /// be young enough.
    pub(super) fn begin(mut update: RoomUpdate, sight: &Sight<'_>) -> Step {
        let oldest = update.items.first();
        let is_young = oldest.is_none_or(|item| item.age(sight.now) < LONGEST_LIFE);
        let gap = update.gap.take();
        let continuity = gap.as_ref().map_or(Continuity::Whole, |_| Continuity::Broken);
        let gap = gap.filter(|_| sight.in_call || is_young);
        let (fill, unlock) = (gap.map(Fill::new), Stage::Unlock { places: Vec::new() });
        let job = Self { update, stage: unlock, filled: 0, unlocked: 0, unfilled: 0, continuity };
        match fill {
            Some(fill) => job.fill(fill),
            None => job.unlock(sight.now),
        }
    }

    /// The next step.
    pub(super) fn on_answer(mut self, answer: Answer, sight: &Sight<'_>) -> Step {
        let stage = std::mem::replace(&mut self.stage, Stage::Encryption { tries: 0 });
        match (stage, answer) {
            (Stage::Fill(mut fill), Answer::Page(page)) => match fill.on_page(page, sight) {
                Reach::More => self.fill(fill),
                Reach::Whole => {
                    self.continuity = Continuity::Whole;
                    self.close_gap(fill, sight.now)
                }
                Reach::Enough => self.close_gap(fill, sight.now),
                Reach::Short => {
                    self.unfilled += 1;
                    self.close_gap(fill, sight.now)
                }
            },
            (Stage::Unlock { places }, Answer::Unlock(items)) => self.on_unlocked(places, items),
            (Stage::Encryption { tries }, Answer::Encryption(encrypted)) => {
                self.update.encrypted = encrypted;
                self.encryption(tries + 1)
            }
            // Nobody answers what was not asked; if he did, we would go on without.
            (_, Answer::Page(_) | Answer::Unlock(_) | Answer::Encryption(_) | Answer::State(_)) => {
                Step::Done(self.into_done())
            }
        }
    }

    fn asks(mut self, stage: Stage, ask: Ask) -> Step {
        self.stage = stage;
        Step::Ask(self, ask)
    }

    // -------------------------------------------------------------------------------------- gaps

    fn fill(self, fill: Fill) -> Step {
        let ask = fill.ask();
        self.asks(Stage::Fill(fill), ask)
    }

    fn close_gap(mut self, fill: Fill, now: Now) -> Step {
        self.filled = fill.before.len();
        let mut items = fill.before;
        items.reverse();
        items.append(&mut self.update.items);
        self.update.items = items;
        self.unlock(now)
    }

    // -------------------------------------------------------------------------------------- keys

    fn unlock(self, now: Now) -> Step {
        let items = self.update.items.iter().enumerate();
        let locked = items.filter_map(|(place, item)| match &item.what {
            What::Locked(locked) if item.age(now) < LONGEST_LIFE => Some((place, locked.clone())),
            _ => None,
        });
        let (places, events): (Vec<usize>, Vec<Locked>) = locked.unzip();
        if events.is_empty() {
            return self.encryption(0);
        }
        self.asks(Stage::Unlock { places }, Ask::Unlock(events))
    }

    fn on_unlocked(mut self, places: Vec<usize>, answers: Vec<Option<Item>>) -> Step {
        for (place, answer) in places.into_iter().zip(answers) {
            if let (Some(old), Some(mut item)) = (self.update.items.get_mut(place), answer) {
                self.unlocked += 1;
                item.received = old.received;
                *old = item;
            }
        }
        self.encryption(0)
    }

    // -------------------------------------------------------------------------------- encryption

    /// Only what came in the clear needs to know.
    fn encryption(self, tries: u32) -> Step {
        let is_clear = self.update.items.iter().any(is_clear_call);
        if self.update.encrypted.is_some() || !is_clear || tries >= MAX_TRIES {
            return Step::Done(self.into_done());
        }
        self.asks(Stage::Encryption { tries }, Ask::Encryption { after: PAUSE * tries })
    }

    // -------------------------------------------------------------------------------------- done

    /// What came of it. A room of which nobody knows counts as encrypted: then the core believes
    /// nothing that came in the clear.
    fn into_done(self) -> Done {
        let RoomUpdate { room, encrypted, block, told, items, received, .. } = self.update;
        let (gap, timeline) = items.split_at(self.filled);
        let facts = match told {
            Told::Block | Told::BlockInPart => facts_of(&block).collect(),
            Told::Both => facts_of(gap).chain(facts_of(&block)).chain(facts_of(timeline)).collect(),
        };
        let state = match told {
            Told::Block => states_of(&block).collect(),
            Told::BlockInPart => states_of(&items).chain(states_of(&block)).collect(),
            Told::Both => {
                states_of(gap).chain(states_of(&block)).chain(states_of(timeline)).collect()
            }
        };
        Done {
            room,
            encrypted: encrypted.unwrap_or(true),
            facts,
            state,
            continuity: self.continuity,
            received,
            items,
            unlocked: self.unlocked,
            unfilled: self.unfilled,
        }
    }
}

fn facts_of(items: &[Item]) -> impl Iterator<Item = Fact> {
    items.iter().filter_map(|item| match &item.what {
        What::Fact(fact) => Some(fact.clone()),
        _ => None,
    })
}

fn states_of(items: &[Item]) -> impl Iterator<Item = Item> {
    items.iter().filter(|item| matches!(item.what, What::State(_))).cloned()
}

fn is_clear_call(item: &Item) -> bool {
    match &item.what {
        What::Call(call) => call.protection == Protection::Clear,
        _ => false,
    }
}

impl Ask {
    /// The answer when it could not be found out.
    pub(crate) fn failed(&self) -> Answer {
        match self {
            Self::Page { .. } => Answer::Page(None),
            Self::Unlock(_) => Answer::Unlock(Vec::new()),
            Self::Encryption { .. } => Answer::Encryption(None),
            Self::State { .. } => Answer::State(Reading::Failed),
        }
    }
}
