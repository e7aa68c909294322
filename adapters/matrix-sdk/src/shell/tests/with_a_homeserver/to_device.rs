//! Messages to devices over a real homeserver, in both flavours of sync.

use std::collections::BTreeSet;

use matrix_voip::{
    host::{SendToDevice, Signaling},
    id::DeviceId,
    machine::io::{ParticipantId, Trust},
    wire::delivery::{Parsed, Place, Protection},
};

use super::*;
use crate::signaling::Homeserver;

/// How many are sent, one after the other.
const MESSAGES: usize = 5;

fn device_of(client: &Client) -> ParticipantId {
    let user = UserId::parse(client.user_id().unwrap()).unwrap();
    ParticipantId { user, device: DeviceId::parse(client.device_id().unwrap()).unwrap() }
}

/// A message that claims to be from another device.
fn message(room: &OwnedRoomId, target: ParticipantId, n: usize) -> SendToDevice {
    let content = json!({ "call_id": n.to_string(), "conf_id": "", "room_id": room,
        "device_id": "CLAIMED", "party_id": "p", "version": "1" });
    SendToDevice {
        room: RoomId::parse(room.as_str()).unwrap(),
        targets: [target].into(),
        trust: Trust::Any,
        event_type: "com.famedly.call.member.hangup".into(),
        content: content.to_string(),
        transaction: format!("t{n}"),
    }
}

/// The next messages that the core is told of.
async fn messages(end: &mut DriverEnd) -> Vec<Parsed> {
    let mut all = Vec::new();
    while all.len() < MESSAGES {
        let next = timeout(Duration::from_secs(20), end.next()).await;
        match next.unwrap_or_else(|_| panic!("in time: {all:?}")).unwrap() {
            Told::Deliver(delivery) if delivery.place == Place::ToDevice => {
                all.extend(delivery.events);
            }
            _ => {}
        }
    }
    all
}

/// A client that syncs, with the adapter on it.
struct Desk {
    client: Client,
    end: DriverEnd,
    port: Homeserver,
    syncing: tokio::task::JoinHandle<()>,
    service: Option<SyncService>,
}

impl Desk {
    async fn new(name: &str, flavour: Flavour) -> Self {
        let client = login(name).await;
        let (end, attached) = attach(&client);
        let (syncing, service) = match flavour {
            Flavour::Classic => (tokio::spawn(sync(client.clone())), None),
            Flavour::Sliding => {
                let sliding = SyncService::builder(client.clone()).build().await.unwrap();
                sliding.start().await;
                (tokio::spawn(async {}), Some(sliding))
            }
        };
        Self { client, end, port: Homeserver(attached), syncing, service }
    }

    async fn stop(self) {
        self.port.0.end();
        self.port.0.reaches(State::Detached).await;
        self.syncing.abort();
        if let Some(service) = self.service {
            service.stop().await;
        }
    }
}

async fn messages_arrive(flavour: Flavour, secrecy: Secrecy) {
    let (ada, mut ben) = (Desk::new("ada", flavour).await, Desk::new("ben", flavour).await);
    let room = shared_room(&ada.client, &ben.client, secrecy).await;
    for n in 0..MESSAGES {
        let sent = ada.port.send_to_device(message(&room, device_of(&ben.client), n)).await;
        assert_eq!(sent, Ok(BTreeSet::new()));
    }
    let told = messages(&mut ben.end).await;
    let sender = device_of(&ada.client);
    let (device, protection) = match secrecy {
        Secrecy::Clear => (None, Protection::Clear),
        Secrecy::Encrypted => (Some(&sender.device), Protection::Unverified),
    };
    for (n, event) in told.iter().enumerate() {
        assert_eq!((&event.facts.sender, event.facts.device.as_ref()), (&sender.user, device));
        assert_eq!(event.facts.protection, protection);
        let message = event.call().expect("it can be read");
        assert_eq!(message.header.call_id.as_str(), n.to_string(), "in their order");
    }
    assert_eq!(ben.port.0.counts().undecryptable, 0);

    let nowhere =
        ParticipantId { device: DeviceId::parse("NOWHERE").unwrap(), ..device_of(&ben.client) };
    let sent = ada.port.send_to_device(message(&room, nowhere.clone(), MESSAGES)).await;
    let missed = (secrecy == Secrecy::Encrypted).then_some(nowhere);
    assert_eq!(sent, Ok(missed.into_iter().collect()), "in the clear nobody knows");
    ada.stop().await;
    ben.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a homeserver: tests/run starts one"]
async fn messages_to_devices_arrive_in_order_with_what_is_proven_of_their_sender() {
    for flavour in [Flavour::Classic, Flavour::Sliding] {
        for secrecy in [Secrecy::Clear, Secrecy::Encrypted] {
            messages_arrive(flavour, secrecy).await;
        }
    }
}
