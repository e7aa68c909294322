//! What goes into the machine and what comes out: values only.
//!
//! [`Input`] goes in through `Engine::handle`, which answers with a [`Verdict`]; [`Output`] comes
//! out of `Engine::poll_output`. A [`Request`](Output::Request) is answered by exactly one
//! [`Input::Reply`] with the same id. Every [`Op`] that makes something names it by an id that the
//! machine minted.

use std::{collections::BTreeSet, time::Duration};

use super::event::{CallEvent, VoipEvent};
pub use super::verdict::{Ignored, Refusal, Verdict};
use crate::{
    id::{DeviceId, EventId, OpId, PeerId, RoomId, SessionId, StreamId, TrackId, UserId},
    redact::Redacted,
    wire::{delivery::Delivery, ledger::Ledger},
};
pub use crate::{
    sdp::Direction,
    wire::{
        call::{Candidate, Description, SdpKind},
        turn::{IceServer, TurnServers},
    },
};

// ---------------------------------------------------------------------------------------- input

/// What can happen to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The application wants something.
    Command(Command),
    /// Matrix events arrived.
    Deliver(Delivery),
    /// Unasked news of a peer connection.
    Peer(PeerId, PeerNews),
    /// The answer to a request.
    Reply(OpId, Result<Reply, Fault>),
    /// News of a room.
    Room(RoomId, RoomNews),
    /// The complete list of users whose events are ignored.
    IgnoredUsers(BTreeSet<UserId>),
    /// The network changed under us.
    Network(Network),
    /// The process is about to sleep, woke, or ends.
    Lifecycle(Lifecycle),
}

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Place a call.
    Invite {
        /// The room whose members can see the call's signalling.
        room: RoomId,
        /// Whom to call.
        callee: Callee,
        /// Voice or video.
        media: CallMedia,
    },
    /// Something about one call.
    Call(SessionId, CallCommand),
}

/// Whom to call. A whole room cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Callee {
    /// A user, on whichever device answers first.
    User(UserId),
    /// One device of a user, who may be ourselves.
    Device(UserId, DeviceId),
    /// The only other joined member of a room of exactly two.
    TheOther,
}

/// Which kinds of media a call is placed or answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallMedia {
    /// Sound.
    Voice,
    /// Sound and picture.
    Video,
}

/// What the application wants of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallCommand {
    /// Take a ringing call; again: nothing happens. `None`: with the media that it was offered
    /// with.
    Answer(Option<CallMedia>),
    /// Refuse a ringing call.
    Reject(Tell),
    /// End the call, whatever its state; again: nothing happens.
    Hangup,
    /// With `Proceed::Manual`: media may start.
    Proceed,
    /// Stop sending what this source gives, and say so.
    Mute(MediaSource),
    /// Send it again, and say so.
    Unmute(MediaSource),
}

/// Whether the other side hears of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tell {
    /// `m.call.reject` is sent: all devices stop ringing.
    Everyone,
    /// Nothing is sent: our other devices go on ringing.
    Nobody,
}

/// Unasked news of a peer connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerNews {
    /// A local candidate was found.
    Candidate(Candidate),
    /// There will be no more local candidates.
    GatheringDone,
    /// ICE and DTLS together changed.
    State(PeerState),
    /// A remote track appeared. `stream` is what its SDP names.
    TrackAdded {
        /// The `mid` of its m-line.
        mid: String,
        /// Its stream, where the SDP names one.
        stream: Option<StreamId>,
        /// Audio or video.
        kind: MediaKind,
    },
    /// A remote track is gone.
    TrackRemoved {
        /// The `mid` of its m-line.
        mid: String,
    },
    /// A local track ended by itself: device unplugged, file over, capture revoked.
    TrackEnded(TrackId),
}

/// The state of a peer connection: ICE and DTLS together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// On the way.
    Connecting,
    /// Media can flow (ICE `connected` or `completed`, DTLS done).
    Connected,
    /// The path is lost; it may come back by itself.
    Disconnected,
    /// It will not come back without an ICE restart.
    Failed,
}

/// News of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomNews {
    /// We are in it; with who else is.
    Members(BTreeSet<UserId>),
    /// A user left or was banned; it may be ourselves.
    Left(UserId),
    /// It is encrypted, and stays so.
    Encrypted,
}

/// News of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Addresses changed.
    Changed,
    /// There is none.
    Lost,
    /// There is one again: what failed is tried at once.
    Back,
}

