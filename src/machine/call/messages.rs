//! What others say about a call, bound to user and party before anything is believed.
//!
//! Who speaks is decided first ([`Voice`]), then what it means in the call's phase. Every
//! combination has a verdict of its own.

use super::{
    Call, Party, Phase,
    phase::{Incoming, Outgoing},
};
use crate::{
    id::PartyId,
    machine::{
        event::{CallEvent, EndReason},
        guard::Guard,
        io::{Ignored, Verdict},
        world::World,
    },
    wire::{
        call::{Body, CallMessage, Candidate, Capabilities, Header, Reason},
        delivery::Facts,
    },
};

/// Who speaks, as seen from one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// We, come back.
    Echo,
    /// The party that this call is with.
    Remote,
    /// The user that this call is with, while no party is chosen.
    Unchosen,
    /// The user that this call is with, through another party.
    OtherParty,
    /// Another device of ours.
    OtherDevice,
    /// Anybody else.
    Stranger,
}

impl Call {
    /// Takes one event of this call.
    pub(in crate::machine) fn on_message(
        &mut self,
        world: &mut World,
        facts: &Facts,
        message: CallMessage,
    ) -> Verdict {
        let speaker = self.speaker(world, facts, &message.header);
        if speaker == Speaker::Echo {
            return Verdict::Ignored(Ignored::Echo);
        }
        if self.phase.is_ended() && world.holds(Guard::EndedUnheard) {
            return Verdict::Ignored(Ignored::AlreadyOver);
        }
        if speaker == Speaker::Stranger {
            return Verdict::Ignored(Ignored::WrongSender);
        }
        let header = message.header;
        match message.body {
            Body::Invite(_) => Verdict::Ignored(Ignored::AlreadyExists),
            Body::Answer(_) if speaker == Speaker::OtherDevice => {
                self.on_elsewhere(world, EndReason::AnsweredElsewhere)
            }
            Body::Answer(answer) if self.is_called(world, facts, &header) => {
                self.on_answer(world, (facts, &header), &answer)
            }
            Body::Answer(_) => Verdict::Ignored(Ignored::WrongParty),
            Body::Candidates(candidates) => self.on_candidates(world, speaker, header, candidates),
            Body::SelectAnswer { selected } => self.on_select(world, speaker, &selected),
            Body::Reject { reason } => self.on_reject(world, speaker, header, reason),
            Body::Hangup { reason } => self.on_hangup(world, speaker, header, reason),
            // What is left belongs to a call that was answered.
            Body::MetadataChanged(_)
            | Body::AssertedIdentity(_)
            | Body::Negotiate(_)
            | Body::Replaces(_)
                if !is_remote(world, speaker) =>
            {
                Verdict::Ignored(Ignored::WrongParty)
            }
            Body::MetadataChanged(metadata) => {
                self.streams.set_metadata(Some(metadata));
                self.refresh_streams(world);
                Verdict::Handled
            }
            Body::AssertedIdentity(identity) => {
                self.tell(world, CallEvent::IdentityAsserted(identity));
                Verdict::Handled
            }
            Body::Negotiate(theirs) => {
                let can = theirs.capabilities;
                let verdict = self.on_negotiate(world, facts, theirs);
                self.on_capabilities(world, can.filter(|_| verdict == Verdict::Handled));
                verdict
            }
            Body::Replaces(replaces) => self.on_replaces(world, &replaces),
        }
    }

    fn speaker(&self, world: &World, facts: &Facts, header: &Header) -> Speaker {
        let ours = facts.sender == world.identity.user;
        if ours && header.party_id.as_ref() == Some(&self.shown.party_id) {
            return if world.holds(Guard::EchoIgnored) { Speaker::Echo } else { Speaker::Remote };
        }
        let theirs = self.remote_user() == Some(&facts.sender);
        if !theirs && world.holds(Guard::SenderBound) {
            return if ours { Speaker::OtherDevice } else { Speaker::Stranger };
        }
        match &self.party {
            Party::Open if self.is_called(world, facts, header) => Speaker::Unchosen,
            Party::Open => Speaker::OtherParty,
            Party::Chosen(party) if *party == header.party_id && self.is_pinned(world, facts) => {
                Speaker::Remote
            }
            Party::Chosen(_) if !world.holds(Guard::PartyPinned) => Speaker::Remote,
            // A call between our own devices: a third one speaks.
            Party::Chosen(_) if ours => Speaker::OtherDevice,
            Party::Chosen(_) => Speaker::OtherParty,
        }
    }

    /// What they say that they can do, with a description that counts. Silence unsays nothing.
    fn on_capabilities(&mut self, world: &mut World, can: Option<Capabilities>) {
        if let Some(can) = can.filter(|can| *can != self.shown.remote_capabilities) {
            self.tell(world, CallEvent::CapabilitiesChanged(can));
        }
    }

    /// Whether the answering device is one that was called, as far as it can be known.
    fn is_called(&self, world: &World, facts: &Facts, header: &Header) -> bool {
        let answering = facts.device.as_ref().or(header.device_id.as_ref());
        match (&self.callee_device, answering) {
            (Some(called), Some(answering)) => {
                called == answering || !world.holds(Guard::CalleeDeviceBound)
            }
            (_, _) => true,
        }
    }

    /// Whether the device that speaks is the one of the chosen party, where both are proven: the
    /// party's id is known to everybody in the room.
    fn is_pinned(&self, world: &World, facts: &Facts) -> bool {
        match (&self.remote_device, &facts.device) {
            (Some(pinned), Some(speaking)) => {
                pinned == speaking || !world.holds(Guard::DeviceBound)
            }
            (_, _) => true,
        }
    }

