//! The last lines of the demo: what each heard and saw, how long it took, and the verdict.

use super::{
    face::Outcome,
    fact::{Pictures, Sound, Who, decibels},
    ink::{Ink, Style},
    meters::{millis, packets, path_words},
    story::{Phase, SideStory},
    verdict::{Expected, View},
    wrong::ending,
};

/// The report.
pub(crate) fn lines(outcome: &Outcome, ink: Ink) -> Vec<String> {
    let mut lines = Vec::new();
    for who in Who::BOTH {
        lines.extend(side(who, outcome, ink));
    }
    lines.push(ink.paint(Style::Bold, "how long it took"));
    lines
        .extend(outcome.story.phases().iter().filter(|phase| phase.took.is_some()).map(phase_line));
    let recorded = outcome.recorded.iter();
    lines.extend(recorded.map(|path| format!("recorded {}", path.display())));
    lines.push(String::new());
    lines.extend(verdict(outcome, ink));
    lines
}

fn side(who: Who, outcome: &Outcome, ink: Ink) -> Vec<String> {
    let (side, expected) = (outcome.story.of(who), &outcome.expected);
    let mut lines = vec![ink.paint(Style::Bold, who.name())];
    let mut say = |what: &str, text: String| lines.push(format!("  {what:9}{text}"));
    say("heard", heard(&side.gauge.overall, expected.heard_by(who)));
    if expected.view != View::Nothing {
        say("saw", saw(&side.gauge.pictures.unwrap_or_default(), expected));
    }
    if let Some(path) = &side.path {
        say("path", path_words(path));
    }
    say("packets", packets(&side.gauge));
    say("ended", ended(side));
    lines
}

fn heard(sound: &Sound, expected: f32) -> String {
    let Some(tone) = sound.tone else {
        return format!("nothing (expected {expected:.0} Hz)");
    };
    format!(
        "{:.1} Hz at amplitude {:.2} ({:.1} dB) for {:.1} s (expected {expected:.0} Hz)",
        tone.hz,
        tone.level,
        decibels(tone.level),
        sound.length.as_secs_f64()
    )
}

fn saw(seen: &Pictures, expected: &Expected) -> String {
    let size = seen.size.map_or_else(String::new, |(w, h)| format!(" of {w} x {h}"));
    let pictures = format!("{} pictures{size}", seen.shown);
    match (expected.view, seen.last_number) {
        (View::TestPicture(_), Some(last)) => format!(
            "{pictures}, {} with a readable number, the last {last}, {} left out",
            seen.numbered, seen.missing
        ),
        _ => pictures,
    }
}

fn ended(side: &SideStory) -> String {
    side.end.as_ref().map_or_else(|| "not at all".to_owned(), ending)
}

/// How long a phase took.
pub(super) fn phase_line(phase: &Phase) -> String {
    let took = phase.took.map_or_else(|| "–".to_owned(), millis);
    format!("  {:36}{took:>10}", phase.name)
}

fn verdict(outcome: &Outcome, ink: Ink) -> Vec<String> {
    if outcome.wrong.is_empty() {
        let seen = match outcome.expected.view {
            View::Nothing => "",
            View::TestPicture(_) | View::File(..) => " and saw the right picture",
        };
        let good = format!("Good: both sides heard the right tone{seen}.");
        return vec![ink.paint(Style::Good, &good)];
    }
    let bad = |wrong: &super::wrong::Wrong| ink.paint(Style::Bad, &format!("Wrong: {wrong}."));
    outcome.wrong.iter().map(bad).collect()
}
