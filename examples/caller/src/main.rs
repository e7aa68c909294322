//! The CLI caller.
fn main() {}
