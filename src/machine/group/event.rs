//! What an application learns of a group call, and the snapshot that it folds to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    key_event::{KeyEvent, KeySnapshot},
    roster::{Participant, ParticipantId},
};
use crate::{
    id::{RoomId, UserId},
    machine::{
        event::Stream,
        fault::Fault,
        media::MediaSource,
        sfu::{SfuLoss, SfuTask},
        token::{SfuToken, TokenFault},
    },
    wire::{
        member::{Backend, GroupCallId},
        reaction::Stay,
    },
};

/// News about one group call. `Ended` comes once and last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEvent {
    /// The state changed.
    StateChanged(GroupState),
    /// The room's state is on its way, or no longer: it is asked for when the application opens a call
    /// of a room that nothing was heard of. Until then it is not known who is in the call, and who may
    /// be; if the state cannot be had, nor is it afterwards.
    ReadingChanged {
        /// Whether it is on its way.
        reading: bool,
    },
    /// A device is in the call: it may be ours.
    ParticipantJoined(Participant),
    /// A device is in the call no more.
    ParticipantLeft(ParticipantId),
    /// A device is in the call otherwise than before: with other feeds, another application, or
    /// anew (another `session`).
    ParticipantChanged(Participant),
    /// Somebody in the call reacts; it may be ourselves. One that stays is told once, however often
    /// it is sent.
    ReactionAdded {
        /// Who.
        participant: ParticipantId,
        /// What is shown, an emoji as a rule. It names a permanent reaction of this participant.
        key: String,
        /// Whether it passes by itself.
        stay: Stay,
    },
    /// A permanent reaction was taken back. Those of who leaves or comes anew go without a word.
    ReactionRemoved {
        /// Whose.
        participant: ParticipantId,
        /// What was shown.
        key: String,
    },
    /// This user declined the call that we announced; told once for each.
    Declined(UserId),
    /// What we take the call to be about changed: we changed it.
    ApplicationChanged(String),
    /// Who may be in group calls of the room changed.
    RightsChanged(Rights),
    /// The homeserver did not let every member be in group calls of the room, as
    /// [`allow_everyone`](crate::GroupCallSession::allow_everyone) asked; nothing changed.
    AllowEveryoneFailed(GroupRefusal),
    /// How we are connected to a participant changed.
    ConnectionChanged {
        /// To whom.
        participant: ParticipantId,
        /// How it is now.
        connection: Connection,
    },
    /// What a participant shows changed: all of his streams, sorted for display. Ours come under our
    /// own id.
    StreamsChanged {
        /// Whose.
        participant: ParticipantId,
        /// All of them.
        streams: Vec<Stream>,
    },
    /// A source of ours was muted or unmuted: by us, or muted by the SFU, as its operator can.
    MuteChanged {
        /// Which.
        source: MediaSource,
        /// Whether it is muted now.
        muted: bool,
    },
    /// We hold the call, or no longer do: nothing is taken in, silence is sent.
    HoldChanged {
        /// Whether we hold it now.
        held: bool,
    },
    /// A source of ours could not be had, ended by itself, or could not be muted or unmuted and was
    /// closed so that nothing is sent unnoticed; the call goes on without it.
    MediaMissing(MediaSource),
    /// A source of ours could not change its device; the old one goes on.
    SwitchFailed(MediaSource),
    /// A leg to this user came about with a device of his that is not verified (`Unverified::Warn`).
    UnverifiedDevice(UserId),
    /// Another participant speaks loudest now. Silence changes nothing; `None`: who spoke has left.
    ActiveSpeakerChanged(Option<ParticipantId>),
    /// The call is at another SFU than before: the oldest members say at which, or the homeserver.
    BackendChanged(Backend),
    /// How it stands with the SFU.
    SfuChanged(SfuStatus),
    /// There is something to do with the SFU, where the application connects to it by itself
    /// ([`SfuClient::Application`](crate::config::SfuClient)): connect, renew the token, leave.
    SfuTask(SfuTask),
    /// Something about the call's media keys.
    Key(KeyEvent),
    /// We are not in the call: the state changes to [`GroupState::Idle`] next.
    Refused(GroupRefusal),
    /// The call is over. Nothing follows.
    Ended(GroupEnd),
}

/// The state of a group call as an application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// We are not in it.
    Idle,
    /// We are about to be: our membership is being written.
    Entering,
    /// We are in it: the homeserver has accepted our membership.
    Entered,
    /// We are out of it; our membership is being taken back.
    Leaving,
    /// Over.
    Ended,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Entering => "entering",
            Self::Entered => "entered",
            Self::Leaving => "leaving",
            Self::Ended => "ended",
        })
    }
}

