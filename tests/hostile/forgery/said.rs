//! The ten events, each in a moment in which it has an effect.

use matrix_voip::{
    config::Config,
    id::{DeviceId, SessionId, StreamId},
    machine::{
        event::CallState,
        io::{
            CallCommand, CallMedia, Callee, Command, Input, MediaKind, PeerNews, PeerState, Verdict,
        },
    },
    wire::{
        call::{
            Answer, Body, Capabilities, Description, Identity, Invite, Negotiate, Replaces, SdpKind,
        },
        delivery::{Parsed, Place, Protection},
        metadata::{Purpose, StreamInfo},
    },
};

use super::Scene;
use crate::rig::{Rig, SDP, Said, answer, candidates, hangup, invite, millis, party, room, said};
use crate::rig::{secs, user};

/// In which way a moment is special.
#[derive(Clone, Default)]
pub(crate) struct Moment {
    pub(crate) config: Config,
    /// The room is encrypted; their device is `PHONE`.
    pub(crate) encrypted: bool,
}

/// An event of the other side that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honest {
    Invite,
    Answer,
    Candidates,
    Select,
    Reject,
    Hangup,
    Negotiate,
    Metadata,
    Identity,
    Replaces,
}

impl Honest {
    pub(crate) const ALL: [Self; 10] = [
        Self::Invite,
        Self::Answer,
        Self::Candidates,
        Self::Select,
        Self::Reject,
        Self::Hangup,
        Self::Negotiate,
        Self::Metadata,
        Self::Identity,
        Self::Replaces,
    ];

    pub(crate) fn body(self) -> Body {
        match self {
            Self::Invite => invite(),
            Self::Answer => answer(),
            Self::Candidates => candidates(3),
            Self::Select => Body::SelectAnswer { selected: party("another") },
            Self::Reject => Body::Reject { reason: None },
            Self::Hangup => hangup(),
            Self::Negotiate => offer(),
            Self::Metadata => metadata("theirs"),
            Self::Identity => Body::AssertedIdentity(person("@gateway:x")),
            Self::Replaces => create("@carl:x"),
        }
    }

    /// The moment in which it counts: before, in the middle of, or within a call.
    pub(crate) fn scene(self, moment: Moment) -> Scene {
        let encrypted = moment.encrypted;
        let (rig, call) = match self {
            Self::Invite => (idle(moment), "new".to_owned()),
            Self::Answer | Self::Reject => {
                let (rig, session) = calling(moment);
                let call = rig.call_id(session);
                (rig, call)
            }
            Self::Candidates
            | Self::Select
            | Self::Hangup
            | Self::Negotiate
            | Self::Metadata
            | Self::Identity
            | Self::Replaces => (talking(moment).0, "talk".to_owned()),
        };
        let mut scene = Scene::new(rig, said("you", &call, self.body()));
        if encrypted {
            encrypt(&mut scene.event, "PHONE");
            scene.place = Place::Room { room: room("r"), encrypted };
        }
        scene
    }
}

/// The event was encrypted, by this device.
pub(crate) fn encrypt(event: &mut Parsed, device: &str) {
    event.facts.protection = Protection::Verified;
    event.facts.device = Some(DeviceId::parse(device).unwrap());
}

// -------------------------------------------------------------------------------------- moments

pub(crate) fn idle(moment: Moment) -> Rig {
    Rig::with(moment.config)
}

/// We call `you`.
pub(crate) fn calling(moment: Moment) -> (Rig, SessionId) {
    idle(moment).calling()
}

/// Our call to `you` is being prepared.
pub(crate) fn preparing() -> (Rig, SessionId) {
    let mut rig = Rig::new();
    rig.habit = |_| None;
    let session = rig.place("you");
    (rig, session)
}

/// We call the device `DESK` of `you`.
pub(crate) fn calling_device() -> (Rig, SessionId) {
    let mut rig = Rig::new();
    let callee = Callee::Device(user("you"), DeviceId::parse("DESK").unwrap());
    let place = Command::Invite { room: room("r"), callee, media: CallMedia::Voice };
    let Verdict::Started(session) = rig.input(Input::Command(place)) else { panic!() };
    rig.pass(millis(200));
    (rig, session)
}

