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
        if self.is_ours() { caller().map(drop) } else { Ok(()) }
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

/// Our caller: `REAL_CALLER`, or the program that cargo has built beside these tests.
///
/// # Errors
///
/// When there is none.
pub(crate) fn caller() -> Result<PathBuf, Missing> {
    let said = env::var_os("REAL_CALLER").map(PathBuf::from);
    let program = env::current_exe().unwrap_or_default();
    // target/debug/deps/calls-… and target/debug/caller.
    let built = program.ancestors().nth(2).map(|folder| folder.join("caller"));
    let found = said.or(built).filter(|caller| caller.is_file());
    let why = "not built: cargo build -p caller --features matrix".to_owned();
    found.ok_or(Missing { what: "our caller", why })
}

/// The command line of our caller: `root` is the file (PEM) of the root that TURN servers may have
/// their certificates from, beside the usual ones.
pub(crate) fn serve(house: &House, caller: &Path, sync: Sync, root: &Path) -> Command {
    let mut command = house.command(caller);
    command.args(["serve", "--sync", sync.name()]).arg("--trust").arg(root);
    command
}
