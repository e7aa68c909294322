//! What goes wrong between two people: servers that go away, peers that die, everything at once.

use std::time::Duration;

use real::{Client, End, Failure, Kind, Media, PATIENCE, Pair, Scene, Sync, Tool, clock};
use serde_json::{Value, json};

use crate::{
    basics::{both_hear, connect, hang_up},
    floor::Effort,
    stage::{Cast, Scenario},
};

/// Calls under stress.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("callee_dies", Cast::Pair(callee_dies))
        .in_own_browsers()
        .with(Effort::Wait)
        .only(|caller, callee| caller.is_ours() || callee == Kind::Browser),
    Scenario::new("caller_dies", Cast::Pair(caller_dies))
        .in_own_browsers()
        .with(Effort::Wait)
        .only(|_, callee| callee.is_ours()),
    Scenario::new("homeserver_restarts", Cast::Pair(homeserver_restarts)).at_home(),
    Scenario::new("offline", Cast::Pair(offline))
        .only(|caller, callee| caller.is_ours() || callee.is_ours()),
    Scenario::new("login_is_lost", Cast::Scene(login_is_lost))
        .using(&[Tool::Caller])
        .without_engine(),
    Scenario::new("both_hang_up", Cast::Pair(both_hang_up)),
    Scenario::new("ten_calls", Cast::Pair(ten_calls)),
];

/// js-sdk gives up 30 s after it has noticed that the other side is silent, and so do we
/// (`Timeouts::lost`). What comes on top: to notice it takes some seconds.
const GIVES_UP: Duration = Duration::from_secs(30);

/// No call leaves anything behind that would disturb the next.
fn ten_calls(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    for _ in 0..10 {
        let call = connect(&pair, Media::Voice)?;
        hang_up(&call, &pair.caller, &pair.callee)?;
    }
    for client in [&pair.caller, &pair.callee] {
        let state = client.ask("state", &json!({}))?;
        assert_eq!(state["calls"].as_array().map(Vec::len), Some(10), "{state}");
        lets_go(client)?;
    }
    Ok(())
}

/// Its peer connections are closed, soon after their calls have ended.
fn lets_go(client: &Client) -> Result<(), Failure> {
    // It does not ring: a wait that is as long as we say.
    let pause = json!({"callId": "none", "incoming": true, "timeoutMs": 100});
    let since = clock::moment();
    while client.ask("state", &json!({}))?["openPeerConnections"] != 0 {
        assert!(since.elapsed() < PATIENCE, "a peer connection stays open");
        drop(client.ask("waitFor", &pause));
    }
    Ok(())
}

/// Neither side waits for the other's hangup; both have ended, and the next call connects.
fn both_hang_up(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    let clients = [&pair.caller, &pair.callee];
    let hangups = clients.map(|client| client.send("hangup", &json!({"callId": call})));
    for hangup in hangups {
        hangup.answer()?;
    }
    for client in clients {
        client.ends(&call)?;
    }
    let next = connect(&pair, Media::Voice)?;
    hang_up(&next, &pair.caller, &pair.callee)
}

/// A call goes on without the homeserver, and its hangup arrives when the homeserver is back.
fn homeserver_restarts(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    scene.homeserver().stop();
    both_hear(&call, &pair)?;
    // js-sdk does not send again what it could not send.
    let patient = [&pair.caller, &pair.callee].into_iter().find(|client| client.kind.is_ours());
    if let Some(patient) = patient {
        patient.act("hangup", &call)?;
    }
    scene.homeserver().start_again(&scene.world.house)?;
    if patient.is_none() {
        pair.caller.act("hangup", &call)?;
    }
    for client in [&pair.caller, &pair.callee] {
        client.ends(&call)?;
    }
    Ok(())
}

/// Who has lost the homeserver goes on talking; what he says to it, and what others do meanwhile,
/// comes through when he is back.
fn offline(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    let (lost, other) = match pair.caller.kind.is_ours() {
        true => (&pair.caller, &pair.callee),
        false => (&pair.callee, &pair.caller),
    };
    lost.ask("offline", &json!({"on": true}))?;
    both_hear(&call, &pair)?;
    lost.act("hangup", &call)?;
    lost.ask("offline", &json!({"on": false}))?;
    for client in [lost, other] {
        client.ends(&call)?;
    }
    lost.ask("offline", &json!({"on": true}))?;
    let next = other.call(&pair.room, Media::Voice)?;
    other.reaches(&next, "invite_sent")?;
    let state = lost.ask("state", &json!({}))?;
    assert_eq!(state["calls"].as_array().map(Vec::len), Some(1), "{state}");
    lost.ask("offline", &json!({"on": false}))?;
    lost.rings(&next)?;
    hang_up(&next, other, lost)
}

/// Both flavours of sync stop when the homeserver has forgotten the device: they do not ask for ever.
fn login_is_lost(scene: &Scene) -> Result<(), Failure> {
    for sync in [Sync::Classic, Sync::Sliding] {
        let client = scene.client("ada", Kind::Ours(sync))?;
        scene.person_of(&client)?.log_out_everywhere()?;
        let stopped = |event: &Value| event["ev"] == "sync" && event["state"] == "STOPPED";
        client.event("the end of its sync", PATIENCE, stopped)?;
    }
    Ok(())
}

fn callee_dies(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    pair.callee.die()?;
    left_alone(scene, &call, &pair.caller)
}

fn caller_dies(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let call = connect(&pair, Media::Voice)?;
    both_hear(&call, &pair)?;
    pair.caller.die()?;
    left_alone(scene, &call, &pair.callee)
}

/// Who is left ends the call by himself.
fn left_alone(scene: &Scene, call: &str, left: &Client) -> Result<(), Failure> {
    let died = clock::moment();
    let end = left.ends_within(call, GIVES_UP + PATIENCE)?;
    assert_eq!(end, End::of("local", "ice_failed"));
    scene.log.note(&format!("gave up after {} ms", died.elapsed().as_millis()));
    Ok(())
}
