//! Holds the arrows between the rooms of `src/` (ARCHITECTURE.md, "Rooms").
//!
//! A room is a module of the crate's root. Every path that the code of a room names, in `use`
//! lines, in expressions and inside macros, is compared with two tables: [`ARROWS`] says which
//! rooms it may use, [`BANS`] which foreign things it must not name. Comments, documentation and
//! test code are free.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

mod source;

use std::{iter::Peekable, path::Path};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream::IntoIter};

/// What each room may use besides itself. A room comes after the rooms that it uses.
const ARROWS: &[(&str, &[&str])] = &[
    ("redact", &[]),
    ("time", &[]),
    ("id", &["redact"]),
    ("config", &["redact", "time", "id"]),
    ("sdp", &["redact", "time", "id", "config"]),
    ("wire", &["redact", "time", "id", "config", "sdp"]),
    ("ring", &["redact", "time", "id", "config", "sdp", "wire"]),
    ("machine", &["redact", "time", "id", "config", "sdp", "wire", "ring"]),
    ("host", &["redact", "time", "id", "config", "wire", "machine"]),
    ("record", &["redact", "time", "id", "config", "sdp", "wire", "machine"]),
    ("driver", &["redact", "time", "id", "config", "wire", "machine", "host", "record"]),
    ("session", &["redact", "time", "id", "config", "wire", "machine", "host", "driver", "record"]),
    (
        "testing",
        &[
            "redact", "time", "id", "config", "sdp", "wire", "machine", "host", "driver",
            "session", "record",
        ],
    ),
];

/// The rooms that are values and pure functions: no clock, chance, lock, task or I/O in them.
const PURE: &[&str] = &["redact", "time", "id", "config", "sdp", "wire", "ring", "machine"];

/// What must not be named: why, where, and which paths or words.
const BANS: &[(&str, &[&str], &str)] = &[
    ("has no tasks", PURE, "async await tokio futures async_trait"),
    ("has no I/O", PURE, "std::net std::fs std::env std::process std::io std::thread"),
    ("is given the time", PURE, "Instant SystemTime"),
    ("is given its randomness", PURE, "getrandom rand fastrand RandomState HashMap HashSet"),
    ("has no hidden state", PURE, "Mutex RwLock OnceLock LazyLock std::cell thread_local"),
    ("is a value", &["machine", "ring", "wire", "sdp"], "std::sync"),
    ("does not know JSON", &["machine", "ring", "sdp"], "serde serde_json"),
];

/// A path that code names, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    line: usize,
    path: Vec<String>,
}

/// The faults of one file, each as "path:line: what".
fn faults(file: &Path, text: &str) -> Vec<String> {
    let module = module_of(file);
    let Some(room) = module.first() else { return Vec::new() };
    let mut names = Vec::new();
    Reader { module: module.clone(), names: &mut names }.read(text.parse().unwrap());
    let judge = |named: &Named| {
        let fault = judge(room, &named.path)?;
        Some(format!("{}:{}: {fault}", file.display(), named.line))
    };
    names.iter().filter_map(judge).collect()
}

/// `src/machine/call/mod.rs` is the module `machine::call`; `src/lib.rs` is the root, in no room.
fn module_of(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src").unwrap().with_extension("");
    let mut module: Vec<String> =
        inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// What is wrong with `room` naming `path`.
fn judge(room: &str, path: &[String]) -> Option<String> {
    if let [krate, used, ..] = path
        && krate == "crate"
    {
        return (used != room && !arrows_of(room).contains(&used.as_str()))
            .then(|| format!("{} is an arrow that {room} must not draw", path.join("::")));
    }
    let bans = BANS.iter().filter(|(_, rooms, _)| rooms.contains(&room));
    bans.flat_map(|(why, _, banned)| banned.split(' ').map(move |banned| (why, banned)))
        .find(|(_, banned)| names(path, banned))
        .map(|(why, banned)| format!("names {banned}, but {room} {why}"))
}

fn arrows_of(room: &str) -> &'static [&'static str] {
    ARROWS.iter().find(|(name, _)| *name == room).map_or(&[], |(_, used)| used)
}

