//! `caller replay FILE`: a recording as a column of messages with times.
//!
//! The file is lived through again by an engine of this build; nothing is sent anywhere. Exit code
//! 1 where the file ends before its end, or where this build judges otherwise than the live call
//! did; 2 where the file is no recording.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    process::ExitCode,
};

use matrix_voip::testing::Replayed;

use crate::cli::ReplayOptions;

/// It ran, and something is wrong.
const WRONG: u8 = 1;

/// It could not begin.
const NOT_BEGUN: u8 = 2;

pub(crate) fn main(options: &ReplayOptions) -> ExitCode {
    let path = options.file.display();
    let file = match File::open(&options.file) {
        Ok(file) => BufReader::new(file),
        Err(error) => return fail(NOT_BEGUN, &format!("cannot read {path}: {error}")),
    };
    let replayed = match Replayed::read(file) {
        Ok(replayed) => replayed,
        Err(error) => return fail(NOT_BEGUN, &format!("cannot replay {path}: {error}")),
    };
    if show(&replayed).is_err() {
        // Whoever read the output has gone: there is nobody to tell.
        return ExitCode::from(WRONG);
    }
    if let Some(error) = replayed.torn {
        return fail(WRONG, &format!("{path}: {error}"));
    }
    if replayed.differing > 0 {
        let differing = replayed.differing;
        let why = format!(
            "{differing} of the live call's verdicts were others: another version, or a changed file"
        );
        return fail(WRONG, &why);
    }
    ExitCode::SUCCESS
}

fn show(replayed: &Replayed) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}", replayed.column)?;
    out.flush()
}

fn fail(code: u8, why: &str) -> ExitCode {
    eprintln!("caller: {why}");
    ExitCode::from(code)
}
