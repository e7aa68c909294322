//! Eve is in the room: she sees every call id and may send what she likes.

use matrix_voip::{
    config::{Busy, Config},
    machine::{
        bounds::MAX_RINGING_PER_CALLER,
        event::{CallState, VoipEvent},
        io::{CallCommand, Ignored, Output, Verdict},
    },
    wire::call::{Body, Reason},
};

use crate::rig::{
    Rig, answer, call, candidates, hangup, invite, invite_for, millis, party, room, said, secs,
};

fn ignored(reason: Ignored) -> Verdict {
    Verdict::Ignored(reason)
}

/// Everything that Eve could say about a call, with the party id of its remote side.
fn forgeries() -> Vec<Body> {
    vec![
        hangup(),
        Body::Hangup { reason: Some(Reason::AnsweredElsewhere) },
        Body::Reject { reason: None },
        Body::SelectAnswer { selected: party("hers") },
        answer(),
        candidates(3),
        invite(),
    ]
}

#[test]
fn nothing_that_eve_says_about_a_call_of_others_changes_it() {
    let (talking, talk) = Rig::new().talking();
    let (calling, ours) = Rig::new().calling();
    let mut ringing = Rig::new();
    let rings = ringing.started("r", said("you", "c", invite()));
    for (mut rig, session) in [(talking, talk), (calling, ours), (ringing, rings)] {
        let (before, id) = (rig.engine.snapshot(session), rig.call_id(session));
        let ops = rig.ops.len();
        for body in forgeries() {
            let verdict = rig.hear("r", said("eve", &id, body));
            assert_eq!(verdict, ignored(Ignored::WrongSender));
        }
        assert_eq!((rig.engine.snapshot(session), rig.ops.len()), (before, ops));
    }
}

#[test]
fn a_call_id_that_is_used_in_another_room_too_is_another_call() {
    let (mut rig, talk) = Rig::new().talking();
    assert_eq!(rig.hear("other", said("you", "talk", hangup())), ignored(Ignored::Parked));
    assert_eq!(rig.state(talk), Some(CallState::Connected));
    let mut rig = Rig::new();
    let here = rig.started("r", said("you", "c", invite()));
    let there = rig.started("other", said("eve", "c", invite()));
    rig.hear("other", said("eve", "c", hangup()));
    assert_eq!((rig.state(here), rig.state(there)), (Some(CallState::Ringing), None));
}

#[test]
fn a_flood_of_parked_events_does_not_evict_a_real_hangup() {
    let mut rig = Rig::new();
    rig.hear("r", said("you", "late", hangup()));
    for n in 0..1000 {
        rig.hear("r", said("eve", &format!("x{n}"), hangup()));
    }
    let verdict = rig.hear("r", said("you", "late", invite()));
    assert_eq!(verdict, ignored(Ignored::AlreadyOver), "it must not ring after its hangup");
}

#[test]
fn a_flood_of_parked_events_in_the_same_call_does_not_evict_its_real_hangup() {
    let mut rig = Rig::new();
    rig.hear("r", said("you", "late", hangup()));
    for _ in 0..200 {
        rig.hear("r", said("eve", "late", hangup()));
    }
    let verdict = rig.hear("r", said("you", "late", invite()));
    assert_eq!(verdict, ignored(Ignored::AlreadyOver));
}

#[test]
fn an_invite_of_eve_with_a_stolen_id_does_not_keep_the_real_one_from_ringing() {
    let expired = invite_for(secs(0));
    let Body::Invite(mut foreign) = invite() else { unreachable!() };
    foreign.invitee = Some(crate::rig::user("somebody"));
    for forged in [expired, Body::Invite(foreign)] {
        let mut rig = Rig::new();
        rig.hear("r", said("eve", "late", forged));
        let verdict = rig.hear("r", said("you", "late", invite()));
        assert!(matches!(verdict, Verdict::Started(_)), "{verdict:?}");
    }
}

#[test]
fn an_invite_of_eve_with_a_stolen_id_does_not_drop_the_real_hangup() {
    let mut rig = Rig::new();
    rig.hear("r", said("you", "late", hangup()));
    rig.hear("r", said("eve", "late", invite_for(secs(0))));
    let verdict = rig.hear("r", said("you", "late", invite()));
    assert_eq!(verdict, ignored(Ignored::AlreadyOver));
}

