//! The line at the bottom of a terminal, and lines that stay above it.

use std::io::{IsTerminal, stdout};

use crate::matrix::say::show;

/// One line of a terminal that is written over; elsewhere a line for each state.
#[derive(Debug)]
pub(super) struct StatusLine {
    is_live: bool,
}

impl StatusLine {
    pub(super) fn new() -> Self {
        Self { is_live: stdout().is_terminal() }
    }

    /// Whether it is written over.
    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(super) fn show(&self, text: &str) {
        if !self.is_live {
            return self.print(text);
        }
        // A terminal that does not know its width says 0.
        let width = crossterm::terminal::size().map_or(0, |(width, _)| usize::from(width));
        let width = if width == 0 { 80 } else { width };
        let text: String = text.chars().take(width.saturating_sub(1)).collect();
        show(format_args!("\r\x1b[2K{text}"));
    }

    /// A line that stays. The return is for raw terminals.
    pub(super) fn print(&self, text: &str) {
        let (begin, end) = if self.is_live { ("\r\x1b[2K", "\r\n") } else { ("", "\n") };
        show(format_args!("{begin}{text}{end}"));
    }

    /// Leaves the line as it is.
    pub(super) fn end(&self) {
        if self.is_live {
            show("\r\n");
        }
    }
}
