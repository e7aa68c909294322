//! More of the homeserver: tokens, state, delayed events, redactions, messages to devices.

use std::time::Duration;

use matrix_sdk::ruma::device_id;
use matrix_voip::{
    id::{DeviceId, EventId, RoomId, UserId},
    machine::io::{Fault, Ignored},
};
use matrix_voip_matrix_sdk::{DelayedAction, Envelope, StateEvent, ToDeviceMessage};
use serde_json::{Value, json};
use wiremock::{Mock, Request, ResponseTemplate, matchers};

use crate::house::{BEN, Duo, House, ME, ROOM};

fn room() -> RoomId {
    RoomId::parse(ROOM).unwrap()
}

fn membership() -> StateEvent {
    StateEvent {
        event_type: "com.famedly.call.member".into(),
        state_key: ME.into(),
        content: r#"{"memberships":[]}"#.into(),
        sender: None,
    }
}

impl House {
    /// Requests to this path are answered so.
    async fn answer(&self, method: &str, path: &str, answer: ResponseTemplate) {
        Mock::given(matchers::method(method))
            .and(matchers::path_regex(path))
            .respond_with(answer)
            .mount(self.server.server())
            .await;
    }

    async fn answer_ok(&self, method: &str, path: &str, answer: Value) {
        self.answer(method, path, ResponseTemplate::new(200).set_body_json(answer)).await;
    }

    /// The last request of which the address has this in it; the SDK makes some of its own.
    async fn last_request(&self, part: &str) -> Request {
        let mut requests = self.server.server().received_requests().await.unwrap();
        requests.retain(|request| request.url.path().contains(part));
        requests.pop().unwrap()
    }
}

#[tokio::test]
async fn a_token_for_another_service_is_fetched() {
    let house = House::new().await;
    let answer = json!({ "access_token": "t0ken", "token_type": "Bearer", "matrix_server_name": "x",
        "expires_in": 3600 });
    house.answer_ok("POST", "/openid/request_token$", answer).await;
    let token = house.matrix.open_id_token().await.unwrap();
    assert_eq!((token.access_token.expose(), token.server_name.as_str()), ("t0ken", "x"));
    assert_eq!(token.expires_in, Duration::from_secs(3600));
    assert!(!format!("{token:?}").contains("t0ken"));
}

