//! The tasks that move what the SDK says into the inbox, and do nothing else.

use std::{collections::BTreeSet, sync::Arc};

use futures::{Stream, StreamExt};
use matrix_sdk::{
    Client, SessionChange,
    deserialized_responses::EncryptionInfo,
    event_handler::EventHandlerHandle,
    ruma::{
        events::{
            AnyToDeviceEvent,
            direct::{DirectEvent, DirectEventContent},
            ignored_user_list::IgnoredUserListEventContent,
        },
        serde::Raw,
    },
};
use matrix_voip::id::{RoomId, UserId};
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    task::JoinSet,
    time::{Duration, Instant, sleep_until},
};
use zeroize::Zeroize;

use crate::{
    belief::is_believed,
    inbox::{Arrival, Inbox},
    intake::{self, Message},
};

/// Between two subscriptions to room keys, should they end at once.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

/// To-device messages come to handlers only, which the application's sync waits for: this one puts
/// each in, at most after a look at the store, and is done. In classic sync it has done so before the rooms of the same response come.
pub(crate) fn handle_to_device(client: &Client, inbox: Inbox) -> EventHandlerHandle {
    client.add_event_handler(
        move |message: Raw<AnyToDeviceEvent>, info: Option<EncryptionInfo>, client: Client| {
            let (message, inbox) = (intake::to_device(&message, info.as_ref()), inbox.clone());
            async move {
                match message {
                    Message::Call(mut message) => {
                        if is_believed(&client, &message, info.as_ref()).await {
                            inbox.put(Arrival::ToDevice(message));
                        } else {
                            message.content.zeroize();
                            inbox.put(Arrival::Unbelieved(1));
                        }
                    }
                    Message::Undecryptable => inbox.put(Arrival::Undecryptable(1)),
                    Message::Unbelieved => inbox.put(Arrival::Unbelieved(1)),
                    Message::Other => {}
                }
            }
        },
    )
}

/// Of account data too: it only says that there is a new list of direct chats. When handlers run, the
/// store has it.
pub(crate) fn handle_direct(client: &Client, changed: Arc<Notify>) -> EventHandlerHandle {
    client.add_event_handler(move |_: Raw<DirectEvent>| {
        changed.notify_one();
        std::future::ready(())
    })
}

/// Starts the tasks. What they subscribe to before the first await misses nothing from now on.
/// `direct` tells when there is a new list of direct chats.
pub(crate) fn start(client: &Client, inbox: &Inbox, direct: Arc<Notify>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(rooms(client.subscribe_to_all_room_updates(), inbox.clone()));
    tasks.spawn(session(client.subscribe_to_session_changes(), inbox.clone()));
    let changes = client.subscribe_to_ignore_user_list_changes();
    tasks.spawn(ignored(client.clone(), changes, inbox.clone()));
    tasks.spawn(keys(client.clone(), inbox.clone()));
    tasks.spawn(devices(client.clone(), inbox.clone()));
    tasks.spawn(direct_chats(client.clone(), direct, inbox.clone()));
    tasks
}

type Updates = tokio::sync::broadcast::Receiver<matrix_sdk::sync::RoomUpdates>;

/// The SDK keeps 32 messages for us, so this task must do nothing but move them on.
async fn rooms(mut updates: Updates, inbox: Inbox) {
    loop {
        match updates.recv().await {
            Ok(updates) if updates.is_empty() => inbox.put(Arrival::Synced),
            Ok(updates) => inbox.put(Arrival::Rooms(Box::new(updates), Instant::now())),
            Err(RecvError::Lagged(_)) => inbox.put(Arrival::Lagged),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn session(mut changes: tokio::sync::broadcast::Receiver<SessionChange>, inbox: Inbox) {
    loop {
        match changes.recv().await {
            Ok(SessionChange::UnknownToken(_)) => inbox.put(Arrival::LoggedOut),
            Ok(SessionChange::TokensRefreshed) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// The list as it is, then whenever it changes.
async fn ignored(
    client: Client,
    mut changes: impl Stream<Item = Vec<String>> + Unpin,
    inbox: Inbox,
) {
    inbox.put(Arrival::Ignored(ignored_at_first(&client).await));
    while let Some(users) = changes.next().await {
        let users = users.iter().filter_map(|user| UserId::parse(user).ok());
        inbox.put(Arrival::Ignored(users.collect()));
    }
}

/// The list as the store has it; whoever ignores nobody has none.
async fn ignored_at_first(client: &Client) -> BTreeSet<UserId> {
    let stored = client.account().account_data::<IgnoredUserListEventContent>().await;
    let list = stored.ok().flatten().and_then(|raw| raw.deserialize().ok());
    let users = list.into_iter().flat_map(|list| list.ignored_users.into_keys());
    users.filter_map(|user| UserId::parse(user.as_str()).ok()).collect()
}

/// The list as it is, then whenever it changes.
async fn direct_chats(client: Client, changed: Arc<Notify>, inbox: Inbox) {
    loop {
        let stored = client.account().account_data::<DirectEventContent>().await;
        if let Ok(stored) = stored {
            let content = stored.and_then(|raw| raw.deserialize_as_unchecked().ok());
            inbox.put(Arrival::Direct(intake::direct_chats(&content.unwrap_or_default())));
        }
        changed.notified().await;
    }
}

/// Subscribes to room keys, again whenever the subscription ends: it does when the crypto machine
/// is rebuilt. What came in between is unknown.
async fn keys(client: Client, inbox: Inbox) {
    while let Some(stream) = client.encryption().room_keys_received_stream().await {
        inbox.put(Arrival::KeysLagged);
        let mut stream = Box::pin(stream);
        while let Some(keys) = stream.next().await {
            inbox.put(keys.map_or(Arrival::KeysLagged, |keys| {
                let pairs = keys.into_iter().filter_map(|key| {
                    Some((RoomId::parse(key.room_id.as_str()).ok()?, key.session_id))
                });
                Arrival::Keys(pairs.collect())
            }));
        }
        sleep_until(Instant::now() + RESUBSCRIBE).await;
    }
    tracing::warn!("encryption is not set up: nothing can be decrypted late");
}

/// Subscribes to what is told of devices and their keys, again whenever the subscription ends.
async fn devices(client: Client, inbox: Inbox) {
    while let Ok(stream) = client.encryption().devices_stream().await {
        inbox.put_all_awaited();
        let mut stream = Box::pin(stream);
        while let Some(updates) = stream.next().await {
            let users: BTreeSet<_> = updates.new.keys().chain(updates.changed.keys()).collect();
            for user in users.into_iter().filter_map(|user| UserId::parse(user.as_str()).ok()) {
                inbox.put(Arrival::DeviceKeys(user));
            }
        }
        sleep_until(Instant::now() + RESUBSCRIBE).await;
    }
    tracing::warn!("encryption is not set up: nothing can be sent to devices late");
}
