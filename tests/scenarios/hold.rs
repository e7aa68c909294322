//! Hold, by either side and by both; and what it leaves as it was.

use matrix_voip::{
    machine::{
        event::Hold,
        io::{CallCommand, CallMedia, MediaKind, MediaSource},
    },
    sdp::{Direction, media_lines},
    testing::{Device, OpKind, millis, secs},
    wire::{call::SdpKind, metadata::Purpose},
};

use crate::common::{BEN, Half, Two, two};

fn hold(device: &Device) -> (bool, bool) {
    let Hold { by_us, by_them } = device.snapshot().unwrap().hold;
    (by_us, by_them)
}

fn directions(device: &Device) -> Vec<Direction> {
    let local = device.peer().local.unwrap();
    media_lines(local.sdp.expose()).into_iter().map(|line| line.direction).collect()
}

fn act(two: &Two, device: &Device, command: CallCommand) {
    device.act(command);
    two.sim.run_until_quiet();
}

#[test]
fn whoever_is_held_hears_nothing_and_sees_why() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Hold);
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((true, false), (false, true)));
    assert_eq!(directions(&two.ada), [Direction::SendOnly]);
    assert_eq!(directions(&two.ben), [Direction::RecvOnly]);
    assert!(two.ada.tracks().iter().all(|track| !track.enabled), "silence is sent");
    act(&two, &two.ada, CallCommand::Unhold);
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, false), (false, false)));
    assert_eq!(directions(&two.ada), [Direction::SendRecv]);
    assert_eq!(directions(&two.ben), [Direction::SendRecv]);
    assert!(two.ada.tracks().iter().all(|track| track.enabled));
}

/// Who sends nothing is answered by somebody who takes nothing; that is no hold.
#[test]
fn whoever_stops_his_microphone_is_not_held() {
    let two = Two::connected();
    act(&two, &two.ben, CallCommand::Stop(MediaSource::Microphone));
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, false), (false, false)));
    act(&two, &two.ada, CallCommand::Hold);
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((true, false), (false, true)));
    act(&two, &two.ada, CallCommand::Unhold);
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, false), (false, false)));
}

/// The answer that is being made does not say it yet: an offer of our own follows.
#[test]
fn a_hold_while_their_offer_is_answered_is_told_afterwards() {
    let two = Two::connected();
    two.ben.slow(OpKind::Answer, millis(100));
    two.ada.act(CallCommand::RestartIce);
    two.sim.advance(millis(120));
    two.ben.act(CallCommand::Hold);
    two.sim.run_until_quiet();
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, true), (true, false)));
}

#[test]
fn the_callee_holds_as_well() {
    let two = Two::connected();
    act(&two, &two.ben, CallCommand::Hold);
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, true), (true, false)));
    act(&two, &two.ben, CallCommand::Unhold);
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, false), (false, false)));
}

#[test]
fn both_hold_and_each_takes_his_own_back() {
    for ada_first in [true, false] {
        let two = Two::connected();
        act(&two, &two.ada, CallCommand::Hold);
        act(&two, &two.ben, CallCommand::Hold);
        assert_eq!((hold(&two.ada), hold(&two.ben)), ((true, true), (true, true)));
        assert_eq!(directions(&two.ada), [Direction::Inactive]);
        let (first, second) = if ada_first { (&two.ada, &two.ben) } else { (&two.ben, &two.ada) };
        act(&two, first, CallCommand::Unhold);
        assert_eq!((hold(first), hold(second)), ((false, true), (true, false)));
        act(&two, second, CallCommand::Unhold);
        assert_eq!((hold(first), hold(second)), ((false, false), (false, false)));
        assert_eq!(directions(first), [Direction::SendRecv], "{}", two.sim.column());
        assert_eq!(directions(second), [Direction::SendRecv]);
    }
}

#[test]
fn what_was_muted_before_is_muted_after() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    two.ada.mute(MediaSource::Camera);
    act(&two, &two.ada, CallCommand::Hold);
    two.ada.mute(MediaSource::Microphone);
    two.ada.unmute(MediaSource::Microphone);
    assert!(two.ada.tracks().iter().all(|track| !track.enabled), "unmuting does not unhold");
    act(&two, &two.ada, CallCommand::Unhold);
    for track in two.ada.tracks() {
        assert_eq!(track.enabled, track.capture.source == MediaSource::Microphone);
    }
}

#[test]
fn a_source_that_is_opened_while_we_hold_opens_silent() {
    let two = Two::connected();
    act(&two, &two.ada, CallCommand::Hold);
    act(&two, &two.ada, CallCommand::Start(MediaSource::Camera));
    assert_eq!(two.ada.tracks().len(), 2);
    assert!(two.ada.tracks().iter().all(|track| !track.enabled));
    act(&two, &two.ada, CallCommand::Unhold);
    assert!(two.ada.tracks().iter().all(|track| track.enabled));
}

/// Whoever still looks at our picture has not gone, though he does not listen.
#[test]
fn whoever_takes_in_one_line_does_not_hold_us() {
    for (directions, held) in [
        (["sendonly", "sendrecv"], false),
        (["sendrecv", "sendonly"], false),
        (["inactive", "recvonly"], false),
        (["sendonly", "inactive"], true),
    ] {
        let (half, call) = Half::talking();
        let mut sdp = half.ben.sdp(SdpKind::Offer, &[MediaKind::Audio, MediaKind::Video]);
        for direction in directions {
            sdp = sdp.replacen("a=sendrecv", &format!("a={direction} "), 1);
        }
        half.offer(&call, sdp);
        assert_eq!(hold(&half.ada), (false, held), "{directions:?}");
    }
}

#[test]
fn directions_come_back_as_they_were() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer_with(CallMedia::Voice);
    two.sim.run_until_quiet();
    let before = (directions(&two.ada), directions(&two.ben));
    assert_eq!(before.1, [Direction::SendRecv, Direction::RecvOnly]);
    for holder in [&two.ada, &two.ben] {
        act(&two, holder, CallCommand::Hold);
        act(&two, holder, CallCommand::Unhold);
        assert_eq!((directions(&two.ada).len(), &directions(&two.ben)), (2, &before.1));
    }
}

/// The lines that rest while we hold are in use all the same: a new one is not mistaken for theirs.
#[test]
fn a_screen_that_is_shown_while_both_have_lines_that_rest_is_a_line_of_its_own() {
    let two = Two::connected();
    two.ben.act(CallCommand::Stop(MediaSource::Microphone));
    two.sim.advance(secs(10));
    two.ben.act(CallCommand::Hold);
    two.sim.advance(millis(40));
    two.ada.act(CallCommand::Start(MediaSource::Screen));
    two.sim.advance(secs(20));
    two.ben.act(CallCommand::Start(MediaSource::Screen));
    two.sim.run_until_quiet();
    assert_eq!((hold(&two.ada), hold(&two.ben)), ((false, true), (true, false)));
    let shown = two.ada.streams().iter().filter(|s| s.purpose == Purpose::Screenshare).count();
    assert_eq!(shown, 2, "{}", two.sim.column());
}
