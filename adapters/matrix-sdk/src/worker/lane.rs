//! The work on one room: one update after the other, each through its steps.

use std::{collections::VecDeque, time::Duration};

use matrix_voip::{id::RoomId, time::Now, wire::delivery::Protection};

use super::{LONGEST_LIFE, known::Known};
use crate::intake::{Fact, Gap, Item, Locked, RoomUpdate, Stated, What};

/// Most pages of history that are read to fill one gap.
pub(crate) const MAX_PAGES: u32 = 10;
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
    /// A key of this session came, or of any.
    Keys(Option<String>),
}

/// The work on one room. It exists while there is some.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: VecDeque<Work>,
    pub(super) job: Option<Job>,
}

impl Lane {
    /// Puts work at the end. When too much waits, all of it is replaced by catching up, and the
    /// answer is `false`.
    pub(super) fn push(&mut self, room: &RoomId, work: Work) -> bool {
        let fits = self.waiting.len() < MAX_WAITING;
        if fits {
            self.waiting.push_back(work);
        } else {
            let catch_up = Work::Update(RoomUpdate::catch_up(room.clone()));
            self.waiting = [catch_up, Work::Keys(None)].into();
        }
        fits
    }

    pub(super) fn next(&mut self) -> Option<Work> {
        self.waiting.pop_front()
    }
}

/// One update on its way through the steps.
#[derive(Debug)]
pub(super) struct Job {
    update: RoomUpdate,
    stage: Stage,
    /// What fills the gap, newest first.
    before: Vec<Item>,
    pages: u32,
    tries: u32,
    /// The places of the events that are being decrypted.
    locked: Vec<usize>,
    answer: Option<Answer>,
    /// How many of the update's items were not in it, but in its gap.
    filled: usize,
    /// Whether an answer is awaited.
    pub(super) asked: bool,
    unlocked: u64,
    unfilled: u64,
}

#[derive(Debug)]
enum Stage {
    Begin,
    Fill(Gap),
    Unlock,
    Encryption,
    Done,
}

/// What a job wants next.
#[derive(Debug)]
pub(super) enum Step {
    /// An answer.
    Ask(Ask),
    /// Nothing: [`Job::into_done`].
    Done,
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
    /// How many events could be decrypted after all.
    pub(super) unlocked: u64,
    /// How many gaps were left.
    pub(super) unfilled: u64,
}

impl Job {
    pub(super) fn new(update: RoomUpdate) -> Self {
        Self {
            update,
            stage: Stage::Begin,
            before: Vec::new(),
            pages: 0,
            tries: 0,
            locked: Vec::new(),
            answer: None,
            filled: 0,
            asked: false,
            unlocked: 0,
            unfilled: 0,
        }
    }

    /// Events that waited for a key are tried again.
    pub(super) fn retry(room: RoomId, items: Vec<Item>) -> Self {
        let quiet = RoomUpdate::catch_up(room);
        Self::new(RoomUpdate { gap: None, items, ..quiet })
    }

    /// Takes an answer; the next [`step`](Self::step) looks at it.
    pub(super) fn on_answer(&mut self, answer: Answer) {
        self.answer = Some(answer);
        self.asked = false;
    }

    /// Goes on until something must be asked or all is done.
    pub(super) fn step(&mut self, now: Now, in_call: bool, known: &Known) -> Step {
        let answer = self.answer.take();
        match answer {
            Some(Answer::Page(page)) => self.on_page(now, in_call, known, page),
            Some(Answer::Unlock(items)) => self.on_unlocked(items),
            Some(Answer::Encryption(encrypted)) => self.on_encryption(encrypted),
            None => {}
        }
        loop {
            let ask = match &self.stage {
                Stage::Begin => {
                    self.stage = self.first_stage(now, in_call);
                    None
                }
                Stage::Fill(gap) => {
                    Some(Ask::Page { from: gap.from.clone(), after: PAUSE * self.tries })
                }
                Stage::Unlock => self.unlock(now),
                Stage::Encryption => self.encryption(),
                Stage::Done => return Step::Done,
            };
            if let Some(ask) = ask {
                self.asked = true;
                return Step::Ask(ask);
            }
        }
    }

    /// A gap matters in a room with calls, and where something that is missing may be young enough.
    fn first_stage(&mut self, now: Now, in_call: bool) -> Stage {
        let oldest = self.update.items.first();
        let is_young = oldest.is_none_or(|item| item.age(now) < LONGEST_LIFE);
        match self.update.gap.take() {
            Some(gap) if in_call || is_young => Stage::Fill(gap),
            Some(_) | None => Stage::Unlock,
        }
    }

