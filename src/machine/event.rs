//! What the application learns: facts in the past tense, and the snapshot that they fold to.

use std::{collections::BTreeMap, fmt};

use super::{
    group::{
        event::{GroupEnd, GroupSnapshot},
        ringing::IncomingRing,
    },
    media::{CallMedia, MediaKind, MediaSource},
};
use crate::{
    id::{CallId, PartyId, RoomId, SessionId, StreamId, UserId},
    redact::Redacted,
    time::Wall,
    wire::{
        call::{Capabilities, Identity, Reason},
        metadata::Purpose,
    },
};

/// News about all calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoipEvent {
    /// A call exists, before anything was sent or captured for it. A handle taken now misses no
    /// later event.
    CallAdded {
        /// The call.
        session: SessionId,
        /// How it stands.
        snapshot: Box<CallSnapshot>,
    },
    /// An incoming call rings.
    RingStarted {
        /// The call.
        session: SessionId,
        /// When it stops by itself.
        until: Wall,
    },
    /// It rings no more.
    RingStopped {
        /// The call.
        session: SessionId,
        /// Why.
        why: RingStop,
    },
    /// Somebody called and was not answered by any device of ours.
    Missed {
        /// The room.
        room: RoomId,
        /// The caller.
        caller: UserId,
        /// The call.
        call_id: CallId,
        /// Voice or video.
        media: CallMedia,
        /// Why nobody answered.
        why: MissedWhy,
    },
    /// The other side of a call asks us to call somebody else instead (`m.call.replaces`). Nothing
    /// happens unless the application follows (`Command::Follow`), also after the call has ended.
    TransferRequested {
        /// The call in which it was asked.
        session: SessionId,
        /// Whom to call.
        transfer: Box<Transfer>,
    },
    /// The other side of a call announces that somebody else will call instead. That call rings,
    /// also while we talk.
    TransferAnnounced {
        /// The call in which it was announced.
        session: SessionId,
        /// Who will call.
        transfer: Box<Transfer>,
    },
    /// Whoever calls or answers does it from a device that is not verified, and the policy is to
    /// say so.
    UnverifiedDevice {
        /// The call.
        session: SessionId,
        /// Whose device.
        user: UserId,
    },
    /// A call is over; its own stream ends with `CallEvent::Ended`.
    CallEnded {
        /// The call.
        session: SessionId,
        /// Why.
        end: End,
    },
    /// A group call is there: somebody is in it, or the application opened it.
    GroupCallAdded {
        /// The group call.
        session: SessionId,
        /// How it stands.
        snapshot: Box<GroupSnapshot>,
    },
    /// Somebody calls us into a group call. It was told of before (`GroupCallAdded`).
    GroupRingStarted {
        /// Who, where, into which call, until when.
        ring: Box<IncomingRing>,
    },
    /// That rings no more.
    GroupRingStopped {
        /// What rang.
        ring: Box<IncomingRing>,
        /// Why it stopped.
        why: RingStop,
    },
    /// A group call is over; its own stream ends with `GroupEvent::Ended`.
    GroupCallEnded {
        /// The group call.
        session: SessionId,
        /// Why.
        end: GroupEnd,
    },
}

/// What a transfer asks for (MSC2747).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The id of the call that takes the place of the present one.
    pub call_id: CallId,
    /// Whom to call, or who will call.
    pub user: UserId,
    /// Where, if the other side says so.
    pub room: Option<RoomId>,
    /// What the other side calls that user.
    pub display_name: Option<Redacted>,
}

/// Why a ringing stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RingStop {
    /// We answered here.
    Answered,
    /// We rejected here.
    Rejected,
    /// Another device of ours answered or rejected.
    Elsewhere,
    /// The caller gave up.
    CallerGone,
    /// Nobody answered in time.
    Expired,
    /// The call ended for another reason.
    Ended,
}

/// Why a call was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MissedWhy {
    /// It rang until its lifetime was over.
    Expired,
    /// The caller gave up.
    CallerGone,
    /// We were in another call.
    Busy,
}

