//! What we say: in order, once, tried again until it no longer matters.

use std::time::Duration;

use matrix_voip::{
    id::UserId,
    machine::{
        event::{CallState, EndReason},
        io::{
            CallMedia, Callee, Candidate, Command, Fault, Input, Lifecycle, Network, PeerNews,
            Refusal, Verdict,
        },
    },
    testing::{Cue, Habits, OpKind, Sim, millis, secs},
    wire::call::{Body, Reason},
};

use crate::common::{ADA, BEN, Half, Two, half, local, two};

fn trickling() -> Habits {
    Habits {
        candidates: vec![millis(300), millis(600)],
        gathered: millis(700),
        ..Habits::default()
    }
}

#[test]
fn an_invite_that_is_lost_is_sent_again() {
    let two = two();
    two.ada.drop_next();
    two.ada.drop_next();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(5));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
    let tries = two.sim.column().wire();
    let at: Vec<Duration> =
        tries.0.iter().filter(|line| line.what.contains("invite")).map(|line| line.at).collect();
    assert_eq!(at.len(), 3, "{tries}");
    assert_eq!(at[1] - at[0], secs(1) + millis(40), "a second, and the way there and back");
    assert_eq!(at[2] - at[1], secs(2) + millis(40));
}

#[test]
fn an_invite_whose_answer_is_lost_rings_once() {
    let two = two();
    two.ada.lose_next_answer();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(5));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
    assert_eq!(two.ben.calls().len(), 1);
    assert_eq!(two.ada.sent_types()[0], "invite");
    assert_eq!(two.ada.sent_types().iter().filter(|name| *name == "invite").count(), 1);
}

#[test]
fn an_invite_that_cannot_be_sent_for_its_whole_lifetime_fails() {
    let two = two();
    two.ada.always(OpKind::SendEvent, Cue::dropped());
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), local(EndReason::SignallingFailed));
    assert!(two.sim.elapsed() < secs(240));
}

#[test]
fn an_invite_that_is_refused_for_good_fails_at_once() {
    for fault in [Fault::Forbidden("M_FORBIDDEN".to_owned()), Fault::NotFound] {
        let two = two();
        two.ada.next(OpKind::SendEvent, Cue::fails(fault));
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.advance(secs(1));
        assert_eq!(two.ada.end(), local(EndReason::SignallingFailed));
    }
}

#[test]
fn a_logged_out_device_ends_its_calls() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::fails(Fault::LoggedOut));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), local(EndReason::LoggedOut));
    assert!(two.ada.sent().is_empty());
}

#[test]
fn a_logged_out_device_ends_all_its_calls() {
    let sim = Sim::new(52);
    let room = sim.room("!room:example", [ADA, BEN, "@carl:example"]);
    let ada = sim.device(ADA, "PHONE");
    sim.device(BEN, "B");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ada.next(OpKind::SendEvent, Cue::fails(Fault::LoggedOut));
    ada.invite(&room, "@carl:example", CallMedia::Voice);
    sim.advance(secs(2));
    for call in ada.calls() {
        assert_eq!(ada.end_of(call), local(EndReason::LoggedOut));
    }
    sim.run_to_the_end();
    assert_eq!(ada.sent_types().iter().filter(|name| *name == "hangup").count(), 0);
}

#[test]
fn the_server_says_how_long_to_wait() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::rate_limited(secs(7)));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(6));
    assert_eq!(two.ada.state(), Some(CallState::Preparing));
    two.sim.advance(secs(2));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
}

#[test]
fn what_failed_is_tried_at_once_when_the_network_is_back() {
    let two = two();
    for _ in 0..4 {
        two.ada.drop_next();
    }
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(8));
    assert_eq!(two.ada.state(), Some(CallState::Preparing), "the fourth pause is eight seconds");
    two.ada.input(Input::Network(Network::Back));
    two.sim.advance(secs(1));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
}

/// 71, T-11.
#[test]
fn candidates_that_failed_twice_arrive_once_and_complete() {
    let two = two();
    two.ada.set_habits(trickling());
    two.ada.next(OpKind::SendEvent, Cue::works());
    two.ada.drop_next();
    two.ada.lose_next_answer();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(15));
    two.ben.answer();
    two.sim.run_until_quiet();
    let mut seen = two.ben.peer().remote_candidates;
    assert_eq!(seen.len(), 2, "{}", two.sim.column());
    seen.dedup();
    assert_eq!(seen.len(), 2);
    assert!(two.ben.peer().remote_candidates_ended);
}

/// 71, T-11.
#[test]
fn candidates_that_fail_again_and_again_end_the_call_with_the_reason() {
    let (Half { sim, ada, .. }, _) = {
        let half = half();
        half.ada.set_habits(trickling());
        half.ada.next(OpKind::SendEvent, Cue::works());
        for _ in 0..6 {
            half.ada.drop_next();
        }
        half.ada.invite(&half.room, BEN, CallMedia::Voice);
        half.sim.advance(secs(70));
        (half, ())
    };
    assert_eq!(ada.end(), local(EndReason::IceTimeout), "{}", sim.column());
    let last = ada.sent().pop().unwrap().body;
    assert_eq!(last, Body::Hangup { reason: Some(Reason::IceTimeout) });
}

#[test]
fn order_is_kept_whatever_fails() {
    let two = two();
    two.ada.set_habits(trickling());
    two.ada.next(OpKind::SendEvent, Cue::dropped());
    two.ada.next(OpKind::SendEvent, Cue::works());
    two.ada.next(OpKind::SendEvent, Cue::answer_lost());
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(4));
    two.ben.answer();
    two.sim.advance(secs(1));
    two.ada.hangup();
    two.sim.run_to_the_end();
    let sent = two.ada.sent_types();
    let rank = |name: &String| match name.as_str() {
        "invite" => 0,
        "candidates" | "select_answer" => 1,
        "hangup" => 2,
        other => panic!("{other}"),
    };
    let ranks: Vec<i32> = sent.iter().map(rank).collect();
    assert!(ranks.is_sorted(), "{sent:?}");
    assert_eq!(ranks.iter().filter(|rank| **rank == 2).count(), 1);
}