/// News of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifecycle {
    /// Woke or came to the front: wall-clock deadlines are looked at.
    Foreground,
    /// Goes to the back.
    Background,
    /// Ends: every call is hung up.
    Ending,
}

// --------------------------------------------------------------------------------------- output

/// What the machine wants of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Do this and reply with the same id.
    Request {
        /// Names the request.
        id: OpId,
        /// What to do.
        op: Op,
    },
    /// A request is no longer wanted; its reply will be ignored.
    Cancel(OpId),
    /// Something the application may want to know, about all calls.
    Voip(VoipEvent),
    /// Something the application may want to know, about one call.
    Call {
        /// The call.
        session: SessionId,
        /// What happened.
        event: CallEvent,
    },
}

/// One thing to do in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Talk to the homeserver.
    Matrix(MatrixOp),
    /// Find something out.
    Fetch(Fetch),
    /// Do something with a peer connection.
    Peer(PeerId, PeerOp),
    /// Do something with a local track.
    Track(TrackId, TrackOp),
    /// Keep this where a crash does not reach it. Reply: [`Reply::Done`].
    Save(Ledger),
}

/// Something for the homeserver.
#[derive(Clone, PartialEq, Eq)]
pub enum MatrixOp {
    /// Send a room event, encrypted where the room is. Reply: [`Reply::Sent`].
    SendEvent {
        /// The room.
        room: RoomId,
        /// The event type.
        event_type: String,
        /// The content as JSON text.
        content: String,
        /// Transaction id: the same in each retry, so that the server sends once.
        transaction: String,
    },
}

impl std::fmt::Debug for MatrixOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SendEvent { room, event_type, content, transaction } => f
                .debug_struct("SendEvent")
                .field("room", room)
                .field("event_type", event_type)
                .field("content_bytes", &content.len())
                .field("transaction", transaction)
                .finish(),
        }
    }
}

/// Something to find out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fetch {
    /// TURN credentials. Reply: [`Reply::Turn`].
    Turn,
    /// The joined members of a room. Reply: [`Reply::Members`].
    Members(RoomId),
}

/// Something to do with a peer connection.
///
/// The order in which the machine asks: `Open`, then per negotiation either `Offer`, `SetLocal`,
/// `LocalDescription`, later `SetRemote`, or `SetRemote`, `Answer`, `SetLocal`,
/// `LocalDescription`; `Close` at any time, also while `Open` is unanswered, which then is to be
/// taken as cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerOp {
    /// Make the connection. Gathering may begin at once. Reply: [`Reply::Done`].
    Open(PeerConfig),
    /// Make an offer for the plan. Reply: [`Reply::Description`].
    Offer(Plan),
    /// Make an answer to the remote offer, as near to the plan as the offer allows. Reply:
    /// [`Reply::Description`].
    Answer(Plan),
    /// Put our description into force; gathering begins. Reply: [`Reply::Done`].
    SetLocal(Description),
    /// Read the local description back, with the candidates found so far. Reply:
    /// [`Reply::Description`].
    LocalDescription,
    /// Put the other side's description into force. Reply: [`Reply::Done`].
    SetRemote(Description),
    /// Forget our offer that nobody answered. Reply: [`Reply::Done`].
    Rollback,
    /// Remote candidates, in order; the end mark may be among them. Candidates that the engine
    /// cannot use are skipped. Reply: [`Reply::Done`].
    Candidates(Vec<Candidate>),
    /// The next offer gets new ICE credentials. Reply: [`Reply::Done`].
    RestartIce,
    /// Measure. Reply: [`Reply::Stats`].
    Stats,
    /// Close it, and whatever is under way for it. Reply: [`Reply::Done`].
    Close,
}

/// How a peer connection is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerConfig {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Use relayed candidates only.
    pub relay_only: bool,
}

/// What a description should say: one line per kind of media that we send or want to receive.
/// Declarative: the engine finds the m-line of the same `slot`, or makes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Plan {
    /// The lines, in the order in which new m-lines are made.
    pub lines: Vec<PlanLine>,
}

/// One line of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlanLine {
    /// What the line is for; its identity over all negotiations of a call.
    pub slot: Slot,
    /// Which way media flows.
    pub direction: Direction,
    /// What is sent; `None` when the direction has no sending half.
    pub track: Option<TrackId>,
    /// The stream that the sent track belongs to (`a=msid`).
    pub stream: Option<StreamId>,
}

/// The lines that a call can have, at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Microphone.
    Audio,
    /// Camera.
    Video,
    /// Screen.
    Screen,
    /// Sound of the screen.
    ScreenAudio,
}

