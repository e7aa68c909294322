//! Calls that we get.

use matrix_voip::{
    config::{Config, Proceed},
    machine::{
        event::{CallDirection, CallState, EndReason, MissedWhy, RingStop, VoipEvent},
        io::{
            CallCommand, CallMedia, Fault, Ignored, MediaKind, PeerState, Refusal, SdpKind, Verdict,
        },
    },
    redact::Redacted,
    testing::{Cue, OpKind, Sim, millis, secs},
    wire::call::{Body, Reason},
};

use crate::common::{ADA, BEN, Half, Two, half, local, remote, two};

/// 4.
#[test]
fn an_incoming_call_from_invite_to_hangup() {
    let Half { sim, room, ada, ben } = half();
    ben.invite(&room, "c1", secs(60));
    ben.candidates(&room, "c1", 0..2);
    sim.advance(secs(4));
    ada.answer();
    sim.advance(secs(1));
    let party = ada.snapshot().unwrap().party_id;
    ben.select(&room, "c1", &party);
    sim.advance(secs(1));
    ada.force(PeerState::Connected);
    sim.advance(secs(10));
    ada.hangup();
    sim.run_to_the_end();
    sim.column().calls().expect(
        "
        0.000  ben  sends m.call.invite
        0.000  ben  sends m.call.candidates
        0.020  ada  rings
        4.000  ada  answers
        4.000  ada  stops ringing (answered)
        4.000  ada  is answering
        4.030  ada  is connecting
        4.050  ada  sends m.call.answer
        4.090  ada  sends m.call.candidates
        5.000  ben  sends m.call.select_answer
        6.000  ada  is connected
        16.000 ada  hangs up
        16.000 ada  ended: local hangup
        16.020 ada  sends m.call.hangup
        ",
    );
    assert_eq!(ada.snapshot().unwrap().direction, CallDirection::Incoming);
}

/// 4: what the engine says after the end changes nothing.
#[test]
fn news_of_the_engine_after_the_end_change_nothing() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.answer();
    sim.run_until_quiet();
    ada.force(PeerState::Connected);
    ben.hangup(&room, "c1", None);
    sim.run_to_the_end();
    assert_eq!(ada.state(), Some(CallState::Ended));
}

// --------------------------------------------------------------------------------------- ringing

/// 77, T-15.
#[test]
fn a_call_rings_for_what_is_left_of_its_lifetime_and_stops_silently() {
    let sim = Sim::new(21);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ben = sim.puppet(BEN, "LAPTOP");
    let ada = sim.device(ADA, "PHONE");
    sim.run_until_quiet();
    ada.hold_sync();
    ben.invite(&room, "c1", secs(60));
    sim.advance(secs(20));
    ada.release_sync();
    sim.advance(millis(39_900));
    assert!(ada.is_ringing());
    sim.advance(millis(200));
    assert!(!ada.is_ringing());
    assert_eq!(ada.end(), remote(EndReason::InviteTimeout));
    sim.run_to_the_end();
    assert!(ada.sent().is_empty());
    let missed = ada.voip_events().into_iter().filter_map(|event| match event {
        VoipEvent::Missed { why, caller, .. } => Some((why, caller.to_string())),
        _ => None,
    });
    assert_eq!(missed.collect::<Vec<_>>(), [(MissedWhy::Expired, BEN.to_owned())]);
}

/// T-15: the wall clock goes on while the machine sleeps.
#[test]
fn a_machine_that_slept_does_not_ring_for_a_call_that_is_over() {
    let Half { sim, ada, .. } = Half::ringing();
    sim.suspend(secs(61));
    assert!(!ada.is_ringing());
    assert_eq!(ada.missed(), 1);
}

/// T-15.
#[test]
fn no_lifetime_is_believed_beyond_five_minutes() {
    let Half { sim, room, ada, ben } = half();
    ben.invite(&room, "c1", secs(24 * 3600));
    sim.advance(secs(299));
    assert!(ada.is_ringing());
    sim.advance(secs(2));
    assert!(!ada.is_ringing());
}

#[test]
fn a_ringing_call_says_until_when() {
    let Half { sim, room, ada, ben } = half();
    let sent = sim.now().wall;
    ben.invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    let until = ada.voip_events().into_iter().find_map(|event| match event {
        VoipEvent::RingStarted { until, .. } => Some(until),
        _ => None,
    });
    assert_eq!(until, Some(sent.plus(secs(60))));
}