/// Whether the path has the banned word, or begins with the banned path.
fn names(path: &[String], banned: &str) -> bool {
    let words: Vec<&str> = banned.split("::").collect();
    match words[..] {
        [word] => path.iter().any(|part| part == word),
        _ => path.len() >= words.len() && path.iter().zip(words).all(|(a, b)| a == b),
    }
}

/// Collects the paths of a token stream; it does not look into literals, so not into
/// documentation either.
struct Reader<'a> {
    /// The module that the tokens stand in.
    module: Vec<String>,
    names: &'a mut Vec<Named>,
}

type Tokens = Peekable<IntoIter>;

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) if is_cfg_test(&group) => skip_item(&mut tokens),
                TokenTree::Group(group) => self.read(group.stream()),
                TokenTree::Ident(word) if word == "mod" => self.module(&mut tokens),
                TokenTree::Ident(word) => {
                    let line = word.span().start().line;
                    self.path(vec![word.to_string()], line, &mut tokens);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// `mod name { … }`: inside, `super` means one level more.
    fn module(&mut self, tokens: &mut Tokens) {
        let Some(TokenTree::Ident(name)) = tokens.next() else { return };
        if let Some(TokenTree::Group(body)) = tokens.next_if(is_braced) {
            let mut module = self.module.clone();
            module.push(name.to_string());
            Reader { module, names: self.names }.read(body.stream());
        }
    }

    /// Follows `start::…` to its end, and into the branches of a `use` tree.
    fn path(&mut self, mut path: Vec<String>, line: usize, tokens: &mut Tokens) {
        while skip_colons(tokens) {
            match tokens.peek() {
                Some(TokenTree::Ident(word)) => {
                    path.push(word.to_string());
                    tokens.next();
                }
                Some(TokenTree::Group(branches)) if branches.delimiter() == Delimiter::Brace => {
                    let branches = branches.stream();
                    tokens.next();
                    return self.branches(&path, branches);
                }
                _ => break,
            }
        }
        self.names.push(Named { line, path: self.absolute(path) });
    }

    fn branches(&mut self, path: &[String], branches: TokenStream) {
        let mut tokens = branches.into_iter().peekable();
        while let Some(token) = tokens.next() {
            if let TokenTree::Ident(word) = token {
                let line = word.span().start().line;
                let longer = path.iter().cloned().chain([word.to_string()]).collect();
                self.path(longer, line, &mut tokens);
            }
        }
    }

    /// `self::` and `super::` resolved, from `crate` on.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let supers = path.iter().take_while(|word| *word == "super" || *word == "self").count();
        if supers == 0 {
            return path;
        }
        let up = path.iter().filter(|word| *word == "super").count().min(self.module.len());
        let module = self.module[..self.module.len() - up].iter().cloned();
        let path = path.into_iter().skip(supers);
        ["crate".to_owned()].into_iter().chain(module).chain(path).collect()
    }
}

/// `[cfg(test)]`, as it stands behind its `#`.
fn is_cfg_test(group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket && group.stream().to_string() == "cfg (test)"
}

