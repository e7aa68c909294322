//! The demo of a group call as text: a time line that grows, and below it who hears whom, redrawn.
//!
//! ```text
//!        s
//!    0.021   ada    ─ com.famedly.call.member.invite ─▶ ben
//!    0.090   ada    hears ben
//!
//!   hears      ada     ben
//!   ada          ·   ▆ 660
//! ```

use std::{
    io::{self, Write},
    time::Duration,
};

use matrix_voip::{Connection, GroupState};

use super::{
    Moment,
    cast::Who,
    face::{Face, Outcome},
    fact::Fact,
    grid, report,
    story::Story,
    verdict::Expected,
};
use crate::demo::{
    canvas::{Canvas, time},
    face::Wire,
    fact::{OtherMicrophone, WireEvent},
    ink::{Ink, Style},
};

/// Width of the names.
const NAMES: usize = 6;

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

    fn row(&mut self, at: Duration, who: Who, text: &str, style: Style) -> io::Result<()> {
        let ink = self.canvas.ink;
        let time = ink.paint(Style::Dim, &time(at));
        self.canvas.line(&format!("{time}   {who:NAMES$} {}", ink.paint(style, text)))
    }

    fn sent(&mut self, at: Duration, from: Who, to: &[Who], event: &WireEvent) -> io::Result<()> {
        let names: Vec<_> = to.iter().map(|to| to.name()).collect();
        let to = if names.is_empty() { "the room".to_owned() } else { names.join(", ") };
        self.row(at, from, &format!("─ {} ─▶ {to}", event.event_type), Style::Signal)?;
        match self.wire {
            Wire::Shown => self.canvas.line(&event.content),
            Wire::Hidden => Ok(()),
        }
    }

    fn state(&mut self, at: Duration, who: Who, state: GroupState) -> io::Result<()> {
        let style = match state {
            GroupState::Entered => Style::Good,
            GroupState::Ended => Style::Bold,
            _ => Style::Dim,
        };
        self.row(at, who, grid::words(state), style)
    }

    /// Each pair is told of once, when the later of the two is connected.
    fn connection(
        &mut self,
        at: Duration,
        (who, other): (Who, Who),
        how: Connection,
        story: &Story,
    ) -> io::Result<()> {
        match how {
            Connection::Connected if story.met(who, other) => {
                self.row(at, who, &format!("⇄ {other} connected"), Style::Good)
            }
            Connection::Connected | Connection::Connecting => Ok(()),
            _ if story.way(who, other).lost > 0 => {
                self.row(at, who, &format!("lost {other}"), Style::Bad)
            }
            _ => Ok(()),
        }
    }

    fn fact(&mut self, moment: &Moment, story: &Story) -> io::Result<()> {
        let at = moment.at;
        match &moment.fact {
            Fact::State(who, state) => self.state(at, *who, *state),
            Fact::Connection(who, other, how) => self.connection(at, (*who, *other), *how, story),
            Fact::Sent(from, to, event) => self.sent(at, *from, to, event),
            Fact::Stray(who) => self.row(at, *who, "hears a stranger", Style::Bad),
            Fact::FirstSound(who, of) => self.row(at, *who, &format!("hears {of}"), Style::Good),
            Fact::OtherMicrophone(who, of, OtherMicrophone::Muted) => {
                self.row(at, *who, &format!("is told that {of} is muted"), Style::Dim)
            }
            Fact::OtherMicrophone(_, _, OtherMicrophone::On)
            | Fact::Opened(..)
            | Fact::Announced(..)
            | Fact::Told(..)
            | Fact::Track(..)
            | Fact::Streams(..)
            | Fact::Path(..)
            | Fact::Meters(..)
            | Fact::Cost(..)
            | Fact::Leaving => Ok(()),
        }
    }
}

impl<W: Write> Face for Screen<W> {
    fn begin(&mut self, expected: &Expected) -> io::Result<()> {
        let (size, seconds) = (expected.size, expected.talk.as_secs());
        let (engine, here) = (expected.engine, "in this process");
        let head = format!(
            "A group call of {size} {here}, for {seconds} s: each meets each. Engine: {engine}."
        );
        self.canvas.line(&self.canvas.ink.paint(Style::Bold, &head))?;
        let plays = Who::cast(size).map(|who| format!("{who} {:.0}", who.hz()));
        self.canvas.line(&format!("Tones in Hz: {}.", plays.collect::<Vec<_>>().join(", ")))?;
        self.canvas.line("")?;
        self.canvas.line(&self.canvas.ink.paint(Style::Bold, "       s"))?;
        self.canvas.flush()
    }

