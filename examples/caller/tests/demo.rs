//! Runs `caller demo` as a user would: good calls of two and of more, unreadable files, and the ways in
//! which the demo is broken on purpose, each of which must be noticed with its own reason.
#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;

/// The longest demo here lasts six seconds; a slow machine gets five times that.
const BOUND: Duration = Duration::from_secs(30);

/// What a run of the program left.
struct Ran {
    code: Option<i32>,
    printed: String,
    errors: String,
}

impl Ran {
    #[track_caller]
    fn ended_with(&self, code: i32, last: &str) {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(self.printed.lines().last().unwrap_or_default().contains(last), "{self}");
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n{}\n{}", self.code, self.printed, self.errors)
    }
}

fn caller(arguments: &[&str]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_caller"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (printed, errors) = (read(child.stdout.take()), read(child.stderr.take()));
    let Ok(printed) = printed.recv_timeout(BOUND) else {
        child.kill().unwrap();
        panic!("caller {arguments:?} did not end within {BOUND:?}");
    };
    let errors = errors.recv_timeout(BOUND).unwrap();
    Ran { code: child.wait().unwrap().code(), printed, errors }
}

/// Reads a pipe to its end, on a thread of its own.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, text) = channel();
    std::thread::spawn(move || {
        let mut all = String::new();
        pipe.unwrap().read_to_string(&mut all).unwrap();
        drop(sender.send(all));
    });
    text
}

fn demo(arguments: &[&str]) -> Ran {
    caller(&[&["demo"], arguments].concat())
}

/// A folder for one test, empty at its beginning.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    path
}

// ------------------------------------------------------------------------------------ good calls

#[test]
fn both_sides_hear_the_tone_of_the_other() {
    let ran = demo(&["--seconds", "2"]);
    ran.ended_with(0, "Good: both sides heard the right tone.");
    for words in ["first sound", "m.call.select_answer", "(expected 660 Hz)", "how long it took"] {
        assert!(ran.printed.contains(words), "no {words:?}: {ran}");
    }
    assert!(!ran.printed.contains('\x1b'), "no ANSI sequences into a pipe: {ran}");
}

#[test]
fn a_video_call_shows_the_test_picture_and_what_was_seen_can_be_sent_again() {
    let tapes = folder("video");
    let tapes = tapes.to_str().unwrap();
    let ran = demo(&["--seconds", "2", "--video", "--record", tapes]);
    ran.ended_with(0, "heard the right tone and saw the right picture");
    for name in ["ada-heard.wav", "ben-heard.wav", "ada-saw.ivf", "ben-saw.ivf"] {
        let length = std::fs::metadata(Path::new(tapes).join(name)).unwrap().len();
        assert!(length > 4_000, "{name} has {length} bytes");
    }
    let film = format!("{tapes}/ben-saw.ivf");
    demo(&["--seconds", "2", "--video", &film]).ended_with(0, "saw the right picture");
}

