//! Calls that we place.

use matrix_voip::{
    config::{Config, Proceed},
    id::UserId,
    machine::{
        event::{CallDirection, CallState, EndReason, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Command, Fault, Ignored, Input, MediaSource, PeerState,
            Refusal, RoomNews, Verdict,
        },
    },
    testing::{Cue, Habits, OpKind, Sim, millis, secs},
    wire::call::{Body, Reason},
};

use crate::common::{ADA, BEN, Half, Two, half, local, remote, two};

const CARL: &str = "@carl:example";

/// 64.
#[test]
fn a_call_from_invite_to_hangup() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(5));
    two.ben.answer();
    two.sim.advance(secs(5));
    two.ben.hangup();
    two.sim.run_to_the_end();
    two.sim.column().calls().expect(
        "
        0.000  ada  calls @ben:example (voice)
        0.090  ada  sends m.call.invite
        0.110  ben  rings
        0.110  ada  is invite_sent
        0.130  ada  sends m.call.candidates
        5.000  ben  answers
        5.000  ben  stops ringing (answered)
        5.000  ben  is answering
        5.030  ben  is connecting
        5.050  ben  sends m.call.answer
        5.070  ada  is connecting
        5.090  ada  sends m.call.select_answer
        5.090  ben  sends m.call.candidates
        5.120  ada  is connected
        5.120  ben  is connected
        10.000 ben  hangs up
        10.000 ben  ended: local hangup
        10.020 ben  sends m.call.hangup
        10.040 ada  ended: remote hangup
        ",
    );
}

/// 64.
#[test]
fn the_invite_says_whom_it_is_for_how_long_it_lives_and_what_it_offers() {
    let (Half { ada, .. }, _) = Half::calling();
    let invite = ada.sent().remove(0);
    assert_eq!(invite.header.party_id, ada.snapshot().map(|snapshot| snapshot.party_id));
    let Body::Invite(invite) = invite.body else { panic!("{invite:?}") };
    assert_eq!(invite.invitee, UserId::parse(BEN).ok());
    assert_eq!(invite.invitee_device, None);
    assert_eq!(invite.lifetime, secs(90));
    let streams = invite.streams.unwrap();
    let (stream, info) = streams.iter().next().unwrap();
    assert!(!info.audio_muted && info.video_muted);
    assert!(invite.offer.expose().contains(&format!("a=msid:{stream} ")));
    assert!(!invite.offer.expose().contains("m=video"));
}

#[test]
fn a_call_exists_before_anything_is_done_for_it() {
    let two = two();
    let session = two.ada.invite(&two.room, BEN, CallMedia::Video);
    let VoipEvent::CallAdded { session: added, snapshot } = two.ada.voip_events().remove(0) else {
        panic!("{:?}", two.ada.voip_events())
    };
    assert_eq!(added, session);
    assert_eq!(snapshot.state, CallState::Preparing);
    assert_eq!(snapshot.direction, CallDirection::Outgoing);
    assert_eq!(snapshot.media, CallMedia::Video);
    assert_eq!(snapshot.remote_user, UserId::parse(BEN).ok());
}

// ---------------------------------------------------------------------------------- candidates

/// 65, T-14.
#[test]
fn candidates_found_in_time_stand_in_the_offer() {
    let (Half { ada, .. }, _) = Half::calling();
    let sent = ada.sent();
    let Body::Invite(invite) = &sent[0].body else { panic!("{sent:?}") };
    assert_eq!(invite.offer.expose().matches("a=candidate:").count(), 2);
    let Body::Candidates(rest) = &sent[1].body else { panic!("{sent:?}") };
    assert!(rest.len() == 1 && rest[0].is_end(), "only the end is left to tell");
}

