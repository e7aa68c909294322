//! Calls between two clients over a real homeserver, in both flavours of sync. Ignored: it needs a
//! server with open registration, at the address that `MATRIX_VOIP_HOMESERVER` says. `README.md` of
//! the package has the command that starts one.
//!
//! The media are a double: what is tested is the signalling. `tests/real` has the rest.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it measured")]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use matrix_sdk::{
    Client, Room, RoomState,
    config::SyncSettings,
    ruma::{
        OwnedRoomId, OwnedUserId,
        api::client::{
            account::register::v3::Request as Register,
            room::create_room::v3::{Request as CreateRoom, RoomPreset},
            uiaa::{AuthData, Dummy},
        },
        events::{InitialStateEvent, room::encryption::RoomEncryptionEventContent},
    },
};
use matrix_sdk_ui::sync_service::SyncService;
use matrix_voip::{
    CallOptions, CallSession, CallState, EndReason, VoIP, VoipNews, testing::EmbeddedWebRtc,
};
use matrix_voip_matrix_sdk::{Matrix, connect};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    Classic,
    Sliding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Clear,
    Encrypted,
}

enum Sync {
    Classic(JoinHandle<()>),
    Sliding(Box<SyncService>),
}

struct Peer {
    client: Client,
    voip: VoIP,
    matrix: Matrix,
    sync: Sync,
}

#[expect(clippy::disallowed_methods, reason = "names of accounts are unique by it")]
fn unique(name: &str) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{name}-{}", since.as_nanos())
}

async fn login(name: &str) -> Client {
    let homeserver = std::env::var("MATRIX_VOIP_HOMESERVER").expect("MATRIX_VOIP_HOMESERVER");
    let client = Client::builder().homeserver_url(homeserver).build().await.unwrap();
    let mut register = Register::new();
    register.username = Some(unique(name));
    register.password = Some("a-password-for-a-test".to_owned());
    register.auth = Some(AuthData::Dummy(Dummy::new()));
    client.matrix_auth().register(register).await.unwrap();
    client
}

impl Peer {
    async fn new(name: &str, flavour: Flavour, webrtc: &EmbeddedWebRtc) -> Self {
        let client = login(name).await;
        let engine = Arc::new(webrtc.engine());
        let (voip, matrix) = connect(&client, |voip| voip.webrtc(engine)).unwrap();
        let sync = match flavour {
            Flavour::Classic => Sync::Classic(tokio::spawn(sync_classic(client.clone()))),
            Flavour::Sliding => {
                let service = SyncService::builder(client.clone()).build().await.unwrap();
                service.start().await;
                Sync::Sliding(Box::new(service))
            }
        };
        Self { client, voip, matrix, sync }
    }

    fn user(&self) -> OwnedUserId {
        self.client.user_id().unwrap().to_owned()
    }

    async fn room(&self, id: &OwnedRoomId, state: RoomState) -> Room {
        let mut updates = self.client.subscribe_to_all_room_updates();
        let found = async {
            loop {
                if let Some(room) = self.client.get_room(id).filter(|room| room.state() == state) {
                    return room;
                }
                drop(updates.recv().await);
            }
        };
        timeout(Duration::from_secs(20), found).await.expect("the room comes by sync")
    }

    async fn stop(self) {
        self.matrix.detach().await;
        match self.sync {
            Sync::Classic(task) => task.abort(),
            Sync::Sliding(service) => service.stop().await,
        }
    }
}

async fn sync_classic(client: Client) {
    loop {
        let settings = SyncSettings::new().timeout(Duration::from_secs(20));
        drop(client.sync_once(settings).await);
    }
}

async fn room_of(ada: &Peer, ben: &Peer, secrecy: Secrecy) -> OwnedRoomId {
    let mut request = CreateRoom::new();
    request.invite = vec![ben.user()];
    request.is_direct = true;
    request.preset = Some(RoomPreset::TrustedPrivateChat);
    if secrecy == Secrecy::Encrypted {
        let content = RoomEncryptionEventContent::with_recommended_defaults();
        request.initial_state = vec![InitialStateEvent::with_empty_state_key(content).to_raw_any()];
    }
    let room = ada.client.create_room(request).await.unwrap();
    let id = room.room_id().to_owned();
    ben.room(&id, RoomState::Invited).await.join().await.unwrap();
    ben.room(&id, RoomState::Joined).await;
    ada.room(&id, RoomState::Joined).await;
    id
}

async fn ring(voip: &VoIP, mut events: matrix_voip::VoipEvents) -> (CallSession, Instant) {
    let rings = async {
        loop {
            if let VoipNews::RingStarted { call, .. } = events.next().await.unwrap() {
                return (call, Instant::now());
            }
        }
    };
    let rang = timeout(Duration::from_secs(20), rings).await;
    match rang {
        Ok(rang) => rang,
        Err(_) => panic!("nothing rings: {:?}", voip.diagnostics().await),
    }
}

/// A call from one to the other; gives the times until it rang and until both were connected.
async fn call(ada: &Peer, ben: &Peer, room: &OwnedRoomId) -> (Duration, Duration) {
    let events = ben.voip.events();
    let placed = Instant::now();
    let outgoing = ada.voip.invite(room, ben.user(), CallOptions::voice()).await.unwrap();
    let (incoming, rang) = ring(&ben.voip, events).await;
    incoming.answer().await.unwrap();
    let both = async {
        outgoing.until(CallState::Connected).await.unwrap();
        incoming.until(CallState::Connected).await.unwrap();
    };
    timeout(Duration::from_secs(20), both).await.expect("connected");
    let connected = placed.elapsed();
    incoming.hangup().await.unwrap();
    let end = timeout(Duration::from_secs(20), outgoing.ended()).await.expect("over");
    assert_eq!(end.reason, EndReason::Hangup);
    (rang - placed, connected)
}

async fn calls(flavour: Flavour, secrecy: Secrecy) {
    let webrtc = EmbeddedWebRtc::new();
    let ada = Peer::new("ada", flavour, &webrtc).await;
    let ben = Peer::new("ben", flavour, &webrtc).await;
    let room = room_of(&ada, &ben, secrecy).await;
    for n in 1..=4 {
        let (from, to) = if n % 2 == 1 { (&ada, &ben) } else { (&ben, &ada) };
        let (rang, connected) = call(from, to, &room).await;
        println!("{flavour:?} {secrecy:?} call {n}: rang {rang:.0?}, connected {connected:.0?}");
    }
    println!("{:?}", ada.matrix.counts());
    println!("{:?}", ada.voip.diagnostics().await.counts());
    ada.stop().await;
    ben.stop().await;
}

/// `tests/run` picks them by this name.
mod with_a_homeserver {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a homeserver: tests/run starts one"]
    async fn calls_in_a_clear_room_by_classic_sync() {
        calls(Flavour::Classic, Secrecy::Clear).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a homeserver: tests/run starts one"]
    async fn calls_in_an_encrypted_room_by_classic_sync() {
        calls(Flavour::Classic, Secrecy::Encrypted).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a homeserver: tests/run starts one"]
    async fn calls_in_a_clear_room_by_sliding_sync() {
        calls(Flavour::Sliding, Secrecy::Clear).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a homeserver: tests/run starts one"]
    async fn calls_in_an_encrypted_room_by_sliding_sync() {
        calls(Flavour::Sliding, Secrecy::Encrypted).await;
    }
}
