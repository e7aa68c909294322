//! Connecting and detaching.

use matrix_sdk::{Client, test_utils::mocks::MatrixMockServer};
use matrix_voip::{CallOptions, CallState, EndReason};
use matrix_voip_matrix_sdk::{ConnectError, connect};
use tokio::time::timeout;

use crate::house::{self, BEN, House, ROOM, Told};

#[tokio::test]
async fn a_client_without_a_session_is_refused() {
    let server = MatrixMockServer::new().await;
    let client = server.client_builder().unlogged().build().await;
    let refused = connect(&client, |voip| voip).map(drop);
    assert_eq!(refused, Err(ConnectError::NotLoggedIn));
}

#[tokio::test]
async fn a_library_that_does_not_start_leaves_nothing_behind() {
    let server = MatrixMockServer::new().await;
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

/// The process dies with a call that rings at the other side; the next one, with the same store,
/// hangs it up under the party id of then.
#[tokio::test]
async fn a_call_of_a_dead_process_is_hung_up_at_the_next_start() {
    let house = House::with_members().await;
    house.accept_sends().await;
    let (ledger, kept) = matrix_voip_matrix_sdk::ledger(&house.client).await.unwrap();
    assert_eq!(kept, None);
    let ledger = Told::new(ledger);
    let told = ledger.clone();
    let (voip, dying) = house.another(|voip| voip.ledger(told)).await;
    let call = voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    ledger.names(call.snapshot().call_id.as_str()).await;

    let (ledger, kept) = matrix_voip_matrix_sdk::ledger(&house.client).await.unwrap();
    let mut sends = house.hear_sends().await;
    let _next = house.another(|voip| voip.ledger(ledger).restore(kept)).await;
    let sent = timeout(house::PATIENCE, sends.recv()).await.expect("it is sent");
    let (what, hangup) = sent.unwrap();
    assert!(what.starts_with("m.call.hangup/"), "{what}");
    assert_eq!(hangup["call_id"], call.snapshot().call_id.as_str());
    assert_eq!(hangup["party_id"], call.snapshot().party_id.as_str());
    drop((voip, dying));
}

/// Trap 9: a second sync would race the application's for its token and its messages.
#[tokio::test]
async fn the_adapter_itself_never_syncs() {
    let house = House::with_members().await;
    house.accept_sends().await;
    let call = house.voip.invite(ROOM, BEN, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    let requests = house.server.server().received_requests().await.unwrap();
    let syncs = requests.iter().filter(|request| request.url.path().ends_with("/sync")).count();
    assert_eq!(syncs, 1, "the one that this test made");
}
