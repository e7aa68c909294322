//! Glare and what is captured: it moves to the surviving call, and never grows on the way.

use matrix_voip::{
    config::{Config, Proceed},
    id::RoomId,
    machine::{
        event::{CallEvent, CallState, EndReason, Side},
        io::{CallCommand, CallMedia, MediaKind, MediaSource, PeerState, SdpKind},
    },
    redact::Redacted,
    testing::{Cue, Device, Kind, OpKind, Puppet, Sim, millis, secs},
    wire::call::{Body, Reason},
};

use crate::common::{ADA, BEN, Half, half, local};

const SMALL: &str = "!";

struct Stage {
    sim: Sim,
    room: RoomId,
    ada: Device,
    ben: Puppet,
}

fn stage(config: Config) -> Stage {
    let sim = Sim::new(89);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.user(ADA).device_with("PHONE", config);
    let ben = sim.puppet(BEN, "LAPTOP");
    sim.run_until_quiet();
    Stage { sim, room, ada, ben }
}

impl Stage {
    fn plain() -> Self {
        stage(Config::default())
    }

    fn calls(&self, media: CallMedia) {
        self.ada.invite(&self.room, BEN, media);
    }

    /// Ben calls, and his call survives.
    fn is_called(&self, media: CallMedia) {
        let mut invite = self.ben.invitation(secs(60));
        if let (Body::Invite(invite), CallMedia::Video) = (&mut invite, media) {
            let lines = [MediaKind::Audio, MediaKind::Video];
            invite.offer = Redacted::new(self.ben.sdp(SdpKind::Offer, &lines));
            for info in invite.streams.iter_mut().flat_map(|streams| streams.values_mut()) {
                info.video_muted = false;
            }
        }
        self.ben.say(&self.room, SMALL, invite);
    }

    /// What was asked of cameras and microphones, in order.
    fn media(&self) -> Vec<String> {
        let lines = self.sim.column().only(&[Kind::Media]).0;
        let what = lines.into_iter().map(|line| line.what);
        what.filter(|what| !what.contains("peer")).collect()
    }

    fn kinds(&self) -> Vec<MediaKind> {
        self.ada.tracks().into_iter().map(|track| track.capture.kind).collect()
    }
}

#[test]
fn what_is_captured_moves_to_the_surviving_call() {
    let stage = Stage::plain();
    stage.calls(CallMedia::Voice);
    stage.sim.run_until_quiet();
    stage.is_called(CallMedia::Voice);
    stage.sim.run_until_quiet();
    assert_eq!(stage.ada.state(), Some(CallState::Connecting));
    assert_eq!(stage.media(), ["captures the microphone"], "not released, not captured again");
    assert_eq!(stage.ada.streams().last().unwrap().side, Side::Local, "and the new call shows it");
    stage.ada.hangup();
    stage.sim.run_to_the_end();
    assert_eq!(stage.media(), ["captures the microphone", "releases a track"]);
}

#[test]
fn a_person_who_is_being_asked_is_not_asked_again() {
    let stage = Stage::plain();
    stage.ada.slow(OpKind::Capture, secs(4));
    stage.calls(CallMedia::Voice);
    stage.sim.advance(secs(1));
    stage.is_called(CallMedia::Voice);
    stage.sim.advance(secs(2));
    assert_eq!(stage.ada.state(), Some(CallState::Answering));
    stage.sim.advance(secs(3));
    assert_eq!(stage.ada.state(), Some(CallState::Connecting), "{}", stage.sim.column());
    assert_eq!(stage.media(), ["captures the microphone"]);
}

#[test]
fn who_refuses_the_microphone_meanwhile_has_refused_it_for_the_surviving_call() {
    let stage = Stage::plain();
    stage.ada.next(OpKind::Capture, Cue::denied().after(secs(4)));
    stage.calls(CallMedia::Voice);
    stage.sim.advance(secs(1));
    stage.is_called(CallMedia::Voice);
    stage.sim.run_to_the_end();
    let calls = stage.ada.calls();
    assert_eq!(stage.ada.end_of(calls[0]), local(EndReason::Replaced));
    assert_eq!(stage.ada.end_of(calls[1]), local(EndReason::UserMediaFailed));
}

