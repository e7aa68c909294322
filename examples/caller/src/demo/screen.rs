//! The demo as text: a time line in two columns that grows, and below it meters that are redrawn.
//!
//! ```text
//!        s   ada                                                   ben
//!    0.004   preparing      ─ m.call.invite ──────────────────▶
//!    0.005                                                         ringing
//! ```
//!
//! Where lines cannot be drawn over (a file, a pipe), the meters come as one line each second.

use std::{
    io::{self, Write},
    time::Duration,
};

use matrix_voip::machine::event::CallState;

use super::{
    face::{Face, Outcome, Wire},
    fact::{Fact, Moment, OtherMicrophone, Who, WireEvent},
    ink::{Ink, Style},
    meters, report,
    story::Story,
    verdict::{Expected, View},
};

/// Width of a side's column.
const COLUMN: usize = 14;

/// Width of the space between the columns, where events pass.
const MIDDLE: usize = 38;

/// Without a terminal: from one line of meters to the next.
const PLAIN_METERS: Duration = Duration::from_secs(1);

/// Draws.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    ink: Ink,
    wire: Wire,
    /// How many lines of meters stand below the time line.
    drawn: usize,
    metered: Duration,
}

impl<W: Write> Screen<W> {
    /// Draws to `out`.
    pub(crate) const fn new(out: W, ink: Ink, wire: Wire) -> Self {
        Self { out, ink, wire, drawn: 0, metered: Duration::ZERO }
    }

    /// A line of the time line, above the meters.
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.wipe()?;
        writeln!(self.out, "{}", text.trim_end())
    }

    /// Takes the meters off the screen.
    fn wipe(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            write!(self.out, "\x1b[{}A\r\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }

    fn meters(&mut self, at: Duration, story: &Story) -> io::Result<()> {
        if self.ink.redraws() {
            self.wipe()?;
            let lines = meters::block(story, self.ink);
            // A line that wraps would take two: then the next redraw would leave rests.
            write!(self.out, "\x1b[?7l")?;
            for line in &lines {
                writeln!(self.out, "{line}")?;
            }
            write!(self.out, "\x1b[?7h")?;
            self.drawn = lines.len();
        } else if at >= self.metered + PLAIN_METERS {
            self.metered = at;
            self.line(&format!("{}   {}", time(at), meters::line(story)))?;
        }
        self.out.flush()
    }

    fn row(&mut self, at: Duration, who: Who, text: &str, style: Style) -> io::Result<()> {
        let (ada, ben) = match who {
            Who::Ada => (text, ""),
            Who::Ben => ("", text),
        };
        let ada = self.ink.paint(style, &format!("{ada:COLUMN$}"));
        let ben = self.ink.paint(style, ben);
        let time = self.ink.paint(Style::Dim, &time(at));
        self.line(&format!("{time}   {ada} {:MIDDLE$} {ben}", ""))
    }

    fn sent(&mut self, at: Duration, who: Who, event: &WireEvent) -> io::Result<()> {
        let arrow = self.ink.paint(Style::Signal, &arrow(who, &event.event_type));
        let time = self.ink.paint(Style::Dim, &time(at));
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
            View::Nothing => "A voice call",
            View::TestPicture(_) => "A video call with a moving test picture",
            View::File(..) => "A video call with pictures from a file",
        };
        let seconds = expected.talk.as_secs();
        let head = format!("{kind} of {seconds} s between ada and ben, inside this process.");
        self.line(&self.ink.paint(Style::Bold, &head))?;
        self.line(&format!(
            "Ada plays {:.0} Hz, ben plays {:.0} Hz.",
            expected.ben_hears, expected.ada_hears
        ))?;
        self.line("")?;
        let columns = format!("       s   {:COLUMN$} {:MIDDLE$} ben", "ada", "");
        self.line(&self.ink.paint(Style::Bold, &columns))?;
        self.out.flush()
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
        self.wipe()?;
        writeln!(self.out)?;
        for line in report::lines(outcome, self.ink) {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }
}

fn time(at: Duration) -> String {
    format!("{:8.3}", at.as_secs_f64())
}

fn words(state: CallState) -> String {
    state.to_string().replace('_', " ")
}

fn look(state: CallState) -> Style {
    match state {
        CallState::Connected => Style::Good,
        CallState::Ended | CallState::Ringing => Style::Bold,
        CallState::Preparing
        | CallState::InviteSent
        | CallState::Answering
        | CallState::Connecting => Style::Dim,
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
