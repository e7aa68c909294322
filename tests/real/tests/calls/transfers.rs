//! One asks another to talk to a third instead.

use real::{Client, End, Failure, Kind, Media, PATIENCE, Pair, Scene};
use serde_json::{Value, json};

use crate::{
    basics::{connect, hang_up, hear_each_other},
    stage::{Cast, OURS, Scenario},
};

/// Transfers.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("transfer", Cast::Pair(blind)),
    // A browser does nothing when it is asked to call somebody.
    Scenario::new("transfer_after_consultation", Cast::Pair(consultation))
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
];

fn transferred() -> End {
    End::of("local", "transferred")
}

/// The caller asks the callee to call carol, who knows nothing of it.
fn blind(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let carol = scene.client("carol", OURS)?;
    let call = connect(&pair, Media::Voice)?;
    pair.caller.ask("transfer", &json!({"callId": call, "userId": carol.user_id}))?;
    assert_eq!(pair.caller.ends(&call)?, transferred());
    if pair.callee.kind == Kind::Browser {
        return told_and_no_more(&pair, &call, &carol);
    }
    let asked = |event: &Value| event["ev"] == "transferRequested" && event["callId"] == call;
    let asked = pair.callee.event("the request", PATIENCE, asked)?;
    assert_eq!(asked["userId"], carol.user_id.as_str());
    let room = scene.room(&pair.callee, &carol)?;
    let next = follow(&pair.callee, &call, &room)?;
    assert_eq!(asked["newCallId"], next.as_str());
    talk(&next, &pair.callee, &carol)
}

/// js-sdk takes the event and does nothing.
fn told_and_no_more(pair: &Pair, call: &str, carol: &Client) -> Result<(), Failure> {
    let replaces = |event: &Value| {
        let event = &event["event"];
        event["type"] == "m.call.replaces"
            && event["content"]["target_user"]["id"] == carol.user_id.as_str()
    };
    pair.callee.event("the request", PATIENCE, replaces)?;
    // It may have heard of the end already.
    drop(pair.callee.act("hangup", call));
    pair.callee.ends(call).map(drop)
}

/// The transferee does as he was asked; the new call's id.
fn follow(transferee: &Client, call: &str, room: &str) -> Result<String, Failure> {
    let wish = json!({"callId": call, "roomId": room, "kind": "voice"});
    let placed = transferee.ask("followTransfer", &wish)?;
    transferee.ends(call)?;
    Ok(placed["callId"].as_str().unwrap_or_default().to_owned())
}

fn talk(call: &str, caller: &Client, callee: &Client) -> Result<(), Failure> {
    callee.rings(call)?;
    callee.act("answer", call)?;
    for client in [caller, callee] {
        client.reaches(call, "connected")?;
    }
    hear_each_other(call, caller, callee)?;
    hang_up(call, caller, callee)
}

/// The caller has both on the line, one of them on hold, and joins them.
fn consultation(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let carol = scene.client("carol", OURS)?;
    let (alice, bob) = (&pair.caller, &pair.callee);
    let room = scene.room(alice, &carol)?;
    let first = connect(&pair, Media::Voice)?;
    alice.ask("hold", &json!({"callId": first, "on": true}))?;
    bob.until("on hold", &first, PATIENCE, |call| call["localOnHold"] == true)?;
    let second = alice.call(&room, Media::Voice)?;
    carol.rings(&second)?;
    carol.act("answer", &second)?;
    carol.reaches(&second, "connected")?;
    alice.reaches(&second, "connected")?;

    alice.ask("transfer", &json!({"callId": first, "toCallId": second}))?;
    for call in [&first, &second] {
        assert_eq!(alice.ends(call)?, transferred());
    }
    let told = |client: &Client, name: &str, call: &str| {
        let is_it = |event: &Value| event["ev"] == name && event["callId"] == call;
        client.event(name, PATIENCE, is_it)
    };
    let requested = told(bob, "transferRequested", &first)?;
    let announced = told(&carol, "transferAnnounced", &second)?;
    assert_eq!(requested["newCallId"], announced["newCallId"]);
    assert_eq!(requested["userId"], carol.user_id.as_str());
    assert_eq!(announced["userId"], bob.user_id.as_str());
    let shared = scene.room(bob, &carol)?;
    let next = follow(bob, &first, &shared)?;
    assert_eq!(requested["newCallId"], next.as_str());
    talk(&next, bob, &carol)
}
