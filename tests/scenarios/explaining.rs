//! `explain()`: every phase and every step says what the call waits for, and why.

use matrix_voip::{
    CallMedia, CallState, Config, EndReason,
    config::Proceed,
    id::RoomId,
    machine::{
        event::{End, EndParty},
        explain::{Explanation, Need, Standing, Wait, Work},
        io::{CallCommand, Callee, Fault, MediaKind, MediaSource, PeerState, SdpKind},
    },
    testing::{Cue, Device, Habits, OpKind, Sim, millis, secs},
};

use crate::common::{ADA, BEN, Half};

/// A world with two phones and a room.
fn world() -> (Sim, RoomId, Device, Device) {
    let sim = Sim::new(3);
    let room = sim.room("!room:example", [ADA, BEN]);
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    sim.run_until_quiet();
    (sim, room, ada, ben)
}

fn explained(sim: &Sim, device: &Device) -> Explanation {
    let session = device.call().expect("a call");
    let now = sim.now();
    device.engine(|engine| engine.explain(now, session)).expect("an explanation")
}

#[track_caller]
fn says(sim: &Sim, device: &Device, sentences: &str) {
    assert_eq!(explained(sim, device).to_string(), sentences);
}

/// Answers of Ben at once, and what he says after a moment.
fn answering(sim: &Sim, ada: &Device, ben: &Device, room: &RoomId) {
    ada.invite(room, BEN, CallMedia::Voice);
    sim.advance(secs(5));
    ben.answer();
}

#[test]
fn an_outgoing_call_says_what_it_needs_first() {
    let (sim, room, ada, _ben) = world();
    ada.next(OpKind::Capture, Cue::works().after(secs(3)));
    ada.next(OpKind::Capture, Cue::works().after(secs(4)));
    ada.invite(&room, BEN, CallMedia::Video);
    says(
        &sim,
        &ada,
        "The call is prepared: for 0.0 s it has waited for the microphone and the \
        camera and TURN credentials.",
    );
    sim.advance(secs(3));
    says(&sim, &ada, "The call is prepared: for 3.0 s it has waited for the camera.");
    let camera = Need::Source(MediaSource::Camera);
    assert_eq!(explained(&sim, &ada).wait, Wait::Needs(vec![camera]));
}

#[test]
fn the_callee_and_the_permission_are_waited_for() {
    let sim = Sim::new(3);
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let ada = sim.user(ADA).device_with("PHONE", config);
    ada.hold_sync();
    let room = sim.room("!room:example", [ADA, BEN]);
    ada.slow(OpKind::Members, secs(1));
    ada.call_to(&room, Callee::TheOther, CallMedia::Voice);
    says(
        &sim,
        &ada,
        "The call is prepared: for 0.0 s it has waited for the members of the room \
        and the application's proceed().",
    );
    sim.advance(millis(1_500));
    says(
        &sim,
        &ada,
        "The call is prepared: for 1.5 s it has waited for the application's \
        proceed().",
    );
}

#[test]
fn each_step_of_the_engine_has_its_sentence() {
    let steps = [
        (OpKind::Open, "has been opening the peer connection", Work::Opening),
        (OpKind::Offer, "has been making our description", Work::Describing),
        (OpKind::SetLocal, "has been putting our description into force", Work::PuttingIntoForce),
        (OpKind::LocalDescription, "has been reading our description back", Work::ReadingBack),
    ];
    for (slow, words, work) in steps {
        let (sim, room, ada, _ben) = world();
        ada.next(slow, Cue::works().after(secs(3)));
        ada.invite(&room, BEN, CallMedia::Voice);
        sim.advance(secs(2));
        let explanation = explained(&sim, &ada);
        assert_eq!(explanation.wait, Wait::Engine(work));
        assert!(explanation.to_string().contains(words), "{explanation}");
        assert!(explanation.since > secs(1) && explanation.left.is_none());
    }
    let (sim, room, ada, ben) = world();
    ben.next(OpKind::SetRemote, Cue::works().after(secs(3)));
    answering(&sim, &ada, &ben, &room);
    sim.advance(secs(2));
    let explanation = explained(&sim, &ben);
    assert_eq!(explanation.wait, Wait::Engine(Work::TakingTheirs));
    let text = explanation.to_string();
    assert!(text.contains("taking their offer. In 83."), "{text}");
}

