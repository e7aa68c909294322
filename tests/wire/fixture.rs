//! Reads fixture files, and compares or renews what is expected of them.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// One event of a fixture file.
pub(crate) struct Fixture {
    /// Where it stands, for messages.
    pub(crate) name: String,
    pub(crate) event_type: String,
    pub(crate) content: Value,
}

/// One event written by hand, and what we write for it (or why it is refused).
pub(crate) struct Golden {
    pub(crate) fixture: Fixture,
    /// `redacts` of its top level.
    pub(crate) redacts: Option<String>,
    /// `None` where the event is said to be another reader's.
    pub(crate) written: Option<Result<(String, Value), String>>,
}

/// Keys of recorded events that mean nothing to us: a random id of matrix-js-sdk.
const UNKNOWN_KEYS: [&str; 1] = ["org.matrix.msgid"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn file(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// Names of the files in a folder of fixtures, without their ending.
fn names(of: &str, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder().join(of)).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(ending).map(str::to_owned))
        .collect();
    names.sort();
    names
}

pub(crate) fn scenarios() -> Vec<String> {
    names("matrix-js-sdk-43", ".jsonl")
}

pub(crate) fn dialects() -> Vec<String> {
    names("golden", ".json")
}

pub(crate) fn recorded(scenario: &str) -> Vec<Fixture> {
    let path = format!("matrix-js-sdk-43/{scenario}.jsonl");
    let lines = file(&path);
    let lines = lines.lines().enumerate().map(|(n, line)| {
        let line: Value = serde_json::from_str(line).unwrap();
        fixture(format!("{path}:{}", n + 1), &line)
    });
    lines.collect()
}

pub(crate) fn all_recorded() -> Vec<Fixture> {
    scenarios().iter().flat_map(|scenario| recorded(scenario)).collect()
}

/// The events of a file in `golden/`: call events.
pub(crate) fn golden(dialect: &str) -> Vec<Golden> {
    cases(&format!("golden/{dialect}"))
}

/// Files of events around group calls.
pub(crate) fn rtc_files() -> Vec<String> {
    files_in("rtc")
}

/// The files of a folder.
pub(crate) fn files_in(folder: &str) -> Vec<String> {
    names(folder, ".json").into_iter().map(|name| format!("{folder}/{name}")).collect()
}

/// The events of a file written by hand.
pub(crate) fn cases(path: &str) -> Vec<Golden> {
    let cases: Vec<Value> = serde_json::from_str(&file(&format!("{path}.json"))).unwrap();
    let cases = cases.iter().map(|case| {
        let name = case["says"].as_str().unwrap().to_owned();
        let redacts = case["redacts"].as_str().map(str::to_owned);
        Golden { written: written(&name, case), redacts, fixture: fixture(name, case) }
    });
    cases.collect()
}

fn written(name: &str, case: &Value) -> Option<Result<(String, Value), String>> {
    if case["nothing"] == true {
        return None;
    }
    Some(match case["malformed"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => {
            let written = fixture(name.to_owned(), &case["written"]);
            Ok((written.event_type, written.content))
        }
    })
}

fn fixture(name: String, case: &Value) -> Fixture {
    Fixture {
        name,
        event_type: case["type"].as_str().unwrap().to_owned(),
        content: case["content"].clone(),
    }
}

/// Compares with the `.expected` file, or writes it when `UPDATE_FIXTURES` is set.
pub(crate) fn expect_text(name: &str, text: &str) {
    let name = format!("{name}.expected");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        fs::write(folder().join(&name), text).unwrap();
    }
    let expected = file(&name);
    let difference = text.lines().zip(expected.lines()).enumerate().find(|(_, (a, b))| a != b);
    if let Some((n, (ours, theirs))) = difference {
        panic!("{name}:{}\n  expected {theirs}\n  read     {ours}", n + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{name}");
}

/// Whether everything that we know of `theirs` stands in `ours` with the same meaning.
pub(crate) fn assert_keeps(theirs: &Value, ours: &Value, at: &str) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let known = theirs.iter().filter(|(key, _)| !UNKNOWN_KEYS.contains(&key.as_str()));
            for (key, value) in known {
                let at = format!("{at} {key}");
                let kept = ours.get(key).unwrap_or_else(|| panic!("{at} is lost"));
                assert_keeps(value, kept, &at);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            assert_eq!(theirs.len(), ours.len(), "{at}");
            for (n, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                assert_keeps(theirs, ours, &format!("{at} {n}"));
            }
        }
        (theirs, ours) => assert_eq!(theirs, ours, "{at}"),
    }
}
