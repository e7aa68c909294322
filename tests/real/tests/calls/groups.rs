//! Who is in a group call, over a real homeserver: two of ours and whoever looks on.

use std::time::Duration;

use real::{Client, Failure, PATIENCE, Pair, Privacy, Scene, clock};
use serde_json::{Value, json};

use crate::{
    floor::Effort,
    stage::{Cast, Scenario},
};

/// State alone; [`crate::meshes`] has those who hear each other.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("who_is_in_a_group_call", Cast::Pair(who_is_in_it))
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
    Scenario::new("who_is_in_a_group_call_encrypted", Cast::Pair(who_is_in_it))
        .within(Privacy::Encrypted)
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
    Scenario::new("member_of_a_group_call_dies", Cast::Pair(member_dies))
        .with(Effort::Wait)
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
];

/// Within this a homeserver with delayed events tells that somebody is gone. Without them it would
/// take 5 min.
const GONE: Duration = Duration::from_secs(45);

fn who_is_in_it(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let Pair { caller, callee, room } = &pair;
    let wish = json!({"roomId": room, "dialect": "famedly"});
    caller.ask("groupEnter", &wish)?;
    for client in [caller, callee] {
        sees(client, &wish, &[caller])?;
    }
    callee.ask("groupEnter", &wish)?;
    // Two devices of one user keep each other's entry in the event that they share.
    let second = scene.another_device(callee, "bob2", callee.kind)?;
    sees(&second, &wish, &[caller, callee])?;
    second.ask("groupEnter", &wish)?;
    for client in [caller, callee, &second] {
        sees(client, &wish, &[caller, callee, &second])?;
    }
    callee.ask("groupLeave", &wish)?;
    for client in [caller, callee, &second] {
        sees(client, &wish, &[caller, &second])?;
    }
    for client in [caller, &second] {
        client.ask("groupLeave", &wish)?;
    }
    for client in [caller, callee, &second] {
        sees(client, &wish, &[])?;
    }
    Ok(())
}

/// Nobody but the homeserver can say that he is gone; of what he shares with another device of his
/// that one's part stays.
fn member_dies(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let Pair { caller, callee, room } = &pair;
    let wish = json!({"roomId": room, "dialect": "famedly"});
    let second = scene.another_device(callee, "bob2", callee.kind)?;
    let all = [caller, callee, &second];
    for client in all {
        client.ask("groupEnter", &wish)?;
    }
    for client in all {
        sees(client, &wish, &all)?;
    }
    callee.die()?;
    let died = clock::moment();
    sees_within(GONE, caller, &wish, &[caller, &second])?;
    scene.log.note(&format!("gone after {} ms", died.elapsed().as_millis()));
    sees(&second, &wish, &[caller, &second])
}

/// Waits until a client sees these in the call, and no others.
pub(crate) fn sees(client: &Client, wish: &Value, present: &[&Client]) -> Result<(), Failure> {
    sees_within(PATIENCE, client, wish, present)
}

fn sees_within(
    patience: Duration,
    client: &Client,
    wish: &Value,
    present: &[&Client],
) -> Result<(), Failure> {
    let mut devices: Vec<_> = present.iter().map(|one| one.device_id.as_str()).collect();
    devices.sort_unstable();
    let since = clock::moment();
    loop {
        let state = client.ask("groupState", wish)?;
        let shown = state["participants"].as_array().cloned().unwrap_or_default();
        let mut shown: Vec<_> = shown.iter().filter_map(|one| one["device"].as_str()).collect();
        shown.sort_unstable();
        if shown == devices {
            return Ok(());
        }
        if since.elapsed() > patience {
            return Err(Failure(format!("{} sees {state} instead of {devices:?}", client.peer())));
        }
        pause(client);
    }
}

/// A pause of 200 ms, during which other commands are served.
pub(crate) fn pause(client: &Client) {
    let pause = json!({"callId": "none", "incoming": true, "timeoutMs": 200});
    drop(client.ask("waitFor", &pause));
}