    fn tell(&mut self, moment: &Moment, story: &Story) -> io::Result<()> {
        self.fact(moment, story)?;
        let ink = self.canvas.ink;
        self.canvas.meters(moment.at, || grid::now(story, ink), || grid::line(story))
    }

    fn end(&mut self, outcome: &Outcome) -> io::Result<()> {
        let lines = report::lines(outcome, self.canvas.ink);
        self.canvas.end(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{
        fact::{Gauge, Sound, Tone},
        group::cast::MOST,
    };

    /// The widest terminal that everybody has.
    const COLUMNS: usize = 80;

    fn shown(ink: Ink, wire: Wire, facts: Vec<(u64, Fact)>) -> String {
        let (mut out, mut story) = (Vec::new(), Story::new(MOST));
        let mut screen = Screen::new(&mut out, ink, wire);
        for (ms, fact) in facts {
            let moment = Moment { at: Duration::from_millis(ms), fact };
            story.apply(&moment);
            screen.tell(&moment, &story).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn sent(to: Vec<Who>, event_type: &str) -> Fact {
        let content = r#"{"version":"1"}"#.to_owned();
        Fact::Sent(Who::ADA, to, WireEvent { event_type: event_type.to_owned(), content })
    }

    fn heard(hz: f32) -> Vec<(u64, Fact)> {
        let tone = Some(Tone { hz, level: 0.2, share: 0.99 });
        let sound = Sound { rms: 0.14, tone, length: Duration::from_secs(4) };
        // The packets of an hour.
        let (sent, received) = (180_000, 180_000);
        let gauge = Gauge { now: sound, overall: sound, sent, received, ..Gauge::default() };
        let meters = |who: Who| Fact::Meters(who, who.others(MOST).map(|of| (of, gauge)).collect());
        let last = Who::cast(MOST).last().unwrap();
        let at = |who| if who == last { 1_000 } else { 500 };
        Who::cast(MOST).map(|who| (at(who), meters(who))).collect()
    }

    #[test]
    fn the_time_line_says_who_writes_to_whom_and_a_pair_is_connected_once() {
        let [ada, ben] = [Who::ADA, Who::BEN];
        let text = shown(
            Ink::Plain,
            Wire::Hidden,
            vec![
                (4, sent(vec![], "com.famedly.call.member")),
                (5, sent(vec![ben], "com.famedly.call.member.invite")),
                (6, Fact::Connection(ada, ben, Connection::Connected)),
                (7, Fact::Connection(ben, ada, Connection::Connected)),
                (8, Fact::FirstSound(ben, ada)),
            ],
        );
        let expected = "   0.004   ada    ─ com.famedly.call.member ─▶ the room
   0.005   ada    ─ com.famedly.call.member.invite ─▶ ben
   0.007   ben    ⇄ ada connected
   0.008   ben    hears ada
";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_however_many_meet() {
        let longest = "com.famedly.call.member.sdp_stream_metadata_changed";
        let facts = [vec![(1, sent(vec![Who::BEN], longest))], heard(12_345.0)].concat();
        for ink in [Ink::Plain, Ink::Colourless] {
            let text = shown(ink, Wire::Hidden, facts.clone());
            let text = text.replace("\x1b[?7l", "").replace("\x1b[?7h", "");
            for line in text.lines().filter(|line| !line.starts_with('\x1b')) {
                assert!(line.chars().count() <= COLUMNS, "{line}");
            }
        }
    }

    #[test]
    fn meters_are_drawn_over_on_a_terminal_and_elsewhere_told_in_one_line() {
        let plain = shown(Ink::Plain, Wire::Hidden, heard(440.0));
        assert!(plain.contains("7 of 56 tones heard"), "all hear ada: {plain}");
        assert_eq!(plain.lines().count(), 1);
        let terminal = shown(Ink::Colourless, Wire::Hidden, heard(440.0));
        let lines = grid::now(&Story::new(MOST), Ink::Terminal).len();
        let over = terminal.matches(&format!("\x1b[{lines}A")).count();
        assert_eq!(over, MOST - 1, "all but the last");
    }
}
