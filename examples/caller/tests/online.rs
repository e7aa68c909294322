//! Commands that need a homeserver, as a user meets them without one: a build without Matrix says
//! how to get it; a build with it reads lines whatever stands in them.
#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

fn caller(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_caller"))
        .args(arguments)
        // Nobody's login is touched.
        .env("XDG_DATA_HOME", std::env::temp_dir().join("caller-test-no-login"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads nothing may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refuses(arguments: &[&str], why: &str) {
    let output = caller(arguments, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(said.contains(why), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[cfg(not(feature = "matrix"))]
#[test]
fn a_build_without_matrix_says_in_one_line_how_to_get_it() {
    let commands: [&[&str]; 7] = [
        &["login", "@ada:example.org"],
        &["rooms"],
        &["call", "@ben:example.org", "--audio", "tone:440"],
        &["answer"],
        &["doctor"],
        &["logout"],
        &["serve", "--sync", "sliding"],
    ];
    for command in commands {
        let how = format!("cargo run -p caller --features matrix -- {}", command[0]);
        refuses(command, &how);
    }
}

#[cfg(feature = "matrix")]
mod with_matrix {
    use serde_json::Value;

    use super::{caller, refuses};

    /// What `serve` says to these lines, and its exit code.
    fn served(lines: &str) -> (Vec<Value>, Option<i32>) {
        let output = caller(&["serve"], lines);
        let said = String::from_utf8(output.stdout).unwrap();
        let said = said.lines().map(|line| serde_json::from_str(line).unwrap());
        (said.collect(), output.status.code())
    }

    #[test]
    fn who_is_not_logged_in_is_told_so() {
        refuses(&["rooms"], "not logged in");
        refuses(&["call", "@ben:example.org"], "not logged in");
        refuses(&["answer"], "not logged in");
        refuses(&["logout"], "not logged in");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_before_anything_else() {
        refuses(&["call", "@ben:b", "--audio", "/nowhere/a.wav"], "/nowhere/a.wav");
        refuses(&["answer", "--video", "/nowhere/a.ivf"], "/nowhere/a.ivf");
        refuses(&["serve", "--trust", "/nowhere/root.pem"], "/nowhere/root.pem");
    }

    #[test]
    fn nonsense_on_standard_input_is_told_and_the_process_goes_on() {
        let lines = "nonsense\n{\"id\":1}\n{\"id\":2,\"cmd\":\"hold\"}\n{\"id\":3,\"cmd\":\"state\"}\n\
                     {\"id\":4,\"peer\":\"bob\",\"cmd\":\"dance\"}\n";
        let (said, code) = served(lines);
        assert_eq!(code, Some(0));
        assert_eq!((&said[0]["ev"], &said[0]["protocol"]), (&"hello".into(), &1.into()));
        let errors: Vec<&str> =
            said[1..].iter().map(|line| line["error"].as_str().unwrap()).collect();
        assert!(errors[0].starts_with("not JSON: "), "{errors:?}");
        assert!(errors[1].contains("no cmd"), "{errors:?}");
        assert_eq!(errors[2..], ["unsupported: hold", "not logged in", "unsupported: dance"]);
        assert_eq!(said[5]["peer"], "bob");
    }

    #[test]
    fn a_homeserver_that_is_not_there_is_an_error_of_its_login_alone() {
        let login = r#"{"id":1,"cmd":"login","args":{"hs":"http://127.0.0.1:9","user":"a","password":"b"}}"#;
        let (said, code) = served(&format!("{login}\n"));
        assert_eq!((said.len(), code), (2, Some(0)), "{said:?}");
        assert_eq!((&said[1]["id"], &said[1]["ok"]), (&1.into(), &false.into()), "{said:?}");
    }

    #[test]
    fn a_peer_whose_name_no_thread_can_have_is_a_peer() {
        let login = r#"{"id":1,"peer":"a\u0000b","cmd":"login","args":{"hs":"http://127.0.0.1:9","user":"a","password":"b"}}"#;
        let (said, code) = served(&format!("{login}\n{{\"id\":2,\"cmd\":\"state\"}}\n"));
        assert_eq!((said.len(), code), (3, Some(0)), "{said:?}");
        let login = said.iter().find(|line| line["id"] == 1).unwrap();
        assert_eq!((&login["peer"], &login["ok"]), (&"a\0b".into(), &false.into()), "{said:?}");
        assert_ne!(login["error"], "the peer has closed", "{said:?}");
    }

    #[test]
    fn quit_ends_it_at_once() {
        let (said, code) = served("{\"id\":1,\"cmd\":\"quit\"}\n{\"id\":2,\"cmd\":\"state\"}\n");
        assert_eq!((said.len(), code), (2, Some(0)), "{said:?}");
    }
}
