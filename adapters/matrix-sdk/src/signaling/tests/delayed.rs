//! Delayed events as the library asks for them; `delayed.rs` has what is asked of the homeserver.

use super::*;

async fn rig() -> Rig {
    let server = MatrixMockServer::new().await;
    server.mock_versions().with_feature("org.matrix.msc4140", true).ok().mount().await;
    let client = server.client_builder().no_server_versions().build().await;
    let (to, outlet) = inbox();
    Rig { server, homeserver: Homeserver(Arc::new(Attached::new(client, to))), outlet }
}

const ALL: &str = "/org.matrix.msc4140/delayed_events";

#[tokio::test]
async fn a_leave_is_scheduled_and_begins_anew() {
    let rig = rig().await;
    rig.answer("PUT", WRITE, 200, json!({ "delay_id": "d1" })).await;
    rig.answer("POST", &format!("{ALL}/d1/restart$"), 200, json!({})).await;
    let delay = Duration::from_secs(30);
    let id = rig.homeserver.schedule_state(membership(), delay).await.unwrap();
    assert_eq!(id.as_str(), "d1");
    let restarted = rig.homeserver.update_delayed(id.clone(), DelayUpdate::Restart).await;
    assert_eq!(restarted, Ok(()));
    let gone = json!({ "errcode": "M_NOT_FOUND", "error": "x" });
    rig.answer("POST", &format!("{ALL}/d1/cancel$"), 404, gone).await;
    let cancelled = rig.homeserver.update_delayed(id, DelayUpdate::Cancel).await;
    assert_eq!(cancelled, Err(Fault::NotFound));
}

#[tokio::test]
async fn what_a_crash_has_left_is_listed() {
    let rig = rig().await;
    let event = json!({ "delay_id": "d1", "room_id": "!r:x", "type": "com.famedly.call.member",
        "state_key": "@example:localhost", "content": { "memberships": [] } });
    let page = json!({ "delayed_events": [event], "next_batch": "n" });
    rig.answer("GET", &format!("{ALL}$"), 200, page).await;
    let page = rig.homeserver.delayed_events(None).await.unwrap();
    assert_eq!((page.members.len(), page.next.as_deref()), (1, Some("n")));
    rig.answer("GET", &format!("{ALL}$"), 200, json!([])).await;
    assert!(matches!(rig.homeserver.delayed_events(page.next).await, Err(Fault::Failed(_))));
}