#[test]
fn what_follows_an_invite_that_is_nothing_to_us_is_not_kept() {
    let Body::Invite(mut foreign) = invite() else { unreachable!() };
    foreign.invitee = Some(crate::rig::user("somebody"));
    let dead = (invite_for(secs(0)), Ignored::Expired, Ignored::AlreadyOver);
    let not_ours = (Body::Invite(foreign), Ignored::NotForUs, Ignored::NotForUs);
    for (body, at_first, afterwards) in [dead, not_ours] {
        let mut rig = Rig::new();
        assert_eq!(rig.hear("r", said("eve", "x", body)), ignored(at_first));
        assert_eq!(rig.hear("r", said("eve", "x", candidates(1))), ignored(afterwards));
        assert_eq!(rig.hear("r", said("you", "x", candidates(1))), ignored(Ignored::Parked));
    }
}

#[test]
fn our_own_words_about_a_call_that_we_do_not_know_are_an_echo_and_wait_for_nothing() {
    let (mut rig, session) = Rig::new().calling();
    let ours = rig.engine.snapshot(session).unwrap().party_id;
    for (party, reason) in [(ours.as_str(), Ignored::Echo), ("another", Ignored::Parked)] {
        let verdict = rig.hear("r", said("me", "unknown", hangup()).by(Some(party)));
        assert_eq!(verdict, ignored(reason));
    }
}

#[test]
fn an_invite_that_found_us_busy_is_over_for_good() {
    let (mut rig, _) = Rig::new().talking();
    assert_eq!(rig.hear("r", said("eve", "x", invite())), ignored(Ignored::Busy));
    assert_eq!(rig.hear("r", said("eve", "x", invite())), ignored(Ignored::AlreadyOver));
    assert_eq!(rig.hear("r", said("eve", "x", candidates(1))), ignored(Ignored::AlreadyOver));
}

#[test]
fn what_a_caller_says_after_his_hangup_does_not_undo_it() {
    // A reject by the caller himself ends nothing.
    let reject = || Body::Reject { reason: None };
    let mut rig = Rig::new();
    let batch = [invite(), hangup(), reject()].map(|body| rig.event(said("you", "c", body)));
    assert_eq!(rig.deliver("r", batch.into())[0], ignored(Ignored::AlreadyOver));
    let mut rig = Rig::new();
    let batch = [invite(), reject()].map(|body| rig.event(said("you", "c", body)));
    let verdicts = rig.deliver("r", batch.into());
    assert!(matches!(verdicts[0], Verdict::Started(_)), "{verdicts:?}");
}

#[test]
fn dead_invites_of_eve_do_not_push_ended_calls_out_of_the_ledger() {
    let mut rig = Rig::new();
    let session = rig.started("r", said("you", "real", invite()));
    rig.command(session, CallCommand::Reject(matrix_voip::machine::io::Tell::Everyone));
    for n in 0..1000 {
        rig.hear("r", said("eve", &format!("dead{n}"), invite_for(secs(0))));
    }
    let last = rig.started("r", said("you", "second", invite()));
    rig.command(last, CallCommand::Reject(matrix_voip::machine::io::Tell::Everyone));
    rig.pass(millis(100));
    rig.restart();
    let verdict = rig.hear("r", said("you", "real", invite()));
    assert_eq!(verdict, ignored(Ignored::AlreadyOver), "it was refused and rings again");
}

#[test]
fn dead_invites_of_eve_do_not_make_an_ended_call_ring_again() {
    let mut rig = Rig::new();
    let session = rig.started("r", said("you", "real", invite_for(secs(300))));
    rig.command(session, CallCommand::Reject(matrix_voip::machine::io::Tell::Nobody));
    for n in 0..10_000 {
        rig.hear("r", said("eve", &format!("dead{n}"), invite_for(secs(0))));
    }
    // Its host delivers the same timeline again; the event id is long forgotten.
    let verdict = rig.hear("r", said("you", "real", invite_for(secs(300))));
    assert_eq!(verdict, ignored(Ignored::AlreadyOver));
}

#[test]
fn a_flood_of_invites_while_we_talk_is_not_answered_one_by_one() {
    let mut config = Config::default();
    config.busy = Busy::Reject;
    let (mut rig, _) = Rig::with(config).talking();
    rig.habit = crate::rig::deaf_server;
    rig.held.clear();
    for n in 0..1000 {
        let verdict = rig.hear("r", said("eve", &format!("x{n}"), invite()));
        assert_eq!(verdict, ignored(Ignored::Busy));
    }
    assert!(rig.held.len() <= 64, "{} refusals are on their way at once", rig.held.len());
}

