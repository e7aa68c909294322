//! The leave that the homeserver writes for us when it does not hear from us (MSC4140), in one room.
//!
//! ```text
//!            scheduled                 restarted every `delayed_restart`
//!  (nothing) ─────────▶ armed ────────────────────────────────────────▶ armed
//!      ▲                  │ gone (not found), or its time has passed: asleep, no network
//!      └──────────────────┘
//! ```
//!
//! It is best effort: being in a call never depends on it. But where it can be had, it stands before
//! our membership does, also after a sleep (T-29): whoever comes back first schedules, then writes.
//! One leave serves all our calls of a room, because one event holds them; it is cancelled when we
//! are out of all. One request is under way at a time.

use std::{collections::VecDeque, time::Duration};

use crate::{
    config::Timeouts,
    id::{DelayId, OpId},
    machine::{
        bounds::{MAX_CANCELLING, MAX_DELAYED_PAGES, MAX_DELAYED_TRIES},
        fingerprint::Fingerprint,
        io::{Fault, Reply},
    },
    time::{Deadline, Mono, Now, Wall},
    wire::{delayed::DelayedMember, member::MemberEntry},
};

/// After how many tries that did not reach the homeserver a membership waits no longer.
const PATIENCE: u32 = 3;

/// How long such a try counts: who writes later tries again first, because he may reach it by then.
const FRESH: Duration = Duration::from_secs(1);

/// A leave that stands at the homeserver, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Armed {
    id: DelayId,
    /// It is not sent before.
    until: Wall,
    /// What it leaves of our other devices.
    kept: Vec<MemberEntry>,
}

/// A leave that is not to be sent any more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unwanted {
    id: DelayId,
    tries: u32,
}

/// Why a membership is written without a leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    /// The homeserver does not take one now.
    Refused,
    /// It was not reached, at this moment.
    NotReached(Mono),
}

/// Looking for what a dead process has left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Search {
    #[default]
    NotYet,
    /// So many pages were seen, so often it failed; and where it goes on.
    Going {
        pages: usize,
        tries: u32,
        from: Option<String>,
    },
    Done,
}

/// What was asked of the homeserver.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Schedule { until: Wall, kept: Vec<MemberEntry> },
    Restart { until: Wall },
    Cancel,
    List,
}

/// What is to be asked of the homeserver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// A leave that keeps these entries of our other devices.
    Schedule(Vec<MemberEntry>),
    Restart(DelayId),
    Cancel(DelayId),
    List(Option<String>),
}

/// What an answer says of our membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing new.
    AsBefore,
    /// The leave is gone: it may have been sent.
    InDoubt,
}

/// What stands under our key of other devices, and how it differs from what a leave would keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others<'a> {
    /// `None`: nobody knows yet.
    pub(super) kept: Option<&'a [MemberEntry]>,
    /// Whether what goes out would say something else than what stands there.
    pub(super) differ: fn(&[MemberEntry], &[MemberEntry]) -> bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DelayedLeave {
    /// We are in a call of the room.
    needed: bool,
    /// The homeserver has no delayed events: it is not asked again during this stay.
    off: bool,
    armed: Option<Armed>,
    /// A membership is written without it.
    excuse: Option<Excuse>,
    tries: u32,
    /// When it is restarted, or tried again; `None`: at once.
    beat: Option<Mono>,
    unwanted: VecDeque<Unwanted>,
    /// When cancelling goes on; `None`: at once.
    clear_at: Option<Mono>,
    search: Search,
    asked: Option<(OpId, Asked)>,
}

impl DelayedLeave {
    // ------------------------------------------------------------------------------- wishes

    /// Whether we are in a call of the room.
    pub(super) fn set_needed(&mut self, needed: bool) {
        if needed && !self.needed {
            (self.off, self.excuse, self.tries, self.beat) = (false, None, 0, None);
            self.cleanse();
        }
        self.needed = needed;
    }

    /// What a dead process has left is looked for, once.
    pub(super) fn cleanse(&mut self) {
        if self.search == Search::NotYet {
            self.search_anew();
        }
    }

    /// Nothing of ours stands in the room: there is nothing to leave any more.
    pub(super) fn retire(&mut self, now: Now) {
        if let Some(armed) = self.armed.take().filter(|armed| armed.until > now.wall) {
            self.drop_leave(armed.id);
        }
    }