/// News about one call. `Ended` comes once and last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// The state changed.
    StateChanged(CallState),
    /// `Callee::TheOther` was found: this user is called.
    CalleeFound(UserId),
    /// The remote party is known: the caller's, or the first that answered.
    RemoteChosen {
        /// The user.
        user: UserId,
        /// The party; `None` in version 0.
        party: Option<PartyId>,
        /// What it can do.
        capabilities: Capabilities,
    },
    /// What the other side can do has changed: a later description of it says so.
    CapabilitiesChanged(Capabilities),
    /// The streams changed: all of them, sorted for display.
    StreamsChanged(Vec<Stream>),
    /// A local source was muted or unmuted by us.
    MuteChanged {
        /// Which.
        source: MediaSource,
        /// Whether it is muted now.
        muted: bool,
    },
    /// A local source could not be had, ended by itself, or could not be muted or unmuted and was
    /// closed so that nothing is sent unnoticed; the call goes on without it. A microphone of which
    /// that is so at the start ends the call instead (`UserMediaFailed`).
    MediaMissing(MediaSource),
    /// A local source could not change its device; the old one goes on.
    SwitchFailed(MediaSource),
    /// Tones could not be sent; the call goes on.
    TonesFailed,
    /// We or they hold the call, or no longer do.
    HoldChanged(Hold),
    /// A change could not be agreed on: what was agreed before goes on.
    NegotiationFailed,
    /// Our request for a transfer could not be sent; the call goes on.
    TransferFailed,
    /// The other side says who is really speaking, for instance behind a gateway.
    IdentityAsserted(Identity),
    /// The call is over. Nothing follows.
    Ended(End),
}

/// Who holds a call. Both may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hold {
    /// We have put the other side on hold: we take nothing in and send silence.
    pub by_us: bool,
    /// They have put us on hold: they take nothing in.
    pub by_them: bool,
}

/// The state of a call as an application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CallState {
    /// Outgoing: media, offer and invite are under way.
    Preparing,
    /// Outgoing: the homeserver has accepted the invite.
    InviteSent,
    /// Incoming: waits for the user.
    Ringing,
    /// Incoming: the user took it, the answer is being made.
    Answering,
    /// An answer was taken or made, media does not flow yet (or not at present).
    Connecting,
    /// Media flows.
    Connected,
    /// Over.
    Ended,
}

impl fmt::Display for CallState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "preparing",
            Self::InviteSent => "invite_sent",
            Self::Ringing => "ringing",
            Self::Answering => "answering",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Ended => "ended",
        })
    }
}

/// Who called whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallDirection {
    /// We placed it.
    Outgoing,
    /// We were called.
    Incoming,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Whose doing it was.
    pub party: EndParty,
    /// Why.
    pub reason: EndReason,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let party = match self.party {
            EndParty::Local => "by us",
            EndParty::Remote => "by them",
        };
        write!(f, "{}, {party}", self.reason)
    }
}

/// Whose doing an end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndParty {
    /// We, our timer, our media.
    Local,
    /// They, another device of ours, or the invite's lifetime that ran out on us.
    Remote,
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// Somebody hung up.
    Hangup,
    /// The callee refused.
    Rejected,
    /// Nobody answered in time.
    InviteTimeout,
    /// Another device of ours answered, or the caller chose another party.
    AnsweredElsewhere,
    /// Another device of ours refused.
    RejectedElsewhere,
    /// Another call took its place.
    Replaced,
    /// We asked the other side to call somebody else instead, or were asked and did.
    Transferred,
    /// The callee is in another call.
    Busy,
    /// No connection came about, or it was lost for too long.
    IceFailed,
    /// Our candidates could not be sent.
    IceTimeout,
    /// No microphone.
    UserMediaFailed,
    /// Our description could not be made or put into force.
    LocalDescriptionFailed,
    /// Their description could not be put into force.
    RemoteDescriptionFailed,
    /// The peer connection could not be made.
    EngineFailed,
    /// The invite or answer could not be sent.
    SignallingFailed,
    /// The room has not exactly one other member, or its members are not known.
    NoCallee,
    /// The other side left the room, or we did.
    LeftRoom,
    /// We are logged out.
    LoggedOut,
    /// The process that held the call is gone or going.
    ShutDown,
    /// What the other side wrote.
    Remote(Reason),
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "hung up",
            Self::Rejected => "rejected",
            Self::InviteTimeout => "not answered in time",
            Self::AnsweredElsewhere => "answered elsewhere",
            Self::RejectedElsewhere => "rejected elsewhere",
            Self::Replaced => "replaced by another call",
            Self::Transferred => "transferred",
            Self::Busy => "busy",
            Self::IceFailed => "no connection",
            Self::IceTimeout => "candidates not sent",
            Self::UserMediaFailed => "no microphone",
            Self::LocalDescriptionFailed => "no description of our media",
            Self::RemoteDescriptionFailed => "their description not understood",
            Self::EngineFailed => "the engine failed",
            Self::SignallingFailed => "signalling failed",
            Self::NoCallee => "nobody to call",
            Self::LeftRoom => "left the room",
            Self::LoggedOut => "logged out",
            Self::ShutDown => "shut down",
            Self::Remote(reason) => match reason {
                Reason::UserHangup => "hung up",
                Reason::InviteTimeout => "not answered in time",
                Reason::IceFailed => "no connection",
                Reason::IceTimeout => "candidates not sent",
                Reason::UserMediaFailed => "no microphone",
                Reason::UserBusy => "busy",
                Reason::AnsweredElsewhere => "answered elsewhere",
                Reason::Replaced | Reason::NewSession => "replaced by another call",
                Reason::Transferred => "transferred",
                // What they wrote may be any text: the reason itself has it.
                Reason::UnknownError | Reason::Unknown(_) => "ended for a reason of theirs",
            },
        })
    }
}