#[test]
fn a_ninth_invite_does_not_ring_and_the_eight_go_on() {
    let mut rig = Rig::new();
    let caller = |n: usize| ["a", "b", "c", "d", "e", "f", "g", "h"][n];
    let rings: Vec<_> =
        (0..8).map(|n| rig.started("r", said(caller(n), &format!("x{n}"), invite()))).collect();
    let ninth = rig.hear("r", said("you", "c", invite()));
    assert_eq!(ninth, ignored(Ignored::TooManyRinging));
    assert!(rings.iter().all(|session| rig.is_ringing(*session)));
    rig.hear("r", said("d", "x3", hangup()));
    assert!(matches!(rig.hear("r", said("you", "d", invite())), Verdict::Started(_)));
    assert_eq!(rig.hear("r", said("you", "e", invite())), ignored(Ignored::TooManyRinging));
}

#[test]
fn one_caller_cannot_take_all_the_places_to_ring() {
    let mut rig = Rig::new();
    for n in 0..8 {
        let room = ["r", "other"][n % 2];
        let verdict = rig.hear(room, said("eve", &format!("x{n}"), invite()));
        assert_eq!(matches!(verdict, Verdict::Started(_)), n < MAX_RINGING_PER_CALLER, "{n}");
    }
    assert!(matches!(rig.hear("r", said("you", "c", invite())), Verdict::Started(_)));
    rig.hear("r", said("eve", "x0", hangup()));
    assert!(matches!(rig.hear("r", said("eve", "again", invite())), Verdict::Started(_)));
}

#[test]
fn candidates_of_parties_that_were_not_chosen_leave_room_for_those_of_the_chosen() {
    let (mut rig, session) = Rig::new().calling();
    let id = rig.call_id(session);
    for n in 0..8 {
        rig.hear("r", said("you", &id, candidates(32)).by(Some(&format!("p{n}"))));
    }
    rig.hear("r", said("you", &id, answer()).by(Some("p0")));
    let verdict = rig.hear("r", said("you", &id, candidates(3)).by(Some("p0")));
    assert_eq!(verdict, Verdict::Handled);
}

#[test]
fn a_malformed_answer_of_one_device_harms_no_call_that_another_can_answer() {
    let (mut rig, session) = Rig::new().calling();
    let id = rig.call_id(session);
    let Body::Answer(mut broken) = answer() else { unreachable!() };
    broken.sdp = "rubbish".into();
    let verdict = rig.hear("r", said("you", &id, Body::Answer(broken)).by(Some("broken")));
    assert_eq!(verdict, ignored(Ignored::Malformed));
    assert_eq!(rig.hear("r", said("you", &id, answer()).by(Some("good"))), Verdict::Handled);
    assert_eq!(rig.state(session), Some(CallState::Connecting));
}

#[test]
fn duplicates_in_and_across_batches_change_nothing() {
    let mut rig = Rig::new();
    let first = rig.event(said("you", "c", invite()));
    let again = rig.event(said("you", "c", invite()));
    let gone = rig.event(said("you", "c", hangup()));
    let verdicts = rig.deliver("r", vec![first.clone(), first.clone(), again.clone()]);
    assert!(matches!(verdicts[0], Verdict::Started(_)));
    assert_eq!(verdicts[1..], [ignored(Ignored::Duplicate), ignored(Ignored::AlreadyExists)]);
    rig.deliver("r", vec![gone.clone(), gone.clone()]);
    let verdicts = rig.deliver("r", vec![gone, first, again]);
    assert!(verdicts.iter().all(|verdict| *verdict == ignored(Ignored::Duplicate)));
    let missed = rig.told.iter().filter(|o| matches!(o, Output::Voip(VoipEvent::Missed { .. })));
    assert_eq!(missed.count(), 1);
}

#[test]
fn events_of_one_call_in_every_order_never_leave_it_ringing_after_its_hangup() {
    let bodies = [invite(), candidates(2), hangup(), invite()];
    for order in permutations(4) {
        for split in 0..8_u32 {
            let mut rig = Rig::new();
            let mut batch = Vec::new();
            for (place, at) in order.iter().enumerate() {
                batch.push(rig.event(said("you", "c", bodies[*at].clone())));
                if split & (1 << place) != 0 {
                    rig.deliver("r", std::mem::take(&mut batch));
                }
            }
            rig.deliver("r", batch);
            rig.pass(secs(2));
            let ringing = (1..=3).any(|n| rig.is_ringing(matrix_voip::id::SessionId(n)));
            assert!(!ringing, "{order:?} {split:b}");
            let _ = (call("c"), room("r"));
        }
    }
}

fn permutations(of: usize) -> Vec<Vec<usize>> {
    if of == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(of - 1).into_iter();
    let insert = |order: Vec<usize>| {
        (0..of).map(move |at| {
            let mut order = order.clone();
            order.insert(at, of - 1);
            order
        })
    };
    shorter.flat_map(insert).collect()
}
