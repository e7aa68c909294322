//! `m.call.negotiate`: one at a time, coalesced, and of two that cross the caller's stands.

use matrix_voip::{
    config::Config,
    machine::{
        event::{CallEvent, CallState},
        io::{CallCommand, CallMedia, Ignored, MediaKind, MediaSource, Refusal, Verdict},
    },
    testing::{Cue, Device, OpKind, millis, secs},
    wire::call::{Body, Capabilities, Description, Negotiate, SdpKind},
};

use crate::common::{BEN, Half, Two, two};

fn negotiates(device: &Device) -> Vec<SdpKind> {
    let kind = |body| match body {
        Body::Negotiate(negotiate) => Some(negotiate.description.kind),
        _ => None,
    };
    device.sent().into_iter().filter_map(|message| kind(message.body)).collect()
}

fn sees_video(device: &Device) -> bool {
    let streams = device.streams();
    streams[0].kinds.contains(&MediaKind::Video) && !streams[0].video_muted
}

fn offer(half: &Half, lifetime: Option<std::time::Duration>) -> Body {
    let kinds = [MediaKind::Audio, MediaKind::Video];
    let sdp = half.ben.sdp(SdpKind::Offer, &kinds).into();
    Body::Negotiate(Negotiate {
        description: Description { kind: SdpKind::Offer, sdp },
        lifetime,
        capabilities: None,
        streams: Some(half.ben.metadata()),
    })
}

/// Ada calls Ben, who answers: Ben is in the test's hand.
fn talking() -> (Half, String) {
    let (half, call) = Half::calling();
    half.ben.answer(&half.room, &call);
    half.ben.candidates(&half.room, &call, 0..1);
    half.sim.run_until_quiet();
    (half, call)
}

#[test]
fn what_both_change_at_once_is_agreed_on() {
    for (first, second) in [(0, 0), (0, 40), (40, 0), (0, 120), (120, 0), (0, 260), (260, 0)] {
        let two = Two::connected();
        two.sim.advance(millis(first));
        two.ada.act(CallCommand::Start(MediaSource::Camera));
        two.sim.advance(millis(second));
        two.ben.act(CallCommand::Start(MediaSource::Camera));
        two.sim.run_until_quiet();
        assert!(sees_video(&two.ada) && sees_video(&two.ben), "{}", two.sim.column());
        assert_eq!(two.ada.state(), Some(CallState::Connected));
    }
}

#[test]
fn of_two_offers_that_cross_the_callers_stands() {
    let two = Two::connected();
    two.ada.slow(OpKind::SendEvent, millis(300));
    two.ben.slow(OpKind::SendEvent, millis(300));
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.ben.act(CallCommand::Start(MediaSource::Screen));
    two.sim.run_until_quiet();
    assert_eq!(two.ada.ignored(Ignored::Collision), 1, "{}", two.sim.column());
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer, SdpKind::Answer]);
    assert_eq!(negotiates(&two.ben), [SdpKind::Offer, SdpKind::Answer, SdpKind::Offer]);
    assert_eq!((two.ada.streams().len(), two.ben.streams().len()), (3, 3));
}

#[test]
fn much_that_changes_meanwhile_is_one_offer() {
    let two = Two::connected();
    two.ada.slow(OpKind::SendEvent, secs(2));
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(1));
    for _ in 0..5 {
        two.ada.act(CallCommand::Hold);
        two.ada.act(CallCommand::Unhold);
    }
    two.ada.act(CallCommand::Start(MediaSource::Screen));
    two.sim.run_until_quiet();
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer, SdpKind::Offer], "{}", two.sim.column());
    assert_eq!(two.ben.streams().iter().filter(|s| !s.kinds.is_empty()).count(), 3);
}

#[test]
fn an_offer_that_nobody_answers_is_made_anew() {
    let two = Two::connected();
    two.ben.hold_sync();
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(59));
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer]);
    two.sim.advance(secs(3));
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer, SdpKind::Offer]);
    two.ben.release_sync();
    two.sim.run_until_quiet();
    assert_eq!(two.ben.ignored(Ignored::Expired), 1);
    assert!(sees_video(&two.ben), "{}", two.sim.column());
}

#[test]
fn an_offer_that_is_never_answered_is_given_up_and_the_user_is_told() {
    let two = Two::connected();
    two.ben.hold_sync();
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(170));
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer; 3]);
    let is_told = || {
        let events = two.ada.events_of(two.ada.call().unwrap());
        events.contains(&CallEvent::NegotiationFailed)
    };
    assert!(!is_told());
    two.sim.advance(secs(600));
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer; 3], "{}", two.sim.column());
    assert!(is_told());
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    two.ada.act(CallCommand::Stop(MediaSource::Camera));
    two.ada.act(CallCommand::Start(MediaSource::Screen));
    two.sim.advance(secs(1));
    assert_eq!(negotiates(&two.ada), [SdpKind::Offer; 4], "a new wish is a new try");
}

/// `famedly-dart.md` §4.
#[test]
fn famedlys_timeouts_are_famedlys() {
    let timeouts = Config::famedly().timeouts;
    assert_eq!((timeouts.invite, timeouts.negotiate), (secs(60), secs(10)));
    assert_eq!(timeouts.gather, millis(200));
    assert_eq!(
        (timeouts.candidates_outgoing, timeouts.candidates_incoming),
        (secs(2), millis(500))
    );
}

