//! The table of everything that a recording holds: each type with its fields and variants.
//!
//! A part that is text, an id of Matrix or `Redacted` becomes a pseudonym; `as plain` is what is
//! nobody's secret, `as word` what is a word of our own code.

use serde_json::Value;

use super::{
    form::{Form, Unfit, put, tagged, untagged},
    pseudonym::Pseudonyms,
    scribe::Origin,
};
use crate::{
    config::{
        Busy, Config, DelayedLeave, Glare, KeyDerivation, KeyProfile, MemberKey, Msc3401, OnAnswer,
        Proceed, Ratchet, ReactionsSent, SfuClient, SfuServices, Timeouts, Transfers, Unverified,
    },
    id::{
        CallId, DelayId, DeviceId, EventId, InputId, OpId, PartyId, PeerId, RoomId, SessionId,
        StreamId, TrackId, UserId,
    },
    machine::{
        Identity as Ourselves,
        event::{CallState, Transfer},
        group::ringing::{Announce, Notify},
        io::{
            CallCommand, CallMedia, Callee, CandidateInfo, CandidatePair, Chat, Command, Fault,
            GroupCommand, Ignored, Input, KeyUse, Lifecycle, MediaKind, MediaSource, Network,
            OpenIdToken, ParticipantId, PeerNews, PeerState, PeerStats, Refusal, Reply, RoomNews,
            ServerFault, ServerState, ServerStats, SfuLoss, SfuNews, SfuState, SfuToken, SfuTrack,
            Slot, Speaking, StreamStats, Tell, TokenFault, Tones, TransferTo, Verdict,
        },
        playout::{Playout, PlayoutOutput},
    },
    time::{Mono, Now, Wall},
    wire::{
        call::{
            Answer, Body, CallMessage, Candidate, Capabilities, Description, Header, Identity,
            Invite, Leg, Negotiate, Reason, Replaces, SdpKind, Version, WireForm,
        },
        delayed::{DelayedMember, DelayedPage},
        delivery::{Content, Delivery, Facts, Malformed, Parsed, Place, Protection},
        focus::Transport,
        keys::{KeyBody, KeyMessage, MediaKey},
        ledger::{EndedCall, Ledger, LiveCall, LiveMembership},
        member::{Backend, Dialect, GroupCallId, MemberEntry, Membership, Scope},
        metadata::{Purpose, StreamInfo},
        notify::{Decline, Intent, Mentions, Notification, SfuReject, Style},
        power::{Creation, PowerLevels},
        reaction::{Origin as ReactionOrigin, Reaction, ReactionRemoval, Stay},
        rtc::RtcEvent,
        state::{Extent, ParsedState, RoomState, StateContent, StateFacts},
        turn::{IceServer, TurnServers},
    },
};

// ------------------------------------------------------------------------------------------ ids

macro_rules! record_ids {
    ($($name:ident => |$id:ident, $names:ident| $text:expr;)+) => {$(
        impl Form for $name {
            fn write(&self, $names: &mut Pseudonyms) -> Value {
                let $id = self.as_str();
                let _ = &$names;
                Value::String($text)
            }

            fn read(value: &Value) -> Result<Self, Unfit> {
                let text = value.as_str().ok_or(Unfit(stringify!($name)))?;
                Self::parse(text).map_err(|_| Unfit(stringify!($name)))
            }
        }
    )+};
}

record_ids! {
    UserId => |id, names| names.member(id);
    RoomId => |id, names| names.text(id);
    EventId => |id, names| names.text(id);
    DeviceId => |id, names| names.member(id);
    DelayId => |id, names| names.text(id);
    InputId => |id, names| names.text(id);
    // Random, and glare compares them: the smaller one survives.
    CallId => |id, names| id.to_owned();
    PartyId => |id, names| names.party(id);
    StreamId => |id, names| id.to_owned();
}

macro_rules! record_wrapped {
    ($($name:ident),+) => {$(
        impl Form for $name {
            fn write(&self, names: &mut Pseudonyms) -> Value {
                self.0.write(names)
            }

            fn read(value: &Value) -> Result<Self, Unfit> {
                Form::read(value).map(Self).map_err(|_| Unfit(stringify!($name)))
            }
        }
    )+};
}

/// What was dialled may be a secret: as many zeros.
impl Form for Tones {
    fn write(&self, _: &mut Pseudonyms) -> Value {
        Value::String("0".repeat(self.digits().len()))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        let digits = value.as_str().ok_or(Unfit("Tones"))?;
        Self::parse(digits).map_err(|_| Unfit("Tones"))
    }
}

record_wrapped!(SessionId, PeerId, TrackId, OpId, Mono, Wall);

// ---------------------------------------------------------------------------------- the origin

