//! More than two want something of a call: two calls at once, two devices, a third member.

use real::{Client, End, Failure, Kind, Media, PATIENCE, Pair, Person, Scene, clock};
use serde_json::{Value, json};

use crate::{
    basics::{hang_up, hear_each_other},
    stage::{Cast, Scenario},
};

/// Calls that meet each other.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("glare", Cast::Pair(glare)),
    // Two browsers do not notice: each would answer the other's call beside its own.
    Scenario::new("glare_without_invitee", Cast::Pair(glare_without_invitee))
        .only(|caller, callee| caller.is_ours() || callee.is_ours()),
    Scenario::new("two_devices_answer", Cast::Pair(two_devices_answer)),
    Scenario::new("forgeries", Cast::Pair(forgeries))
        .only(|caller, callee| caller.is_ours() || callee.is_ours()),
];

/// Both call each other at once, and say whom they call.
fn glare(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let survivor = call_each_other(&pair, true)?;
    for client in [&pair.caller, &pair.callee] {
        let calls = client.ask("state", &json!({}))?;
        for call in calls["calls"].as_array().into_iter().flatten() {
            if call["callId"] != survivor.as_str() {
                client.ends(call["callId"].as_str().unwrap_or_default())?;
            }
        }
    }
    hang_up(&survivor, &pair.caller, &pair.callee)
}

/// Neither says whom he calls. Ours knows by itself; a browser rings with the other's call.
fn glare_without_invitee(_scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let survivor = call_each_other(&pair, false)?;
    hang_up(&survivor, &pair.caller, &pair.callee)
}

/// Two calls at once; the one that both are connected in.
fn call_each_other(pair: &Pair, invitee: bool) -> Result<String, Failure> {
    let clients = [&pair.caller, &pair.callee];
    let wishes = [&pair.callee, &pair.caller].map(|other| {
        let invitee = invitee.then_some(other.user_id.as_str());
        json!({"roomId": pair.room, "kind": "voice", "invitee": invitee})
    });
    let placing = [0, 1].map(|n| clients[n].send("call", &wishes[n]));
    for pending in placing {
        pending.answer()?;
    }
    let survivor = common_call(&clients)?;
    hear_each_other(&survivor, clients[0], clients[1])?;
    for client in clients.into_iter().filter(|client| client.kind.is_ours()) {
        only_survivor(client, &survivor)?;
    }
    Ok(survivor)
}

/// The call that is connected at both. Who rings for it because he does not notice answers.
fn common_call(clients: &[&Client; 2]) -> Result<String, Failure> {
    let since = clock::moment();
    let pause = json!({"callId": "none", "incoming": true, "timeoutMs": 200});
    while since.elapsed() < PATIENCE {
        let mut connected = Vec::new();
        for client in clients {
            let calls = client.ask("state", &json!({}))?;
            let calls = calls["calls"].as_array().cloned().unwrap_or_default();
            for call in calls {
                let id = call["callId"].as_str().unwrap_or_default().to_owned();
                match call["state"].as_str() {
                    Some("connected") => connected.push(id),
                    Some("ringing") if client.kind == Kind::Browser => {
                        // It may be over by now.
                        drop(client.act("answer", &id));
                    }
                    _ => {}
                }
            }
        }
        if let [one, other] = &connected[..]
            && one == other
        {
            return Ok(one.clone());
        }
        drop(clients[0].ask("waitFor", &pause));
    }
    Err(Failure("no call is connected at both".to_owned()))
}

/// Ours has given up whatever else there was, for that reason, and never rang.
fn only_survivor(client: &Client, survivor: &str) -> Result<(), Failure> {
    let state = client.ask("state", &json!({}))?;
    for call in state["calls"].as_array().into_iter().flatten() {
        if call["callId"] != survivor {
            let id = call["callId"].as_str().unwrap_or_default();
            client.ends(id)?;
            let call = client.act("state", id)?;
            assert_eq!(call["hangupReason"], "replaced", "{call}");
        }
    }
    assert_eq!(client.events("incoming"), Vec::<Value>::new(), "it rang");
    Ok(())
}