/// 76.
#[test]
fn a_caller_who_gives_up_is_a_missed_call_once() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ben.hangup(&room, "c1", Some(Reason::InviteTimeout));
    ben.hangup(&room, "c1", Some(Reason::InviteTimeout));
    sim.run_to_the_end();
    assert_eq!(ada.missed(), 1);
    assert_eq!(ada.end(), remote(EndReason::Remote(Reason::InviteTimeout)));
    let stop = ada.voip_events().into_iter().find_map(|event| match event {
        VoipEvent::RingStopped { why, .. } => Some(why),
        _ => None,
    });
    assert_eq!(stop, Some(RingStop::CallerGone));
}

/// T-18a.
#[test]
fn nothing_is_captured_and_nothing_is_sent_while_it_rings() {
    let Half { sim, ada, .. } = Half::ringing();
    sim.advance(secs(30));
    assert!(ada.tracks().is_empty() && ada.peers().is_empty() && ada.sent().is_empty());
    assert!(!sim.column().to_string().contains("captures"));
}

#[test]
fn a_video_call_rings_as_one_and_captures_both() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    assert_eq!(two.ben.snapshot().unwrap().media, CallMedia::Video);
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ben.tracks().len(), 2);
    assert_eq!(two.ada.state(), Some(CallState::Connected));
}

#[test]
fn a_video_call_can_be_taken_with_sound_alone() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer_with(CallMedia::Voice);
    two.sim.run_until_quiet();
    assert_eq!(two.ben.tracks().len(), 1);
    assert_eq!(two.ben.state(), Some(CallState::Connected));
    let answer = two.ben.peer().local.unwrap();
    let video =
        answer.sdp.expose().split("m=video").nth(1).expect("the line is answered").to_owned();
    assert!(video.contains("a=recvonly"), "{video}");
}

// --------------------------------------------------------------------------------------- answer

/// 69, T-10.
#[test]
fn candidates_that_come_while_the_answer_is_sent_are_applied() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.next(OpKind::SendEvent, Cue::works().after(secs(3)));
    ada.answer();
    for number in 0..5 {
        ben.candidates(&room, "c1", number..number + 1);
        sim.advance(millis(700));
    }
    sim.run_until_quiet();
    assert_eq!(ada.peer().remote_candidates.len(), 5);
}

/// T-50.
#[test]
fn candidates_never_overtake_the_answer() {
    let Half { sim, ada, .. } = Half::ringing();
    ada.next(OpKind::SendEvent, Cue::works().after(secs(4)));
    let late = matrix_voip::testing::Habits::default();
    ada.set_habits(matrix_voip::testing::Habits {
        candidates: vec![millis(300), millis(900)],
        gathered: secs(1),
        ..late
    });
    ada.answer();
    sim.run_until_quiet();
    assert_eq!(ada.sent_types(), ["answer", "candidates"]);
}

/// 106c, T-51.
#[test]
fn answering_twice_answers_once() {
    let Half { sim, ada, .. } = Half::ringing();
    let session = ada.call().unwrap();
    assert_eq!(ada.command_to(session, CallCommand::Answer(None)), Verdict::Handled);
    assert_eq!(ada.command_to(session, CallCommand::Answer(None)), Verdict::Handled);
    sim.run_until_quiet();
    assert_eq!(ada.command_to(session, CallCommand::Answer(None)), Verdict::Handled);
    sim.run_until_quiet();
    let answers = ada.sent_types().iter().filter(|name| *name == "answer").count();
    assert_eq!(answers, 1);
    assert_eq!(ada.peers().len(), 1);
}

#[test]
fn commands_in_the_wrong_state_are_refused_with_the_state() {
    let two = Two::connected();
    let (ada, ben) = (two.ada.call().unwrap(), two.ben.call().unwrap());
    let reject = CallCommand::Reject(matrix_voip::machine::io::Tell::Everyone);
    assert_eq!(
        two.ben.command_to(ben, reject),
        Verdict::Refused(Refusal::WrongState(CallState::Connected))
    );
    assert_eq!(
        two.ada.command_to(ada, CallCommand::Answer(None)),
        Verdict::Refused(Refusal::Outgoing)
    );
    let unknown = matrix_voip::id::SessionId(99);
    assert_eq!(
        two.ada.command_to(unknown, CallCommand::Hangup),
        Verdict::Refused(Refusal::UnknownSession)
    );
}

