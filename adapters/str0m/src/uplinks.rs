//! DNS, TCP and TLS to STUN and TURN servers, a task for each look-up and each stream.
//!
//! They die with their connection. What they bring comes out of one bounded queue, so a server that
//! sends faster than we read is slowed down by TCP itself. What we send faster than a stream takes
//! is dropped whole, as on any network.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use matrix_voip::machine::io::ServerFault;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::reach::ServerAddress;
use matrix_voip_engine::Tls;

/// How long a name may take.
const LOOK_UP: Duration = Duration::from_secs(5);

/// How long a stream may take to open, with TLS.
const OPENING: Duration = Duration::from_secs(10);

/// Messages that wait to be written to one stream: about five seconds of a voice call.
const MAX_WAITING: usize = 256;

/// Pieces of news that wait for their connection.
const MAX_NEWS: usize = 64;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What the outside has answered.
#[derive(Debug)]
pub(crate) enum Outside {
    Resolved { server: usize, addresses: Vec<ServerAddress> },
    Connected { server: usize, local: SocketAddr },
    Stream { server: usize, data: Vec<u8> },
    Disconnected { server: usize, fault: ServerFault },
}

/// Look-ups and streams of one connection; dropping it ends them all.
pub(crate) struct Uplinks {
    tasks: JoinSet<()>,
    writers: BTreeMap<usize, mpsc::Sender<Vec<u8>>>,
    news: mpsc::Sender<Outside>,
    heard: mpsc::Receiver<Outside>,
    tls: Arc<Tls>,
}

impl Uplinks {
    /// None yet.
    pub(crate) fn new(tls: Arc<Tls>) -> Self {
        let (news, heard) = mpsc::channel(MAX_NEWS);
        Self { tasks: JoinSet::new(), writers: BTreeMap::new(), news, heard, tls }
    }

    /// Looks up the addresses of a server.
    pub(crate) fn resolve(&mut self, server: usize, host: String, port: u16) {
        let news = self.news.clone();
        self.tasks.spawn(async move {
            let addresses = look_up(&host, port).await;
            drop(news.send(Outside::Resolved { server, addresses }).await);
        });
    }

    /// Opens a stream, with TLS if a name is to be proven.
    pub(crate) fn connect(&mut self, server: usize, to: SocketAddr, name: Option<String>) {
        let (news, tls) = (self.news.clone(), self.tls.clone());
        let (writer, messages) = mpsc::channel(MAX_WAITING);
        self.writers.insert(server, writer);
        self.tasks.spawn(async move {
            let line = Line { server, news: news.clone(), messages };
            let ended = match name {
                Some(name) => line.run_tls(to, &name, &tls).await,
                None => line.run_tcp(to).await,
            };
            let fault = ended.err().unwrap_or(ServerFault::Unreachable);
            drop(news.send(Outside::Disconnected { server, fault }).await);
        });
    }

    /// Sends a message on a stream.
    pub(crate) fn send(&mut self, server: usize, data: Vec<u8>) {
        if let Some(writer) = self.writers.get(&server) {
            // Full: the stream is slower than the media; closed: its end is on the way to us.
            drop(writer.try_send(data));
        }
    }

    /// Ends a stream when what was sent before is written.
    pub(crate) fn disconnect(&mut self, server: usize) {
        self.writers.remove(&server);
    }

    /// Waits for news. Cancel safe.
    pub(crate) async fn next(&mut self) -> Outside {
        loop {
            tokio::select! {
                Some(outside) = self.heard.recv() => return outside,
                // Tasks that are done are taken away.
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }
}

/// One stream from within.
struct Line {
    server: usize,
    news: mpsc::Sender<Outside>,
    messages: mpsc::Receiver<Vec<u8>>,
}

impl Line {
    async fn run_tcp(self, to: SocketAddr) -> Result<(), ServerFault> {
        let stream = timeout(OPENING, open(to)).await.map_err(|_| ServerFault::Silent)?;
        let stream = stream.map_err(|_| ServerFault::Unreachable)?;
        let local = stream.local_addr().map_err(|_| ServerFault::Unreachable)?;
        self.carry(local, stream).await
    }

    async fn run_tls(self, to: SocketAddr, name: &str, tls: &Tls) -> Result<(), ServerFault> {
        let opening = async {
            let stream = open(to).await.map_err(|_| ServerFault::Unreachable)?;
            let local = stream.local_addr().map_err(|_| ServerFault::Unreachable)?;
            Ok((local, tls.secure(name, stream).await?))
        };
        let (local, stream) =
            timeout(OPENING, opening).await.unwrap_or(Err(ServerFault::Silent))?;
        self.carry(local, stream).await
    }

    /// Carries messages and bytes until one side has enough.
    async fn carry(
        self,
        local: SocketAddr,
        stream: impl AsyncRead + AsyncWrite,
    ) -> Result<(), ServerFault> {
        let Self { server, news, messages } = self;
        drop(news.send(Outside::Connected { server, local }).await);
        let (reader, writer) = tokio::io::split(stream);
        let ended = tokio::select! {
            ended = read(server, reader, news) => ended,
            ended = write(writer, messages) => ended,
        };
        ended.map_err(|_| ServerFault::Unreachable)
    }
}

async fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read(
    server: usize,
    mut reader: impl AsyncRead + Unpin,
    news: mpsc::Sender<Outside>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = reader.read(&mut chunk).await?;
        let data = chunk[..length].to_vec();
        let is_over = length == 0;
        if is_over || news.send(Outside::Stream { server, data }).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(message) = messages.recv().await {
        writer.write_all(&message).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

/// The first address of each family, IPv4 first: relayed addresses are IPv4.
async fn look_up(host: &str, port: u16) -> Vec<ServerAddress> {
    let found = timeout(LOOK_UP, tokio::net::lookup_host((host, port))).await;
    let Ok(Ok(found)) = found else { return Vec::new() };
    let found: Vec<SocketAddr> = found.collect();
    let first = |is_v4: bool| found.iter().copied().find(|address| address.is_ipv4() == is_v4);
    let best = [first(true), first(false)].into_iter().flatten();
    best.map(|address| ServerAddress { address, from: way_to(address) }).collect()
}

/// Our address on the way to this one. Nothing is sent: a UDP socket only asks for the route.
fn way_to(address: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