/// Local or remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Remote streams come first when shown.
    Remote,
    /// Ours.
    Local,
}

/// One of the (usually four) streams of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Whose.
    pub side: Side,
    /// What it shows.
    pub purpose: Purpose,
    /// Its id in SDP and metadata; `None` for a remote stream whose SDP names none.
    pub id: Option<StreamId>,
    /// Which kinds of media it has.
    pub kinds: Vec<MediaKind>,
    /// Whether its sound is muted, as its sender says. Clients also say so of sound that a stream
    /// does not have: what it has is in `kinds`.
    pub audio_muted: bool,
    /// Whether its picture is muted, as its sender says.
    pub video_muted: bool,
}

impl Stream {
    /// Order of display: remote screen, remote user, local screen, local user.
    pub fn display_order(&self) -> (Side, u8) {
        let purpose = match self.purpose {
            Purpose::Screenshare => 0,
            Purpose::UserMedia => 1,
            Purpose::Unknown(_) => 2,
        };
        (self.side, purpose)
    }

    /// Whether this source of its sender is in it, muted or not.
    pub(crate) fn carries(&self, source: MediaSource) -> bool {
        let (purpose, kind) = match source {
            MediaSource::Microphone => (Purpose::UserMedia, MediaKind::Audio),
            MediaSource::Camera => (Purpose::UserMedia, MediaKind::Video),
            MediaSource::Screen => (Purpose::Screenshare, MediaKind::Video),
        };
        self.purpose == purpose && self.kinds.contains(&kind)
    }
}

/// How a call stands: what folding its events gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSnapshot {
    /// The room.
    pub room: RoomId,
    /// The call's id on the wire.
    pub call_id: CallId,
    /// Our party id in it.
    pub party_id: PartyId,
    /// Who called whom.
    pub direction: CallDirection,
    /// What it was placed with.
    pub media: CallMedia,
    /// The state.
    pub state: CallState,
    /// The other user: whom we call, or who calls. `None` while `Callee::TheOther` is looked up.
    pub remote_user: Option<UserId>,
    /// The other party, once chosen; `None` also in version 0.
    pub remote_party: Option<PartyId>,
    /// What the other party can do.
    pub remote_capabilities: Capabilities,
    /// All streams, sorted for display.
    pub streams: Vec<Stream>,
    /// Our muted sources.
    pub muted: BTreeMap<MediaSource, bool>,
    /// Who holds it.
    pub hold: Hold,
    /// Who is really speaking, as the other side asserts.
    pub identity: Option<Identity>,
    /// How it ended.
    pub end: Option<End>,
}

impl CallSnapshot {
    /// A call that has just come into being.
    pub(super) fn new(
        (room, call_id, party_id): (RoomId, CallId, PartyId),
        direction: CallDirection,
        media: CallMedia,
        state: CallState,
    ) -> Self {
        Self {
            room,
            call_id,
            party_id,
            direction,
            media,
            state,
            remote_user: None,
            remote_party: None,
            remote_capabilities: Capabilities::default(),
            streams: Vec::new(),
            muted: BTreeMap::new(),
            hold: Hold::default(),
            identity: None,
            end: None,
        }
    }

