//! Encrypted events and their keys.

use matrix_voip::{CallOptions, CallState};
use serde_json::json;
use wiremock::{Mock, ResponseTemplate, matchers};

use crate::house::{self, Duo, ROOM, invite};

/// `matrix-sdk.md` §2: the SDK says nothing when an event becomes readable later.
#[tokio::test]
async fn an_invite_whose_room_key_comes_late_rings_then() {
    let duo = Duo::new().await;
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
    let duo = Duo::new().await;
    let mut events = duo.voip.events();
    let (event, key) = duo.alice_sends(invite("c1")).await;
    duo.bob_syncs_message(key).await;
    duo.bob_syncs_event(event).await;
    house::ring(&mut events).await;
    assert_eq!(duo.matrix.counts().late_keys, 0);
}

/// Each try encrypts anew, under the one transaction id.
#[tokio::test]
async fn in_an_encrypted_room_an_invite_leaves_encrypted_and_under_our_transaction_id() {
    let duo = Duo::new().await;
    let (_keys, _key) = duo.server.mock_capture_put_to_device(duo.bob.user_id().unwrap()).await;
    let busy = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 50 });
    let accepted = ResponseTemplate::new(200).set_body_json(json!({ "event_id": "$sent" }));
    for (answer, times) in [(ResponseTemplate::new(429).set_body_json(busy), 1), (accepted, 9)] {
        Mock::given(matchers::path_regex("/rooms/[^/]*/send/"))
            .respond_with(answer)
            .up_to_n_times(times)
            .mount(duo.server.server())
            .await;
    }
    let alice = duo.alice.user_id().unwrap();
    let call = duo.voip.invite(ROOM, alice, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    let requests = duo.server.server().received_requests().await.unwrap();
    let sends = requests.iter().filter_map(|request| request.url.path().split_once("/send/"));
    let sends: Vec<&str> = sends.map(|(_, what)| what).collect();
    assert!(sends.iter().all(|what| what.starts_with("m.room.encrypted/")), "{sends:?}");
    assert_eq!(sends[0], sends[1], "type and transaction id");
}
