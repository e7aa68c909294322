//! TURN over TCP and TLS: a socket on this machine that passes everything on to the server.
//!
//! What the crate sends as datagrams goes as a stream, and back: STUN messages as they are,
//! ChannelData padded to four bytes one way and without padding the other (RFC 8656 §12.5). The
//! first sender is the only one that is served, so nobody else on this machine can use it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use matrix_voip::machine::io::ServerFault;
use matrix_voip_engine::Tls;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket, lookup_host},
    sync::oneshot,
    time::timeout,
};

use crate::servers::Uri;

/// How long a server may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// Opens the socket; the server is reached for when the first datagram comes.
    ///
    /// # Errors
    /// [`ServerFault::Unusable`] when there is no socket to be had.
    pub(crate) async fn start(server: Uri, tls: Arc<Tls>) -> Result<Self, ServerFault> {
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let socket = bound.map_err(|_| ServerFault::Unusable)?;
        let address = socket.local_addr().map_err(|_| ServerFault::Unusable)?;
        let fault = Arc::new(Mutex::new(None));
        let told = fault.clone();
        let (open, closes) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let served = tokio::select! {
                served = serve(&socket, &server, &tls) => served,
                () = farewell(closes) => Ok(()),
            };
            if let Err(fault) = served {
                tracing::debug!(%fault, "TURN over a stream");
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
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

async fn serve(socket: &UdpSocket, server: &Uri, tls: &Tls) -> Result<(), ServerFault> {
    let mut datagram = vec![0; MAX_MESSAGE];
    let (length, client) =
        socket.recv_from(&mut datagram).await.map_err(|_| ServerFault::Unreachable)?;
    socket.connect(client).await.map_err(|_| ServerFault::Unreachable)?;
    let stream = timeout(PATIENCE, reach(server)).await.map_err(|_| ServerFault::Silent)??;
    let first = &datagram[..length];
    if server.is_tls {
        let secured = timeout(PATIENCE, tls.secure(&server.host, stream)).await;
        let stream = secured.map_err(|_| ServerFault::Silent)??;
        carry(socket, stream, first).await
    } else {
        carry(socket, stream, first).await
    }
}

async fn reach(server: &Uri) -> Result<TcpStream, ServerFault> {
    let found = lookup_host((server.host.as_str(), server.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|_| ServerFault::Unresolved)?.collect();
    let mut last = ServerFault::Unresolved;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Sound goes through it: nothing waits for more.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Err(_) => last = ServerFault::Unreachable,
        }
    }
    Err(last)
}

/// Carries messages both ways until one end is gone.
async fn carry<S>(socket: &UdpSocket, stream: S, first: &[u8]) -> Result<(), ServerFault>
where
    S: AsyncRead + AsyncWrite,
{
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let out = async {
        write_message(&mut to_server, first).await?;
        let mut datagram = vec![0; MAX_MESSAGE];
        loop {
            let length = socket.recv(&mut datagram).await?;
            write_message(&mut to_server, &datagram[..length]).await?;
        }
    };
    let back = async {
        let mut message = Vec::new();
        loop {
            read_message(&mut from_server, &mut message).await?;
            // The crate's socket is gone for a moment when ICE restarts.
            drop(socket.send(&message).await);
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = out => ended,
        ended = back => ended,
    };
    match ended {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(ServerFault::Nonsense),
        Ok(()) | Err(_) => Err(ServerFault::Unreachable),
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
