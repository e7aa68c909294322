//! One asks another to talk to a third instead.

use real::{Client, End, Failure, Kind, Media, PATIENCE, Pair, Privacy, Scene};
use serde_json::{Value, json};

use crate::{
    basics::{connect, hang_up, hear_each_other},
    encrypted::{nothing_in_clear, only_encrypted_for_homeserver},
    stage::{Cast, OURS, Scenario},
};

/// Transfers.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("transfer", Cast::Pair(blind)),
    Scenario::new("transfer_encrypted", Cast::Pair(encrypted_blind)).within(Privacy::Encrypted),
    // A browser does nothing when it is asked to call somebody.
    Scenario::new("transfer_after_consultation", Cast::Pair(consultation))
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
    Scenario::new("transfer_after_consultation_encrypted", Cast::Pair(encrypted_consultation))
        .within(Privacy::Encrypted)
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
];

/// The third one syncs as our side of the pair does.
fn third(scene: &Scene, pair: &Pair) -> Result<Client, Failure> {
    let kinds = [pair.callee.kind, pair.caller.kind];
    scene.client("carol", kinds.into_iter().find(|kind| kind.is_ours()).unwrap_or(OURS))
}

fn transferred() -> End {
    End::of("local", "transferred")
}

/// The caller asks the callee to call carol, who knows nothing of it.
fn blind(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let carol = third(scene, &pair)?;
    transfer_blindly(scene, &pair, &carol)
}

/// The same, and the homeserver can read nothing of it.
fn encrypted_blind(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let carol = third(scene, &pair)?;
    transfer_blindly(scene, &pair, &carol)?;
    nothing_in_clear(&pair.caller);
    nothing_in_clear(&pair.callee);
    if pair.callee.kind.is_ours() {
        nothing_in_clear(&carol);
    }
    only_encrypted_for_homeserver(scene, &pair.caller, &pair.room)
}

fn transfer_blindly(scene: &Scene, pair: &Pair, carol: &Client) -> Result<(), Failure> {
    let call = connect(pair, Media::Voice)?;
    pair.caller.ask("transfer", &json!({"callId": call, "userId": carol.user_id}))?;
    assert_eq!(pair.caller.ends(&call)?, transferred());
    if pair.callee.kind == Kind::Browser {
        return told_and_no_more(pair, &call, carol);
    }
    let asked = |event: &Value| event["ev"] == "transferRequested" && event["callId"] == call;
    let asked = pair.callee.event("the request", PATIENCE, asked)?;
    assert_eq!(asked["userId"], carol.user_id.as_str());
    let room = scene.room(&pair.callee, carol)?;
    let next = follow(&pair.callee, &call, &room)?;
    assert_eq!(asked["newCallId"], next.as_str());
    talk(&next, &pair.callee, carol)
}

/// js-sdk takes the event and does nothing.
fn told_and_no_more(pair: &Pair, call: &str, carol: &Client) -> Result<(), Failure> {
    let replaces = |event: &Value| {
        // In an encrypted room it is news only when it can be read.
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
    let carol = third(scene, &pair)?;
    consult(scene, &pair, &carol)
}

/// The same, and the homeserver can read nothing of it.
fn encrypted_consultation(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let carol = third(scene, &pair)?;
    consult(scene, &pair, &carol)?;
    for client in [&pair.caller, &pair.callee, &carol] {
        nothing_in_clear(client);
    }
    only_encrypted_for_homeserver(scene, &pair.caller, &pair.room)
}

fn consult(scene: &Scene, pair: &Pair, carol: &Client) -> Result<(), Failure> {
    let (alice, bob) = (&pair.caller, &pair.callee);
    let room = scene.room(alice, carol)?;
    let first = connect(pair, Media::Voice)?;
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
    let announced = told(carol, "transferAnnounced", &second)?;
    assert_eq!(requested["newCallId"], announced["newCallId"]);
    assert_eq!(requested["userId"], carol.user_id.as_str());
    assert_eq!(announced["userId"], bob.user_id.as_str());
    let shared = scene.room(bob, carol)?;
    let next = follow(bob, &first, &shared)?;
    assert_eq!(requested["newCallId"], next.as_str());
    talk(&next, bob, carol)
}
