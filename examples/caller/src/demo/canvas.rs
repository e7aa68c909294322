//! Where text is drawn: lines that stay, and below them meters that are drawn over.
//!
//! Where lines cannot be drawn over (a file, a pipe), the meters come as one line each second.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::ink::Ink;

/// Without a terminal: from one line of meters to the next.
const PLAIN_METERS: Duration = Duration::from_secs(1);

/// What is drawn on.
#[derive(Debug)]
pub(crate) struct Canvas<W> {
    out: W,
    /// What it can do.
    pub(crate) ink: Ink,
    /// How many lines of meters stand below the others.
    drawn: usize,
    metered: Duration,
}

impl<W: Write> Canvas<W> {
    /// Draws to `out`.
    pub(crate) const fn new(out: W, ink: Ink) -> Self {
        Self { out, ink, drawn: 0, metered: Duration::ZERO }
    }

    /// A line that stays, above the meters.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.wipe()?;
        writeln!(self.out, "{}", text.trim_end())
    }

    /// What was drawn is seen from now on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The meters, as a block of lines or, where that cannot be, as one line.
    pub(crate) fn meters(
        &mut self,
        at: Duration,
        block: impl FnOnce() -> Vec<String>,
        line: impl FnOnce() -> String,
    ) -> io::Result<()> {
        if self.ink.redraws() {
            self.wipe()?;
            self.block(&block())?;
        } else if at >= self.metered + PLAIN_METERS {
            self.metered = at;
            self.line(&format!("{}   {}", time(at), line()))?;
        }
        self.out.flush()
    }

    fn block(&mut self, lines: &[String]) -> io::Result<()> {
        // A line that wraps would take two: then the next redraw would leave rests.
        write!(self.out, "\x1b[?7l")?;
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        write!(self.out, "\x1b[?7h")?;
        self.drawn = lines.len();
        Ok(())
    }

    /// The last lines, in place of the meters.
    pub(crate) fn end(&mut self, lines: &[String]) -> io::Result<()> {
        self.wipe()?;
        writeln!(self.out)?;
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// Takes the meters off the screen.
    fn wipe(&mut self) -> io::Result<()> {
        if self.drawn > 0 {
            write!(self.out, "\x1b[{}A\r\x1b[J", self.drawn)?;
            self.drawn = 0;
        }
        Ok(())
    }
}

/// A time, as lines begin with it: in seconds.
pub(crate) fn time(at: Duration) -> String {
    format!("{:8.3}", at.as_secs_f64())
}
