//! A recording as a column of messages with times.

use std::{collections::BTreeMap, io::BufRead, time::Duration};

use super::{
    column::{Column, Kind, Line},
    device::deed,
    telling,
};
use crate::{
    id::OpId,
    machine::io::{
        Fault, Input, MatrixOp, Op, Output, PeerNews, Reply, RoomNews, SfuNews, Verdict,
    },
    record::{Entry, RecordError, Replay, Step},
    time::Mono,
    wire::delivery::{Delivery, Parsed},
};

/// A recording, lived through again: what happened, and how far the file goes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Replayed {
    /// What happened, with times from the start of the recording. Whose engine it was is `it`.
    pub column: Column,
    /// How many entries the engine was given.
    pub steps: u64,
    /// How many verdicts were not those of the live call: the recording is of another version of
    /// the library, or somebody changed it.
    pub differing: u64,
    /// Why the file ends before its end, if it does.
    pub torn: Option<RecordError>,
}

impl Replayed {
    /// Lives through a recording.
    ///
    /// # Errors
    /// [`RecordError`] when the first line is no header that this version knows.
    pub fn read(file: impl BufRead) -> Result<Self, RecordError> {
        let mut replay = Replay::open(file)?;
        let mut teller = Teller { start: replay.start().mono, ..Teller::default() };
        let (mut steps, mut differing, mut torn) = (0, 0, None);
        for step in replay.by_ref() {
            match step {
                Ok(step) => {
                    steps += 1;
                    differing += u64::from(!step.agrees());
                    teller.step(&step);
                }
                Err(error) => torn = Some(error),
            }
        }
        Ok(Self { column: Column(teller.lines), steps, differing, torn })
    }
}

/// Makes lines of steps.
#[derive(Default)]
struct Teller {
    start: Mono,
    lines: Vec<Line>,
    /// Events on their way to the homeserver.
    sending: BTreeMap<OpId, String>,
}

impl Teller {
    fn step(&mut self, step: &Step) {
        let at = step.at.mono.since(self.start);
        match &step.entry {
            Entry::Restored(ledger) => {
                let live = ledger.live.len();
                self.line(at, Kind::Deed, format!("takes up {live} calls of a dead process"));
            }
            Entry::Input(input, _) => self.input(at, input, step.verdict.as_ref()),
            Entry::Due => {}
        }
        for output in &step.outputs {
            if let Output::Request { id, op: Op::Matrix(op) } = output {
                let event_type = match op {
                    MatrixOp::SendEvent { event_type, .. }
                    | MatrixOp::SendClear { event_type, .. }
                    | MatrixOp::SendToDevice { event_type, .. }
                    | MatrixOp::SendState { event_type, .. } => Some(event_type.as_str()),
                    MatrixOp::Redact { .. } => Some("m.room.redaction"),
                    MatrixOp::Delay(_) => None,
                };
                if let Some(event_type) = event_type {
                    self.sending.insert(*id, event_type.to_owned());
                }
            }
            if let (kind, Some(what)) = telling::words(output) {
                self.line(at, kind, what);
            }
        }
        if let (false, Entry::Input(_, live)) = (step.agrees(), &step.entry) {
            self.line(at, Kind::Deed, format!("differs: the live verdict was {live:?}"));
        }
    }

    fn input(&mut self, at: Duration, input: &Input, verdict: Option<&Verdict>) {
        match input {
            Input::Command(command) => {
                let refused = match verdict {
                    Some(Verdict::Refused(refusal)) => format!(" (refused: {refusal})"),
                    _ => String::new(),
                };
                self.line(at, Kind::Deed, deed(command) + &refused);
            }
            Input::Deliver(delivery) => self.delivery(at, delivery, verdict),
            Input::Reply(id, result) => self.reply(at, *id, result),
            Input::State(state) => {
                let n = state.events.len();
                self.line(at, Kind::Detail, format!("gets {n} events of a room's state"));
            }
            Input::Peer(_, news) => {
                if let Some(what) = peer(news) {
                    self.line(at, Kind::Media, what);
                }
            }
            Input::Room(_, RoomNews::Left(user)) => {
                self.line(at, Kind::Detail, format!("hears that {user} left"));
            }
            Input::Sfu(_, SfuNews::State(state)) => {
                self.line(at, Kind::Media, format!("SFU: {state:?}").to_lowercase());
            }
            Input::Sfu(..) => {}
            Input::Room(..) | Input::IgnoredUsers(_) | Input::DeviceKeys(_) => {}
            Input::Network(news) => self.line(at, Kind::Deed, format!("network: {news:?}")),
            Input::Lifecycle(news) => self.line(at, Kind::Deed, format!("process: {news:?}")),
        }
    }

    fn delivery(&mut self, at: Duration, delivery: &Delivery, verdict: Option<&Verdict>) {
        for (place, event) in delivery.events.iter().enumerate() {
            let verdict = match verdict {
                Some(Verdict::Batch(verdicts)) => verdicts.get(place),
                other => other,
            };
            let Parsed { facts, event, event_type } = event;
            let fault = event.as_ref().err().map(|fault| format!(": {fault}")).unwrap_or_default();
            let fate = match verdict {
                Some(Verdict::Ignored(why)) => format!(" (ignored: {why:?}{fault})"),
                _ => String::new(),
            };
            self.line(at, Kind::Wire, format!("gets {event_type} of {}{fate}", facts.sender));
        }
    }

    fn reply(&mut self, at: Duration, id: OpId, result: &Result<Reply, Fault>) {
        let sent = self.sending.remove(&id);
        match (sent, result) {
            (Some(event), Ok(_)) => self.line(at, Kind::Wire, format!("sends {event}")),
            (Some(event), Err(fault)) => {
                self.line(at, Kind::Wire, format!("fails to send {event} ({fault})"));
            }
            (None, Err(Fault::Cancelled)) | (None, Ok(_)) => {}
            (None, Err(fault)) => {
                self.line(at, Kind::Media, format!("is told that request {id} failed ({fault})"));
            }
        }
    }

    fn line(&mut self, at: Duration, kind: Kind, what: String) {
        self.lines.push(Line { at, who: "it".to_owned(), what, kind });
    }
}

fn peer(news: &PeerNews) -> Option<String> {
    Some(match news {
        PeerNews::State(state) => format!("connection: {state:?}").to_lowercase(),
        PeerNews::TrackEnded(_) => "a local track ended".to_owned(),
        PeerNews::Candidate(_) | PeerNews::GatheringDone => return None,
        PeerNews::TrackAdded { .. } | PeerNews::TrackRemoved { .. } => return None,
    })
}
