//! The state that group calls are made of, up to what the library makes of it.

use matrix_voip::{GroupCallSession, GroupEnd, VoipEvents, VoipNews};
use serde_json::{Value, json};
use tokio::time::timeout;
use wiremock::{Mock, Request, ResponseTemplate, matchers};

use crate::house::{self, BEN, House, PATIENCE, ROOM, SENT, plain};

const MEMBER: &str = "com.famedly.call.member";

/// Ben is in a call of the room. It is believed for as long as the core believes anybody.
fn ben() -> Value {
    let content = json!({ "memberships": [{ "call_id": "", "application": "m.call",
        "scope": "m.room", "device_id": "D", "membershipID": "s", "expires_ts": u32::MAX as u64 * 1000,
        "foci_active": [{ "type": "mesh" }] }] });
    let event = json!({ "type": MEMBER, "state_key": BEN, "content": content });
    plain("$member", event, 5)
}

/// He is in none.
fn nobody() -> Value {
    let event = json!({ "type": MEMBER, "state_key": BEN, "content": { "memberships": [] } });
    plain("$gone", event, 5)
}

fn chat(id: &str) -> Value {
    plain(id, json!({ "type": "m.room.message", "content": {} }), 3_600_000)
}

impl House {
    /// What the homeserver says of the room's state from now on.
    async fn state_is(&self, events: Vec<Value>) {
        let is_state = matchers::path_regex(format!("/rooms/{ROOM}/state$"));
        Mock::given(matchers::method("GET"))
            .and(is_state)
            .respond_with(ResponseTemplate::new(200).set_body_json(events))
            .up_to_n_times(1)
            .mount(self.server.server())
            .await;
    }

    /// How often it was asked for all of it.
    async fn state_reads(&self) -> usize {
        let requests = self.server.server().received_requests().await.unwrap();
        let is_read = |request: &&Request| request.url.path().ends_with("/state");
        requests.iter().filter(is_read).count()
    }
}

/// The next group call that is there.
async fn added(events: &mut VoipEvents) -> GroupCallSession {
    let next = async {
        loop {
            if let VoipNews::GroupCallAdded { call, .. } = events.next().await.unwrap() {
                return call;
            }
        }
    };
    timeout(PATIENCE, next).await.expect("it is found")
}

async fn ended(call: &GroupCallSession) -> GroupEnd {
    timeout(PATIENCE, call.ended()).await.expect("it ends")
}

#[tokio::test]
async fn a_call_of_a_room_is_found_and_ends_as_its_state_says() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "state": { "events": [ben()] } })).await;
    let call = added(&mut events).await;
    house.until(|counts| counts.states == 1).await;
    house.sync_room(json!({ "timeline": { "events": [nobody()] } })).await;
    assert_eq!(ended(&call).await, GroupEnd::Empty);
    assert_eq!(house.state_reads().await, 0, "classic sync brings all state");
}

/// A quiet call, and an application that starts again: no sync will ever speak of it.
#[tokio::test]
async fn a_call_that_an_earlier_sync_told_of_is_found_in_the_store() {
    let house = House::new().await;
    house.sync_room(json!({ "state": { "events": [ben()] } })).await;
    let (voip, later) = house.another(|voip| voip.wall_clock(house::wall())).await;
    let mut events = voip.events();
    assert_eq!(later.counts().states, 0, "before the first sync there is nothing");
    house.sync(json!({})).await;
    added(&mut events).await;
    assert_eq!((later.counts().states, house.state_reads().await), (1, 0));
}

/// Sliding sync does not ask for the memberships of calls.
#[tokio::test]
async fn in_sliding_sync_the_calls_of_a_room_are_read_from_the_homeserver() {
    let house = House::new().await;
    house.state_is(vec![ben()]).await;
    let mut events = house.voip.events();
    house.slide_room(json!({ "initial": true, "timeline": [chat("$0")] })).await;
    let call = added(&mut events).await;
    house.slide_room(json!({ "timeline": [nobody()] })).await;
    assert_eq!(ended(&call).await, GroupEnd::Empty);
    assert_eq!((house.matrix.counts().states, house.state_reads().await), (1, 1));
}

#[tokio::test]
async fn after_a_limited_sliding_sync_the_state_is_read_again() {
    let house = House::new().await;
    house.state_is(vec![]).await;
    house.slide_room(json!({ "initial": true, "timeline": [chat("$0")] })).await;
    house.until(|counts| counts.states == 1).await;
    house.state_is(vec![ben()]).await;
    let mut events = house.voip.events();
    let missed = json!({ "timeline": [chat("$9")], "limited": true, "prev_batch": "t1" });
    house.slide_room(missed).await;
    added(&mut events).await;
    assert_eq!(house.state_reads().await, 2);
}

/// §10: sync brings the redaction alone.
#[tokio::test]
async fn a_redacted_membership_is_none() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "state": { "events": [ben()] } })).await;
    let call = added(&mut events).await;
    let redaction = json!({ "type": "m.room.redaction", "redacts": "$member",
        "content": { "redacts": "$member" } });
    let redaction = plain("$redaction", redaction, 5);
    house.sync_room(json!({ "timeline": { "events": [redaction] } })).await;
    assert_eq!(ended(&call).await, GroupEnd::Empty);
}

#[tokio::test]
async fn a_call_ends_when_whoever_is_in_it_leaves_the_room_and_when_we_do() {
    for ours in [false, true] {
        let house = House::new().await;
        let mut events = house.voip.events();
        house.sync_room(json!({ "state": { "events": [ben()] } })).await;
        let call = added(&mut events).await;
        if ours {
            house.sync(json!({ "rooms": { "leave": { ROOM: {} } } })).await;
            assert_eq!(ended(&call).await, GroupEnd::LeftRoom);
        } else {
            let gone = json!({ "type": "m.room.member", "state_key": BEN,
                "content": { "membership": "leave" } });
            let gone = plain("$left", gone, 5);
            house.sync_room(json!({ "timeline": { "events": [gone] } })).await;
            assert_eq!(ended(&call).await, GroupEnd::Empty);
        }
    }
}

/// His membership stays in the room when he goes.
#[tokio::test]
async fn whoever_left_the_room_before_is_in_no_call() {
    let house = House::new().await;
    let gone = json!({ "type": "m.room.member", "state_key": BEN, "sender": BEN,
        "event_id": "$left", "origin_server_ts": SENT, "content": { "membership": "leave" } });
    house.state_is(vec![ben(), gone]).await;
    house.slide_room(json!({ "initial": true, "timeline": [chat("$0")] })).await;
    house.until(|counts| counts.states == 1).await;
    house.voip.diagnostics().await;
    let calls = house.voip.group_calls();
    assert!(calls.iter().all(|call| call.participants().is_empty()));
}
