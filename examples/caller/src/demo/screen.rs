//! The demo as text: a time line in two columns that grows, and below it meters that are redrawn.
//!
//! ```text
//!        s   ada                                                   ben
//!    0.004   preparing     ─ m.call.invite ──────────────────▶
//!    0.005                                                         ringing
//! ```

use std::{
    io::{self, Write},
    time::Duration,
};

use matrix_voip::machine::event::CallState;

use super::{
    canvas::{Canvas, time},
    face::{Face, Outcome, Wire},
    fact::{Fact, Moment, OtherMicrophone, Who, WireEvent},
    ink::{Ink, Style},
    meters, report,
    story::Story,
    verdict::{Expected, View},
};

/// Width of a side's column.
const COLUMN: usize = 13;

/// Width of the space between the columns, where events pass.
const MIDDLE: usize = 38;

/// Draws.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    canvas: Canvas<W>,
    wire: Wire,
}

impl<W: Write> Screen<W> {
    /// Draws to `out`.
    pub(crate) const fn new(out: W, ink: Ink, wire: Wire) -> Self {
        Self { canvas: Canvas::new(out, ink), wire }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.canvas.line(text)
    }

    const fn ink(&self) -> Ink {
        self.canvas.ink
    }

    fn meters(&mut self, at: Duration, story: &Story) -> io::Result<()> {
        let ink = self.ink();
        self.canvas.meters(at, || meters::block(story, ink), || meters::line(story))
    }

    fn row(&mut self, at: Duration, who: Who, text: &str, style: Style) -> io::Result<()> {
        let (ada, ben) = match who {
            Who::Ada => (text, ""),
            Who::Ben => ("", text),
        };
        let ada = self.ink().paint(style, &format!("{ada:COLUMN$}"));
        let ben = self.ink().paint(style, ben);
        let time = self.ink().paint(Style::Dim, &time(at));
        self.line(&format!("{time}   {ada} {:MIDDLE$} {ben}", ""))
    }

    fn sent(&mut self, at: Duration, who: Who, event: &WireEvent) -> io::Result<()> {
        let arrow = self.ink().paint(Style::Signal, &arrow(who, &event.event_type));
        let time = self.ink().paint(Style::Dim, &time(at));
        self.line(&format!("{time}   {:COLUMN$} {arrow}", ""))?;
        match self.wire {
            Wire::Shown => self.line(&event.content),
            Wire::Hidden => Ok(()),
        }
    }
}

impl<W: Write> Face for Screen<W> {
    fn begin(&mut self, expected: &Expected) -> io::Result<()> {
        let kind = match expected.view {
            View::Nothing => "voice",
            View::TestPicture(_) => "video, a moving test picture",
            View::File(..) => "video, from a file",
        };
        let seconds = expected.talk.as_secs();
        let (engine, between) = (expected.engine, "between ada and ben in this process");
        let head = format!("A call of {seconds} s {between}: {kind}. Engine: {engine}.");
        self.line(&self.ink().paint(Style::Bold, &head))?;
        self.line(&format!(
            "Ada plays {:.0} Hz, ben plays {:.0} Hz.",
            expected.ben_hears, expected.ada_hears
        ))?;
        self.line("")?;
        let columns = format!("       s   {:COLUMN$} {:MIDDLE$} ben", "ada", "");
        self.line(&self.ink().paint(Style::Bold, &columns))?;
        self.canvas.flush()
    }

    fn tell(&mut self, moment: &Moment, story: &Story) -> io::Result<()> {
        let at = moment.at;
        match &moment.fact {
            Fact::State(who, state) => self.row(at, *who, &words(*state), look(*state))?,
            Fact::Ended(who, _) => self.row(at, *who, "ended", Style::Bold)?,
            Fact::Sent(who, event) => self.sent(at, *who, event)?,
            Fact::Path(who, _) => self.row(at, *who, "path known", Style::Dim)?,
            Fact::FirstSound(who) => self.row(at, *who, "first sound", Style::Good)?,
            Fact::FirstPicture(who) => self.row(at, *who, "first picture", Style::Good)?,
            Fact::OtherMicrophone(who, OtherMicrophone::Muted) => {
                self.row(at, *who, &format!("{} is muted", who.other()), Style::Dim)?;
            }
            Fact::OtherMicrophone(who, OtherMicrophone::On) => {
                self.row(at, *who, &format!("{} is not muted", who.other()), Style::Dim)?;
            }
            Fact::Announced(..) | Fact::ToldOf(..) | Fact::Gauge(..) => {}
        }
        self.meters(at, story)
    }

