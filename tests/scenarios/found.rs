//! What fuzzing found, so that it stays found.

use matrix_voip::{
    CallEvent, CallState,
    testing::{Sim, secs},
    wire::call::Body,
};

use crate::common::{ADA, BEN};

/// The engine told of the hold before anybody knew of the call (the simulation's watch stops the
/// test at that).
#[test]
fn an_invite_on_hold_is_announced_before_its_hold_is_told() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.puppet(BEN, "LAPTOP");
    let Body::Invite(mut invite) = ben.invitation(secs(60)) else { panic!("an invite") };
    invite.offer = invite.offer.expose().replace("a=sendrecv", "a=inactive").into();
    ben.say(&room, "c1", Body::Invite(invite));
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Ringing));
    let events = ada.events_of(ada.call().unwrap());
    assert!(matches!(events[..], [CallEvent::HoldChanged(hold), ..] if hold.by_them), "{events:?}");
    assert!(ada.snapshot().unwrap().hold.by_them);
}
