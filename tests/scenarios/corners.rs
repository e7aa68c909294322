//! Corners: two rules meet, and neither may leave a call in nobody's hands.

use matrix_voip::{
    testing::{room_batch, secs},
    wire::{
        call::{Body, Reason},
        delivery::{Place, Protection},
    },
};

use crate::common::{Half, half};

/// A homeserver cannot silence a call by a hangup of its own making.
#[test]
fn a_hangup_that_may_not_be_believed_does_not_keep_an_invite_from_ringing() {
    let Half { sim, room, ada, ben } = half();
    let hangup = Body::Hangup { reason: Some(Reason::UserHangup) };
    let mut events = [ben.invitation(secs(60)), hangup].map(|body| ben.raw("c1", body, secs(1)));
    events[0].facts.protection = Protection::Unverified;
    let mut batch = room_batch(&room, events);
    batch.place = Place::Room { room: room.clone(), encrypted: true };
    ada.deliver(batch);
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}
