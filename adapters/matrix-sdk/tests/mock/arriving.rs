//! What `/sync` brings, up to the library's verdict.

use matrix_voip::{EndReason, MissedWhy, VoipNews, machine::io::Ignored};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    house::{self, BEN, House, PATIENCE, ROOM, call_event, invite, plain},
    rush::rush,
};

#[tokio::test]
async fn an_invite_of_a_sync_rings() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 500)] } })).await;
    let call = house::ring(&mut events).await;
    assert_eq!(call.snapshot().remote_user.unwrap().as_str(), BEN);
}

/// A batch is whole: nothing rings that is over in the same response.
#[tokio::test]
async fn an_invite_that_is_over_in_the_same_sync_does_not_ring() {
    let house = House::new().await;
    let mut events = house.voip.events();
    let hangup = plain("$2", call_event("hangup", "c1", json!({})), 100);
    house
        .sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 500), hangup] } }))
        .await;
    house.sync_room(json!({ "timeline": { "events": [plain("$3", invite("c2"), 90)] } })).await;
    let call = house::ring(&mut events).await;
    assert_eq!(call.snapshot().call_id.as_str(), "c2", "the first one did not ring");
    assert_eq!(house.voip.diagnostics().await.count(Ignored::AlreadyOver), 2);
}

#[tokio::test]
async fn an_invite_of_yesterday_does_not_ring() {
    let house = House::new().await;
    let old = plain("$1", invite("c1"), 86_400_000);
    house.sync_room(json!({ "timeline": { "events": [old] } })).await;
    house.until(|counts| counts.events == 1).await;
    assert_eq!(house.voip.diagnostics().await.count(Ignored::Expired), 1);
}

/// Trap 4: the invite is among the events that the response leaves out.
#[tokio::test]
async fn an_invite_in_the_gap_of_a_limited_sync_rings() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [chat("$0", 9000)] } })).await;
    house.history("t1", json!({ "chunk": [chat("$3", 700), chat("$2", 800)], "end": "t2" })).await;
    house
        .history(
            "t2",
            json!({ "chunk": [plain("$1", invite("c1"), 900), chat("$0", 9100)], "end": "t3" }),
        )
        .await;
    let limited = json!({ "events": [chat("$4", 600)], "limited": true, "prev_batch": "t1" });
    house.sync_room(json!({ "timeline": limited })).await;
    house::ring(&mut events).await;
    assert_eq!(house.matrix.counts().pages, 2);
}

/// After hours without a network: one is over by its age, one by its hangup.
#[tokio::test]
async fn of_what_a_gap_brings_only_what_is_alive_rings() {
    let house = House::new().await;
    let mut events = house.voip.events();
    let hangup = call_event("hangup", "c2", json!({}));
    let missed = [
        plain("$4", invite("c3"), 900),
        plain("$3", hangup, 2000),
        plain("$2", invite("c2"), 5000),
        plain("$1", invite("c1"), 70_000),
    ];
    house.history("t1", json!({ "chunk": missed, "end": null })).await;
    let limited = json!({ "events": [chat("$5", 600)], "limited": true, "prev_batch": "t1" });
    house.sync_room(json!({ "timeline": limited })).await;
    let call = house::ring(&mut events).await;
    assert_eq!(call.snapshot().call_id.as_str(), "c3");
    let diagnostics = house.voip.diagnostics().await;
    assert_eq!(diagnostics.count(Ignored::Expired), 1);
    assert_eq!(diagnostics.count(Ignored::AlreadyOver), 2);
}

/// Trap 4: of a burst only the last event comes.
#[tokio::test]
async fn an_invite_in_the_gap_of_a_sliding_sync_rings() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.slide_room(json!({ "initial": true, "timeline": [chat("$0", 9000)] })).await;
    let page = json!({ "chunk": [plain("$1", invite("c1"), 900), chat("$0", 9100)], "end": "t2" });
    house.history("t1", page).await;
    let last = plain("$2", call_event("candidates", "c1", json!({ "candidates": [] })), 800);
    house.slide_room(json!({ "timeline": [last], "limited": true, "prev_batch": "t1" })).await;
    house::ring(&mut events).await;
    let counts = house.matrix.counts();
    assert_eq!((counts.pages, counts.batches, counts.events), (1, 1, 2));
}

/// A history that cannot be had: what did come is delivered all the same.
#[tokio::test]
async fn a_gap_that_cannot_be_filled_holds_nothing_up() {
    let house = House::new().await;
    let mut events = house.voip.events();
    let limited =
        json!({ "events": [plain("$1", invite("c1"), 5)], "limited": true, "prev_batch": "t1" });
    house.sync_room(json!({ "timeline": limited })).await;
    rush();
    house::ring(&mut events).await;
    assert_eq!(house.matrix.counts().unfilled, 1);
}