/// T-14: gathering that takes long does not delay the invite for long.
#[test]
fn the_invite_waits_for_candidates_no_longer_than_a_fifth_of_a_second() {
    let Half { sim, room, ada, .. } = half();
    let started = sim.elapsed();
    let late = [millis(100), millis(250), millis(300), secs(7)];
    ada.set_habits(Habits { candidates: late.to_vec(), gathered: secs(8), ..Habits::default() });
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(12));
    let sends = sim.column().wire();
    let at: Vec<_> = sends.0.iter().map(|line| line.at - started).collect();
    let types = ada.sent_types();
    assert_eq!(types, ["invite", "candidates", "candidates"], "{sends}");
    // 40 ms for TURN, 200 ms of gathering, 20 ms to the server.
    assert_eq!(at[0], millis(260));
    let sent = ada.sent();
    let Body::Invite(invite) = &sent[0].body else { panic!() };
    assert_eq!(invite.offer.expose().matches("a=candidate:").count(), 1);
    let Body::Candidates(second) = &sent[1].body else { panic!() };
    assert_eq!(second.len(), 2, "both that came in the meantime, in one event");
    assert!(at[1] >= at[0] + secs(2));
    let Body::Candidates(third) = &sent[2].body else { panic!() };
    assert!(third.len() == 2 && third[1].is_end(), "the last, and the end");
}

/// 66, T-14.
#[test]
fn the_end_of_candidates_is_told_and_understood() {
    let two = Two::connected();
    assert!(two.ada.peer().remote_candidates_ended);
    assert!(two.ben.peer().remote_candidates_ended);
}

/// 106a, T-50.
#[test]
fn candidates_never_overtake_the_invite() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::works().after(secs(6)));
    let late = Habits { candidates: vec![millis(300), millis(400)], ..Habits::default() };
    two.ada.set_habits(Habits { gathered: secs(1), ..late });
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(10));
    assert_eq!(two.ada.sent_types(), ["invite", "candidates"]);
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ben.peer().remote_candidates.len(), 2);
    assert_eq!(two.ada.state(), Some(CallState::Connected));
}

/// 68.
#[test]
fn candidates_that_come_before_the_answer_are_applied_once_and_in_order() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ben.candidates(&room, &call, 0..3);
    sim.run_until_quiet();
    assert!(ada.peer().remote_candidates.is_empty());
    ben.answer(&room, &call);
    sim.run_until_quiet();
    ben.candidates(&room, &call, 3..4);
    sim.run_until_quiet();
    let expected: Vec<String> =
        ben.some_candidates(0..4).iter().map(|c| c.candidate.expose().to_owned()).collect();
    assert_eq!(ada.peer().remote_candidates, expected);
}

/// 70, T-12.
#[test]
fn candidates_that_come_while_others_are_applied_are_not_lost() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ada.slow(OpKind::Candidates, millis(500));
    ada.slow(OpKind::SetRemote, millis(500));
    ben.candidates(&room, &call, 0..2);
    ben.answer(&room, &call);
    for number in 2..10 {
        sim.advance(millis(130));
        ben.candidates(&room, &call, number..number + 1);
    }
    sim.run_until_quiet();
    let expected: Vec<String> =
        ben.some_candidates(0..10).iter().map(|c| c.candidate.expose().to_owned()).collect();
    assert_eq!(ada.peer().remote_candidates, expected);
    assert!(ada.sent_types().contains(&"select_answer".to_owned()));
}

#[test]
fn a_flood_of_candidates_is_bounded_and_harms_nothing() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ben.answer(&room, &call);
    sim.run_until_quiet();
    for number in 0..40 {
        ben.candidates(&room, &call, number * 50..number * 50 + 50);
    }
    sim.run_until_quiet();
    assert!(ada.peer().remote_candidates.len() <= 256);
    assert!(ada.ignored(Ignored::TooMany) > 0);
    assert_eq!(ada.state(), Some(CallState::Connecting));
}

// -------------------------------------------------------------------------------------- answers

