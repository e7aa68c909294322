//! Camera, screen, another microphone, and tones, while the call goes on.

use std::time::Duration;

use matrix_voip::{
    id::{InputId, PeerId, TrackId},
    machine::{
        event::{CallEvent, CallState, Side},
        io::{
            CallCommand, CallMedia, Input, MediaKind, MediaSource, PeerNews, Refusal, Tones,
            Verdict,
        },
    },
    testing::{Cue, Device, Habits, OpKind},
    wire::{
        call::{Body, SdpKind},
        metadata::Purpose,
    },
};

use crate::common::{Half, Two};

fn shows(device: &Device, side: Side, purpose: &Purpose) -> Option<Vec<MediaKind>> {
    let snapshot = device.snapshot().unwrap();
    snapshot.stream(side, purpose).map(|stream| stream.kinds.clone())
}

fn act(two: &Two, device: &Device, command: CallCommand) {
    device.act(command);
    two.sim.run_until_quiet();
}

fn negotiates(device: &Device) -> usize {
    let sent = device.sent();
    sent.iter().filter(|message| matches!(message.body, Body::Negotiate(_))).count()
}

#[test]
fn a_voice_call_becomes_a_video_call_and_a_voice_call_again() {
    let both = [MediaKind::Audio, MediaKind::Video];
    let two = Two::connected();
    for (one, other) in [(&two.ada, &two.ben), (&two.ben, &two.ada)] {
        act(&two, one, CallCommand::Start(MediaSource::Camera));
        assert_eq!(shows(one, Side::Local, &Purpose::UserMedia).unwrap(), both);
        assert_eq!(shows(other, Side::Remote, &Purpose::UserMedia).unwrap(), both);
        assert!(!other.streams()[0].video_muted);
        act(&two, one, CallCommand::Stop(MediaSource::Camera));
        let theirs = shows(other, Side::Remote, &Purpose::UserMedia).unwrap();
        assert_eq!(theirs, [MediaKind::Audio], "{}", two.sim.column());
        assert!(other.streams()[0].video_muted);
        assert_eq!(one.tracks().len(), 1, "the camera is off");
    }
}

#[test]
fn a_screen_is_shown_beside_the_camera_and_again() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Start(MediaSource::Camera));
    for _ in 0..3 {
        act(&two, &two.ada, CallCommand::Start(MediaSource::Screen));
        let screen = shows(&two.ben, Side::Remote, &Purpose::Screenshare);
        assert_eq!(screen, Some(vec![MediaKind::Video]), "{}", two.sim.column());
        assert_eq!(shows(&two.ben, Side::Remote, &Purpose::UserMedia).unwrap().len(), 2);
        act(&two, &two.ada, CallCommand::Stop(MediaSource::Screen));
        assert_eq!(shows(&two.ben, Side::Remote, &Purpose::Screenshare), None);
        assert_eq!(shows(&two.ben, Side::Remote, &Purpose::UserMedia).unwrap().len(), 2);
    }
    let lines = matrix_voip::sdp::media_lines(two.ada.peer().local.unwrap().sdp.expose()).len();
    assert_eq!(lines, 3, "its line is used again");
}

#[test]
fn both_share_their_screens() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Start(MediaSource::Screen));
    act(&two, &two.ben, CallCommand::Start(MediaSource::Screen));
    for device in [&two.ada, &two.ben] {
        for side in [Side::Local, Side::Remote] {
            let screen = shows(device, side, &Purpose::Screenshare);
            assert_eq!(screen, Some(vec![MediaKind::Video]), "{}", two.sim.column());
        }
    }
}

/// T-18b: a camera that is denied, or a screen picker that is closed, ends nothing.
#[test]
fn a_source_that_is_denied_is_told_and_ends_nothing() {
    for source in [MediaSource::Camera, MediaSource::Screen] {
        let two = Two::connected();
        two.ada.next(OpKind::Capture, Cue::denied());
        act(&two, &two.ada, CallCommand::Start(source));
        let session = two.ada.call().unwrap();
        assert!(two.ada.events_of(session).contains(&CallEvent::MediaMissing(source)));
        assert_eq!(two.ada.state(), Some(CallState::Connected));
        assert_eq!(negotiates(&two.ada), 0, "nothing has changed");
        act(&two, &two.ada, CallCommand::Start(source));
        assert_eq!(two.ada.tracks().len(), 2, "it may be tried again");
        two.ada.hangup();
        two.sim.run_to_the_end();
        assert!(two.ada.tracks().is_empty());
    }
}

