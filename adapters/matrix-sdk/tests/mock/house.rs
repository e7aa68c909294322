//! One connected client and its mock server.

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use matrix_sdk::{
    Client, SlidingSyncList,
    ruma::{RoomVersionId, event_id, events::AnySyncTimelineEvent, room_id, serde::Raw},
    sync::RoomUpdates,
    test_utils::mocks::MatrixMockServer,
};
use matrix_sdk_test::{JoinedRoomBuilder, SyncResponseBuilder, event_factory::EventFactory};
use matrix_voip::{
    CallSession, VoIP, VoIPBuilder, VoipEvents, VoipNews, WallClock,
    host::LedgerStore,
    id::{DeviceId, UserId},
    machine::io::Fault,
    testing::{EmbeddedEngine, EmbeddedWebRtc},
    time::Wall,
};
use matrix_voip_matrix_sdk::{Counts, Matrix, ToDeviceMessage, connect};
use serde_json::{Value, json};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc, watch,
    },
    time::{Instant, sleep_until, timeout},
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

pub(crate) const ROOM: &str = "!r:x";
pub(crate) const BEN: &str = "@ben:x";
/// Who the SDK's mock clients are.
pub(crate) const ME: &str = "@example:localhost";
/// When everything here is sent, in milliseconds since 1970.
pub(crate) const SENT: u64 = 1_700_000_000_000;
/// Far more than anything here takes, also where time rushes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct House {
    pub(crate) server: MatrixMockServer,
    pub(crate) client: Client,
    webrtc: EmbeddedWebRtc,
    engine: EmbeddedEngine,
    pub(crate) voip: VoIP,
    pub(crate) matrix: Matrix,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::on(MatrixMockServer::new().await).await
    }

    pub(crate) async fn on(server: MatrixMockServer) -> Self {
        let client = server.client_builder().build().await;
        Self::of(server, client).await
    }

    /// With a homeserver that has delayed events, and says so.
    pub(crate) async fn with_delayed_events() -> Self {
        let server = MatrixMockServer::new().await;
        server.mock_versions().with_feature("org.matrix.msc4140", true).ok().mount().await;
        let client = server.client_builder().no_server_versions().build().await;
        Self::of(server, client).await
    }

    async fn of(server: MatrixMockServer, client: Client) -> Self {
        let webrtc = EmbeddedWebRtc::new();
        let engine = webrtc.engine();
        let host = Arc::new(engine.clone());
        let (voip, matrix) = connect(&client, |voip| voip.webrtc(host).wall_clock(wall())).unwrap();
        not_encrypted(&server).await;
        Self { server, client, webrtc, engine, voip, matrix }
    }

    /// With Ben and us in the room.
    pub(crate) async fn with_members() -> Self {
        Self::new().await.peopled().await
    }

    /// Ben and we are in the room.
    pub(crate) async fn peopled(self) -> Self {
        let house = self;
        let member = |user: &str| {
            json!({ "type": "m.room.member", "state_key": user, "sender": user, "event_id": format!("${user}"),
                "origin_server_ts": 1, "content": { "membership": "join" } })
        };
        house.sync_room(json!({ "state": { "events": [member(ME), member(BEN)] } })).await;
        let members: Vec<Value> = [ME, BEN]
            .map(|user| {
                let mut member = member(user);
                member["room_id"] = json!(ROOM);
                member
            })
            .into();
        Mock::given(matchers::path_regex("/members$"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "chunk": members })))
            .mount(house.server.server())
            .await;
        house
    }

    /// One more library on the same client: another process, as far as the server sees.
    pub(crate) async fn another(
        &self,
        build: impl FnOnce(VoIPBuilder) -> VoIPBuilder,
    ) -> (VoIP, Matrix) {
        let engine = Arc::new(self.webrtc.engine());
        connect(&self.client, |voip| build(voip.webrtc(engine))).unwrap()
    }

    /// Every event that is sent from now on, as it is: "type/transaction id" and content.
    pub(crate) async fn hear_sends(&self) -> mpsc::UnboundedReceiver<(String, Value)> {
        let (tell, heard) = mpsc::unbounded_channel();
        let tells = move |request: &Request| {
            let (_, what) = request.url.path().split_once("/send/").unwrap();
            drop(tell.send((what.to_owned(), request.body_json().unwrap())));
            ResponseTemplate::new(200).set_body_json(json!({ "event_id": "$sent" }))
        };
        Mock::given(matchers::path_regex("/rooms/[^/]*/send/"))
            .respond_with(tells)
            .with_priority(1)
            .mount(self.server.server())
            .await;
        heard
    }

    /// What the next sync answers.
    pub(crate) async fn next_sync(&self, answer: ResponseTemplate) {
        Mock::given(matchers::path_regex("^/_matrix/client/v3/sync$"))
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(self.server.server())
            .await;
    }

    /// One sync, with this response.
    pub(crate) async fn sync(&self, mut response: Value) {
        // The SDK leaves a response with the token of the one before.
        let past = self.server.server().received_requests().await.unwrap().len();
        response["next_batch"] = json!(format!("next{past}"));
        self.next_sync(ResponseTemplate::new(200).set_body_json(response)).await;
        self.client.sync_once(Default::default()).await.unwrap();
    }

    /// One sync, in which this stands of the room.
    pub(crate) async fn sync_room(&self, room: Value) {
        self.sync(json!({ "rooms": { "join": { ROOM: room } } })).await;
    }

    /// One sliding sync, in which this stands of the room.
    pub(crate) async fn slide_room(&self, room: Value) {
        let response =
            json!({ "pos": "1", "lists": {}, "rooms": { ROOM: room }, "extensions": {} });
        Mock::given(matchers::path_regex("/org.matrix.simplified_msc3575/sync$"))
            .respond_with(ResponseTemplate::new(200).set_body_json(response))
            .up_to_n_times(1)
            .mount(self.server.server())
            .await;
        // Without a list the SDK looks at no rooms.
        let sliding = self.client.sliding_sync("calls").unwrap();
        let sliding = sliding.add_list(SlidingSyncList::builder("all")).build().await.unwrap();
        sliding.sync_once().await.unwrap();
    }

    /// The history from this token backwards.
    pub(crate) async fn history(&self, from: &str, mut page: Value) {
        page["start"] = json!(from);
        Mock::given(matchers::path_regex("/messages$"))
            .and(matchers::query_param("from", from))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .mount(self.server.server())
            .await;
    }

    /// The next so many sends are answered so.
    pub(crate) async fn answer_sends(&self, answer: ResponseTemplate, times: u64) {
        Mock::given(matchers::path_regex("/rooms/[^/]*/send/"))
            .respond_with(answer)
            .up_to_n_times(times)
            .mount(self.server.server())
            .await;
    }

    /// Requests to this path are answered so, whatever they are answered otherwise.
    pub(crate) async fn answer_first(&self, path: &str, answer: ResponseTemplate) {
        Mock::given(matchers::path_regex(path))
            .respond_with(answer)
            .with_priority(1)
            .mount(self.server.server())
            .await;
    }

    pub(crate) async fn accept_sends(&self) {
        let answer = ResponseTemplate::new(200).set_body_json(json!({ "event_id": "$sent" }));
        self.answer_sends(answer, 99).await;
    }

    /// Every send: "type/transaction id" and content.
    pub(crate) async fn sends(&self) -> Vec<(String, Value)> {
        let requests = self.server.server().received_requests().await.unwrap();
        let sends = requests.iter().filter_map(|request| {
            let (_, what) = request.url.path().split_once("/send/")?;
            Some((what.to_owned(), request.body_json().unwrap()))
        });
        sends.collect()
    }

    /// How many ICE servers the newest peer connection was opened with.
    pub(crate) fn ice_servers(&self) -> usize {
        let seat = self.engine.seat();
        self.webrtc.look(|all| all.peers(seat).last().unwrap().1.config.ice_servers.len())
    }

    pub(crate) async fn until(&self, reached: impl Fn(Counts) -> bool) {
        counted(&self.matrix, reached).await;
    }

    /// One sync after which Ben is ignored, and the SDK has told so.
    pub(crate) async fn ignore_ben(&self) {
        let mut changes = self.client.subscribe_to_ignore_user_list_changes();
        let list =
            json!({ "type": "m.ignored_user_list", "content": { "ignored_users": { BEN: {} } } });
        self.sync(json!({ "account_data": { "events": [list] } })).await;
        let told = timeout(PATIENCE, changes.next()).await.unwrap();
        assert_eq!(told, Some(vec![BEN.to_owned()]));
    }
}

