//! Somebody on the other side without an engine: he sends exactly what the test says.

use std::time::Duration;

use super::{
    sdp::{self, Line},
    sim::Sim,
};
use crate::{
    id::{CallId, DeviceId, PartyId, RoomId, StreamId, UserId},
    machine::{Identity, io::MediaKind},
    redact::Redacted,
    sdp::Direction,
    wire::{
        call::{
            Answer, Body, CallMessage, Candidate, Capabilities, Header, Invite, Reason, SdpKind,
            Version,
        },
        delivery::{Facts, Protection, RawEvent},
        metadata::{Purpose, StreamInfo, StreamMetadata},
    },
};

/// A remote client in the test's hand. What it sends goes through the homeserver, to all members
/// of the room; or, with [`raw`](Self::raw), into a batch that the test makes.
#[derive(Debug, Clone)]
pub struct Puppet {
    sim: Sim,
    identity: Identity,
    party: PartyId,
    version: Version,
    invitee: Option<UserId>,
    invitee_device: Option<DeviceId>,
}

impl Puppet {
    pub(super) fn new(sim: Sim, identity: Identity) -> Self {
        let party = PartyId::parse(format!("party-{}", identity.device))
            .expect("invariant: the text is a party id");
        Self { sim, identity, party, version: Version::V1, invitee: None, invitee_device: None }
    }

    /// The same client, speaking version 0: without party id.
    #[must_use]
    pub fn version_0(mut self) -> Self {
        self.version = Version::V0;
        self
    }

    /// The same client under another party id.
    #[must_use]
    pub fn as_party(mut self, party: &str) -> Self {
        self.party = PartyId::parse(party).expect("invariant: a test names valid parties");
        self
    }

    /// The same client, whose invites name this user.
    #[must_use]
    pub fn calling(mut self, user: &str) -> Self {
        self.invitee = Some(UserId::parse(user).expect("invariant: a test names valid users"));
        self
    }

    /// The same client, whose invites name this device.
    #[must_use]
    pub fn calling_device(mut self, device: &str) -> Self {
        let device = DeviceId::parse(device).expect("invariant: a test names valid devices");
        self.invitee_device = Some(device);
        self
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its party id.
    pub fn party(&self) -> &PartyId {
        &self.party
    }

    /// Says something about a call.
    pub fn say(&self, room: &RoomId, call: &str, body: Body) {
        let (event_type, content) = self.message(call, body).write();
        self.say_json(room, &event_type, &content);
    }

    /// Says anything.
    pub fn say_json(&self, room: &RoomId, event_type: &str, content: &str) {
        self.sim.world.borrow_mut().inject(&self.identity, room, (event_type, content));
    }

    /// Calls with this lifetime.
    pub fn invite(&self, room: &RoomId, call: &str, lifetime: Duration) {
        self.say(room, call, self.invitation(lifetime));
    }

    /// Answers.
    pub fn answer(&self, room: &RoomId, call: &str) {
        self.say(room, call, self.acceptance());
    }

    /// Sends this many candidates, numbered from `first`.
    pub fn candidates(&self, room: &RoomId, call: &str, numbers: std::ops::Range<usize>) {
        self.say(room, call, Body::Candidates(self.some_candidates(numbers)));
    }

    /// Chooses a party.
    pub fn select(&self, room: &RoomId, call: &str, party: &PartyId) {
        self.say(room, call, Body::SelectAnswer { selected: party.clone() });
    }

    /// Refuses.
    pub fn reject(&self, room: &RoomId, call: &str) {
        self.say(room, call, Body::Reject { reason: None });
    }

    /// Hangs up.
    pub fn hangup(&self, room: &RoomId, call: &str, reason: Option<Reason>) {
        self.say(room, call, Body::Hangup { reason });
    }

    /// The message that [`say`](Self::say) sends.
    pub fn message(&self, call: &str, body: Body) -> CallMessage {
        let header = Header {
            call_id: CallId::parse(call).expect("invariant: a test names valid calls"),
            party_id: (self.version == Version::V1).then(|| self.party.clone()),
            version: self.version,
            device_id: None,
            leg: None,
        };
        CallMessage { header, body }
    }

    /// An event for a batch of the test's own making, in the clear, `age` old.
    pub fn raw(&self, call: &str, body: Body, age: Duration) -> RawEvent {
        let (event_type, content) = self.message(call, body).write();
        let facts = Facts {
            event_id: None,
            sender: self.identity.user.clone(),
            device: None,
            protection: Protection::Clear,
            sent: None,
            age: Some(age),
        };
        RawEvent { facts, event_type, content, redacts: None }
    }

    /// An invite with an offer of sound.
    pub fn invitation(&self, lifetime: Duration) -> Body {
        Body::Invite(Invite {
            offer: Redacted::new(self.sdp(SdpKind::Offer, &[MediaKind::Audio])),
            lifetime,
            invitee: self.invitee.clone(),
            invitee_device: self.invitee_device.clone(),
            capabilities: Capabilities::default(),
            streams: Some(self.metadata()),
        })
    }

    /// An answer with sound.
    pub fn acceptance(&self) -> Body {
        Body::Answer(Answer {
            sdp: Redacted::new(self.sdp(SdpKind::Answer, &[MediaKind::Audio])),
            capabilities: Capabilities::default(),
            streams: Some(self.metadata()),
        })
    }

    /// Candidates of this client by number.
    pub fn some_candidates(&self, numbers: std::ops::Range<usize>) -> Vec<Candidate> {
        numbers.map(|number| sdp::candidate(self.party.as_str(), number)).collect()
    }

    /// A description with one line for each kind, all of one stream.
    pub fn sdp(&self, kind: SdpKind, lines: &[MediaKind]) -> String {
        let line = |kind: &MediaKind| Line {
            kind: *kind,
            direction: Direction::SendRecv,
            stream: Some(self.stream()),
            rejected: false,
        };
        let lines: Vec<Line> = lines.iter().map(line).collect();
        sdp::write(self.party.as_str(), 1, &lines, kind)
    }

    /// The stream id of this client.
    pub fn stream(&self) -> StreamId {
        StreamId::parse(format!("stream-{}", self.identity.device))
            .expect("invariant: the text is a stream id")
    }

    /// What this client says of its stream: user media, nothing muted but the picture.
    pub fn metadata(&self) -> StreamMetadata {
        let info =
            StreamInfo { purpose: Purpose::UserMedia, audio_muted: false, video_muted: true };
        StreamMetadata::from([(self.stream(), info)])
    }
}
