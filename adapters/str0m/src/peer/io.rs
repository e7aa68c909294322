//! What goes into a peer and what comes out, but for requests and their replies.

use std::{net::SocketAddr, time::Instant};

use matrix_voip::{
    host::{Frame, SourceControl},
    id::TrackId,
    machine::io::PeerNews,
};

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
    /// Something the machine must hear.
    News(PeerNews),
    /// A frame arrived, in the order of its m-line.
    Frame {
        /// The m-line.
        mid: String,
        /// The frame.
        frame: Frame,
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
