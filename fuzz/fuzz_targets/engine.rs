//! An engine by a structured input: arbitrary bytes are acts of users, members, hosts and clocks.
//! After every step the invariants of the contract hold; a recording of it replays alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matrix_voip_fuzz::play::{Act, Policies, play};

fuzz_target!(|given: (Policies, Vec<Act>)| {
    let (policies, acts) = given;
    play(&policies, &acts);
});
