//! How long the host may take for each request.
//!
//! Foreign code is slow, wrong or gone; a deadline is a fault like any other. The time counts from
//! when the machine asked, so it includes what `serve` lets wait for its turn.

use std::time::Duration;

use crate::machine::io::{Fetch, MatrixOp, Op, PeerOp, SfuOp, TrackOp};

/// A person is being asked for the microphone, and may first look for his glasses.
const CAPTURE: Duration = Duration::from_secs(120);
/// A homeserver under load takes ten seconds; encrypting for a large room takes some too.
const SEND: Duration = Duration::from_secs(30);
/// A membership waits for its delayed leave, and a heartbeat that takes longer has to be tried again
/// while there is time.
const DELAY: Duration = Duration::from_secs(5);
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
/// The token service asks our homeserver who we are, and the SFU for the room.
const TOKEN: Duration = Duration::from_secs(15);
/// To derive the cipher's key takes tens of milliseconds, of a phone some hundred.
const KEYS: Duration = Duration::from_secs(10);
/// 16 KiB to a file.
const SAVE: Duration = Duration::from_secs(5);

/// How long the host may take for `op`.
pub(super) const fn deadline(op: &Op) -> Duration {
    match op {
        Op::Matrix(MatrixOp::SendEvent { .. } | MatrixOp::SendState { .. }) => SEND,
        Op::Matrix(MatrixOp::SendClear { .. } | MatrixOp::Redact { .. }) => SEND,
        Op::Matrix(MatrixOp::Delay(_)) => DELAY,
        Op::Matrix(MatrixOp::SendToDevice { .. }) => SEND,
        Op::Fetch(Fetch::Turn) => TURN,
        Op::Fetch(Fetch::Members(_)) => MEMBERS,
        Op::Fetch(Fetch::State(_)) => STATE,
        Op::Fetch(Fetch::OpenId | Fetch::Transports) => MEMBERS,
        Op::Fetch(Fetch::SfuToken(_)) => TOKEN,
        Op::Fetch(Fetch::KeyMaterial) => KEYS,
        Op::Sfu(_, SfuOp::Track(_, op)) => track_deadline(op),
        Op::Sfu(_, SfuOp::Connect(_) | SfuOp::Renew(_) | SfuOp::Subscribe(_)) => PEER_WORK,
        Op::Sfu(_, SfuOp::Disconnect) => CLOSE,
        Op::Keys(..) => KEYS,
        Op::Peer(_, op) => peer_deadline(op),
        Op::Track(_, op) => track_deadline(op),
        Op::Save(_) => SAVE,
    }
}

const fn track_deadline(op: &TrackOp) -> Duration {
    match op {
        TrackOp::Capture(..) | TrackOp::Replace(..) => CAPTURE,
        TrackOp::Enable(_) | TrackOp::Dtmf(_) => ENABLE,
        TrackOp::Release => CLOSE,
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
