//! Questions that hang; and in [`with_a_homeserver`] the whole way from a sync to the mailbox.

use futures::future::{BoxFuture, FutureExt, pending, ready};
use matrix_sdk::{ruma::room_id, test_utils::mocks::MatrixMockServer};
use matrix_sdk_test::JoinedRoomBuilder;
use matrix_voip::{
    host::mailbox::{DriverEnd, pair},
    machine::io::{Chat, Input as Told, RoomNews},
    time::{Mono, Wall},
};
use serde_json::json;

use super::*;
use crate::{inbox::inbox, intake::What};

mod with_a_homeserver;

/// The adapter without the library: what it would be told comes out of the mailbox's other end.
pub(crate) fn attach(client: &Client) -> (DriverEnd, Arc<Attached>) {
    let (end, mailbox) = pair();
    let (to, outlet) = inbox();
    let attached = Arc::new(Attached::new(client.clone(), to));
    let parts = Parts::of(client, &attached, outlet, mailbox.news());
    let shell = Shell::new(UserId::parse(client.user_id().unwrap()).unwrap(), parts);
    tokio::spawn(shell.run());
    (end, attached)
}

fn unlocked() -> Item {
    let received = Now { mono: Mono(Duration::ZERO), wall: Wall(0) };
    Item { id: None, sent: None, age: None, received, what: What::Other }
}

/// Nothing bounds a store: a locked database, a file system that is gone.
#[tokio::test(start_paused = true)]
async fn a_wedged_crypto_store_holds_its_room_up_no_longer_than_any_other_question() {
    let begun = Instant::now();
    let tries: Vec<BoxFuture<'_, Option<Item>>> =
        vec![ready(Some(unlocked())).boxed(), ready(None).boxed(), pending().boxed()];
    let items = unlock(&Semaphore::new(1), tries).await;
    assert_eq!(begun.elapsed(), ASKING);
    assert!(matches!(items[..], [Some(_), None]), "what was readable stays so: {items:?}");
}

#[tokio::test(start_paused = true)]
async fn of_many_rooms_only_some_are_decrypted_at_once() {
    let gate = Semaphore::new(0);
    let waits = unlock(&gate, vec![ready(Some(unlocked()))]);
    assert!(timeout(ASKING, waits).await.is_err(), "there was no turn for it");
    gate.add_permits(1);
    assert_eq!(unlock(&gate, vec![ready(Some(unlocked()))]).await.len(), 1);
}

/// The next news of what kind of room one is.
async fn chat(end: &mut DriverEnd) -> Chat {
    let next = async {
        loop {
            if let Told::Room(_, RoomNews::Chat(chat)) = end.next().await.unwrap() {
                return chat;
            }
        }
    };
    timeout(Duration::from_secs(30), next).await.expect("it is told")
}

#[tokio::test]
async fn direct_chats_are_those_of_the_account_data_as_it_is_and_as_it_changes() {
    let server = MatrixMockServer::new().await;
    let client = server.client_builder().build().await;
    let direct = |content: serde_json::Value| json!({ "type": "m.direct", "content": content });
    let sync = async |content: serde_json::Value| {
        let data = direct(content);
        let run = server.mock_sync().ok_and_run(&client, |sync| {
            sync.add_custom_global_account_data(data);
            sync.add_joined_room(JoinedRoomBuilder::new(room_id!("!r:x")));
        });
        run.await;
    };
    sync(json!({ "@ben:x": ["!r:x"] })).await;
    let (mut end, _attached) = attach(&client);
    sync(json!({ "@ben:x": ["!r:x", "!s:x"] })).await;
    assert_eq!(chat(&mut end).await, Chat::Direct);
    sync(json!({})).await;
    assert_eq!(chat(&mut end).await, Chat::Group);
}
