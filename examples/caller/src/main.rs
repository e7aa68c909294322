//! `caller`: the example program of matrix-voip, for a terminal.
//!
//! `caller demo` makes a real call inside this one process; commands that need a homeserver follow.
//! Exit codes: 0, it worked; 1, it ran and something is wrong, with the reason on the last lines;
//! 2, it could not begin (an unknown argument, a file that cannot be read or written).

mod cli;
mod demo;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(options) => demo::main(&options),
    }
}