    /// Another device of ours took or refused the call: ringing stops at once (T-16). Once we
    /// have answered ourselves, the caller decides whom it selects.
    fn on_elsewhere(&mut self, world: &mut World, reason: EndReason) -> Verdict {
        let decided = !self.phase.is_ringing() && world.holds(Guard::AnsweredStays);
        if decided || !world.holds(Guard::ElsewhereStopsRinging) {
            return Verdict::Ignored(Ignored::WrongState);
        }
        self.end_by_them(world, reason);
        Verdict::Handled
    }

    fn on_candidates(
        &mut self,
        world: &mut World,
        speaker: Speaker,
        header: Header,
        candidates: Vec<Candidate>,
    ) -> Verdict {
        self.widen(world, &header);
        let kept = match speaker {
            Speaker::Remote => self.remote_candidates.push(candidates),
            Speaker::Unchosen => self.remote_candidates.park(header.party_id, candidates),
            Speaker::OtherParty | Speaker::OtherDevice => Err(Ignored::WrongParty),
            Speaker::Echo => Err(Ignored::Echo),
            Speaker::Stranger => Err(Ignored::WrongSender),
        };
        if speaker == Speaker::Remote {
            self.apply_candidates(world);
        }
        kept.map_or_else(Verdict::Ignored, |()| Verdict::Handled)
    }

    /// Takes the bounds of their candidates away, where a test wants none.
    fn widen(&mut self, world: &World, header: &Header) {
        if !world.holds(Guard::CandidatesBounded) {
            self.remote_candidates.uncount();
        }
        if !world.holds(Guard::PartiesBounded) {
            self.remote_candidates.admit(header.party_id.clone());
        }
    }

    fn on_select(&mut self, world: &mut World, speaker: Speaker, selected: &PartyId) -> Verdict {
        if self.is_outgoing() && world.holds(Guard::DirectionBound) {
            return Verdict::Ignored(Ignored::WrongDirection);
        }
        if speaker != Speaker::Remote {
            return Verdict::Ignored(Ignored::WrongParty);
        }
        if *selected != self.shown.party_id && world.holds(Guard::SelectionObeyed) {
            self.end_by_them(world, EndReason::AnsweredElsewhere);
            return Verdict::Handled;
        }
        match &self.phase {
            Phase::Connecting | Phase::Connected => Verdict::Handled,
            // Nobody can select an answer that we have not given.
            Phase::Incoming(_) | Phase::Outgoing(_) | Phase::Ended(_) => {
                Verdict::Ignored(Ignored::WrongState)
            }
        }
    }

    fn on_reject(
        &mut self,
        world: &mut World,
        speaker: Speaker,
        header: Header,
        reason: Option<Reason>,
    ) -> Verdict {
        match (&self.phase, speaker) {
            (Phase::Incoming(_), Speaker::OtherDevice) => {
                self.on_elsewhere(world, EndReason::RejectedElsewhere)
            }
            (Phase::Incoming(_), _) if world.holds(Guard::DirectionBound) => {
                Verdict::Ignored(Ignored::WrongDirection)
            }
            (_, Speaker::OtherParty | Speaker::OtherDevice) => {
                Verdict::Ignored(Ignored::WrongParty)
            }
            (Phase::Outgoing(Outgoing::Preparing(_)), _) if world.holds(Guard::UnsentUnheard) => {
                Verdict::Ignored(Ignored::WrongState)
            }
            // After an answer a reject of the same party is nonsense; it would hang up.
            (Phase::Connecting | Phase::Connected, _) if world.holds(Guard::RejectBeforeAnswer) => {
                Verdict::Ignored(Ignored::WrongState)
            }
            (Phase::Ended(_), _) => Verdict::Ignored(Ignored::WrongState),
            (_, _) => {
                self.end_refused(world, rejection(reason), header.party_id);
                Verdict::Handled
            }
        }
    }

    fn on_hangup(
        &mut self,
        world: &mut World,
        speaker: Speaker,
        header: Header,
        reason: Option<Reason>,
    ) -> Verdict {
        match (&self.phase, speaker) {
            (Phase::Incoming(Incoming::Ringing), Speaker::OtherDevice) => {
                self.on_elsewhere(world, EndReason::RejectedElsewhere)
            }
            (_, Speaker::OtherParty | Speaker::OtherDevice) if world.holds(Guard::PartyBound) => {
                Verdict::Ignored(Ignored::WrongParty)
            }
            (Phase::Outgoing(Outgoing::Preparing(_)), _) if world.holds(Guard::UnsentUnheard) => {
                Verdict::Ignored(Ignored::WrongState)
            }
            // It answered, and its answer is late; another of its devices may have answered too.
            (Phase::Outgoing(_), _) => {
                if reason == Some(Reason::Replaced) {
                    self.leave_vacant(world);
                }
                self.end_refused(world, hangup(reason), header.party_id);
                Verdict::Handled
            }
            (_, _) => {
                self.end_by_them(world, hangup(reason));
                Verdict::Handled
            }
        }
    }
}

/// Whether the chosen party speaks.
fn is_remote(world: &World, speaker: Speaker) -> bool {
    let called = speaker == Speaker::Unchosen && !world.holds(Guard::ChosenOnly);
    speaker == Speaker::Remote || called
}

fn hangup(reason: Option<Reason>) -> EndReason {
    match reason {
        None | Some(Reason::UserHangup | Reason::Unknown(_)) => EndReason::Hangup,
        Some(reason) => EndReason::Remote(reason),
    }
}

fn rejection(reason: Option<Reason>) -> EndReason {
    match reason {
        Some(Reason::UserBusy) => EndReason::Busy,
        None | Some(Reason::UserHangup | Reason::Unknown(_)) => EndReason::Rejected,
        Some(reason) => EndReason::Remote(reason),
    }
}
