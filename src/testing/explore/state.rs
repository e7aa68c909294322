//! One state of a small world, and the steps that lead out of it.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::{
    Order, Trouble,
    moves::{Fate, Move, Table},
    seat::{EPOCH, Seat, Sent},
};
use crate::{
    id::{OpId, PeerId, SessionId},
    machine::{
        event::CallState,
        io::{CallCommand, Tell},
    },
    time::{Now, Wall},
    wire::call::Body,
};

/// An event that has not arrived at one of its receivers.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    from: usize,
    to: usize,
    sent: Sent,
    at: Wall,
    /// It arrived already, and will again.
    heard: bool,
}

/// What of the way here the rules must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Past {
    /// Somebody rejected or hung up.
    pub(super) user_ended: bool,
    /// A long wait ended.
    pub(super) time_passed: bool,
    /// And that while events were under way.
    pub(super) delayed: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct State {
    now: Now,
    pub(super) seats: Vec<Arc<Seat>>,
    letters: Vec<Letter>,
    left: Trouble,
    order: Order,
    pub(super) past: Past,
}

/// Something that can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody calls whom he may call.
    Invites(usize),
    /// Somebody does something with a call.
    Does(usize, SessionId, CallCommand),
    /// A letter arrives; it may come once more.
    Arrives { letter: usize, again: bool },
    /// A send is answered.
    Answered(usize, OpId, Fate),
    /// Short waits are over.
    Wakes(usize),
    /// What can be connected is.
    Connects,
    /// Nothing else can happen, but time goes on.
    TimePasses,
    /// More than a lifetime passes although events are under way.
    Delay,
}

/// Longer than any invite of ours lives.
const LATE: Duration = Duration::from_secs(91);

impl State {
    pub(super) fn new(seats: Vec<Arc<Seat>>, left: Trouble, order: Order) -> Self {
        Self { now: EPOCH, seats, letters: Vec::new(), left, order, past: Past::default() }
    }

    /// A number that is equal for states from which the same can happen.
    pub(super) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for seat in &self.seats {
            seat.print().hash(&mut hasher);
        }
        let letter = |letter: &Letter| {
            let age = self.now.wall.since(letter.at);
            (letter.to, letter.from, letter.sent.event.clone(), age, letter.heard)
        };
        let mut letters: Vec<_> = self.letters.iter().map(letter).collect();
        match self.order {
            Order::Any => letters.sort(),
            Order::PerSender => letters.sort_by_key(|(to, from, ..)| (*to, *from)),
        }
        (letters, self.left, self.past).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether nothing is under way: only users and long waits can change anything.
    pub(super) fn is_quiet(&self) -> bool {
        let due = |seat: &Arc<Seat>| seat.wakes_in(self.now) == Some(Duration::ZERO);
        self.letters.is_empty()
            && !self.seats.iter().any(due)
            && self.seats.iter().all(|seat| seat.sends.is_empty())
            && self.ready_ends().is_empty()
    }

