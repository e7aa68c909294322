//! What this call waits for: the facts of `machine/explain.rs`, and what is noted for them alone.

use std::time::Duration;

use super::{
    Ask, Call, CallTimer, Gate, Phase, Role,
    negotiation::SignalingState,
    phase::{Incoming, Outgoing, Step},
};
use crate::{
    machine::{
        event::Hold,
        explain::{Before, Explanation, Need, Negotiating, Path, Sending, Standing, Wait, Work},
        hearing::{Hearing, Microphone},
        io::{Fault, MediaSource},
    },
    time::{Mono, Now},
};

/// What an explanation asks for and nothing else depends on: it is no part of the fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct History {
    /// When the phase or its step was entered.
    pub(super) since: Mono,
    /// When the homeserver took our invite or answer.
    pub(super) announced: Option<Mono>,
    /// When the message in flight left.
    pub(super) sent: Mono,
    /// When the connection was lost, the last time.
    pub(super) lost: Mono,
    /// Why the last try failed; `None` after one that did not.
    pub(super) fault: Option<Fault>,
    /// How many candidates their description brought.
    pub(super) described: usize,
}

impl Call {
    /// What it waits for, if the application knows of it.
    pub(in crate::machine) fn explain(&self, now: Now, turn_awaited: bool) -> Option<Explanation> {
        match self.role {
            Role::Session => {}
            Role::Parting => return None,
        }
        let since = if self.is_lost() { self.history.lost } else { self.history.since };
        Some(Explanation {
            state: self.phase.state(),
            wait: self.wait(now, turn_awaited),
            since: now.mono.since(since),
            left: self.left(now),
            hold: self.shown.hold,
            negotiating: self.negotiating(),
            restarting: self.negotiation.offers_restart(),
            restart: self.timers.get(&CallTimer::Restart).map(|at| now.until(*at)),
            sending: self.sending_now(now),
            microphone: self.microphone(),
            hearing: self.hearing(),
            microphone_track: self.media.ready(MediaSource::Microphone),
        })
    }

    fn microphone(&self) -> Microphone {
        let source = MediaSource::Microphone;
        match self.media.ready(source) {
            Some(_) if self.media.is_muted(source) => Microphone::Muted,
            Some(_) => Microphone::Open,
            None if self.media.is_gone(source) => Microphone::Missing,
            None if self.media.is_open(source) => Microphone::Opening,
            None => Microphone::Off,
        }
    }

    /// What their streams say of it, while media flows.
    fn hearing(&self) -> Option<Hearing> {
        let flows = matches!(self.phase, Phase::Connected) && !self.is_lost();
        let talks = flows && self.shown.hold == Hold::default();
        talks.then(|| Hearing::of_streams(&self.shown.streams)).flatten()
    }

    /// Whether a connection that was there is gone, however briefly.
    fn is_lost(&self) -> bool {
        !self.phase.is_ended() && self.has_timer(CallTimer::Lost)
    }

    fn negotiating(&self) -> Option<Negotiating> {
        match self.negotiation.turn() {
            // The first descriptions are what the call itself waits for.
            _ if !self.was_connected() => None,
            SignalingState::Stable => None,
            SignalingState::Offering(_) => Some(Negotiating::MakingOffer),
            SignalingState::Offered => Some(Negotiating::AwaitingAnswer),
            SignalingState::Settling => Some(Negotiating::TakingAnswer),
            SignalingState::Yielding => Some(Negotiating::Yielding),
            SignalingState::Answering(_) => Some(Negotiating::MakingAnswer),
        }
    }

    fn wait(&self, now: Now, turn_awaited: bool) -> Wait {
        match &self.phase {
            Phase::Outgoing(Outgoing::Preparing(step))
            | Phase::Incoming(Incoming::Answering(step)) => self.preparing(*step, turn_awaited),
            Phase::Outgoing(Outgoing::Inviting) => Wait::InviteAccepted,
            Phase::Outgoing(Outgoing::InviteSent) => Wait::TheirAnswer,
            Phase::Incoming(Incoming::Ringing) => Wait::OurAnswer,
            Phase::Connecting | Phase::Connected if self.is_lost() => {
                Wait::PathBack(self.path(now))
            }
            Phase::Connecting => Wait::Path(self.path(now)),
            Phase::Connected => Wait::Nothing,
            Phase::Ended(end) => Wait::Ended(end.clone()),
        }
    }

    fn preparing(&self, step: Step, turn_awaited: bool) -> Wait {
        match step {
            Step::Waiting => Wait::Needs(self.needs(turn_awaited)),
            Step::Opening => Wait::Engine(Work::Opening),
            Step::SettingRemote => Wait::Engine(Work::TakingTheirs),
            Step::Describing => Wait::Engine(Work::Describing),
            Step::SettingLocal => Wait::Engine(Work::PuttingIntoForce),
            Step::Gathering => Wait::Engine(Work::Gathering),
            Step::Reading => Wait::Engine(Work::ReadingBack),
        }
    }

    fn needs(&self, turn_awaited: bool) -> Vec<Need> {
        let members = self.remote_user().is_none().then_some(Need::Members);
        let permission = (self.gate == Gate::Closed).then_some(Need::Permission);
        let sources = self.asks.values().filter_map(|ask| match ask {
            Ask::Capture(source) => Some(Need::Source(*source)),
            Ask::Members | Ask::Open | Ask::SetRemote | Ask::Describe | Ask::SetLocal => None,
            Ask::Read | Ask::Rollback | Ask::Replace(_) | Ask::Switch(..) => None,
            Ask::Tones | Ask::Nothing | Ask::Send => None,
        });
        let turn = turn_awaited.then_some(Need::Turn);
        members.into_iter().chain(permission).chain(sources).chain(turn).collect()
    }

    fn path(&self, now: Now) -> Path {
        let before = match (self.is_outgoing(), self.history.announced) {
            (true, _) if self.remote_in_force => Before::AnswerTaken,
            (true, _) => Before::AnswerTaking,
            (false, Some(at)) => Before::AnswerSent(now.mono.since(at)),
            (false, None) => Before::AnswerLeaving,
        };
        Path {
            before,
            local: self.local_candidates.found(),
            remote: self.remote_candidates.known() + self.history.described,
            engine: self.peer_state,
        }
    }

    /// How long the call goes on as it is.
    fn left(&self, now: Now) -> Option<Duration> {
        let ends = [
            CallTimer::Ring,
            CallTimer::Invite,
            CallTimer::Unanswered,
            CallTimer::Connect,
            CallTimer::Lost,
            CallTimer::Farewell,
        ];
        let deadlines = ends.iter().filter_map(|timer| self.timers.get(timer));
        deadlines.map(|deadline| now.until(*deadline)).min()
    }

    fn sending_now(&self, now: Now) -> Option<Sending> {
        let first = self.outbox.first()?;
        let standing = if self.outbox.is_pausing() {
            let again = self.timers.get(&CallTimer::Retry);
            let left = again.map(|deadline| now.until(*deadline)).unwrap_or_default();
            Standing::Pausing(self.history.fault.clone(), left)
        } else {
            Standing::InFlight(now.mono.since(self.history.sent))
        };
        Some(Sending { what: first.kind, tries: first.tries, standing })
    }
}
