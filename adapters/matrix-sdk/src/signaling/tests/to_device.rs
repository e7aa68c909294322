//! Messages to devices: whom they reach, and what the other end is told of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use matrix_sdk::{
    Client,
    deserialized_responses::{AlgorithmInfo, EncryptionInfo, VerificationState},
    encryption::LocalTrust,
    ruma::{device_id, room_id},
    test_utils::mocks::encryption::PendingToDeviceMessages,
};
use matrix_sdk_test::{JoinedRoomBuilder, event_factory::EventFactory};
use matrix_voip::{
    host::mailbox::DriverEnd,
    id::DeviceId,
    machine::io::{Input, Trust},
    wire::delivery::{Delivery, Facts, Place, Protection, RawEvent},
};
use serde_json::json;
use wiremock::MockGuard;

use super::*;
use crate::{belief::is_believed, shell::tests::attach};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const PUT: &str = "/sendToDevice/";

/// Two clients who can encrypt for each other, and are in a room.
struct Duo {
    server: MatrixMockServer,
    alice: Client,
    bob: Client,
    port: Homeserver,
    news: DriverEnd,
}

/// Takes what Alice sends to devices.
struct Post {
    queue: Arc<Mutex<PendingToDeviceMessages>>,
    _guard: MockGuard,
}

impl Duo {
    async fn new() -> Self {
        let server = MatrixMockServer::new().await;
        server.mock_crypto_endpoints_preset().await;
        let (alice, bob) = server.set_up_alice_and_bob_for_encryption().await;
        let (news, attached) = attach(&alice);
        Self { server, alice, bob, port: Homeserver(attached), news }
    }

    async fn encrypted() -> Self {
        let duo = Self::new().await;
        let events = EventFactory::new().room(room_id!("!r:x"));
        let alice = duo.alice.user_id().unwrap();
        let room = JoinedRoomBuilder::new(room_id!("!r:x"))
            .add_state_event(events.room_encryption().sender(alice));
        duo.server.sync_room(&duo.alice, room).await;
        duo
    }

    /// In classic sync that is all that is known; the homeserver answers so when it is asked.
    async fn unknown(status: u16) -> Self {
        let duo = Self::new().await;
        duo.server.sync_room(&duo.alice, JoinedRoomBuilder::new(room_id!("!r:x"))).await;
        let code = if status == 404 { "M_NOT_FOUND" } else { "M_FORBIDDEN" };
        let none = json!({ "errcode": code, "error": "x" });
        duo.answer("GET", "/state/m.room.encryption", status, none).await;
        duo
    }

    async fn answer(&self, method: &str, path: &str, status: u16, answer: Value) {
        Mock::given(matchers::method(method))
            .and(matchers::path_regex(path))
            .respond_with(ResponseTemplate::new(status).set_body_json(answer))
            .mount(self.server.server())
            .await;
    }

    async fn post(&self) -> Post {
        let queue = Arc::<Mutex<PendingToDeviceMessages>>::default();
        let alice = self.alice.user_id().unwrap();
        let guard = self.server.capture_put_to_device_traffic(alice, Arc::clone(&queue)).await;
        Post { queue, _guard: guard }
    }

    fn bobs(&self, device: &str) -> ParticipantId {
        let user = UserId::parse(self.bob.user_id().unwrap()).unwrap();
        ParticipantId { user, device: DeviceId::parse(device).unwrap() }
    }

    fn bob(&self) -> ParticipantId {
        self.bobs(self.bob.device_id().unwrap().as_str())
    }

    async fn send<const N: usize>(
        &self,
        targets: [ParticipantId; N],
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        self.send_trusting(Trust::Any, targets).await
    }

    async fn send_trusting<const N: usize>(
        &self,
        trust: Trust,
        targets: [ParticipantId; N],
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        let content = json!({ "conf_id": "g", "device_id": "CLAIMED", "call_id": "c" });
        let message = SendToDevice {
            room: room(),
            targets: targets.into(),
            trust,
            event_type: "com.famedly.call.member.hangup".into(),
            content: content.to_string(),
            transaction: "t1".into(),
        };
        self.port.send_to_device(message).await
    }

