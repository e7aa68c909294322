//! TURN over TCP and TLS: a socket on this machine that passes everything on to the server.
//!
//! What the crate sends as datagrams goes as a stream, and back: STUN messages as they are,
//! ChannelData padded to four bytes one way and without padding the other (RFC 8656 §12.5). Each
//! socket that the crate asks from has a stream of its own, as it has an allocation of its own: one
//! per interface, and new ones after each ICE restart.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use matrix_voip::machine::io::ServerFault;
use matrix_voip_engine::{
    ServerUri, Tls,
    uri::{Service, Transport},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket, lookup_host},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

/// How long a server may take to be looked up, to be reached by all its addresses together, and to agree
/// on TLS: each of the three.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most addresses of a server that are tried.
const MAX_ADDRESSES: usize = 4;

/// Most sockets of the crate's that are served; beyond them the one that was silent for longest goes.
const MAX_CLIENTS: usize = 16;

/// Errors without a datagram between them after which the socket counts as broken.
const MAX_ERRORS: usize = 64;

/// How long a server that ended a stream, or could not be reached, is left in peace.
const PAUSE: Duration = Duration::from_secs(1);

/// Datagrams that may wait for a stream.
const MAX_WAITING: usize = 64;

/// How long the way is open when the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Largest message of either kind: its length has 16 bits, before that stands a header.
const MAX_MESSAGE: usize = (1 << 16) + 20;

/// The way to one server; it ends with this value.
pub(crate) struct Forwarder {
    address: SocketAddr,
    fault: Arc<Mutex<Option<ServerFault>>>,
    /// Dropped, the way is open for a moment longer: allocations are given back.
    _open: oneshot::Sender<()>,
}

impl Forwarder {
    /// Opens the socket at this address of the machine; the server is reached for when a datagram comes.
    ///
    /// # Errors
    /// [`ServerFault::Unusable`] when there is no socket to be had.
    pub(crate) async fn start(
        here: IpAddr,
        server: ServerUri,
        tls: Arc<Tls>,
    ) -> Result<Self, ServerFault> {
        let bound = UdpSocket::bind((here, 0)).await;
        let socket = bound.map_err(|_| ServerFault::Unusable)?;
        let address = socket.local_addr().map_err(|_| ServerFault::Unusable)?;
        let fault = Arc::new(Mutex::new(None));
        let (open, closes) = oneshot::channel::<()>();
        let carrier = Carrier { socket: Arc::new(socket), server, tls, fault: fault.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = carrier.run() => {}
                () = farewell(closes) => {}
            }
        });
        Ok(Self { address, fault, _open: open })
    }

    /// Where the crate finds the server.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why it is of no use, if it is of none.
    pub(crate) fn fault(&self) -> Option<ServerFault> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the connection is over, and a moment longer.
async fn farewell(closes: oneshot::Receiver<()>) {
    drop(closes.await);
    drop(timeout(FAREWELL, std::future::pending::<()>()).await);
}

/// What the task works with.
#[derive(Clone)]
struct Carrier {
    socket: Arc<UdpSocket>,
    server: ServerUri,
    tls: Arc<Tls>,
    fault: Arc<Mutex<Option<ServerFault>>>,
}

impl Carrier {
    async fn run(self) {
        // Dropped, it ends the streams.
        let mut streams = JoinSet::new();
        let mut clients: VecDeque<(SocketAddr, mpsc::Sender<Vec<u8>>)> = VecDeque::new();
        let (mut datagram, mut errors) = (vec![0; MAX_MESSAGE], 0);
        loop {
            while streams.try_join_next().is_some() {}
            let Ok((length, from)) = self.socket.recv_from(&mut datagram).await else {
                // That of one datagram on its way back, as a rule.
                errors += 1;
                if errors > MAX_ERRORS {
                    return;
                }
                continue;
            };
            errors = 0;
            clients.retain(|(_, client)| !client.is_closed());
            let known = clients.iter().position(|(address, _)| *address == from);
            if let Some(client) = known.and_then(|at| clients.remove(at)) {
                clients.push_back(client);
            } else {
                let (sender, receiver) = mpsc::channel(MAX_WAITING);
                if clients.len() == MAX_CLIENTS {
                    clients.pop_front();
                }
                clients.push_back((from, sender));
                streams.spawn(self.clone().serve(from, receiver));
            }
            if let Some((_, client)) = clients.back() {
                // A stream that cannot follow loses datagrams, as a network does.
                drop(client.try_send(datagram[..length].to_vec()));
            }
        }
    }

