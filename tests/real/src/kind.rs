//! Who plays a client.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Missing, house::House};

/// The program behind a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// matrix-js-sdk in Chromium.
    Browser,
    /// Our `caller serve`.
    Ours(Sync),
}

/// The WebRTC engine of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `matrix-voip-str0m`.
    Str0m,
    /// `matrix-voip-webrtc`.
    Webrtc,
}

/// How our client hears from the homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sync {
    /// `/v3/sync`.
    Classic,
    /// Simplified sliding sync (MSC4186).
    Sliding,
}

impl Kind {
    /// Whether it is our `caller serve`.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self != Self::Browser
    }

    /// Whether its program is here. What a browser needs is looked for when the servers start.
    ///
    /// # Errors
    ///
    /// When our caller is not built.
    pub fn find(self) -> Result<(), Missing> {
        if self.is_ours() { Tool::Caller.find().map(drop) } else { Ok(()) }
    }

    /// For the name of a test.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Ours(Sync::Classic) => "ours",
            Self::Ours(Sync::Sliding) => "ours_sliding",
        }
    }
}

impl Engine {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Str0m, Self::Webrtc];

    /// As `caller --engine` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Str0m => "str0m",
            Self::Webrtc => "webrtc",
        }
    }

    /// What our caller is given so that it has this engine: nothing for the usual one, and nothing
    /// with a command that makes no sound.
    pub(crate) fn arguments(self, command: Option<&str>) -> &'static [&'static str] {
        let makes_sound = matches!(command, Some("call" | "answer" | "group" | "serve"));
        match self {
            Self::Webrtc if makes_sound => &["--engine", "webrtc"],
            Self::Webrtc | Self::Str0m => &[],
        }
    }
}

impl Sync {
    /// As `caller serve --sync` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Sliding => "sliding",
        }
    }
}

/// A program of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The caller.
    Caller,
    /// An example of that name.
    Example(&'static str),
}

impl Tool {
    /// The program that cargo has built beside these tests; `REAL_CALLER` may name another caller.
    ///
    /// # Errors
    ///
    /// When it is not built.
    pub fn find(self) -> Result<PathBuf, Missing> {
        let (found, what, how) = match self {
            Self::Caller => {
                let said = env::var_os("REAL_CALLER").map(PathBuf::from);
                let built = said.or_else(|| beside_tests("caller"));
                (built, "our caller", "cargo build -p caller --features matrix")
            }
            Self::Example(name) => {
                let built = beside_tests(&format!("examples/{name}"));
                let how = "cargo build -p matrix-voip-examples --features matrix --examples";
                (built, "our examples", how)
            }
        };
        let missing = Missing { what, why: format!("not built: {how}") };
        found.filter(|program| program.is_file()).ok_or(missing)
    }
}

/// A program that cargo builds beside these tests: `target/debug/caller` and
/// `target/debug/examples/…`, for `target/debug/deps/calls-…`.
pub(crate) fn beside_tests(name: &str) -> Option<PathBuf> {
    let tests = env::current_exe().ok()?;
    Some(tests.ancestors().nth(2)?.join(name))
}

/// The command line of our caller: `root` is the file (PEM) of the root that TURN servers may have
/// their certificates from, beside the usual ones.
pub(crate) fn serve(
    house: &House,
    caller: &Path,
    (sync, engine): (Sync, Engine),
    root: &Path,
) -> Command {
    let mut command = house.command(caller);
    command.args(["serve", "--show-keys", "--sync", sync.name()]).arg("--trust").arg(root);
    command.args(engine.arguments(Some("serve")));
    if env::var_os("RUST_LOG").is_none() {
        // Few lines: what the engine notices and tells nobody.
        command.env("RUST_LOG", format!("matrix_voip_{}=trace", engine.name()));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_engine_is_asked_for_where_there_is_sound() {
        assert_eq!(Engine::Webrtc.arguments(Some("answer")), ["--engine", "webrtc"]);
        assert!(Engine::Webrtc.arguments(Some("rooms")).is_empty());
        assert!(Engine::Str0m.arguments(Some("answer")).is_empty());
    }
}