    /// Each message that was sent: "type/transaction id" and what for whom.
    async fn sent(&self) -> Vec<(String, Value)> {
        let requests = self.server.server().received_requests().await.unwrap();
        let sent = requests.iter().filter_map(|request| {
            let (_, what) = request.url.path().split_once(PUT)?;
            let mut body: Value = request.body_json().unwrap();
            Some((what.to_owned(), body["messages"].take()))
        });
        sent.collect()
    }

    /// Until Alice's library is told that other keys of Bob's devices are known.
    async fn told_of_keys(&mut self) {
        let told = async {
            loop {
                if let Input::DeviceKeys(user) = self.news.next().await.unwrap() {
                    return user;
                }
            }
        };
        let user = timeout(PATIENCE, told).await.expect("keys are told of");
        assert_eq!(user.as_str(), self.bob.user_id().unwrap().as_str());
    }
}

impl Post {
    /// Whom there is something for.
    fn devices(&self) -> Vec<String> {
        let queue = self.queue.lock().unwrap();
        queue.values().flat_map(BTreeMap::keys).map(ToString::to_string).collect()
    }
}

async fn delivered(news: &mut DriverEnd) -> Delivery {
    let next = async {
        loop {
            if let Input::Deliver(delivery) = news.next().await.unwrap() {
                return delivery;
            }
        }
    };
    timeout(PATIENCE, next).await.expect("it is delivered")
}

#[tokio::test]
async fn in_a_clear_room_a_message_goes_as_it_is_to_its_devices_alone() {
    let duo = Duo::unknown(404).await;
    duo.answer("PUT", PUT, 200, json!({})).await;
    assert_eq!(duo.send([duo.bobs("ONE"), duo.bobs("TWO")]).await, Ok([].into()));
    let (what, whom) = duo.sent().await.pop().unwrap();
    assert_eq!(what, "com.famedly.call.member.hangup/t1");
    let content = json!({ "conf_id": "g", "device_id": "CLAIMED", "call_id": "c" });
    let bob = duo.bob.user_id().unwrap().as_str();
    assert_eq!(whom, json!({ bob: { "ONE": content, "TWO": content } }));
}

#[tokio::test]
async fn in_an_encrypted_room_a_message_arrives_with_the_device_that_its_encryption_proves() {
    let duo = Duo::encrypted().await;
    let (mut news, attached) = attach(&duo.bob);
    let post = duo.post().await;
    assert_eq!(duo.send([duo.bob()]).await, Ok([].into()));
    let (what, _) = duo.sent().await.pop().unwrap();
    assert!(what.starts_with("m.room.encrypted/"), "{what}");
    duo.server.sync_back_pending_to_device_messages(post.queue, &duo.bob).await;
    let delivery = delivered(&mut news).await;
    assert_eq!((&delivery.place, delivery.events.len()), (&Place::ToDevice, 1));
    let facts = &delivery.events[0].facts;
    assert_eq!(facts.sender.as_str(), duo.alice.user_id().unwrap().as_str());
    assert_eq!(facts.device, DeviceId::parse(duo.alice.device_id().unwrap()).ok());
    assert_eq!(facts.protection, Protection::Unverified);
    assert_eq!(attached.counts().to_device, 1);
}

#[tokio::test]
async fn a_room_of_which_encryption_is_unknown_counts_as_encrypted() {
    let duo = Duo::unknown(403).await;
    let post = duo.post().await;
    assert_eq!(duo.send([duo.bob()]).await, Ok([].into()));
    let (what, _) = duo.sent().await.pop().unwrap();
    assert!(what.starts_with("m.room.encrypted/"), "{what}");
    assert_eq!(post.devices().len(), 1);
}

#[tokio::test]
async fn a_device_without_keys_gets_nothing_and_once_it_has_some_it_is_told() {
    let mut duo = Duo::encrypted().await;
    let post = duo.post().await;
    let tablet = duo.bobs("TABLET");
    assert_eq!(duo.send([duo.bob(), tablet.clone()]).await, Ok([tablet.clone()].into()));
    assert_eq!(post.devices(), [duo.bob.device_id().unwrap().as_str()]);
    let _tablet = duo
        .server
        .set_up_new_device_for_encryption(&duo.bob, device_id!("TABLET"), vec![&duo.alice])
        .await;
    duo.told_of_keys().await;
    assert_eq!(duo.send([tablet]).await, Ok([].into()));
    assert_eq!(post.devices().len(), 2);
}