/// 100.
#[test]
fn without_a_microphone_the_caller_hears_why() {
    let Half { sim, ada, .. } = Half::ringing();
    ada.next(OpKind::Capture, Cue::denied());
    ada.answer();
    sim.run_to_the_end();
    assert_eq!(ada.end(), local(EndReason::UserMediaFailed));
    let farewell = ada.sent().pop().expect("the caller hears of it").body;
    let reason = match farewell {
        Body::Hangup { reason } | Body::Reject { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, Some(Reason::UserMediaFailed));
    assert_eq!(ada.missed(), 0, "it was answered");
}

#[test]
fn each_failure_of_the_engine_ends_the_answer_with_its_reason() {
    let table = [
        (OpKind::Open, EndReason::EngineFailed),
        (OpKind::SetRemote, EndReason::RemoteDescriptionFailed),
        (OpKind::Answer, EndReason::LocalDescriptionFailed),
        (OpKind::SetLocal, EndReason::LocalDescriptionFailed),
        (OpKind::LocalDescription, EndReason::LocalDescriptionFailed),
    ];
    for (kind, reason) in table {
        for cue in [Cue::fails(Fault::Failed(String::new())), Cue::hangs(), Cue::panics()] {
            let two = Two::ringing();
            two.ben.next(kind, cue.clone());
            two.ben.answer();
            two.sim.run_to_the_end();
            assert_eq!(two.ben.end(), local(reason.clone()), "{kind:?} {cue:?}");
            assert_eq!(two.ada.state(), Some(CallState::Ended), "{kind:?} {cue:?}");
            assert!(two.ben.peers().is_empty() && two.ben.tracks().is_empty());
        }
    }
}

#[test]
fn an_offer_that_is_no_description_is_refused() {
    let Half { sim, room, ada, ben } = half();
    let Body::Invite(mut invite) = ben.invitation(secs(60)) else { panic!() };
    invite.offer = Redacted::new("hello");
    ben.say(&room, "c1", Body::Invite(invite));
    sim.run_to_the_end();
    if ada.call().is_some() {
        assert_eq!(ada.state(), Some(CallState::Ended));
    } else {
        assert_eq!(ada.ignored(Ignored::Malformed), 1);
    }
}

// --------------------------------------------------------------------------------- reject, hangup

/// 6.
#[test]
fn a_rejected_call_ends_here_and_there() {
    let two = Two::ringing();
    two.ben.reject();
    two.sim.run_to_the_end();
    two.sim.column().calls().of("ben").expect(
        "
        0.110  ben  rings
        *      ben  rejects
        *      ben  stops ringing (rejected)
        *      ben  ended: local rejected
        *      ben  sends m.call.reject
        ",
    );
    assert_eq!(two.ada.end(), remote(EndReason::Rejected));
    assert_eq!(two.ben.missed(), 0);
}

#[test]
fn a_silent_rejection_is_seen_by_nobody() {
    let two = Two::ringing();
    two.ben.reject_silently();
    two.sim.run_until_quiet();
    assert_eq!(two.ben.end(), local(EndReason::Rejected));
    assert!(two.ben.sent().is_empty());
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
    assert_eq!(two.ben.missed(), 0);
}

#[test]
fn hanging_up_a_ringing_call_rejects_it() {
    let two = Two::ringing();
    two.ben.hangup();
    two.sim.run_to_the_end();
    assert_eq!(two.ben.sent_types(), ["reject"]);
    assert_eq!(two.ada.end(), remote(EndReason::Rejected));
}

#[test]
fn hanging_up_while_the_answer_is_made_ends_it_for_both() {
    for hindrance in [OpKind::Capture, OpKind::Open, OpKind::SetRemote, OpKind::Answer] {
        let two = Two::ringing();
        two.ben.slow(hindrance, secs(3));
        two.ben.answer();
        two.sim.advance(secs(1));
        assert_eq!(two.ben.state(), Some(CallState::Answering), "{hindrance:?}");
        two.ben.hangup();
        two.sim.run_to_the_end();
        assert_eq!(two.ben.end(), local(EndReason::Hangup), "{hindrance:?}");
        assert_eq!(two.ada.state(), Some(CallState::Ended), "{hindrance:?}");
        assert!(!two.ben.sent_types().contains(&"answer".to_owned()), "{hindrance:?}");
    }
}

/// T-7, 79.
#[test]
fn a_remote_hangup_is_not_echoed() {
    let two = Two::connected();
    let before = two.ada.sent_types();
    two.ben.hangup();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.sent_types(), before);
    assert_eq!(two.ada.end(), remote(EndReason::Hangup));
}