/// Waits until the adapter's figures are such.
pub(crate) async fn counted(matrix: &Matrix, reached: impl Fn(Counts) -> bool) {
    let reached = timeout(PATIENCE, matrix.counted(|counts| reached(*counts))).await;
    assert!(reached.is_ok(), "{:?}", matrix.counts());
}

/// A ledger that says what is kept in it.
pub(crate) struct Told {
    store: Arc<dyn LedgerStore>,
    kept: watch::Sender<Vec<u8>>,
}

impl Told {
    pub(crate) fn new(store: Arc<dyn LedgerStore>) -> Arc<Self> {
        Arc::new(Self { store, kept: watch::Sender::default() })
    }

    /// Until it names this call.
    pub(crate) async fn names(&self, call_id: &str) {
        let mut kept = self.kept.subscribe();
        let named = kept.wait_for(|kept| String::from_utf8_lossy(kept).contains(call_id));
        drop(timeout(PATIENCE, named).await.expect("the ledger is kept").unwrap());
    }
}

#[async_trait]
impl LedgerStore for Told {
    async fn save(&self, bytes: Vec<u8>) -> Result<(), Fault> {
        self.store.save(bytes.clone()).await?;
        self.kept.send_replace(bytes);
        Ok(())
    }
}

/// Two clients who can encrypt for each other; Bob's has calls.
pub(crate) struct Duo {
    pub(crate) server: MatrixMockServer,
    pub(crate) alice: Client,
    pub(crate) bob: Client,
    pub(crate) voip: VoIP,
    pub(crate) matrix: Matrix,
}

