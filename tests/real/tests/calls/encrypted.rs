//! Calls in encrypted rooms.

use real::{Client, Failure, Media, PATIENCE, Pair, Privacy, Scene};
use serde_json::{Value, json};

use crate::{
    basics::{both_hear, connect, hang_up},
    stage::{Cast, Scenario},
};

/// What the homeserver must not read.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("encrypted_room", Cast::Pair(voice)).within(Privacy::Encrypted),
    // A browser as callee does not ring when the key comes late: it decrypts the invite and does
    // nothing with it.
    Scenario::new("late_room_key", Cast::Pair(late_room_key))
        .within(Privacy::Encrypted)
        .only(|_, callee| callee.is_ours()),
];

fn voice(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)?;
    for client in [&pair.caller, &pair.callee] {
        nothing_in_clear(client);
    }
    only_encrypted_for_homeserver(scene, &pair.caller, &pair.room)
}

/// What came by sync, as the homeserver has it, and what was sent.
pub(crate) fn nothing_in_clear(client: &Client) {
    let came = client.events("wireIn");
    let mut types = came.iter().filter_map(|came| came["event"]["type"].as_str());
    assert!(types.all(|name| !name.starts_with("m.call.")), "{} sent in clear", client.peer());
    let sent = client.events("wireOut");
    let paths: Vec<&str> = sent.iter().filter_map(|sent| sent["path"].as_str()).collect();
    assert!(paths.iter().any(|path| path.contains("/send/m.room.encrypted")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains("/send/m.call.")), "{paths:?}");
}

/// What a call sends at least: invite, candidates, answer, selection or hangup.
const EVENTS: usize = 4;

/// What the homeserver keeps of a room in which somebody called; `member` is in it.
pub(crate) fn only_encrypted_for_homeserver(
    scene: &Scene,
    member: &Client,
    room: &str,
) -> Result<(), Failure> {
    let kept = scene.person_of(member)?.room_events(room)?;
    let types: Vec<&str> = kept.iter().filter_map(|event| event["type"].as_str()).collect();
    let encrypted = types.iter().filter(|name| **name == "m.room.encrypted").count();
    assert!(encrypted >= EVENTS, "{types:?}");
    assert!(!types.iter().any(|name| name.contains("call.")), "{types:?}");
    Ok(())
}

/// The invite comes before the key that it is encrypted with: it rings when the key is there.
fn late_room_key(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    pair.caller.ask("holdToDevice", &json!({"on": true}))?;
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.caller.reaches(&call, "invite_sent")?;
    let invite = |event: &Value| {
        let came = &event["event"];
        event["ev"] == "wireIn"
            && came["type"] == "m.room.encrypted"
            && came["sender"] == pair.caller.user_id.as_str()
    };
    pair.callee.event("the invite that it cannot read", PATIENCE, invite)?;
    let calls = pair.callee.ask("state", &json!({}))?;
    assert_eq!(calls["calls"], json!([]), "it rings without a key");
    let released = pair.caller.ask("holdToDevice", &json!({"on": false}))?;
    assert_ne!(released["released"], 0, "no key was held back");
    pair.callee.rings(&call)?;
    pair.callee.act("answer", &call)?;
    for client in [&pair.caller, &pair.callee] {
        client.reaches(&call, "connected")?;
    }
    hang_up(&call, &pair.callee, &pair.caller)
}
