//! What is asked of the homeserver, and what becomes of its answer.

use futures::FutureExt;
use matrix_sdk::test_utils::mocks::MatrixMockServer;
use matrix_voip::wire::state::Extent;
use serde_json::{Value, json};
use wiremock::{Mock, ResponseTemplate, matchers};

use super::*;
use crate::inbox::{Outlet, inbox};

mod clear;
mod delayed;
mod sfu;
mod to_device;

struct Rig {
    server: MatrixMockServer,
    homeserver: Homeserver,
    outlet: Outlet,
}

impl Rig {
    async fn new() -> Self {
        let server = MatrixMockServer::new().await;
        let client = server.client_builder().build().await;
        let (to, outlet) = inbox();
        let homeserver = Homeserver(Arc::new(Attached::new(client, to)));
        Self { server, homeserver, outlet }
    }

    /// The next request is answered so.
    async fn answer(&self, method: &str, path: &str, status: u16, answer: Value) {
        Mock::given(matchers::method(method))
            .and(matchers::path_regex(path))
            .respond_with(ResponseTemplate::new(status).set_body_json(answer))
            .up_to_n_times(1)
            .mount(self.server.server())
            .await;
    }

    async fn send(&self) -> Result<EventId, Fault> {
        self.homeserver.send_state(membership()).await
    }

    fn arrived(&mut self) -> usize {
        let next = || self.outlet.next().now_or_never().flatten();
        let all = std::iter::from_fn(next);
        all.filter(|arrival| matches!(arrival, Arrival::Wrote(_))).count()
    }
}

fn room() -> RoomId {
    RoomId::parse("!r:x").unwrap()
}

fn membership() -> SendState {
    SendState {
        room: room(),
        event_type: "com.famedly.call.member".into(),
        state_key: "@example:localhost".into(),
        content: r#"{"memberships":[]}"#.into(),
    }
}

const WRITE: &str = "/rooms/!r:x/state/com.famedly.call.member/@example:localhost$";
const READ: &str = "/rooms/!r:x/state$";

#[tokio::test]
async fn a_membership_is_written_under_its_key() {
    let mut rig = Rig::new().await;
    rig.answer("PUT", WRITE, 200, json!({ "event_id": "$new" })).await;
    assert_eq!(rig.send().await, EventId::parse("$new").map_err(|_| Fault::Timeout));
    let requests = rig.server.server().received_requests().await.unwrap();
    // The SDK asks for this and that on its own.
    let write = requests.iter().find(|request| request.method.as_str() == "PUT");
    let body: Value = write.unwrap().body_json().unwrap();
    assert_eq!(body, json!({ "memberships": [] }));
    assert_eq!(rig.arrived(), 1, "begin and end are told, once while nobody listens");
}

/// One try each: when to try again, the library decides.
#[tokio::test]
async fn what_speaks_against_a_write_is_told_from_what_will_pass() {
    let limited = |after: u64| json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": after });
    let retry_after = Some(Duration::from_secs(2));
    for (status, answer, fault) in [
        (403, json!({ "errcode": "M_FORBIDDEN", "error": "@ben:x" }), {
            Fault::Forbidden("M_FORBIDDEN".into())
        }),
        (429, limited(2000), Fault::RateLimited { retry_after }),
        (401, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "x" }), Fault::LoggedOut),
        (502, json!({}), Fault::Failed("status 502".into())),
    ] {
        let rig = Rig::new().await;
        rig.answer("PUT", WRITE, status, answer).await;
        assert_eq!(rig.send().await, Err(fault));
    }
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_over_too() {
    let mut rig = Rig::new().await;
    let send = rig.homeserver.send_state(membership());
    assert!(send.now_or_never().is_none());
    assert_eq!(rig.arrived(), 1);
    let writing = Writing::begin(&rig.homeserver.0, room());
    let next = rig.outlet.next().now_or_never().flatten();
    assert!(matches!(next, Some(Arrival::Wrote(_))), "{next:?}");
    drop(writing);
    let next = rig.outlet.next().now_or_never().flatten();
    assert!(matches!(next, Some(Arrival::Wrote(_))), "{next:?}");
}

#[tokio::test]
async fn after_detaching_nothing_is_tried() {
    let rig = Rig::new().await;
    rig.homeserver.0.let_go();
    assert_eq!(rig.send().await, Err(Fault::Unsupported));
    assert_eq!(rig.homeserver.room_state(room()).await, Err(Fault::Unsupported));
}

#[tokio::test]
async fn the_state_of_a_room_is_what_calls_are_made_of() {
    let rig = Rig::new().await;
    let event = |event_type: &str, key: &str| {
        json!({ "type": event_type, "state_key": key, "sender": "@ben:x", "room_id": "!r:x",
            "event_id": format!("${event_type}"), "origin_server_ts": 7,
            "unsigned": { "age": 1500 }, "content": { "memberships": [1.5] } })
    };
    let types = [
        "m.room.create",
        "m.room.topic",
        "com.famedly.call.member",
        "m.room.member",
        "org.matrix.msc3401.call.member",
        "m.room.power_levels",
    ];
    let events: Vec<Value> = types.map(|name| event(name, "")).into();
    rig.answer("GET", READ, 200, json!(events)).await;
    let state = rig.homeserver.room_state(room()).await.unwrap();
    assert_eq!((state.room, state.extent, state.encrypted), (room(), Extent::Whole, Some(false)));
    let read: Vec<&str> = state.events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(read, [types[0], types[2], types[4], types[5]]);
    let member = &state.events[1];
    assert_eq!(member.content, r#"{"memberships":[1.5]}"#);
    assert!(member.facts.age.unwrap() >= Duration::from_millis(1500));
}

/// Media keys in the clear are refused by what is said here, which may be long before a sync or the
/// survey tells of the room.
#[tokio::test]
async fn the_state_of_a_room_says_whether_it_is_encrypted() {
    let rig = Rig::new().await;
    let encryption = json!({ "type": "m.room.encryption", "state_key": "", "sender": "@ben:x",
        "room_id": "!r:x", "event_id": "$e", "origin_server_ts": 7,
        "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
    rig.answer("GET", READ, 200, json!([encryption])).await;
    assert_eq!(rig.homeserver.room_state(room()).await.unwrap().encrypted, Some(true));
}

#[tokio::test]
async fn a_room_that_we_are_not_in_has_no_state_for_us() {
    for (status, code, fault) in [
        (403, "M_FORBIDDEN", Fault::Forbidden("M_FORBIDDEN".into())),
        (404, "M_NOT_FOUND", Fault::NotFound),
    ] {
        let rig = Rig::new().await;
        rig.answer("GET", READ, status, json!({ "errcode": code, "error": "x" })).await;
        assert_eq!(rig.homeserver.room_state(room()).await, Err(fault));
    }
}
