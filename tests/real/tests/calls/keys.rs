//! Keys of a person in a call, at a terminal, and what they change at the other side.

use real::{Client, End, Engine, Failure, Kind, PATIENCE, Running, Scene, Tool, film};
use serde_json::{Value, json};

use crate::{
    basics::AUDIBLE,
    changes::{FILM, sees_film},
    person::{CALLER, acquainted, answered_by, assert_had, assert_hears},
    stage::{Cast, OURS, Scenario},
};

/// Keys.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("person_presses_keys", Cast::Scene(presses_keys)).using(CALLER),
    Scenario::new("person_follows_a_transfer", Cast::Scene(follows_a_transfer)).using(CALLER),
    Scenario::new("persons_are_joined", Cast::Scene(are_joined)).using(CALLER),
];

/// The status line, mute, hold, screen, camera, tones, explain, a transfer to nobody, hang up.
fn presses_keys(scene: &Scene) -> Result<(), Failure> {
    let browser = scene.client("ben", Kind::Browser)?;
    let (ada, room) = acquainted(scene, "ada", &browser)?;
    let film = ada.folder().join("film.ivf");
    film::write_film(&film, FILM)?;
    let talk = ["--audio", "tone:440", "--screen", &film.to_string_lossy()];
    let mut running = ada.start_at_terminal(&[&["call", &room], &talk[..]].concat())?;
    let call = answered_by(&browser)?;
    running.says(&["m: mute", "t: transfer", "f: follow", "e: explain", "q: hang up"], PATIENCE)?;
    let shown = ["connected 00:", "(udp)", "hears", "dB", "loss ", "round trip", "ms"];
    running.says(&shown, PATIENCE)?;
    assert_hears(&browser, &call)?;

    running.types("m")?;
    running.says(&["connected", "muted"], PATIENCE)?;
    until_muted(&browser, &call, true)?;
    let peak = browser.listen(&call).loudness()?;
    assert!(peak < AUDIBLE, "muted, and {peak} loud");
    running.types("m")?;
    until_muted(&browser, &call, false)?;
    assert_hears(&browser, &call)?;

    for on in [true, false] {
        running.types("h")?;
        let is = |call: &Value| call["localOnHold"] == on;
        browser.until(&format!("on hold: {on}"), &call, PATIENCE, is)?;
    }
    for (key, mark) in [("s", "screen"), ("v", "camera")] {
        running.types(key)?;
        running.says(&["connected", mark], PATIENCE)?;
    }
    sees_film(&browser, &call)?;
    browser.ask("waitFor", &json!({"callId": call, "remoteFeeds": 2}))?;
    running.types("5")?;
    if scene.engine() == Engine::Webrtc {
        // It has no tones, and has promised none.
        running.says(&["takes no tones"], PATIENCE)?;
    }
    running.types("e")?;
    running.says(&["Media flows, for ", "nothing is waited for"], PATIENCE)?;
    running.types("f")?;
    running.says(&["nobody asked you to call somebody else"], PATIENCE)?;
    running.types("tq")?;
    running.says(&["transfer to", ": q"], PATIENCE)?;
    running.types("\r")?;
    running.says(&["transfer: "], PATIENCE)?;

    running.types("q")?;
    assert_eq!(browser.ends(&call)?, End::of("remote", "user_hangup"));
    let said = running.ended(PATIENCE)?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.line(&["ended: ", "by us"]).is_some(), "{said:?}");
    assert!(said.line(&["the terminal is as before"]).is_some(), "{said:?}");
    Ok(())
}

/// Waits until a client shows the other side's microphone like that.
fn until_muted(client: &Client, call: &str, muted: bool) -> Result<(), Failure> {
    let is = |call: &Value| {
        let mut feeds = call["feeds"].as_array().into_iter().flatten();
        feeds.any(|feed| feed["local"] == false && feed["audioMuted"] == muted)
    };
    client.until(&format!("their microphone, muted: {muted}"), call, PATIENCE, is)
}

