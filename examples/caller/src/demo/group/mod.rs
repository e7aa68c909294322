//! `caller demo --group N`: a real group call of N users inside this process, each with each.
//!
//! ```text
//! stage (homeserver, members) ─▶ play ─facts─▶ story ─▶ face (screen or JSON)
//!                                                └────▶ verdict ─▶ exit code
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `cast.rs` | who they are, and which tone each plays |
//! | `stage.rs`, `member.rs` | the homeserver, and each with an engine |
//! | `play.rs`, `watch.rs` | the call, its events and measurements |
//! | `ears.rs`, `legs.rs` | what each hears of whom, over which peer connection |
//! | `fact.rs`, `story.rs`, `cost.rs` | what happens, as values, and what it adds up to |
//! | `verdict.rs`, `wrong.rs` | whether that is what it should be, and why not |
//! | `face.rs`, `screen.rs`, `grid.rs`, `report.rs`, `json.rs` | how it is shown |

mod cast;
mod cost;
mod ears;
mod face;
mod fact;
mod grid;
mod json;
mod legs;
mod member;
mod play;
mod report;
mod screen;
mod stage;
mod story;
mod verdict;
mod watch;
mod wrong;

use std::{io, time::Duration};

use self::{
    face::{Face, Outcome},
    fact::Fact,
    json::Json,
    screen::Screen,
    stage::Stage,
    story::Story,
    verdict::Expected,
    wrong::Wrong,
};
use super::{face::Wire, ink::Ink, show};
use crate::{cli::DemoOptions, engine::Engines};

type Teller = super::teller::Teller<Fact>;
type Moment = super::fact::Moment<Fact>;

/// Makes the call of so many and shows it; whether all was as it should be.
///
/// # Errors
/// Nobody can be shown anything: the output is closed.
pub(super) async fn run(size: usize, options: &DemoOptions, engines: &Engines) -> io::Result<bool> {
    let talk = Duration::from_secs(options.seconds.into());
    let expected = Expected { size, talk, engine: options.engine };
    let mut face = face(options);
    face.begin(&expected)?;
    let mut story = Story::new(size);
    let (teller, told) = Teller::new();
    let stopped = match Stage::start(expected, engines, options.breakage, &teller) {
        Ok(stage) => {
            let tell = |moment: Moment| {
                story.apply(&moment);
                face.tell(&moment, &story)
            };
            show(stage.play(), told, tell).await?.map(|stuck| stuck.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    let wrong = match stopped {
        Some(why) => vec![Wrong::Stopped(why)],
        None => verdict::judge(&story, &expected),
    };
    let outcome = Outcome { story, expected, wrong };
    face.end(&outcome)?;
    Ok(outcome.wrong.is_empty())
}

fn face(options: &DemoOptions) -> Box<dyn Face> {
    let wire = if options.wire { Wire::Shown } else { Wire::Hidden };
    if options.json {
        Box::new(Json::new(io::stdout(), wire))
    } else {
        Box::new(Screen::new(io::stdout(), Ink::of_stdout(), wire))
    }
}