/// 67.
#[test]
fn the_first_answer_wins_and_the_others_are_told() {
    let sim = Sim::new(11);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let (phone, laptop) = (sim.device(BEN, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert!(phone.is_ringing() && laptop.is_ringing());
    laptop.answer();
    phone.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
    let (won, lost) = match laptop.state() {
        Some(CallState::Connected) => (&laptop, &phone),
        _ => (&phone, &laptop),
    };
    assert_eq!(won.state(), Some(CallState::Connected));
    assert_eq!(lost.end(), remote(EndReason::AnsweredElsewhere));
    assert_eq!(lost.missed(), 0);
    assert_eq!(ada.snapshot().unwrap().remote_party, won.snapshot().map(|s| s.party_id));
    assert!(!lost.sent_types().contains(&"hangup".to_owned()), "the call goes on elsewhere");
}

/// 67.
#[test]
fn a_second_answer_and_its_candidates_change_nothing() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    let other = sim.puppet(BEN, "OTHER");
    other.candidates(&room, &call, 7..9);
    ben.answer(&room, &call);
    ben.candidates(&room, &call, 0..1);
    sim.run_until_quiet();
    other.answer(&room, &call);
    other.candidates(&room, &call, 9..11);
    sim.run_until_quiet();
    assert_eq!(ada.snapshot().unwrap().remote_party.as_ref(), Some(ben.party()));
    assert_eq!(ada.peer().remote_candidates.len(), 1);
    let selected = ada.sent_types().iter().filter(|name| *name == "select_answer").count();
    assert_eq!(selected, 1);
    assert!(ada.ignored(Ignored::WrongParty) >= 2);
}

/// 72.
#[test]
fn an_answer_that_comes_after_our_hangup_changes_nothing() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ada.hangup();
    ben.answer(&room, &call);
    sim.run_to_the_end();
    assert_eq!(ada.end(), local(EndReason::Hangup));
    assert_eq!(ada.sent_types().last().map(String::as_str), Some("hangup"));
    assert!(!ada.sent_types().contains(&"select_answer".to_owned()));
}

/// 73.
#[test]
fn a_callee_who_rejects_ends_the_call_for_all() {
    let sim = Sim::new(12);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let (phone, laptop) = (sim.device(BEN, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    phone.reject();
    sim.run_to_the_end();
    assert_eq!(ada.end(), remote(EndReason::Rejected));
    assert_eq!(ada.missed(), 0);
    assert_eq!(laptop.end(), remote(EndReason::RejectedElsewhere));
    assert_eq!(laptop.missed(), 0);
    assert!(!ada.sent_types().contains(&"hangup".to_owned()));
}

#[test]
fn a_callee_who_is_busy_says_so() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ben.say(&room, &call, Body::Reject { reason: Some(Reason::UserBusy) });
    sim.run_to_the_end();
    assert_eq!(ada.end(), remote(EndReason::Busy));
}

#[test]
fn a_rejection_that_follows_an_answer_of_another_device_is_ignored() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ben.answer(&room, &call);
    sim.puppet(BEN, "OTHER").reject(&room, &call);
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connecting));
}

// ---------------------------------------------------------------------------------------- time

/// 78.
#[test]
fn a_call_that_nobody_answers_is_hung_up_with_the_reason() {
    let two = Two::ringing();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), local(EndReason::InviteTimeout));
    let Body::Hangup { reason } = two.ada.sent().pop().unwrap().body else { panic!() };
    assert_eq!(reason, Some(Reason::InviteTimeout));
    assert!(two.ben.sent().is_empty());
    assert_eq!(two.ben.missed(), 1);
}

/// 78: the lifetime is counted by the wall clock, which goes on while the machine sleeps.
#[test]
fn a_machine_that_slept_through_the_lifetime_hangs_up_when_it_wakes() {
    let (Half { sim, ada, .. }, _) = Half::calling();
    sim.suspend(secs(120));
    assert_eq!(ada.end(), local(EndReason::InviteTimeout));
}

/// 87.
#[test]
fn a_call_that_never_connects_ends_after_half_a_minute() {
    let two = Two::ringing();
    two.ben.set_habits(Habits { connect: None, ..Habits::default() });
    two.ben.answer();
    two.sim.advance(secs(29));
    assert_eq!(two.ada.state(), Some(CallState::Connecting));
    two.sim.run_to_the_end();
    let ends = [two.ada.end(), two.ben.end()];
    assert!(ends.contains(&local(EndReason::IceFailed)), "{ends:?}");
    assert!(two.sim.elapsed() < secs(200));
}