/// Asked to call somebody else, a person does so by a key, also when the call is over by then.
fn follows_a_transfer(scene: &Scene) -> Result<(), Failure> {
    let (ben, carol) = (scene.client("ben", OURS)?, scene.client("carol", OURS)?);
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let parlour = ada.make_room("Parlour", &[&carol.user_id])?;
    carol.ask("join", &json!({"roomId": parlour}))?;
    for follows in [false, true] {
        let mut running = ada.start_at_terminal(&["call", &room, "--record", "kept"])?;
        let call = answered_by(&ben)?;
        hears_tone(&running, &tone(&ben, &call)?)?;
        ben.ask("transfer", &json!({"callId": call, "userId": carol.user_id}))?;
        assert_eq!(ben.ends(&call)?, End::of("local", "transferred"));
        running.says(&["they ask you to call", &carol.user_id], PATIENCE)?;
        running.says(&["f: do so", "q: no"], PATIENCE)?;
        if !follows {
            running.types("q")?;
            assert_had(&running.ended(PATIENCE)?, "by them");
            assert_eq!(carol.ask("state", &json!({}))?["calls"], json!([]));
            continue;
        }
        running.types("f")?;
        running.says(&["calling", &carol.user_id], PATIENCE)?;
        let call = answered_by(&carol)?;
        assert_hears(&carol, &call)?;
        hears_tone(&running, &tone(&carol, &call)?)?;
        running.types("q")?;
        assert_eq!(carol.ends(&call)?, End::of("remote", "user_hangup"));
        let said = running.ended(PATIENCE)?;
        assert_had(&said, "by us");
        assert!(said.line(&["the terminal is as before"]).is_some(), "{said:?}");
    }
    Ok(())
}

/// What ours plays in a call, as a status line shows it.
fn tone(client: &Client, call: &str) -> Result<String, Failure> {
    let hertz = client.act("state", call)?["tone"].as_f64().unwrap_or_default();
    Ok(format!("({hertz:.0} Hz)"))
}

fn hears_tone(running: &Running, tone: &str) -> Result<(), Failure> {
    running.says(&["connected", "hears", tone], PATIENCE).map(drop)
}

/// Who has two persons on the line joins them: one follows by a key, the other waits for it and
/// needs none.
fn are_joined(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, kitchen) = acquainted(scene, "ada", &ben)?;
    let (dora, study) = acquainted(scene, "dora", &ben)?;
    let parlour = ada.make_room("Parlour", &[&dora.user_id])?;
    dora.join(&parlour)?;
    let mut calling = ada.start_at_terminal(&["call", &kitchen, "--audio", "tone:445"])?;
    let first = answered_by(&ben)?;
    ben.ask("hold", &json!({"callId": first, "on": true}))?;
    let answer = ["answer", "--audio", "tone:655", "--seconds", "60"];
    let waiting = dora.start(Tool::Caller, &answer)?;
    waiting.says(&["waiting for a call to"], PATIENCE)?;
    let second = ben.ask("call", &json!({"roomId": study, "kind": "voice"}))?;
    let second = second["callId"].as_str().unwrap_or_default();
    ben.reaches(second, "connected")?;
    waiting.says(&["connected"], PATIENCE)?;

    ben.ask("transfer", &json!({"callId": first, "toCallId": second}))?;
    calling.says(&["they ask you to call", &dora.user_id], PATIENCE)?;
    waiting.says(&[&ada.user_id, "will call you instead"], PATIENCE)?;
    calling.says(&["f: do so", "q: no"], PATIENCE)?;
    calling.types("f")?;
    waiting.says(&[&ada.user_id, "calls"], PATIENCE)?;
    hears_tone(&calling, "(65")?;
    calling.types("q")?;
    assert_had(&calling.ended(PATIENCE)?, "by us");
    assert_had(&waiting.ended(PATIENCE)?, "by them");
    Ok(())
}
