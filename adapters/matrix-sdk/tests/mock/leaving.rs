//! What goes out, and what becomes of refusals.

use matrix_voip::{CallOptions, CallState, Callee, EndReason};
use serde_json::json;
use wiremock::{Mock, ResponseTemplate, matchers};

use crate::{
    house::{self, BEN, House, ROOM, invite, plain},
    rush::rush,
};

/// Trap 7, and idempotence: our own id, and no retry of the SDK's.
#[tokio::test]
async fn a_send_that_is_rate_limited_is_repeated_under_the_same_transaction_id() {
    let house = House::with_members().await;
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 50 });
    house.answer_sends(ResponseTemplate::new(429).set_body_json(limit), 1).await;
    house.accept_sends().await;
    rush();
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
    let callee = Callee::TheOther;
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
