//! The meters: what each side hears and sees at this moment, and how its packets fare.

use std::time::Duration;

use super::{
    fact::{Gauge, Path, Sound, Who, decibels},
    ink::{Ink, Style},
    story::Story,
};

/// Width of a level meter.
const BAR: usize = 24;

/// The level at which the meter is empty, in dB.
const FLOOR: f32 = -60.0;

/// The meters of both sides, as lines of at most 79 columns.
pub(crate) fn block(story: &Story, ink: Ink) -> Vec<String> {
    let mut lines = vec![String::new(), path_line(story, ink)];
    for who in Who::BOTH {
        let gauge = &story.of(who).gauge;
        lines.push(format!(
            "  {}  hears {}",
            ink.paint(Style::Bold, who.name()),
            hearing(gauge, ink)
        ));
        if let Some(pictures) = gauge.pictures {
            let number = pictures.last_number.map_or_else(String::new, |n| format!(", number {n}"));
            lines.push(format!("       sees  {} pictures{number}", pictures.shown));
        }
        lines.push(ink.paint(Style::Dim, &format!("       {}", packets(gauge))));
    }
    lines
}

/// The same in one line.
pub(crate) fn line(story: &Story) -> String {
    let side = |who: Who| {
        let gauge = &story.of(who).gauge;
        let pictures = gauge.pictures.map_or_else(String::new, |p| format!(", sees {}", p.shown));
        format!("{who} hears {}{pictures}, lost {}", short(&gauge.now), gauge.lost)
    };
    format!("{} · {}", side(Who::Ada), side(Who::Ben))
}

fn path_line(story: &Story, ink: Ink) -> String {
    let path = story.of(Who::Ada).path.as_ref();
    let text = path.map_or_else(|| "none chosen yet".to_owned(), path_words);
    ink.paint(Style::Dim, &format!("  path {text}"))
}

/// A path in words: `udp, host 127.0.0.1:4000 ⇄ host 127.0.0.1:4001`.
pub(crate) fn path_words(path: &Path) -> String {
    let (local, remote) = (&path.local, &path.remote);
    format!(
        "{}, {} {} ⇄ {} {}",
        path.protocol, local.kind, local.address, remote.kind, remote.address
    )
}

/// Packets in words.
pub(crate) fn packets(gauge: &Gauge) -> String {
    let round_trip = gauge.round_trip.map_or_else(|| "–".to_owned(), millis);
    format!(
        "sent {}, received {}, lost {} ({:.1} %), round trip {round_trip}",
        gauge.sent,
        gauge.received,
        gauge.lost,
        gauge.loss_percent()
    )
}

/// A time in milliseconds, with one decimal.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn hearing(gauge: &Gauge, ink: Ink) -> String {
    let level = decibels(gauge.now.rms);
    let full = ((1.0 - level / FLOOR).clamp(0.0, 1.0) * BAR as f32).round() as usize;
    let bar = ink.paint(Style::Good, &"█".repeat(full));
    let rest = ink.paint(Style::Dim, &"░".repeat(BAR - full));
    format!("{bar}{rest} {}", short(&gauge.now))
}

fn short(sound: &Sound) -> String {
    match sound.tone {
        Some(tone) => format!("{:5.1} dB {:4.0} Hz", decibels(sound.rms), tone.hz),
        None => "nothing".to_owned(),
    }
}
