//! Exit codes, the same of all commands.

/// It ran, and something is wrong.
pub(crate) const WRONG: u8 = 1;

/// It could not begin.
pub(crate) const NOT_BEGUN: u8 = 2;
