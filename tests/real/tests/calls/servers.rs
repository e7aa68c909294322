//! The servers by themselves.

use real::{Failure, Scene};
use serde_json::json;

use crate::stage::{Cast, Scenario};

/// What the servers do.
pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::new("a_message_arrives", Cast::Scene(message)).without_engine()];

/// Two accounts, one message, and what clients are told of TURN.
fn message(scene: &Scene) -> Result<(), Failure> {
    let (anna, bela) = (scene.person("anna")?, scene.person("bela")?);
    let room = json!({"invite": [bela.user_id], "preset": "trusted_private_chat"});
    let room = anna.ask("POST", "createRoom", Some(&room))?["room_id"].clone();
    let room = room.as_str().unwrap_or_default();
    bela.join(room)?;
    let text = json!({"msgtype": "m.text", "body": "hello"});
    anna.ask("PUT", &format!("rooms/{room}/send/m.room.message/1"), Some(&text))?;

    let sync = bela.ask("GET", "sync", None)?;
    let timeline = &sync["rooms"]["join"][room]["timeline"]["events"];
    let events = timeline.as_array().into_iter().flatten();
    assert!(events.into_iter().any(|event| event["content"] == text), "{sync}");
    let turn = bela.ask("GET", "voip/turnServer", None)?;
    assert_eq!(turn["uris"].as_array().map(Vec::len), Some(3), "{turn}");
    Ok(())
}
