//! Connecting and detaching.

use matrix_sdk::{Client, test_utils::mocks::MatrixMockServer};
use matrix_voip::{CallOptions, CallState, EndReason};
use matrix_voip_matrix_sdk::{ConnectError, connect};

use crate::house::{self, BEN, House, ROOM};

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
