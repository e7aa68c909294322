//! The contents of `m.call.*` (Matrix specification, "Voice over IP", versions 0 and 1) and of
//! their to-device twins `com.famedly.call.member.*` (`famedly-dart.md` §2).
//!
//! One [`CallMessage`] is one event: what all of them carry in [`Header`], what is its own in
//! [`Body`]. [`read()`] makes it from JSON, [`CallMessage::write`] makes JSON of it.

use std::{fmt, time::Duration};

use super::metadata::{Purpose, StreamMetadata};
pub use super::{
    read::{is_call_event, read},
    reason::Reason,
};
pub use crate::config::WireForm;
use crate::{
    id::{CallId, DeviceId, PartyId, RoomId, UserId},
    redact::Redacted,
    sdp,
};

/// Protocol version of an event. Everything that is not 0 is read as 1, as the specification asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// No party ids, no reject, no negotiation.
    V0,
    /// The present one.
    #[default]
    V1,
}

/// One call event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallMessage {
    /// What all call events carry.
    pub header: Header,
    /// What this one says.
    pub body: Body,
}

/// The fields that all call events share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header {
    /// The call.
    pub call_id: CallId,
    /// The sending party; absent in version 0.
    pub party_id: Option<PartyId>,
    /// The sender's protocol version.
    pub version: Version,
    /// The sender's device as it claims it; never proof.
    pub device_id: Option<DeviceId>,
    /// Set on a leg of a group call.
    pub leg: Option<Leg>,
}

/// The additional fields of a mesh leg (to-device).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Leg {
    /// Under which names it comes.
    pub form: WireForm,
    /// The group call; `""` is an id like any other.
    pub conf_id: String,
    /// The room of the group call; mandatory to-device.
    pub room_id: Option<RoomId>,
    /// The receiver's session.
    pub dest_session_id: Option<String>,
    /// The sender's session.
    pub sender_session_id: Option<String>,
    /// Counter per leg.
    pub seq: Option<u64>,
}

/// What one call event says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// `m.call.invite`
    Invite(Invite),
    /// `m.call.candidates`
    Candidates(Vec<Candidate>),
    /// `m.call.answer`
    Answer(Answer),
    /// `m.call.select_answer`
    SelectAnswer {
        /// The party whose answer was chosen.
        selected: PartyId,
    },
    /// `m.call.reject`
    Reject {
        /// Not in the specification, honoured where sent.
        reason: Option<Reason>,
    },
    /// `m.call.hangup`
    Hangup {
        /// Absent in version 0 and in some hangups of version 1.
        reason: Option<Reason>,
    },
    /// `m.call.negotiate`
    Negotiate(Negotiate),
    /// `m.call.sdp_stream_metadata_changed`
    MetadataChanged(StreamMetadata),
    /// `m.call.asserted_identity` (MSC3086)
    AssertedIdentity(Identity),
    /// `m.call.replaces` (MSC2747)
    Replaces(Replaces),
}

impl Body {
    /// How long its texts are that can be long: descriptions and candidates.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Invite(invite) => invite.offer.expose().len(),
            Self::Answer(answer) => answer.sdp.expose().len(),
            Self::Negotiate(negotiate) => negotiate.description.sdp.expose().len(),
            Self::Candidates(candidates) => {
                candidates.iter().map(|one| one.candidate.expose().len()).sum()
            }
            Self::SelectAnswer { .. }
            | Self::Reject { .. }
            | Self::Hangup { .. }
            | Self::MetadataChanged(_)
            | Self::AssertedIdentity(_)
            | Self::Replaces(_) => 0,
        }
    }
}

/// `m.call.invite`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Invite {
    /// The offer.
    pub offer: Redacted,
    /// How long the invite is alive, counted from when it was sent.
    pub lifetime: Duration,
    /// The user it is for; absent from clients that call a whole room.
    pub invitee: Option<UserId>,
    /// The device it is for (seed 001).
    pub invitee_device: Option<DeviceId>,
    /// What the sender can do.
    pub capabilities: Capabilities,
    /// The sender's streams; `None` where the sender knows no metadata.
    pub streams: Option<StreamMetadata>,
}

