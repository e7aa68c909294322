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

fn voice(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    hang_up(&call, &pair.caller, &pair.callee)?;
    for client in [&pair.caller, &pair.callee] {
        nothing_in_clear(client);
    }
    Ok(())
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

/// The invite comes before the key that it is encrypted with: it rings when the key is there.
fn late_room_key(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    pair.caller.ask("holdToDevice", &json!({"on": true}))?;
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.caller.reaches(&call, "invite_sent")?;
    let invite =
        |event: &Value| event["ev"] == "wireIn" && event["event"]["type"] == "m.room.encrypted";
    // By then it has been on its way to the callee too.
    pair.caller.event("its own invite, by sync", PATIENCE, invite)?;
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
