//! How much memory an entry takes while it waits for the writer, roughly: what others can make large
//! is counted, everything else is a lump.

use crate::{
    machine::io::{Command, Input, PeerNews, Reply, RoomNews},
    wire::{
        call::{Body, Candidate, Invite},
        delivery::{Content, Delivery, Malformed, Parsed},
        keys::{KeyBody, KeyMessage},
        ledger::Ledger,
        metadata::StreamMetadata,
        rtc::RtcEvent,
        state::{RoomState, StateContent},
    },
};

/// An input in which nothing is large, or one event without its texts.
pub(super) const LEAST: usize = 1024;

/// One candidate, one user, one stream, one call of the ledger: an id and what goes with it.
const SMALL: usize = 256;

/// What an input takes, and its verdict with it.
pub(super) fn of(input: &Input) -> usize {
    LEAST
        + match input {
            Input::Deliver(delivery) => of_delivery(delivery),
            Input::Reply(_, Ok(reply)) => of_reply(reply),
            Input::Room(_, RoomNews::Members(users)) | Input::IgnoredUsers(users) => {
                users.len() * SMALL
            }
            Input::Peer(_, PeerNews::Candidate(candidate)) => of_candidate(candidate),
            Input::State(state) => of_state(state),
            Input::Command(Command::Invite { .. } | Command::Follow { .. } | Command::Call(..))
            | Input::Command(Command::OpenGroup { .. } | Command::Group(..))
            | Input::Command(Command::DeclineRing { .. })
            | Input::Peer(..)
            | Input::Reply(_, Err(_))
            | Input::Room(..)
            | Input::DeviceKeys(_)
            | Input::Sfu(..)
            | Input::Network(_)
            | Input::Lifecycle(_) => 0,
        }
}

/// What a ledger takes.
pub(super) fn of_ledger(ledger: &Ledger) -> usize {
    LEAST + (ledger.live.len() + ledger.ended.len() + ledger.memberships.len()) * SMALL
}

fn of_state(state: &RoomState) -> usize {
    state.events.iter().map(|event| LEAST + of_content(&event.content)).sum()
}

fn of_content(content: &Result<StateContent, Malformed>) -> usize {
    match content {
        Ok(StateContent::Members(_, entries)) => {
            entries.iter().map(|entry| LEAST + entry.raw.len()).sum()
        }
        Ok(StateContent::PowerLevels(levels)) => levels.users.len() * SMALL + levels.content.len(),
        Ok(StateContent::Creation(creation)) => creation.creators.len() * SMALL,
        Err(_) => 0,
    }
}

fn of_delivery(delivery: &Delivery) -> usize {
    delivery.events.iter().map(of_event).sum()
}

fn of_event(event: &Parsed) -> usize {
    let said = match &event.event {
        Ok(Content::Call(message)) => of_body(&message.body),
        Ok(Content::Rtc(RtcEvent::Notification(ring))) => ring.mentions.users.len() * SMALL,
        Ok(Content::Key(KeyMessage { body: KeyBody::Keys(keys), .. })) => keys.len() * SMALL,
        Ok(Content::Rtc(_) | Content::Key(_)) | Err(_) => 0,
    };
    LEAST + event.event_type.len() + said
}

fn of_body(body: &Body) -> usize {
    match body {
        Body::Invite(Invite { offer, streams, .. }) => offer.len() + of_streams(streams.as_ref()),
        Body::Answer(answer) => answer.sdp.len() + of_streams(answer.streams.as_ref()),
        Body::Negotiate(negotiate) => {
            negotiate.description.sdp.len() + of_streams(negotiate.streams.as_ref())
        }
        Body::Candidates(candidates) => candidates.iter().map(of_candidate).sum(),
        Body::MetadataChanged(streams) => of_streams(Some(streams)),
        // Names and ids, each of which the door bounds.
        Body::AssertedIdentity(_) | Body::Replaces(_) => LEAST,
        Body::SelectAnswer { .. } | Body::Reject { .. } | Body::Hangup { .. } => SMALL,
    }
}

fn of_streams(streams: Option<&StreamMetadata>) -> usize {
    streams.map_or(0, |streams| streams.len() * SMALL)
}

fn of_candidate(candidate: &Candidate) -> usize {
    SMALL + candidate.candidate.len()
}

fn of_reply(reply: &Reply) -> usize {
    match reply {
        Reply::Description(description) => description.sdp.len(),
        Reply::Members(users) => users.len() * SMALL,
        Reply::ToDevice(devices) => devices.len() * SMALL,
        Reply::Turn(turn) => turn.servers.len() * LEAST,
        Reply::Stats(stats) => (stats.inbound.len() + stats.outbound.len()) * SMALL,
        Reply::State(state) => of_state(state),
        Reply::Delayed(page) => page.members.len() * SMALL,
        Reply::Transports(transports) => transports.len() * SMALL,
        Reply::SfuToken(token) => token.jwt.expose().len(),
        Reply::OpenId(_) | Reply::KeyMaterial(_) | Reply::Key(_) => SMALL,
        Reply::Done | Reply::Sent(_) | Reply::Scheduled(_) => 0,
    }
}
