//! What goes into the machine and what comes out: values only.
//!
//! [`Input`] goes in through `Engine::handle`, which answers with a [`Verdict`]; [`Output`] comes
//! out of `Engine::poll_output`. A [`Request`](Output::Request) is answered by exactly one
//! [`Input::Reply`] with the same id. Every [`Op`] that makes something names it by an id that the
//! machine minted. What they speak of has files of its own: media, measurements, faults, verdicts.

use std::collections::BTreeSet;

pub use super::group::roster::ParticipantId;
use super::{
    event::{CallEvent, Transfer, VoipEvent},
    group::{event::GroupEvent, ringing::Announce},
};
pub use super::{
    fault::Fault,
    matrix::{DelayOp, MatrixOp, Trust},
    media::{
        CallMedia, Capture, InvalidTones, MAX_TONES, MediaKind, MediaSource, Plan, PlanLine, Slot,
        Tones,
    },
    sfu::{KeyOp, KeyOwner, SfuLoss, SfuNews, SfuOp, SfuState, SfuTrack, Speaking},
    stats::{
        CandidateInfo, CandidatePair, PeerStats, ServerFault, ServerState, ServerStats, StreamStats,
    },
    token::{OpenIdToken, SfuToken, TokenFault, TokenRequest},
    verdict::{Ignored, Refusal, Verdict},
};
use crate::{
    config::KeyProfile,
    id::{
        DelayId, DeviceId, EventId, InputId, OpId, PeerId, RoomId, SessionId, StreamId, TrackId,
        UserId,
    },
    redact::SecretBytes,
    wire::{
        delayed::DelayedPage,
        delivery::Delivery,
        focus::Transport,
        ledger::Ledger,
        member::{Backend, GroupCallId},
        reaction::Stay,
        state::RoomState,
    },
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
    /// The state of a room: the whole of it, or what changed.
    State(RoomState),
    /// Unasked news of a peer connection.
    Peer(PeerId, PeerNews),
    /// The answer to a request.
    Reply(OpId, Result<Reply, Fault>),
    /// News of a room.
    Room(RoomId, RoomNews),
    /// The complete list of users whose events are ignored.
    IgnoredUsers(BTreeSet<UserId>),
    /// Other encryption keys of this user's devices are known than before: what could not be
    /// encrypted for one of them may be tried again.
    DeviceKeys(UserId),
    /// News of the SFU of a group call, by whoever connects to it.
    Sfu(SessionId, SfuNews),
    /// The network changed under us.
    Network(Network),
    /// The process is about to sleep, woke, or ends.
    Lifecycle(Lifecycle),
}

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Do what a transfer asked for: call whom it names, under the id that it names. The call in
    /// which it was asked ends, if it still lives.
    Follow {
        /// The call in which it was asked.
        session: SessionId,
        /// What was asked for.
        transfer: Box<Transfer>,
        /// Where to call; the transfer's room is only a proposal.
        room: RoomId,
        /// Voice or video.
        media: CallMedia,
    },
    /// Something about one call.
    Call(SessionId, CallCommand),
    /// Have the group call of that id at hand, which may be there already.
    OpenGroup {
        /// The room.
        room: RoomId,
        /// Which group call of the room.
        call: GroupCallId,
        /// How we meet the others; of an SFU, any ([`Backend::sfu`]) or a certain one.
        backend: Backend,
        /// What the call is about, if nobody is in it yet.
        application: String,
        /// Whether what we send is encrypted, beyond what the connection does.
        keys: KeyUse,
    },
    /// Something about one group call.
    Group(SessionId, GroupCommand),
    /// Refuse a call into a group call: all devices of ours stop, and the caller hears of it.
    DeclineRing {
        /// The room.
        room: RoomId,
        /// The announcement that rings.
        notification: EventId,
    },
}

