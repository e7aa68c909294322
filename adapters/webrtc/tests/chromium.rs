//! Calls with a real browser: Chromium without a window, with its fake microphone and camera.
//!
//! Where there is no Chromium these are skipped and say so.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{Side, side_with};
use matrix_voip::{
    host::WebRtc,
    id::PeerId,
    machine::io::{Description, Direction, MediaKind, PeerState, Plan, SdpKind, Slot},
};
use matrix_voip_webrtc::Interfaces;
use serde_json::{Value, json};
use testkit::studio::{answer, offer, until};
use testkit::{line, video, voice};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PEER: PeerId = PeerId(1);

/// Longer than anything takes that goes well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser that does what it is told.
struct Browser {
    process: Child,
    folder: PathBuf,
    listener: TcpListener,
    /// It waits for its next command here.
    waiting: Option<TcpStream>,
}

impl Browser {
    /// `None` where there is no Chromium.
    async fn start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("chromium-{}-{port}", std::process::id()));
        let started = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"])
            .args(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg(format!("http://127.0.0.1:{port}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            let skipped = b"skipped: chromium: it is not installed\n";
            std::io::stderr().write_all(skipped).unwrap();
            return None;
        };
        let mut browser = Self { process, folder, listener, waiting: None };
        browser.reply().await;
        Some(browser)
    }

    /// Has it do something; what it says.
    async fn tell(&mut self, command: Value) -> Value {
        let mut waiting = self.waiting.take().unwrap();
        respond(&mut waiting, "application/json", &command.to_string()).await;
        let reply = timeout(PATIENCE, self.reply()).await.unwrap();
        assert!(reply.get("error").is_none(), "{command}: {reply}");
        reply
    }

    /// Waits until it asks for its next command.
    async fn reply(&mut self) -> Value {
        loop {
            let (mut stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
            let (path, body) = read(&mut stream).await;
            match path.as_str() {
                "/next" => {
                    self.waiting = Some(stream);
                    return serde_json::from_str(&body).unwrap();
                }
                "/" => respond(&mut stream, "text/html", include_str!("common/page.html")).await,
                _ => respond(&mut stream, "text/plain", "").await,
            }
        }
    }

    async fn offer(&mut self, what: Value) -> Description {
        let mut command = json!({ "do": "offer" });
        command.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        described(SdpKind::Offer, &self.tell(command).await)
    }

    async fn answer(&mut self, offer: &Description, video: bool) -> Description {
        let sdp = offer.sdp.expose();
        let command = json!({ "do": "answer", "sdp": sdp, "audio": true, "video": video });
        described(SdpKind::Answer, &self.tell(command).await)
    }

    async fn accept(&mut self, answer: &Description) {
        self.tell(json!({ "do": "accept", "sdp": answer.sdp.expose() })).await;
    }

    /// Packets of this kind come in at the browser.
    async fn hears(&mut self, kind: &str) {
        let count = |stats: &Value| stats[kind].as_u64().unwrap_or_default();
        let before = count(&self.tell(json!({ "do": "stats" })).await);
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let hearing = async {
            while count(&self.tell(json!({ "do": "stats" })).await) < before + 20 {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("no {kind} at the browser"));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop((self.process.kill(), self.process.wait()));
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn described(kind: SdpKind, said: &Value) -> Description {
    Description { kind, sdp: said["sdp"].as_str().unwrap().into() }
}

/// The path and the body of a request.
async fn read(stream: &mut TcpStream) -> (String, String) {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let length = stream.read(&mut part).await.unwrap();
        text.extend_from_slice(&part[..length]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else {
            if length == 0 {
                return (String::new(), String::new());
            }
            continue;
        };
        let named = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        if body.len() >= named.unwrap_or(0_usize) || length == 0 {
            let path = head.split(' ').nth(1).unwrap_or_default();
            return (path.to_owned(), body.to_owned());
        }
    }
}

async fn respond(stream: &mut TcpStream, kind: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn ours() -> Side {
    let side = side_with(440.0, |builder| builder.interfaces(Interfaces::All));
    side.open(1).await;
    side.capture(&video(1, "ours")).await;
    side
}

async fn flows(to: &Side, kind: MediaKind) {
    let before = to.heard(kind).len();
    until(&format!("{kind:?} of the browser"), || to.heard(kind).len() > before + 10).await;
}

#[tokio::test]
async fn the_browser_calls_both_add_video_and_restart_ice() {
    let Some(mut browser) = Browser::start().await else { return };
    let mut side = ours().await;
    let theirs = browser.offer(json!({ "audio": true })).await;
    let made = answer(&side, &theirs, voice(1, "ours")).await;
    browser.accept(&made).await;
    side.until_state(PeerState::Connected).await;
    flows(&side, MediaKind::Audio).await;
    browser.hears("audio").await;
    println!("sound both ways");

    let mine = offer(&side, video(1, "ours")).await;
    let made = browser.answer(&mine, true).await;
    side.engine.set_remote(PEER, made).await.unwrap();
    browser.hears("audio").await;
    browser.hears("video").await;
    flows(&side, MediaKind::Video).await;
    println!("we added video");

    for restarter in ["browser", "we"] {
        if restarter == "browser" {
            let theirs = browser.offer(json!({ "restart": true })).await;
            let made = answer(&side, &theirs, video(1, "ours")).await;
            browser.accept(&made).await;
        } else {
            side.engine.restart_ice(PEER).await.unwrap();
            let mine = offer(&side, video(1, "ours")).await;
            let made = browser.answer(&mine, true).await;
            side.engine.set_remote(PEER, made).await.unwrap();
        }
        flows(&side, MediaKind::Audio).await;
        flows(&side, MediaKind::Video).await;
        browser.hears("audio").await;
        println!("ICE restarted: {restarter}");
    }
}

#[tokio::test]
async fn we_call_and_both_hold_in_every_way() {
    let Some(mut browser) = Browser::start().await else { return };
    let mut side = ours().await;
    let mine = offer(&side, voice(1, "ours")).await;
    let made = browser.answer(&mine, false).await;
    side.engine.set_remote(PEER, made).await.unwrap();
    side.until_state(PeerState::Connected).await;
    flows(&side, MediaKind::Audio).await;
    browser.hears("audio").await;
    for direction in ["sendonly", "inactive", "recvonly", "sendrecv"] {
        let theirs = browser.offer(json!({ "direction": direction })).await;
        let made = answer(&side, &theirs, voice(1, "ours")).await;
        browser.accept(&made).await;
        println!("the browser holds: {direction}");
    }
    flows(&side, MediaKind::Audio).await;
    browser.hears("audio").await;
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for direction in [SendOnly, Inactive, RecvOnly, SendRecv] {
        let hold = Plan { lines: vec![line(Slot::Audio, direction, 1, "ours")] };
        let mine = offer(&side, hold).await;
        let made = browser.answer(&mine, false).await;
        side.engine.set_remote(PEER, made).await.unwrap();
        println!("we hold: {direction:?}");
    }
    flows(&side, MediaKind::Audio).await;
    browser.hears("audio").await;
}

#[tokio::test]
async fn of_two_offers_one_is_rolled_back_by_either_side() {
    let Some(mut browser) = Browser::start().await else { return };
    let mut side = ours().await;
    let theirs = browser.offer(json!({ "audio": true })).await;
    let made = answer(&side, &theirs, voice(1, "ours")).await;
    browser.accept(&made).await;
    side.until_state(PeerState::Connected).await;
    flows(&side, MediaKind::Audio).await;

    // Both add video; the browser yields.
    let _theirs = browser.offer(json!({ "video": true })).await;
    let mine = offer(&side, video(1, "ours")).await;
    browser.tell(json!({ "do": "rollback" })).await;
    let made = browser.answer(&mine, true).await;
    side.engine.set_remote(PEER, made).await.unwrap();
    flows(&side, MediaKind::Video).await;
    println!("the browser rolled back");

    // We yield.
    let _mine = offer(&side, voice(1, "ours")).await;
    let theirs = browser.offer(json!({ "video": true })).await;
    side.engine.rollback(PEER).await.unwrap();
    let made = answer(&side, &theirs, video(1, "ours")).await;
    browser.accept(&made).await;
    flows(&side, MediaKind::Audio).await;
    flows(&side, MediaKind::Video).await;
    browser.hears("audio").await;
    println!("we rolled back");
    browser.tell(json!({ "do": "close" })).await;
    let lost = side.until(|news| {
        use matrix_voip::machine::io::PeerNews::State;
        matches!(news, State(PeerState::Disconnected | PeerState::Failed))
    });
    lost.await;
}
