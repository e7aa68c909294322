//! A connected client against the SDK's mock server: what `/sync` brings, and what goes out.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[path = "mock/house.rs"]
mod house;

use std::time::Duration;

use matrix_sdk::Client;
use matrix_voip::{CallOptions, CallState, EndReason, MissedWhy, VoipNews, machine::io::Ignored};
use matrix_voip_matrix_sdk::{ConnectError, connect};
use serde_json::{Value, json};
use wiremock::{Mock, ResponseTemplate, matchers};

use house::{BEN, House, ROOM, call_event, invite, plain};

// --------------------------------------------------------------------------------------- arriving

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
    house.until(|house| house.matrix.counts().events == 1).await;
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

/// A history that cannot be had: what did come is delivered all the same.
#[tokio::test]
async fn a_gap_that_cannot_be_filled_holds_nothing_up() {
    let house = House::new().await;
    let mut events = house.voip.events();
    let limited =
        json!({ "events": [plain("$1", invite("c1"), 5)], "limited": true, "prev_batch": "t1" });
    house.sync_room(json!({ "timeline": limited })).await;
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
    house.until(|house| house.matrix.counts().events == 1).await;
    let refused = house.voip.diagnostics().await.count(Ignored::PlaintextInEncryptedRoom);
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn events_of_ignored_users_are_told_from_others() {
    let house = House::new().await;
    let ignored =
        json!({ "type": "m.ignored_user_list", "content": { "ignored_users": { BEN: {} } } });
    house.sync(json!({ "account_data": { "events": [ignored] } })).await;
    house.until_ignored().await;
    let message = json!({ "type": "com.famedly.call.member.hangup", "sender": BEN,
        "content": { "call_id": "c", "conf_id": "g", "version": "1", "party_id": "p" } });
    house.sync(json!({ "to_device": { "events": [message] } })).await;
    house.until(|house| house.matrix.counts().ignored == 1).await;
    assert_eq!(house.matrix.counts().to_device, 0);
}

#[tokio::test]
async fn a_caller_who_leaves_the_room_rings_no_more() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    let call = house::ring(&mut events).await;
    let leave = json!({ "type": "m.room.member", "state_key": BEN, "sender": BEN, "event_id": "$2",
        "origin_server_ts": 2, "content": { "membership": "leave" } });
    house.sync_room(json!({ "timeline": { "events": [leave] } })).await;
    assert_eq!(call.ended().await.reason, EndReason::LeftRoom);
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

// ------------------------------------------------------------------------------------- encryption

/// `matrix-sdk.md` §2: the SDK says nothing when an event becomes readable later.
#[tokio::test]
async fn an_invite_whose_room_key_comes_late_rings_then() {
    let duo = house::Duo::new().await;
    let mut events = duo.voip.events();
    let (event, key) = duo.alice_sends(invite("c1")).await;
    duo.bob_syncs_event(event).await;
    duo.until(|counts| counts.waiting_for_key == 1).await;
    duo.bob_syncs_message(key).await;
    let call = house::ring(&mut events).await;
    assert_eq!(call.snapshot().call_id.as_str(), "c1");
    let counts = duo.matrix.counts();
    assert_eq!((counts.waiting_for_key, counts.late_keys), (0, 1));
}

#[tokio::test]
async fn an_invite_whose_room_key_was_there_rings_at_once() {
    let duo = house::Duo::new().await;
    let mut events = duo.voip.events();
    let (event, key) = duo.alice_sends(invite("c1")).await;
    duo.bob_syncs_message(key).await;
    duo.bob_syncs_event(event).await;
    house::ring(&mut events).await;
    assert_eq!(duo.matrix.counts().late_keys, 0);
}

// ---------------------------------------------------------------------------------------- leaving

/// Trap 7, and idempotence: our own id, and no retry of the SDK's.
#[tokio::test]
async fn a_send_that_is_rate_limited_is_repeated_under_the_same_transaction_id() {
    let house = House::with_members().await;
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 50 });
    house.answer_sends(ResponseTemplate::new(429).set_body_json(limit), 1).await;
    house.accept_sends().await;
    let call = house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    let sent = house.sends().await;
    assert_eq!(sent[0].0, sent[1].0, "type and transaction id");
    assert!(sent[2..].iter().all(|(what, _)| !what.starts_with("m.call.invite")));
    assert!(sent[0].0.starts_with("m.call.invite/"), "{}", sent[0].0);
    assert_eq!(sent[0].1["invitee"], BEN);
}