/// What the application wants of one group call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GroupCommand {
    /// Be in it, and send this, where we meet the others ourselves; again: nothing happens.
    Enter(CallMedia),
    /// How the others hear of it when we enter it as the first, the next time and from then on.
    AnnounceAs(Announce),
    /// Be in it no more; again: nothing happens.
    Leave,
    /// Ask the homeserver to let every member of the room be in its group calls. We need the right to
    /// change power levels for it.
    AllowEveryone,
    /// Take it to be about something else from now on: voice that became video.
    SetApplication(String),
    /// Show something to the others. Ephemeral ones are refused while more than ten are
    /// outstanding, of which one passes each second. A permanent one that is shown already: nothing
    /// happens.
    React {
        /// What: an emoji as a rule, at most [`MAX_REACTION_KEY_BYTES`](crate::wire::reaction::MAX_REACTION_KEY_BYTES)
        /// of text.
        key: String,
        /// Whether it passes by itself.
        stay: Stay,
    },
    /// Take this permanent reaction back; one that is not shown: nothing happens.
    Unreact(String),
    /// Stop sending what this source gives, and say so; also before entering.
    Mute(MediaSource),
    /// Send it again, and say so.
    Unmute(MediaSource),
    /// Take nothing in and send silence, everywhere in this call.
    Hold,
    /// Take that back.
    Unhold,
    /// Open this source and show it to everybody.
    Start(MediaSource),
    /// Close this source.
    Stop(MediaSource),
    /// Take another device for this open source; `None`: the one that the host chooses.
    Switch(MediaSource, Option<InputId>),
    /// Ask these participants for their media keys.
    RequestKeys(BTreeSet<ParticipantId>),
}

/// Whether what we send in a group call is encrypted for its members alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum KeyUse {
    /// Through an SFU, with the profile of the configuration; in a mesh, whose connections end at
    /// members, not.
    #[default]
    Usual,
    /// Not: no key is made, shared or taken.
    Off,
    /// With this profile.
    On(KeyProfile),
}

/// Whom to call. A whole room cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Callee {
    /// A user, on whichever device answers first.
    User(UserId),
    /// One device of a user, who may be ourselves.
    Device(UserId, DeviceId),
    /// The only other joined member of a room of exactly two.
    TheOther,
}

/// What the application wants of one call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
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
    /// Put the other side on hold: take nothing in, send silence.
    Hold,
    /// Take that back: everything flows as before.
    Unhold,
    /// Open this source and show it: a camera makes a voice call a video call, a screen is shown
    /// beside the camera.
    Start(MediaSource),
    /// Close this source. Their media stays.
    Stop(MediaSource),
    /// Take another device for this open source; `None`: the one that the host chooses.
    Switch(MediaSource, Option<InputId>),
    /// Send tones (RFC 4733).
    Dtmf(Tones),
    /// Look for a new path.
    RestartIce,
    /// Ask the other side to call somebody else instead; then this call ends.
    Transfer(TransferTo),
}

/// To whom a call is transferred.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TransferTo {
    /// To this user, who knows nothing of it ("blind"); in a room that both are in, if we know one.
    User(UserId, Option<RoomId>),
    /// To the other side of this call of ours, which then ends as well ("consultation").
    Call(SessionId),
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
#[non_exhaustive]
pub enum RoomNews {
    /// We are in it; with who else is.
    Members(BTreeSet<UserId>),
    /// A user left or was banned; it may be ourselves.
    Left(UserId),
    /// It is encrypted, and stays so.
    Encrypted,
    /// What kind of room it is to us. One of which this is not told counts as a group's.
    Chat(Chat),
}

/// What kind of room it is to us (`m.direct` of our account data).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chat {
    /// A direct chat.
    Direct,
    /// Any other.
    Group,
}

