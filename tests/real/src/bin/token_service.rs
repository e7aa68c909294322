//! `token_service PORT HOMESERVER SFU KEY SECRET SOCKET`: a token service of a LiveKit SFU for
//! tests, at a port of 127.0.0.1 and at a Unix socket, until it is killed.

use std::{env, io::Write, process::ExitCode};

use real::token_service::{Setup, SfuKey, serve};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(setup) = setup(&arguments) else {
        return told("usage: token_service PORT HOMESERVER SFU KEY SECRET SOCKET", 2);
    };
    let served = serve(setup, || {
        told("the token service listens", 0);
    });
    served.map_or_else(|failure| told(&failure.to_string(), 1), |()| ExitCode::SUCCESS)
}

fn setup(arguments: &[String]) -> Option<Setup> {
    let [port, homeserver, sfu, name, secret, socket] = arguments else { return None };
    Some(Setup {
        port: port.parse().ok()?,
        socket: socket.into(),
        homeserver: homeserver.clone(),
        sfu: sfu.clone(),
        key: SfuKey { name: name.clone(), secret: secret.clone() },
    })
}

fn told(line: &str, code: u8) -> ExitCode {
    // Without standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}
