//! What went wrong in a test, in words; and what is missing so that it cannot even begin.

use std::fmt;

/// Why something did not work, as a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// `what: error`.
    pub fn of(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// Gives errors of the standard library the words that they lack.
pub trait Context<T> {
    /// The value, or a [`Failure`] that says `what` was tried.
    ///
    /// # Errors
    ///
    /// The error that was there.
    fn context(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::of(what, error))
    }
}

/// Something that this machine lacks: the test is skipped, not failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The thing, for instance "Synapse".
    pub what: &'static str,
    /// Why it is not there, and what would bring it.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}
