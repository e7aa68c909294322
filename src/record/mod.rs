//! What an engine was given, as a file, and the same calls again from it.
//!
//! An engine is a value: the same origin and the same inputs make the same call. A [`Recorder`] in
//! [`VoIPBuilder::recorder`](crate::VoIPBuilder::recorder) writes every input with its time and
//! its verdict as one JSON line; [`Replay`] gives them to a new engine and shows what comes out.
//!
//! ```text
//! {"format":1,"identity":{…},"config":{…},"seed":7,"at":{"mono":[0,0],"wall":1786100000000}}
//! {"at":{…},"input":{"Command":{…}},"verdict":{"Started":{"session":1}}}
//! {"at":{…},"due":true}
//! ```
//!
//! ```no_run
//! use matrix_voip::{Recorder, Replay};
//! # fn f(builder: matrix_voip::VoIPBuilder) -> Result<(), Box<dyn std::error::Error>> {
//!
//! let recorder = Recorder::new(std::fs::File::create("call.jsonl")?)?;
//! let voip = builder.recorder(recorder).start()?;
//! // … calls, and the end of `voip` …
//! for step in Replay::open(std::io::BufReader::new(std::fs::File::open("call.jsonl")?))? {
//!     let step = step?;
//!     println!("{:?}: {}", step.at, if step.agrees() { "as it was" } else { "otherwise" });
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A file holds no secret: whatever is private stands there as a pseudonym of the same length, a
//! description as its skeleton. In one file the same text has the same pseudonym, so that a replay
//! takes the path of the live call; the key is random and is written nowhere.
//!
//! | written as it is | pseudonym | skeleton |
//! | --- | --- | --- |
//! | call ids (glare compares them), stream ids and our own party id (random), `mid`s, event types, times, policies, error codes | users, rooms, devices, parties, events, candidates, ICE credentials, fingerprints, TURN servers and passwords, media keys, names, free text of others | SDP: only the lines that the machine looks at |
//!
//! | file | holds |
//! | --- | --- |
//! | `recorder.rs` | the way from the driver to the writer's thread; what was lost |
//! | `weight.rs` | how much waits for it |
//! | `scribe.rs` | lines of the file |
//! | `replay.rs` | reading them, and living through the call again |
//! | `pseudonym.rs` | what stands in the place of private text |
//! | `form.rs`, `forms.rs` | inputs as JSON: the way, and the table of all types |

#[macro_use]
mod form;
mod forms;
mod pseudonym;
mod recorder;
mod replay;
mod scribe;
mod weight;

pub(crate) use self::recorder::Tape;
pub use self::{
    recorder::{Recorder, RecorderStatus},
    replay::{RecordError, Replay, Step},
    scribe::{Entry, FORMAT, MAX_LINE_BYTES, Origin, Scribe},
};