    /// Takes one event into account. Starting with the snapshot of `CallAdded`, folding all
    /// events of a call gives its present snapshot.
    pub fn apply(&mut self, event: &CallEvent) {
        match event {
            CallEvent::StateChanged(state) => self.state = *state,
            CallEvent::CalleeFound(user) => self.remote_user = Some(user.clone()),
            CallEvent::RemoteChosen { user, party, capabilities } => {
                self.remote_user = Some(user.clone());
                self.remote_party = party.clone();
                self.remote_capabilities = *capabilities;
            }
            CallEvent::CapabilitiesChanged(can) => self.remote_capabilities = *can,
            CallEvent::StreamsChanged(streams) => self.streams.clone_from(streams),
            CallEvent::MuteChanged { source, muted } => {
                self.muted.insert(*source, *muted);
            }
            CallEvent::HoldChanged(hold) => self.hold = *hold,
            CallEvent::MediaMissing(_)
            | CallEvent::SwitchFailed(_)
            | CallEvent::TonesFailed
            | CallEvent::NegotiationFailed
            | CallEvent::TransferFailed => {}
            CallEvent::IdentityAsserted(identity) => self.identity = Some(identity.clone()),
            CallEvent::Ended(end) => {
                self.state = CallState::Ended;
                self.end = Some(end.clone());
            }
        }
    }

    /// The stream of that side and purpose.
    pub fn stream(&self, side: Side, purpose: &Purpose) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.side == side && stream.purpose == *purpose)
    }
}

/// What a call can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// `m.call.invite`
    Invite,
    /// `m.call.answer`
    Answer,
    /// `m.call.candidates`
    Candidates,
    /// `m.call.select_answer`
    SelectAnswer,
    /// `m.call.sdp_stream_metadata_changed`
    Metadata,
    /// `m.call.negotiate`
    Negotiate,
    /// `m.call.replaces`
    Replaces,
    /// `m.call.hangup` or `m.call.reject`: nothing of ours follows it.
    Farewell,
}

impl MessageKind {
    /// Whether a description stands in it.
    pub(crate) const fn describes(self) -> bool {
        match self {
            Self::Invite | Self::Answer | Self::Negotiate => true,
            Self::Candidates
            | Self::SelectAnswer
            | Self::Metadata
            | Self::Replaces
            | Self::Farewell => false,
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invite => "the invite",
            Self::Answer => "the answer",
            Self::Candidates => "a batch of candidates",
            Self::SelectAnswer => "the choice of the answer",
            Self::Metadata => "news of our streams",
            Self::Negotiate => "a description for the negotiation",
            Self::Replaces => "the transfer",
            Self::Farewell => "the goodbye",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(side: Side, purpose: Purpose) -> Stream {
        let (audio_muted, video_muted) = (false, false);
        Stream { side, purpose, id: None, kinds: Vec::new(), audio_muted, video_muted }
    }

    #[test]
    fn an_end_reads_as_a_sentence() {
        let end = End { party: EndParty::Remote, reason: EndReason::Hangup };
        assert_eq!(end.to_string(), "hung up, by them");
        let reason = EndReason::Remote(Reason::Unknown("<script>".into()));
        let end = End { party: EndParty::Local, reason };
        assert_eq!(end.to_string(), "ended for a reason of theirs, by us");
    }

    #[test]
    fn the_four_streams_are_told_apart_and_sorted_for_display() {
        let four = [
            stream(Side::Remote, Purpose::Screenshare),
            stream(Side::Remote, Purpose::UserMedia),
            stream(Side::Local, Purpose::Screenshare),
            stream(Side::Local, Purpose::UserMedia),
        ];
        let room = RoomId::parse("!r").unwrap();
        let ids = (room, CallId::parse("c").unwrap(), PartyId::parse("p").unwrap());
        let direction = CallDirection::Outgoing;
        let mut shown = CallSnapshot::new(ids, direction, CallMedia::Voice, CallState::Connected);
        shown.apply(&CallEvent::StreamsChanged(four.to_vec()));
        for stream in &four {
            assert_eq!(shown.stream(stream.side, &stream.purpose), Some(stream));
        }
        let mut sorted = four.to_vec();
        sorted.reverse();
        sorted.sort_by_key(Stream::display_order);
        assert_eq!(sorted, four);
    }
}
