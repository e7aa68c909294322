//! Calls that we place.

use matrix_voip::{machine::io::CallMedia, testing::secs};

use crate::common::{BEN, two};

#[test]
fn a_call_from_invite_to_hangup() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(5));
    two.ben.answer();
    two.sim.advance(secs(5));
    two.ben.hangup();
    two.sim.run_to_the_end();
    two.sim.column().expect("");
}