#[test]
fn gathering_is_waited_for() {
    let (sim, room, ada, _ben) = world();
    ada.set_habits(Habits { gathered: secs(5), ..Habits::default() });
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(millis(150));
    assert_eq!(explained(&sim, &ada).wait, Wait::Engine(Work::Gathering));
    let text = explained(&sim, &ada).to_string();
    assert!(text.contains("has been gathering candidates"), "{text}");
}

#[test]
fn an_invite_that_fails_says_why_and_when_it_is_tried_again() {
    let (sim, room, ada, _ben) = world();
    ada.next(OpKind::SendEvent, Cue::dropped().after(millis(500)));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(millis(300));
    let text = explained(&sim, &ada).to_string();
    assert!(
        text.starts_with(
            "The invite was made 0.2 s ago, the homeserver does not have it yet. \
        In 89.8 s the call is given up. Try 1 to send the invite is 0.2 s old."
        ),
        "{text}"
    );
    sim.advance(secs(1));
    let text = explained(&sim, &ada).to_string();
    assert!(
        text.contains("Try 1 to send the invite failed (unreachable); the next is in 0."),
        "{text}"
    );
    let standing = explained(&sim, &ada).sending.unwrap().standing;
    let failed = |fault: &Option<Fault>| *fault == Some(Fault::Unreachable);
    assert!(matches!(standing, Standing::Pausing(fault, left)
        if failed(&fault) && left < secs(1)));
}

#[test]
fn ringing_says_for_how_long_on_both_sides() {
    let (sim, room, ada, ben) = world();
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(3));
    let text = explained(&sim, &ben).to_string();
    assert!(text.starts_with("It has rung for 2.9 s: our user has not answered. In 87."), "{text}");
    assert!(text.ends_with("s it stops ringing."), "{text}");
    let text = explained(&sim, &ada).to_string();
    assert!(
        text.starts_with("The invite was sent 2.9 s ago, nobody answered yet. In 87."),
        "{text}"
    );
    assert!(text.ends_with("s the call is given up."), "{text}");
}

#[test]
fn a_connection_that_does_not_come_counts_its_candidates() {
    let (sim, room, ada, ben) = world();
    ben.slow(OpKind::SendEvent, millis(500));
    let nowhere = Habits { connect: None, ..Habits::default() };
    ada.set_habits(nowhere.clone());
    ben.set_habits(nowhere);
    answering(&sim, &ada, &ben, &room);
    sim.advance(millis(300));
    let text = explained(&sim, &ben).to_string();
    assert!(
        text.starts_with("The answer is made, the homeserver does not have it yet, "),
        "{text}"
    );
    assert!(text.ends_with("s old."), "the send is told: {text}");
    sim.advance(secs(3));
    let text = explained(&sim, &ben).to_string();
    assert!(text.starts_with("The answer was sent 2."), "{text}");
    assert!(text.contains(" local, ") && text.contains(" remote candidates. In 26."), "{text}");
    let explanation = explained(&sim, &ada);
    let text = explanation.to_string();
    assert!(text.starts_with("They answered, "), "{text}");
    let Wait::Path(path) = explanation.wait else { panic!("{explanation:?}") };
    assert!(path.local > 0 && path.remote > 0, "{path:?}");
    assert_eq!((explanation.since > secs(2), explanation.sending), (true, None));
}

#[test]
fn an_answer_that_the_engine_still_takes_is_told() {
    let (sim, room, ada, ben) = world();
    ada.next(OpKind::SetRemote, Cue::works().after(secs(3)));
    answering(&sim, &ada, &ben, &room);
    sim.advance(secs(1));
    let text = explained(&sim, &ada).to_string();
    assert!(text.starts_with("They answered, and the engine takes it, "), "{text}");
    assert_eq!(explained(&sim, &ada).negotiating, None, "that is what the call waits for");
}

