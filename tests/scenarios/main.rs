//! Scenarios: what two or three devices do and see, as columns of messages and times.
//!
//! One file for each topic; each test's name is the sentence that it holds. The numbers in the
//! comments are those of `famedly-dart.md` §8, the T-numbers its traps (`tests/traps.md`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod adverse;
mod backends;
mod busy;
mod common;
mod corners;
mod delayed_leave;
mod devices;
mod disorder;
mod embedded;
mod encrypted;
mod explaining;
mod focus;
mod found;
mod glare;
mod glare_devices;
mod glare_media;
mod glare_orders;
mod group_corners;
mod groups;
mod hearing;
mod hold;
mod incoming;
mod key_traffic;
mod keys;
mod keys_heard;
mod ledger;
mod mesh;
mod negotiation;
mod outbox;
mod outgoing;
mod pipeline;
mod reactions;
mod recovery;
mod rings;
mod sfu;
mod sfu_application;
mod sources;
mod streams;
mod transfer;
mod traps;
mod turn;