/// A homeserver can add a device to a user.
#[tokio::test]
async fn what_is_for_verified_devices_alone_goes_to_no_other() {
    let duo = Duo::encrypted().await;
    let post = duo.post().await;
    let bob = duo.bob();
    let sent = duo.send_trusting(Trust::Verified, [bob.clone()]).await;
    assert_eq!((sent, post.devices().len()), (Ok([bob.clone()].into()), 0));
    let (user, device) = (duo.bob.user_id().unwrap(), duo.bob.device_id().unwrap());
    let known = duo.alice.encryption().get_device(user, device).await.unwrap().unwrap();
    known.set_local_trust(LocalTrust::Verified).await.unwrap();
    let sent = duo.send_trusting(Trust::Verified, [bob]).await;
    assert_eq!((sent, post.devices().len()), (Ok([].into()), 1));
}

/// A member of whom nothing was ever heard: the store alone would not know him.
#[tokio::test]
async fn the_keys_of_a_stranger_are_asked_for() {
    let duo = Duo::encrypted().await;
    let post = duo.post().await;
    let _tablet =
        duo.server.set_up_new_device_for_encryption(&duo.bob, device_id!("TABLET"), vec![]).await;
    assert_eq!(duo.send([duo.bobs("TABLET")]).await, Ok([].into()));
    assert_eq!(post.devices(), ["TABLET"]);
}

#[tokio::test]
async fn a_device_that_has_run_out_of_keys_gets_nothing() {
    let duo = Duo::encrypted().await;
    let post = duo.post().await;
    let bob = duo.bob();
    let (user, device) = (duo.bob.user_id().unwrap(), duo.bob.device_id().unwrap());
    duo.server.exhaust_one_time_keys(user.to_owned(), device.to_owned());
    assert_eq!(duo.send([bob.clone()]).await, Ok([bob].into()));
    assert!(post.devices().is_empty());
}

/// The SDK says of both no more than whom it missed.
#[tokio::test]
async fn a_homeserver_that_takes_no_messages_is_told_from_a_device_without_keys() {
    let unknown_token = json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "x" });
    let limited = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 2 });
    let retry_after = Some(Duration::from_millis(2));
    for (status, answer, fault) in [
        (429, limited, Fault::RateLimited { retry_after }),
        (401, unknown_token, Fault::LoggedOut),
        (403, json!({ "errcode": "M_FORBIDDEN", "error": "x" }), {
            Fault::Forbidden("M_FORBIDDEN".into())
        }),
    ] {
        let duo = Duo::encrypted().await;
        duo.answer("PUT", PUT, status, answer).await;
        assert_eq!(duo.send([duo.bob(), duo.bobs("NOWHERE")]).await, Err(fault));
    }
}

/// A membership may name any device, of a server that hangs or fails: others do not wait for it, and
/// do not fail with it.
#[tokio::test]
async fn known_devices_have_it_before_strangers_are_asked_for_and_do_not_fail_with_them() {
    for answer in [
        ResponseTemplate::new(200).set_body_json(json!({})).set_delay(Duration::from_secs(9)),
        ResponseTemplate::new(500).set_body_json(json!({ "errcode": "M_UNKNOWN", "error": "x" })),
    ] {
        let duo = Duo::encrypted().await;
        let post = duo.post().await;
        let asked = Mock::given(matchers::path_regex("/keys/query"))
            .and(matchers::body_string_contains(":slow"))
            .respond_with(answer)
            .expect(3..)
            .with_priority(1)
            .mount_as_scoped(duo.server.server())
            .await;
        let ghosts = ["@x:slow", "@y:slow", "@z:slow"].map(ghost);
        let [x, y, z] = ghosts.clone();
        let look = async {
            asked.wait_until_satisfied().await;
            assert_eq!(post.devices().len(), 1, "he has it while the others are asked for");
            // However long they take from now on, this test does not wait for it.
            tokio::time::pause();
            tokio::time::Instant::now()
        };
        let (missed, asked_at) = futures::join!(duo.send([duo.bob(), x, y, z]), look);
        assert_eq!(missed, Ok(ghosts.into()));
        assert!(asked_at.elapsed() <= Duration::from_secs(4), "they are not waited for long");
        tokio::time::resume();
    }
}