/// With sliding sync the store has not what calls need.
#[tokio::test]
async fn state_is_read_from_the_server() {
    let house = House::new().await;
    let member = json!({ "type": "com.famedly.call.member", "state_key": BEN, "sender": BEN, "event_id": "$1",
        "origin_server_ts": 1, "room_id": ROOM, "content": { "memberships": [1.5] } });
    house.answer_ok("GET", "/rooms/!r:x/state$", json!([member, { "type": 7 }])).await;
    let state = house.matrix.state(&room()).await.unwrap();
    assert_eq!(state.len(), 1);
    assert_eq!(state[0].state_key, BEN);
    assert_eq!(state[0].content, r#"{"memberships":[1.5]}"#);
    assert_eq!(state[0].sender, UserId::parse(BEN).ok());
}

#[tokio::test]
async fn one_piece_of_state_is_read_and_may_be_absent() {
    let house = House::new().await;
    house.answer_ok("GET", "/state/com.famedly.call/c1$", json!({ "m.intent": "m.room" })).await;
    let absent = json!({ "errcode": "M_NOT_FOUND", "error": "x" });
    house
        .answer(
            "GET",
            "/state/com.famedly.call/c2$",
            ResponseTemplate::new(404).set_body_json(absent),
        )
        .await;
    let read = |key: &'static str| {
        let house = &house;
        async move { house.matrix.state_event(&room(), "com.famedly.call", key).await }
    };
    assert_eq!(read("c1").await, Ok(Some(r#"{"m.intent":"m.room"}"#.into())));
    assert_eq!(read("c2").await, Ok(None));
}

#[tokio::test]
async fn state_is_written() {
    let house = House::new().await;
    house.answer_ok("PUT", "/state/com.famedly.call.member/", json!({ "event_id": "$new" })).await;
    let written = house.matrix.send_state(&room(), membership()).await;
    assert_eq!(written, Ok(EventId::parse("$new").unwrap()));
    let request = house.last_request("com.famedly.call.member/").await;
    assert_eq!(request.body_json::<Value>().unwrap(), json!({ "memberships": [] }));
}

/// The membership that the server withdraws should we die.
#[tokio::test]
async fn delayed_state_is_scheduled_begun_again_and_cancelled() {
    let house = House::with_delayed_events().await;
    house.answer_ok("PUT", "/state/com.famedly.call.member/", json!({ "delay_id": "d1" })).await;
    house.answer_ok("POST", "/delayed_events/d1", json!({})).await;
    let gone = json!({ "errcode": "M_NOT_FOUND", "error": "x" });
    house
        .answer("POST", "/delayed_events/d2", ResponseTemplate::new(404).set_body_json(gone))
        .await;
    let delay = Duration::from_secs(8);
    let id = house.matrix.send_delayed_state(&room(), membership(), delay).await.unwrap();
    assert_eq!(id, "d1");
    let query = house.last_request("com.famedly.call.member/").await.url.query().map(str::to_owned);
    assert_eq!(query.as_deref(), Some("org.matrix.msc4140.delay=8000"));
    for (what, word) in [
        (DelayedAction::Restart, "restart"),
        (DelayedAction::Cancel, "cancel"),
        (DelayedAction::Send, "send"),
    ] {
        assert_eq!(house.matrix.update_delayed(&id, what).await, Ok(()));
        let request = house.last_request("delayed_events").await;
        assert!(request.url.path().ends_with(&format!("d1/{word}")), "{word}: {}", request.url);
    }
    assert_eq!(
        house.matrix.update_delayed("d2", DelayedAction::Restart).await,
        Err(Fault::NotFound)
    );
}

#[tokio::test]
async fn a_redaction_carries_further_keys_and_our_transaction_id() {
    let house = House::new().await;
    house.answer_ok("PUT", "/send/m.room.redaction/t1$", json!({ "event_id": "$r" })).await;
    let event = EventId::parse("$old").unwrap();
    let redacted = house.matrix.redact(&room(), &event, Some(r#"{"reason":"over"}"#), "t1").await;
    assert_eq!(redacted, Ok(EventId::parse("$r").unwrap()));
    let body: Value = house.last_request("m.room.redaction").await.body_json().unwrap();
    assert_eq!(body, json!({ "redacts": "$old", "reason": "over" }));
    house.answer_ok("PUT", "/send/m.room.redaction/t0$", json!({ "event_id": "$r" })).await;
    assert!(house.matrix.redact(&room(), &event, None, "t0").await.is_ok());
    let body: Value = house.last_request("m.room.redaction/t0").await.body_json().unwrap();
    assert_eq!(body, json!({ "redacts": "$old" }));
    let nonsense = house.matrix.redact(&room(), &event, Some("[]"), "t2").await;
    assert!(matches!(nonsense, Err(Fault::Failed(_))));
}

fn state_event(event_type: &str, content: Value) -> Value {
    json!({ "type": event_type, "state_key": "", "sender": BEN, "event_id": format!("${event_type}"),
        "origin_server_ts": 1, "content": content })
}

/// A room of Ben's in which this type of event needs level 50, which we have not.
fn guarded(event_type: &str) -> [Value; 2] {
    let levels = json!({ "events": { event_type: 50 }, "users": { BEN: 100 } });
    let create = json!({ "creator": BEN, "room_version": "10" });
    [state_event("m.room.create", create), state_event("m.room.power_levels", levels)]
}

fn encryption() -> Value {
    state_event("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" }))
}

#[tokio::test]
async fn the_facts_of_a_room_are_told() {
    let house = House::with_members().await;
    let facts = house.matrix.room_facts(&room()).await.unwrap();
    assert_eq!(facts.joined, [ME, BEN].map(|id| UserId::parse(id).unwrap()).into());
    assert_eq!((facts.encrypted, facts.may_call), (false, true));
    assert!(facts.direct_for.is_empty());

    let direct = json!({ "type": "m.direct", "content": { BEN: [ROOM] } });
    house.sync(json!({ "account_data": { "events": [direct] } })).await;
    house.sync_room(json!({ "state": { "events": guarded("m.call.invite") } })).await;
    let facts = house.matrix.room_facts(&room()).await.unwrap();
    assert_eq!(facts.direct_for, [UserId::parse(BEN).unwrap()].into());
    assert!(!facts.may_call);

    let unknown = RoomId::parse("!nowhere:x").unwrap();
    assert_eq!(house.matrix.room_facts(&unknown).await, Err(Fault::NotFound));
}

/// There the server sees nothing but `m.room.encrypted`.
#[tokio::test]
async fn in_an_encrypted_room_whoever_may_send_may_call() {
    for (guarded_type, expected) in [("m.call.invite", true), ("m.room.encrypted", false)] {
        let house = House::with_members().await;
        let [create, levels] = guarded(guarded_type);
        let state = json!([create, levels, encryption()]);
        house.sync_room(json!({ "state": { "events": state } })).await;
        let facts = house.matrix.room_facts(&room()).await.unwrap();
        assert_eq!((facts.encrypted, facts.may_call), (true, expected), "{guarded_type}");
    }
}

#[tokio::test]
async fn a_room_of_which_encryption_is_unknown_counts_as_encrypted() {
    let house = House::with_members().await;
    house.answer_first("/state/m.room.encryption", ResponseTemplate::new(500)).await;
    assert!(house.matrix.room_facts(&room()).await.unwrap().encrypted);
}

#[tokio::test]
async fn errors_of_the_server_become_faults() {
    let house = House::new().await;
    let error = |status, code: &str| {
        let body = json!({ "errcode": code, "error": "about @ben:x" });
        ResponseTemplate::new(status).set_body_json(body)
    };
    for (place, (answer, fault)) in [
        (error(403, "M_FORBIDDEN"), Fault::Forbidden("M_FORBIDDEN".into())),
        (error(413, "M_TOO_LARGE"), Fault::Forbidden("M_TOO_LARGE".into())),
        (error(404, "M_UNRECOGNIZED"), Fault::Forbidden("M_UNRECOGNIZED".into())),
        (error(500, "M_UNKNOWN"), Fault::Failed("status 500".into())),
        (ResponseTemplate::new(502).set_body_string("<html>"), Fault::Failed("status 502".into())),
        (ResponseTemplate::new(404).set_body_string("<html>"), Fault::Failed("status 404".into())),
        (
            ResponseTemplate::new(429).set_body_string("<html>"),
            Fault::RateLimited { retry_after: None },
        ),
        (
            ResponseTemplate::new(200).set_body_string("<html>"),
            Fault::Failed("the answer is not understood".into()),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        house.answer("GET", &format!("/state/x/{place}$"), answer).await;
        let found = house.matrix.state_event(&room(), "x", &place.to_string()).await;
        assert_eq!(found, Err(fault), "{place}");
    }
}

#[tokio::test]
async fn after_detaching_nothing_is_asked() {
    let house = House::new().await;
    house.matrix.detach().await;
    assert_eq!(house.matrix.open_id_token().await, Err(Fault::Unsupported));
}

// -------------------------------------------------------------------------------------- to-device

fn message(envelope: Envelope) -> ToDeviceMessage {
    let content = r#"{"call_id":"c","conf_id":"g","room_id":"!r:x","party_id":"p","version":"1"}"#;
    let event_type = "com.famedly.call.member.hangup".into();
    ToDeviceMessage { event_type, content: content.into(), envelope }
}

#[tokio::test]
async fn a_message_in_the_clear_goes_to_the_devices_under_our_transaction_id() {
    let house = House::new().await;
    house.answer_ok("PUT", "/sendToDevice/com.famedly.call.member.hangup/t1$", json!({})).await;
    let to = (UserId::parse(BEN).unwrap(), DeviceId::parse("PHONE").unwrap());
    let clear = message(Envelope::Clear { transaction: "t1".into() });
    assert_eq!(house.matrix.send_to_device(clear, &[to]).await, Ok(vec![]));
    let body: Value = house.last_request("sendToDevice").await.body_json().unwrap();
    assert_eq!(body["messages"][BEN]["PHONE"]["call_id"], "c");
}

#[tokio::test]
async fn an_encrypted_message_reaches_its_device_and_tells_which_it_missed() {
    let duo = Duo::new().await;
    let bob = UserId::parse(duo.bob.user_id().unwrap()).unwrap();
    let device = DeviceId::parse(duo.bob.device_id().unwrap()).unwrap();
    let unknown = (bob.clone(), DeviceId::parse("NOWHERE").unwrap());
    let targets = [(bob.clone(), device.clone()), unknown.clone()];
    let (missed, sent) = duo.alice_tells(message(Envelope::Encrypted), &targets).await;
    assert_eq!(missed, Ok(vec![unknown]));
    duo.bob_syncs_message(sent).await;
    duo.until(|counts| counts.to_device == 1).await;
    // About a call that Bob knows nothing of: what is wanting is no proof of her device.
    let diagnostics = duo.voip.diagnostics().await;
    assert_eq!(diagnostics.count(Ignored::NoConference), 1, "{:?}", diagnostics.counts());

    let devices = duo.matrix.devices(&bob).await.unwrap();
    assert!(devices.iter().any(|known| known.device == device), "{devices:?}");
}

/// The store alone would not know before the next sync, or never.
#[tokio::test]
async fn a_new_device_is_seen_at_the_next_look() {
    let duo = Duo::new().await;
    let alice = UserId::parse(duo.alice.user_id().unwrap()).unwrap();
    assert_eq!(duo.matrix.devices(&alice).await.unwrap().len(), 1);
    let tablet = device_id!("TABLET");
    let _new = duo.server.set_up_new_device_for_encryption(&duo.alice, tablet, vec![]).await;
    let devices = duo.matrix.devices(&alice).await.unwrap();
    assert!(devices.iter().any(|known| known.device.as_str() == "TABLET"), "{devices:?}");
}
