//! Runs every example as a user would, and reads what it prints.
#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// Runs an example that cargo has built beside this test; `cargo test` builds all of a package's
/// examples before it runs any test.
fn run(example: &str) -> Output {
    let test = std::env::current_exe().unwrap();
    let target: PathBuf = test.ancestors().nth(2).unwrap().to_owned();
    let program = target.join("examples").join(example);
    assert!(
        program.exists(),
        "{} is not built: run `cargo test` without --test",
        program.display()
    );
    Command::new(program).output().unwrap()
}

fn printed(example: &str) -> String {
    let output = run(example);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {}\n{text}\n{errors}", output.status);
    text
}

#[test]
fn a_simple_call_is_at_most_sixty_lines() {
    let lines = include_str!("../examples/simple_call.rs").lines().count();
    assert!(lines <= 60, "{lines} lines");
}

#[test]
fn own_delegate_connects_and_shows_what_it_was_asked() {
    let text = printed("own_delegate");
    for line in ["ada's engine: make an offer", "ben's engine: make an answer", "connected"] {
        assert!(text.lines().any(|printed| printed == line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn two_in_one_process_hear_each_other() {
    let text = printed("two_in_one_process");
    assert!(text.contains("ada hears 660 Hz"), "{text}");
    assert!(text.contains("ben hears 440 Hz"), "{text}");
}

#[test]
fn a_group_call_of_three_is_at_most_150_lines_and_each_hears_the_others() {
    let lines = include_str!("../examples/group_call.rs").lines().count();
    assert!(lines <= 150, "{lines} lines");
    let text = printed("group_call");
    for line in [
        "ada: entered",
        "ben: @cleo:example.org came",
        "cleo: connected to @ada:example.org",
        "ada hears 660 Hz of @ben:example.org",
        "ada hears 550 Hz of @cleo:example.org",
        "ben hears 440 Hz of @ada:example.org",
        "cleo: over, nobody is left",
    ] {
        assert!(text.lines().any(|printed| printed == line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn an_application_with_its_own_sfu_client_is_at_most_150_lines_and_each_has_the_others_key() {
    let lines = include_str!("../examples/own_sfu.rs").lines().count();
    assert!(lines <= 150, "{lines} lines");
    let text = printed("own_sfu");
    for line in [
        "@ada:example.org's token: fetched from https://sfu.example.org/jwt",
        "@ada:example.org's client: connect to wss://sfu.example.org",
        "@ben:example.org's client: open and publish the Microphone",
        "@ada:example.org's client: mute it",
        "@ben:example.org's client: forget the keys of everybody",
        "@ada:example.org's client: leave the SFU",
    ] {
        assert!(text.lines().any(|printed| printed == line), "no line {line:?} in\n{text}");
    }
    let bens_key =
        |line: &&str| line.starts_with("@ben:example.org's client: encrypt with our key");
    let key = text.lines().find(bens_key).and_then(|line| line.split("our ").nth(1)).unwrap();
    let decrypts = format!("@ada:example.org's client: decrypt with his {key}");
    assert!(text.lines().any(|printed| printed == decrypts), "{text}");
    assert!(!text.contains("a JWT"), "{text}");
}

#[test]
fn device_to_device_rings_one_device_of_the_same_user() {
    let text = printed("device_to_device");
    for line in ["the phone rings", "the laptop hears 660 Hz", "the phone hears 440 Hz"] {
        assert!(text.lines().any(|printed| printed == line), "no line {line:?} in\n{text}");
    }
    assert!(text.contains("the laptop has 1 remote stream"), "{text}");
    assert!(!text.contains("tablet"), "{text}");
}
