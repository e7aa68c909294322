//! Words to the person. A terminal that was closed, or a reader that has ended (`| head`), hears
//! nothing any more; that must end no call, as a panic of `println!` would.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write, stderr, stdout},
};

use super::refusal::Refusal;

/// A line that nothing depends on: who is gone does not hear it.
pub(crate) fn say(line: impl Display) {
    drop(writeln!(stdout(), "{line}"));
}

/// A part of a line, shown at once.
pub(crate) fn show(text: impl Display) {
    let mut stdout = stdout();
    drop(write!(stdout, "{text}").and_then(|()| stdout.flush()));
}

/// A line of what was asked for: where it cannot be kept, as on a full disk, that is said. A reader
/// that has ended wants no more.
pub(crate) fn report(line: impl Display) -> Result<(), Refusal> {
    outcome(writeln!(stdout(), "{line}"))
}

/// What went wrong, on standard error.
pub(crate) fn complain(line: impl Display) {
    drop(writeln!(stderr(), "caller: {line}"));
}

fn outcome(written: io::Result<()>) -> Result<(), Refusal> {
    match written {
        Err(why) if why.kind() != ErrorKind::BrokenPipe => {
            Err(Refusal::new(format!("standard output: {why}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_and_a_reader_that_has_ended_is_not() {
        let full = outcome(Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert!(full.0.starts_with("standard output: "), "{full}");
        assert_eq!(outcome(Err(ErrorKind::BrokenPipe.into())), Ok(()));
        assert_eq!(outcome(Ok(())), Ok(()));
    }
}