impl Duo {
    pub(crate) async fn new() -> Self {
        let server = MatrixMockServer::new().await;
        server.mock_crypto_endpoints_preset().await;
        let (alice, bob) = server.set_up_alice_and_bob_for_encryption().await;
        let engine = Arc::new(EmbeddedWebRtc::new().engine());
        let (voip, matrix) = connect(&bob, |voip| voip.webrtc(engine)).unwrap();
        let duo = Self { server, alice, bob, voip, matrix };
        for client in [&duo.alice, &duo.bob] {
            let room = duo.server.sync_room(client, duo.room()).await;
            assert!(room.encryption_state().is_encrypted());
        }
        let events = EventFactory::new().room(room_id!("!r:x"));
        let members = [&duo.alice, &duo.bob].map(|client| {
            let user = client.user_id().unwrap();
            events.member(user).sender(user).into_raw()
        });
        duo.server.mock_get_members().ok(members.into()).mount().await;
        duo
    }

    fn room(&self) -> JoinedRoomBuilder {
        let events = EventFactory::new().room(room_id!("!r:x"));
        let alice = self.alice.user_id().unwrap();
        JoinedRoomBuilder::new(room_id!("!r:x"))
            .add_state_event(events.create(alice, RoomVersionId::V10))
            .add_state_event(events.room_encryption().sender(alice))
    }

    /// Alice encrypts and sends; what she sent, and the message with the room key.
    pub(crate) async fn alice_sends(&self, event: Value) -> (Value, Value) {
        let alice = self.alice.user_id().unwrap();
        let (keys, key) = self.server.mock_capture_put_to_device(alice).await;
        let (sent, send) = self.server.mock_room_send().ok_with_capture(event_id!("$call"), alice);
        send.mock_once().mount().await;
        let room = self.alice.get_room(room_id!("!r:x")).unwrap();
        let event_type = event["type"].as_str().unwrap();
        room.send_raw(event_type, event["content"].clone()).await.unwrap();
        let (sent, key) = (sent.await.unwrap(), key.await);
        drop(keys);
        (sent.deserialize_as_unchecked().unwrap(), key.deserialize_as_unchecked().unwrap())
    }

