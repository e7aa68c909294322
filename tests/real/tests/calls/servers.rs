//! The servers by themselves.

use real::{Failure, PASSWORD, Request, Scene};
use serde_json::{Value, json};

use crate::stage::{Cast, Scenario};

/// What the servers do.
pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::new("a_message_arrives", Cast::Scene(message))];

/// Two accounts, one message, and what clients are told of TURN.
fn message(scene: &Scene) -> Result<(), Failure> {
    let names = ["anna", "bela"];
    for name in names {
        scene.homeserver().register(name)?;
    }
    let anna = log_in(scene, "anna")?;
    let bela = log_in(scene, "bela")?;
    let room = json!({"invite": ["@bela:localhost"], "preset": "trusted_private_chat"});
    let room = ask(scene, &anna, "POST", "createRoom", &room)?["room_id"].clone();
    let room = room.as_str().unwrap_or_default();
    ask(scene, &bela, "POST", &format!("join/{room}"), &json!({}))?;
    let text = json!({"msgtype": "m.text", "body": "hello"});
    ask(scene, &anna, "PUT", &format!("rooms/{room}/send/m.room.message/1"), &text)?;

    let sync = get(scene, &bela, "sync")?;
    let timeline = &sync["rooms"]["join"][room]["timeline"]["events"];
    let events = timeline.as_array().into_iter().flatten();
    assert!(events.into_iter().any(|event| event["content"] == text), "{sync}");
    let turn = get(scene, &bela, "voip/turnServer")?;
    assert_eq!(turn["uris"].as_array().map(Vec::len), Some(3), "{turn}");
    Ok(())
}

fn log_in(scene: &Scene, user: &str) -> Result<String, Failure> {
    let login = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": user},
    });
    let token = ask(scene, "", "POST", "login", &login)?["access_token"].clone();
    Ok(token.as_str().unwrap_or_default().to_owned())
}

fn get(scene: &Scene, token: &str, path: &str) -> Result<Value, Failure> {
    let path = format!("/_matrix/client/v3/{path}");
    scene.homeserver().ask(Request { method: "GET", path: &path, token: Some(token), body: None })
}

fn ask(
    scene: &Scene,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value, Failure> {
    let path = format!("/_matrix/client/v3/{path}");
    let token = (!token.is_empty()).then_some(token);
    scene.homeserver().ask(Request { method, path: &path, token, body: Some(body) })
}
