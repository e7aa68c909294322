//! `caller`: the example program of matrix-voip, for a terminal.
//!
//! `caller demo` makes a real call inside this one process, `caller replay` prints a recorded one,
//! `caller devices` lists microphones and loudspeakers. With the feature `matrix` it logs in,
//! calls and answers over a homeserver, and can be driven by tests (`caller serve`).
//! Exit codes: 0, it worked; 1, it ran and something is wrong, with the reason on the last lines;
//! 2, it could not begin (an unknown argument, a file that cannot be read or written, a wrong
//! password, a room that is not there).

mod cli;
mod demo;
mod devices;
mod engine;
mod exit;
#[cfg(feature = "matrix")]
mod matrix;
mod overheard;
#[cfg(any(feature = "matrix", feature = "devices"))]
mod plain;
mod replay;
#[cfg(not(feature = "matrix"))]
mod without;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
#[cfg(not(feature = "matrix"))]
use crate::without as matrix;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(options) => demo::main(&options),
        Command::Replay(options) => replay::main(&options),
        Command::Devices => devices::main(),
        Command::Online(command) => matrix::main(&command),
    }
}
