//! 1:1 calls: whether an invite rings, and what ends its ring.
//!
//! An end counts if the right one says it: the caller (his party included) hangs up or chooses who
//! answered, a device of ours answers, rejects or hangs up. Others can use an id that they have
//! seen; theirs is remembered until the invite shows who the caller is, and is nothing then.

use std::time::Duration;

use super::{Inspection, Look, RingCall, RingInfo, RingKind, RingSource, Style, Unusable};
use crate::{
    id::{CallId, PartyId, UserId},
    sdp,
    wire::{
        call::{Body, CallMessage, Header, Invite},
        delivery::Malformed,
        seen::{About, Note, Ringing, Said, What, Why},
    },
};

impl Look<'_> {
    pub(super) fn on_call(&mut self, message: &CallMessage) -> Inspection {
        let header = &message.header;
        match &message.body {
            Body::Invite(invite) => self.on_invite(header, invite),
            Body::Hangup { .. } => self.on_end(header, Said::Hangup),
            Body::SelectAnswer { .. } => self.on_end(header, Said::Selected),
            Body::Answer(_) | Body::Reject { .. } => self.on_end(header, Said::Taken),
            Body::Candidates(_)
            | Body::Negotiate(_)
            | Body::MetadataChanged(_)
            | Body::AssertedIdentity(_)
            | Body::Replaces(_) => Inspection::Nothing,
        }
    }

    fn on_invite(&mut self, header: &Header, invite: &Invite) -> Inspection {
        if self.is_for_others(header, invite) {
            return Inspection::NotForUs;
        }
        if sdp::check(invite.offer.expose()).is_err() {
            return Inspection::Unusable(Unusable::Malformed(Malformed::Wrong("offer.sdp")));
        }
        if let Some(known) = self.known_call(header) {
            return known;
        }
        let lifetime = invite.lifetime.min(self.config.timeouts.longest_invite);
        let left = lifetime.saturating_sub(self.age());
        if left.is_zero() {
            return Inspection::Expired;
        }
        let Some(event_id) = self.facts.event_id.clone() else {
            return Inspection::Unusable(Unusable::NoEventId);
        };
        let expires = self.now.plus(left);
        let info = RingInfo {
            room: self.room.clone(),
            caller: self.facts.sender.clone(),
            call: RingCall::OneToOne(header.call_id.clone()),
            kind: if invite.is_video() { RingKind::Video } else { RingKind::Voice },
            style: Style::Ring,
            expires,
            event_id,
        };
        let sent = self.facts.sent.unwrap_or(self.now);
        let ringing = Ringing { style: Style::Ring, sent, expires };
        let note = self.call_note(header, What::Rings(ringing));
        self.ring(info, note)
    }

    /// For another user or device, or a call of ours to somebody else.
    fn is_for_others(&self, header: &Header, invite: &Invite) -> bool {
        let us = self.identity;
        let to_another = invite.invitee.as_ref().is_some_and(|user| *user != us.user);
        let to_device = invite.invitee_device.as_ref();
        let to_another_device = to_device.is_some_and(|device| *device != us.device);
        let from = self.facts.device.as_ref().or(header.device_id.as_ref());
        let by_us = self.is_by_us() && (to_device.is_none() || from == Some(&us.device));
        to_another || to_another_device || by_us
    }

    /// The host's figure if there is one, which trusts one clock; else the difference of two.
    fn age(&self) -> Duration {
        let by_clocks = || self.facts.sent.map(|sent| self.now.since(sent));
        self.facts.age.or_else(by_clocks).unwrap_or_default()
    }

    /// What was seen of the call of this invite before.
    fn known_call(&self, header: &Header) -> Option<Inspection> {
        let Header { call_id, party_id, .. } = header;
        let about = About::Call(call_id.clone());
        let notes = || self.seen.of(self.now, self.room).filter(|note| note.about == about);
        let end = |note: &Note| match note.what {
            What::Over(why) => Some(why),
            What::Said(said) => self.ends(said, note, (&self.facts.sender, party_id)),
            What::Rings(_) | What::Left(_) | What::Joined(_) => None,
        };
        if let Some(why) = notes().find_map(end) {
            return Some(self.over(why, RingSource::Call(call_id.clone())));
        }
        notes().any(|note| matches!(note.what, What::Rings(_))).then_some(Inspection::Duplicate)
    }

    /// Whether what this note holds ends the call of this caller.
    fn ends(
        &self,
        said: Said,
        by: &Note,
        (caller, party): (&UserId, &Option<PartyId>),
    ) -> Option<Why> {
        let by_caller = by.by == *caller && by.party == *party;
        let by_us = by.by == self.identity.user && !by_caller;
        match said {
            Said::Hangup => (by_caller || by_us).then_some(Why::Ended),
            Said::Selected => by_caller.then_some(Why::Elsewhere),
            Said::Taken => by_us.then_some(Why::Elsewhere),
        }
    }

    /// Somebody says something that can end a ring.
    fn on_end(&mut self, header: &Header, said: Said) -> Inspection {
        let note = self.call_note(header, What::Said(said));
        match self.rung_call(&header.call_id) {
            Some(ring) => self.end_ring(ring, said, &note),
            None => self.park_end(said, note, &header.call_id),
        }
    }

    /// What is noted of a call that rings or rang.
    fn rung_call(&self, call: &CallId) -> Option<Note> {
        let mut notes = self.seen.of(self.now, self.room);
        let rung = |note: &&Note| {
            matches!(&note.about, About::Call(id) if id == call)
                && matches!(note.what, What::Rings(_) | What::Over(_))
        };
        notes.find(rung).cloned()
    }

    fn end_ring(&mut self, ring: Note, said: Said, by: &Note) -> Inspection {
        let Some(why) = self.ends(said, by, (&ring.by, &ring.party)) else {
            return Inspection::Nothing;
        };
        let About::Call(call) = &ring.about else { return Inspection::Nothing };
        let source = RingSource::Call(call.clone());
        // The first end is the one that counts.
        let why = if let What::Over(first) = ring.what { first } else { why };
        self.keep(Note { what: What::Over(why), until: by.until, ..ring });
        self.over(why, source)
    }

    /// Its invite may come later. Only a device of ours can end what we do not know.
    fn park_end(&mut self, said: Said, note: Note, call: &CallId) -> Inspection {
        if said == Said::Taken && !self.is_by_us() {
            return Inspection::Nothing;
        }
        self.keep(note);
        let why = match said {
            Said::Hangup if self.is_by_us() => Why::Ended,
            Said::Taken => Why::Elsewhere,
            Said::Hangup | Said::Selected => return Inspection::Nothing,
        };
        self.over(why, RingSource::Call(call.clone()))
    }

    fn call_note(&self, header: &Header, what: What) -> Note {
        let about = About::Call(header.call_id.clone());
        Note { party: header.party_id.clone(), ..self.note(about, what) }
    }
}