#[test]
fn a_source_that_is_stopped_before_it_was_granted_is_never_on() {
    let two = Two::connected();
    two.ada.slow(OpKind::Capture, std::time::Duration::from_secs(5));
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.ada.act(CallCommand::Stop(MediaSource::Camera));
    two.sim.run_until_quiet();
    assert_eq!(two.ada.tracks().len(), 1);
    assert_eq!(negotiates(&two.ada), 0);
}

#[test]
fn a_screen_that_the_user_stops_showing_is_told() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Start(MediaSource::Screen));
    two.ada.input(Input::Peer(PeerId(1), PeerNews::TrackEnded(TrackId(2))));
    two.sim.run_until_quiet();
    assert_eq!(shows(&two.ben, Side::Remote, &Purpose::Screenshare), None, "{}", two.sim.column());
}

/// A picture that nobody sends is still received.
#[test]
fn a_video_call_without_a_camera_shows_the_other_side() {
    let two = crate::common::two();
    two.ada.next(OpKind::Capture, Cue::works());
    two.ada.next(OpKind::Capture, Cue::denied());
    two.ada.invite(&two.room, crate::common::BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer_with(CallMedia::Video);
    two.sim.run_until_quiet();
    let theirs = shows(&two.ada, Side::Remote, &Purpose::UserMedia).unwrap();
    assert_eq!(theirs, [MediaKind::Audio, MediaKind::Video], "{}", two.sim.column());
    assert_eq!(negotiates(&two.ada) + negotiates(&two.ben), 0, "with the first descriptions");
}

/// C10.
#[test]
fn a_camera_that_was_muted_is_seen_when_it_is_started() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Start(MediaSource::Camera));
    two.ada.mute(MediaSource::Camera);
    act(&two, &two.ada, CallCommand::Stop(MediaSource::Camera));
    act(&two, &two.ada, CallCommand::Start(MediaSource::Camera));
    assert!(!two.ben.streams()[0].video_muted);
    assert!(two.ada.tracks().iter().all(|track| track.enabled));
}

/// Without metadata the other side could not tell it from a camera.
#[test]
fn a_screen_needs_a_peer_that_knows_streams() {
    let (half, call) = Half::calling();
    let Body::Answer(mut answer) = half.ben.acceptance() else { panic!() };
    answer.streams = None;
    half.ben.say(&half.room, &call, Body::Answer(answer));
    half.sim.run_until_quiet();
    let start = CallCommand::Start(MediaSource::Screen);
    let verdict = half.ada.command_to(half.ada.call().unwrap(), start);
    assert_eq!(verdict, Verdict::Refused(Refusal::NoStreamMetadata));
}

/// T-18c: another device for one source touches no other source, no line and no mute.
#[test]
fn another_microphone_is_taken_without_a_word_on_the_wire() {
    let two = Two::connected();
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    let sent = two.ada.sent().len();
    let input = InputId::parse("headset").unwrap();
    let switch = CallCommand::Switch(MediaSource::Microphone, Some(input.clone()));
    act(&two, &two.ada, switch.clone());
    let [track] = two.ada.tracks().try_into().unwrap();
    assert_eq!((track.capture.input, track.enabled), (Some(input), false));
    assert_eq!(two.ada.sent().len(), sent);
    two.ada.next(OpKind::Replace, Cue::denied());
    act(&two, &two.ada, switch);
    let session = two.ada.call().unwrap();
    let failed = CallEvent::SwitchFailed(MediaSource::Microphone);
    assert!(two.ada.events_of(session).contains(&failed));
    assert_eq!(two.ada.state(), Some(CallState::Connected));
}

/// Tones are RTP (RFC 4733): who takes none in (RFC 3264 §8.4) hears no tones. Who holds himself
/// still sends silence, and tones with it.
#[test]
fn tones_that_cannot_be_sent_are_told() {
    let two = Two::connected();
    let session = two.ada.call().unwrap();
    let dial = || two.ada.command_to(session, CallCommand::Dtmf(Tones::parse("1").unwrap()));
    act(&two, &two.ben, CallCommand::Hold);
    assert_eq!(dial(), Verdict::Refused(Refusal::HeldByThem));
    act(&two, &two.ben, CallCommand::Unhold);
    act(&two, &two.ada, CallCommand::Hold);
    assert_eq!(dial(), Verdict::Handled);
    act(&two, &two.ada, CallCommand::Unhold);
    assert!(!two.ada.events_of(session).contains(&CallEvent::TonesFailed));
    two.ada.next(OpKind::Dtmf, Cue::denied());
    assert_eq!(dial(), Verdict::Handled);
    two.sim.run_until_quiet();
    assert!(two.ada.events_of(session).contains(&CallEvent::TonesFailed));
    assert_eq!((two.ada.tracks()[0].dialled.as_str(), two.ada.state()), ("1", two.ben.state()));
}

