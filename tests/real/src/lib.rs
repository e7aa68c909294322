//! Calls between real peers: what starts the servers, drives the clients and writes down what they
//! did. The tests are in `tests/calls`; README.md says what runs and how to read its logs.
//!
//! A [`World`] is everything that one run shares: a network namespace with loopback only, Synapse,
//! coturn, a browser. A [`Scene`] is what one test has of it: clients with accounts of their own,
//! and a log. A [`Client`] is a peer that speaks the line protocol of PROTOCOL.md, be it
//! matrix-js-sdk in Chromium or our own `caller serve` ([`Kind`]). A [`Person`] runs our programs by
//! hand, with arguments and keys.
//!
//! A [`SoundServer`] is a microphone and a loudspeaker that are not there, for programs that use a sound
//! card; [`likeness`] tells whether what came out is what went in.
//!
//! A [`Judge`] is LiveKit's own frame worker on Node, which opens and makes encrypted frames
//! (`tests/frames.rs`); it needs nothing of all that.
//!
//! A [`Ground`] is what engines of the test process itself meet (`tests/conformance.rs`): a TURN server
//! in the network of this machine, and a [`Page`] in Chromium, whose peer connections a [`Browser`]
//! makes an engine like every other.
//!
//! There is no runtime here but in the token service, a process of its own, and in the thread that a
//! page talks to: a test is a thread, each process has a thread that reads it, and waits are on
//! condition variables.

mod browser;
mod certificate;
mod client;
pub mod clock;
mod coturn;
mod door;
mod equipment;
mod failure;
pub mod film;
mod ground;
mod house;
mod http;
mod judge;
mod kind;
pub mod likeness;
mod log;
mod person;
mod process;
mod program;
mod pulse;
mod scene;
pub mod sound;
pub mod speech;
mod synapse;
mod terminal;
pub mod token_service;
mod usage;
mod world;

pub use crate::{
    browser::{Browser, Page},
    certificate::Certificate,
    client::{Client, End, Media, PATIENCE, Pending, Sound},
    coturn::{Coturn, Transport},
    equipment::{Equipment, SoundEquipment, cache},
    failure::{Context, Failure, Missing},
    ground::Ground,
    house::House,
    judge::{Judge, JudgedCoding, NoJudge},
    kind::{Engine, Kind, Sync, Tool},
    log::Log,
    person::Person,
    pulse::{Echo, SoundServer, Speaking},
    scene::{Housing, Pair, Path, Privacy, Scene, Setting},
    speech::{Line, Speech},
    synapse::{Homeserver, PASSWORD, Turn},
    terminal::{Running, Said},
    usage::Usage,
    world::{NoWorld, World},
};
