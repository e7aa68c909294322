//! `caller serve`: driven by lines of JSON (the test peer protocol, `tests/real/PROTOCOL.md`).
//!
//! ```text
//! stdin ─▶ line ─▶ desk ─▶ peer: a runtime with one client ─▶ commands ─▶ out ─▶ stdout
//! ```
//!
//! Each peer has a runtime of its own: dropping it is how a client dies without a word.
//!
//! | file | holds |
//! | --- | --- |
//! | `line.rs`, `command.rs`, `out.rs` | requests, answers and events; the thread that writes |
//! | `desk.rs` | the peers, and what starts in which order |
//! | `client.rs`, `cable.rs`, `held.rs` | a logged in client and its way to the homeserver |
//! | `sent.rs`, `wire.rs` | what went out and what came, as events |
//! | `groups.rs`, `meetings.rs` | group calls: commands, and what happens in them |
//! | `rtc.rs` | those through an SFU: tokens and media keys |
//! | `calls.rs`, `engine.rs`, `senses.rs`, `nowhere.rs` | its calls, connections, ears and eyes |
//! | `commands.rs`, `changes.rs`, `rooms.rs`, `wait.rs`, `measure.rs` | what it does when it is told |
//! | `object.rs` | calls as the protocol shows them |

mod cable;
mod calls;
mod changes;
mod client;
mod command;
mod commands;
mod desk;
mod engine;
mod groups;
mod held;
mod line;
mod measure;
mod meetings;
pub(super) mod nowhere;
mod object;
mod out;
mod rooms;
mod rtc;
mod senses;
mod sent;
mod wait;
mod wire;

use std::{
    io::{self, BufRead},
    process::ExitCode,
};

use self::{client::Ways, desk::Desk, line::MAX_LINE_BYTES, out::Out};
use crate::{cli::online::ServeOptions, exit::NOT_BEGUN, matrix::say::complain};

/// Reads commands until `quit` or the end of standard input.
pub(crate) fn main(options: &ServeOptions) -> ExitCode {
    let ways = match Ways::of(options) {
        Ok(ways) => ways,
        Err(why) => {
            complain(why);
            return ExitCode::from(NOT_BEGUN);
        }
    };
    let out = Out::start();
    out.line(&line::hello(&options.engine.to_string(), options.engine.has_tones()));
    let mut desk = Desk::new(ways, out.clone());
    let mut input = io::stdin().lock();
    while let Some(line) = next_line(&mut input) {
        if desk.take(&line).is_break() {
            leave(&out);
        }
    }
    desk.finish();
    leave(&out)
}

/// Nothing is hung up: the process just ends, with all that runs in it.
fn leave(out: &Out) -> ! {
    out.flush();
    std::process::exit(0)
}

/// The next line without its end; of one that is too long, its beginning (which is no JSON).
fn next_line(input: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let buffer = input.fill_buf().ok()?;
        if buffer.is_empty() {
            return (!line.is_empty()).then_some(line);
        }
        let (part, ends) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&buffer[..at], true),
            None => (buffer, false),
        };
        let room = MAX_LINE_BYTES - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        let taken = part.len() + usize::from(ends);
        input.consume(taken);
        if ends {
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_to_the_last_whether_it_ends_or_not() {
        let mut input = io::BufReader::with_capacity(2, &b"abc\n\nde"[..]);
        let mut next = || next_line(&mut input);
        assert_eq!(next(), Some(b"abc".to_vec()));
        assert_eq!(next(), Some(Vec::new()));
        assert_eq!(next(), Some(b"de".to_vec()));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_whole() {
        let mut long = vec![b'a'; MAX_LINE_BYTES + 10];
        long.extend(b"\nb\n");
        let mut input = &long[..];
        assert_eq!(next_line(&mut input).map(|line| line.len()), Some(MAX_LINE_BYTES));
        assert_eq!(next_line(&mut input), Some(b"b".to_vec()));
    }
}
