//! The whole way from a sync to the core's mailbox, over a real homeserver: ignored, see
//! `tests/synapse.rs`. In bursts nothing is lost, doubled or turned round, and what the adapter
//! itself takes is printed.

use std::time::SystemTime;

use futures::future::join_all;
use matrix_sdk::{
    RoomState,
    config::SyncSettings,
    ruma::{
        OwnedRoomId,
        api::client::{
            account::register::v3::Request as Register,
            room::create_room::v3::Request as CreateRoom,
            uiaa::{AuthData, Dummy},
        },
        events::{InitialStateEvent, room::encryption::RoomEncryptionEventContent},
    },
};
use matrix_sdk_ui::sync_service::SyncService;
use matrix_voip::{host::mailbox::DriverEnd, machine::io::Input as Told};
use serde_json::json;

use super::{super::*, attach};
use crate::counts::Counts;

mod to_device;

const BURSTS: u32 = 4;
const AT_ONCE: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Flavour {
    Classic,
    Sliding,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Secrecy {
    Clear,
    Encrypted,
}

#[expect(clippy::disallowed_methods, reason = "names of accounts are unique by it")]
async fn login(name: &str) -> Client {
    let homeserver = std::env::var("MATRIX_VOIP_HOMESERVER").expect("MATRIX_VOIP_HOMESERVER");
    let client = Client::builder().homeserver_url(homeserver).build().await.unwrap();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut register = Register::new();
    register.username = Some(format!("{name}-{}", since.as_nanos()));
    register.password = Some("a-password-for-a-test".to_owned());
    register.auth = Some(AuthData::Dummy(Dummy::new()));
    client.matrix_auth().register(register).await.unwrap();
    client
}

async fn sync(client: Client) {
    loop {
        drop(client.sync_once(SyncSettings::new().timeout(Duration::from_secs(20))).await);
    }
}

/// The room, once a sync has told that it is so.
async fn until(client: &Client, id: &RumaRoomId, state: RoomState) -> Room {
    let mut updates = client.subscribe_to_all_room_updates();
    let found = async {
        loop {
            if let Some(found) = client.get_room(id).filter(|room| room.state() == state) {
                return found;
            }
            drop(updates.recv().await);
        }
    };
    timeout(Duration::from_secs(30), found).await.expect("in time")
}

async fn shared_room(ada: &Client, ben: &Client, secrecy: Secrecy) -> OwnedRoomId {
    let mut request = CreateRoom::new();
    request.invite = vec![ben.user_id().unwrap().to_owned()];
    if secrecy == Secrecy::Encrypted {
        let content = RoomEncryptionEventContent::with_recommended_defaults();
        request.initial_state = vec![InitialStateEvent::with_empty_state_key(content).to_raw_any()];
    }
    let id = ada.create_room(request).await.unwrap().room_id().to_owned();
    until(ben, &id, RoomState::Invited).await.join().await.unwrap();
    until(ben, &id, RoomState::Joined).await;
    until(ada, &id, RoomState::Joined).await;
    id
}

/// The ids of the events that the core is told, with when.
async fn told(end: &mut DriverEnd) -> Vec<(String, Instant)> {
    let mut all = Vec::new();
    while let Ok(Some(input)) = timeout(Duration::from_secs(4), end.next()).await {
        if let Told::Deliver(delivery) = input {
            let id = |event: &matrix_voip::wire::delivery::Parsed| {
                event.facts.event_id.as_ref().map(ToString::to_string)
            };
            all.extend(delivery.events.iter().filter_map(id).map(|id| (id, Instant::now())));
        }
    }
    all
}

/// When the SDK told of each event, as anybody hears it.
async fn heard(client: Client) -> HashMap<String, Instant> {
    let mut updates = client.subscribe_to_all_room_updates();
    let mut all = HashMap::new();
    while let Ok(Ok(updates)) = timeout(Duration::from_secs(4), updates.recv()).await {
        let rooms = updates.joined.values().flat_map(|room| &room.timeline.events);
        for id in rooms.filter_map(|event| event.event_id()) {
            all.entry(id.to_string()).or_insert_with(Instant::now);
        }
    }
    all
}

async fn burst(room: &Room) {
    for n in 0..BURSTS {
        let send = |k: u32| async move {
            let content = json!({ "call_id": "c", "party_id": "p", "version": "1", "candidates": [], "n": [n, k] });
            room.send_raw("m.call.candidates", content).await.unwrap();
        };
        join_all((0..AT_ONCE).map(send)).await;
    }
}

/// The room's call events by the server's order.
async fn in_order(room: &Room) -> Vec<String> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let mut options = MessagesOptions::backward();
        (options.from, options.limit) = (from, UInt::from(100_u32));
        let messages = room.messages(options).await.unwrap();
        let is_call = |event: &&matrix_sdk::deserialized_responses::TimelineEvent| {
            event.raw().json().get().contains("m.call.candidates")
        };
        all.extend(messages.chunk.iter().filter(is_call).filter_map(|event| event.event_id()));
        let Some(end) = messages.end else { break };
        from = Some(end);
    }
    all.iter().rev().map(ToString::to_string).collect()
}

async fn nothing_is_lost(flavour: Flavour, secrecy: Secrecy) {
    let (ada, ben) = (login("ada").await, login("ben").await);
    let (mut end, attached) = attach(&ben);
    let hearing = tokio::spawn(heard(ben.clone()));
    let mut tasks = vec![tokio::spawn(sync(ada.clone()))];
    let mut service = None;
    match flavour {
        Flavour::Classic => tasks.push(tokio::spawn(sync(ben.clone()))),
        Flavour::Sliding => {
            let sliding = SyncService::builder(ben.clone()).build().await.unwrap();
            sliding.start().await;
            service = Some(sliding);
        }
    }
    let id = shared_room(&ada, &ben, secrecy).await;
    let room = ada.get_room(&id).unwrap();
    let collecting = tokio::spawn(async move { told(&mut end).await });
    burst(&room).await;
    let (told, heard) = (collecting.await.unwrap(), hearing.await.unwrap());
    let ids: Vec<String> = told.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, in_order(&room).await, "{:?}", attached.counts());
    report(flavour, secrecy, attached.counts(), &told, &heard);
    attached.end();
    attached.reaches(State::Detached).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    if let Some(service) = service {
        service.stop().await;
    }
}

fn report(
    flavour: Flavour,
    secrecy: Secrecy,
    counts: Counts,
    told: &[(String, Instant)],
    heard: &HashMap<String, Instant>,
) {
    let direct =
        told.iter().filter_map(|(id, at)| Some(at.saturating_duration_since(*heard.get(id)?)));
    let mut spans: Vec<Duration> = direct.collect();
    spans.sort();
    let span = |share: usize| spans.get(spans.len().saturating_sub(1) * share / 100);
    println!(
        "{flavour:?} {secrecy:?}: {} events in order, {} of them from a sync (from the SDK's word to \
         the mailbox: median {:?}, 90 % {:?}), {} pages, {} late keys",
        told.len(),
        spans.len(),
        span(50),
        span(90),
        counts.pages,
        counts.late_keys
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a homeserver: tests/run starts one"]
async fn nothing_of_a_burst_is_lost_doubled_or_turned_round() {
    for flavour in [Flavour::Classic, Flavour::Sliding] {
        for secrecy in [Secrecy::Clear, Secrecy::Encrypted] {
            nothing_is_lost(flavour, secrecy).await;
        }
    }
}