    async fn serve(self, client: SocketAddr, mut datagrams: mpsc::Receiver<Vec<u8>>) {
        let served = self.connect(client, &mut datagrams).await;
        if let Err(fault) = served {
            tracing::debug!(%fault, "TURN over a stream");
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            // The next datagram, of which a call sends fifty a second, opens no new stream yet.
            let lost = async { while datagrams.recv().await.is_some() {} };
            drop(timeout(PAUSE, lost).await);
        }
    }

    async fn connect(
        &self,
        client: SocketAddr,
        datagrams: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<(), ServerFault> {
        let stream = reach(&self.server).await?;
        if self.server.service() != Service::Turn(Transport::Tls) {
            return carry((&self.socket, client), stream, datagrams).await;
        }
        let secured = timeout(PATIENCE, self.tls.secure(self.server.host(), stream)).await;
        let stream = secured.map_err(|_| ServerFault::Silent)??;
        carry((&self.socket, client), stream, datagrams).await
    }
}

async fn reach(server: &ServerUri) -> Result<TcpStream, ServerFault> {
    let found = timeout(PATIENCE, lookup_host((server.host(), server.port()))).await;
    let addresses = found.map_err(|_| ServerFault::Silent)?.map_err(|_| ServerFault::Unresolved)?;
    let stream = first(&addresses.collect::<Vec<_>>(), PATIENCE, TcpStream::connect).await?;
    // Sound goes through it: nothing waits for more.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// The first of these addresses that can be reached. Each has its share of the patience, so that one
/// that is silent (often the IPv6 address of a server that has both) does not use up all of it.
async fn first<S, F>(
    addresses: &[SocketAddr],
    patience: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, ServerFault>
where
    F: Future<Output = io::Result<S>>,
{
    let tried = &addresses[..addresses.len().min(MAX_ADDRESSES)];
    let mut last = ServerFault::Unresolved;
    let share = patience / u32::try_from(tried.len()).unwrap_or(1).max(1);
    for address in tried {
        last = match timeout(share, connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(_)) => ServerFault::Unreachable,
            Err(_) => ServerFault::Silent,
        };
    }
    Err(last)
}

/// Carries messages both ways until one end is gone.
async fn carry<S>(
    (socket, client): (&UdpSocket, SocketAddr),
    stream: S,
    datagrams: &mut mpsc::Receiver<Vec<u8>>,
) -> Result<(), ServerFault>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let out = async {
        while let Some(datagram) = datagrams.recv().await {
            write_message(&mut to_server, &datagram).await?;
        }
        Ok(())
    };
    let back = async {
        let mut message = Vec::new();
        loop {
            read_message(&mut from_server, &mut message).await?;
            // Its socket may be gone; then nothing comes from there any more either.
            drop(socket.send_to(&message, client).await);
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = out => ended,
        ended = back => ended,
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(ServerFault::Nonsense),
        Err(_) => Err(ServerFault::Unreachable),
    }
}

/// Writes one message; what is none, a stream could not carry and is left out.
async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let Some(length) = message.get(..4).and_then(|head| length_of(head.try_into().ok()?)) else {
        return Ok(());
    };
    let Some(whole) = message.get(..length) else { return Ok(()) };
    to.write_all(whole).await?;
    to.write_all(&[0; 3][..padding(length)]).await?;
    to.flush().await
}

/// Reads one message, without its padding.
async fn read_message(
    from: &mut (impl AsyncRead + Unpin),
    message: &mut Vec<u8>,
) -> io::Result<()> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let length = length_of(head).ok_or(io::ErrorKind::InvalidData)?;
    message.clear();
    message.extend_from_slice(&head);
    message.resize(length + padding(length), 0);
    from.read_exact(&mut message[4..]).await?;
    message.truncate(length);
    Ok(())
}

/// The length of a message that begins so: STUN has a header of 20 bytes, ChannelData one of 4.
fn length_of(head: [u8; 4]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match head[0] >> 6 {
        0 if length % 4 == 0 => Some(length + 20),
        1 => Some(length + 4),
        _ => None,
    }
}