/// Two devices of the callee answer at the same moment: the caller takes one.
fn two_devices_answer(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let second = scene.another_device(&pair.callee, "bob2", pair.callee.kind)?;
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    let devices = [&pair.callee, &second];
    for device in devices {
        device.rings(&call)?;
    }
    let answers = devices.map(|device| device.send("answer", &json!({"callId": call})));
    for answer in answers {
        // Who is too late may be told so.
        drop(answer.answer());
    }
    let connected = pair.caller.reaches(&call, "connected")?;
    let party = |device: &Client| device.act("state", &call).map(|call| call["ourPartyId"].clone());
    let first_wins = party(&pair.callee)? == connected["opponentPartyId"];
    let [winner, loser] = if first_wins { devices } else { [&second, &pair.callee] };
    winner.reaches(&call, "connected")?;
    assert_eq!(party(winner)?, connected["opponentPartyId"]);
    assert_eq!(loser.ends(&call)?, End::of("remote", "answered_elsewhere"));
    hear_each_other(&call, &pair.caller, winner)?;
    hang_up(&call, winner, &pair.caller)
}

/// A third member of the room says whatever he likes about the call of the other two: nothing comes
/// of it at our side. (js-sdk asks only for the party, not for the sender: what is sent here looks to
/// it like its own.)
fn forgeries(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let carol = scene.person("carol")?;
    let third = json!({"roomId": pair.room, "userId": carol.user_id});
    pair.caller.ask("invite", &third)?;
    carol.join(&pair.room)?;
    for client in [&pair.caller, &pair.callee] {
        client.ask("members", &json!({"roomId": pair.room, "count": 3}))?;
    }
    let wish = json!({"roomId": pair.room, "kind": "voice", "invitee": pair.callee.user_id});
    let placed = pair.caller.ask("call", &wish)?;
    let call = placed["callId"].as_str().unwrap_or_default().to_owned();
    pair.callee.rings(&call)?;
    pair.callee.act("answer", &call)?;
    for client in [&pair.caller, &pair.callee] {
        client.reaches(&call, "connected")?;
    }
    for (target, other) in [(&pair.caller, &pair.callee), (&pair.callee, &pair.caller)] {
        if target.kind.is_ours() {
            shrugs_off(&carol, target, other, &pair.room, &call)?;
        }
    }
    hear_each_other(&call, &pair.caller, &pair.callee)?;
    hang_up(&call, &pair.caller, &pair.callee)
}

/// What is forged, each in the name of the other side's device.
fn forged(description: &Value) -> Vec<(&'static str, Value)> {
    let offer = json!({"type": "offer", "sdp": description["sdp"]});
    let answer = json!({"type": "answer", "sdp": description["sdp"]});
    let streams = json!({"forged": {"purpose": "m.screenshare", "audio_muted": true}});
    let candidate = json!({
        "candidate": "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host",
        "sdpMid": "0", "sdpMLineIndex": 0,
    });
    let target = json!({"id": "@mallory:localhost"});
    let metadata = "m.call.sdp_stream_metadata_changed";
    let replaces = json!({"replacement_id": "r", "create_call": "c", "target_user": target});
    vec![
        ("m.call.negotiate", json!({"description": offer, "lifetime": 60_000})),
        ("m.call.negotiate", json!({"description": answer, "lifetime": 60_000})),
        (metadata, json!({"sdp_stream_metadata": streams})),
        ("m.call.candidates", json!({"candidates": [candidate]})),
        ("m.call.replaces", replaces),
        ("m.call.asserted_identity", json!({"asserted_identity": target})),
        ("m.call.answer", json!({"answer": answer})),
        ("m.call.select_answer", json!({"selected_party_id": "MALLORY"})),
        ("m.call.reject", json!({})),
        ("m.call.hangup", json!({"reason": "user_hangup"})),
    ]
}

fn shrugs_off(
    carol: &Person<'_>,
    target: &Client,
    other: &Client,
    room: &str,
    call: &str,
) -> Result<(), Failure> {
    let before = target.act("state", call)?;
    let described = other.act("sdp", call)?;
    let party = other.act("state", call)?["ourPartyId"].clone();
    let mut sent = Value::Null;
    for (n, (kind, mut content)) in forged(&described["local"]).into_iter().enumerate() {
        content["call_id"] = call.into();
        content["party_id"] = party.clone();
        content["version"] = "1".into();
        let path = format!("rooms/{room}/send/{kind}/{}{n}", target.peer());
        sent = carol.ask("PUT", &path, Some(&content))?["event_id"].clone();
    }
    let last = |event: &Value| event["ev"] == "wireIn" && event["event"]["event_id"] == sent;
    target.event("the last forgery", PATIENCE, last)?;
    hear_each_other(call, target, other)?;
    let after = target.act("state", call)?;
    assert_eq!(after, before);
    assert_eq!(target.events("transferRequested"), Vec::<Value>::new());
    let calls = target.ask("state", &json!({}))?;
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "{calls}");
    Ok(())
}