record_struct!(Origin { identity, config, seed });
record_struct!(Ourselves { user, device });
record_struct!(Now { mono, wall });
record_struct!(Config {
    timeouts,
    busy,
    glare,
    on_answer,
    transfers,
    unverified,
    proceed,
    max_ringing,
    relay_only,
    member_key,
    reactions,
    delayed_leave,
    msc3401,
    wire_form,
    key_profile,
    ratchet,
    livekit_service_url,
    sfu_services,
    sfu_client,
});
record_struct!(KeyProfile { ring_size, derivation });
record_enum!(KeyDerivation { Pbkdf2, Hkdf });
record_enum!(Ratchet { Off, OnJoin });
record_enum!(SfuServices { Any, Only(addresses) });
record_enum!(SfuClient { Application, Host });
record_enum!(DelayedLeave { Off, On });
record_enum!(MemberKey { Protected, Device });
record_enum!(ReactionsSent { InTheClear, AsTheRoomIs });
record_enum!(Busy { Ignore, Reject, Ring });
record_enum!(Glare { AutoAnswer, Ring });
record_enum!(OnAnswer { HoldOther, EndOther, Refuse });
record_enum!(Transfers { Ask, Refuse });
record_enum!(Unverified { Allow, Warn, Refuse });
record_enum!(Proceed { Auto, Manual });
record_struct!(Timeouts {
    invite,
    longest_invite,
    connect,
    lost,
    waver,
    restart_first,
    negotiate,
    replacement,
    gather,
    candidates_outgoing,
    candidates_incoming,
    retry_first,
    retry_longest,
    farewell,
    parked,
    turn_margin,
    membership,
    membership_refresh,
    delayed_leave,
    delayed_restart,
    leg_retry_first,
    leg_retry_longest,
    speaker,
    key_on_leave,
    key_on_leave_longest,
    key_reuse,
    key_use,
    key_request,
    token_margin,
    ledger,
});
record_struct!(Ledger { live, ended, memberships, left_out });
record_struct!(LiveMembership { room, session as visit, dialect });
record_struct!(LiveCall { room, call_id, party_id });
record_struct!(EndedCall { room, call_id, until });

// --------------------------------------------------------------------------------------- inputs

record_enum!(Input {
    Command(command),
    Deliver(delivery),
    State(state),
    Peer(peer, news),
    Reply(id, result),
    Room(room, news),
    IgnoredUsers(users),
    DeviceKeys(user),
    Sfu(session, news),
    Network(news),
    Lifecycle(news),
});
record_enum!(Command {
    Invite { room, callee, media },
    Follow { session, transfer, room, media },
    Call(session, command),
    OpenGroup { room, call, backend, application as application, keys },
    Group(session, command),
    DeclineRing { room, notification },
});
record_enum!(GroupCommand {
    Enter(media),
    AnnounceAs(how),
    Leave,
    AllowEveryone,
    SetApplication(application as application),
    React { key, stay },
    Unreact(key),
    Mute(source),
    Unmute(source),
    Hold,
    Unhold,
    Start(source),
    Stop(source),
    Switch(source, input),
    RequestKeys(members),
});
record_enum!(KeyUse { Usual, Off, On(profile) });
record_enum!(SfuNews {
    State(state),
    Joined(identity as identity),
    Left(identity as identity),
    Published(identity as identity, track),
    Unpublished(identity as identity, track),
    Speakers(speakers),
    Undecryptable(identity as identity),
    TrackEnded(track),
    MutedByServer(track),
});
record_enum!(SfuState { Connected, Reconnecting, Lost(why) });
record_enum!(SfuLoss { Unreachable, TokenRefused, Replaced, Removed });
record_struct!(SfuTrack { id, slot, muted, encrypted });
record_enum!(Slot { Audio, Video, Screen, ScreenAudio });
record_struct!(Speaking { identity as identity, level });
record_struct!(Announce { notify, mentions });
record_enum!(Notify { Automatic, Ring, Notification, Nobody });
record_struct!(Transfer { call_id, user, room, display_name });
record_enum!(TransferTo { User(user, room), Call(session) });
record_enum!(Callee { User(user), Device(user, device), TheOther });
record_enum!(CallCommand {
    Answer(media),
    Reject(tell),
    Hangup,
    Proceed,
    Mute(source),
    Unmute(source),
    Hold,
    Unhold,
    Start(source),
    Stop(source),
    Switch(source, input),
    Dtmf(tones),
    RestartIce,
    Transfer(to),
});
record_enum!(Tell { Everyone, Nobody });
record_enum!(CallMedia { Voice, Video });
record_enum!(MediaSource { Microphone, Camera, Screen });
record_enum!(MediaKind { Audio, Video });
record_enum!(PeerNews {
    Candidate(candidate),
    GatheringDone,
    State(state),
    TrackAdded { mid as plain, stream, kind },
    TrackRemoved { mid as plain },
    TrackEnded(track),
});
record_enum!(PeerState { Connecting, Connected, Disconnected, Failed });
record_enum!(RoomNews { Members(users), Left(user), Encrypted, Chat(chat) });
record_enum!(Chat { Direct, Group });
record_enum!(Network { Changed, Lost, Back });
record_enum!(Lifecycle { Foreground, Background, LoggedOut, Ending });

