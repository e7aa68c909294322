//! What others try: attackers in the room, broken hosts, wrong clocks, floods.
//!
//! Each test says a promise of the machine as a sentence and tries to break it.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

mod attacker;
mod clocks;
mod flood;
mod forgery;
mod glare;
mod hosts;
mod moments;
mod peers;
mod rig;