#[test]
fn json_lines_tell_the_same() {
    let ran = demo(&["--seconds", "2", "--json", "--wire"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let lines: Vec<Value> =
        ran.printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, facts) = lines.split_last().unwrap();
    assert_eq!(report["event"], "report");
    assert_eq!((&report["ok"], &report["reasons"]), (&true.into(), &Value::Array(vec![])));
    let hz = report["ben"]["heard"]["hz"].as_f64().unwrap();
    assert!((hz - 440.0).abs() < 10.0, "{report}");
    assert!(report["phases_ms"]["in_all_placed_to_first_sound"].is_number(), "{report}");
    assert_eq!(report["ada"]["path"]["protocol"], "udp");
    let has = |event: &str, who: &str| {
        facts.iter().any(|fact| fact["event"] == event && fact["who"] == who)
    };
    for event in ["state", "sent", "meter", "path", "first_sound", "ended"] {
        assert!(has(event, "ada") && has(event, "ben"), "no {event}: {ran}");
    }
    let invite = facts.iter().find(|fact| fact["type"] == "m.call.invite").unwrap();
    assert!(invite["content"]["offer"]["sdp"].as_str().unwrap().starts_with("v=0"));
    assert!(invite["content"].to_string().contains("telephone-event"), "it is str0m's: {invite}");
}

#[test]
fn a_recorded_call_is_replayed_as_a_column_without_names() {
    let tapes = folder("inputs");
    demo(&["--seconds", "1", "--record", tapes.to_str().unwrap()]).ended_with(0, "Good");
    let file = tapes.join("ben-call.jsonl");
    let ran = caller(&["replay", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.errors.as_str()), (Some(0), ""), "{ran}");
    for words in
        ["it gets m.call.invite of @", "it rings", "it sends m.call.answer", "is connected"]
    {
        assert!(ran.printed.contains(words), "no {words:?}: {ran}");
    }
    assert!(!ran.printed.contains("caller.local") && !ran.printed.contains("@ada"), "{ran}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("caller.local") && !text.contains("127.0.0.1"));
    std::fs::write(&file, &text[..text.len() - 9]).unwrap();
    let torn = caller(&["replay", file.to_str().unwrap()]);
    assert_eq!(torn.code, Some(1), "{torn}");
    assert!(torn.errors.contains("is damaged or cut off"), "{torn}");
    let none = caller(&["replay", env!("CARGO_BIN_EXE_caller")]);
    assert_eq!((none.code, none.errors.lines().count()), (Some(2), 1), "{none}");
}

// ----------------------------------------------------------------------------------- group calls

#[test]
fn three_hear_the_tones_of_each_other() {
    let ran = demo(&["--group", "--seconds", "2"]);
    ran.ended_with(0, "Good: each of 3 heard the right tone of each other, over 3 legs");
    for words in ["is in the call", "call.member.invite ─▶", "connected", "until all hear all"]
    {
        assert!(ran.printed.contains(words), "no {words:?}: {ran}");
    }
    assert!(!ran.printed.contains('\x1b'), "no ANSI sequences into a pipe: {ran}");
    let sent = ran.printed.lines().find_map(|line| line.trim().strip_prefix("packets sent "));
    let sent: u32 = sent.unwrap().split(',').next().unwrap().parse().unwrap();
    // Fifty a second, each of three to two others.
    assert!(sent >= 2 * 50 * 6 * 9 / 10, "all of the two seconds are counted: {ran}");
}

#[test]
fn five_are_told_as_json_lines_with_whom_each_hears_over_a_leg_of_its_own() {
    let ran = demo(&["--group", "5", "--seconds", "2", "--json", "--wire"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let lines: Vec<Value> =
        ran.printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, facts) = lines.split_last().unwrap();
    assert_eq!((&report["event"], &report["ok"]), (&"report".into(), &true.into()));
    let mut sockets = std::collections::BTreeSet::new();
    let tones = [("ada", 440.0), ("ben", 660.0), ("cleo", 550.0), ("dan", 770.0), ("eva", 610.0)];
    for (hears, _) in tones {
        for (of, hz) in tones.iter().filter(|(of, _)| *of != hears) {
            let way = &report["hears"][hears][of];
            let heard = way["heard"]["hz"].as_f64().unwrap();
            assert!((heard - hz).abs() < 10.0, "{hears} hears {of}: {way}");
            sockets.insert(way["path"]["local"]["address"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(sockets.len(), 20, "each leg has two sockets of its own");
    assert!(report["phases_ms"]["until_all_hear_all"].is_number(), "{report}");
    let invites = facts.iter().filter(|fact| fact["type"] == "com.famedly.call.member.invite");
    let invites: Vec<_> = invites.collect();
    assert_eq!(invites.len(), 10, "one for each pair: {ran}");
    assert!(invites.iter().all(|invite| invite["to"].as_array().unwrap().len() == 1));
    assert!(invites[0]["content"]["dest_session_id"].is_string(), "{}", invites[0]);
}

#[test]
fn in_a_group_one_who_is_silent_is_noticed_by_all_others() {
    let ran = demo(&["--group", "3", "--seconds", "1", "--break", "microphone-muted"]);
    ran.ended_with(1, "heard silence instead of 440 Hz: ada's microphone is muted (from ada)");
    assert_eq!(ran.printed.matches("Wrong: ").count(), 2, "ben and cleo: {ran}");
}

#[test]
fn in_a_group_one_who_never_comes_is_noticed() {
    let ran = demo(&["--group", "3", "--seconds", "1", "--break", "nobody-answers"]);
    ran.ended_with(1, "Wrong: cleo was never in the call.");
    assert_eq!(ran.printed.matches("Wrong: ").count(), 1, "the other two meet: {ran}");
    assert!(!ran.printed.contains("until all hear all"), "they never did: {ran}");
}

#[test]
fn in_a_group_two_with_the_same_tone_are_noticed() {
    let ran = demo(&["--group", "3", "--seconds", "1", "--break", "same-tone"]);
    ran.ended_with(1, "heard the wrong tone: 440 Hz instead of 660 Hz (from ben)");
    assert_eq!(ran.printed.matches("Wrong: ").count(), 2, "ada and cleo: {ran}");
}

#[test]
fn in_a_group_two_who_change_their_tones_are_noticed() {
    let ran = demo(&["--group", "3", "--seconds", "1", "--break", "tone-swapped"]);
    ran.ended_with(1, "heard the wrong tone");
    assert_eq!(ran.printed.matches("Wrong: ").count(), 4, "both, at two others each: {ran}");
}

#[test]
fn in_a_group_a_wrong_fingerprint_parts_one_from_all_others() {
    let ran = demo(&["--group", "3", "--seconds", "1", "--break", "wrong-fingerprint"]);
    ran.ended_with(1, "cleo was given a wrong fingerprint of ada's certificate");
    assert_eq!(ran.printed.matches("Wrong: ").count(), 2, "ben and cleo meet: {ran}");
}

#[test]
fn in_a_group_sockets_that_drop_all_are_noticed() {
    let ran = demo(&["--group", "2", "--seconds", "1", "--break", "socket-drops-all"]);
    ran.ended_with(1, "Wrong: ada and ben were never connected.");
}

// ------------------------------------------------------------------------------ the other engine

/// The same demos by the engine that is not the usual one.
fn by_webrtc(arguments: &[&str]) -> Ran {
    demo(&[&["--engine", "webrtc", "--seconds", "2"], arguments].concat())
}

#[test]
fn by_the_other_engine_both_sides_hear_the_tone_of_the_other() {
    let ran = by_webrtc(&[]);
    ran.ended_with(0, "Good: both sides heard the right tone.");
    assert!(ran.printed.lines().next().unwrap().ends_with("Engine: webrtc."), "{ran}");
    assert!(demo(&["--break", "nobody-answers"]).printed.contains("Engine: str0m."));
}

#[test]
fn by_the_other_engine_the_test_picture_is_seen() {
    by_webrtc(&["--video"]).ended_with(0, "heard the right tone and saw the right picture");
}

#[test]
fn by_the_other_engine_three_hear_the_tones_of_each_other() {
    let ran = by_webrtc(&["--group", "--json", "--wire"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let lines: Vec<Value> =
        ran.printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["engine"], "webrtc");
    assert_eq!(lines[lines.len() - 1]["ok"], true, "{ran}");
    let sdp = "/content/offer/sdp";
    let offers: Vec<_> = lines.iter().filter_map(|line| line.pointer(sdp)?.as_str()).collect();
    assert_eq!(offers.len(), 3, "one for each pair: {ran}");
    assert!(!offers.iter().any(|sdp| sdp.contains("telephone-event")), "it has none: {offers:?}");
}

#[test]
fn by_the_other_engine_a_wrong_fingerprint_is_noticed() {
    let ran = by_webrtc(&["--break", "wrong-fingerprint"]);
    ran.ended_with(1, "ben was given a wrong fingerprint of ada's certificate");
}

#[test]
fn what_one_engine_alone_can_break_is_refused_of_the_other() {
    for group in [&[][..], &["--group"]] {
        let ran = by_webrtc(&[&["--break", "socket-drops-all"], group].concat());
        assert_eq!((ran.code, ran.errors.lines().count()), (Some(2), 1), "{ran}");
        assert!(ran.errors.ends_with("take --engine str0m\n"), "{ran}");
        assert_eq!(ran.printed, "", "nothing has begun");
    }
}

// ----------------------------------------------------------------------------- cannot even begin

#[test]
fn a_film_that_cannot_be_read_is_one_line_and_exit_code_2() {
    let lost = demo(&["--video", "/nowhere/film.ivf"]);
    assert_eq!((lost.code, lost.errors.lines().count()), (Some(2), 1), "{lost}");
    assert!(lost.errors.contains("cannot read /nowhere/film.ivf"), "{lost}");
    let no_film = demo(&["--video", env!("CARGO_BIN_EXE_caller")]);
    assert_eq!((no_film.code, no_film.errors.lines().count()), (Some(2), 1), "{no_film}");
}

#[test]
fn a_folder_that_cannot_be_made_is_one_line_and_exit_code_2() {
    let below_a_file = format!("{}/tapes", env!("CARGO_BIN_EXE_caller"));
    let ran = demo(&["--record", &below_a_file]);
    assert_eq!((ran.code, ran.errors.lines().count()), (Some(2), 1), "{ran}");
}

#[test]
fn unknown_arguments_are_exit_code_2_and_none_at_all_shows_the_help() {
    assert_eq!(demo(&["--nonsense"]).code, Some(2));
    let bare = caller(&[]);
    assert!(bare.errors.contains("demo"), "{bare}");
}

// ------------------------------------------------------------------------------ broken on purpose

#[test]
fn swapped_tones_are_noticed() {
    let ran = demo(&["--seconds", "1", "--break", "tone-swapped"]);
    ran.ended_with(1, "ben heard the wrong tone: 660 Hz instead of 440 Hz");
}

#[test]
fn a_muted_microphone_is_noticed() {
    let ran = demo(&["--seconds", "1", "--break", "microphone-muted"]);
    ran.ended_with(1, "ben heard silence instead of 440 Hz: ada's microphone is muted");
}

#[test]
fn a_socket_that_drops_all_is_noticed() {
    let ran = demo(&["--seconds", "1", "--break", "socket-drops-all"]);
    ran.ended_with(1, "no path: ice failed");
}

#[test]
fn a_wrong_fingerprint_is_noticed() {
    let ran = demo(&["--seconds", "1", "--break", "wrong-fingerprint"]);
    ran.ended_with(1, "ben was given a wrong fingerprint of ada's certificate");
}

#[test]
fn an_unanswered_call_is_noticed() {
    let ran = demo(&["--seconds", "1", "--break", "nobody-answers"]);
    ran.ended_with(1, "nobody answered");
}
