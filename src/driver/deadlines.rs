//! How long the host may take for each request.
//!
//! Foreign code is slow, wrong or gone; a deadline is a fault like any other. The time counts from
//! when the machine asked, so it includes what `serve` lets wait for its turn.

use std::time::Duration;

use crate::machine::io::{Fetch, MatrixOp, Op, PeerOp, TrackOp};

/// A person is being asked for the microphone, and may first look for his glasses.
const CAPTURE: Duration = Duration::from_secs(120);
/// A homeserver under load takes ten seconds; encrypting for a large room takes some too.
const SEND: Duration = Duration::from_secs(30);
/// The call goes on without TURN, so it should not wait long for it.
const TURN: Duration = Duration::from_secs(5);
/// Members come from the host's store, or in one request to the homeserver.
const MEMBERS: Duration = Duration::from_secs(10);
/// The state of a large room takes a homeserver some seconds.
const STATE: Duration = Duration::from_secs(30);
/// Making a peer connection or a description is work of the processor alone, but mobile engines
/// start threads and hardware codecs for it.
const PEER_WORK: Duration = Duration::from_secs(15);
/// Everything else with a peer connection is quick.
const PEER: Duration = Duration::from_secs(10);
/// Counters are read, nothing is computed.
const STATS: Duration = Duration::from_secs(5);
/// A switch takes effect at once; a person has pressed mute and looks at the button.
const ENABLE: Duration = Duration::from_secs(5);
/// Closing frees what is left; nobody waits for it but a shutdown.
const CLOSE: Duration = Duration::from_secs(5);
/// 16 KiB to a file.
const SAVE: Duration = Duration::from_secs(5);

/// How long the host may take for `op`.
pub(super) const fn deadline(op: &Op) -> Duration {
    match op {
        Op::Matrix(MatrixOp::SendEvent { .. } | MatrixOp::SendState { .. }) => SEND,
        Op::Matrix(MatrixOp::SendClear { .. } | MatrixOp::Redact { .. }) => SEND,
        Op::Matrix(MatrixOp::SendToDevice { .. }) => SEND,
        Op::Fetch(Fetch::Turn) => TURN,
        Op::Fetch(Fetch::Members(_)) => MEMBERS,
        Op::Fetch(Fetch::State(_)) => STATE,
        Op::Peer(_, op) => peer_deadline(op),
        Op::Track(_, TrackOp::Capture(..) | TrackOp::Replace(..)) => CAPTURE,
        Op::Track(_, TrackOp::Enable(_) | TrackOp::Dtmf(_)) => ENABLE,
        Op::Track(_, TrackOp::Release) => CLOSE,
        Op::Save(_) => SAVE,
    }
}

const fn peer_deadline(op: &PeerOp) -> Duration {
    match op {
        PeerOp::Open(_) | PeerOp::Offer(_) | PeerOp::Answer(_) => PEER_WORK,
        PeerOp::SetLocal(_) | PeerOp::SetRemote(_) => PEER_WORK,
        PeerOp::LocalDescription | PeerOp::Rollback => PEER,
        PeerOp::Candidates(_) | PeerOp::RestartIce | PeerOp::SetServers(_) => PEER,
        PeerOp::Stats => STATS,
        PeerOp::Close => CLOSE,
    }
}
