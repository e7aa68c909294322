//! What goes into a peer and what comes out, but for requests and their replies.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::{Frame, SourceControl},
    id::TrackId,
    machine::io::{PeerNews, ServerFault},
};

pub use crate::reach::ServerAddress;

/// What happens to a peer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The time of the last [`Output::Timeout`] has come. Harmless when it has not.
    Timeout,
    /// A datagram came in on the socket bound to `local`.
    Datagram {
        /// Address of our socket.
        local: SocketAddr,
        /// Where it came from.
        from: SocketAddr,
        /// Its content.
        data: &'a [u8],
    },
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// Which server.
        server: usize,
        /// Its addresses, the best first; none when the name has none.
        addresses: &'a [ServerAddress],
    },
    /// The stream of [`Output::Connect`] is open, with TLS where that was asked for.
    Connected {
        /// Which server.
        server: usize,
        /// Our end of it.
        local: SocketAddr,
    },
    /// Bytes came in on the stream to a server.
    Stream {
        /// Which server.
        server: usize,
        /// The bytes, cut anywhere.
        data: &'a [u8],
    },
    /// The stream to a server could not be opened, or has ended.
    Disconnected {
        /// Which server.
        server: usize,
        /// Why.
        fault: ServerFault,
    },
    /// There is another socket, bound to this address: an interface has come up.
    Socket(SocketAddr),
    /// The address of this socket is not ours any more. It may come back: then as
    /// [`Socket`](Self::Socket) again.
    SocketGone(SocketAddr),
    /// A frame of a local track, already muted or not. Sent on every m-line that the track is
    /// planned for; dropped where there is no connection yet.
    Frame {
        /// The track.
        track: TrackId,
        /// What to send.
        frame: &'a Frame,
    },
    /// The sink of this m-line cannot decode what it has.
    WantKeyFrame {
        /// The m-line.
        mid: &'a str,
    },
}

/// What a peer wants of its surroundings.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Send this from the socket bound to `local`.
    Datagram {
        /// Address of our socket.
        local: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// Content.
        data: Vec<u8>,
    },
    /// Look up the name of a server; answer with [`Input::Resolved`]. Addresses are names too.
    Resolve {
        /// Which server: a number of this peer.
        server: usize,
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Open a TCP connection to a server; answer with [`Input::Connected`] or
    /// [`Input::Disconnected`].
    Connect {
        /// Which server.
        server: usize,
        /// Where to.
        to: SocketAddr,
        /// With TLS, to a server that proves this name.
        tls: Option<String>,
    },
    /// Send this on the stream to a server.
    Stream {
        /// Which server.
        server: usize,
        /// The bytes: one message, or none of it.
        data: Vec<u8>,
    },
    /// Close the stream to a server, after what was sent on it.
    Disconnect {
        /// Which server.
        server: usize,
    },
    /// Something the machine must hear.
    News(PeerNews),
    /// A frame arrived, in the order of its m-line.
    Frame {
        /// The m-line.
        mid: String,
        /// The frame.
        frame: Frame,
    },
    /// A report about a tone of the other side (RFC 4733): each tone comes as several, of which
    /// the last ones say that it has ended.
    Tone {
        /// The m-line.
        mid: String,
        /// The report.
        report: ToneReport,
    },
    /// News for the source of a local track.
    Control {
        /// The track.
        track: TrackId,
        /// The news.
        control: SourceControl,
    },
    /// There is nothing more to do before this time.
    Timeout(Instant),
}

/// What one packet says about a tone (RFC 4733 §2.3). Reports with the same time stamp are about
/// the same tone.
/// Prints without the digit: people dial secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ToneReport {
    /// When the tone began, in ticks of the RTP clock, unwrapped.
    pub timestamp: u64,
    /// 0 to 9, `*` is 10, `#` 11, A to D 12 to 15.
    pub event: u8,
    /// How long it has lasted so far.
    pub duration: Duration,
    /// Its strength below 0 dBm0.
    pub volume: u8,
    /// Whether it is over.
    pub is_end: bool,
}

impl fmt::Debug for ToneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timestamp, event: _, duration, volume, is_end } = self;
        let mut report = f.debug_struct("ToneReport");
        report.field("timestamp", timestamp).field("duration", duration);
        report.field("volume", volume).field("is_end", is_end).finish_non_exhaustive()
    }
}
