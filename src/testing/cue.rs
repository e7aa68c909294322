//! What fakes do when they are asked: work, be slow, fail, lose the answer, hang, panic.
//!
//! A [`Cue`] says what becomes of one request; [`Cues`] holds them by [`OpKind`], one after the
//! other for the next requests, or for all.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::machine::io::{DelayOp, Fault, Fetch, MatrixOp, Op, PeerOp, SfuOp, TrackOp};

/// Kinds of requests, without what they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    /// Send a room event.
    SendEvent,
    /// Fetch TURN credentials.
    Turn,
    /// Fetch the members of a room.
    Members,
    /// Make a peer connection.
    Open,
    /// Make an offer.
    Offer,
    /// Make an answer.
    Answer,
    /// Put our description into force.
    SetLocal,
    /// Read our description back.
    LocalDescription,
    /// Put their description into force.
    SetRemote,
    /// Forget our offer.
    Rollback,
    /// Take remote candidates.
    Candidates,
    /// New ICE credentials with the next offer.
    RestartIce,
    /// Other STUN and TURN servers.
    SetServers,
    /// Measure.
    Stats,
    /// Close a peer connection.
    Close,
    /// Open a microphone, camera or screen.
    Capture,
    /// Mute or unmute a track.
    Enable,
    /// Take another device.
    Replace,
    /// Send tones.
    Dtmf,
    /// Close a microphone, camera or screen.
    Release,
    /// Get an OpenID token.
    OpenId,
    /// Get a token for an SFU.
    SfuToken,
    /// Ask the homeserver for SFUs.
    Transports,
    /// Make material for a key.
    KeyMaterial,
    /// Connect to an SFU, or change something there.
    SfuConnect,
    /// Leave an SFU.
    SfuDisconnect,
    /// Give a media key to the provider, or have it ratcheted.
    Keys,
    /// Save the ledger.
    Save,
    /// Write a state event.
    SendState,
    /// Fetch the state of a room.
    State,
    /// Send a room event in the clear.
    SendClear,
    /// Redact an event.
    Redact,
    /// Schedule a delayed event.
    Schedule,
    /// Restart a delayed event.
    Restart,
    /// Send a delayed event now.
    SendDelayed,
    /// Cancel a delayed event.
    Cancel,
    /// List delayed events.
    List,
    /// Send messages to devices.
    SendToDevice,
}

impl OpKind {
    /// The kind of an op.
    pub fn of(op: &Op) -> Self {
        match op {
            Op::Matrix(MatrixOp::SendEvent { .. }) => Self::SendEvent,
            Op::Matrix(MatrixOp::SendState { .. }) => Self::SendState,
            Op::Matrix(MatrixOp::SendClear { .. }) => Self::SendClear,
            Op::Matrix(MatrixOp::Redact { .. }) => Self::Redact,
            Op::Matrix(MatrixOp::Delay(op)) => Self::of_delay(op),
            Op::Matrix(MatrixOp::SendToDevice { .. }) => Self::SendToDevice,
            Op::Fetch(Fetch::State(_)) => Self::State,
            Op::Fetch(Fetch::Turn) => Self::Turn,
            Op::Fetch(Fetch::Members(_)) => Self::Members,
            Op::Peer(_, op) => Self::of_peer(op),
            Op::Track(_, op) | Op::Sfu(_, SfuOp::Track(_, op)) => Self::of_track(op),
            Op::Fetch(Fetch::OpenId) => Self::OpenId,
            Op::Fetch(Fetch::SfuToken(_)) => Self::SfuToken,
            Op::Fetch(Fetch::Transports) => Self::Transports,
            Op::Fetch(Fetch::KeyMaterial) => Self::KeyMaterial,
            Op::Sfu(_, SfuOp::Disconnect) => Self::SfuDisconnect,
            Op::Sfu(..) => Self::SfuConnect,
            Op::Keys(..) => Self::Keys,
            Op::Save(_) => Self::Save,
        }
    }

