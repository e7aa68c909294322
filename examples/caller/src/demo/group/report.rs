//! The last lines of the demo of a group call: who heard whom, over which path, how long it took,
//! what it cost, and the verdict.

use super::{cast::Who, cost::Cost, face::Outcome, fact::Mark, grid, story::Story};
use crate::demo::{
    ink::{Ink, Style},
    meters::{millis, path_words},
    report::phase_line,
};

/// The report.
pub(crate) fn lines(outcome: &Outcome, ink: Ink) -> Vec<String> {
    let (story, mut lines) = (&outcome.story, Vec::new());
    lines.extend(grid::overall(story, ink));
    lines.push(ink.paint(Style::Bold, "legs"));
    lines.extend(Who::pairs(story.size).map(|(one, other)| leg(story, one, other)));
    lines.push(format!("  packets {}", grid::packets(story)));
    lines.push(ink.paint(Style::Bold, "events"));
    lines.extend(story.sent.iter().map(|(event_type, n)| format!("  {n:4} {event_type}")));
    lines.push(ink.paint(Style::Bold, "how long it took"));
    lines.extend(story.phases().iter().filter(|phase| phase.took.is_some()).map(phase_line));
    lines.extend(costs(story, ink));
    lines.push(String::new());
    lines.extend(verdict(outcome, ink));
    lines
}

fn leg(story: &Story, one: Who, other: Who) -> String {
    let way = story.way(one, other);
    let path = way.path.as_ref().map_or_else(|| "no path".to_owned(), path_words);
    let round_trip = way.gauge.round_trip.map(|time| format!(", {}", millis(time)));
    format!("  {one:4} ⇄ {other:4}  {path}{}", round_trip.unwrap_or_default())
}

fn costs(story: &Story, ink: Ink) -> Vec<String> {
    let cost = |mark| story.cost(mark);
    let (Some(begin), Some(talking)) = (cost(Mark::Begin), cost(Mark::Talking)) else {
        return Vec::new();
    };
    let mut lines = vec![ink.paint(Style::Bold, "what all of them used")];
    let mut say = |name: &str, text: String| lines.push(format!("  {name:36}{text:>10}"));
    if story.all_hear_all() {
        let spent = talking.cpu.saturating_sub(begin.cpu);
        say("processor until all hear all", format!("{:.2} s", spent.as_secs_f64()));
    }
    if let Some(talked) = cost(Mark::Talked) {
        say(
            "one processor while they talk",
            format!("{:.0} %", 100.0 * talked.load_since(talking)),
        );
        say("memory", format!("{:.0} MB", megabytes(talked)));
    }
    lines
}

fn megabytes(cost: &Cost) -> f64 {
    cost.memory as f64 / 1e6
}

fn verdict(outcome: &Outcome, ink: Ink) -> Vec<String> {
    if outcome.wrong.is_empty() {
        let (size, legs) = (outcome.expected.size, Who::pairs(outcome.expected.size).count());
        let good = format!("Good: each of {size} heard the right tone of each other, over {legs} ");
        let legs = if legs == 1 { "leg." } else { "legs, one for each pair." };
        return vec![ink.paint(Style::Good, &format!("{good}{legs}"))];
    }
    outcome.wrong.iter().map(|wrong| ink.paint(Style::Bad, &format!("Wrong: {wrong}."))).collect()
}