    fn end(&mut self, outcome: &Outcome) -> io::Result<()> {
        let lines = report::lines(outcome, self.ink());
        self.canvas.end(&lines)
    }
}

fn words(state: CallState) -> String {
    state.to_string().replace('_', " ")
}

fn look(state: CallState) -> Style {
    match state {
        CallState::Connected => Style::Good,
        CallState::Ended | CallState::Ringing => Style::Bold,
        _ => Style::Dim,
    }
}

/// An event on its way: `─ m.call.invite ────▶`, or the other way round.
fn arrow(from: Who, event_type: &str) -> String {
    let rest = MIDDLE.saturating_sub(event_type.chars().count() + 4);
    let shaft = "─".repeat(rest);
    match from {
        Who::Ada => format!("─ {event_type} {shaft}▶"),
        Who::Ben => format!("◀{shaft} {event_type} ─"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fact::Gauge;

    /// The widest terminal that everybody has.
    const COLUMNS: usize = 80;

    fn shown(ink: Ink, wire: Wire, facts: Vec<(u64, Fact)>) -> String {
        let (mut out, mut story) = (Vec::new(), Story::default());
        let mut screen = Screen::new(&mut out, ink, wire);
        for (ms, fact) in facts {
            let moment = Moment { at: Duration::from_millis(ms), fact };
            story.apply(&moment);
            screen.tell(&moment, &story).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn sent(who: Who, event_type: &str) -> Fact {
        let content = r#"{"version":"1"}"#.to_owned();
        Fact::Sent(who, WireEvent { event_type: event_type.to_owned(), content })
    }

    #[test]
    fn each_side_has_its_column_and_events_pass_between_them() {
        let facts = vec![
            (4, Fact::State(Who::Ada, CallState::InviteSent)),
            (5, sent(Who::Ada, "m.call.invite")),
            (5, Fact::State(Who::Ben, CallState::Ringing)),
            (9, sent(Who::Ben, "m.call.answer")),
        ];
        let text = shown(Ink::Plain, Wire::Hidden, facts);
        let expected = "   0.004   invite sent
   0.005                 ─ m.call.invite ─────────────────────▶
   0.005                                                        ringing
   0.009                 ◀───────────────────── m.call.answer ─
";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let longest = "m.call.sdp_stream_metadata_changed";
        let facts = vec![
            (1, sent(Who::Ada, longest)),
            (2, sent(Who::Ben, longest)),
            (3, Fact::FirstPicture(Who::Ben)),
            (4, Fact::OtherMicrophone(Who::Ben, OtherMicrophone::On)),
            (1_000, Fact::Gauge(Who::Ada, Gauge { sent: 1 << 40, ..Gauge::default() })),
        ];
        let text = shown(Ink::Plain, Wire::Hidden, facts);
        let meters = meters::block(&Story::default(), Ink::Colourless).join("\n");
        for line in text.lines().chain(meters.lines()) {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn the_wire_is_shown_when_asked_for() {
        let facts = || vec![(1, sent(Who::Ada, "m.call.hangup"))];
        assert!(shown(Ink::Plain, Wire::Shown, facts()).contains(r#"{"version":"1"}"#));
        assert!(!shown(Ink::Plain, Wire::Hidden, facts()).contains("version"));
    }

    #[test]
    fn on_a_terminal_the_meters_are_drawn_over_and_elsewhere_told_once_a_second() {
        let gauges = || {
            (0..20).map(|n| (n * 100, Fact::Gauge(Who::Ada, Gauge::default()))).collect::<Vec<_>>()
        };
        let plain = shown(Ink::Plain, Wire::Hidden, gauges());
        assert_eq!(plain.lines().count(), 1, "{plain}");
        let terminal = shown(Ink::Terminal, Wire::Hidden, gauges());
        let lines = meters::block(&Story::default(), Ink::Terminal).len();
        assert_eq!(terminal.matches(&format!("\x1b[{lines}A")).count(), 19, "all but the last");
    }
}