// -------------------------------------------------------------------------------------- replies

record_enum!(Reply {
    Done,
    Sent(event),
    Scheduled(id),
    Delayed(page),
    ToDevice(unreached),
    Turn(servers),
    Members(users),
    State(state),
    Description(description),
    Stats(stats),
    OpenId(token),
    SfuToken(token),
    Transports(transports),
    KeyMaterial(key),
    Key(key),
});
record_struct!(OpenIdToken { access_token, token_type as plain, server_name, expires_in });
record_struct!(SfuToken { url, jwt, lifetime, identity });
record_enum!(Transport {
    Livekit { service_url },
    LivekitOfHomeserver { url },
    Unknown(kind),
});
record_enum!(TokenFault {
    NotReached,
    NoService(status),
    NotBelieved,
    Refused(code as plain),
    RateLimited { retry_after },
    ServiceFailed(status),
    Unusable(why as plain),
    NoSource,
    NoOpenId { retry_after },
    NeedsOpenId,
    BadAddress,
    InTheClear,
    NotUnderstood(code as plain),
    LoggedOut,
    NotAllowed,
});
record_enum!(Fault {
    Timeout,
    Cancelled,
    Panicked,
    Denied,
    NoDeviceKeys,
    NotFound,
    Unreachable,
    RateLimited { retry_after },
    LoggedOut,
    Forbidden(code as plain),
    Unsupported,
    Token(fault),
    Failed(text),
});
record_struct!(DelayedPage { members, next });
record_struct!(DelayedMember { id, room, state_key as state_key, leaving });
record_struct!(ParticipantId { user, device });
record_struct!(TurnServers { servers, ttl });
record_struct!(IceServer { urls, username, credential });
record_struct!(PeerStats {
    counted,
    pair,
    round_trip,
    inbound,
    outbound,
    servers,
    unusable_candidates,
    without_device,
});
record_struct!(CandidatePair { local, remote });
record_struct!(CandidateInfo { kind as word, protocol as word, address, relay_protocol as word });
record_struct!(StreamStats {
    mid as plain,
    kind,
    codec as plain,
    bytes,
    packets,
    lost,
    jitter,
    key_frame_requests,
    level, silence, playout,
});
record_struct!(Playout { played, decoded, concealed, delay, target, level, output });
record_enum!(PlayoutOutput { Playing, NoDevice, Muted });
record_struct!(ServerStats { uri, state });
record_enum!(ServerState { Asked, Works, Failed(fault) });
record_enum!(ServerFault {
    Unusable,
    Unresolved,
    Unreachable,
    Untrusted,
    Silent,
    Nonsense,
    WrongCredentials(code),
    Forbidden,
    StaleNonce,
    Redirects,
    QuotaReached,
    NoCapacity,
    Refused(code),
    Lost,
});

// ------------------------------------------------------------------------------------ deliveries

record_struct!(Delivery { place, events });
record_enum!(Place { Room { room, encrypted }, ToDevice });
record_struct!(Parsed { facts, event, event_type as plain });
record_enum!(Content { Call(message), Rtc(event), Key(message) });
record_struct!(Facts { event_id, sender, device, protection, sent, age });
record_enum!(Protection { Clear, Verified, Unverified });
record_enum!(Malformed {
    NotAnObject,
    Missing(field as word),
    Wrong(field as word),
    TooLarge(field as word),
});
record_struct!(CallMessage { header, body });
record_struct!(Header { call_id, party_id, version, device_id, leg });
record_enum!(Version { V0, V1 });
record_enum!(WireForm { Deployed, Readme });
record_struct!(Leg {
    form,
    conf_id,
    room_id,
    dest_session_id as visit,
    sender_session_id as visit,
    seq,
});
record_enum!(Body {
    Invite(invite),
    Candidates(candidates),
    Answer(answer),
    SelectAnswer { selected },
    Reject { reason },
    Hangup { reason },
    Negotiate(negotiate),
    MetadataChanged(streams),
    AssertedIdentity(identity),
    Replaces(replaces),
});
record_struct!(Invite { offer, lifetime, invitee, invitee_device, capabilities, streams });
record_struct!(Answer { sdp, capabilities, streams });
record_struct!(Negotiate { description, lifetime, capabilities, streams });
record_enum!(SdpKind { Offer, Answer });
record_struct!(Description { kind, sdp });
record_struct!(Capabilities { transferee, dtmf });
record_struct!(Candidate { candidate, sdp_mid as plain, sdp_m_line_index, username_fragment });
record_struct!(Identity { id, display_name, avatar_url });
record_struct!(Replaces {
    replacement_id as plain,
    target_user,
    create_call as plain,
    await_call as plain,
    target_room,
});
record_struct!(StreamInfo { purpose, audio_muted, video_muted });
record_enum!(Purpose { UserMedia, Screenshare, Unknown(text) });
record_enum!(Reason {
    UserHangup,
    InviteTimeout,
    IceFailed,
    IceTimeout,
    UserMediaFailed,
    UserBusy,
    AnsweredElsewhere,
    Replaced,
    Transferred,
    NewSession,
    UnknownError,
    Unknown(text),
});