/// 87.
#[test]
fn the_reason_of_a_failed_connection_reaches_the_other_side() {
    let (Half { sim, room, ada, ben }, call) = Half::calling();
    ben.answer(&room, &call);
    sim.run_to_the_end();
    assert_eq!(ada.end(), local(EndReason::IceFailed));
    let Body::Hangup { reason } = ada.sent().pop().unwrap().body else { panic!() };
    assert_eq!(reason, Some(Reason::IceFailed));
}

// -------------------------------------------------------------------------------------- hangup

/// 80.
#[test]
fn hanging_up_twice_ends_once() {
    let two = Two::connected();
    two.ada.hangup();
    let session = two.ada.call().unwrap();
    let again = two.ada.command_to(session, CallCommand::Hangup);
    assert_ne!(again, Verdict::Refused(Refusal::UnknownSession));
    two.sim.run_to_the_end();
    let hangups = two.ada.sent_types().iter().filter(|name| *name == "hangup").count();
    assert_eq!(hangups, 1);
}

/// 81.
#[test]
fn a_hangup_before_the_invite_left_sends_nothing() {
    for hindrance in [OpKind::Capture, OpKind::Turn, OpKind::Open, OpKind::Offer, OpKind::SetLocal]
    {
        let two = two();
        two.ada.slow(hindrance, secs(4));
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.advance(secs(2));
        assert_eq!(two.ada.state(), Some(CallState::Preparing), "{hindrance:?}");
        two.ada.hangup();
        two.sim.run_to_the_end();
        assert!(two.ada.sent().is_empty(), "{hindrance:?}");
        assert_eq!(two.ada.end(), local(EndReason::Hangup));
        assert!(two.ada.peers().is_empty() && two.ada.tracks().is_empty(), "{hindrance:?}");
    }
}

/// 82.
#[test]
fn a_hangup_while_the_invite_is_in_flight_follows_it() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::works().after(secs(3)));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(1));
    two.ada.hangup();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.sent_types(), ["invite", "hangup"]);
    assert_eq!(two.ben.state(), Some(CallState::Ended));
    assert!(!two.ben.is_ringing());
}

/// 82: the server has the invite, but we do not know.
#[test]
fn a_hangup_after_an_invite_whose_answer_was_lost_is_sent_nevertheless() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::answer_lost());
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(millis(500));
    assert!(two.ben.is_ringing());
    two.ada.hangup();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.sent_types(), ["invite", "hangup"]);
    assert_eq!(two.ben.end(), remote(EndReason::Hangup));
}

/// 82: the server refused the invite: nobody knows the call.
#[test]
fn a_hangup_after_an_invite_that_was_refused_for_good_sends_nothing() {
    let two = two();
    let refused = Fault::Forbidden("M_FORBIDDEN".to_owned());
    two.ada.next(OpKind::SendEvent, Cue::fails(refused).after(secs(3)));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(1));
    two.ada.hangup();
    two.sim.run_to_the_end();
    assert!(two.ada.sent().is_empty(), "{}", two.sim.column());
}

#[test]
fn a_callee_hears_of_the_hangup_while_it_rings() {
    let two = Two::ringing();
    two.ada.hangup();
    two.sim.run_to_the_end();
    assert_eq!(two.ben.end(), remote(EndReason::Hangup));
    assert_eq!(two.ben.missed(), 1);
    assert!(two.ben.sent().is_empty());
}

// --------------------------------------------------------------------------------------- callee

#[test]
fn the_other_member_of_a_room_of_two_can_be_called_without_a_name() {
    let two = two();
    two.ada.call_to(&two.room, Callee::TheOther, CallMedia::Voice);
    two.sim.run_until_quiet();
    assert!(two.ben.is_ringing());
    assert_eq!(two.ada.snapshot().unwrap().remote_user, UserId::parse(BEN).ok());
}

