//! A server process: its output goes to a log line by line, and what it says tells when it is
//! ready. It is killed when its value is dropped.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, PipeReader, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use crate::failure::{Context, Failure};

/// A running server.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

/// How a server tells that it is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready<'a> {
    /// All of these have appeared in its output, in whatever order.
    pub(crate) words: &'a [&'a str],
    /// How long it may be silent before.
    pub(crate) patience: Duration,
}

impl Program {
    /// Starts it and waits until it is ready; the log is continued where there is one.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        log: &Path,
        ready: Ready<'_>,
    ) -> Result<Self, Failure> {
        let (output, input) = io::pipe().context("making a pipe")?;
        let errors = input.try_clone().context("making a pipe")?;
        command.stdin(Stdio::null()).stdout(input).stderr(errors);
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.context(format_args!("writing {}", log.display()))?;
        let child = command.spawn().context(format_args!("starting {name}"))?;
        // It has the other ends of the pipe: ours would keep it open when the server has ended.
        drop(command);
        let (said, lines) = mpsc::channel();
        thread::spawn(move || copy(output, file, &said));
        let program = Self { child };
        wait_for(&lines, ready)
            .map_err(|why| Failure(format!("{name} {why}; its log: {}", log.display())))?;
        Ok(program)
    }
}

fn wait_for(lines: &Receiver<String>, ready: Ready<'_>) -> Result<(), String> {
    let mut left: Vec<&str> = ready.words.to_vec();
    while !left.is_empty() {
        let line = lines.recv_timeout(ready.patience).map_err(|why| {
            let fate = match why {
                RecvTimeoutError::Timeout => "has stopped talking",
                RecvTimeoutError::Disconnected => "has ended",
            };
            format!("{fate} before it said {left:?}")
        })?;
        left.retain(|word| !line.contains(word));
    }
    Ok(())
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies line by line; nobody may listen any more, the log goes on.
fn copy(output: PipeReader, mut file: File, said: &Sender<String>) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).into_owned();
        // A full disk is no reason to stop the server.
        let _ = writeln!(file, "{line}");
        let _ = said.send(line);
    }
}

/// A TCP port of 127.0.0.1 that nobody uses now; who asks later may get it too.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}