fn is_braced(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Skips an item: to its body or its semicolon.
fn skip_item(tokens: &mut Tokens) {
    for token in tokens {
        if is_braced(&token) || is_punct(&token, ';') {
            return;
        }
    }
}

/// Takes `::` if it comes next.
fn skip_colons(tokens: &mut Tokens) -> bool {
    tokens.next_if(|next| is_punct(next, ':')).is_some()
        && tokens.next_if(|next| is_punct(next, ':')).is_some()
}

#[test]
fn every_arrow_between_rooms_is_in_the_table() {
    let files = source::files_under("src");
    assert!(files.len() > 10, "the files of src/ were not found");
    let faults: Vec<_> = files.iter().flat_map(|file| faults(&file.path, &file.text)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    for file in source::files_under("src") {
        if let Some(room) = module_of(&file.path).first() {
            assert!(ARROWS.iter().any(|(name, _)| name == room), "{room} is not in the table");
        }
    }
}

#[test]
fn arrows_point_to_earlier_rooms_only() {
    for (place, (room, used)) in ARROWS.iter().enumerate() {
        for used in *used {
            assert!(ARROWS[..place].iter().any(|(name, _)| name == used), "{room} -> {used}");
        }
    }
}

/// The faults of `text` as the file `file`, without their place.
fn found(file: &str, text: &str) -> usize {
    faults(Path::new(file), text).len()
}

#[test]
fn a_forbidden_arrow_is_found_in_every_form() {
    for text in [
        "use crate::driver::Driver;",
        "use crate::{id::UserId, driver::Driver};",
        "use crate::{id::{UserId, RoomId}, driver};",
        "pub use crate::driver::*;",
        "use super::driver;",
        "mod inner { use super::super::driver::Driver; }",
        "fn f() { crate::driver::start() }",
        "fn f() { vec![crate::driver::start()] }",
        "impl From<crate::driver::Stopped> for Fault {}",
        "#[cfg(feature = \"testing\")] use crate::driver::Driver;",
    ] {
        assert_eq!(found("src/machine/mod.rs", text), 1, "{text}");
    }
    assert_eq!(found("src/machine/call/phase.rs", "use super::super::super::session;"), 1);
    assert_eq!(found("src/machine/mod.rs", "use crate::{driver, session::{a, b}};"), 3);
}

#[test]
fn an_unknown_room_is_a_fault() {
    assert_eq!(found("src/machine/mod.rs", "use crate::VoIP;"), 1);
    assert_eq!(found("src/attic.rs", "use crate::id::UserId;"), 1);
}

#[test]
fn allowed_arrows_comments_and_tests_are_no_faults() {
    for text in [
        "use crate::{id::UserId, wire::call::Invite};",
        "use crate::machine::io::Op; use super::wire; use self::io::Input;",
        "/// See [`crate::driver`].\n// crate::driver\nfn f() -> &'static str { \"crate::driver\" }",
        "#[cfg(test)] mod tests { use crate::testing::Sim; use std::sync::Arc; }",
        "#[cfg(test)] use crate::testing::Sim;",
        "pub(crate) fn f() {} pub(in crate::machine) fn g() {}",
    ] {
        assert_eq!(found("src/machine/mod.rs", text), 0, "{text}");
    }
    assert_eq!(found("src/lib.rs", "pub use crate::session::VoIP;"), 0);
    assert_eq!(found("src/host/frames.rs", "use crate::machine::io::Fault;"), 0);
}

#[test]
fn pure_rooms_name_no_clock_chance_lock_task_or_json() {
    for text in [
        "use std::time::Instant;",
        "use std::{fmt, time::{Duration, SystemTime}};",
        "use std::collections::HashMap;",
        "use std::{fmt, sync::Arc};",
        "fn f() { std::sync::atomic::fence(); }",
        "use tokio::sync::mpsc;",
        "async fn f() {}",
        "fn f() { serde_json::to_string(&1) }",
        "fn f() { let m = Mutex::new(1); }",
        "fn f() { getrandom::fill(&mut b) }",
    ] {
        assert_eq!(found("src/machine/mod.rs", text), 1, "{text}");
    }
    assert_eq!(found("src/wire/call.rs", "use serde_json::Value;"), 0);
    assert_eq!(found("src/wire/call.rs", "async fn f() {}"), 1);
    assert_eq!(found("src/sdp.rs", "use std::time::Instant;"), 1);
    assert_eq!(found("src/driver/mod.rs", "use std::time::Instant; async fn f() {}"), 0);
}