/// How it stands with the SFU of a group call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SfuStatus {
    /// There is none, or we are not in the call.
    Off,
    /// The homeserver is asked which there are.
    FindingFocus,
    /// A token is being fetched.
    FetchingToken,
    /// None can be had, for this reason; what is passing is tried again.
    NoToken(TokenFault),
    /// The application has a token, and connects by itself.
    HandedOver,
    /// The host connects.
    Connecting,
    /// Media can flow.
    Connected,
    /// The path is lost, and looked for again.
    Reconnecting,
    /// The connection is lost. Where it helps another one is made, with a fresh token; our membership
    /// stands.
    Lost(SfuLoss),
}

/// How we are connected to a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Connection {
    /// Not: one of the two calls the other, soon or again.
    Waiting,
    /// On the way, for the first time or again.
    Connecting,
    /// Media flows.
    Connected,
}

/// Who may be in group calls of a room, by its power levels. What is not known is allowed: the
/// homeserver has the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights {
    /// We may.
    pub can_join: bool,
    /// Every member may.
    pub can_everyone_join: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self { can_join: true, can_everyone_join: true }
    }
}

/// Why the homeserver did not take what a group call needs: our membership, or other rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GroupRefusal {
    /// The homeserver does not let us write it: our power level is too low, or the room is not ours.
    Forbidden,
    /// The host cannot write or read state.
    Unsupported,
    /// It was not reached, or would not now; only where a thing is tried once.
    NotReached,
    /// We are logged out.
    LoggedOut,
    /// The homeserver, asked for its SFUs, was not reached, again and again, and nobody else names one.
    NoTransports,
    /// Nobody names an SFU: neither members of the call, nor our configuration, nor the homeserver.
    NoFocus,
}

impl GroupRefusal {
    pub(super) const fn of(fault: &Fault) -> Self {
        match fault {
            Fault::Forbidden(_) | Fault::NotFound | Fault::Denied => Self::Forbidden,
            Fault::Timeout | Fault::Cancelled | Fault::Panicked => Self::NotReached,
            Fault::Unreachable | Fault::RateLimited { .. } | Fault::Failed(_) => Self::NotReached,
            Fault::LoggedOut => Self::LoggedOut,
            Fault::NoDeviceKeys | Fault::Unsupported | Fault::Token(_) => Self::Unsupported,
        }
    }
}

/// Why a group call is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GroupEnd {
    /// Nobody is in it any more.
    Empty,
    /// We left the room.
    LeftRoom,
    /// We are logged out.
    LoggedOut,
    /// The library shuts down.
    ShutDown,
}

impl fmt::Display for GroupEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nobody is left",
            Self::LeftRoom => "left the room",
            Self::LoggedOut => "logged out",
            Self::ShutDown => "shut down",
        })
    }
}

/// How a group call stands. Folding all events into the first snapshot gives the present one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GroupSnapshot {
    /// Who we are.
    pub ours: ParticipantId,
    /// The room.
    pub room: RoomId,
    /// Which group call of the room.
    pub call: GroupCallId,
    /// How we meet the others, or would.
    pub backend: Backend,
    /// What we take the call to be about.
    pub application: String,
    /// The state.
    pub state: GroupState,
    /// Why we are not in it, where we wanted to be last.
    pub refused: Option<GroupRefusal>,
    /// Whether the room's state is on its way: until it is here it is not known who is in the call, and
    /// who may be.
    pub reading: bool,
    /// Who is in it, oldest first; we too.
    pub participants: Vec<Participant>,
    /// Permanent reactions, raised hands among them, by who shows them.
    pub reactions: BTreeMap<ParticipantId, BTreeSet<String>>,
    /// Who may be in it.
    pub rights: Rights,
    /// How we are connected to each participant, while we are in it.
    pub connections: BTreeMap<ParticipantId, Connection>,
    /// What each participant shows, we too, sorted for display. Nobody with nothing is here.
    pub streams: BTreeMap<ParticipantId, Vec<Stream>>,
    /// Our muted sources.
    pub muted: BTreeMap<MediaSource, bool>,
    /// Whether we hold it.
    pub held: bool,
    /// Who spoke loudest last.
    pub active_speaker: Option<ParticipantId>,
    /// How it stands with the SFU.
    pub sfu: SfuStatus,
    /// The newest token for it, where the application connects by itself.
    pub token: Option<SfuToken>,
    /// How it stands with media keys.
    pub keys: KeySnapshot,
    /// Why it is over.
    pub end: Option<GroupEnd>,
}

