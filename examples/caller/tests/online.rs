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
    let commands: [&[&str]; 8] = [
        &["login", "@ada:example.org"],
        &["rooms"],
        &["call", "@ben:example.org", "--audio", "tone:440"],
        &["answer"],
        &["group", "Kitchen"],
        &["doctor"],
        &["logout"],
        &["serve", "--sync", "sliding"],
    ];
    for command in commands {
        let how = format!("cargo run -p caller --features matrix -- {}", command[0]);
        refuses(command, &how);
    }
    let how = "cargo run -p caller --features matrix,devices -- call";
    refuses(&["call", "@ben:example.org", "--audio", "device"], how);
    refuses(&["call", "@ben:example.org", "--speaker"], how);
}

#[cfg(feature = "matrix")]
mod with_matrix {
    use std::{
        fs,
        io::{BufRead, BufReader, Read, Write},
        net::{TcpListener, TcpStream},
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicUsize, Ordering, Ordering::Relaxed},
            mpsc::{Receiver, Sender, channel},
        },
        thread,
        time::Duration,
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
    fn what_could_keep_nothing_is_refused_before_anybody_is_waited_for() {
        for command in ["answer", "group Kitchen", "call @ben:example.org"] {
            let arguments = [command.split(' ').collect(), vec!["--record", "/proc/x"]].concat();
            refuses(&arguments, "/proc/x: nothing can be kept there");
        }
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
    fn a_call_that_is_refused_leaves_recordings_and_sources_as_they_were() {
        let folder = std::env::temp_dir().join(format!("caller-refused-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [heard, other] = ["heard.wav", "other.wav"].map(|name| folder.join(name));
        fs::write(&heard, "of an earlier call").unwrap();
        fs::hard_link(&heard, &other).unwrap();
        let record = folder.to_str().unwrap();
        refuses(&["call", "@ben:b", "--record", record], "not logged in");
        refuses(&["answer", "--record", record], "not logged in");
        assert_eq!(fs::read_to_string(&heard).unwrap(), "of an earlier call");
        for source in [&heard, &other] {
            let arguments = ["call", "@ben:b", "--audio", source.to_str().unwrap()];
            refuses(&[&arguments[..], &["--record", record]].concat(), "would replace it");
        }
        refuses(&["answer", "--record", heard.to_str().unwrap()], "not a folder");
        assert_eq!(fs::read_to_string(&heard).unwrap(), "of an earlier call");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_in_which_nothing_can_be_kept_is_told_before_anything_else() {
        // Nobody can make a file there, whoever runs this.
        refuses(&["group", "Kitchen", "--record", "/proc"], "/proc: nothing can be kept there");
        refuses(&["group", "Kitchen", "--record", "/proc/kept"], "/proc/kept: nothing can be kept");
    }

    #[test]
    fn a_group_call_that_is_refused_leaves_what_was_kept_as_it_was() {
        let folder = std::env::temp_dir().join(format!("caller-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let heard = folder.join("heard-1.wav");
        fs::write(&heard, "of an earlier call").unwrap();
        refuses(&["group", "Kitchen", "--record", folder.to_str().unwrap()], "not logged in");
        assert_eq!(fs::read_to_string(&heard).unwrap(), "of an earlier call");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn through_an_sfu_there_are_keys_and_no_media_yet_and_that_is_told_first() {
        refuses(&["group", "Kitchen", "--livekit"], "no sound and picture through an SFU yet");
        refuses(&["group", "Kitchen", "--livekit", "https://a/jwt"], "--keys-only");
        refuses(&["group", "Kitchen", "--livekit", "auto", "--keys-only"], "not logged in");
    }

    #[test]
    fn where_no_space_bar_can_be_held_nobody_is_called_to_push_to_talk() {
        let pushing = ["--audio", "device", "--push-to-talk"];
        for call in [&["call", "@ben:b"][..], &["answer"], &["group", "Kitchen"]] {
            refuses(&[call, &pushing[..]].concat(), "--push-to-talk needs a terminal: ");
        }
        refuses(&["call", "@ben:b", "--push-to-talk"], "needs a microphone: --audio device");
    }

    #[test]
    fn a_room_has_to_be_named() {
        refuses(&["group", ""], "a room has to be named");
        refuses(&["call", " "], "a room has to be named");
    }

    #[test]
    fn two_people_cannot_be_called_at_once() {
        refuses(&["call", "@ben:b", "--user", "@cat:b"], "@ben:b or @cat:b");
        refuses(&["call", "@ben:b", "--user", "@ben:b"], "not logged in");
    }

    #[test]
    fn nonsense_on_standard_input_is_told_and_the_process_goes_on() {
        let lines = "nonsense\n{\"id\":1}\n{\"id\":2,\"cmd\":\"rtcJoin\"}\n{\"id\":3,\"cmd\":\"state\"}\n\
                     {\"id\":4,\"peer\":\"bob\",\"cmd\":\"dance\"}\n";
        let (said, code) = served(lines);
        assert_eq!(code, Some(0));
        assert_eq!((&said[0]["ev"], &said[0]["protocol"]), (&"hello".into(), &1.into()));
        let errors: Vec<&str> =
            said[1..].iter().map(|line| line["error"].as_str().unwrap()).collect();
        assert!(errors[0].starts_with("not JSON: "), "{errors:?}");
        assert!(errors[1].contains("no cmd"), "{errors:?}");
        assert_eq!(errors[2..], ["unsupported: rtcJoin", "not logged in", "unsupported: dance"]);
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

    /// A homeserver that lets anybody in and answers so many syncs. Tells the paths it was asked for.
    fn homeserver(syncs: usize) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        let syncs = Arc::new(AtomicUsize::new(syncs));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, syncs) = (tell.clone(), Arc::clone(&syncs));
                thread::spawn(move || serve(stream, &tell, &syncs));
            }
        });
        (address, asked)
    }

    fn serve(mut stream: TcpStream, tell: &Sender<String>, syncs: &AtomicUsize) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?);
        let (mut first, mut length) = (String::new(), 0);
        lines.read_line(&mut first).ok()?;
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).ok()?;
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        lines.read_exact(&mut vec![0; length]).ok()?;
        let path = first.split(' ').nth(1)?.split('?').next()?.to_owned();
        let body = match path.rsplit('/').next()? {
            "versions" => r#"{"versions":["v1.11"]}"#,
            "login" => r#"{"user_id":"@ada:a","access_token":"t","device_id":"D"}"#,
            "sync" => r#"{"next_batch":"s"}"#,
            _ => "{}",
        };
        let less = |left: usize| left.checked_sub(1);
        let is_late =
            path.ends_with("/sync") && syncs.fetch_update(Relaxed, Relaxed, less).is_err();
        tell.send(path).ok()?;
        if is_late {
            // Until the client goes away.
            return stream.take(1).read_to_end(&mut Vec::new()).map(drop).ok();
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
    }

    fn awaits(asked: &Receiver<String>, ending: &str) {
        while !asked.recv_timeout(Duration::from_secs(20)).unwrap().ends_with(ending) {}
    }

    fn signal(child: &Child, name: &str) {
        let id = child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    #[cfg(unix)]
    #[test]
    fn a_login_that_is_interrupted_leaves_neither_a_folder_nor_a_device() {
        for name in ["-TERM", "-INT"] {
            let (homeserver, asked) = homeserver(0);
            let folder = std::env::temp_dir().join(format!("caller{name}-{}", std::process::id()));
            let mut child = Command::new(env!("CARGO_BIN_EXE_caller"))
                .args(["login", "@ada:a", "--homeserver", &homeserver])
                .env("XDG_DATA_HOME", &folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(b"password\n").unwrap();
            awaits(&asked, "/sync");
            assert!(folder.join("matrix-voip-caller").exists());
            signal(&child, name);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(said, "caller: login: interrupted, nothing is kept\n");
            assert_eq!(output.status.code(), Some(2));
            assert!(!folder.join("matrix-voip-caller").exists());
            awaits(&asked, "/logout");
            let _ = fs::remove_dir_all(&folder);
        }
    }

    /// A data folder with a login of that homeserver.
    fn logged_in(homeserver: &str, name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("caller-{name}-{}", std::process::id()));
        let login = folder.join("matrix-voip-caller").join("default");
        fs::create_dir_all(&login).unwrap();
        let session = serde_json::json!({
            "homeserver": homeserver, "user_id": "@ada:a", "device_id": "D", "access_token": "t",
        });
        fs::write(login.join("session.json"), session.to_string()).unwrap();
        folder
    }

    fn start(command: &str, data: &Path, stdout: impl Into<Stdio>) -> Child {
        Command::new(env!("CARGO_BIN_EXE_caller"))
            .arg(command)
            .env("XDG_DATA_HOME", data)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn who_reads_no_more_ends_no_wait_for_a_call() {
        let (homeserver, asked) = homeserver(20);
        let folder = logged_in(&homeserver, "unread");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = start("answer", &folder, writer);
        // It has said by then that it waits.
        (0..20).for_each(|_| awaits(&asked, "/sync"));
        // Not a hangup: whoever is started by nohup, as these tests may be, goes on.
        signal(&child, "-TERM");
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_list_that_cannot_be_written_is_told() {
        let (homeserver, _asked) = homeserver(1);
        let folder = logged_in(&homeserver, "full");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = start("rooms", &folder, full).wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("caller: standard output: "), "{said}");
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        fs::remove_dir_all(&folder).unwrap();
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
        // The login's answer and the end of its sync come in either order.
        let mut awaited = vec!["\"STOPPED\"", "\"id\":1"];
        let is_last = |line: &String| {
            awaited.retain(|what| !line.contains(what));
            awaited.is_empty()
        };
        said.by_ref().find(is_last).unwrap();
        writeln!(to, "{}", json!({"id": 2, "cmd": "call", "args": {"roomId": "!a:b"}})).unwrap();
        let answer = said.find(|line| line.contains("\"id\":2")).unwrap();
        drop(to);
        serve.wait().unwrap();
        assert!(answer.contains("\"error\":\"logged out\""), "{answer}");
    }
}