    // -------------------------------------------------------------------------------------- gaps

    fn on_page(&mut self, now: Now, in_call: bool, known: &Known, page: Option<Page>) {
        let Some(page) = page else {
            self.tries += 1;
            if self.tries >= MAX_TRIES {
                self.unfilled += 1;
                self.close_gap();
            }
            return;
        };
        self.tries = 0;
        self.pages += 1;
        for item in page.items {
            let is_known = item.id.as_ref().is_some_and(|id| known.has(id));
            if is_known || (!in_call && item.age(now) >= LONGEST_LIFE) {
                return self.close_gap();
            }
            self.before.push(item);
        }
        match page.end {
            Some(end) if self.pages < MAX_PAGES => {
                self.stage = Stage::Fill(Gap { from: Some(end) });
            }
            end => {
                self.unfilled += u64::from(end.is_some());
                self.close_gap();
            }
        }
    }

    fn close_gap(&mut self) {
        self.tries = 0;
        self.filled = self.before.len();
        let mut items = std::mem::take(&mut self.before);
        items.reverse();
        items.append(&mut self.update.items);
        self.update.items = items;
        self.stage = Stage::Unlock;
    }

    // -------------------------------------------------------------------------------------- keys

    fn unlock(&mut self, now: Now) -> Option<Ask> {
        let items = self.update.items.iter().enumerate();
        let locked = items.filter_map(|(place, item)| match &item.what {
            What::Locked(locked) if item.age(now) < LONGEST_LIFE => Some((place, locked.clone())),
            What::Locked(_) | What::Call(_) | What::Fact(_) | What::Forged | What::Other => None,
        });
        let (places, events): (Vec<usize>, Vec<Locked>) = locked.unzip();
        if events.is_empty() {
            self.stage = Stage::Encryption;
            return None;
        }
        self.locked = places;
        Some(Ask::Unlock(events))
    }

    fn on_unlocked(&mut self, answers: Vec<Option<Item>>) {
        for (place, answer) in std::mem::take(&mut self.locked).into_iter().zip(answers) {
            if let (Some(old), Some(mut item)) = (self.update.items.get_mut(place), answer) {
                self.unlocked += 1;
                item.received = old.received;
                *old = item;
            }
        }
        self.stage = Stage::Encryption;
    }

    // -------------------------------------------------------------------------------- encryption

    /// Only what came in the clear needs to know.
    fn encryption(&mut self) -> Option<Ask> {
        if self.update.encrypted.is_some() || !self.update.items.iter().any(is_clear_call) {
            self.stage = Stage::Done;
            return None;
        }
        Some(Ask::Encryption { after: PAUSE * self.tries })
    }

    fn on_encryption(&mut self, encrypted: Option<bool>) {
        self.tries += 1;
        self.update.encrypted = encrypted;
        if encrypted.is_some() || self.tries >= MAX_TRIES {
            self.stage = Stage::Done;
        }
    }

    // -------------------------------------------------------------------------------------- done

    /// What came of it. A room of which nobody knows counts as encrypted: then the core believes
    /// nothing that came in the clear.
    pub(super) fn into_done(self) -> Done {
        let RoomUpdate { room, encrypted, state, stated, items, .. } = self.update;
        let (gap, timeline) = items.split_at(self.filled);
        let facts = match stated {
            Stated::ByBlock => state,
            Stated::ByBoth => facts_of(gap).chain(state).chain(facts_of(timeline)).collect(),
        };
        Done {
            room,
            encrypted: encrypted.unwrap_or(true),
            facts,
            items,
            unlocked: self.unlocked,
            unfilled: self.unfilled,
        }
    }
}

fn facts_of(items: &[Item]) -> impl Iterator<Item = Fact> {
    items.iter().filter_map(|item| match &item.what {
        What::Fact(fact) => Some(fact.clone()),
        What::Call(_) | What::Locked(_) | What::Forged | What::Other => None,
    })
}

fn is_clear_call(item: &Item) -> bool {
    match &item.what {
        What::Call(call) => call.protection == Protection::Clear,
        What::Fact(_) | What::Locked(_) | What::Forged | What::Other => false,
    }
}

impl Ask {
    /// The answer when it could not be found out.
    pub(crate) fn failed(&self) -> Answer {
        match self {
            Self::Page { .. } => Answer::Page(None),
            Self::Unlock(_) => Answer::Unlock(Vec::new()),
            Self::Encryption { .. } => Answer::Encryption(None),
        }
    }
}
