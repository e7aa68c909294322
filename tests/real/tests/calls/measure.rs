//! Figures, not gates: how long it takes from placing a call until the other side hears the first
//! sound, for each pair of clients in the same run, beside two browsers; and what a client of ours
//! costs. Nothing else runs meanwhile. They are printed, and kept in `measured.txt` of the run.

use std::{fs::OpenOptions, io::Write};

use real::{Client, Context, Failure, Kind, Media, PATIENCE, Pair, Scene, Usage, clock};
use serde_json::{Value, json};

use crate::{
    basics::{connect, hang_up},
    floor::Effort,
    stage::{Cast, PAIRS, Scenario},
};

/// What is measured with `--long`.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("place_to_first_audio", Cast::Scene(place_to_first_audio))
        .with(Effort::Alone)
        .long(),
    Scenario::new("cost_of_a_client", Cast::Scene(cost_of_a_client)).with(Effort::Alone).long(),
];

/// Calls of each pair. The first is not counted: it warms caches up.
const CALLS: usize = 8;

/// How long a client is watched.
const WATCHED_MS: u64 = 10_000;

/// The yardstick.
const BROWSERS: (Kind, Kind) = (Kind::Browser, Kind::Browser);

/// One call: ms from the command that places it until something was there.
#[derive(Debug, Clone, Copy)]
struct Times {
    ringing: u64,
    heard_by_callee: u64,
    heard_by_caller: u64,
}

fn place_to_first_audio(scene: &Scene) -> Result<(), Failure> {
    say(scene, "place -> first audio in ms, medians; the callee is told to answer when it rings")?;
    say(scene, "caller        callee        rings  callee hears  caller hears  to two browsers")?;
    let of_pair = |(caller, callee)| measured(&scene.pair(caller, callee)?);
    let browsers = median(&of_pair(BROWSERS)?);
    let yardstick = browsers.heard_by_callee;
    say(scene, &row(BROWSERS, browsers, yardstick))?;
    for pair in PAIRS.into_iter().filter(|pair| *pair != BROWSERS) {
        say(scene, &row(pair, median(&of_pair(pair)?), yardstick))?;
    }
    Ok(())
}

fn row((caller, callee): (Kind, Kind), times: Times, yardstick: u64) -> String {
    let Times { ringing, heard_by_callee, heard_by_caller } = times;
    let ratio = heard_by_callee as f64 / yardstick as f64;
    format!(
        "{:<14}{:<14}{ringing:>5}{heard_by_callee:>14}{heard_by_caller:>14}{ratio:>17.2}",
        caller.name(),
        callee.name(),
    )
}

fn measured(pair: &Pair) -> Result<Vec<Times>, Failure> {
    let mut times = Vec::new();
    for _ in 0..CALLS {
        times.push(one_call(pair)?);
    }
    Ok(times.split_off(1))
}

fn one_call(pair: &Pair) -> Result<Times, Failure> {
    let start = clock::now();
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    let is_it = |event: &Value| event["ev"] == "incoming" && event["call"]["callId"] == call;
    let incoming = pair.callee.event("incoming", PATIENCE, is_it)?;
    pair.callee.act("answer", &call)?;
    let heard = [&pair.caller, &pair.callee].map(|client| first_audio(client, &call));
    let [heard_by_caller, heard_by_callee] = heard;
    let times = Times {
        ringing: since(start, &incoming),
        heard_by_callee: since(start, &heard_by_callee?),
        heard_by_caller: since(start, &heard_by_caller?),
    };
    pair.caller.act("hangup", &call)?;
    pair.callee.ends(&call)?;
    Ok(times)
}

fn first_audio(client: &Client, call: &str) -> Result<Value, Failure> {
    let is_it = |event: &Value| event["ev"] == "firstAudio" && event["callId"] == call;
    client.event("the first audio", PATIENCE, is_it)
}

fn since(start: u64, event: &Value) -> u64 {
    event["at"].as_u64().unwrap_or_default().saturating_sub(start)
}

fn median(times: &[Times]) -> Times {
    let of = |time: fn(&Times) -> u64| {
        let mut sorted: Vec<u64> = times.iter().map(time).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    Times {
        ringing: of(|times| times.ringing),
        heard_by_callee: of(|times| times.heard_by_callee),
        heard_by_caller: of(|times| times.heard_by_caller),
    }
}

/// Memory and CPU of our callers, idle and in a voice call with a browser.
fn cost_of_a_client(scene: &Scene) -> Result<(), Failure> {
    for (caller, callee) in PAIRS {
        if caller.is_ours() && callee == Kind::Browser {
            let pair = scene.pair(caller, callee)?;
            // It does not ring: the wait is as long as we say.
            let idle = json!({"callId": "none", "incoming": true, "timeoutMs": WATCHED_MS});
            let idle = cost(&pair.caller, "waitFor", &idle)?;
            say(scene, &format!("{} idle: {idle}", caller.name()))?;
            let call = connect(&pair, Media::Voice)?;
            let listen = json!({"callId": call, "ms": WATCHED_MS});
            let busy = cost(&pair.caller, "audioLevel", &listen)?;
            say(scene, &format!("{} in a voice call: {busy}", caller.name()))?;
            hang_up(&call, &pair.caller, &pair.callee)?;
        }
    }
    Ok(())
}

/// What a client costs while it obeys a command that takes [`WATCHED_MS`].
fn cost(client: &Client, cmd: &str, args: &Value) -> Result<String, Failure> {
    let before = client.usage()?;
    // Only its length counts: a wait that ends with nothing is fine.
    let _ = client.ask(cmd, args);
    let Usage { resident_kib, cpu_ms } = client.usage()?;
    let percent = (cpu_ms - before.cpu_ms) as f64 * 100.0 / WATCHED_MS as f64;
    Ok(format!("{:.1} MiB resident, {percent:.1} % of a core", resident_kib as f64 / 1024.0))
}

/// Prints a figure with the engine that it is of, and keeps it.
pub(crate) fn say(scene: &Scene, line: &str) -> Result<(), Failure> {
    let line = format!("{}: {line}", scene.engine().name());
    writeln!(std::io::stderr(), "{line}").context("printing")?;
    let path = scene.world.house.folder().join("measured.txt");
    let file = OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.context("measured.txt")?, "{line}").context("measured.txt")
}