#[test]
fn a_room_of_three_has_no_other() {
    let sim = Sim::new(13);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let ada = sim.device(ADA, "PHONE");
    sim.run_until_quiet();
    let verdict =
        ada.command(Command::Invite { room, callee: Callee::TheOther, media: CallMedia::Voice });
    sim.run_to_the_end();
    let ended = ada.end() == local(EndReason::NoCallee);
    assert!(ended || matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    assert!(ada.sent().is_empty());
}

#[test]
fn one_device_of_a_user_can_be_called() {
    let sim = Sim::new(14);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.user(BEN);
    let (phone, laptop) = (ben.device("PHONE"), ben.device("LAPTOP"));
    let device = laptop.identity().device;
    ada.call_to(&room, Callee::Device(ben.id().clone(), device), CallMedia::Voice);
    sim.run_until_quiet();
    assert!(laptop.is_ringing());
    assert_eq!(phone.call(), None);
}

#[test]
fn nobody_calls_himself() {
    let two = two();
    let callee = Callee::User(UserId::parse(ADA).unwrap());
    let command = Command::Invite { room: two.room.clone(), callee, media: CallMedia::Voice };
    assert_eq!(two.ada.command(command), Verdict::Refused(Refusal::CallingOurselves));
}

/// 103.
#[test]
fn a_call_ends_when_the_other_leaves_the_room() {
    let two = Two::connected();
    two.sim.server(|server| server.leave(&two.room, &UserId::parse(BEN).unwrap()));
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), remote(EndReason::LeftRoom));
    assert_eq!(two.ben.state(), Some(CallState::Ended));
}

#[test]
fn a_call_ends_when_we_leave_the_room() {
    let two = Two::connected();
    two.sim.server(|server| server.leave(&two.room, &UserId::parse(ADA).unwrap()));
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), local(EndReason::LeftRoom));
    assert_eq!(two.ben.end(), remote(EndReason::LeftRoom));
}

#[test]
fn a_room_that_we_leave_ourselves_rings_no_more_and_nothing_is_missed() {
    let two = Two::ringing();
    two.sim.server(|server| server.leave(&two.room, &UserId::parse(BEN).unwrap()));
    two.sim.run_to_the_end();
    assert_eq!(two.ben.end(), local(EndReason::LeftRoom));
    assert_eq!((two.ben.missed(), two.ben.is_ringing()), (0, false));
}

#[test]
fn whoever_is_no_longer_among_the_members_has_left() {
    let two = Two::connected();
    let (ada, ben) = (UserId::parse(ADA).unwrap(), UserId::parse(BEN).unwrap());
    let members = |who: &[&UserId]| RoomNews::Members(who.iter().map(|u| (*u).clone()).collect());
    two.ada.input(Input::Room(two.room.clone(), members(&[&ada, &ben])));
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    two.ada.input(Input::Room(two.room.clone(), members(&[&ada])));
    assert_eq!(two.ada.end(), remote(EndReason::LeftRoom));
}

#[test]
fn a_ringing_stops_when_the_caller_leaves_the_room() {
    let two = Two::ringing();
    two.sim.server(|server| server.leave(&two.room, &UserId::parse(ADA).unwrap()));
    two.sim.run_to_the_end();
    assert_eq!(two.ben.end(), remote(EndReason::LeftRoom));
    assert_eq!(two.ben.missed(), 1);
}

#[test]
fn a_call_is_not_touched_when_somebody_else_leaves_the_room() {
    let sim = Sim::new(16);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    sim.server(|server| server.leave(&room, &UserId::parse(CARL).unwrap()));
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
}

/// The driver sleeps at most a minute while such a deadline is open.
#[test]
fn an_unanswered_call_has_a_deadline_by_the_wall_clock_and_a_connected_one_has_not() {
    let two = Two::ringing();
    let waits = |device: &matrix_voip::testing::Device| {
        device.engine(matrix_voip::machine::Engine::has_wall_deadline)
    };
    assert!(waits(&two.ada) && waits(&two.ben));
    two.ben.answer();
    two.sim.run_until_quiet();
    assert!(!waits(&two.ada) && !waits(&two.ben));
}

// ---------------------------------------------------------------------------------------- media