record_enum!(RtcEvent {
    Notification(notification),
    Decline(decline),
    Reaction(reaction),
    ReactionRemoval(removal),
    SfuReject(reject),
});
record_struct!(KeyMessage { room, conf_id, device, body });
record_enum!(KeyBody { Keys(keys), Request });
record_struct!(MediaKey { index, key });
record_struct!(Notification { style, sender_ts, lifetime, mentions, member_event, intent });
record_enum!(Style { Ring, Notification });
record_struct!(Mentions { room, users });
record_enum!(Intent { Audio, Video, Unknown(text) });
record_struct!(Decline { notification });
record_struct!(SfuReject { application as application });
record_struct!(Reaction { key, stay, of, member_event });
record_enum!(Stay { Ephemeral, Permanent });
record_struct!(ReactionRemoval { redacts, of });
record_struct!(ReactionOrigin { call_id, device_id, scope });

// ----------------------------------------------------------------------------------------- state

record_struct!(RoomState { room, extent, encrypted, events });
record_enum!(Extent { Whole, Changes });
record_struct!(ParsedState { facts, content, event_type as plain });
record_struct!(StateFacts { event_id, sender, state_key as state_key, sent, age });
record_enum!(StateContent {
    Members(dialect, entries),
    PowerLevels(levels),
    Creation(creation),
});
record_enum!(Msc3401 { Off, On });
record_enum!(Dialect { Famedly, Msc3401 });
record_struct!(MemberEntry { membership, device, raw });
record_struct!(Membership {
    group,
    application as application,
    device,
    session as visit,
    expires,
    backend,
    feeds,
});
record_struct!(GroupCallId { scope, call_id });
record_enum!(Scope { Room, User, Other(text) });
record_enum!(Backend { Mesh, Msc3401Mesh, Livekit { service_url, alias }, Unknown(kind) });
record_struct!(PowerLevels { users, users_default, needed, content });
record_struct!(Creation { owned_keys, creators });

// -------------------------------------------------------------------------------------- verdicts

record_enum!(Verdict {
    Handled,
    Started(session),
    Ignored(reason),
    Refused(reason),
    Batch(verdicts),
});
record_enum!(Ignored {
    Malformed,
    Echo,
    Duplicate,
    NotForUs,
    Expired,
    AlreadyOver,
    AlreadyExists,
    Parked,
    UnknownCall,
    WrongSender,
    WrongParty,
    WrongState,
    WrongDirection,
    TooManyRinging,
    Busy,
    LostGlare,
    Collision,
    ShuttingDown,
    TooMany,
    PlaintextInEncryptedRoom,
    UnverifiedDevice,
    IgnoredUser,
    NotInRoom,
    ForeignStateKey,
    OutdatedState,
    NoMembership,
    UnknownReaction,
    UnknownRing,
    InTheCall,
    WrongPlace,
    NoRoom,
    NoConference,
    WrongSession,
    NoDevice,
    WrongDevice,
    OutsideRing,
    KeysOff,
    NotEncrypted,
    UnknownSfu,
    Unsupported,
    StaleReply,
    UnknownPeer,
    NoChange,
});
record_enum!(Refusal {
    UnknownSession,
    WrongState(state),
    Outgoing,
    OtherCallConnected,
    NoSuchTrack,
    CannotRenegotiate,
    NoStreamMetadata,
    TakesNoTones,
    HeldByThem,
    CannotBeTransferred,
    NotATarget,
    CallExists,
    CallingOurselves,
    OtherBackend,
    OtherDialect,
    DialectOff,
    MayNotJoin,
    NotWritable,
    TooManyReactions,
    NoSuchRing,
    UnknownPowerLevels,
    NotEntered,
    NoKeys,
    NoSuchParticipant,
    MediaNotOurs,
    NotInRoom,
    ShuttingDown,
});
record_enum!(CallState { Preparing, InviteSent, Ringing, Answering, Connecting, Connected, Ended });
