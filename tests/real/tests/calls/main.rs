//! Calls between real peers. Each scenario is written once, over who calls whom, and becomes a test
//! for each pair that there is: `voice::browser_calls_ours`. The servers start with the first test
//! and end with the last.

mod basics;
mod devices;
mod encrypted;
mod measure;
mod servers;
mod stage;
mod trouble;

use libtest_mimic::{Arguments, Trial};

/// How many tests run at once unless `--test-threads` says otherwise: two clients in a call keep
/// half a core busy, and many tests wait.
const AT_ONCE: usize = 3;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let stage = stage::Stage::default();
    let scenarios = [
        trouble::SCENARIOS,
        basics::SCENARIOS,
        devices::SCENARIOS,
        encrypted::SCENARIOS,
        servers::SCENARIOS,
        measure::SCENARIOS,
    ];
    let trials: Vec<Trial> = stage::trials(&stage, &scenarios);
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(stage);
    conclusion.exit();
}
