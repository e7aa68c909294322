//! Wrong clocks, and deadlines to the millisecond.

use matrix_voip::{
    Backend, GroupCallId,
    id::EventId,
    machine::{
        event::CallState,
        io::{
            CallCommand, CallMedia, Command, Fault, Fetch, GroupCommand, Ignored, Input, MatrixOp,
            Op, PeerState, Reply, TurnServers, Verdict,
        },
    },
    time::Wall,
    wire::{
        member::DEFAULT_APPLICATION,
        power::POWER_LEVELS_TYPE,
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

use crate::rig::{Rig, answer, good, hangup, invite, invite_for, millis, room, said, secs, user};

const DAY: u64 = 24 * 3600 * 1000;

#[test]
fn a_wall_clock_that_goes_back_does_not_prolong_the_ringing() {
    let mut rig = Rig::new();
    let session = rig.started("r", said("you", "c", invite()));
    rig.set_wall(Wall(rig.now.wall.0 - DAY));
    rig.pass(secs(61));
    assert!(!rig.is_ringing(session), "it rings for a day");
    assert_eq!(rig.state(session), None);
}

#[test]
fn a_wall_clock_that_goes_back_does_not_prolong_our_invite() {
    let (mut rig, session) = Rig::new().calling();
    rig.set_wall(Wall(rig.now.wall.0 - DAY));
    rig.pass(secs(91));
    assert_eq!(rig.state(session), None);
    assert_eq!(rig.sent().last(), Some(&"hangup"));
}

#[test]
fn a_wall_clock_that_goes_forward_and_back_leaves_a_connected_call_alone() {
    let (mut rig, session) = Rig::new().talking();
    let wall = rig.now.wall.0;
    for jump in [wall + 365 * DAY, 0, u64::MAX, wall] {
        rig.set_wall(Wall(jump));
        rig.pass(secs(1));
    }
    assert_eq!(rig.state(session), Some(CallState::Connected));
    rig.hear("r", said("you", "talk", hangup()));
    assert_eq!(rig.state(session), None);
}

#[test]
fn a_call_that_ended_does_not_ring_again_when_the_clock_goes_back() {
    let mut rig = Rig::new();
    rig.started("r", said("you", "c", invite()));
    rig.hear("r", said("you", "c", hangup()));
    rig.set_wall(Wall(rig.now.wall.0 - DAY));
    let verdict = rig.hear("r", said("you", "c", invite()));
    assert_eq!(verdict, Verdict::Ignored(Ignored::AlreadyOver));
}

#[test]
fn an_invite_rings_to_the_millisecond() {
    for (age, rings) in [(0, true), (59_999, true), (60_000, false), (60_001, false)] {
        let mut rig = Rig::new();
        let mut event = rig.event(said("you", "c", invite()));
        event.facts.age = Some(millis(age));
        let verdict = rig.deliver("r", vec![event]).remove(0);
        assert_eq!(matches!(verdict, Verdict::Started(_)), rings, "{age}: {verdict:?}");
    }
    let mut rig = Rig::new();
    let session = rig.started("r", said("you", "c", invite()));
    rig.pass(millis(59_999));
    assert!(rig.is_ringing(session));
    rig.pass(millis(1));
    assert!(!rig.is_ringing(session));
}

#[test]
fn a_call_cannot_be_taken_after_its_lifetime_though_nobody_woke_the_driver() {
    let mut rig = Rig::new();
    let session = rig.started("r", said("you", "c", invite()));
    // The lid was closed: the first thing after it is the user's finger.
    rig.now.wall = rig.now.wall.plus(secs(3600));
    let verdict = rig.command(session, CallCommand::Answer(None));
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    assert!(!rig.is_ringing(session));
}

#[test]
fn calls_that_expired_while_the_machine_slept_do_not_count_as_ringing() {
    let mut rig = Rig::new();
    for n in 0..8 {
        rig.started("r", said(&format!("user{n}"), &format!("x{n}"), invite()));
    }
    rig.now.wall = rig.now.wall.plus(secs(3600));
    let verdict = rig.hear("r", said("you", "c", invite()));
    assert!(matches!(verdict, Verdict::Started(_)), "{verdict:?}");
}

#[test]
fn the_greatest_lifetime_and_the_greatest_clock_overflow_nothing() {
    let mut rig = Rig::new();
    rig.now.wall = Wall(u64::MAX);
    let session = rig.started("r", said("you", "c", invite_for(secs(u64::MAX))));
    rig.command(session, CallCommand::Answer(None));
    rig.pass(secs(40));
    assert_eq!(rig.state(session), None, "no media came");
}

fn brief_turn(op: &Op) -> Option<Result<Reply, Fault>> {
    match op {
        Op::Fetch(Fetch::Turn) => {
            Some(Ok(Reply::Turn(TurnServers { servers: vec![], ttl: secs(120) })))
        }
        op => good(op),
    }
}

fn turn_fetches(rig: &Rig) -> usize {
    rig.ops.iter().filter(|op| matches!(op, Op::Fetch(Fetch::Turn))).count()
}

#[test]
fn credentials_that_expire_while_it_rings_are_fetched_again_before_they_are_used() {
    let mut rig = Rig::new();
    rig.habit = brief_turn;
    let session = rig.started("r", said("you", "c", invite_for(secs(300))));
    rig.pass(secs(200));
    rig.command(session, CallCommand::Answer(None));
    assert_eq!(turn_fetches(&rig), 2);
    rig.pass(millis(200));
    assert_eq!(rig.state(session), Some(CallState::Connecting));
}

#[test]
fn credentials_are_not_used_beyond_their_time_when_the_clock_went_back() {
    let mut rig = Rig::new();
    rig.habit = brief_turn;
    let session = rig.place("you");
    rig.pass(millis(200));
    rig.command(session, CallCommand::Hangup);
    rig.set_wall(Wall(rig.now.wall.0 - DAY));
    rig.pass(secs(3600));
    rig.place("you");
    assert_eq!(turn_fetches(&rig), 2);
}

fn no_turn(op: &Op) -> Option<Result<Reply, Fault>> {
    if matches!(op, Op::Fetch(Fetch::Turn)) { None } else { good(op) }
}

#[test]
fn a_turn_server_that_never_answers_delays_no_hangup_and_no_other_end() {
    let mut rig = Rig::new();
    rig.habit = no_turn;
    let session = rig.started("r", said("you", "c", invite()));
    rig.command(session, CallCommand::Answer(None));
    rig.pass(secs(4));
    assert_eq!(rig.state(session), Some(CallState::Answering));
    rig.command(session, CallCommand::Hangup);
    assert_eq!(rig.sent(), ["reject"]);
    assert_eq!(rig.held.len(), 1, "the driver answers it with a timeout");
    let other = rig.place("you");
    rig.release(|_| Some(Err(Fault::Timeout)));
    assert_eq!(rig.state(session), None);
    assert_ne!(rig.state(other), Some(CallState::Ended));
}

#[test]
fn a_homeserver_that_asks_to_wait_no_time_at_all_is_not_hammered() {
    let mut rig = Rig::new();
    rig.place("you");
    rig.habit = |op| match op {
        Op::Matrix(_) => Some(Err(Fault::RateLimited { retry_after: Some(secs(0)) })),
        op => good(op),
    };
    rig.pass(millis(900));
    assert!(rig.sent().len() <= 2, "{} tries in a second", rig.sent().len());
}

#[test]
fn the_connect_deadline_is_kept_to_the_millisecond() {
    let (mut rig, session) = Rig::new().calling();
    let id = rig.call_id(session);
    rig.hear("r", said("you", &id, answer()));
    rig.pass(millis(29_999));
    assert_eq!(rig.state(session), Some(CallState::Connecting));
    let mut saved = rig.clone();
    rig.pass(millis(1));
    assert_eq!(rig.state(session), None);
    saved.peer(session, PeerState::Connected);
    saved.pass(secs(60));
    assert_eq!(saved.state(session), Some(CallState::Connected));
    let peer = saved.peer_of(session);
    let news = matrix_voip::machine::io::PeerNews::State(PeerState::Connected);
    assert_eq!(saved.input(Input::Peer(peer, news)), Verdict::Ignored(Ignored::NoChange));
}

/// A clock of ours that is slow: others believe a membership until it says, by the homeserver's clock.
#[test]
fn a_membership_of_ours_counts_for_its_time_though_our_clock_is_three_minutes_slow() {
    let mut rig = Rig::new();
    let homeserver = rig.now.wall.plus(secs(180));
    let facts = StateFacts {
        event_id: EventId::parse("$levels").unwrap(),
        sender: user("you"),
        state_key: String::new(),
        sent: Wall(homeserver.0 - 50_000),
        age: Some(secs(50)),
    };
    let event_type = POWER_LEVELS_TYPE.to_owned();
    let levels = RawState { facts, event_type, content: r#"{"state_default":0}"#.to_owned() };
    let whole = StateBatch {
        room: room("r"),
        extent: Extent::Whole,
        encrypted: Some(false),
        events: vec![levels],
    };
    rig.input(Input::State(whole.parse()));
    let open = Command::OpenGroup {
        room: room("r"),
        call: GroupCallId::room(),
        backend: Backend::Mesh,
        application: DEFAULT_APPLICATION.to_owned(),
        keys: matrix_voip::KeyUse::Usual,
    };
    let Verdict::Started(session) = rig.input(Input::Command(open)) else { panic!("not opened") };
    let enter = Command::Group(session, GroupCommand::Enter(CallMedia::Voice));
    assert_eq!(rig.input(Input::Command(enter)), Verdict::Handled);
    let written = rig.ops.iter().find_map(|op| match op {
        Op::Matrix(MatrixOp::SendState { content, .. }) => Some(content.clone()),
        _ => None,
    });
    let written: serde_json::Value = serde_json::from_str(&written.expect("a membership")).unwrap();
    let until = written["memberships"][0]["expires_ts"].as_u64().unwrap();
    assert_eq!(until, homeserver.plus(secs(300)).0);
}