/// 100.
#[test]
fn without_a_microphone_there_is_no_call_and_nothing_is_sent() {
    for cue in [Cue::denied(), Cue::fails(Fault::NotFound), Cue::panics(), Cue::hangs()] {
        let two = two();
        two.ada.next(OpKind::Capture, cue);
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.run_to_the_end();
        assert_eq!(two.ada.end(), local(EndReason::UserMediaFailed));
        assert!(two.ada.sent().is_empty());
        assert_eq!(two.ben.call(), None);
    }
}

#[test]
fn without_a_camera_a_video_call_goes_on_with_sound() {
    let two = two();
    two.ada.next(OpKind::Capture, Cue::works());
    two.ada.next(OpKind::Capture, Cue::denied());
    let session = two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    let missing = matrix_voip::machine::event::CallEvent::MediaMissing(MediaSource::Camera);
    assert!(two.ada.events_of(session).contains(&missing));
}

#[test]
fn each_failure_of_the_engine_ends_the_call_with_its_reason() {
    let table = [
        (OpKind::Open, EndReason::EngineFailed),
        (OpKind::Offer, EndReason::LocalDescriptionFailed),
        (OpKind::SetLocal, EndReason::LocalDescriptionFailed),
        (OpKind::LocalDescription, EndReason::LocalDescriptionFailed),
    ];
    for (kind, reason) in table {
        for cue in [Cue::fails(Fault::Failed(String::new())), Cue::hangs(), Cue::panics()] {
            let two = two();
            two.ada.next(kind, cue.clone());
            two.ada.invite(&two.room, BEN, CallMedia::Voice);
            two.sim.run_to_the_end();
            assert_eq!(two.ada.end(), local(reason.clone()), "{kind:?} {cue:?}");
            assert!(two.ada.sent().is_empty(), "{kind:?} {cue:?}");
            assert!(two.ada.peers().is_empty(), "{kind:?} {cue:?}");
        }
    }
}

#[test]
fn an_answer_that_cannot_be_put_into_force_ends_the_call_and_tells_the_callee() {
    let two = Two::ringing();
    two.ada.next(OpKind::SetRemote, Cue::fails(Fault::Failed(String::new())));
    two.ben.answer();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), local(EndReason::RemoteDescriptionFailed));
    assert_eq!(two.ada.sent_types().last().map(String::as_str), Some("hangup"));
    assert_eq!(two.ben.state(), Some(CallState::Ended));
}

#[test]
fn a_connection_that_fails_ends_the_call() {
    let two = Two::connected();
    two.ada.set_habits(Habits { connect: None, ..Habits::default() });
    two.ada.force(PeerState::Failed);
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), local(EndReason::IceFailed));
    assert_eq!(two.ben.end(), remote(EndReason::Remote(Reason::IceFailed)));
}

/// 86.
#[test]
fn a_connection_that_is_lost_for_a_while_comes_back() {
    let two = Two::connected();
    two.ada.set_habits(Habits { connect: None, ..Habits::default() });
    two.ada.force(PeerState::Disconnected);
    two.sim.advance(secs(20));
    assert_eq!(two.ada.state(), Some(CallState::Connecting));
    two.ada.force(PeerState::Connected);
    two.sim.advance(secs(60));
    assert_eq!(two.ada.state(), Some(CallState::Connected));
}

/// 86.
#[test]
fn a_connection_that_is_lost_for_too_long_ends_the_call() {
    let two = Two::connected();
    two.ada.set_habits(Habits { connect: None, ..Habits::default() });
    two.ada.force(PeerState::Disconnected);
    two.sim.advance(secs(29));
    assert_eq!(two.ada.state(), Some(CallState::Connecting));
    two.sim.advance(secs(2));
    assert_eq!(two.ada.end(), local(EndReason::IceFailed));
}

// -------------------------------------------------------------------------------------- proceed

#[test]
fn a_call_that_must_wait_for_the_application_does_nothing_before() {
    let sim = Sim::new(15);
    let room = sim.room("!room:example", [ADA, BEN]);
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let ada = sim.user(ADA).device_with("PHONE", config);
    let ben = sim.device(BEN, "LAPTOP");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(30));
    assert!(ada.sent().is_empty() && ada.tracks().is_empty() && ada.peers().is_empty());
    ada.proceed();
    sim.run_until_quiet();
    assert!(ben.is_ringing());
}
