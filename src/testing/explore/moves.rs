//! What happens at one seat, made once and remembered.
//!
//! What follows a move depends on the seat and the time alone, and a world of two seats has far
//! more states than each seat has for itself. So every seat that behaves alike is one value, shared
//! by all states, and every move of it is made once.

use std::{collections::HashMap, sync::Arc};

use super::seat::{Seat, Sent, room};
use crate::{
    id::{OpId, PeerId, SessionId, UserId},
    machine::io::{CallCommand, CallMedia, Callee, Command, Fault, Input, Reply},
    time::{Now, Wall},
};

/// What becomes of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// The homeserver says that it has it.
    Taken,
    /// It has it, and its answer is lost.
    AnswerLost,
    /// It never got it, and nobody knows.
    Lost,
    /// It did not take it, and says so.
    Refused,
}

/// Something that happens at one seat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Move {
    /// He calls whom he may call.
    Invites,
    /// He does something with a call.
    Does(SessionId, CallCommand),
    /// An event arrives, of whom, and sent when; whether for the last time.
    Hears(Sent, UserId, Wall, bool),
    /// A send is answered.
    Answered(OpId, Fate),
    /// What is due is done.
    Wakes,
    /// A connection comes about.
    Connects(PeerId),
}

/// The time, and whether sends may still fail.
pub(super) type Moment = (Now, bool);

/// What follows a move: the seat, and what it sent.
pub(super) type Outcome = Result<(Arc<Seat>, Vec<Sent>), String>;

/// All seats that were seen, and all moves that were made.
#[derive(Debug, Default)]
pub(super) struct Table {
    seats: HashMap<(u64, Now), Arc<Seat>>,
    moves: HashMap<(usize, Moment, Move), Outcome>,
}

impl Table {
    /// The one value of all seats that are like this one.
    pub(super) fn seat(&mut self, mut seat: Seat) -> Arc<Seat> {
        seat.number = self.seats.len();
        Arc::clone(self.seats.entry(seat.key()).or_insert_with(|| Arc::new(seat)))
    }

    /// How many different seats were seen.
    pub(super) fn seats(&self) -> usize {
        self.seats.len()
    }

    /// What follows a move.
    pub(super) fn make(&mut self, seat: &Arc<Seat>, moment: Moment, what: Move) -> Outcome {
        let key = (seat.number, moment, what);
        if let Some(known) = self.moves.get(&key) {
            return known.clone();
        }
        let mut after = (**seat).clone();
        let mut post = Vec::new();
        let done = after.make(moment, &key.2, &mut post);
        let outcome = done.map(|()| (self.seat(after), post));
        self.moves.insert(key, outcome.clone());
        outcome
    }
}

impl Seat {
    fn make(
        &mut self,
        (now, may_lose): Moment,
        what: &Move,
        post: &mut Vec<Sent>,
    ) -> Result<(), String> {
        self.may_lose = may_lose;
        match what {
            Move::Invites => {
                self.invited = true;
                let callee = Callee::User(self.role.callee.clone().ok_or("nobody to call")?);
                let media = CallMedia::Voice;
                let command = Command::Invite { room: room(), callee, media };
                self.input(now, Input::Command(command), post)
            }
            Move::Does(session, command) => {
                self.input(now, Input::Command(Command::Call(*session, command.clone())), post)
            }
            Move::Hears(sent, from, at, last) => {
                self.expect_again(&sent.event, *last);
                self.hear(now, (sent, from, *at), post)
            }
            Move::Answered(op, fate) => self.answered(now, (*op, *fate), post),
            Move::Wakes => self.wake(now, post),
            Move::Connects(end) => self.connect(now, *end, post),
        }
    }

    fn answered(
        &mut self,
        now: Now,
        (op, fate): (OpId, Fate),
        post: &mut Vec<Sent>,
    ) -> Result<(), String> {
        let sent = self.sends.remove(&op).ok_or("an answer to nothing")?;
        let result = match fate {
            Fate::Taken => {
                self.known.remove(&sent.event);
                let user = self.user().clone();
                self.hear(now, (&sent, &user, now.wall), post)?;
                Ok(Reply::Sent(sent.event))
            }
            Fate::AnswerLost => {
                self.known.insert(sent.event);
                Err(Fault::Timeout)
            }
            Fate::Lost => Err(Fault::Unreachable),
            Fate::Refused => Err(Fault::RateLimited { retry_after: None }),
        };
        self.input(now, Input::Reply(op, result), post)
    }
}
