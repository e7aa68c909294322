//! A group call as ada sees it, for tests of words about it.

use std::sync::Arc;

use matrix_voip::{
    Backend, Connection, GroupEvent, GroupOptions, GroupSnapshot, GroupState, Identity, MediaKind,
    Participant, ParticipantId, Side, Stream, VoIP,
    id::{DeviceId, UserId},
    testing::EmbeddedHomeserver,
    time::Wall,
    wire::{member::Dialect, metadata::Purpose},
};
use matrix_voip_media::Studio;

use crate::{cli::Engine, engine::Engines};

/// Whether somebody is muted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Muted {
    Yes,
    No,
}

fn participant(user: &str) -> ParticipantId {
    let (user, device) = (UserId::parse(user).unwrap(), DeviceId::parse("D").unwrap());
    ParticipantId { user, device }
}

pub(super) fn ada() -> ParticipantId {
    participant("@ada:x")
}

pub(super) fn ben() -> ParticipantId {
    participant("@ben:x")
}

/// Ada is in it with Ben, and connected.
pub(super) async fn call_with_ben() -> GroupSnapshot {
    let home = EmbeddedHomeserver::new().with_room("!r:x", ["@ada:x", "@ben:x"]);
    let ParticipantId { user, device } = ada();
    let account = home.login(Identity { user, device });
    let engine = Engines::new(Engine::Str0m).make(Studio::builder().build());
    let voip = VoIP::builder(account.identity().clone()).signaling(Arc::new(account.clone()));
    let voip = voip.webrtc(engine).start().unwrap();
    account.connect(voip.news());
    let call = voip.fetch_or_create_group_call("!r:x", GroupOptions::mesh()).await.unwrap();
    let mut call = call.snapshot();
    call.apply(&GroupEvent::StateChanged(GroupState::Entered));
    for id in [ada(), ben()] {
        call.apply(&GroupEvent::ParticipantJoined(Participant {
            id,
            session: None,
            application: "m.call".to_owned(),
            backend: Backend::Mesh,
            feeds: Vec::new(),
            since: Wall(0),
            dialect: Dialect::Famedly,
        }));
    }
    let connection = Connection::Connected;
    call.apply(&GroupEvent::ConnectionChanged { participant: ben(), connection });
    call
}

/// Ben's sound.
pub(super) fn voice(muted: Muted) -> Stream {
    Stream {
        side: Side::Remote,
        purpose: Purpose::UserMedia,
        id: None,
        kinds: vec![MediaKind::Audio],
        audio_muted: muted == Muted::Yes,
        video_muted: false,
    }
}

/// What Ben shows.
pub(super) fn streams(streams: Vec<Stream>) -> GroupEvent {
    GroupEvent::StreamsChanged { participant: ben(), streams }
}
