//! Commands that need a homeserver, as a user meets them without one: a build without Matrix says
//! how to get it; a build with it reads lines whatever stands in them.
#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

#[cfg(feature = "matrix")]
mod homeserver;

fn caller(arguments: &[&str], input: &str) -> Output {
    // Nobody's login is touched.
    caller_with(&std::env::temp_dir().join("caller-test-no-login"), arguments, input)
}

fn started(data: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_caller"))
        .args(arguments)
        .env("XDG_DATA_HOME", data)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn caller_with(data: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = started(data, arguments);
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
    use std::{
        fs,
        io::{BufRead, BufReader, Write},
        path::Path,
        sync::atomic::{AtomicBool, Ordering},
    };

    use serde_json::{Value, json};

    use super::{
        caller, caller_with,
        homeserver::{self, Answer},
        refuses, started,
    };

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
    fn quit_ends_it_at_once() {
        let (said, code) = served("{\"id\":1,\"cmd\":\"quit\"}\n{\"id\":2,\"cmd\":\"state\"}\n");
        assert_eq!((said.len(), code), (2, Some(0)), "{said:?}");
    }

    #[test]
    fn a_url_is_the_homeserver_whatever_it_says_of_itself() {
        let url = homeserver::start(|path| match path {
            "/.well-known/matrix/client" => {
                (200, r#"{"m.homeserver": {"base_url": "http://127.0.0.1:9"}}"#)
            }
            path => homeserver::usual(path),
        });
        let data = homeserver::data_folder("login");
        let arguments = ["login", "@ada:a", "--homeserver", &url, "--token"];
        let output = caller_with(&data, &arguments, "token\n");
        fs::remove_dir_all(&data).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("logged in as @ada:a, device DEVICE"), "{said}{errors}");
    }

    /// What `doctor` says, and its exit code.
    fn examined(name: &str, answer: fn(&str) -> Answer) -> (String, Option<i32>) {
        let url = homeserver::start(answer);
        let data = homeserver::logged_in(name, &url);
        let output = caller_with(&data, &["doctor"], "");
        fs::remove_dir_all(&data).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (said + &String::from_utf8_lossy(&output.stderr), output.status.code())
    }

    #[test]
    fn doctor_takes_a_page_for_no_homeserver() {
        let (said, code) = examined("page", |path| match path {
            "/_matrix/client/v3/account/whoami" => (200, "<html>welcome</html>"),
            path => homeserver::usual(path),
        });
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("homeserver  BAD "), "{said}");
    }

    #[test]
    fn doctor_takes_a_page_for_no_answer_about_turn() {
        let (said, code) = examined("turn-page", |path| match path {
            "/_matrix/client/v3/voip/turnServer" => (200, "<html>welcome</html>"),
            path => homeserver::usual(path),
        });
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("TURN        BAD   "), "{said}");
        let (said, _) = examined("no-turn", homeserver::usual);
        assert!(said.contains("TURN        weak  "), "{said}");
    }

    #[test]
    fn after_a_lost_login_no_call_is_placed() {
        let first = AtomicBool::new(true);
        let url = homeserver::start(move |path| match path {
            "/_matrix/client/v3/sync" if !first.swap(false, Ordering::Relaxed) => {
                (401, r#"{"errcode": "M_UNKNOWN_TOKEN", "error": "gone"}"#)
            }
            path => homeserver::usual(path),
        });
        let mut serve = started(Path::new("/nowhere"), &["serve"]);
        let (mut to, from) = (serve.stdin.take().unwrap(), serve.stdout.take().unwrap());
        let mut said = BufReader::new(from).lines().map(Result::unwrap);
        let args = json!({"hs": url, "accessToken": "t", "userId": "@ada:a", "deviceId": "D"});
        writeln!(to, "{}", json!({"id": 1, "cmd": "login", "args": args})).unwrap();
        let mut told = |what: &str| said.find(|line| line.contains(what)).unwrap();
        told("\"STOPPED\"");
        writeln!(to, "{}", json!({"id": 2, "cmd": "call", "args": {"roomId": "!a:b"}})).unwrap();
        let answer = told("\"id\":2");
        drop(to);
        serve.wait().unwrap();
        assert!(answer.contains("\"error\":\"logged out\""), "{answer}");
    }
}
