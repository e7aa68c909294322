//! What the demo of a group call shows itself through: text on a terminal, or JSON lines.

use std::io;

use super::{Moment, story::Story, verdict::Expected, wrong::Wrong};

/// What is shown when all is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What happened.
    pub(crate) story: Story,
    /// What should have happened.
    pub(crate) expected: Expected,
    /// What is wrong; empty when nothing is.
    pub(crate) wrong: Vec<Wrong>,
}

/// Shows a group call while it lasts, and the outcome. All of it fails when the output is closed.
pub(crate) trait Face {
    /// All are about to enter.
    fn begin(&mut self, expected: &Expected) -> io::Result<()>;

    /// Something happened; `story` has it already.
    fn tell(&mut self, moment: &Moment, story: &Story) -> io::Result<()>;

    /// All is over.
    fn end(&mut self, outcome: &Outcome) -> io::Result<()>;
}
