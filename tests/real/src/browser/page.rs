//! One page in a Chromium without a window: what it is asked, what it says, and the frames of both.

use std::{
    collections::HashMap,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as blocking,
    },
    time::Duration,
};

use matrix_voip::machine::io::Fault;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{
    peer::{Peer, Record},
    server::{self, Server},
};
use crate::{
    failure::{Context, Failure},
    house::House,
};

/// How long Chromium may take to start. It takes two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames that may wait until the page takes them.
const MAX_WAITING: usize = 4096;

const FLAGS: [&str; 14] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--mute-audio",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--autoplay-policy=no-user-gesture-required",
    // Engines may be bound to loopback; and they look up no names.
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];

/// A page with peer connections.
#[derive(Debug)]
pub struct Page {
    commands: mpsc::UnboundedSender<String>,
    frames: mpsc::Sender<Vec<u8>>,
    desk: Arc<Desk>,
    chromium: Child,
    _server: Server,
}

/// Who waits for what the page says.
#[derive(Debug, Default)]
pub(super) struct Desk {
    asked: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    peers: Mutex<HashMap<u32, Arc<Peer>>>,
    next: AtomicU64,
}

impl Page {
    /// Starts Chromium in this house, where it trusts the TURN server with this public key.
    pub(crate) fn open(house: &House, chromium: &Path, trusted: &str) -> Result<Self, Failure> {
        let desk = Arc::new(Desk::default());
        let (commands, waiting_commands) = mpsc::unbounded_channel();
        let both = (commands.clone(), waiting_commands);
        let (frames, waiting_frames) = mpsc::channel(MAX_WAITING);
        let (ready, is_ready) = blocking::channel();
        let ways = server::Ways::new(desk.clone(), both, waiting_frames, ready);
        let (server, port) = Server::start(ways)?;
        let folder = house.scratch().join("chromium");
        let errors = std::fs::File::create(house.folder().join("chromium.stderr"));
        let chromium = house
            .command(chromium)
            .args(FLAGS)
            .arg(format!("--ignore-certificate-errors-spki-list={trusted}"))
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg(format!("http://127.0.0.1:{port}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors.context("writing the log of Chromium")?)
            .spawn()
            .context("starting Chromium")?;
        let page = Self { commands, frames, desk, chromium, _server: server };
        is_ready.recv_timeout(PATIENCE).context("waiting for the page")?;
        Ok(page)
    }

    /// Has it do something; its answer.
    pub(super) async fn ask(&self, mut command: Value) -> Result<Value, Fault> {
        let (answer, answered) = oneshot::channel();
        let number = self.desk.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.desk.asked).insert(number, answer);
        command["re"] = number.into();
        self.tell(command);
        let answer = answered.await.map_err(|_| Fault::Unreachable)?;
        match answer["error"].as_str() {
            Some(why) => Err(Fault::Failed(why.to_owned())),
            None => Ok(answer),
        }
    }

    /// Has it do something.
    pub(super) fn tell(&self, command: Value) {
        // Nobody is there to read it when the page has ended: so say those who ask.
        drop(self.commands.send(format!("{command}\n")));
    }

    /// A frame for it; lost where it does not follow.
    pub(super) fn send(&self, record: Vec<u8>) {
        drop(self.frames.try_send(record));
    }

    /// What is told of this connection goes to it.
    pub(super) fn remember(&self, peer: &Arc<Peer>) {
        lock(&self.desk.peers).insert(peer.number, peer.clone());
    }

    pub(super) fn forget(&self, number: u32) {
        lock(&self.desk.peers).remove(&number);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        drop((self.chromium.kill(), self.chromium.wait()));
    }
}

impl Desk {
    /// An answer or news of a connection.
    pub(super) fn hear(&self, said: Value) {
        if let Some(number) = said["re"].as_u64() {
            let asked = lock(&self.asked).remove(&number);
            // Nobody waits any more.
            drop(asked.map(|asked| asked.send(said)));
        } else if let Some(peer) = said["news"].as_u64().and_then(|number| self.peer(number as u32))
        {
            peer.on_news(&said);
        }
    }

    /// Something came in by a line; the command that follows from it.
    pub(super) fn arrive(&self, record: &Record<'_>) -> Option<Value> {
        self.peer(record.peer)?.on_arrived(record)
    }

    fn peer(&self, number: u32) -> Option<Arc<Peer>> {
        lock(&self.peers).get(&number).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
