//! `caller call` and `caller answer`: a person in a call with a browser, with our `serve`, and with
//! another person; what is said, heard, kept and shown, and how the program ends.

use std::{fs, path::Path};

use real::{
    Client, Failure, Kind, Media, PATIENCE, Person, Privacy, Said, Scene, Tool, Transport, sound,
};
use serde_json::{Value, json};

use crate::{
    basics::{AUDIBLE, hung_up_by_them},
    encrypted::{nothing_in_clear, only_encrypted_for_homeserver},
    login::assert_refused,
    stage::{Cast, OURS, Scenario},
};

/// A person's calls.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("person_calls_browser", Cast::Scene(calls_browser)).using(CALLER),
    Scenario::new("person_calls_ours", Cast::Scene(calls_ours)).using(CALLER),
    Scenario::new("person_calls_by_tls_relay", Cast::Scene(calls_by_relay))
        .by(real::Path::Relay(Transport::Tls))
        .using(CALLER),
    Scenario::new("person_answers_browser", Cast::Scene(answers_browser))
        .within(Privacy::Encrypted)
        .using(CALLER),
    Scenario::new("person_calls_person", Cast::Scene(calls_person)).using(CALLER),
    Scenario::new("person_calls_nobody", Cast::Scene(calls_nobody)).using(CALLER),
    Scenario::new("person_interrupts", Cast::Scene(interrupts)).using(CALLER),
    Scenario::new("person_answers_what_rings", Cast::Scene(answers_what_rings))
        .within(Privacy::Encrypted)
        .using(CALLER),
    Scenario::new("person_crashes", Cast::Scene(crashes)).using(CALLER),
    Scenario::new("person_interrupts_twice", Cast::Scene(interrupts_twice)).using(CALLER).at_home(),
    Scenario::new("persons_call_each_other", Cast::Scene(call_each_other)).using(CALLER),
    Scenario::new("person_loses_login", Cast::Scene(loses_login)).using(CALLER),
];

pub(crate) const CALLER: &[Tool] = &[Tool::Caller];

/// A person who is logged in, in a room with a client.
pub(crate) fn acquainted<'s>(
    scene: &'s Scene<'_>,
    name: &str,
    client: &Client,
) -> Result<(Person<'s>, String), Failure> {
    let person = scene.person(name)?;
    let room = person.make_room("Kitchen", &[&client.user_id])?;
    client.ask("join", &json!({"roomId": room}))?;
    person.log_in()?;
    Ok((person, room))
}

/// The call that rings at a client now; answered and connected.
pub(crate) fn answered_by(client: &Client) -> Result<String, Failure> {
    let ringing = json!({"incoming": true, "timeoutMs": 40_000});
    let call = client.ask("waitFor", &ringing)?;
    let call = call["callId"].as_str().unwrap_or_default().to_owned();
    client.act("answer", &call)?;
    client.reaches(&call, "connected")?;
    Ok(call)
}

pub(crate) fn assert_hears(client: &Client, call: &str) -> Result<(), Failure> {
    let peak = client.listen(call).loudness()?;
    assert!(peak > AUDIBLE, "{} hears {peak} at most", client.peer());
    Ok(())
}

/// The call was had, and this is how it ended.
#[track_caller]
pub(crate) fn assert_had(said: &Said, ended: &str) {
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert!(said.line(&["ended: ", ended, ", after "]).is_some(), "{said:?}");
}

fn test_file(name: &str) -> String {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters/media/tests/files");
    files.join(name).to_string_lossy().into_owned()
}

/// A film, and sound of an Ogg file; what the browser shows and says is kept.
fn calls_browser(scene: &Scene) -> Result<(), Failure> {
    let browser = scene.client("ben", Kind::Browser)?;
    let (ada, _) = acquainted(scene, "ada", &browser)?;
    fs::copy(test_file("foreign.opus"), ada.folder().join("ada.ogg"))
        .map_err(|why| Failure::of("copying", why))?;
    let film = test_file("foreign.ivf");
    let call = ["call", &browser.user_id, "--audio", "ada.ogg", "--video", &film];
    let running = ada.start(Tool::Caller, &[&call[..], &["--record", "kept"]].concat())?;
    let call = answered_by(&browser)?;
    assert_hears(&browser, &call)?;
    let stats = browser.receives(&call, Media::Video, 1_000)?;
    let frames = stats["inbound"].as_array().into_iter().flatten();
    let frames = frames.filter_map(|stream| stream["framesDecoded"].as_u64()).sum::<u64>();
    assert!(frames > 0, "{stats}");
    browser.act("hangup", &call)?;
    let said = running.ended(PATIENCE)?;
    assert_had(&said, "by them");
    assert_kept(&said, &["kept/heard.wav", "kept/seen.ivf"]);
    assert!(sound::heard(&ada.folder().join("kept/heard.wav"))?.level.peak > AUDIBLE as f32);
    Ok(())
}