    /// The membership was written: some homeservers cancel our delayed events then, so the next
    /// restart comes at once.
    pub(super) fn verify(&mut self) {
        self.beat = None;
    }

    /// The network is back: what failed is tried at once, and a membership waits for it again.
    pub(super) fn on_network_back(&mut self) {
        (self.beat, self.clear_at) = (None, None);
        (self.excuse, self.tries) = (None, 0);
    }

    /// The time of the leave has passed, and it was not restarted: whether that is so.
    pub(super) fn lapse(&mut self, now: Now) -> bool {
        let over = self.armed.as_ref().is_some_and(|armed| armed.until <= now.wall);
        if !over || !self.needed || self.asked.is_some() {
            return false;
        }
        // The homeserver's clock may be slower.
        if let Some(armed) = self.armed.take() {
            self.drop_leave(armed.id);
        }
        self.arm_anew();
        true
    }

    /// Whether a membership waits for the leave.
    pub(super) fn holds_writes(&self, now: Now) -> bool {
        let stands = self.armed.as_ref().is_some_and(|armed| armed.until > now.wall);
        self.needed && !self.off && self.excuse.is_none() && !stands
    }

    /// A membership is to be written now.
    pub(super) fn on_write_wanted(&mut self, now: Now) {
        if let Some(Excuse::NotReached(at)) = self.excuse
            && now.mono.since(at) > FRESH
        {
            (self.excuse, self.beat) = (None, None);
        }
    }

    /// Our wall clock was set back.
    pub(super) fn on_clock_set_back(&mut self, by: Duration) {
        if let Some(armed) = &mut self.armed {
            armed.until = armed.until.minus(by);
        }
        if let Some((_, Asked::Schedule { until, .. } | Asked::Restart { until })) = &mut self.asked
        {
            *until = until.minus(by);
        }
    }

    // ------------------------------------------------------------------------------- asking

    /// What is to be asked now.
    pub(super) fn next(&self, now: Now, others: Others<'_>) -> Option<Want> {
        if self.asked.is_some() {
            return None;
        }
        self.next_of_leave(now, others).or_else(|| self.next_of_rest(now))
    }

    fn next_of_leave(&self, now: Now, others: Others<'_>) -> Option<Want> {
        if !self.needed || self.off {
            return None;
        }
        let due = self.beat.is_none_or(|at| at <= now.mono);
        let Some(armed) = &self.armed else {
            return others.kept.filter(|_| due).map(|kept| Want::Schedule(kept.to_vec()));
        };
        let changed = others.kept.filter(|kept| (others.differ)(kept, &armed.kept));
        match changed {
            // A snapshot that is old would bring back who left, or throw out who came.
            Some(kept) if self.tries == 0 || due => Some(Want::Schedule(kept.to_vec())),
            Some(_) | None => due.then(|| Want::Restart(armed.id.clone())),
        }
    }

    fn next_of_rest(&self, now: Now) -> Option<Want> {
        if self.clear_at.is_some_and(|at| at > now.mono) {
            return None;
        }
        if let Some(unwanted) = self.unwanted.front() {
            return Some(Want::Cancel(unwanted.id.clone()));
        }
        match &self.search {
            Search::Going { from, .. } => Some(Want::List(from.clone())),
            Search::NotYet | Search::Done => None,
        }
    }

    /// It was asked.
    pub(super) fn on_asked(&mut self, op: OpId, want: Want, now: Now, delay: Duration) {
        let until = now.wall.plus(delay);
        let asked = match want {
            Want::Schedule(kept) => Asked::Schedule { until, kept },
            Want::Restart(_) => Asked::Restart { until },
            Want::Cancel(_) => Asked::Cancel,
            Want::List(_) => Asked::List,
        };
        self.asked = Some((op, asked));
    }

    pub(super) fn awaits(&self, op: OpId) -> bool {
        self.asked.as_ref().is_some_and(|(asked, _)| *asked == op)
    }

    /// When what is to be asked changes by itself. What is due and not asked waits for something else
    /// (what other devices have written): a timer for it would never end.
    pub(super) fn deadlines(&self, now: Now) -> Deadlines {
        if self.asked.is_some() {
            return Deadlines::default();
        }
        let beats = self.needed && !self.off;
        let clears = !self.unwanted.is_empty() || matches!(self.search, Search::Going { .. });
        let ahead = |at: &Deadline| !now.until(*at).is_zero();
        let over = self.armed.as_ref().map(|armed| Deadline::Wall(armed.until));
        Deadlines {
            beat: self.beat.filter(|_| beats).map(Deadline::Mono).filter(ahead),
            over: over.filter(|_| beats).filter(ahead),
            clear: self.clear_at.filter(|_| clears).map(Deadline::Mono).filter(ahead),
        }
    }