impl Slot {
    /// What the line carries.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Audio | Self::ScreenAudio => MediaKind::Audio,
            Self::Video | Self::Screen => MediaKind::Video,
        }
    }
}

/// Something to do with a local track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackOp {
    /// Open the device; a person may be asked. Reply: [`Reply::Done`].
    Capture(Capture),
    /// Send (`true`) or send silence and no picture (`false`). Takes effect at once, whatever
    /// else is under way. Reply: [`Reply::Done`].
    Enable(bool),
    /// Close the device, and whatever is under way for it. Reply: [`Reply::Done`].
    Release,
}

/// What to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capture {
    /// From where.
    pub source: MediaSource,
    /// Sound or picture of it.
    pub kind: MediaKind,
}

/// Where local media comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaSource {
    /// The microphone.
    Microphone,
    /// The camera.
    Camera,
    /// A screen or window.
    Screen,
}

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

// ---------------------------------------------------------------------------------------- reply

/// What the world answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The event was accepted by the homeserver.
    Sent(EventId),
    /// TURN credentials; no servers means that there are none.
    Turn(TurnServers),
    /// Joined members.
    Members(BTreeSet<UserId>),
    /// A description.
    Description(Description),
    /// Measurements.
    Stats(Box<PeerStats>),
}

// Measurements hold floats, which are never NaN: they are made from counters.
impl Eq for Reply {}

/// What an engine measured on one peer connection since it was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PeerStats {
    /// The chosen pair of candidates; `None` before there is one.
    pub pair: Option<CandidatePair>,
    /// Round trip of the chosen path.
    pub round_trip: Option<Duration>,
    /// Each m-line's received media.
    pub inbound: Vec<StreamStats>,
    /// Each m-line's sent media.
    pub outbound: Vec<StreamStats>,
}

/// The candidates that ICE chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidatePair {
    /// Ours.
    pub local: CandidateInfo,
    /// Theirs.
    pub remote: CandidateInfo,
}

/// One end of the chosen path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateInfo {
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: &'static str,
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// `address:port`.
    pub address: Redacted,
}

/// Counters of one m-line in one direction; they never go back.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamStats {
    /// The m-line.
    pub mid: String,
    /// Sound or picture.
    pub kind: MediaKind,
    /// The codec, as `audio/opus`.
    pub codec: String,
    /// RTP payload bytes.
    pub bytes: u64,
    /// RTP packets.
    pub packets: u64,
    /// Packets that never came; as the other side reports where we send. `None`: not known yet.
    pub lost: Option<u64>,
    /// Jitter of the arrival times, as the receiving side measures it.
    pub jitter: Option<Duration>,
    /// Key frames that the receiving side asked for.
    pub key_frame_requests: u64,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No reply within the deadline of the request.
    #[error("no answer in time")]
    Timeout,
    /// Cancelled by us.
    #[error("cancelled")]
    Cancelled,
    /// The code that served it panicked.
    #[error("the host panicked")]
    Panicked,
    /// A person or a permission refused.
    #[error("refused")]
    Denied,
    /// The thing does not exist: no such device, room, peer.
    #[error("not found")]
    NotFound,
    /// The other end cannot be reached.
    #[error("unreachable")]
    Unreachable,
    /// Too many requests.
    #[error("rate limited")]
    RateLimited {
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// Our access token is no longer good: all calls end.
    #[error("logged out")]
    LoggedOut,
    /// The homeserver refused for good; trying again would not help.
    #[error("refused by the server: {0}")]
    Forbidden(String),
    /// The host cannot do such a thing.
    #[error("unsupported")]
    Unsupported,
    /// Something the host did not foresee; the text is for a developer and holds nothing personal.
    #[error("failed: {0}")]
    Failed(String),
}

impl Fault {
    /// Whether the request may have been carried out nevertheless.
    pub const fn is_ambiguous(&self) -> bool {
        match self {
            Self::Timeout | Self::Cancelled | Self::Panicked | Self::Unreachable => true,
            Self::Failed(_) => true,
            Self::Denied | Self::NotFound | Self::RateLimited { .. } => false,
            Self::LoggedOut | Self::Forbidden(_) | Self::Unsupported => false,
        }
    }

    /// Whether trying again can help.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Timeout | Self::Cancelled | Self::Panicked | Self::Unreachable => true,
            Self::Failed(_) | Self::RateLimited { .. } => true,
            Self::Denied | Self::NotFound | Self::LoggedOut => false,
            Self::Forbidden(_) | Self::Unsupported => false,
        }
    }
}