/// News of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
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
#[non_exhaustive]
pub enum Lifecycle {
    /// Woke or came to the front: wall-clock deadlines are looked at.
    Foreground,
    /// Goes to the back.
    Background,
    /// Our access token is no longer good: every call ends, and nothing can be said about it.
    LoggedOut,
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
    /// Something the application may want to know, about one group call.
    Group {
        /// The group call.
        session: SessionId,
        /// What happened.
        event: GroupEvent,
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
    /// Do something with the SFU of a group call.
    Sfu(SessionId, SfuOp),
    /// Do something with the media keys of a group call.
    Keys(SessionId, KeyOp),
    /// Keep this where a crash does not reach it. Reply: [`Reply::Done`].
    Save(Ledger),
}

/// Something to find out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fetch {
    /// TURN credentials. Reply: [`Reply::Turn`].
    Turn,
    /// The joined members of a room. Reply: [`Reply::Members`].
    Members(RoomId),
    /// The state of a room, as far as it concerns calls. Reply: [`Reply::State`].
    State(RoomId),
    /// A token by which a service can ask our homeserver who we are. Reply: [`Reply::OpenId`].
    OpenId,
    /// A token for an SFU. Reply: [`Reply::SfuToken`]; [`Fault::Token`] says what to fix.
    SfuToken(Box<TokenRequest>),
    /// The SFUs that our homeserver names, the best first. Reply: [`Reply::Transports`].
    Transports,
    /// 32 bytes from the operating system's randomness, for a media key. Reply:
    /// [`Reply::KeyMaterial`].
    KeyMaterial,
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
    /// Use these STUN and TURN servers instead, for whatever is gathered from now on: the
    /// credentials of the old ones have run out. What is in use already may go on. Reply:
    /// [`Reply::Done`].
    SetServers(Vec<IceServer>),
    /// Measure. Reply: [`Reply::Stats`].
    Stats,
    /// Close it, and whatever is under way for it. Reply: [`Reply::Done`].
    Close,
}

/// How a peer connection is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerConfig {
    /// The call that it is for; of a leg of a group call the group call.
    pub session: SessionId,
    /// With whom, in a group call.
    pub member: Option<ParticipantId>,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Use relayed candidates only.
    pub relay_only: bool,
}

/// Something to do with a local track.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackOp {
    /// Open the device for this call; a person may be asked. Where two users call each other at
    /// the same moment, the track moves to the call that survives. Reply: [`Reply::Done`].
    Capture(SessionId, Capture),
    /// Send (`true`) or send silence and no picture (`false`). Takes effect at once, whatever
    /// else is under way. Reply: [`Reply::Done`].
    Enable(bool),
    /// Take this device instead, for the same call; the track keeps its m-line and whether it is
    /// enabled. When that fails the old device goes on. Reply: [`Reply::Done`].
    Replace(SessionId, Capture),
    /// Send tones as RTP events (RFC 4733) in the line that sends this microphone, one after the
    /// other, behind those that are under way. Reply: [`Reply::Done`], as soon as they are taken.
    Dtmf(Tones),
    /// Close the device, and whatever is under way for it. Reply: [`Reply::Done`].
    Release,
}

// ---------------------------------------------------------------------------------------- reply

/// What the world answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The event was accepted by the homeserver.
    Sent(EventId),
    /// The homeserver has taken a delayed event, and names it so.
    Scheduled(DelayId),
    /// One page of the delayed events of our user.
    Delayed(DelayedPage),
    /// The homeserver has taken the messages; these devices get none, because there are no keys to
    /// encrypt for them.
    ToDevice(BTreeSet<ParticipantId>),
    /// TURN credentials; no servers means that there are none.
    Turn(TurnServers),
    /// Joined members.
    Members(BTreeSet<UserId>),
    /// The whole state of a room, as far as it concerns calls.
    State(Box<RoomState>),
    /// A description.
    Description(Description),
    /// Measurements.
    Stats(Box<PeerStats>),
    /// A token for who asks our homeserver.
    OpenId(OpenIdToken),
    /// A token for an SFU.
    SfuToken(SfuToken),
    /// The SFUs that our homeserver names.
    Transports(Vec<Transport>),
    /// Bytes for a media key.
    KeyMaterial(SecretBytes),
    /// A key of the provider; `None`: it has none there.
    Key(Option<SecretBytes>),
}

// Measurements hold floats, which are never NaN: they are made from counters.
impl Eq for Reply {}
