//! Calls between real peers. Each scenario is written once, over who calls whom, and becomes a test
//! for each pair that there is: `voice::browser_calls_ours`. The servers start with the first test
//! and end with the last.

mod basics;
mod changes;
mod devices;
mod doctor;
mod encrypted;
mod examples;
mod floor;
mod groups;
mod headset;
mod keys;
mod login;
mod measure;
mod media_keys;
mod meetings;
mod meshes;
mod person;
mod pictures;
mod quality;
mod rings;
mod rivals;
mod servers;
mod stage;
mod tokens;
mod transfers;
mod trouble;

use libtest_mimic::Arguments;

use crate::{
    floor::{AT_WORK, Floor},
    stage::Stage,
};

fn main() {
    let mut arguments = Arguments::from_args();
    let at_work = arguments.test_threads.unwrap_or(AT_WORK);
    let stage = Stage::new(Floor::new(at_work));
    let scenarios = [
        trouble::SCENARIOS,
        basics::SCENARIOS,
        changes::SCENARIOS,
        rivals::SCENARIOS,
        transfers::SCENARIOS,
        devices::SCENARIOS,
        encrypted::SCENARIOS,
        groups::SCENARIOS,
        meshes::SCENARIOS,
        rings::SCENARIOS,
        doctor::SCENARIOS,
        examples::SCENARIOS,
        login::SCENARIOS,
        person::SCENARIOS,
        headset::SCENARIOS,
        pictures::SCENARIOS,
        keys::SCENARIOS,
        meetings::SCENARIOS,
        servers::SCENARIOS,
        tokens::SCENARIOS,
        media_keys::SCENARIOS,
        measure::SCENARIOS,
        quality::SCENARIOS,
    ];
    let trials = stage::trials(&stage, &scenarios);
    // They wait for their turn inside.
    arguments.test_threads = Some(trials.len());
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(stage);
    conclusion.exit();
}