    /// Alice has calls too, and sends a message; what came of it, and what went out.
    pub(crate) async fn alice_tells(
        &self,
        message: ToDeviceMessage,
        targets: &[(UserId, DeviceId)],
    ) -> (Result<Vec<(UserId, DeviceId)>, Fault>, Value) {
        let engine = Arc::new(EmbeddedWebRtc::new().engine());
        let (_voip, alice) = connect(&self.alice, |voip| voip.webrtc(engine)).unwrap();
        let user = self.alice.user_id().unwrap();
        let (guard, sent) = self.server.mock_capture_put_to_device(user).await;
        let missed = alice.send_to_device(message, targets).await;
        let sent = sent.await;
        drop(guard);
        (missed, sent.deserialize_as_unchecked().unwrap())
    }

    pub(crate) async fn bob_syncs_event(&self, mut event: Value) {
        event["unsigned"] = json!({ "age": 100 });
        let raw = Raw::<Value>::new(&event).unwrap().cast_unchecked::<AnySyncTimelineEvent>();
        let room = JoinedRoomBuilder::new(room_id!("!r:x")).add_timeline_event(raw);
        self.server.sync_room(&self.bob, room).await;
    }

    pub(crate) async fn bob_syncs_message(&self, message: Value) {
        let add = |sync: &mut SyncResponseBuilder| {
            sync.add_to_device_event(message);
        };
        self.server.mock_sync().ok_and_run(&self.bob, add).await;
    }

    pub(crate) async fn until(&self, reached: impl Fn(Counts) -> bool) {
        counted(&self.matrix, reached).await;
    }
}

/// A clock by which everything here has just been sent.
pub(crate) fn wall() -> WallClock {
    WallClock::with_tokio(Wall(SENT))
}

/// The next call that rings.
pub(crate) async fn ring(events: &mut VoipEvents) -> CallSession {
    let rings = async {
        loop {
            if let VoipNews::RingStarted { call, .. } = events.next().await.unwrap() {
                return call;
            }
        }
    };
    timeout(PATIENCE, rings).await.expect("it rings")
}

/// No room is.
async fn not_encrypted(server: &MatrixMockServer) {
    let absent = json!({ "errcode": "M_NOT_FOUND", "error": "x" });
    Mock::given(matchers::path_regex("/state/m.room.encryption"))
        .respond_with(ResponseTemplate::new(404).set_body_json(absent))
        .mount(server.server())
        .await;
}

/// A server of its own at this address: it goes down when it is dropped.
pub(crate) async fn server_at(address: &str) -> MatrixMockServer {
    let listener = TcpListener::bind(address).unwrap();
    let server = MockServer::builder().listener(listener).start().await;
    let server = MatrixMockServer::from_server(server);
    not_encrypted(&server).await;
    server
}

/// Until nobody listens at this address. The one thing here that is polled: a socket of which
/// another thread lets go says nothing when it does.
pub(crate) async fn until_down(address: &str) {
    let wait = async {
        while TcpStream::connect(address).is_ok() {
            sleep_until(Instant::now() + Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it goes down");
}

/// Until nobody holds the client.
pub(crate) async fn closed(mut updates: Receiver<RoomUpdates>) {
    let closes = async { while !matches!(updates.recv().await, Err(RecvError::Closed)) {} };
    timeout(PATIENCE, closes).await.expect("the client is gone");
}

/// A call event of Ben's.
pub(crate) fn call_event(kind: &str, call_id: &str, mut content: Value) -> Value {
    content["call_id"] = json!(call_id);
    content["party_id"] = json!("BEN");
    content["version"] = json!("1");
    json!({ "type": format!("m.call.{kind}"), "content": content })
}

pub(crate) fn invite(call_id: &str) -> Value {
    let sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11\r\na=setup:actpass\r\n\
        a=sendrecv\r\n";
    let offer = json!({ "type": "offer", "sdp": sdp });
    call_event("invite", call_id, json!({ "lifetime": 60000, "offer": offer }))
}

/// As `/sync` has it in an unencrypted room, this old.
pub(crate) fn plain(id: &str, mut event: Value, age: u64) -> Value {
    event["event_id"] = json!(id);
    event["sender"] = json!(BEN);
    event["origin_server_ts"] = json!(SENT);
    event["unsigned"] = json!({ "age": age });
    event
}