/// Frames of each of these files were told.
pub(crate) fn assert_kept(said: &Said, files: &[&str]) {
    for file in files {
        let told = said.line(&[file, " frames"]).and_then(|line| line.split(" frames").next());
        let frames = told.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        assert!(frames > Some(5), "{file}: {said:?}");
    }
}

/// A tone each way, for a stated time; the recording holds what the other side sent.
fn calls_ours(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let call = ["call", &room, "--audio", "tone:440", "--seconds", "3", "--record", "kept"];
    let running = ada.start(Tool::Caller, &call)?;
    let call = answered_by(&ben)?;
    assert_hears(&ben, &call)?;
    assert_eq!(ben.ends(&call)?, hung_up_by_them());
    let said = running.ended(PATIENCE)?;
    assert_had(&said, "by us");
    assert_kept(&said, &["kept/heard.wav"]);
    let kept = sound::heard(&ada.folder().join("kept/heard.wav"))?.tone;
    let kept = kept.ok_or_else(|| Failure("the recording is silent".to_owned()))?;
    let told = said.line(&["heard a tone of", "Hz"]).and_then(|line| line.split(' ').nth(4));
    let told: f32 = told.and_then(|hertz| hertz.parse().ok()).unwrap_or_default();
    assert!((kept.hz - told).abs() < 5.0, "{kept:?}, told {told} Hz");
    Ok(())
}

/// The only TURN server is one by TLS, whose root is a file of this person.
fn calls_by_relay(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let root = scene.world.certificate.root.to_string_lossy();
    let call = ["call", &room, "--relay-only", "--trust", &root, "--audio", "silence"];
    let running = ada.start(Tool::Caller, &call)?;
    let call = answered_by(&ben)?;
    running.says(&["connected", "relay to relay"], PATIENCE)?;
    assert!(scene.world.coturn.has_served(&ada.user_id, Transport::Tls)?);
    let peak = ben.listen(&call).loudness()?;
    assert!(peak < AUDIBLE, "silence is {peak} loud");
    ben.act("hangup", &call)?;
    assert_had(&running.ended(PATIENCE)?, "by them");
    Ok(())
}

/// In an encrypted room; what is played is a WAV file.
fn answers_browser(scene: &Scene) -> Result<(), Failure> {
    let browser = scene.client("ben", Kind::Browser)?;
    let (ada, room) = acquainted(scene, "ada", &browser)?;
    sound::write_tone(&ada.folder().join("ada.wav"), 523.0)?;
    let answer = ["answer", "--audio", "ada.wav", "--record", "kept"];
    let running = ada.start(Tool::Caller, &answer)?;
    running.says(&["waiting for a call to", &ada.user_id], PATIENCE)?;
    let call = browser.call(&room, Media::Voice)?;
    browser.reaches(&call, "connected")?;
    assert_hears(&browser, &call)?;
    running.says(&[&browser.user_id, "calls"], PATIENCE)?;
    browser.act("hangup", &call)?;
    nothing_in_clear(&browser);
    let said = running.ended(PATIENCE)?;
    only_encrypted_for_homeserver(scene, &browser, &room)?;
    assert_had(&said, "by them");
    assert_kept(&said, &["kept/heard.wav"]);
    assert!(sound::heard(&ada.folder().join("kept/heard.wav"))?.level.peak > AUDIBLE as f32);
    Ok(())
}