#[tokio::test]
async fn what_comes_in_the_clear_in_an_encrypted_room_is_refused() {
    let house = House::new().await;
    let encryption = json!({ "type": "m.room.encryption", "state_key": "", "sender": BEN, "event_id": "$e",
        "origin_server_ts": 1, "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
    house
        .sync_room(json!({
            "state": { "events": [encryption] },
            "timeline": { "events": [plain("$1", invite("c1"), 5)] },
        }))
        .await;
    house.until(|counts| counts.events == 1).await;
    let refused = house.voip.diagnostics().await.count(Ignored::PlaintextInEncryptedRoom);
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn events_of_ignored_users_are_told_from_others() {
    let house = House::new().await;
    house.ignore_ben().await;
    house.sync(message_of_ben()).await;
    house.until(|counts| counts.ignored == 1).await;
    assert_eq!(house.matrix.counts().to_device, 0);
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    house.until(|counts| counts.events == 1).await;
    assert_eq!(house.voip.diagnostics().await.count(Ignored::IgnoredUser), 1);
}

#[tokio::test]
async fn who_was_ignored_before_is_ignored() {
    let house = House::new().await;
    house.ignore_ben().await;
    let (_voip, later) = house.another(|voip| voip).await;
    house.sync(message_of_ben()).await;
    house::counted(&later, |counts| counts.ignored + counts.to_device == 1).await;
    assert_eq!(later.counts().ignored, 1);
}

fn message_of_ben() -> Value {
    let content = json!({ "call_id": "c", "conf_id": "g", "version": "1", "party_id": "p" });
    let message =
        json!({ "type": "com.famedly.call.member.hangup", "sender": BEN, "content": content });
    json!({ "to_device": { "events": [message] } })
}

/// Anybody who knows the room's id may send them: each would have its place among what is heard
/// early, and its request would have the room's state read.
#[tokio::test]
async fn messages_about_keys_of_who_is_not_in_the_room_are_dropped_without_a_request() {
    let kinds = ["encryption_keys", "encryption_keys_request"];
    for (membership, told) in [("join", true), ("invite", true), ("leave", false), ("ban", false)] {
        let house = House::new().await;
        let his = json!({ "type": "m.room.member", "state_key": BEN, "sender": BEN,
            "event_id": "$m", "origin_server_ts": 2, "content": { "membership": membership } });
        house.sync_room(json!({ "state": { "events": [his] } })).await;
        let before = house.server.server().received_requests().await.unwrap().len();
        let messages = kinds.map(|kind| {
            let content = json!({ "room_id": ROOM, "conf_id": "", "device_id": "D",
                "keys": [{ "index": 0, "key": "AAAAAAAAAAAAAAAAAAAAAA" }] });
            let event_type = format!("com.famedly.call.member.{kind}");
            json!({ "type": event_type, "sender": BEN, "content": content })
        });
        house.sync(json!({ "to_device": { "events": messages } })).await;
        house.until(|counts| counts.to_device + counts.unbelieved == 2).await;
        let counts = house.matrix.counts();
        assert_eq!((counts.to_device == 2, counts.unbelieved == 0), (told, told), "{membership}");
        let requests = house.server.server().received_requests().await.unwrap();
        assert!(requests[before..].iter().all(|asked| !asked.url.path().ends_with("/state")));
    }
}

#[tokio::test]
async fn a_caller_who_leaves_the_room_or_is_banned_rings_no_more() {
    for membership in ["leave", "ban"] {
        let house = House::new().await;
        let mut events = house.voip.events();
        house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
        let call = house::ring(&mut events).await;
        let gone = json!({ "type": "m.room.member", "state_key": BEN, "sender": BEN,
            "event_id": "$2", "origin_server_ts": 2, "content": { "membership": membership } });
        house.sync_room(json!({ "timeline": { "events": [gone] } })).await;
        assert_eq!(call.ended().await.reason, EndReason::LeftRoom);
    }
}

#[tokio::test]
async fn a_room_that_we_were_thrown_out_of_has_no_calls() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    let call = house::ring(&mut events).await;
    house.sync(json!({ "rooms": { "leave": { ROOM: { "timeline": { "events": [] } } } } })).await;
    assert_eq!(call.ended().await.reason, EndReason::LeftRoom);
}

fn chat(id: &str, age: u64) -> Value {
    plain(
        id,
        json!({ "type": "m.room.message", "content": { "msgtype": "m.text", "body": "x" } }),
        age,
    )
}

#[tokio::test]
async fn a_call_that_nobody_takes_is_missed_when_the_caller_gives_up() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    house::ring(&mut events).await;
    let hangup = plain("$2", call_event("hangup", "c1", json!({})), 5);
    house.sync_room(json!({ "timeline": { "events": [hangup] } })).await;
    let missed = async {
        loop {
            if let VoipNews::Missed(missed) = events.next().await.unwrap() {
                return missed;
            }
        }
    };
    let missed = timeout(PATIENCE, missed).await.unwrap();
    assert_eq!(missed.why, MissedWhy::CallerGone);
}