/// Version 0 cannot change a call, but tones change nothing.
#[test]
fn whoever_speaks_version_0_takes_tones() {
    let (half, call) = Half::calling();
    half.ben.clone().version_0().answer(&half.room, &call);
    half.sim.run_until_quiet();
    half.ada.act(CallCommand::Dtmf(Tones::parse("1").unwrap()));
    half.sim.run_until_quiet();
    assert_eq!(half.ada.tracks()[0].dialled, "1");
}

/// T-45: what a description of ours does not take, we do not say that we can.
#[test]
fn tones_are_named_where_our_engine_takes_them() {
    for (tones, habits) in
        [(true, Habits::default()), (false, Habits { tones: false, ..Habits::default() })]
    {
        let two = crate::common::two();
        two.ada.set_habits(habits);
        two.ada.invite(&two.room, crate::common::BEN, CallMedia::Voice);
        two.sim.run_until_quiet();
        assert_eq!(two.ben.snapshot().unwrap().remote_capabilities.dtmf, tones);
    }
}

/// What a later description does not take is taken no more.
#[test]
fn tones_are_taken_as_long_as_the_last_description_says_so() {
    let (half, call) = Half::talking();
    let dial = || {
        half.ada.command_to(half.ada.call().unwrap(), CallCommand::Dtmf(Tones::parse("1").unwrap()))
    };
    for (name, verdict) in [
        ("telephone-event", Verdict::Handled),
        ("CN", Verdict::Refused(Refusal::TakesNoTones)),
        ("telephone-event", Verdict::Handled),
    ] {
        let sdp = half.ben.sdp(SdpKind::Offer, &[MediaKind::Audio]);
        let sdp = sdp.replace("telephone-event", name);
        half.offer(&call, sdp);
        assert_eq!(dial(), verdict);
    }
}

#[test]
fn tones_are_sent_where_they_are_taken() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Dtmf(Tones::parse("12").unwrap()));
    act(&two, &two.ada, CallCommand::Dtmf(Tones::parse("#").unwrap()));
    assert_eq!(two.ada.tracks()[0].dialled, "12#");
    assert!(two.ada.snapshot().unwrap().remote_capabilities.dtmf);
    let (half, call) = Half::calling();
    let Body::Answer(mut answer) = half.ben.acceptance() else { panic!() };
    let deaf = answer.sdp.expose().replace("telephone-event", "CN");
    answer.sdp = deaf.into();
    half.ben.say(&half.room, &call, Body::Answer(answer));
    half.sim.run_until_quiet();
    let dial = CallCommand::Dtmf(Tones::parse("1").unwrap());
    let verdict = half.ada.command_to(half.ada.call().unwrap(), dial);
    assert_eq!(verdict, Verdict::Refused(Refusal::TakesNoTones));
}

/// A browser or a gateway that offers tones for a codec at 8 kHz only: our answer has none, and
/// says so.
#[test]
fn tones_that_our_answer_does_not_take_are_neither_promised_nor_sent() {
    for (clock, taken) in [("48000", true), ("8000", false)] {
        let half = crate::common::half();
        let Body::Invite(mut invite) = half.ben.invitation(Duration::from_secs(60)) else {
            panic!()
        };
        let tones = format!("telephone-event/{clock}");
        invite.offer = invite.offer.expose().replace("telephone-event/48000", &tones).into();
        half.ben.say(&half.room, "c1", Body::Invite(invite));
        half.sim.run_until_quiet();
        half.ada.answer();
        half.sim.run_until_quiet();
        half.ben.select(&half.room, "c1", &half.ada.snapshot().unwrap().party_id);
        half.sim.run_until_quiet();
        let sent = half.ada.sent();
        let answer = sent.iter().find_map(|message| match &message.body {
            Body::Answer(answer) => Some(answer),
            _ => None,
        });
        assert_eq!(answer.unwrap().capabilities.dtmf, taken, "telephone-event/{clock}");
        let dial = CallCommand::Dtmf(Tones::parse("1").unwrap());
        let verdict = half.ada.command_to(half.ada.call().unwrap(), dial);
        let refused = Verdict::Refused(Refusal::TakesNoTones);
        assert_eq!(verdict, if taken { Verdict::Handled } else { refused }, "{clock}");
    }
}