impl GroupSnapshot {
    /// Takes an event into account.
    pub fn apply(&mut self, event: &GroupEvent) {
        match event {
            GroupEvent::StateChanged(state) => self.enter(*state),
            GroupEvent::ReadingChanged { reading } => self.reading = *reading,
            GroupEvent::ParticipantJoined(who) | GroupEvent::ParticipantChanged(who) => {
                self.place(who);
            }
            GroupEvent::ParticipantLeft(who) => {
                self.participants.retain(|old| old.id != *who);
                self.connections.remove(who);
                self.streams.remove(who);
                self.reactions.remove(who);
                self.keys.forget(who);
            }
            GroupEvent::BackendChanged(backend) => self.backend = backend.clone(),
            GroupEvent::SfuChanged(status) => self.sfu = status.clone(),
            GroupEvent::SfuTask(SfuTask::Connect(token) | SfuTask::Renew(token)) => {
                self.token = Some(token.clone());
            }
            GroupEvent::SfuTask(SfuTask::Disconnect) => self.token = None,
            GroupEvent::Key(event) => self.keys.apply(event, &self.ours),
            GroupEvent::ReactionAdded { participant, key, stay: Stay::Permanent } => {
                self.reactions.entry(participant.clone()).or_default().insert(key.clone());
            }
            GroupEvent::ReactionRemoved { participant, key } => {
                self.remove_reaction(participant, key);
            }
            GroupEvent::ReactionAdded { stay: Stay::Ephemeral, .. } | GroupEvent::Declined(_) => {}
            GroupEvent::ApplicationChanged(application) => {
                self.application.clone_from(application);
            }
            GroupEvent::RightsChanged(rights) => self.rights = *rights,
            GroupEvent::ConnectionChanged { participant, connection } => {
                self.connections.insert(participant.clone(), *connection);
            }
            GroupEvent::StreamsChanged { participant, streams } if streams.is_empty() => {
                self.streams.remove(participant);
            }
            GroupEvent::StreamsChanged { participant, streams } => {
                self.streams.insert(participant.clone(), streams.clone());
            }
            GroupEvent::MuteChanged { source, muted } => {
                self.muted.insert(*source, *muted);
            }
            GroupEvent::HoldChanged { held } => self.held = *held,
            GroupEvent::ActiveSpeakerChanged(who) => self.active_speaker.clone_from(who),
            GroupEvent::MediaMissing(_) | GroupEvent::SwitchFailed(_) => {}
            GroupEvent::UnverifiedDevice(_) | GroupEvent::AllowEveryoneFailed(_) => {}
            GroupEvent::Refused(why) => self.refused = Some(*why),
            GroupEvent::Ended(end) => {
                self.state = GroupState::Ended;
                self.end = Some(*end);
            }
        }
    }

    fn enter(&mut self, state: GroupState) {
        self.state = state;
        match state {
            GroupState::Entering => self.refused = None,
            // We are not in the call: nothing of tokens and keys is known.
            GroupState::Idle | GroupState::Leaving => {
                self.token = None;
                self.keys = KeySnapshot::default();
            }
            GroupState::Entered | GroupState::Ended => {}
        }
    }

    /// A participant in his place among the others, oldest first.
    fn place(&mut self, who: &Participant) {
        let old = self.participant(&who.id);
        // Reactions belong to a visit.
        if old.is_some_and(|old| old.session != who.session) {
            self.reactions.remove(&who.id);
        }
        self.participants.retain(|old| old.id != who.id);
        let key = |one: &Participant| (one.since, one.id.clone());
        let at = self.participants.partition_point(|old| key(old) < key(who));
        self.participants.insert(at, who.clone());
    }

    fn remove_reaction(&mut self, participant: &ParticipantId, key: &str) {
        if let Some(keys) = self.reactions.get_mut(participant) {
            keys.remove(key);
            if keys.is_empty() {
                self.reactions.remove(participant);
            }
        }
    }

    /// A participant.
    pub fn participant(&self, id: &ParticipantId) -> Option<&Participant> {
        self.participants.iter().find(|one| one.id == *id)
    }

    /// Who is in the call and meets otherwise than we do, or is of another generation of clients: out
    /// of our reach.
    pub fn out_of_reach(&self) -> impl Iterator<Item = &Participant> {
        self.participants.iter().filter(|one| !self.reaches(one))
    }

    /// Whether somebody meets as we do, and is of our generation of clients.
    pub(super) fn reaches(&self, one: &Participant) -> bool {
        one.backend == self.backend && one.dialect == self.backend.dialect()
    }
}