fn ghost(user: &str) -> ParticipantId {
    ParticipantId { user: UserId::parse(user).unwrap(), device: DeviceId::parse("GHOST").unwrap() }
}

/// MSC4147: whoever writes brings his own keys along, under whatever name.
#[tokio::test]
async fn nobody_speaks_about_keys_in_the_name_of_a_device_that_we_know() {
    let duo = Duo::encrypted().await;
    let (user, device) = (duo.bob.user_id().unwrap(), duo.bob.device_id().unwrap());
    let known = duo.alice.encryption().get_device(user, device).await.unwrap().unwrap();
    let key = known.curve25519_key().unwrap().to_base64();
    let other = duo.alice.encryption().get_own_device().await.unwrap().unwrap();
    let other = other.curve25519_key().unwrap().to_base64();
    let bob = duo.bob();
    for (key, device, event_type, believed) in [
        (&key, device, "com.famedly.call.member.encryption_keys", true),
        (&other, device, "com.famedly.call.member.encryption_keys", false),
        (&other, device, "com.famedly.call.member.encryption_keys_request", false),
        // Of a device that is not known its own word is all there is; others judge it.
        (&other, device_id!("TABLET"), "com.famedly.call.member.encryption_keys", true),
        (&other, device, "com.famedly.call.member.hangup", true),
    ] {
        let info = EncryptionInfo {
            sender: user.to_owned(),
            sender_device: Some(device.to_owned()),
            forwarder: None,
            algorithm_info: AlgorithmInfo::OlmV1Curve25519AesSha2 {
                curve25519_public_key_base64: key.clone(),
            },
            verification_state: VerificationState::Verified,
        };
        let facts = Facts {
            event_id: None,
            sender: bob.user.clone(),
            device: DeviceId::parse(device).ok(),
            protection: Protection::Verified,
            sent: None,
            age: None,
        };
        let content = json!({ "room_id": "!r:x" }).to_string();
        let message = RawEvent { facts, event_type: event_type.into(), content, redacts: None };
        let is_believed = is_believed(&duo.alice, &message, Some(&info)).await;
        assert_eq!(is_believed, believed, "{event_type} of {device}");
    }
}

/// One failure in between: the second try reaches whom the first one missed.
#[tokio::test]
async fn a_homeserver_that_has_recovered_is_tried_once_more() {
    let duo = Duo::encrypted().await;
    let post = duo.post().await;
    let forbidden = json!({ "errcode": "M_FORBIDDEN", "error": "x" });
    Mock::given(matchers::path_regex(PUT))
        .respond_with(ResponseTemplate::new(403).set_body_json(forbidden))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(duo.server.server())
        .await;
    assert_eq!(duo.send([duo.bob()]).await, Ok([].into()));
    assert_eq!(post.devices().len(), 1);
    assert_eq!(duo.sent().await.len(), 3, "a failure, a question, the message");
}

#[tokio::test]
async fn a_message_that_cannot_be_decrypted_is_dropped_and_counted() {
    let duo = Duo::encrypted().await;
    let (mut news, attached) = attach(&duo.bob);
    let nonsense = json!({ "type": "m.room.encrypted", "sender": "@alice:example.org",
        "content": { "algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": {},
            "sender_key": "k" } });
    let hangup = json!({ "type": "com.famedly.call.member.hangup", "sender": "@alice:example.org",
        "content": { "call_id": "c" } });
    let both = |sync: &mut matrix_sdk_test::SyncResponseBuilder| {
        sync.add_to_device_event(nonsense);
        sync.add_to_device_event(hangup);
    };
    duo.server.mock_sync().ok_and_run(&duo.bob, both).await;
    let facts = delivered(&mut news).await.events.remove(0).facts;
    assert_eq!((facts.device, facts.protection), (None, Protection::Clear));
    let counts = attached.counts();
    assert_eq!((counts.undecryptable, counts.to_device), (1, 1));
}

#[tokio::test]
async fn where_we_never_were_and_after_detaching_nothing_is_sent() {
    let duo = Duo::new().await;
    assert_eq!(duo.send([duo.bob()]).await, Err(Fault::NotFound));
    duo.port.0.let_go();
    assert_eq!(duo.send([duo.bob()]).await, Err(Fault::Unsupported));
    assert!(duo.sent().await.is_empty());
}