/// The camera that was open for our video call is of no use to their voice call.
#[test]
fn what_the_surviving_call_does_not_need_is_released() {
    let stage = Stage::plain();
    stage.calls(CallMedia::Video);
    stage.sim.run_until_quiet();
    stage.is_called(CallMedia::Voice);
    stage.sim.run_until_quiet();
    assert_eq!(
        stage.media(),
        ["captures the microphone", "captures the camera", "releases a track"]
    );
    assert_eq!(stage.kinds(), [MediaKind::Audio]);
}

#[test]
fn a_camera_that_is_being_asked_for_in_vain_is_not_opened() {
    let stage = Stage::plain();
    stage.ada.slow(OpKind::Capture, secs(4));
    stage.calls(CallMedia::Video);
    stage.sim.advance(secs(1));
    stage.is_called(CallMedia::Voice);
    stage.sim.run_until_quiet();
    assert_eq!(stage.ada.state(), Some(CallState::Connecting));
    assert_eq!(stage.kinds(), [MediaKind::Audio]);
}

#[test]
fn a_video_call_that_meets_a_video_call_shows_both() {
    let stage = Stage::plain();
    stage.calls(CallMedia::Video);
    stage.sim.run_until_quiet();
    stage.is_called(CallMedia::Video);
    stage.sim.run_until_quiet();
    assert_eq!(stage.media(), ["captures the microphone", "captures the camera"]);
    assert_eq!(stage.kinds(), [MediaKind::Audio, MediaKind::Video]);
}

/// Nothing is captured that the user had not granted for his own call.
#[test]
fn a_voice_call_that_meets_a_video_call_opens_no_camera() {
    for early in [true, false] {
        let stage = Stage::plain();
        if early {
            stage.ada.slow(OpKind::Capture, secs(2));
        }
        stage.calls(CallMedia::Voice);
        stage.sim.advance(secs(1));
        stage.is_called(CallMedia::Video);
        stage.sim.run_until_quiet();
        assert_eq!(stage.ada.state(), Some(CallState::Connecting));
        assert_eq!(stage.media(), ["captures the microphone"]);
    }
}

#[test]
fn a_camera_that_was_refused_is_not_asked_for_again() {
    let stage = Stage::plain();
    stage.ada.next(OpKind::Capture, Cue::works());
    stage.ada.next(OpKind::Capture, Cue::denied());
    stage.calls(CallMedia::Video);
    stage.sim.run_until_quiet();
    stage.is_called(CallMedia::Video);
    stage.sim.run_until_quiet();
    assert_eq!(stage.media(), ["captures the microphone", "captures the camera"]);
    assert_eq!(stage.ada.state(), Some(CallState::Connecting));
}

#[test]
fn who_muted_his_own_call_is_muted_in_the_surviving_one() {
    for asked in [false, true] {
        let stage = Stage::plain();
        if asked {
            stage.ada.slow(OpKind::Capture, secs(4));
        }
        stage.calls(CallMedia::Voice);
        stage.sim.advance(secs(1));
        stage.ada.mute(MediaSource::Microphone);
        stage.is_called(CallMedia::Voice);
        stage.sim.run_until_quiet();
        let call = stage.ada.call().unwrap();
        let muted = CallEvent::MuteChanged { source: MediaSource::Microphone, muted: true };
        assert!(stage.ada.events_of(call).contains(&muted));
        assert!(stage.ada.streams().last().unwrap().audio_muted);
        assert!(stage.ada.tracks().iter().all(|track| !track.enabled));
        let answer = stage.ada.sent().into_iter().find_map(|message| match message.body {
            Body::Answer(answer) => answer.streams,
            _ => None,
        });
        assert!(answer.unwrap().values().all(|info| info.audio_muted));
    }
}

