//! Small programs, each about one thing: see the folder `examples/examples`.

/// The program of the README, so that it is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
