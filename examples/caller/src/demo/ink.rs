//! Colour and emphasis, where the terminal has them.

use std::io::IsTerminal;

/// Whether text may be coloured and redrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// A terminal: ANSI sequences.
    Terminal,
    /// A terminal whose owner wants no colour (`NO_COLOR`): redrawn, not coloured.
    Colourless,
    /// A file or pipe: lines only.
    Plain,
}

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A heading.
    Bold,
    /// Less important than the rest.
    Dim,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Something on its way.
    Signal,
}

impl Ink {
    /// What standard output can do.
    pub(crate) fn of_stdout() -> Self {
        if !std::io::stdout().is_terminal() || std::env::var_os("TERM").is_some_and(|t| t == "dumb")
        {
            return Self::Plain;
        }
        match std::env::var_os("NO_COLOR") {
            Some(set) if !set.is_empty() => Self::Colourless,
            _ => Self::Terminal,
        }
    }

    /// The text in that style.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self != Self::Terminal || text.trim().is_empty() {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Signal => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Whether lines can be drawn over.
    pub(crate) fn redraws(self) -> bool {
        self != Self::Plain
    }
}