#[test]
fn who_muted_a_call_that_they_replaced_first_is_muted_in_theirs() {
    let stage = Stage::plain();
    stage.calls(CallMedia::Voice);
    stage.sim.run_until_quiet();
    stage.ada.mute(MediaSource::Microphone);
    let id = stage.ada.snapshot().unwrap().call_id.to_string();
    let replaced = Some(matrix_voip::wire::call::Reason::Replaced);
    stage.ben.hangup(&stage.room, &id, replaced);
    stage.sim.advance(millis(100));
    assert!(stage.ada.tracks().is_empty(), "a call that is over listens to nobody");
    stage.is_called(CallMedia::Video);
    stage.sim.run_until_quiet();
    assert_eq!(stage.ada.state(), Some(CallState::Connecting));
    assert_eq!(stage.kinds(), [MediaKind::Audio]);
    assert!(stage.ada.tracks().iter().all(|track| !track.enabled));
}

/// The application let media start for a call with this user.
#[test]
fn permission_moves_with_the_media() {
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    for permitted in [false, true] {
        let stage = stage(config.clone());
        stage.calls(CallMedia::Voice);
        if permitted {
            stage.ada.proceed();
        }
        stage.sim.run_until_quiet();
        stage.is_called(CallMedia::Voice);
        stage.sim.run_until_quiet();
        let expected = if permitted { CallState::Connecting } else { CallState::Answering };
        assert_eq!(stage.ada.state(), Some(expected));
        assert_eq!(stage.media().len(), usize::from(permitted));
        let call = stage.ada.call().unwrap();
        stage.ada.command_to(call, CallCommand::Proceed);
        stage.sim.run_until_quiet();
        assert_eq!(stage.ada.state(), Some(CallState::Connecting));
    }
}

/// Who called once more and then hung up took back what he had granted.
#[test]
fn who_hung_up_meanwhile_is_not_answered_for() {
    let (Half { sim, room, ada, ben }, ours) = Half::calling();
    ben.hangup(&room, &ours, Some(Reason::Replaced));
    sim.advance(secs(1));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(1));
    ada.hangup();
    sim.advance(millis(500));
    ben.invite(&room, "later", secs(60));
    sim.advance(millis(200));
    assert_eq!((ada.is_ringing(), ada.tracks().len()), (true, 0), "{}", sim.column());
}

#[test]
fn a_camera_that_was_refused_is_not_opened_for_the_call_that_replaces() {
    let Half { sim, room, ada, ben } = half();
    ada.next(OpKind::Capture, Cue::works());
    ada.next(OpKind::Capture, Cue::denied());
    ada.invite(&room, BEN, CallMedia::Video);
    sim.run_until_quiet();
    let id = ada.snapshot().unwrap().call_id.to_string();
    ben.hangup(&room, &id, Some(Reason::Replaced));
    sim.advance(millis(100));
    let mut invite = ben.invitation(secs(60));
    if let Body::Invite(invite) = &mut invite {
        invite.offer =
            Redacted::new(ben.sdp(SdpKind::Offer, &[MediaKind::Audio, MediaKind::Video]));
        for info in invite.streams.iter_mut().flat_map(|streams| streams.values_mut()) {
            info.video_muted = false;
        }
    }
    ben.say(&room, "!", invite);
    sim.run_until_quiet();
    let media = sim.column().only(&[Kind::Media]).0;
    let cameras = media.iter().filter(|line| line.what == "captures the camera").count();
    assert_eq!(cameras, 1, "{}", sim.column());
}

/// Also one that is answered by itself: two users have one call with each other.
#[test]
fn a_call_that_is_answered_by_itself_takes_the_place_of_one_that_is_held() {
    let (Half { sim, room, ada, ben }, first) = Half::calling();
    ben.answer(&room, &first);
    ben.candidates(&room, &first, 0..1);
    sim.run_until_quiet();
    ada.force(PeerState::Connected);
    sim.advance(millis(10));
    ada.act(CallCommand::Hold);
    sim.advance(secs(1));
    let [first, second] = [ada.calls()[0], ada.invite(&room, BEN, CallMedia::Voice)];
    sim.advance(secs(1));
    let id = ada.snapshot_of(second).unwrap().call_id;
    ben.hangup(&room, id.as_str(), Some(Reason::Replaced));
    ben.invite(&room, "!", secs(60));
    sim.advance(millis(500));
    let third = ada.calls()[2];
    assert_eq!(ada.state_of(third), Some(CallState::Connecting), "{}", sim.column());
    assert_eq!(ada.end_of(first), local(EndReason::Replaced));
}