/// T-6, 79.
#[test]
fn the_reason_of_a_remote_hangup_is_kept() {
    let table = [
        (None, EndReason::Hangup),
        (Some("user_hangup"), EndReason::Hangup),
        (Some("userHangup"), EndReason::Hangup),
        (Some("something new"), EndReason::Hangup),
        (Some("ice_failed"), EndReason::Remote(Reason::IceFailed)),
        (Some("ice_timeout"), EndReason::Remote(Reason::IceTimeout)),
        (Some("invite_timeout"), EndReason::Remote(Reason::InviteTimeout)),
        (Some("user_media_failed"), EndReason::Remote(Reason::UserMediaFailed)),
        (Some("user_busy"), EndReason::Remote(Reason::UserBusy)),
        (Some("unknown_error"), EndReason::Remote(Reason::UnknownError)),
        (Some("replaced"), EndReason::Remote(Reason::Replaced)),
    ];
    for (said, expected) in table {
        let Half { sim, room, ada, ben } = Half::ringing();
        ada.answer();
        sim.run_until_quiet();
        ada.force(PeerState::Connected);
        sim.run_until_quiet();
        let reason = said.map(|said| format!(r#","reason":"{said}""#)).unwrap_or_default();
        let party = ben.party();
        let content = format!(r#"{{"call_id":"c1","party_id":"{party}","version":"1"{reason}}}"#);
        ben.say_json(&room, "m.call.hangup", &content);
        sim.run_to_the_end();
        assert_eq!(ada.end(), remote(expected), "{said:?}");
    }
}

/// T-6.
#[test]
fn our_hangup_carries_the_reason_of_the_specification() {
    let two = Two::connected();
    two.ada.hangup();
    two.sim.run_to_the_end();
    let content = two.sim.server(|server| server.timeline(&two.room).last().cloned()).unwrap();
    assert_eq!(content.event_type, "m.call.hangup");
    assert!(content.content.contains(r#""reason":"user_hangup""#), "{}", content.content);
}

/// T-5.
#[test]
fn the_end_of_one_call_does_not_touch_another() {
    let sim = Sim::new(22);
    let room = sim.room("!room:example", [ADA, BEN, "@carl:example"]);
    let ada = sim.device(ADA, "PHONE");
    let (ben, carl) = (sim.puppet(BEN, "B"), sim.puppet("@carl:example", "C"));
    ben.invite(&room, "c1", secs(60));
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    ada.command_to(calls[0], CallCommand::Answer(None));
    sim.run_until_quiet();
    ada.command_to(calls[1], CallCommand::Reject(matrix_voip::machine::io::Tell::Everyone));
    sim.run_until_quiet();
    assert_eq!(ada.state_of(calls[0]), Some(CallState::Connecting));
    assert_eq!((ada.peers().len(), ada.tracks().len()), (1, 1));
    ada.command_to(calls[0], CallCommand::Hangup);
    sim.run_to_the_end();
    assert!(ada.peers().is_empty() && ada.tracks().is_empty());
}

#[test]
fn an_answer_with_nothing_but_refused_lines_does_not_crash() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    let Body::Answer(mut answer) = ben.acceptance() else { panic!() };
    let sdp = ben.sdp(SdpKind::Answer, &[MediaKind::Audio]).replace("m=audio 9", "m=audio 0");
    answer.sdp = Redacted::new(sdp);
    ben.say(&room, &call, Body::Answer(answer));
    sim.run_to_the_end();
    assert_eq!(ada.state(), Some(CallState::Ended));
}

// -------------------------------------------------------------------------------------- proceed

/// An answer that is not ready when the invite's lifetime is over would come too late.
#[test]
fn an_answered_call_that_the_application_never_lets_start_ends_with_the_lifetime() {
    let sim = Sim::new(24);
    let room = sim.room("!room:example", [ADA, BEN]);
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let ada = sim.user(ADA).device_with("PHONE", config);
    sim.puppet(BEN, "LAPTOP").invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    ada.answer();
    sim.advance(secs(58));
    assert_eq!(ada.state(), Some(CallState::Answering));
    sim.run_to_the_end();
    assert_eq!(ada.end(), remote(EndReason::InviteTimeout));
    assert_eq!(ada.missed(), 0, "it was answered");
    assert!(ada.sent().is_empty());
}

#[test]
fn an_answered_call_waits_for_the_application_where_it_must() {
    let sim = Sim::new(23);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let ben = sim.user(BEN).device_with("LAPTOP", config);
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert!(ben.is_ringing(), "ringing needs no permission");
    ben.answer();
    sim.advance(secs(10));
    assert!(ben.tracks().is_empty() && ben.peers().is_empty() && ben.sent().is_empty());
    ben.proceed();
    sim.run_until_quiet();
    assert_eq!(ben.state(), Some(CallState::Connected));
}
