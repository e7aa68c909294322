//! What else a batch says about the call of an invite in it: whether that call is over already.

use std::{collections::BTreeMap, mem::discriminant};

use crate::{
    id::{CallId, PartyId, RoomId, UserId},
    machine::{guard::Guard, world::World},
    wire::{
        call::{Body, CallMessage, Header, Invite},
        delivery::Facts,
    },
};

/// An event at its place in the batch.
type End<'a> = (usize, &'a Facts, &'a CallMessage);

/// Which call, and who speaks of it.
type Speaker<'a> = (&'a CallId, &'a UserId, &'a Option<PartyId>);

/// The events of a batch that can end a call, of each speaker the last of its kind: so that a
/// batch is read once, however many invites and ends it holds.
#[derive(Default)]
pub(super) struct Ends<'a>(BTreeMap<Speaker<'a>, Vec<End<'a>>>);

impl<'a> Ends<'a> {
    pub(super) fn add(&mut self, at: usize, facts: &'a Facts, message: &'a CallMessage) {
        let Header { call_id, party_id, .. } = &message.header;
        let said = self.0.entry((call_id, &facts.sender, party_id)).or_default();
        said.retain(|(_, _, old)| discriminant(&old.body) != discriminant(&message.body));
        said.push((at, facts, message));
    }

    pub(super) fn after(&'a self, at: usize) -> Later<'a> {
        Later { ends: self, at }
    }
}

/// What follows an event in its batch.
#[derive(Clone, Copy)]
pub(super) struct Later<'a> {
    ends: &'a Ends<'a>,
    at: usize,
}

impl<'a> Later<'a> {
    /// What the caller and our other devices say of this call.
    pub(super) fn of(
        self,
        candidacy: &Candidacy<'a>,
        ours: &'a UserId,
    ) -> impl Iterator<Item = (&'a Facts, &'a CallMessage)> {
        let (Self { ends, at: now }, call) = (self, &candidacy.header.call_id);
        let caller = ends.0.get(&(call, &candidacy.facts.sender, &candidacy.header.party_id));
        let by_us = ends.0.range((call, ours, &None)..);
        let by_us = by_us.take_while(move |((c, user, _), _)| (*c, *user) == (call, ours));
        let said = caller.into_iter().chain(by_us.map(|(_, said)| said)).flatten();
        said.filter(move |(at, ..)| *at > now).map(|(_, facts, message)| (*facts, *message))
    }
}

pub(super) fn can_end(body: &Body) -> bool {
    match body {
        Body::Hangup { .. } | Body::SelectAnswer { .. } | Body::Answer(_) | Body::Reject { .. } => {
            true
        }
        Body::Invite(_)
        | Body::Candidates(_)
        | Body::Negotiate(_)
        | Body::MetadataChanged(_)
        | Body::AssertedIdentity(_)
        | Body::Replaces(_) => false,
    }
}

/// An invite that may or may not ring.
pub(super) struct Candidacy<'a> {
    pub(super) room: &'a RoomId,
    pub(super) facts: &'a Facts,
    pub(super) header: &'a Header,
    pub(super) invite: &'a Invite,
}

impl Candidacy<'_> {
    /// Whether this other event of the same room means that the invite must not ring: the caller
    /// gave up or chose another party, or a device of ours took or refused it.
    pub(super) fn is_ended_by(&self, world: &World, facts: &Facts, message: &CallMessage) -> bool {
        if message.header.call_id != self.header.call_id {
            return false;
        }
        let party: &Option<PartyId> = &message.header.party_id;
        let by_caller = (facts.sender == self.facts.sender && *party == self.header.party_id)
            || !world.holds(Guard::EndBound);
        let by_us = facts.sender == world.identity.user && !by_caller;
        match &message.body {
            Body::Hangup { .. } => by_caller || by_us,
            Body::SelectAnswer { .. } => by_caller,
            Body::Answer(_) | Body::Reject { .. } => by_us,
            Body::Invite(_)
            | Body::Candidates(_)
            | Body::Negotiate(_)
            | Body::MetadataChanged(_)
            | Body::AssertedIdentity(_)
            | Body::Replaces(_) => false,
        }
    }
}