/// Both tell the tone of the other.
fn calls_person(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben) = (scene.person("ada")?, scene.person("ben")?);
    let room = ada.make_room("Kitchen", &[&ben.user_id])?;
    ben.join(&room)?;
    ada.log_in()?;
    ben.log_in()?;
    let answering = ben.start(Tool::Caller, &["answer", "--audio", "tone:660"])?;
    answering.says(&["waiting"], PATIENCE)?;
    let call = ["call", "Kitchen", "--audio", "tone:440", "--seconds", "2"];
    let calling = ada.start(Tool::Caller, &call)?;
    for (running, ended, hertz) in [(calling, "by us", 660.0), (answering, "by them", 440.0)] {
        let said = running.ended(PATIENCE * 2)?;
        assert_had(&said, ended);
        let told = said.line(&["heard a tone of"]).and_then(|line| line.split(' ').nth(4));
        let told: f32 = told.and_then(|told| told.parse().ok()).unwrap_or_default();
        assert!((hertz - told).abs() < 5.0, "{said:?}");
    }
    Ok(())
}

/// What cannot begin is told in one line; a room of three needs a name; a refusal is exit code 1.
fn calls_nobody(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, _) = acquainted(scene, "ada", &ben)?;
    let refused = |call: &[&str], words: &[&str]| {
        assert_refused(&ada.run(&[&["call"], call].concat(), "")?, words);
        Ok::<_, Failure>(())
    };
    refused(&["!nowhere:localhost"], &["no room !nowhere:localhost"])?;
    refused(&["#nowhere:localhost"], &["no room #nowhere:localhost"])?;
    refused(&["Attic"], &["no room Attic"])?;
    refused(&["@nobody:localhost"], &["no room with @nobody:localhost"])?;
    refused(&["@nobody"], &["\"@nobody\": "])?;
    refused(&[&ada.user_id], &["that is you"])?;

    let cleo = scene.person("cleo")?;
    let hall = ada.make_room("Hall", &[&ben.user_id, &cleo.user_id])?;
    ben.ask("join", &json!({"roomId": hall}))?;
    cleo.join(&hall)?;
    refused(&["Hall"], &["3 people", "--user"])?;
    refused(&["Hall", "--user", "@nobody:localhost"], &["@nobody:localhost is not in that room"])?;
    assert_eq!(ben.ask("state", &json!({}))?["calls"], Value::Array(Vec::new()));

    let running = ada.start(Tool::Caller, &["call", "Hall", "--user", &ben.user_id])?;
    let ringing = ben.ask("waitFor", &json!({"incoming": true, "timeoutMs": 40_000}))?;
    assert_eq!(ringing["roomId"], hall.as_str());
    ben.act("reject", ringing["callId"].as_str().unwrap_or_default())?;
    let said = running.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(1), 0), "{said:?}");
    assert!(said.line(&["ended: ", "by them", "never connected"]).is_some(), "{said:?}");
    Ok(())
}

/// Ctrl-C hangs up; who waits for a call just stops. Nothing stays behind that would disturb the
/// next run.
fn interrupts(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let waiting = ada.start(Tool::Caller, &["answer"])?;
    waiting.says(&["waiting"], PATIENCE)?;
    waiting.signal("INT")?;
    let said = waiting.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");

    let ringing = ada.start(Tool::Caller, &["call", &room])?;
    let call = ben.ask("waitFor", &json!({"incoming": true, "timeoutMs": 40_000}))?;
    ringing.signal("INT")?;
    assert_eq!(ben.ends(call["callId"].as_str().unwrap_or_default())?, hung_up_by_them());
    assert_eq!(ringing.ended(PATIENCE)?.code, Some(1));

    let talking = ada.start(Tool::Caller, &["call", &room])?;
    let call = answered_by(&ben)?;
    talking.says(&["connected"], PATIENCE)?;
    talking.signal("INT")?;
    assert_eq!(ben.ends(&call)?, hung_up_by_them());
    assert_had(&talking.ended(PATIENCE)?, "by us");
    Ok(())
}