    fn of_track(op: &TrackOp) -> Self {
        match op {
            TrackOp::Capture(..) => Self::Capture,
            TrackOp::Enable(_) => Self::Enable,
            TrackOp::Replace(..) => Self::Replace,
            TrackOp::Dtmf(_) => Self::Dtmf,
            TrackOp::Release => Self::Release,
        }
    }

    fn of_delay(op: &DelayOp) -> Self {
        match op {
            DelayOp::Schedule { .. } => Self::Schedule,
            DelayOp::Restart(_) => Self::Restart,
            DelayOp::Send(_) => Self::SendDelayed,
            DelayOp::Cancel(_) => Self::Cancel,
            DelayOp::List { .. } => Self::List,
        }
    }

    fn of_peer(op: &PeerOp) -> Self {
        match op {
            PeerOp::Open(_) => Self::Open,
            PeerOp::Offer(_) => Self::Offer,
            PeerOp::Answer(_) => Self::Answer,
            PeerOp::SetLocal(_) => Self::SetLocal,
            PeerOp::LocalDescription => Self::LocalDescription,
            PeerOp::SetRemote(_) => Self::SetRemote,
            PeerOp::Rollback => Self::Rollback,
            PeerOp::Candidates(_) => Self::Candidates,
            PeerOp::RestartIce => Self::RestartIce,
            PeerOp::SetServers(_) => Self::SetServers,
            PeerOp::Stats => Self::Stats,
            PeerOp::Close => Self::Close,
        }
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// How long it takes before anything happens.
    pub after: Duration,
    /// What happens then.
    pub ending: Ending,
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It is carried out and answered.
    Works,
    /// It is not carried out.
    Fails(Fault),
    /// It is carried out, but the answer is this fault.
    Lost(Fault),
    /// It is not carried out and never answered; the driver's deadline ends it.
    Hangs,
    /// The host's code panics.
    Panics,
}

impl Cue {
    /// It works at once.
    pub const fn works() -> Self {
        Self::ending(Ending::Works)
    }

    /// It is refused.
    pub const fn denied() -> Self {
        Self::ending(Ending::Fails(Fault::Denied))
    }

    /// It is not carried out, with this fault.
    pub const fn fails(fault: Fault) -> Self {
        Self::ending(Ending::Fails(fault))
    }

    /// The request is lost on its way.
    pub const fn dropped() -> Self {
        Self::fails(Fault::Unreachable)
    }

    /// It is carried out, but its answer is lost.
    pub const fn answer_lost() -> Self {
        Self::ending(Ending::Lost(Fault::Unreachable))
    }

    /// It is never answered.
    pub const fn hangs() -> Self {
        Self::ending(Ending::Hangs)
    }

    /// The host's code panics.
    pub const fn panics() -> Self {
        Self::ending(Ending::Panics)
    }

    /// The server wants us to wait.
    pub const fn rate_limited(retry_after: Duration) -> Self {
        Self::fails(Fault::RateLimited { retry_after: Some(retry_after) })
    }

    /// The same, this much later.
    #[must_use]
    pub const fn after(mut self, span: Duration) -> Self {
        self.after = span;
        self
    }

    const fn ending(ending: Ending) -> Self {
        Self { after: Duration::ZERO, ending }
    }
}

/// Cues by kind of request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cues {
    next: BTreeMap<OpKind, VecDeque<Cue>>,
    always: BTreeMap<OpKind, Cue>,
}

impl Cues {
    /// The next request of that kind; called again: the one after it.
    pub fn next(&mut self, kind: OpKind, cue: Cue) {
        self.next.entry(kind).or_default().push_back(cue);
    }

    /// All requests of that kind for which there is no [`next`](Self::next).
    pub fn always(&mut self, kind: OpKind, cue: Cue) {
        self.always.insert(kind, cue);
    }

    /// The cue for a request that is made now.
    pub fn take(&mut self, kind: OpKind) -> Cue {
        let next = self.next.get_mut(&kind).and_then(VecDeque::pop_front);
        next.or_else(|| self.always.get(&kind).cloned()).unwrap_or_else(Cue::works)
    }
}
