//! `with_homeserver COMMAND…`: runs a command beside a Synapse and a coturn of its own, in their
//! network, with `MATRIX_VOIP_HOMESERVER` set. For tests that are to see a real homeserver from
//! inside their own process.

use std::{env, io::Write, path::Path, process::ExitCode};

use real::{Context, Failure, NoWorld, Transport, World};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((program, arguments)) = arguments.split_first() else {
        return told("usage: with_homeserver COMMAND…", 2);
    };
    match World::start() {
        Ok(world) => match run(&world, program, arguments) {
            Ok(code) => ExitCode::from(code),
            Err(failure) => told(&failure.to_string(), 1),
        },
        // As CONTRIBUTING.md says: `tests/run` counts such lines.
        Err(NoWorld::Missing(missing)) => told(&format!("skipped: {missing}"), 0),
        Err(NoWorld::Broken(failure)) => told(&failure.to_string(), 1),
    }
}

fn told(line: &str, code: u8) -> ExitCode {
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}

/// The command's exit code; of one that was killed, 1.
fn run(world: &World, program: &str, arguments: &[String]) -> Result<u8, Failure> {
    let homeserver = world.homeserver("synapse", &Transport::ALL)?;
    let mut command = world.house.command(Path::new(program));
    command.args(arguments).env("MATRIX_VOIP_HOMESERVER", homeserver.url());
    let ended = command.status().context(format_args!("running {program}"))?;
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
