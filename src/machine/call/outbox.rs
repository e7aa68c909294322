//! The signalling of one call: one message in flight, order kept, retried until it no longer
//! matters (T-11).

use std::{collections::VecDeque, time::Duration};

use crate::{
    config::Timeouts,
    id::OpId,
    machine::{
        bounds::{MAX_CANDIDATE_TRIES, MAX_QUEUED},
        event::MessageKind,
        fingerprint::Fingerprint,
        io::Fault,
    },
    wire::call::{Body, CallMessage, SdpKind},
};

/// One message to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) kind: MessageKind,
    pub(super) message: CallMessage,
    /// The same in each try, so that the homeserver takes it once.
    pub(super) transaction: String,
    pub(super) tries: u32,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The homeserver has it.
    Accepted(MessageKind),
    /// To be tried again after this pause.
    Later(Duration),
    /// It will never be accepted, or was tried often enough.
    GivenUp(MessageKind, Fault),
}

/// Messages in order, at most one of them in flight.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Message>,
    in_flight: Option<OpId>,
    pausing: bool,
}

impl Outbox {
    /// Puts a message behind those that wait. Candidates join candidates that are not yet on
    /// their way, and new metadata replaces old: so however long nothing can be sent, what is
    /// pushed last is not lost for want of room. None of it passes a description: candidates are
    /// of the last one, and its own metadata is older.
    pub(super) fn push(&mut self, message: Message) {
        let has_room = self.queue.len() < MAX_QUEUED;
        let alike = |queued: &&mut Message| queued.tries == 0 && queued.kind == message.kind;
        let behind = self.queue.iter_mut().rev().take_while(|queued| !queued.kind.describes());
        let waiting = { behind }.find(alike);
        let waiting = waiting.map(|queued| &mut queued.message.body);
        match (waiting, message.message.body) {
            (Some(Body::Candidates(waiting)), Body::Candidates(more)) => waiting.extend(more),
            (Some(Body::MetadataChanged(old)), Body::MetadataChanged(new)) => *old = new,
            (_, body) if has_room => {
                let message =
                    Message { message: CallMessage { body, ..message.message }, ..message };
                self.queue.push_back(message);
            }
            (_, _) => {}
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.pausing, self.in_flight.is_some(), self.queue.len()));
        if let Some(op) = self.in_flight {
            print.op(op);
        }
        for message in &self.queue {
            print.value((message.kind, &message.message, message.tries));
        }
    }

    /// The message to be sent now, if one may be.
    pub(super) fn next(&mut self) -> Option<&mut Message> {
        if self.in_flight.is_some() || self.pausing {
            return None;
        }
        let message = self.queue.front_mut()?;
        message.tries += 1;
        Some(message)
    }

    /// The message that `next` gave is on its way under this id.
    pub(super) fn sent_as(&mut self, op: OpId) {
        self.in_flight = Some(op);
    }

    /// Whether this request is the message in flight.
    pub(super) fn is_in_flight(&self, op: OpId) -> bool {
        self.in_flight == Some(op)
    }

    /// The try was answered.
    pub(super) fn on_reply(
        &mut self,
        result: Result<(), Fault>,
        timeouts: &Timeouts,
    ) -> Option<Outcome> {
        self.in_flight = None;
        let message = self.queue.front()?;
        let (kind, tries) = (message.kind, message.tries);
        let Err(fault) = result else {
            self.queue.pop_front();
            return Some(Outcome::Accepted(kind));
        };
        let spent = kind == MessageKind::Candidates && tries >= MAX_CANDIDATE_TRIES;
        if spent || !fault.is_passing() {
            self.queue.pop_front();
            return Some(Outcome::GivenUp(kind, fault));
        }
        self.pausing = true;
        Some(Outcome::Later(pause(tries, &fault, timeouts)))
    }

    /// The pause is over.
    pub(super) fn resume(&mut self) {
        self.pausing = false;
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.pausing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The message that is in flight, or is tried next.
    pub(super) fn first(&self) -> Option<&Message> {
        self.queue.front()
    }

    /// Whether the first message is the invite or the answer.
    pub(super) fn is_announcing(&self) -> bool {
        let first = self.queue.front().map(|message| message.kind);
        matches!(first, Some(MessageKind::Invite | MessageKind::Answer))
    }

    /// Whether the invite or answer is in flight.
    pub(super) fn is_announcing_now(&self) -> bool {
        self.in_flight.is_some() && self.is_announcing()
    }

    /// Whether the first message is the farewell.
    pub(super) fn is_saying_goodbye(&self) -> bool {
        self.queue.front().is_some_and(|message| message.kind == MessageKind::Farewell)
    }

    /// Drops what has not been tried. What was tried may have arrived, so order demands that its
    /// fate is known before anything else leaves. Whom we selected is still said: other devices
    /// that answered wait to hear it.
    pub(super) fn drop_untried(&mut self) {
        let tried = |message: &Message| message.tries > 0 && self.in_flight.is_some();
        self.queue.retain(|message| tried(message) || message.kind == MessageKind::SelectAnswer);
        if self.queue.is_empty() {
            self.pausing = false;
        }
    }

    /// Drops an offer that was taken back; whether it may have left.
    pub(super) fn drop_offer(&mut self) -> bool {
        let is_offer = |queued: &Message| matches!(&queued.message.body, Body::Negotiate(ours) if ours.description.kind == SdpKind::Offer);
        let in_flight = self.in_flight.is_some();
        let mut first = true;
        let mut waits_untried = false;
        self.queue.retain(|queued| {
            let is_flying = std::mem::take(&mut first) && in_flight;
            let drops = is_offer(queued) && !is_flying;
            waits_untried |= drops && queued.tries == 0;
            !drops
        });
        !waits_untried
    }

    /// Does not try the first message again.
    pub(super) fn abandon_first(&mut self) {
        self.queue.pop_front();
        self.pausing = false;
    }

    /// Drops everything, also what is in flight; gives back its id.
    pub(super) fn clear(&mut self) -> Option<OpId> {
        self.queue.clear();
        self.pausing = false;
        self.in_flight.take()
    }
}

