//! Glare where it is least wanted.

use matrix_voip::{
    config::{Config, Proceed},
    machine::{
        event::CallState,
        io::{CallCommand, Ignored, Verdict},
    },
    wire::call::{Body, Reason},
};

use crate::rig::{Rig, hangup, invite, millis, said, secs};

const SMALL: &str = "!";
const GREAT: &str = "~~~~";

#[test]
fn a_call_that_wins_glare_while_another_is_connected_does_not_hang_for_ever() {
    let (mut rig, talk) = Rig::new().talking();
    rig.place("carl");
    rig.pass(millis(200));
    let won = rig.started("r", said("carl", SMALL, invite()));
    assert!(rig.is_ringing(won), "it cannot be answered now, so it rings");
    rig.pass(secs(120));
    assert_eq!(rig.state(won), None, "and its ringing ends");
    assert_eq!(rig.state(talk), Some(CallState::Connected));
}

#[test]
fn a_flood_of_invites_that_lose_glare_is_not_answered_one_by_one() {
    let (mut rig, session) = Rig::new().calling();
    rig.habit = crate::rig::deaf_server;
    for n in 0..1000 {
        let verdict = rig.hear("r", said("you", &format!("{GREAT}{n}"), invite()));
        assert_eq!(verdict, Verdict::Ignored(Ignored::LostGlare));
    }
    assert!(rig.held.len() <= 64, "{} hangups are on their way at once", rig.held.len());
    assert_eq!(rig.state(session), Some(CallState::InviteSent));
}

#[test]
fn hangups_that_cross_glare_end_each_call_once() {
    for theirs in [SMALL, GREAT] {
        let (mut rig, session) = Rig::new().calling();
        let id = rig.call_id(session);
        rig.hear("r", said("you", theirs, invite()));
        rig.hear("r", said("you", &id, Body::Hangup { reason: Some(Reason::Replaced) }));
        rig.hear("r", said("you", theirs, hangup()));
        rig.pass(secs(200));
        let ends = rig.told.iter().filter(|output| format!("{output:?}").contains("CallEnded"));
        assert_eq!(ends.count(), if theirs == SMALL { 2 } else { 1 });
        assert_eq!(rig.engine.poll_timeout(), None);
        assert!(rig.saved().live.is_empty());
    }
}

#[test]
fn an_invite_with_its_hangup_in_the_same_batch_wins_no_glare() {
    let (mut rig, session) = Rig::new().calling();
    let batch =
        vec![rig.event(said("you", SMALL, invite())), rig.event(said("you", SMALL, hangup()))];
    rig.deliver("r", batch);
    assert_eq!(rig.state(session), Some(CallState::InviteSent));
}

#[test]
fn the_survivor_of_glare_waits_for_permission_like_any_other() {
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let mut rig = Rig::with(config);
    let ours = rig.place("you");
    assert_eq!(rig.ops.len(), 0);
    let won = rig.started("r", said("you", GREAT, invite()));
    assert_eq!(rig.state(ours), None);
    assert!(rig.ops.iter().all(|op| !matches!(op, matrix_voip::machine::io::Op::Track(..))));
    rig.command(won, CallCommand::Proceed);
    rig.pass(millis(200));
    assert_eq!(rig.state(won), Some(CallState::Connecting));
}