#[tokio::test]
async fn a_room_that_refuses_us_ends_the_call() {
    let house = House::with_members().await;
    let forbidden = json!({ "errcode": "M_FORBIDDEN", "error": "@ben:x says no" });
    house.answer_sends(ResponseTemplate::new(403).set_body_json(forbidden), 9).await;
    let call = house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
    assert_eq!(call.ended().await.reason, EndReason::SignallingFailed);
    assert_eq!(house.sends().await.len(), 1, "trying again would not help");
}

#[tokio::test]
async fn a_room_that_nobody_knows_ends_the_call() {
    let house = House::new().await;
    let call = house.voip.invite("!nowhere:x", BEN, CallOptions::voice()).await.unwrap();
    assert_eq!(call.ended().await.reason, EndReason::SignallingFailed);
}

#[tokio::test]
async fn a_token_that_a_send_finds_unknown_ends_all_calls() {
    let house = House::with_members().await;
    let unknown = json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "x" });
    house.answer_sends(ResponseTemplate::new(401).set_body_json(unknown), 9).await;
    let call = house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
    assert_eq!(call.ended().await.reason, EndReason::LoggedOut);
}

#[tokio::test]
async fn a_token_that_the_sync_finds_unknown_ends_all_calls() {
    let house = House::new().await;
    let mut events = house.voip.events();
    house.sync_room(json!({ "timeline": { "events": [plain("$1", invite("c1"), 5)] } })).await;
    let call = house::ring(&mut events).await;
    let unknown = json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "x" });
    house.next_sync(ResponseTemplate::new(401).set_body_json(unknown)).await;
    house.client.sync_once(Default::default()).await.unwrap_err();
    assert_eq!(call.ended().await.reason, EndReason::LoggedOut);
}

#[tokio::test]
async fn the_only_other_member_is_found_by_counting() {
    let house = House::with_members().await;
    house.accept_sends().await;
    let callee = matrix_voip::Callee::TheOther;
    let call = house.voip.invite(ROOM, callee, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    assert_eq!(house.sends().await[0].1["invitee"], BEN);
}

/// ruma's type for the answer refuses both of them.
#[tokio::test]
async fn turn_servers_are_read_leniently_and_an_empty_answer_means_none() {
    for (answer, expected) in [
        (json!({}), 0),
        (json!({ "username": "u", "password": "p", "uris": ["turn:a"], "ttl": 3600.5 }), 1),
    ] {
        let house = House::with_members().await;
        house.accept_sends().await;
        Mock::given(matchers::path_regex("^/_matrix/client/v3/voip/turnServer$"))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .mount(house.server.server())
            .await;
        let call = house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
        call.until(CallState::InviteSent).await.unwrap();
        assert_eq!(house.ice_servers(), expected);
    }
}

// --------------------------------------------------------------------------------- life and death

#[tokio::test]
async fn a_client_without_a_session_is_refused() {
    let server = matrix_sdk::test_utils::mocks::MatrixMockServer::new().await;
    let client = server.client_builder().unlogged().build().await;
    let refused = connect(&client, |voip| voip).map(drop);
    assert_eq!(refused, Err(ConnectError::NotLoggedIn));
}

#[tokio::test]
async fn a_library_that_does_not_start_leaves_nothing_behind() {
    let server = matrix_sdk::test_utils::mocks::MatrixMockServer::new().await;
    let client = server.client_builder().build().await;
    let refused = connect(&client, |voip| voip).map(drop);
    assert!(matches!(refused, Err(ConnectError::Start(_))), "no engine was given");
    assert_gone(client).await;
}

#[tokio::test]
async fn detaching_hangs_up_and_leaves_nothing_behind() {
    let house = House::with_members().await;
    house.accept_sends().await;
    let call = house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    house.matrix.detach().await;
    assert_eq!(call.ended().await.reason, EndReason::ShutDown);
    let last = house.sends().await.pop().unwrap();
    assert!(last.0.starts_with("m.call.hangup/"), "{}", last.0);
    house.matrix.detach().await;
    assert_gone(house.client).await;
}

#[tokio::test]
async fn a_library_that_is_dropped_detaches_by_itself() {
    let House { client, voip, matrix, .. } = House::new().await;
    let updates = client.subscribe_to_all_room_updates();
    drop((voip, client));
    house::closed(updates).await;
    matrix.detach().await;
}

/// Nobody holds the client any more but the test.
async fn assert_gone(client: Client) {
    let updates = client.subscribe_to_all_room_updates();
    drop(client);
    house::closed(updates).await;
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
    let missed = tokio::time::timeout(Duration::from_secs(10), missed).await.unwrap();
    assert_eq!(missed.why, MissedWhy::CallerGone);
}
