//! Both engines side by side: what connecting, packets, streams, calls and programs cost with each.
//!
//! ```text
//! cargo bench -p matrix-voip-webrtc --all-features --bench engines [-- [--rounds N] [MEASURE…]]
//! ```
//!
//! The baseline of the same run is str0m: its figure is 1, the other one's is a ratio. Each engine
//! is asked for the same through the same trait, and speaks with its own kind over UDP on loopback. In
//! each round every measure is taken of one engine and then of the other (in the next round the other
//! way round), each time in a process of its own on one thread, so that neither warms or fills
//! anything for the other. A figure is the median of all rounds, a ratio the median of the rounds'
//! ratios; beside it stand the smallest and the largest one.
//!
//! Time is what the process computes, both ends together, with what the system does for it, sockets
//! included; encoders and decoders are not: frames are bytes of a usual size. Runs on Linux.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]
#![expect(unreachable_pub, reason = "modules of one program")]

mod calls;
mod measures;
mod sizes;
mod studio;

use std::{collections::BTreeMap, env, process::Command, sync::Arc};

use matrix_voip_str0m::Str0m;
use matrix_voip_webrtc::{Interfaces, Webrtc};
use tokio::runtime::Builder;

use self::{calls::Make, measures::Measure};

/// The engines, the baseline first.
const ENGINES: [(&str, Make); 2] = [
    ("str0m", |media| Arc::new(Str0m::builder(media).interfaces(Interfaces::Loopback).build())),
    ("webrtc", |media| Arc::new(Webrtc::builder(media).interfaces(Interfaces::Loopback).build())),
];

/// The program with neither.
const NEITHER: &str = "smallest_neither";

/// Figures by name, and what they are.
const ROWS: [(&str, &str); 16] = [
    ("opening", "opening both ends, ms"),
    ("offer-to-connected", "offer to both connected, ms"),
    ("describing", "… of it until the first check can leave, ms"),
    ("connecting", "… of it checks and handshake, ms"),
    ("connect-cost", "computing for it, opening included, ms"),
    ("flood-sound", "packets of sound a second and core"),
    ("flood-sound-cost", "… one packet sent and received, µs"),
    ("flood-picture", "packets of pictures a second and core"),
    ("flood-picture-cost", "… one packet sent and received, µs"),
    ("sound", "sound both ways (50 packets/s), % of a core per end"),
    ("picture", "pictures both ways (30/s, 1 Mbit/s), % of a core per end"),
    ("nothing", "a connected end in which nothing flows, % of a core"),
    ("memory", "memory of a call, both ends, KiB"),
    ("memory-all", "memory of the process with 60 calls, MiB"),
    ("size", "smallest program, MiB"),
    ("size-more", "… more than without an engine, MiB"),
];

/// Of each figure, by name: the medians of every round, of each engine.
type Figures = BTreeMap<String, [Vec<f64>; 2]>;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [child, engine, measure] = &arguments[..]
        && child == "--child"
    {
        return measure_one(engine, measure);
    }
    let (rounds, wanted) = read(&arguments);
    let mut figures = Figures::new();
    for round in 0..rounds {
        for measure in &wanted {
            for turn in 0..ENGINES.len() {
                let engine = (turn + round) % ENGINES.len();
                ask(engine, *measure, &mut figures);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    if wanted.len() == Measure::ALL.len() {
        measure_sizes(&mut figures);
    }
    show(&figures, rounds);
}

/// What the command line asks for.
fn read(arguments: &[String]) -> (usize, Vec<Measure>) {
    let mut rounds = 5;
    let mut wanted = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), word.parse()) {
            ("--rounds", _) => {
                let number = words.next().and_then(|word| word.parse().ok());
                rounds = number.expect("--rounds is followed by a number");
            }
            (_, Ok(measure)) => wanted.push(measure),
            (_, Err(())) => {
                let names = Measure::ALL.map(|(name, _)| name).join(", ");
                panic!("{word} is none of {names}");
            }
        }
    }
    if wanted.is_empty() {
        wanted.extend(Measure::ALL.map(|(_, measure)| measure));
    }
    (rounds, wanted)
}

/// In a process of its own: one measure of one engine.
fn measure_one(engine: &str, measure: &str) {
    let (_, make) = ENGINES.into_iter().find(|(name, _)| *name == engine).expect("an engine");
    let measure: Measure = measure.parse().expect("a measure");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure.take(make));
}

/// Has one measure taken, and notes its figures.
fn ask(engine: usize, measure: Measure, figures: &mut Figures) {
    let child = Command::new(env::current_exe().expect("a program has a path"))
        .args(["--child", ENGINES[engine].0, measure.name()])
        .output()
        .expect("it runs");
    for line in String::from_utf8_lossy(&child.stderr).lines() {
        eprintln!("{}: {line}", ENGINES[engine].0);
    }
    assert!(child.status.success(), "{} of {} failed", measure.name(), ENGINES[engine].0);
    let mut of_this_round: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&child.stdout).lines() {
        let (name, value) = line.split_once(' ').expect("a name and a value");
        of_this_round.entry(name.to_owned()).or_default().push(value.parse().expect("a number"));
    }
    for (name, values) in of_this_round {
        figures.entry(name).or_default()[engine].push(median(values));
    }
}

fn measure_sizes(figures: &mut Figures) {
    let neither = sizes::size_of(NEITHER);
    for (engine, (name, _)) in ENGINES.iter().enumerate() {
        let size = sizes::size_of(&format!("smallest_{name}"));
        figures.entry("size".to_owned()).or_default()[engine].push(size);
        figures.entry("size-more".to_owned()).or_default()[engine].push(size - neither);
    }
}

fn show(figures: &Figures, rounds: usize) {
    let [(first, _), (second, _)] = ENGINES;
    println!("medians of {rounds} rounds, each engine in turn; {first} = 1\n");
    println!("| | {second} : {first} | smallest to largest | {first} | {second} |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, what) in ROWS {
        let Some([ours, theirs]) = figures.get(name) else { continue };
        let mut ratios: Vec<f64> = theirs.iter().zip(ours).map(|(b, a)| b / a).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let (ours, theirs) = (short(median(ours.clone())), short(median(theirs.clone())));
        println!(
            "| {what} | {:.2} | {least:.2} to {most:.2} | {ours} | {theirs} |",
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
}

/// Three digits that say something.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 { 0 } else { 2 - value.abs().max(0.01).log10().floor() as i32 };
    format!("{value:.*}", digits.max(0) as usize)
}