#[test]
fn one_message_is_in_flight_at_a_time() {
    let two = two();
    two.ada.set_habits(trickling());
    two.sim.set_way(millis(400));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    let column = two.sim.column().wire();
    for who in ["ada", "ben"] {
        let at: Vec<Duration> = column.of(who).0.iter().map(|line| line.at).collect();
        for pair in at.windows(2) {
            assert!(pair[1] - pair[0] >= millis(800), "{column}");
        }
    }
}

#[test]
fn a_hangup_is_tried_until_it_no_longer_matters() {
    let two = Two::connected();
    two.ada.partition();
    two.ada.hangup();
    two.sim.advance(secs(20));
    two.ada.heal();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.sent_types().last().map(String::as_str), Some("hangup"));
    assert_eq!(two.ben.state(), Some(CallState::Ended));
}

#[test]
fn a_hangup_that_cannot_be_sent_is_given_up() {
    let two = Two::connected();
    two.ada.partition();
    two.ada.hangup();
    assert_eq!(two.ada.state(), Some(CallState::Ended), "the user does not wait for it");
    two.sim.advance(secs(120));
    let failed = two.sim.column().wire().of("ada");
    assert!(failed.0.last().unwrap().at < two.sim.elapsed() - secs(30), "{failed}");
    assert!(two.ada.engine(|engine| engine.poll_timeout().is_none()));
}

#[test]
fn a_send_that_hangs_is_tried_again() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::hangs());
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(33));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
}

/// The callee is faster than the homeserver's answer to our send.
#[test]
fn an_answer_that_overtakes_the_acceptance_of_the_invite_is_taken() {
    let two = two();
    two.ada.lose_next_answer();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(millis(300));
    assert_eq!(two.ada.state(), Some(CallState::Preparing));
    two.ben.answer();
    two.sim.advance(millis(200));
    assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
    two.sim.run_until_quiet();
    let sent = two.ada.sent_types();
    assert_eq!((sent[0].as_str(), sent.contains(&"select_answer".into())), ("invite", true));
}

#[test]
fn an_ending_process_takes_no_new_calls() {
    let two = two();
    two.sim.run_until_quiet();
    two.ada.input(Input::Lifecycle(Lifecycle::Ending));
    let callee = Callee::User(UserId::parse(BEN).unwrap());
    let command = Command::Invite { room: two.room.clone(), callee, media: CallMedia::Voice };
    assert_eq!(two.ada.command(command), Verdict::Refused(Refusal::ShuttingDown));
    two.ben.invite(&two.room, ADA, CallMedia::Voice);
    two.sim.run_until_quiet();
    assert!(!two.ada.is_ringing());
    assert!(two.ada.sent().is_empty(), "our other devices may take it");
}

#[test]
fn an_ending_process_says_goodbye_to_everybody() {
    let sim = Sim::new(51);
    let room = sim.room("!room:example", [ADA, BEN, "@carl:example"]);
    let ada = sim.device(ADA, "PHONE");
    let (ben, carl) = (sim.device(BEN, "B"), sim.device("@carl:example", "C"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    carl.invite(&room, ADA, CallMedia::Voice);
    ada.invite(&room, "@carl:example", CallMedia::Voice);
    sim.run_until_quiet();
    ada.input(Input::Lifecycle(Lifecycle::Ending));
    sim.run_to_the_end();
    for call in ada.calls() {
        assert_eq!(ada.state_of(call), Some(CallState::Ended));
    }
    assert_eq!(ben.state(), Some(CallState::Ended));
}

#[test]
fn a_call_that_talks_goes_on_when_its_candidates_are_given_up() {
    let two = Two::connected();
    two.ben.always(OpKind::SendEvent, Cue::fails(Fault::Unreachable));
    let late = Candidate { candidate: "candidate:late".into(), ..Candidate::end() };
    let session = two.ben.call().unwrap();
    let peer = two.ben.engine(|engine| engine.peer(session)).unwrap();
    two.ben.input(Input::Peer(peer, PeerNews::Candidate(late)));
    two.sim.advance(secs(3600));
    assert_eq!(two.ben.state(), Some(CallState::Connected));
    assert!(!two.ben.is_waiting(), "the candidates are given up");
}

/// The host notices it before we send anything, for instance because its sync was refused.
#[test]
fn a_lost_login_that_the_host_reports_ends_every_call_without_a_word() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    let sent = two.ada.sent_types().len();
    two.ada.input(Input::Lifecycle(Lifecycle::LoggedOut));
    two.sim.advance(secs(1));
    assert_eq!(two.ada.end(), local(EndReason::LoggedOut));
    assert_eq!(two.ada.sent_types().len(), sent, "nobody would take it");
}

#[test]
fn a_lost_login_drops_the_goodbye_that_still_waits() {
    let two = Two::connected();
    two.ada.always(OpKind::SendEvent, Cue::fails(Fault::Unreachable));
    two.ada.hangup();
    two.sim.advance(secs(1));
    let deadline = || two.ada.engine(|engine| engine.poll_timeout());
    assert!(deadline().is_some(), "the hangup is to be tried again");
    two.ada.input(Input::Lifecycle(Lifecycle::LoggedOut));
    two.sim.advance(secs(1));
    assert_eq!(deadline(), None, "nothing is left to do");
    assert_eq!(two.ada.end(), local(EndReason::Hangup));
}