    // -------------------------------------------------------------------------------- answers

    /// The homeserver answered. `is_ours` tells which of those that it lists are leaves of this device
    /// in this room.
    pub(super) fn on_reply(
        &mut self,
        result: Result<Reply, Fault>,
        now: Now,
        timeouts: &Timeouts,
        is_ours: impl Fn(&DelayedMember) -> bool,
    ) -> Standing {
        let Some((_, asked)) = self.asked.take() else { return Standing::AsBefore };
        let beat = now.mono.plus(timeouts.delayed_restart);
        match (asked, result) {
            (Asked::Schedule { until, kept }, Ok(Reply::Scheduled(id))) => {
                let late = until <= now.wall;
                self.supersede(Armed { id, until, kept });
                if late {
                    self.put_off(now, timeouts, Duration::ZERO);
                    self.excuse = Some(Excuse::Refused);
                } else {
                    (self.tries, self.excuse, self.beat) = (0, None, Some(beat));
                }
            }
            (Asked::Restart { until }, Ok(Reply::Done)) => {
                if let Some(armed) = &mut self.armed {
                    armed.until = until;
                }
                (self.tries, self.beat) = (0, Some(beat));
            }
            (Asked::Cancel, Ok(Reply::Done)) => drop(self.unwanted.pop_front()),
            (Asked::List, Ok(Reply::Delayed(page))) => {
                let present = self.armed.as_ref().map(|armed| &armed.id);
                let left = page.members.iter().filter(|it| Some(&it.id) != present && is_ours(it));
                let left: Vec<_> = left.map(|leave| leave.id.clone()).collect();
                left.into_iter().for_each(|id| self.drop_leave(id));
                self.on_page(page.next);
            }
            (asked, Ok(_)) => return self.on_fault(asked, Fault::Unsupported, now, timeouts),
            (asked, Err(fault)) => return self.on_fault(asked, fault, now, timeouts),
        }
        Standing::AsBefore
    }

    fn on_page(&mut self, next: Option<String>) {
        let Search::Going { pages, .. } = self.search else { return };
        let more = next.filter(|_| pages + 1 < MAX_DELAYED_PAGES);
        self.search = match more {
            Some(next) => Search::Going { pages: pages + 1, tries: 0, from: Some(next) },
            None => Search::Done,
        };
    }

    fn on_fault(&mut self, asked: Asked, fault: Fault, now: Now, timeouts: &Timeouts) -> Standing {
        match asked {
            Asked::Schedule { kept, .. } => self.on_not_scheduled(&fault, now, timeouts, kept),
            Asked::Restart { .. } => return self.on_not_restarted(&fault, now, timeouts),
            Asked::Cancel => self.on_not_cancelled(&fault, now, timeouts),
            Asked::List => self.on_not_listed(&fault, now, timeouts),
        }
        Standing::AsBefore
    }

    fn on_not_scheduled(
        &mut self,
        fault: &Fault,
        now: Now,
        timeouts: &Timeouts,
        kept: Vec<MemberEntry>,
    ) {
        if *fault == Fault::Unsupported {
            self.off = true;
            return;
        }
        // It may stand there, and nobody knows its name.
        if fault.is_ambiguous() {
            self.search_anew();
        }
        self.put_off(now, timeouts, wait(fault, timeouts));
        // The old leave is better than none, and must be kept alive.
        if let Some(armed) = &mut self.armed {
            armed.kept = kept;
            let beat = now.mono.plus(timeouts.delayed_restart);
            self.beat = self.beat.map(|at| at.min(beat));
        }
        let not_reached = Excuse::NotReached(now.mono);
        self.excuse = match fault {
            Fault::Unreachable => Some(not_reached).filter(|_| self.tries >= PATIENCE),
            Fault::Timeout | Fault::Cancelled => Some(not_reached),
            Fault::Panicked | Fault::Denied | Fault::NotFound => Some(Excuse::Refused),
            Fault::NoDeviceKeys | Fault::Token(_) => Some(Excuse::Refused),
            Fault::RateLimited { .. } | Fault::LoggedOut => Some(Excuse::Refused),
            Fault::Forbidden(_) | Fault::Unsupported | Fault::Failed(_) => Some(Excuse::Refused),
        };
    }