    // --------------------------------------------------------------------------- what can happen

    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (place, seat) in self.seats.iter().enumerate() {
            if seat.wakes_in(self.now) == Some(Duration::ZERO) {
                steps.push(Step::Wakes(place));
            }
            self.commands(place, seat, &mut steps);
            self.fates(place, seat, &mut steps);
        }
        if !self.ready_ends().is_empty() {
            steps.push(Step::Connects);
        }
        self.arrivals(&mut steps);
        if self.left.delays > 0 && !self.letters.is_empty() {
            steps.push(Step::Delay);
        }
        if self.is_quiet() && self.next_wait().is_some() {
            steps.push(Step::TimePasses);
        }
        steps
    }

    /// A letter about a call that is over where it arrives: when it does is no matter, so it does
    /// at once.
    fn moot(&self) -> Option<usize> {
        let over = |l: &Letter| self.seats[l.to].is_over(&l.sent.message.header.call_id);
        self.letters.iter().position(over)
    }

    fn commands(&self, place: usize, seat: &Seat, steps: &mut Vec<Step>) {
        if seat.role.callee.is_some() && !seat.invited {
            steps.push(Step::Invites(place));
        }
        if seat.role.idle {
            return;
        }
        for (session, call) in &seat.watch.calls {
            let commands: &[CallCommand] = match call.folded.state {
                CallState::Ended => &[],
                // To hang up while it rings is to reject.
                CallState::Ringing => {
                    &[CallCommand::Answer(None), CallCommand::Reject(Tell::Everyone)]
                }
                CallState::Preparing
                | CallState::InviteSent
                | CallState::Answering
                | CallState::Connecting
                | CallState::Connected => &[CallCommand::Hangup],
            };
            steps.extend(
                commands.iter().map(|command| Step::Does(place, *session, command.clone())),
            );
        }
    }

    fn fates(&self, place: usize, seat: &Seat, steps: &mut Vec<Step>) {
        for (op, sent) in &seat.sends {
            steps.push(Step::Answered(place, *op, Fate::Taken));
            if self.left.losses == 0 {
                continue;
            }
            steps.push(Step::Answered(place, *op, Fate::AnswerLost));
            let copies = self.letters.iter().filter(|l| l.sent == *sent && !l.heard);
            if copies.count() == self.seats.len() - 1 && !seat.known.contains(&sent.event) {
                steps.push(Step::Answered(place, *op, Fate::Lost));
                steps.push(Step::Answered(place, *op, Fate::Refused));
            }
        }
    }

    fn arrivals(&self, steps: &mut Vec<Step>) {
        for (place, letter) in self.letters.iter().enumerate() {
            let waits = self.order == Order::PerSender
                && self.letters[..place].iter().any(|l| (l.from, l.to) == (letter.from, letter.to));
            if waits {
                continue;
            }
            steps.push(Step::Arrives { letter: place, again: false });
            if self.left.duplicates > 0 {
                steps.push(Step::Arrives { letter: place, again: true });
            }
        }
    }

    /// Ends of connections that can come about and have not said so.
    fn ready_ends(&self) -> Vec<(usize, PeerId)> {
        let ends = || {
            let seats = self.seats.iter().enumerate();
            seats.flat_map(|(seat, s)| s.ends.iter().map(move |(id, end)| (seat, *id, end)))
        };
        let ready = ends().filter(|(_, _, end)| !end.connected && end.is_ready());
        let met = ready.filter(|(seat, _, end)| {
            end.connected
                || ends().any(|(other, _, far)| {
                    other != *seat
                        && far.is_ready()
                        && far.remote.as_ref() == Some(&end.credentials)
                        && end.remote.as_ref() == Some(&far.credentials)
                })
        });
        met.map(|(seat, id, _)| (seat, id)).collect()
    }

    fn next_wait(&self) -> Option<Duration> {
        self.seats.iter().filter_map(|seat| seat.wakes_in(self.now)).min()
    }

    // ------------------------------------------------------------------------------ what happens

    /// The state after a step; an error says which rule it broke.
    pub(super) fn after(&self, step: &Step, table: &mut Table) -> Result<Self, String> {
        let mut state = self.clone();
        state.take(step, table)?;
        while let Some(moot) = state.moot() {
            state.arrive(moot, false, table)?;
        }
        Ok(state)
    }

    fn take(&mut self, step: &Step, table: &mut Table) -> Result<(), String> {
        match step.clone() {
            Step::Invites(place) => self.make(place, Move::Invites, table),
            Step::Does(place, session, command) => {
                self.past.user_ended |= !matches!(command, CallCommand::Answer(_));
                self.make(place, Move::Does(session, command), table)
            }
            Step::Arrives { letter, again } => self.arrive(letter, again, table),
            Step::Answered(place, op, fate) => self.answered(place, (op, fate), table),
            Step::Wakes(place) => self.make(place, Move::Wakes, table),
            Step::Connects => self
                .ready_ends()
                .into_iter()
                .try_for_each(|(place, end)| self.make(place, Move::Connects(end), table)),
            Step::TimePasses => {
                self.pass(self.next_wait().unwrap_or_default(), table);
                Ok(())
            }
            Step::Delay => {
                self.left.delays -= 1;
                self.past.delayed = true;
                self.pass(LATE, table);
                Ok(())
            }
        }
    }

    fn pass(&mut self, span: Duration, table: &mut Table) {
        self.past.time_passed = true;
        self.now = self.now.plus(span);
        for seat in &mut self.seats {
            *seat = table.seat(seat.later(self.now));
        }
    }

    fn arrive(&mut self, place: usize, again: bool, table: &mut Table) -> Result<(), String> {
        let Letter { from, to, sent, at, .. } = if again {
            self.left.duplicates -= 1;
            self.letters[place].heard = true;
            self.letters[place].clone()
        } else {
            self.letters.remove(place)
        };
        let sender = self.seats[from].user().clone();
        self.make(to, Move::Hears(sent, sender, at, !again), table)
    }

    fn answered(
        &mut self,
        place: usize,
        (op, fate): (OpId, Fate),
        table: &mut Table,
    ) -> Result<(), String> {
        let sent = self.seats[place].sends.get(&op).ok_or("an answer to nothing")?;
        match fate {
            Fate::Taken => {}
            Fate::AnswerLost => self.left.losses -= 1,
            Fate::Lost | Fate::Refused => {
                self.left.losses -= 1;
                self.letters.retain(|letter| letter.sent != *sent);
            }
        }
        self.make(place, Move::Answered(op, fate), table)
    }

    /// Lets something happen at a seat; what it sends goes to all others.
    fn make(&mut self, place: usize, what: Move, table: &mut Table) -> Result<(), String> {
        let moment = (self.now, self.left.losses > 0);
        let (seat, post) = table.make(&self.seats[place], moment, what)?;
        self.seats[place] = seat;
        let at = self.now.wall;
        for sent in post {
            for to in (0..self.seats.len()).filter(|to| *to != place) {
                self.letters.push(Letter { from: place, to, sent: sent.clone(), at, heard: false });
            }
        }
        Ok(())
    }

    // ---------------------------------------------------------------------------------- in words

    /// A step in words.
    pub(super) fn tell(&self, step: &Step) -> String {
        let name = |place: usize| self.seats[place].name();
        let about = |sent: &Sent| {
            let what = match &sent.message.body {
                Body::Hangup { reason: Some(reason) } => format!(" ({reason:?})"),
                _ => String::new(),
            };
            format!("{}{what} of {}", sent.event_type, sent.message.header.call_id)
        };
        match step {
            Step::Invites(place) => format!("{} calls", name(*place)),
            Step::Does(place, session, command) => {
                let call = self.seats[*place].watch.calls.get(session);
                let id = call.map(|call| call.folded.call_id.to_string()).unwrap_or_default();
                format!("{}: {command:?} {id}", name(*place))
            }
            Step::Arrives { letter, again } => {
                let Letter { to, sent, .. } = &self.letters[*letter];
                let again = if *again { ", and will again" } else { "" };
                format!("{} hears {}{again}", name(*to), about(sent))
            }
            Step::Answered(place, op, fate) => {
                let sent = self.seats[*place].sends.get(op).map(about).unwrap_or_default();
                format!("{}: send of {sent}: {fate:?}", name(*place))
            }
            Step::Wakes(place) => format!("{}: short waits are over", name(*place)),
            Step::Connects => "media flows".to_owned(),
            Step::TimePasses => "time passes".to_owned(),
            Step::Delay => "more than a lifetime passes".to_owned(),
        }
    }

    /// How all calls stand.
    pub(super) fn calls(&self) -> String {
        let mut text = String::new();
        for seat in &self.seats {
            let _ = write!(text, "| {}", seat.role.identity.device);
            for call in seat.calls() {
                let why = call.end.as_ref().map(|end| format!(" ({end})")).unwrap_or_default();
                let id: String = call.call_id.as_str().chars().take(4).collect();
                let _ = write!(text, " {id}: {}{why}", call.state);
            }
            text.push(' ');
        }
        text
    }
}
