//! What survives a crash: ghosts are hung up, and nothing rings twice.

use matrix_voip::{
    machine::{
        event::{CallState, EndReason},
        io::{CallMedia, Ignored},
    },
    testing::{Cue, OpKind, Sim, millis, secs},
    wire::{
        call::Body,
        ledger::{Ledger, MAX_LEDGER_BYTES},
    },
};

use crate::common::{ADA, BEN, Half, Two, half, remote, two};

#[test]
fn a_call_of_a_dead_process_is_hung_up_under_its_own_party_id() {
    let two = Two::connected();
    let party = two.ada.snapshot().unwrap().party_id;
    two.ada.crash();
    two.sim.advance(secs(2));
    two.ada.restart();
    two.sim.run_to_the_end();
    let last = two.ada.sent().pop().unwrap();
    assert!(matches!(last.body, Body::Hangup { .. }));
    assert_eq!(last.header.party_id, Some(party));
    assert_eq!(two.ben.end(), remote(EndReason::Hangup));
    assert_eq!(two.ada.ledger().unwrap().live, []);
    assert_eq!(two.ada.call(), None, "the ghost is no call of the new process");
}

#[test]
fn a_call_that_was_ringing_there_stops_when_the_caller_is_back() {
    let two = Two::ringing();
    two.sim.advance(secs(1));
    two.ada.crash();
    two.ada.restart();
    two.sim.run_until_quiet();
    assert!(!two.ben.is_ringing());
    assert_eq!(two.ben.missed(), 1);
}

/// The save follows a change within 50 ms, but the invite may be faster than a save.
#[test]
fn an_invite_that_was_in_flight_at_the_crash_is_hung_up() {
    let two = two();
    two.ada.next(OpKind::SendEvent, Cue::works().after(millis(300)));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(millis(450));
    assert_eq!(two.ada.state(), Some(CallState::InviteSent));
    two.ada.crash();
    two.ada.restart();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.sent_types().last().map(String::as_str), Some("hangup"));
    assert_eq!(two.ben.state(), Some(CallState::Ended));
}

#[test]
fn an_answered_call_of_a_dead_process_is_hung_up() {
    let two = Two::connected();
    two.ben.crash();
    two.ben.restart();
    two.sim.run_to_the_end();
    assert_eq!(two.ada.end(), remote(EndReason::Hangup));
    assert!(!two.ben.is_ringing(), "its invite is still in the timeline");
}

#[test]
fn a_ghost_whose_hangup_fails_is_tried_again() {
    let two = Two::connected();
    two.ada.crash();
    two.ada.drop_next();
    two.ada.restart();
    two.sim.run_to_the_end();
    assert_eq!(two.ben.end(), remote(EndReason::Hangup));
}

#[test]
fn a_call_that_was_over_does_not_ring_again_after_a_restart() {
    let Half { sim, room, ada, ben } = Half::ringing();
    ada.reject();
    sim.advance(secs(1));
    ada.crash();
    ada.restart();
    ada.redeliver(&room, 2);
    sim.run_until_quiet();
    ben.invite(&room, "c1", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.call(), None);
    assert!(ada.ignored(Ignored::AlreadyOver) >= 1);
}

#[test]
fn a_call_that_only_rang_rings_again_after_a_restart() {
    let Half { sim, room, ada, .. } = Half::ringing();
    sim.advance(secs(1));
    ada.crash();
    ada.restart();
    ada.redeliver(&room, 1);
    sim.run_until_quiet();
    assert!(ada.is_ringing(), "nobody has taken or refused it");
    assert!(ada.sent().is_empty());
}

#[test]
fn a_ledger_that_cannot_be_saved_is_saved_at_the_next_change() {
    let two = two();
    two.ada.next(OpKind::Save, Cue::hangs());
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(30));
    two.ben.answer();
    two.sim.run_until_quiet();
    assert_eq!(two.ada.state(), Some(CallState::Connected), "a call does not wait for it");
    two.ada.hangup();
    two.sim.run_to_the_end();
    let ledger = two.ada.ledger().expect("saved at last");
    assert_eq!(ledger.live, []);
    assert_eq!(ledger.ended.len(), 1);
}

#[test]
fn of_more_calls_than_fit_the_ledger_keeps_the_newest_and_counts_the_rest() {
    let sim = Sim::new(71);
    sim.set_reads_engines(false);
    let users: Vec<String> = (0..300).map(|number| format!("@user{number}:example")).collect();
    let room = sim.room("!room:example", users.iter().map(String::as_str).chain([ADA]));
    let ada = sim.device(ADA, "PHONE");
    for user in &users {
        ada.invite(&room, user, CallMedia::Voice);
    }
    sim.advance(secs(20));
    let stored = ada.ledger().unwrap().to_bytes();
    assert!(stored.len() <= MAX_LEDGER_BYTES);
    let ledger = Ledger::from_bytes(&stored).unwrap();
    assert!(ledger.live.len() < 300 && ledger.live.len() > 50);
    assert_eq!(ledger.live.len() as u64 + ledger.left_out, 300);
    let newest = ada.snapshot().unwrap().call_id;
    assert_eq!(ledger.live.last().unwrap().call_id, newest);
}

#[test]
fn two_crashes_in_a_row_lose_nothing() {
    let two = Two::connected();
    two.ada.crash();
    two.ada.partition();
    two.ada.restart();
    two.sim.advance(secs(3));
    two.ada.crash();
    two.ada.restart();
    two.ada.heal();
    two.sim.run_to_the_end();
    assert_eq!(two.ben.end(), remote(EndReason::Hangup), "{}", two.sim.column());
}

/// The ledger is rewritten by the next call before the ghost's hangup could be sent.
#[test]
fn a_ghost_stays_in_the_ledger_until_it_is_hung_up() {
    let two = Two::connected();
    two.ada.crash();
    two.ada.always(OpKind::SendEvent, Cue::dropped());
    two.ada.restart();
    two.ada.invite(&two.room, "@carl:example", CallMedia::Voice);
    two.sim.advance(secs(5));
    two.ada.crash();
    two.ada.always(OpKind::SendEvent, Cue::works());
    two.ada.restart();
    two.sim.run_to_the_end();
    assert_eq!(two.ben.end(), remote(EndReason::Hangup), "{}", two.sim.column());
}

#[test]
fn a_process_that_starts_with_nothing_does_nothing() {
    let Half { sim, ada, .. } = half();
    ada.crash();
    ada.restart();
    sim.run_to_the_end();
    assert!(ada.sent().is_empty());
}
