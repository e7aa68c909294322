//! Events that leave in the clear whatever the room: reactions in group calls and their redactions.

use matrix_sdk::ruma::room_id;
use matrix_sdk_test::{JoinedRoomBuilder, event_factory::EventFactory};

use super::*;

fn reaction() -> SendEvent {
    SendEvent {
        room: room(),
        event_type: "com.famedly.call.member.reaction".into(),
        content: r#"{"key":"x"}"#.into(),
        transaction: "t1".into(),
    }
}

fn removal() -> Redact {
    Redact {
        room: room(),
        redacts: EventId::parse("$a/b").unwrap(),
        content: r#"{"redacts":"$a/b","redacts_type":"r"}"#.into(),
        transaction: "t2".into(),
    }
}

impl Rig {
    /// What was last put: path and body.
    async fn put(&self) -> (String, Value) {
        let mut requests = self.server.server().received_requests().await.unwrap();
        requests.retain(|request| request.method.as_str() == "PUT");
        let request = requests.pop().unwrap();
        let (_, path) = request.url.path().split_once("/rooms/!r:x/").unwrap();
        (path.to_owned(), request.body_json().unwrap())
    }
}

#[tokio::test]
async fn a_reaction_leaves_in_the_clear_in_an_encrypted_room_too() {
    let rig = Rig::new().await;
    let client = rig.homeserver.0.client().unwrap();
    let events = EventFactory::new().room(room_id!("!r:x"));
    let encryption = events.room_encryption().sender(client.user_id().unwrap());
    let encrypted = JoinedRoomBuilder::new(room_id!("!r:x")).add_state_event(encryption);
    rig.server.sync_room(&client, encrypted).await;
    rig.answer("PUT", "/send/", 200, json!({ "event_id": "$new" })).await;
    assert_eq!(rig.homeserver.send_clear(reaction()).await.unwrap().as_str(), "$new");
    let path = "send/com.famedly.call.member.reaction/t1";
    assert_eq!(rig.put().await, (path.to_owned(), json!({ "key": "x" })));
}

/// A reason is all that ruma's own request has.
#[tokio::test]
async fn a_redaction_has_all_of_its_content_and_our_transaction_id() {
    let rig = Rig::new().await;
    rig.answer("PUT", "/redact/", 200, json!({ "event_id": "$gone" })).await;
    assert_eq!(rig.homeserver.redact(removal()).await.unwrap().as_str(), "$gone");
    let content = json!({ "redacts": "$a/b", "redacts_type": "r" });
    assert_eq!(rig.put().await, ("redact/$a%2Fb/t2".to_owned(), content));
}

#[tokio::test]
async fn what_speaks_against_a_redaction_is_told_from_what_will_pass() {
    let error = |code: &str| json!({ "errcode": code, "error": "@ben:x" });
    for (status, answer, fault) in [
        (403, error("M_FORBIDDEN"), Fault::Forbidden("M_FORBIDDEN".into())),
        (404, error("M_NOT_FOUND"), Fault::NotFound),
        (401, error("M_UNKNOWN_TOKEN"), Fault::LoggedOut),
        (502, json!({}), Fault::Failed("status 502".into())),
        (200, json!({}), Fault::Failed("no event id".into())),
    ] {
        let rig = Rig::new().await;
        rig.answer("PUT", "/redact/", status, answer).await;
        assert_eq!(rig.homeserver.redact(removal()).await, Err(fault));
    }
}
