//! The whole state of a room, as far as calls are made of it: from the SDK's store where that has all
//! of it, else from the homeserver.
//!
//! In classic sync the store has all. A sliding sync brings the types that it asks for, and the
//! memberships of calls are not among them (`matrix-sdk.md` §4).

use std::{collections::BTreeSet, time::Duration};

use matrix_sdk::{
    Client, Room, RoomState,
    deserialized_responses::RawAnySyncOrStrippedState,
    ruma::{
        OwnedRoomId, RoomId as RumaRoomId, UserId as RumaUserId,
        api::client::state::get_state_events, events::room::member::MembershipState,
    },
};
use matrix_voip::{id::UserId, machine::io::Fault, time::Now, wire::state::STATE_TYPES};

use crate::{
    intake::{Item, WholeState},
    request::ask,
    shell::{Clock, encrypted},
    worker::{Reading, Source},
};

/// For the state of a large room. The library gives it 30 s and hears of the timeout from us.
pub(crate) const STATE: Duration = Duration::from_secs(27);

/// Reads the state of a room that we are in.
pub(crate) async fn read(room: &Room, from: Source, clock: Clock) -> Reading {
    if room.state() != RoomState::Joined {
        return Reading::Refused;
    }
    let read = match from {
        Source::Nearest if room.is_state_fully_synced() => stored(room, clock.now()).await,
        Source::Nearest | Source::Homeserver => {
            fetched(&room.client(), room.room_id(), || clock.now()).await
        }
    };
    match read {
        Ok(mut whole) => {
            whole.encrypted |= encrypted(room) == Some(true);
            Reading::Read(whole)
        }
        Err(Fault::Forbidden(_) | Fault::NotFound) => Reading::Refused,
        Err(_) => Reading::Failed,
    }
}

/// As the homeserver has it.
pub(crate) async fn fetched(
    client: &Client,
    room: &RumaRoomId,
    now: impl FnOnce() -> Now,
) -> Result<WholeState, Fault> {
    let request = get_state_events::v3::Request::new(OwnedRoomId::from(room));
    let answer = ask(STATE, client.send(request)).await?;
    Ok(WholeState::read(&answer.room_state, now()))
}

/// As the store has it. How old an event is nobody knows any more: the age is of when it came.
async fn stored(room: &Room, now: Now) -> Result<WholeState, Fault> {
    let failed = |_| Fault::Failed("the store failed".into());
    let mut items = Vec::new();
    for event_type in STATE_TYPES {
        let events = room.get_state_events(event_type.into()).await.map_err(failed)?;
        items.extend(events.iter().filter_map(|event| match event {
            RawAnySyncOrStrippedState::Sync(event) => Item::of_state(event, now),
            // Of a room that we were only invited to.
            RawAnySyncOrStrippedState::Stripped(_) => None,
        }));
    }
    for item in &mut items {
        item.age = None;
    }
    let outside = outside(room, items.iter().filter_map(Item::writer).collect()).await;
    Ok(WholeState { items, outside, encrypted: false })
}

/// Who of them is known not to be in the room.
async fn outside(room: &Room, users: BTreeSet<&UserId>) -> BTreeSet<UserId> {
    let mut outside = BTreeSet::new();
    for user in users {
        let Ok(id) = <&RumaUserId>::try_from(user.as_str()) else { continue };
        let member = room.get_member_no_sync(id).await.ok().flatten();
        if member.is_some_and(|member| *member.membership() != MembershipState::Join) {
            outside.insert(user.clone());
        }
    }
    outside
}