const fn padding(length: usize) -> usize {
    (4 - length % 4) % 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn channel_data_is_padded_on_the_stream_and_nowhere_else() {
        let (mut one, mut other) = tokio::io::duplex(1 << 10);
        let data = [0x40, 0, 0, 5, 1, 2, 3, 4, 5];
        let mut stun = vec![0, 1, 0, 4];
        stun.extend([7; 20]);
        for message in [&data[..], &stun, &data] {
            write_message(&mut one, message).await.unwrap();
        }
        let mut read = Vec::new();
        for message in [&data[..], &stun, &data] {
            read_message(&mut other, &mut read).await.unwrap();
            assert_eq!(read, message);
        }
    }

    #[tokio::test]
    async fn a_silent_address_leaves_time_for_the_next_one() {
        let addresses = ["[2001:db8::1]:1", "192.0.2.1:2"].map(|text| text.parse().unwrap());
        // Who answers at once needs none.
        let none = Duration::ZERO;
        let connect = async |to: SocketAddr| {
            if to.is_ipv6() {
                std::future::pending::<()>().await;
            }
            Ok(to)
        };
        assert_eq!(first(&addresses, none, connect).await, Ok(addresses[1]));
        assert_eq!(first(&addresses[..1], none, connect).await, Err(ServerFault::Silent));
        let refuse = async |_| Err::<SocketAddr, _>(io::ErrorKind::ConnectionRefused.into());
        assert_eq!(first(&addresses, none, refuse).await, Err(ServerFault::Unreachable));
    }

    #[tokio::test]
    async fn a_machine_without_ipv4_reaches_a_server_over_tcp() {
        let Ok(server) = tokio::net::TcpListener::bind("[::1]:0").await else {
            return drop(writeln!(std::io::stderr(), "skipped: IPv6: no address of its loopback"));
        };
        let uri = format!("turn:[::1]:{}?transport=tcp", server.local_addr().unwrap().port());
        let tls = Arc::new(Tls::new(matrix_voip_engine::TrustedRoots::default()));
        let mut servers = crate::servers::Servers::new(tls, true);
        servers.reach_from(&["2001:db8::1".parse().unwrap()]);
        let named = matrix_voip::machine::io::IceServer {
            urls: vec![uri],
            username: "u".into(),
            credential: "p".to_owned().into(),
        };
        let given = servers.replace(&[named]).await.build();
        let url = given.ice_servers()[0].urls[0].clone();
        let port = url.strip_prefix("turn:[::1]:").unwrap().split('?').next().unwrap();
        let client = UdpSocket::bind("[::1]:0").await.unwrap();
        let to = SocketAddr::new("::1".parse().unwrap(), port.parse().unwrap());
        client.send_to(&[0x40, 0, 0, 4, 1, 2, 3, 4], to).await.unwrap();
        let (mut stream, _) = server.accept().await.unwrap();
        let mut message = Vec::new();
        read_message(&mut stream, &mut message).await.unwrap();
        assert_eq!(message, [0x40, 0, 0, 4, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_not_called_again_with_every_datagram() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("turn:127.0.0.1:{}?transport=tcp", server.local_addr().unwrap().port());
        let tls = Arc::new(Tls::new(matrix_voip_engine::TrustedRoots::default()));
        let (here, uri) = ("127.0.0.1".parse().unwrap(), ServerUri::parse(&uri).unwrap());
        let forwarder = Forwarder::start(here, uri, tls).await.unwrap();
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = calls.clone();
        let hanging_up = tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                drop(stream);
            }
        });
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        while forwarder.fault().is_none() {
            client.send_to(&[0x40, 0, 0, 4, 1, 2, 3, 4], forwarder.address()).await.unwrap();
            tokio::task::yield_now().await;
        }
        for _ in 0..5000 {
            client.send_to(&[0x40, 0, 0, 4, 1, 2, 3, 4], forwarder.address()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let calls = calls.load(std::sync::atomic::Ordering::SeqCst);
        println!("called {calls} times");
        assert!(calls < 20, "{calls}");
        hanging_up.abort();
    }

    #[tokio::test]
    async fn what_is_no_message_is_left_out_or_ends_the_stream() {
        let (mut one, mut other) = tokio::io::duplex(1 << 10);
        for nonsense in [&[][..], &[0x40, 0, 0, 9, 1], &[0xff; 30]] {
            write_message(&mut one, nonsense).await.unwrap();
        }
        one.write_all(&[0xff; 30]).await.unwrap();
        let error = read_message(&mut other, &mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