impl Invite {
    /// Whether it is a video call: the caller shows a picture; without metadata, it offers one.
    pub fn is_video(&self) -> bool {
        let shown = self.streams.as_ref().is_none_or(|streams| {
            let mut streams = streams.values();
            streams.any(|stream| stream.purpose == Purpose::UserMedia && !stream.video_muted)
        });
        shown && sdp::offers_video(self.offer.expose())
    }
}

/// `m.call.answer`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The answer.
    pub sdp: Redacted,
    /// What the sender can do.
    pub capabilities: Capabilities,
    /// The sender's streams; `None` where the sender knows no metadata.
    pub streams: Option<StreamMetadata>,
}

/// `m.call.negotiate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Negotiate {
    /// The description.
    pub description: Description,
    /// How long it is worth answering; `None` where the sender names none.
    pub lifetime: Option<Duration>,
    /// What the sender can do; in offers only.
    pub capabilities: Option<Capabilities>,
    /// The sender's streams.
    pub streams: Option<StreamMetadata>,
}

/// Whether a description asks or replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SdpKind {
    /// `offer`
    Offer,
    /// `answer` (and `pranswer`, which is read as one)
    Answer,
}

/// A session description with its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Description {
    /// Offer or answer.
    pub kind: SdpKind,
    /// The SDP text.
    pub sdp: Redacted,
}

/// What a side can do beyond plain calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities {
    /// `m.call.transferee`: can be transferred to another user.
    pub transferee: bool,
    /// `m.call.dtmf`: takes DTMF tones.
    pub dtmf: bool,
}

/// One ICE candidate, or the end of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The candidate line, with `candidate:` and without `a=`; empty: there will be no more.
    pub candidate: Redacted,
    /// The `mid` of its m-line.
    pub sdp_mid: Option<String>,
    /// The index of its m-line.
    pub sdp_m_line_index: Option<u32>,
    /// The ICE generation that it belongs to.
    pub username_fragment: Option<String>,
}

impl Candidate {
    /// The mark that no more candidates follow.
    pub fn end() -> Self {
        Self {
            candidate: Redacted::default(),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        }
    }

    /// Whether this is the mark that no more candidates follow.
    pub fn is_end(&self) -> bool {
        self.candidate.is_empty()
    }
}

/// `m.call.asserted_identity`. It prints as lengths: it names a person, or holds a number that was
/// dialled.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    /// Matrix id of the person, unchecked.
    pub id: Option<String>,
    /// Name to show.
    pub display_name: Option<String>,
    /// Picture to show, an `mxc:` URI.
    pub avatar_url: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = |text: &Option<String>| text.as_ref().map(String::len);
        f.debug_struct("Identity")
            .field("id_bytes", &bytes(&self.id))
            .field("display_name_bytes", &bytes(&self.display_name))
            .field("avatar_url_bytes", &bytes(&self.avatar_url))
            .finish()
    }
}

/// `m.call.replaces`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Replaces {
    /// Id of this transfer.
    pub replacement_id: Option<String>,
    /// Whom to call instead.
    pub target_user: Option<Identity>,
    /// Call id to place.
    pub create_call: Option<String>,
    /// Call id to expect.
    pub await_call: Option<String>,
    /// Room to call in.
    pub target_room: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asserted_identity_prints_as_lengths() {
        let number = |text: &str| Some(text.to_owned());
        let caller =
            Identity { id: number("@555:gw"), display_name: number("Ada"), ..Identity::default() };
        let text = format!("{:?}", Body::AssertedIdentity(caller));
        assert!(!text.contains("555") && !text.contains("Ada"), "{text}");
        assert!(text.contains("display_name_bytes: Some(3)"), "{text}");
    }
}
