//! What the demo shows itself through: text on a terminal, or JSON lines.

use std::{io, path::PathBuf};

use super::{fact::Moment, story::Story, verdict::Expected, wrong::Wrong};

/// What is shown when all is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What happened.
    pub(crate) story: Story,
    /// What should have happened.
    pub(crate) expected: Expected,
    /// What is wrong; empty when nothing is.
    pub(crate) wrong: Vec<Wrong>,
    /// The files that were written.
    pub(crate) recorded: Vec<PathBuf>,
}

/// Whether the contents of Matrix events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// As JSON.
    Shown,
    /// Only their types.
    Hidden,
}

/// Shows a call while it lasts, and the outcome.
pub(crate) trait Face {
    /// The call is about to be placed.
    ///
    /// # Errors
    /// Nobody can be shown anything: the output is closed.
    fn begin(&mut self, expected: &Expected) -> io::Result<()>;

    /// Something happened; `story` has it already.
    ///
    /// # Errors
    /// Nobody can be shown anything: the output is closed.
    fn tell(&mut self, moment: &Moment, story: &Story) -> io::Result<()>;

    /// All is over.
    ///
    /// # Errors
    /// Nobody can be shown anything: the output is closed.
    fn end(&mut self, outcome: &Outcome) -> io::Result<()>;
}
