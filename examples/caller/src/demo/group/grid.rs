//! Who hears whom, as a table: a row for each who hears, a column for each who is heard.

use matrix_voip::GroupState;

use super::{
    cast::Who,
    story::{Story, WayStory},
};
use crate::demo::{
    fact::{Sound, decibels},
    ink::{Ink, Style},
    verdict::is_tone,
};

/// Width of a column; eight of them and the names fit a terminal.
const CELL: usize = 8;

/// Width of the names.
const NAMES: usize = 6;

/// Bars for levels, from the lowest that is heard.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The level at which there is no bar, in dB.
const FLOOR: f32 = -60.0;

/// What is heard at this moment: a bar for the level, and the tone in Hz.
pub(crate) fn now(story: &Story, ink: Ink) -> Vec<String> {
    let mut lines = vec![String::new(), heads("hears", story.size, ink)];
    lines.extend(rows(story, ink, |of, way| {
        let sound = &way.gauge.now;
        match sound.tone {
            Some(tone) => (format!("{} {:.0}", bar(sound), tone.hz), look(of, tone.hz)),
            None if way.connected.is_some() => ("silence".to_owned(), Style::Dim),
            None => ("–".to_owned(), Style::Dim),
        }
    }));
    lines.push(ink.paint(Style::Dim, &format!("  {}", counted(story))));
    lines
}

/// What was heard in all: the tone in Hz, below what each plays.
pub(crate) fn overall(story: &Story, ink: Ink) -> Vec<String> {
    let plays = Who::cast(story.size).map(|who| format!("{:>CELL$.0}", who.hz()));
    let plays = format!("  {:NAMES$}{}", "plays", plays.collect::<String>());
    let mut lines = vec![heads("heard", story.size, ink), ink.paint(Style::Dim, &plays)];
    lines.extend(rows(story, ink, |of, way| match way.gauge.overall.tone {
        Some(tone) => (format!("{:.1}", tone.hz), look(of, tone.hz)),
        None => ("nothing".to_owned(), Style::Bad),
    }));
    lines
}

/// The same as [`now`] in one line: how many of all hear what they should.
pub(crate) fn line(story: &Story) -> String {
    let heard = story
        .ways()
        .filter(|(_, of, way)| way.gauge.now.tone.is_some_and(|tone| is_tone(tone.hz, of.hz())));
    let (heard, all) = (heard.count(), Who::ways(story.size).count());
    format!("{heard} of {all} tones heard · {}", counted(story))
}

/// Packets of all legs in words.
pub(crate) fn packets(story: &Story) -> String {
    let [sent, received, lost] = sums(story);
    format!("sent {sent}, received {received}, lost {lost}")
}

/// The same while they talk: the engine counts once a second.
fn counted(story: &Story) -> String {
    match sums(story) {
        [0, 0, 0] => "packets not counted yet".to_owned(),
        [..] => packets(story),
    }
}

/// Packets sent, received and lost on all legs.
fn sums(story: &Story) -> [u64; 3] {
    let sum = |of: fn(&WayStory) -> u64| story.ways().map(|(.., way)| of(way)).sum::<u64>();
    [sum(|way| way.gauge.sent), sum(|way| way.gauge.received), sum(|way| way.gauge.lost)]
}

/// A state in words, as the time line shows it.
pub(crate) const fn words(state: GroupState) -> &'static str {
    match state {
        GroupState::Idle => "is not in the call",
        GroupState::Entering => "enters",
        GroupState::Entered => "is in the call",
        GroupState::Leaving => "leaves",
        GroupState::Ended => "is told that the call is over",
        _ => "does something new",
    }
}

fn heads(what: &str, size: usize, ink: Ink) -> String {
    let names = Who::cast(size).map(|who| format!("{who:>CELL$}"));
    ink.paint(Style::Bold, &format!("  {what:NAMES$}{}", names.collect::<String>()))
}

fn rows(
    story: &Story,
    ink: Ink,
    cell: impl Fn(Who, &WayStory) -> (String, Style),
) -> impl Iterator<Item = String> {
    Who::cast(story.size).map(move |hears| {
        let cells = Who::cast(story.size).map(|of| {
            let (text, style) = match of == hears {
                true => ("·".to_owned(), Style::Dim),
                false => cell(of, story.way(hears, of)),
            };
            ink.paint(style, &format!("{text:>CELL$}"))
        });
        let name = ink.paint(Style::Bold, &format!("{hears:NAMES$}"));
        format!("  {name}{}", cells.collect::<String>())
    })
}

fn look(of: Who, hz: f32) -> Style {
    if is_tone(hz, of.hz()) { Style::Good } else { Style::Bad }
}

fn bar(sound: &Sound) -> char {
    let part = (1.0 - decibels(sound.rms) / FLOOR).clamp(0.0, 1.0);
    BARS[((part * BARS.len() as f32) as usize).min(BARS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{
        fact::Gauge,
        group::{Moment, fact::Fact},
    };

    #[test]
    fn packets_that_the_engine_has_not_counted_yet_are_no_zeros() {
        let mut story = Story::new(2);
        assert_eq!(line(&story), "0 of 2 tones heard · packets not counted yet");
        let gauge = Gauge { sent: 50, received: 49, ..Gauge::default() };
        let fact = Fact::Meters(Who::ADA, vec![(Who::BEN, gauge)]);
        story.apply(&Moment { at: std::time::Duration::ZERO, fact });
        assert_eq!(line(&story), "0 of 2 tones heard · sent 50, received 49, lost 0");
    }
}