    fn on_not_restarted(&mut self, fault: &Fault, now: Now, timeouts: &Timeouts) -> Standing {
        if *fault == Fault::NotFound {
            self.armed = None;
            self.arm_anew();
            return if self.needed { Standing::InDoubt } else { Standing::AsBefore };
        }
        self.put_off(now, timeouts, wait(fault, timeouts));
        if fault.is_passing() {
            let longest = now.mono.plus(timeouts.delayed_restart.max(fault.pause_obeyed(timeouts)));
            self.beat = self.beat.map(|at| at.min(longest));
            return Standing::AsBefore;
        }
        // What cannot be kept alive would throw us out.
        if let Some(armed) = self.armed.take() {
            self.drop_leave(armed.id);
        }
        self.excuse = Some(Excuse::Refused);
        self.off |= *fault == Fault::Unsupported;
        Standing::AsBefore
    }

    fn on_not_cancelled(&mut self, fault: &Fault, now: Now, timeouts: &Timeouts) {
        let Some(mut unwanted) = self.unwanted.pop_front() else { return };
        unwanted.tries += 1;
        if fault.is_passing() && unwanted.tries < MAX_DELAYED_TRIES {
            let pause = fault.pause_before(unwanted.tries, timeouts);
            self.clear_at = Some(now.mono.plus(pause));
            self.unwanted.push_back(unwanted);
        }
    }

    fn on_not_listed(&mut self, fault: &Fault, now: Now, timeouts: &Timeouts) {
        let Search::Going { tries, .. } = &mut self.search else { return };
        *tries += 1;
        if !fault.is_passing() || *tries >= MAX_DELAYED_TRIES {
            self.search = Search::Done;
            return;
        }
        let pause = fault.pause_before(*tries, timeouts);
        self.clear_at = Some(now.mono.plus(pause));
    }

    // ----------------------------------------------------------------------------------- parts

    fn supersede(&mut self, armed: Armed) {
        if let Some(old) = self.armed.replace(armed) {
            self.drop_leave(old.id);
        }
    }

    fn drop_leave(&mut self, id: DelayId) {
        let known = self.unwanted.iter().any(|unwanted| unwanted.id == id);
        if !known && self.unwanted.len() < MAX_CANCELLING {
            self.unwanted.push_back(Unwanted { id, tries: 0 });
        }
    }

    fn arm_anew(&mut self) {
        (self.tries, self.excuse, self.beat) = (0, None, None);
    }

    fn search_anew(&mut self) {
        self.search = Search::Going { pages: 0, tries: 0, from: None };
    }

    fn put_off(&mut self, now: Now, timeouts: &Timeouts, at_least: Duration) {
        self.tries = self.tries.saturating_add(1);
        self.beat = Some(now.mono.plus(timeouts.retry_pause(self.tries).max(at_least)));
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.needed, self.off, self.excuse.is_some(), self.tries));
        if let Some(armed) = &self.armed {
            print.value((&armed.id, &armed.kept));
            print.deadline(Deadline::Wall(armed.until));
        }
        for at in [self.beat, self.clear_at] {
            print.value(at.is_some());
            print.deadline(Deadline::Mono(at.unwrap_or_default()));
        }
        print.value((self.unwanted.len(), matches!(self.search, Search::Going { .. })));
        print.value(self.asked.is_some());
        if let Some((op, _)) = &self.asked {
            print.op(*op);
        }
    }
}

/// When what is to be asked changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Deadlines {
    /// A restart, or another try.
    pub(super) beat: Option<Deadline>,
    /// Its time is over: wall, because a machine that sleeps does not restart.
    pub(super) over: Option<Deadline>,
    /// Cancelling goes on.
    pub(super) clear: Option<Deadline>,
}

/// How long to wait at least: what was refused for good (a quota) is tried again now and then.
fn wait(fault: &Fault, timeouts: &Timeouts) -> Duration {
    match fault.is_passing() {
        true => fault.pause_obeyed(timeouts),
        false => timeouts.membership_refresh,
    }
}

#[cfg(test)]
#[path = "delayed_tests.rs"]
mod tests;