/// `you` calls us, it rings.
pub(crate) fn ringing() -> Rig {
    let mut rig = Rig::new();
    rig.started("r", said("you", "rings", invite()));
    rig
}

/// We talk with `you`, who called: call `talk`.
pub(crate) fn talking(moment: Moment) -> (Rig, SessionId) {
    if !moment.encrypted {
        let (rig, session) = idle(moment).talking();
        return (with_sound(rig, session), session);
    }
    let mut scene = Scene::new(idle(moment), said("you", "talk", invite()));
    scene.place = Place::Room { room: room("r"), encrypted: true };
    encrypt(&mut scene.event, "PHONE");
    let Verdict::Started(session) = scene.deliver() else { panic!("it does not ring") };
    let mut rig = scene.rig;
    rig.command(session, CallCommand::Answer(None));
    rig.pass(millis(200));
    rig.peer(session, PeerState::Connected);
    (with_sound(rig, session), session)
}

/// Their sound is heard, of which their metadata speaks.
fn with_sound(mut rig: Rig, session: SessionId) -> Rig {
    let peer = rig.peer_of(session);
    let stream = Some(StreamId::parse("theirs").unwrap());
    let (mid, kind) = ("0".to_owned(), MediaKind::Audio);
    rig.input(Input::Peer(peer, PeerNews::TrackAdded { mid, stream, kind }));
    rig
}

/// We talk with `you`, whom we called.
pub(crate) fn we_talk() -> (Rig, SessionId, String) {
    let (mut rig, session) = Rig::new().calling();
    let id = rig.call_id(session);
    rig.hear("r", said("you", &id, answer()));
    rig.peer(session, PeerState::Connected);
    assert_eq!(rig.state(session), Some(CallState::Connected));
    (rig, session, id)
}

/// A call with `you` has ended, and our hangup is on its way.
pub(crate) fn parting() -> Rig {
    let (mut rig, session) = Rig::new().talking();
    rig.habit = crate::rig::deaf_server;
    rig.command(session, CallCommand::Hangup);
    rig
}

/// A call with `you` is over and forgotten.
pub(crate) fn over() -> Rig {
    let (mut rig, session) = Rig::new().talking();
    rig.command(session, CallCommand::Hangup);
    rig.pass(secs(1));
    rig
}

// --------------------------------------------------------------------------------------- bodies

pub(crate) fn described(kind: SdpKind) -> Negotiate {
    Negotiate {
        description: Description { kind, sdp: SDP.into() },
        lifetime: Some(secs(60)),
        capabilities: None,
        streams: None,
    }
}

pub(crate) fn offer() -> Body {
    Body::Negotiate(described(SdpKind::Offer))
}

pub(crate) fn metadata(stream: &str) -> Body {
    let info = StreamInfo { purpose: Purpose::UserMedia, audio_muted: true, video_muted: true };
    Body::MetadataChanged([(StreamId::parse(stream).unwrap(), info)].into())
}

pub(crate) fn person(id: &str) -> Identity {
    Identity { id: Some(id.to_owned()), ..Identity::default() }
}

/// "Call him instead."
pub(crate) fn create(whom: &str) -> Body {
    let create_call = Some("instead".to_owned());
    let target_user = Some(person(whom));
    Body::Replaces(Replaces { create_call, target_user, ..Replaces::default() })
}

/// "He will call you instead."
pub(crate) fn expect(whom: &str) -> Body {
    let await_call = Some("instead".to_owned());
    let target_user = Some(person(whom));
    Body::Replaces(Replaces { await_call, target_user, ..Replaces::default() })
}

pub(crate) fn invite_with(change: impl FnOnce(&mut Invite)) -> Body {
    let Body::Invite(mut body) = invite() else { unreachable!() };
    change(&mut body);
    Body::Invite(body)
}

pub(crate) fn broken_answer() -> Body {
    let capabilities = Capabilities::default();
    Body::Answer(Answer { sdp: "rubbish".into(), capabilities, streams: None })
}

/// What `you` says about a call.
pub(crate) fn theirs(call: &str, body: Body) -> Said<'_> {
    said("you", call, body)
}
