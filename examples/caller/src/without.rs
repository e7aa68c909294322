//! A build without the feature `matrix`: it knows the commands and says how to get them.

use std::process::ExitCode;

use crate::{cli::Online, exit::NOT_BEGUN};

/// One line, on standard error.
pub(crate) fn main(command: &Online) -> ExitCode {
    let name = command.name();
    // Who would talk should not build twice.
    let features = if command.wants_devices() { "matrix,devices" } else { "matrix" };
    eprintln!(
        "caller: `{name}` needs Matrix, which is not in this build: \
         cargo run -p caller --features {features} -- {name}"
    );
    ExitCode::from(NOT_BEGUN)
}