/// Longer with each try; the homeserver's own wish goes before, but a
/// wish for no pause at all.
fn pause(tries: u32, fault: &Fault, timeouts: &Timeouts) -> Duration {
    if let Some(wish) = fault.asked_pause() {
        return wish
            .clamp(timeouts.retry_first.min(timeouts.longest_invite), timeouts.longest_invite);
    }
    timeouts.retry_pause(tries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::CallId,
        wire::call::{Candidate, Header, Version},
    };

    fn message(kind: MessageKind, body: Body) -> Message {
        let header = Header {
            call_id: CallId::parse("c").unwrap(),
            party_id: None,
            version: Version::V1,
            device_id: None,
            leg: None,
        };
        Message { kind, message: CallMessage { header, body }, transaction: "t".into(), tries: 0 }
    }

    fn waiting(outbox: &Outbox) -> usize {
        let bodies = outbox.queue.iter().map(|message| &message.message.body);
        bodies.map(|body| if let Body::Candidates(c) = body { c.len() } else { 0 }).sum()
    }

    fn candidates(texts: &[&str]) -> Message {
        let list = texts.iter().map(|t| Candidate { candidate: (*t).into(), ..Candidate::end() });
        message(MessageKind::Candidates, Body::Candidates(list.collect()))
    }

    fn hangup() -> Message {
        message(MessageKind::Farewell, Body::Hangup { reason: None })
    }

    #[test]
    fn how_it_stands_is_told_and_is_part_of_the_fingerprint() {
        let (mut outbox, timeouts) = (Outbox::default(), Timeouts::default());
        let mut prints = std::collections::BTreeSet::new();
        let mut note = |outbox: &Outbox| {
            assert!(prints.insert(Fingerprint::of(|print| outbox.fingerprint(print))));
            (outbox.is_empty(), outbox.is_announcing(), outbox.is_announcing_now(), outbox.pausing)
        };
        assert_eq!(note(&outbox), (true, false, false, false));
        outbox.push(message(MessageKind::Answer, Body::Hangup { reason: None }));
        assert_eq!(note(&outbox), (false, true, false, false));
        assert!(outbox.next().is_some());
        outbox.sent_as(OpId(1));
        assert_eq!(note(&outbox), (false, true, true, false));
        outbox.on_reply(Err(Fault::Timeout), &timeouts);
        assert_eq!(note(&outbox), (false, true, false, true));
        assert!(outbox.is_pausing());
        outbox.resume();
        assert!(!outbox.is_pausing());
    }

    #[test]
    fn one_message_is_in_flight_and_the_order_is_kept() {
        let (mut outbox, timeouts) = (Outbox::default(), Timeouts::default());
        outbox.push(candidates(&["a"]));
        outbox.push(hangup());
        assert_eq!(outbox.next().unwrap().kind, MessageKind::Candidates);
        outbox.sent_as(OpId(1));
        assert!(outbox.is_in_flight(OpId(1)) && !outbox.is_in_flight(OpId(2)));
        assert_eq!(outbox.next(), None);
        let outcome = outbox.on_reply(Ok(()), &timeouts);
        assert_eq!(outcome, Some(Outcome::Accepted(MessageKind::Candidates)));
        assert_eq!(outbox.next().unwrap().kind, MessageKind::Farewell);
        outbox.sent_as(OpId(2));
        outbox.on_reply(Ok(()), &timeouts);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_failed_message_keeps_its_place_and_its_content() {
        let (mut outbox, timeouts) = (Outbox::default(), Timeouts::default());
        outbox.push(candidates(&["a", "b"]));
        for pause in [1, 2, 4, 8, 16] {
            assert!(outbox.next().is_some());
            outbox.sent_as(OpId(1));
            let outcome = outbox.on_reply(Err(Fault::Unreachable), &timeouts);
            assert_eq!(outcome, Some(Outcome::Later(Duration::from_secs(pause))));
            assert_eq!(outbox.next(), None, "it pauses");
            outbox.push(candidates(&["c"]));
            let came = usize::try_from(pause.ilog2()).unwrap() + 1;
            assert_eq!(waiting(&outbox), 2 + came, "those that come meanwhile wait behind");
            outbox.resume();
        }
        assert!(outbox.next().is_some());
        let outcome = outbox.on_reply(Err(Fault::Unreachable), &timeouts);
        assert_eq!(outcome, Some(Outcome::GivenUp(MessageKind::Candidates, Fault::Unreachable)));
    }

    #[test]
    fn the_longest_pause_and_the_servers_wish_are_kept() {
        let timeouts = Timeouts::default();
        assert_eq!(pause(40, &Fault::Timeout, &timeouts), Duration::from_secs(16));
        let wish = |s| Fault::RateLimited { retry_after: Some(Duration::from_secs(s)) };
        assert_eq!(pause(1, &wish(7), &timeouts), Duration::from_secs(7));
        assert_eq!(pause(1, &wish(9999), &timeouts), timeouts.longest_invite);
    }

    #[test]
    fn what_is_refused_for_good_is_given_up_at_once() {
        let (mut outbox, timeouts) = (Outbox::default(), Timeouts::default());
        outbox.push(hangup());
        outbox.next();
        let outcome = outbox.on_reply(Err(Fault::Forbidden("M_FORBIDDEN".into())), &timeouts);
        let fault = Fault::Forbidden("M_FORBIDDEN".into());
        assert_eq!(outcome, Some(Outcome::GivenUp(MessageKind::Farewell, fault)));
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut outbox = Outbox::default();
        for _ in 0..=MAX_QUEUED {
            outbox.push(hangup());
        }
        assert_eq!(outbox.queue.len(), MAX_QUEUED);
    }

    #[test]
    fn dropping_the_untried_keeps_only_what_is_in_flight() {
        let mut outbox = Outbox::default();
        outbox.push(candidates(&["a"]));
        outbox.push(hangup());
        outbox.drop_untried();
        assert!(outbox.is_empty());
        outbox.push(candidates(&["a"]));
        outbox.push(hangup());
        outbox.next();
        outbox.sent_as(OpId(1));
        outbox.drop_untried();
        assert_eq!((outbox.queue.len(), outbox.queue[0].kind), (1, MessageKind::Candidates));
        assert_eq!(outbox.clear(), Some(OpId(1)));
    }
}
