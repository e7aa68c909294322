//! What the adapter adds between the arrival of a sync response and the machine's verdict.
//!
//! ```text
//! cargo bench -p matrix-voip-matrix-sdk
//! ```
//!
//! One room that is not encrypted, one invite in a response of a mock server. Each round is timed
//! from the begin of `sync_once`. Baseline of the same run, in turn with it: the same response, and
//! the first line of a plain event handler of the SDK's. Ours: until the application reads
//! `RingStarted`, so the adapter, the machine, the driver and the application's channel. The last
//! figure is without the server and the SDK: from the SDK's own word of the response to that. A task
//! hears that word as the adapter does, and on a busy machine perhaps after it: the difference is the
//! figure to go by.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic, and speaks")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use matrix_sdk::{
    Client,
    ruma::{events::AnySyncTimelineEvent, serde::Raw},
    sync::RoomUpdates,
    test_utils::mocks::MatrixMockServer,
};
use matrix_voip::{VoIP, VoipEvents, VoipNews, testing::EmbeddedWebRtc};
use matrix_voip_matrix_sdk::{Matrix, connect};
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast::Receiver, mpsc},
    time::Instant,
};
use wiremock::{Mock, Request, Respond, ResponseTemplate, matchers};

/// How many rounds are timed, and how many go before them.
const ROUNDS: usize = 200;
const WARM_UP: usize = 20;

/// What the next sync answers. One mock for all of them: each one mounted makes the server slower.
#[derive(Clone, Default)]
struct Next(Arc<Mutex<Value>>);

impl Respond for Next {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(&*self.0.lock().unwrap())
    }
}

/// A client and its mock server.
struct Desk {
    client: Client,
    next: Next,
    syncs: usize,
    _server: MatrixMockServer,
}

impl Desk {
    async fn new() -> Self {
        let server = MatrixMockServer::new().await;
        let client = server.client_builder().build().await;
        let next = Next::default();
        let sync = Mock::given(matchers::path_regex("/v3/sync$"));
        sync.respond_with(next.clone()).mount(server.server()).await;
        let clear = json!({ "errcode": "M_NOT_FOUND", "error": "x" });
        Mock::given(matchers::path_regex("/state/m.room.encryption"))
            .respond_with(ResponseTemplate::new(404).set_body_json(clear))
            .mount(server.server())
            .await;
        Self { client, next, syncs: 0, _server: server }
    }

    /// The next response has this event in it.
    fn prepare(&mut self, event: Value) {
        self.syncs += 1;
        let room = json!({ "timeline": { "events": [event] } });
        let next = format!("next{}", self.syncs);
        *self.next.0.lock().unwrap() =
            json!({ "next_batch": next, "rooms": { "join": { "!r:x": room } } });
    }

    async fn sync(&self) -> Instant {
        let begun = Instant::now();
        self.client.sync_once(Default::default()).await.unwrap();
        begun
    }
}

fn event(kind: &str, n: usize, more: Value) -> Value {
    let mut content = json!({ "call_id": format!("c{n}"), "party_id": "BEN", "version": "1" });
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "type": format!("m.call.{kind}"), "content": content, "sender": "@ben:x",
        "event_id": format!("${kind}{n}"), "origin_server_ts": 1, "unsigned": { "age": 10 } })
}

fn invite(n: usize) -> Value {
    let sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11\r\na=setup:actpass\r\n\
        a=sendrecv\r\n";
    event("invite", n, json!({ "lifetime": 60000, "offer": { "type": "offer", "sdp": sdp } }))
}

/// The SDK with an event handler.
struct Plain {
    desk: Desk,
    heard: mpsc::UnboundedReceiver<Instant>,
}

impl Plain {
    async fn new() -> Self {
        let desk = Desk::new().await;
        let (tell, heard) = mpsc::unbounded_channel();
        desk.client.add_event_handler(move |_: Raw<AnySyncTimelineEvent>| {
            tell.send(Instant::now()).unwrap();
            std::future::ready(())
        });
        Self { desk, heard }
    }

    async fn round(&mut self, n: usize) -> Duration {
        self.desk.prepare(invite(n));
        let begun = self.desk.sync().await;
        self.heard.recv().await.unwrap() - begun
    }
}

/// The SDK with this adapter.
struct Calls {
    desk: Desk,
    told: mpsc::UnboundedReceiver<Instant>,
    read: mpsc::UnboundedReceiver<(Word, Instant)>,
    _voip: VoIP,
    _matrix: Matrix,
}

/// What an application reads of a call.
#[derive(Debug, PartialEq)]
enum Word {
    Ring,
    End,
}

impl Calls {
    async fn new() -> Self {
        let desk = Desk::new().await;
        let engine = Arc::new(EmbeddedWebRtc::new().engine());
        let (voip, matrix) = connect(&desk.client, |voip| voip.webrtc(engine)).unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(listen(desk.client.subscribe_to_all_room_updates(), tell));
        let (tell, read) = mpsc::unbounded_channel();
        tokio::spawn(watch(voip.events(), tell));
        Self { desk, told, read, _voip: voip, _matrix: matrix }
    }

    /// The whole, and what is left of it after the SDK's word.
    async fn round(&mut self, n: usize) -> (Duration, Duration) {
        self.desk.prepare(invite(n));
        let begun = self.desk.sync().await;
        let told = self.told.recv().await.unwrap();
        let rang = self.until(Word::Ring).await;
        self.desk.prepare(event("hangup", n, json!({})));
        self.desk.sync().await;
        self.told.recv().await.unwrap();
        self.until(Word::End).await;
        (rang - begun, rang.saturating_duration_since(told))
    }

    async fn until(&mut self, wanted: Word) -> Instant {
        let (word, at) = self.read.recv().await.unwrap();
        assert_eq!(word, wanted);
        at
    }
}

/// Each word of the SDK's, as it comes.
async fn listen(mut updates: Receiver<RoomUpdates>, tell: mpsc::UnboundedSender<Instant>) {
    while updates.recv().await.is_ok() {
        tell.send(Instant::now()).unwrap();
    }
}

/// The beginnings and ends of calls, as an application reads them.
async fn watch(mut events: VoipEvents, tell: mpsc::UnboundedSender<(Word, Instant)>) {
    while let Some(news) = events.next().await {
        let word = match news {
            VoipNews::RingStarted { .. } => Word::Ring,
            VoipNews::CallEnded { .. } => Word::End,
            _ => continue,
        };
        tell.send((word, Instant::now())).unwrap();
    }
}

/// Prints how long it took; gives the median in microseconds.
fn tell(what: &str, mut spans: Vec<Duration>) -> f64 {
    spans.sort();
    let at = |percent: usize| spans[(spans.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{what:<44} median {:7.0} µs   90 % {:7.0} µs", at(50), at(90));
    at(50)
}

#[tokio::main]
async fn main() {
    let (mut plain, mut calls) = (Plain::new().await, Calls::new().await);
    let (mut handled, mut rang, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..WARM_UP + ROUNDS {
        let handler = plain.round(n).await;
        let (ring, rest) = calls.round(n).await;
        if n >= WARM_UP {
            handled.push(handler);
            rang.push(ring);
            added.push(rest);
        }
    }
    let baseline = tell("the SDK alone: until an event handler runs", handled);
    let ours = tell("with the adapter: until RingStarted is read", rang);
    println!("difference {:.0} µs, ratio {:.2}", ours - baseline, ours / baseline);
    tell("from the SDK's word to RingStarted", added);
}