#[test]
fn an_offer_whose_lifetime_is_over_is_ignored() {
    let (half, call) = talking();
    let batch = |age| half.ben.raw(&call, offer(&half, Some(secs(60))), age);
    let verdict = |age| {
        let batch = matrix_voip::testing::room_batch(&half.room, vec![batch(age)]);
        half.ada.deliver(batch)
    };
    assert_eq!(verdict(secs(60)), [Verdict::Ignored(Ignored::Expired)]);
    assert_eq!(verdict(secs(59)), [Verdict::Handled]);
    half.sim.run_until_quiet();
    assert_eq!(negotiates(&half.ada), [SdpKind::Answer]);
}

#[test]
fn only_the_chosen_party_changes_the_call() {
    let (half, call) = talking();
    let other = half.ben.clone().as_party("SOMEBODY");
    other.say(&half.room, &call, offer(&half, None));
    half.sim.run_until_quiet();
    assert_eq!(half.ada.ignored(Ignored::WrongParty), 1);
    assert!(negotiates(&half.ada).is_empty());
}

#[test]
fn capabilities_of_a_later_offer_count() {
    let (half, call) = talking();
    let can = || half.ada.snapshot().unwrap().remote_capabilities;
    for (said, shown) in [
        (Some(Capabilities { transferee: true, dtmf: true }), (true, true)),
        (None, (true, true)),
        (Some(Capabilities { transferee: false, dtmf: true }), (false, true)),
    ] {
        let Body::Negotiate(mut offer) = offer(&half, None) else { unreachable!() };
        offer.capabilities = said;
        half.ben.say(&half.room, &call, Body::Negotiate(offer));
        half.sim.run_until_quiet();
        assert_eq!((can().transferee, can().dtmf), shown, "{said:?}");
    }
    let Body::Negotiate(mut old) = offer(&half, Some(secs(0))) else { unreachable!() };
    old.capabilities = Some(Capabilities { transferee: true, dtmf: true });
    half.ben.say(&half.room, &call, Body::Negotiate(old));
    half.sim.run_until_quiet();
    assert!(!can().transferee, "an offer that does not count says nothing");
}

#[test]
fn nobody_changes_a_call_that_is_not_answered() {
    let (half, call) = Half::calling();
    half.ben.say(&half.room, &call, offer(&half, None));
    half.sim.run_until_quiet();
    let refused = half.ada.ignored(Ignored::WrongParty) + half.ada.ignored(Ignored::WrongState);
    assert_eq!(refused, 1);
    let session = half.ada.call().unwrap();
    let verdict = half.ada.command_to(session, CallCommand::Hold);
    assert_eq!(verdict, Verdict::Refused(Refusal::WrongState(CallState::InviteSent)));
}

#[test]
fn an_answer_that_nobody_asked_for_is_ignored() {
    let (half, call) = talking();
    let Body::Negotiate(mut answer) = offer(&half, None) else { unreachable!() };
    answer.description.kind = SdpKind::Answer;
    half.ben.say(&half.room, &call, Body::Negotiate(answer));
    half.sim.run_until_quiet();
    assert_eq!(half.ada.ignored(Ignored::WrongState), 1);
}

#[test]
fn whoever_speaks_version_0_is_not_asked_to_change() {
    let (half, call) = Half::calling();
    let old = half.ben.clone().version_0();
    old.answer(&half.room, &call);
    old.candidates(&half.room, &call, 0..1);
    half.sim.run_until_quiet();
    let session = half.ada.call().unwrap();
    for command in [CallCommand::Hold, CallCommand::RestartIce] {
        let verdict = half.ada.command_to(session, command);
        assert_eq!(verdict, Verdict::Refused(Refusal::CannotRenegotiate));
    }
}

#[test]
fn a_change_that_fails_leaves_the_call_as_it_was() {
    for kind in [OpKind::Offer, OpKind::SetLocal, OpKind::LocalDescription, OpKind::SendEvent] {
        let two = Two::connected();
        two.ada.next(kind, Cue::denied());
        two.ada.act(CallCommand::Start(MediaSource::Camera));
        two.sim.run_until_quiet();
        let session = two.ada.call().unwrap();
        let told = two.ada.events_of(session).contains(&CallEvent::NegotiationFailed);
        assert!(told, "{kind:?}\n{}", two.sim.column());
        assert_eq!(two.ada.state(), Some(CallState::Connected));
        two.ben.act(CallCommand::Start(MediaSource::Camera));
        two.sim.run_until_quiet();
        assert!(sees_video(&two.ada), "it can still be changed\n{}", two.sim.column());
    }
}

#[test]
fn a_change_of_theirs_that_fails_leaves_the_call_as_it_was() {
    for kind in [OpKind::SetRemote, OpKind::Answer] {
        let two = Two::connected();
        two.ben.next(kind, Cue::denied());
        two.ada.act(CallCommand::Start(MediaSource::Camera));
        two.sim.advance(secs(10));
        assert_eq!(two.ben.state(), Some(CallState::Connected));
        two.sim.advance(secs(90));
        assert!(sees_video(&two.ben), "it is tried anew\n{}", two.sim.column());
    }
}

#[test]
fn a_call_that_ends_in_the_middle_of_a_change_leaves_nothing_behind() {
    for after in [0, 5, 20, 50, 120, 250, 400] {
        let two = two();
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.run_until_quiet();
        two.ben.answer();
        two.sim.run_until_quiet();
        two.ada.act(CallCommand::Start(MediaSource::Camera));
        two.sim.advance(millis(after));
        two.ben.hangup();
        two.sim.run_to_the_end();
        assert!(two.ada.tracks().is_empty() && two.ada.peers().is_empty());
    }
}
