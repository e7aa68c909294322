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
//! | `stage.rs`, `party.rs`, `engine.rs` | the homeserver, the two sides, their engines |
//! | `call.rs`, `watch.rs`, `senses.rs` | the call, its events and measurements, ears and eyes |
//! | `forger.rs`, `notary.rs` | who changes a fingerprint on the way, and who notices |
//! | `fact.rs`, `teller.rs`, `story.rs` | what happens, as values, and what it adds up to |
//! | `verdict.rs`, `wrong.rs` | whether that is what it should be, and why not |
//! | `face.rs`, `screen.rs`, `meters.rs`, `report.rs`, `ink.rs`, `json.rs` | how it is shown |

mod call;
mod engine;
mod face;
mod fact;
mod forger;
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
    let setup = match Setup::new(options) {
        Ok(setup) => setup,
        Err(error) => return fail(NOT_BEGUN, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NOT_BEGUN, &error),
    };
    match runtime.block_on(run(setup, face(options).as_mut())) {
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
async fn run(setup: Setup, face: &mut dyn Face) -> io::Result<bool> {
    let expected = setup.expected;
    face.begin(&expected)?;
    let mut story = Story::default();
    let (teller, told) = Teller::new();
    let played = match Stage::start(setup, &teller) {
        Ok(stage) => show(stage.play(&teller), told, face, &mut story).await?,
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
async fn show(
    call: impl Future<Output = Played>,
    mut told: UnboundedReceiver<Moment>,
    face: &mut dyn Face,
    story: &mut Story,
) -> io::Result<Played> {
    let mut call = pin!(call);
    let mut tell = |moment: Moment| {
        story.apply(&moment);
        face.tell(&moment, story)
    };
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
