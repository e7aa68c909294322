//! What is seen of a headset: its devices, and who is heard how.

use matrix_voip::{host::RemoteTrack, id::SessionId, machine::io::ParticipantId};

use super::{
    core::{CaptureStats, VoiceReport},
    device::DeviceError,
};

/// Whose voice it is: of a call of two `Talker { session: call.id(), member: None }`, of a group call
/// `Talker { session: group.id(), member: Some(participant) }` with the id of one of its participants.
/// Who is heard now is in [`HeadsetView::voices`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Talker {
    /// The call.
    pub session: SessionId,
    /// Who, in a group call.
    pub member: Option<ParticipantId>,
}

impl From<&RemoteTrack> for Talker {
    fn from(track: &RemoteTrack) -> Self {
        Self { session: track.session, member: track.member.clone() }
    }
}

/// Whether a device is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceState {
    /// It is not needed, for no call has sound.
    #[default]
    Idle,
    /// It is being opened, which may take the sound system some time; the call goes on without.
    Opening,
    /// It is open.
    Open,
    /// It is not there, or was unplugged. It is tried again each second; the call goes on without.
    Missing(DeviceError),
}

/// What is known of a headset: its devices, and who is heard how.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct HeadsetView {
    /// The microphone.
    pub microphone: DeviceState,
    /// The loudspeaker.
    pub speaker: DeviceState,
    /// What became of the microphone's sound.
    pub capture: CaptureStats,
    /// Samples that were missing when the loudspeaker was to play them. Never goes back.
    pub unplayed: u64,
    /// Everybody who can be heard, a voice for each of his tracks.
    pub voices: Vec<(Talker, VoiceReport)>,
}
