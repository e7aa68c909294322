//! Everything that speaks to a homeserver: the feature `matrix`.
//!
//! | part | holds |
//! | --- | --- |
//! | `account/` | `login`, `rooms`, `logout`, and what is kept between two runs |
//! | `talk/` | `call`, `answer` and `group`: a person in a call |
//! | `doctor.rs` | `doctor`: what calls need, checked |
//! | `serve/` | `serve`: driven by a test |
//! | `sync.rs`, `http.rs`, `trust.rs`, `patience.rs`, `keyring.rs` | what they share |
//! | `refusal.rs`, `say.rs`, `../plain.rs` | words to the person |

mod account;
mod doctor;
mod http;
mod keyring;
mod patience;
mod refusal;
mod say;
mod serve;
mod sync;
mod talk;
mod trust;

use std::process::ExitCode;

use tokio::runtime::Runtime;

use self::{
    account::{login::login, logout::logout, open, rooms},
    patience::{PATIENCE, within},
    plain::plain,
    refusal::Refusal,
    say::{complain, report},
    trust::Trust,
};
use crate::{
    cli::{Online, online::Profile},
    exit::NOT_BEGUN,
    plain,
};

/// Does what the command says.
pub(crate) fn main(command: &Online) -> ExitCode {
    log();
    match command {
        Online::Serve(options) => serve::main(options),
        Online::Login(options) => run(async { told(login(options).await?) }),
        Online::Logout(profile) => run(async { told(logout(profile).await?) }),
        Online::Rooms(profile) => run(show_rooms(profile)),
        Online::Call(options) => run(talk::call(options)),
        Online::Answer(options) => run(talk::answer(options)),
        Online::Group(options) => run(talk::group::group(options)),
        Online::Doctor(profile) => run(doctor::doctor(profile)),
    }
}

/// Runs a command to its end; what it refuses is one line on standard error.
fn run(command: impl Future<Output = Result<ExitCode, Refusal>>) -> ExitCode {
    let done = Runtime::new()
        .map_err(|why| Refusal::new(format!("no threads: {why}")))
        .and_then(|runtime| runtime.block_on(command));
    done.unwrap_or_else(|refusal| {
        complain(refusal);
        ExitCode::from(NOT_BEGUN)
    })
}

fn told(line: String) -> Result<ExitCode, Refusal> {
    report(plain(line))?;
    Ok(ExitCode::SUCCESS)
}

async fn show_rooms(profile: &Profile) -> Result<ExitCode, Refusal> {
    let trust = Trust::read(profile.trust.as_deref())?;
    let client = open::open(profile, &trust).await?;
    open::glance(&client).await?;
    let rooms = within("rooms", PATIENCE, rooms::list(&client)).await?;
    if rooms.is_empty() {
        return told("no rooms".to_owned());
    }
    for room in rooms {
        report(room)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Log lines go to standard error: what `RUST_LOG` asks for, without it none.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
