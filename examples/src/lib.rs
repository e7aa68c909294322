//! Small programs, each about one thing: see the folder `examples/examples`.

/// The programs of the README, so that they are compiled with the tests, and the one without a
/// homeserver is run.
#[cfg(all(doctest, feature = "matrix"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