/// It rings before anybody looks; looking at rooms and servers meanwhile takes nothing away, neither
/// the invite nor the key that it is encrypted with.
fn answers_what_rings(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let call = ben.call(&room, Media::Voice)?;
    ben.reaches(&call, "invite_sent")?;
    let root = scene.world.certificate.root.to_string_lossy();
    for look in ["rooms", "doctor"] {
        let said = ada.run(&[look, "--trust", &root], "")?;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let running = ada.start(Tool::Caller, &["answer"])?;
    running.says(&[&ben.user_id, "calls"], PATIENCE)?;
    ben.reaches(&call, "connected")?;
    assert_hears(&ben, &call)?;
    ben.act("hangup", &call)?;
    assert_had(&running.ended(PATIENCE)?, "by them");
    // What is over does not ring again.
    let again = ada.start(Tool::Caller, &["answer"])?;
    again.says(&["waiting"], PATIENCE)?;
    again.signal("INT")?;
    let said = again.ended(PATIENCE)?;
    assert!(said.line(&["nobody has called"]).is_some(), "{said:?}");
    Ok(())
}

/// Killed in a call: the next run hangs up what the other side still believes in.
fn crashes(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let talking = ada.start(Tool::Caller, &["call", &room])?;
    let call = answered_by(&ben)?;
    talking.says(&["connected"], PATIENCE)?;
    assert_hears(&ben, &call)?;
    talking.signal("KILL")?;
    assert_eq!(talking.ended(PATIENCE)?.code, None);
    let waiting = ada.start(Tool::Caller, &["answer"])?;
    waiting.says(&["waiting"], PATIENCE)?;
    // By itself it would end as a connection that is lost, by us.
    assert_eq!(ben.ends(&call)?.party, "remote");
    waiting.signal("INT")?;
    assert_eq!(waiting.ended(PATIENCE)?.code, Some(0));
    Ok(())
}

/// Who presses Ctrl-C twice does not wait for the hangup to leave; the terminal is as before.
fn interrupts_twice(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let mut talking = ada.start_at_terminal(&["call", &room])?;
    answered_by(&ben)?;
    talking.says(&["connected 00:"], PATIENCE)?;
    // The goodbye cannot leave: a patient person would wait for some seconds.
    scene.homeserver().stop();
    talking.types("\x03")?;
    talking.says(&["hanging up"], PATIENCE)?;
    talking.types("\x03")?;
    let said = talking.ended(PATIENCE)?;
    assert_eq!(said.code, Some(INTERRUPTED), "{said:?}");
    assert!(said.line(&["ended: "]).is_none(), "{said:?}");
    Ok(())
}

/// At the same moment or nearly so: whichever call goes on, both talk in it.
fn call_each_other(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben) = (scene.person("ada")?, scene.person("ben")?);
    let room = ada.make_room("Kitchen", &[&ben.user_id])?;
    ben.join(&room)?;
    ada.log_in()?;
    ben.log_in()?;
    let call = |person: &Person<'_>, tone| {
        person.start(Tool::Caller, &["call", "Kitchen", "--audio", tone, "--seconds", "2"])
    };
    for running in [call(&ada, "tone:440")?, call(&ben, "tone:660")?] {
        let said = running.ended(PATIENCE * 2)?;
        assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
        assert!(said.line(&["heard a tone of"]).is_some(), "{said:?}");
    }
    Ok(())
}

/// What a shell makes of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Logged out from elsewhere: who waits for a call and who is in one is told, and so is every command
/// afterwards.
fn loses_login(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let (cleo, _) = acquainted(scene, "cleo", &ben)?;
    let waiting = cleo.start(Tool::Caller, &["answer"])?;
    waiting.says(&["waiting"], PATIENCE)?;
    let talking = ada.start(Tool::Caller, &["call", &room])?;
    answered_by(&ben)?;
    talking.says(&["connected"], PATIENCE)?;
    cleo.log_out_everywhere()?;
    ada.log_out_everywhere()?;
    let said = waiting.ended(PATIENCE)?;
    assert_refused_late(&said, &["the login is lost"]);
    let said = talking.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(1), 0), "{said:?}");
    assert!(said.line(&["ended: ", "by us"]).is_some(), "{said:?}");

    assert_refused(&ada.run(&["rooms"], "")?, &["not valid any more", "caller logout"]);
    let said = ada.run(&["logout"], "")?;
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert!(ada.kept().is_empty(), "{:?}", ada.kept());
    Ok(())
}

/// It had begun, and something went wrong: exit code 1, one line with these words.
#[track_caller]
fn assert_refused_late(said: &Said, words: &[&str]) {
    assert_eq!((said.code, said.err.len()), (Some(1), 1), "{said:?}");
    assert!(words.iter().all(|word| said.err[0].contains(word)), "{said:?}");
}
