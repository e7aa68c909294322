//! Random schedules, whatever they play: one seed is one schedule, each of its steps has dice of its
//! own, and what fails is shrunk to the steps that matter.
//!
//! `SIM_RUNS=n` plays so many, `SIM_FROM=n` from that seed on, `SIM_SEED=n` one alone with its
//! column, of which `SIM_STEPS=1,4,7` plays these steps only.

use std::{
    any::Any,
    collections::BTreeMap,
    env, panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use matrix_voip::{
    id::UserId,
    machine::io::{Input, Network},
    record::Replay,
    testing::{Column, Cue, Device, Dice, Kind, Sim, secs},
};

/// Every how many schedules one is played twice, to compare its outputs.
const TWICE: u64 = 20;
/// Every how many schedules one is recorded, and replayed from its files.
const RECORDED: u64 = 20;
/// Most steps of one schedule.
const MAX_STEPS: usize = 30;

/// What happened, counted.
pub(crate) type Seen = BTreeMap<String, usize>;

/// A kind of schedules: plays these steps of the schedule of that seed to its end.
pub(crate) type Play = fn(u64, &[usize]) -> Sim;

/// Plays what the environment asks for, or `runs` schedules; then everything in `common` has to have
/// happened often. Nothing is counted of one alone.
pub(crate) fn run(play: Play, runs: u64, common: &[&str]) {
    if let Some(seed) = number("SIM_SEED") {
        let sim = play(seed, &chosen_steps().unwrap_or_else(|| all_steps(seed)));
        println!("{}", sim.column());
        return;
    }
    let from = number("SIM_FROM").unwrap_or_default();
    let seen = all(play, from..from + number("SIM_RUNS").unwrap_or(runs));
    println!("{seen:#?}");
    for what in common {
        let often = seen.get(*what).copied().unwrap_or_default();
        assert!(often > 100, "a simulation without \"{what}\" tests little: {seen:#?}");
    }
}

/// Plays all of them, on all cores; the first that fails is shrunk.
fn all(play: Play, seeds: std::ops::Range<u64>) -> Seen {
    let next = AtomicU64::new(seeds.start);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let work = || {
        let mut seen = Seen::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(seen);
            }
            match panic::catch_unwind(|| judge(play, seed)) {
                Ok(column) => count(&column, &mut seen),
                Err(cause) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Err(report(play, seed, cause.as_ref()));
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<Seen, String>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    panic::set_hook(hook);
    let mut all = Seen::new();
    for seen in results {
        match seen {
            Ok(seen) => seen.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n),
            Err(report) => panic!("{report}"),
        }
    }
    all
}

/// One schedule, and what else is asked of it.
fn judge(play: Play, seed: u64) -> Column {
    let steps = all_steps(seed);
    let sim = play(seed, &steps);
    if seed.is_multiple_of(TWICE) {
        assert_eq!(sim.digest(), play(seed, &steps).digest(), "the same seed, other outputs");
    }
    if seed.is_multiple_of(RECORDED) {
        replay(&sim);
    }
    sim.column()
}

/// Which steps a failure needs, and how it looks with these alone.
fn report(play: Play, seed: u64, cause: &(dyn Any + Send)) -> String {
    let (mut steps, mut why) = (all_steps(seed), said(cause));
    let mut at = 0;
    while at < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(at);
        match panic::catch_unwind(|| drop(play(seed, &fewer))) {
            Err(cause) => (steps, why) = (fewer, said(cause.as_ref())),
            Ok(()) => at += 1,
        }
    }
    let list: Vec<_> = steps.iter().map(ToString::to_string).collect();
    let list = list.join(",");
    format!("seed {seed} fails; run it with SIM_SEED={seed} SIM_STEPS={list}\n{why}")
}

fn said(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    let text = text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_default()
}

fn all_steps(seed: u64) -> Vec<usize> {
    (0..Dice::new(seed ^ 0x57e9).below(MAX_STEPS - 5) + 5).collect()
}

fn chosen_steps() -> Option<Vec<usize>> {
    let steps = env::var("SIM_STEPS").ok()?;
    Some(steps.split(',').filter_map(|step| step.parse().ok()).collect())
}

/// The dice of one step of a schedule: of its own, so that others can be left out.
pub(crate) fn dice(seed: u64, step: usize) -> Dice {
    Dice::new(seed.wrapping_mul(0x9e37).wrapping_add(step as u64 + 1))
}

/// A world for a schedule. Some are searched for secrets, which is slow, and some are recorded.
pub(crate) fn world(seed: u64) -> Sim {
    let sim = Sim::new(seed);
    sim.set_reads_engines(seed.is_multiple_of(50));
    sim.set_records(seed.is_multiple_of(RECORDED));
    sim
}

/// Events of different senders may overtake each other by so much, as between federated servers.
pub(crate) fn set_delays(sim: &Sim, dice: &mut Dice, users: &[String], longest: Duration) {
    for from in users {
        for to in users {
            let (from, to) = (UserId::parse(from).unwrap(), UserId::parse(to).unwrap());
            let delay = dice.span(longest);
            if dice.percent(30) {
                sim.server(|server| server.set_delay(&from, &to, delay));
            }
        }
    }
}

/// How the way to the homeserver gives trouble.
pub(crate) fn trouble(dice: &mut Dice) -> Cue {
    match dice.below(5) {
        0 => Cue::dropped(),
        1 => Cue::answer_lost(),
        2 => Cue::rate_limited(dice.span(secs(5))),
        3 => Cue::works().after(dice.span(secs(8))),
        _ => Cue::hangs(),
    }
}

/// A device is without its homeserver for so long at most, or hears nothing of it.
pub(crate) fn outage(sim: &Sim, dice: &mut Dice, device: &Device, longest: Duration) {
    if dice.percent(50) {
        device.partition();
    } else {
        device.hold_sync();
    }
    let span = dice.span(longest);
    sim.advance(span);
    device.heal();
    device.release_sync();
    device.input(Input::Network(Network::Back));
}

/// How often each thing happened.
fn count(column: &Column, seen: &mut BTreeMap<String, usize>) {
    for line in column.0.iter().filter(|line| line.kind == Kind::Call) {
        let what = line.what.split('@').next().unwrap_or_default().to_owned();
        *seen.entry(what).or_default() += 1;
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// What the engines were given, masked and read back, makes them judge alike.
fn replay(sim: &Sim) {
    for file in sim.recordings() {
        for step in Replay::open(file.as_slice()).unwrap() {
            let step = step.unwrap();
            assert!(step.agrees(), "replayed otherwise: {step:#?}");
        }
    }
}