#[test]
fn a_restart_is_explained_as_one() {
    let (sim, room, ada, ben) = world();
    answering(&sim, &ada, &ben, &room);
    sim.run_until_quiet();
    ben.hold_sync();
    ada.act(CallCommand::RestartIce);
    sim.advance(secs(1));
    let text = explained(&sim, &ada).to_string();
    assert!(text.ends_with(" Our offer of a new path waits for their answer."), "{text}");
    ben.release_sync();
    sim.run_until_quiet();
    ada.next(OpKind::Offer, Cue::works().after(secs(1)));
    ada.act(CallCommand::Start(MediaSource::Camera));
    sim.advance(millis(500));
    let text = explained(&sim, &ada).to_string();
    assert!(text.ends_with(" Our offer of other media is being made."), "{text}");
}

/// Those of the invite's path are of no use after a restart, and of a description those count that
/// stand in it.
#[test]
fn candidates_of_the_former_generation_are_not_counted() {
    let found = "a=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n\
        a=candidate:2 1 udp 1 192.0.2.9 8 typ host\r\n";
    for (candidates, counted) in [("", " 0 remote"), (found, " 2 remote")] {
        let (half, call) = Half::talking();
        half.ada.force(PeerState::Disconnected);
        half.sim.advance(millis(100));
        let text = explained(&half.sim, &half.ada).to_string();
        assert!(text.contains(" 3 remote candidates"), "{text}");
        let sdp = half.ben.sdp(SdpKind::Offer, &[MediaKind::Audio]);
        half.offer(&call, sdp.replace(half.ben.party().as_str(), "anew") + candidates);
        let text = explained(&half.sim, &half.ada).to_string();
        assert!(text.contains(counted), "{text}");
    }
}

#[test]
fn a_call_that_talks_waits_for_nothing_and_a_lost_one_for_its_path() {
    let (sim, room, ada, ben) = world();
    answering(&sim, &ada, &ben, &room);
    sim.run_until_quiet();
    let text = explained(&sim, &ada).to_string();
    assert!(
        text.starts_with("Media flows, for ") && text.ends_with(": nothing is waited for."),
        "{text}"
    );
    ada.force(PeerState::Disconnected);
    sim.advance(millis(1_500));
    let text = explained(&sim, &ada).to_string();
    let start = "The connection was lost 1.5 s ago: no pair answers at present: ";
    assert!(text.starts_with(start), "{text}");
    let end = "remote candidates. In 28.5 s the call is given up. ICE is restarted in 0.5 s.";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn hold_and_a_change_of_media_are_told() {
    let (sim, room, ada, ben) = world();
    answering(&sim, &ada, &ben, &room);
    sim.run_until_quiet();
    ada.next(OpKind::Offer, Cue::works().after(secs(1)));
    ben.next(OpKind::Answer, Cue::works().after(secs(1)));
    ada.act(CallCommand::Hold);
    sim.advance(millis(500));
    let says = |device: &Device, end: &str| {
        let text = explained(&sim, device).to_string();
        assert!(text.contains(": nothing is waited for. ") && text.ends_with(end), "{text}");
    };
    says(
        &ada,
        "Our offer of other media is being made. We hold the other side: neither hears the other.",
    );
    sim.advance(secs(1));
    says(
        &ada,
        "Our offer of other media waits for their answer. We hold the other side: neither hears the other.",
    );
    says(&ben, "Their offer is being answered. The other side holds us: neither hears the other.");
    sim.run_until_quiet();
    says(&ada, "nothing is waited for. We hold the other side: neither hears the other.");
}

#[test]
fn a_call_that_is_over_says_how_and_what_is_still_to_be_said() {
    let (sim, room, ada, ben) = world();
    answering(&sim, &ada, &ben, &room);
    sim.run_until_quiet();
    ada.always(OpKind::SendEvent, Cue::fails(Fault::Unreachable));
    let session = ada.call().unwrap();
    ada.hangup();
    sim.advance(secs(2));
    let text = explained(&sim, &ada).to_string();
    let start = "The call is over: hung up, by us. In 58.0 s nobody tries to send any more. Try 2 \
        to send the goodbye failed (unreachable); the next is in ";
    assert!(text.starts_with(start), "{text}");
    sim.run_to_the_end();
    let now = sim.now();
    assert_eq!(ada.engine(|engine| engine.explain(now, session)), None);
    let end = End { party: EndParty::Local, reason: EndReason::IceFailed };
    let ended = Explanation::ended(end);
    assert_eq!(ended.to_string(), "The call is over: no connection, by us.");
    assert_eq!(ended.state, CallState::Ended);
}
