//! The examples, run as their first lines say.

use real::{End, Failure, Kind, Media, PASSWORD, PATIENCE, Scene, Tool, sound};
use serde_json::json;

use crate::{
    person::{answered_by, assert_hears},
    stage::{Cast, OURS, Scenario},
};

const SIMPLE_CALL: Tool = Tool::Example("simple_call");
const BOT: Tool = Tool::Example("auto_answer_bot");

/// What the examples do.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("simple_call", Cast::Scene(simple_call))
        .using(&[Tool::Caller, SIMPLE_CALL])
        .without_engine(),
    Scenario::new("auto_answer_bot", Cast::Scene(bot)).using(&[Tool::Caller, BOT]).without_engine(),
];

/// It calls, tells the tone that it heard, and leaves no device behind.
fn simple_call(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben) = (scene.person("ada")?, scene.client("ben", OURS)?);
    let room = ada.make_room("Kitchen", &[&ben.user_id])?;
    ben.ask("join", &json!({"roomId": room}))?;
    let arguments = [&scene.homeserver().url(), &ada.name, PASSWORD, &room];
    let running = ada.start(SIMPLE_CALL, &arguments)?;
    let call = answered_by(&ben)?;
    assert_hears(&ben, &call)?;
    ben.act("hangup", &call)?;
    let said = running.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert!(said.line(&["connected"]).is_some(), "{said:?}");
    assert!(said.line(&["heard Some(HeardTone", "hz: "]).is_some(), "{said:?}");
    assert_eq!(ada.devices()?, [ada.device_id.as_str()]);
    Ok(())
}

/// One caller after the other hears the greeting and is recorded; who calls meanwhile hears that it
/// is busy.
fn bot(scene: &Scene) -> Result<(), Failure> {
    let (browser, ours) = (scene.client("ben", Kind::Browser)?, scene.client("cleo", OURS)?);
    let ada = scene.person("ada")?;
    let rooms = [&browser, &ours].map(|client| {
        let room = ada.make_room("Kitchen", &[&client.user_id])?;
        client.ask("join", &json!({"roomId": room})).map(|_| room)
    });
    let [theirs, room] = rooms;
    let (theirs, room) = (theirs?, room?);
    sound::write_tone(&ada.folder().join("hello.wav"), 523.0)?;
    let homeserver = scene.homeserver().url();
    let arguments = [&homeserver, &ada.name, PASSWORD, "hello.wav", "kept"];
    let mut running = ada.start(BOT, &arguments)?;
    running.says(&["waiting for calls to", &ada.user_id], PATIENCE)?;

    for (client, room) in [(&browser, &theirs), (&ours, &room)] {
        let call = client.call(room, Media::Voice)?;
        client.reaches(&call, "connected")?;
        let told = running.says(&[&client.user_id, "calls: call"], PATIENCE)?;
        assert_hears(client, &call)?;
        if client.kind == OURS {
            let second = browser.call(&theirs, Media::Voice)?;
            assert_eq!(browser.ends(&second)?, End::of("remote", "user_busy"));
        }
        client.act("hangup", &call)?;
        running.says(&[&client.user_id, "is gone"], PATIENCE)?;
        let file = format!("kept/call-{}.wav", told.rsplit(' ').next().unwrap_or_default());
        let heard = sound::heard(&ada.folder().join(&file))?;
        assert!(heard.level.peak > 0.01, "{file}: {heard:?}");
        if client.kind == OURS {
            // Its test sound is a tone; the browser's are beeps.
            assert!(heard.tone.is_some_and(|tone| tone.share > 0.8), "{file}: {heard:?}");
        }
    }
    running.types("\n")?;
    let said = running.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert_eq!(ada.devices()?, [ada.device_id.as_str()]);
    Ok(())
}
