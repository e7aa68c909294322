//! `caller demo`: a real call between two users inside this process.
//!
//! ```text
//! setup ─▶ stage (homeserver, two parties) ─▶ call ─facts─▶ story ─▶ face (screen or JSON)
//!                                                             └────▶ verdict ─▶ exit code
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `setup.rs` | files to read and write, checked before anything begins |
//! | `stage.rs`, `party.rs` | the homeserver, and the two sides with their engines |
//! | `call.rs`, `watch.rs`, `senses.rs` | the call, its events and measurements, ears and eyes |
//! | `forger.rs`, `notary.rs` | who changes a fingerprint on the way, and who notices |
//! | `fact.rs`, `teller.rs`, `story.rs` | what happens, as values, and what it adds up to |
//! | `verdict.rs`, `wrong.rs` | whether that is what it should be, and why not |
//! | `face.rs`, `screen.rs`, `canvas.rs`, `meters.rs`, `report.rs`, `ink.rs`, `json.rs` | how it is shown |
//! | `group/` | the same with more than two |

mod call;
mod canvas;
mod face;
mod fact;
mod forger;
mod group;
mod ink;
mod json;
mod meters;
mod notary;
mod party;
mod report;
mod screen;
mod senses;
mod setup;
mod stage;
mod story;
mod teller;
mod verdict;
mod watch;
mod wrong;

use std::{io, pin::pin, process::ExitCode};

use tokio::sync::mpsc::UnboundedReceiver;

use self::{
    face::{Face, Outcome, Wire},
    fact::Moment,
    ink::Ink,
    json::Json,
    screen::Screen,
    setup::Setup,
    stage::{Played, Stage},
    story::Story,
    teller::Teller,
    wrong::Wrong,
};
use crate::{
    cli::DemoOptions,
    exit::{NOT_BEGUN, WRONG},
};

/// Runs the demo on a runtime of its own.
pub(crate) fn main(options: &DemoOptions) -> ExitCode {
    let engines = match setup::engines(options) {
        Ok(engines) => engines,
        Err(misfit) => return fail(NOT_BEGUN, &misfit),
    };
    if let Some(size) = options.group {
        return on_runtime(group::run(size.into(), options, &engines));
    }
    match Setup::new(options, engines) {
        Ok(setup) => on_runtime(run(setup, face(options))),
        Err(error) => fail(NOT_BEGUN, &error),
    }
}

fn on_runtime(demo: impl Future<Output = io::Result<bool>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NOT_BEGUN, &error),
    };
    match runtime.block_on(demo) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(WRONG),
        // Whoever read the output has gone (`caller demo | head`): there is nobody to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(WRONG),
        Err(error) => fail(WRONG, &error),
    }
}

fn fail(code: u8, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("caller: {why}");
    ExitCode::from(code)
}

fn face(options: &DemoOptions) -> Box<dyn Face> {
    let wire = if options.wire { Wire::Shown } else { Wire::Hidden };
    if options.json {
        Box::new(Json::new(io::stdout(), wire))
    } else {
        Box::new(Screen::new(io::stdout(), Ink::of_stdout(), wire))
    }
}

/// Makes the call and shows it; whether all was as it should be.
async fn run(setup: Setup, mut face: Box<dyn Face>) -> io::Result<bool> {
    let expected = setup.expected;
    face.begin(&expected)?;
    let mut story = Story::default();
    let (teller, told) = Teller::new();
    let played = match Stage::start(setup, &teller) {
        Ok(stage) => {
            let tell = |moment: Moment| {
                story.apply(&moment);
                face.tell(&moment, &story)
            };
            show(stage.play(&teller), told, tell).await?
        }
        Err(error) => Played { stuck: Some(error.into()), ..Played::default() },
    };
    let mut wrong = match &played.stuck {
        Some(stuck) => vec![Wrong::Stopped(stuck.to_string())],
        None => verdict::judge(&story, &expected),
    };
    wrong.extend(played.unrecorded.into_iter().map(Wrong::NotRecorded));
    let outcome = Outcome { story, expected, wrong, recorded: played.recorded };
    face.end(&outcome)?;
    Ok(outcome.wrong.is_empty())
}

/// Shows every fact while the call goes on, and what is left when it is over.
async fn show<T, F>(
    call: impl Future<Output = T>,
    mut told: UnboundedReceiver<Moment<F>>,
    mut tell: impl FnMut(Moment<F>) -> io::Result<()>,
) -> io::Result<T> {
    let mut call = pin!(call);
    let played = loop {
        tokio::select! {
            played = &mut call => break played,
            Some(moment) = told.recv() => tell(moment)?,
        }
    };
    while let Ok(moment) = told.try_recv() {
        tell(moment)?;
    }
    Ok(played)
}
