//! Busy means that a connected call exists; a ringing one is not busy.

use matrix_voip::{
    config::{Busy, Config, OnAnswer},
    id::{RoomId, SessionId, UserId},
    machine::{
        event::{CallState, EndReason, Hold, MissedWhy, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Command, Ignored, Input, PeerState, Refusal, Tell,
            Verdict,
        },
    },
    testing::{Cue, Device, OpKind, Puppet, Sim, millis, secs},
    wire::call::{Body, Reason},
};

use crate::common::{ADA, BEN, local, remote, two};

const CARL: &str = "@carl:example";

/// Ada, connected with Ben, where Carl is too.
struct Talking {
    sim: Sim,
    room: RoomId,
    ada: Device,
    ben: Device,
    carl: Puppet,
}

fn talking(busy: Busy) -> Talking {
    let sim = Sim::new(41);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let mut config = Config::default();
    config.busy = busy;
    let ada = sim.user(ADA).device_with("PHONE", config);
    let ben = sim.device(BEN, "LAPTOP");
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
    Talking { carl: sim.puppet(CARL, "C"), sim, room, ada, ben }
}

fn missed(device: &Device) -> Vec<MissedWhy> {
    let events = device.voip_events().into_iter();
    let missed = events.filter_map(|event| match event {
        VoipEvent::Missed { why, .. } => Some(why),
        _ => None,
    });
    missed.collect()
}

/// 83, T-8.
#[test]
fn a_call_while_connected_is_missed_and_nothing_is_sent() {
    let Talking { sim, room, ada, ben, carl } = talking(Busy::Ignore);
    let before = ada.sent_types();
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 1, "no session is left");
    assert_eq!(missed(&ada), [MissedWhy::Busy]);
    assert_eq!(ada.ignored(Ignored::Busy), 1);
    carl.candidates(&room, "c2", 0..2);
    carl.hangup(&room, "c2", None);
    sim.advance(secs(120));
    assert_eq!(ada.sent_types(), before);
    assert_eq!(missed(&ada), [MissedWhy::Busy], "once");
    assert_eq!((ada.state(), ben.state()), (Some(CallState::Connected), ben.state()));
    ada.hangup();
    sim.run_to_the_end();
}

/// 83, T-8.
#[test]
fn a_call_while_connected_is_refused_as_busy_where_the_policy_says_so() {
    let Talking { sim, room, ada, ben, carl } = talking(Busy::Reject);
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    let last = ada.sent().pop().unwrap();
    assert_eq!(last.body, Body::Reject { reason: Some(Reason::UserBusy) });
    assert_eq!(last.header.call_id.as_str(), "c2");
    assert_eq!(missed(&ada), [MissedWhy::Busy]);
    assert_eq!(ada.calls().len(), 1, "no session is left");
    carl.hangup(&room, "c2", None);
    sim.run_until_quiet();
    assert_eq!(missed(&ada), [MissedWhy::Busy], "once");
    assert_eq!(ben.state(), Some(CallState::Connected));
}

/// A call is one of its room: the same id elsewhere is another, and each is refused by itself.
#[test]
fn calls_of_one_id_in_two_rooms_are_both_refused_as_busy() {
    let Talking { sim, room, ada, ben: _, carl } = talking(Busy::Reject);
    let other = sim.room("!other:example", [ADA, CARL]);
    sim.run_until_quiet();
    let before = ada.sent().len();
    ada.always(OpKind::SendEvent, Cue::works().after(secs(1)));
    for room in [&room, &other] {
        carl.invite(room, "c2", secs(60));
    }
    sim.run_until_quiet();
    let refused = ada.sent().split_off(before);
    let rejects = |body: &Body| *body == Body::Reject { reason: Some(Reason::UserBusy) };
    assert_eq!(refused.iter().filter(|sent| rejects(&sent.body)).count(), 2);
}

/// Whoever put his call aside himself can take the next; whoever was put aside waits.
#[test]
fn who_holds_his_call_is_not_busy_and_who_is_held_is() {
    let ring = |held_by_ada: bool| {
        let Talking { sim, room, ada, ben, carl } = talking(Busy::Ignore);
        let holder = if held_by_ada { &ada } else { &ben };
        holder.act(CallCommand::Hold);
        sim.run_until_quiet();
        carl.invite(&room, "c2", secs(60));
        sim.run_until_quiet();
        (ada.is_ringing(), missed(&ada).len())
    };
    assert_eq!((ring(true), ring(false)), ((true, 0), (false, 1)));
    // What he holds stays as it is when he takes the next.
    let Talking { sim, room, ada, carl, .. } = talking(Busy::Ignore);
    let first = ada.call().unwrap();
    ada.act(CallCommand::Hold);
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    ada.answer();
    sim.run_until_quiet();
    let shown = ada.snapshot_of(first).unwrap();
    assert_eq!((shown.state, shown.hold.by_us), (CallState::Connected, true), "{}", sim.column());
}

#[test]
fn a_busy_callee_is_told_apart_from_one_who_does_not_want() {
    let sim = Sim::new(42);
    let (home, work) = (sim.room("!h:example", [ADA, BEN]), sim.room("!w:example", [BEN, CARL]));
    let mut config = Config::default();
    config.busy = Busy::Reject;
    let ben = sim.user(BEN).device_with("LAPTOP", config);
    let (ada, carl) = (sim.device(ADA, "PHONE"), sim.device(CARL, "PHONE"));
    carl.invite(&work, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    ada.invite(&home, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert_eq!(ada.end(), remote(EndReason::Busy));
    assert_eq!(carl.state(), Some(CallState::Connected));
}

/// Ada talks to Ben while Carl rings; she takes his call.
fn second_call(policy: OnAnswer) -> (Sim, Device, [SessionId; 2], Verdict) {
    let sim = Sim::new(44);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let mut config = Config::default();
    (config.busy, config.on_answer) = (Busy::Ring, policy);
    let ada = sim.user(ADA).device_with("PHONE", config);
    let (ben, carl) = (sim.device(BEN, "LAPTOP"), sim.device(CARL, "PHONE"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    carl.invite(&room, ADA, CallMedia::Voice);
    sim.run_until_quiet();
    assert!(ada.is_ringing());
    let calls: [SessionId; 2] = ada.calls().try_into().unwrap();
    let verdict = ada.command_to(calls[1], CallCommand::Answer(None));
    sim.run_until_quiet();
    (sim, ada, calls, verdict)
}

#[test]
fn a_second_call_that_is_taken_puts_the_first_on_hold() {
    let (sim, ada, [first, second], verdict) = second_call(OnAnswer::HoldOther);
    assert_eq!(verdict, Verdict::Handled);
    let held = |call| ada.snapshot_of(call).unwrap().hold.by_us;
    assert_eq!((held(first), held(second)), (true, false), "{}", sim.column());
    assert_eq!(ada.state_of(first), Some(CallState::Connected));
    assert_eq!(ada.state_of(second), Some(CallState::Connected));
    let back = ada.command_to(first, CallCommand::Unhold);
    assert_eq!(back, Verdict::Refused(Refusal::OtherCallConnected), "the user talks in one");
    ada.command_to(second, CallCommand::Hold);
    assert_eq!(ada.command_to(first, CallCommand::Unhold), Verdict::Handled);
    sim.run_until_quiet();
    assert_eq!((held(first), held(second)), (false, true));
}

#[test]
fn a_call_of_ours_that_is_taken_puts_the_first_on_hold() {
    let sim = Sim::new(45);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let [ada, ben, carl] = [(ADA, "PHONE"), (BEN, "LAPTOP"), (CARL, "TABLET")]
        .map(|(user, device)| sim.device(user, device));
    let calls = [(BEN, &ben), (CARL, &carl)].map(|(user, device)| {
        let call = ada.invite(&room, user, CallMedia::Voice);
        sim.run_until_quiet();
        device.answer();
        sim.run_until_quiet();
        call
    });
    let held = calls.map(|call| ada.snapshot_of(call).unwrap().hold.by_us);
    assert_eq!(held, [true, false], "{}", sim.column());
}

#[test]
fn a_second_call_that_is_taken_ends_the_first() {
    let (_, ada, [first, second], verdict) = second_call(OnAnswer::EndOther);
    assert_eq!(verdict, Verdict::Handled);
    assert_eq!(ada.end_of(first), local(EndReason::Hangup));
    assert_eq!(ada.state_of(second), Some(CallState::Connected));
}

#[test]
fn a_second_call_cannot_be_taken_where_the_first_is_to_stay() {
    let (sim, ada, [first, second], verdict) = second_call(OnAnswer::Refuse);
    assert_eq!(verdict, Verdict::Refused(Refusal::OtherCallConnected));
    assert_eq!(ada.state_of(second), Some(CallState::Ringing));
    ada.command_to(first, CallCommand::Hangup);
    assert_eq!(ada.command_to(second, CallCommand::Answer(None)), Verdict::Handled);
    sim.run_until_quiet();
    assert_eq!(ada.state_of(second), Some(CallState::Connected));
}

/// The exhaustive search found it: with a third device, two calls of two users were connected.
#[test]
fn where_the_first_call_is_to_stay_no_other_is_placed_beside_it() {
    let (sim, ada, [first, second], _) = second_call(OnAnswer::Refuse);
    ada.command_to(second, CallCommand::Reject(Tell::Everyone));
    let room = ada.snapshot_of(first).unwrap().room;
    let callee = Callee::User(UserId::parse(CARL).unwrap());
    let invite = Command::Invite { room, callee, media: CallMedia::Voice };
    let verdict = ada.input(Input::Command(invite));
    assert_eq!(verdict, Verdict::Refused(Refusal::OtherCallConnected), "{}", sim.column());
}

#[test]
fn where_the_first_call_is_to_stay_one_that_is_answered_later_is_busy() {
    let sim = Sim::new(46);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let mut config = Config::default();
    config.on_answer = OnAnswer::Refuse;
    let ada = sim.user(ADA).device_with("PHONE", config);
    let (ben, carl) = (sim.device(BEN, "LAPTOP"), sim.device(CARL, "PHONE"));
    let second = ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    ben.invite(&room, ADA, CallMedia::Voice);
    sim.run_until_quiet();
    let first = ada.calls()[1];
    ada.command_to(first, CallCommand::Answer(None));
    carl.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state_of(first), Some(CallState::Connected), "{}", sim.column());
    assert_eq!(ada.end_of(second), local(EndReason::Busy));
    assert_eq!(carl.end(), remote(EndReason::Remote(Reason::UserBusy)));
    assert_eq!(ben.state(), Some(CallState::Connected));
}

/// Seed 001: busy is a *connected* call.
#[test]
fn a_ringing_call_is_not_busy() {
    let sim = Sim::new(43);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let ada = sim.device(ADA, "PHONE");
    sim.puppet(BEN, "B").invite(&room, "c1", secs(60));
    sim.puppet(CARL, "C").invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    assert_eq!(ada.calls().len(), 2);
    assert_eq!(missed(&ada), []);
}

/// 83.
#[test]
fn the_ringing_of_another_call_survives_a_busy_one() {
    let sim = Sim::new(44);
    let room = sim.room("!room:example", [ADA, BEN, CARL, "@dora:example"]);
    let ada = sim.device(ADA, "PHONE");
    let (ben, carl) = (sim.puppet(BEN, "B"), sim.puppet(CARL, "C"));
    ben.invite(&room, "c1", secs(60));
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    let calls = ada.calls();
    ada.command_to(calls[0], CallCommand::Answer(None));
    sim.run_until_quiet();
    ada.force(PeerState::Connected);
    sim.run_until_quiet();
    assert_eq!(ada.state_of(calls[0]), Some(CallState::Connected));
    sim.puppet("@dora:example", "D").invite(&room, "c3", secs(60));
    sim.run_until_quiet();
    assert_eq!(missed(&ada), [MissedWhy::Busy]);
    assert_eq!(ada.state_of(calls[1]), Some(CallState::Ringing));
}

#[test]
fn after_the_call_the_next_one_rings() {
    let Talking { sim, room, ada, carl, .. } = talking(Busy::Ignore);
    ada.hangup();
    sim.run_until_quiet();
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing());
}

/// A connection that is lost for a moment is still a call.
#[test]
fn a_call_whose_connection_is_lost_for_a_while_is_busy() {
    let Talking { sim, room, ada, carl, .. } = talking(Busy::Ignore);
    ada.force(PeerState::Disconnected);
    sim.run_until_quiet();
    carl.invite(&room, "c2", secs(60));
    sim.run_until_quiet();
    assert_eq!(missed(&ada), [MissedWhy::Busy]);
}

/// At most one call is connected between two users in a room (issue 5 §6).
#[test]
fn of_two_calls_of_one_user_that_are_answered_the_second_takes_the_place_of_the_first() {
    let two = two();
    let first = two.ben.invite(&two.room, ADA, CallMedia::Voice);
    let second = two.ben.invite(&two.room, ADA, CallMedia::Voice);
    two.sim.run_until_quiet();
    let rings = two.ada.calls();
    two.ada.command_to(rings[0], CallCommand::Answer(None));
    two.sim.advance(millis(60));
    assert_eq!(two.ada.state_of(rings[0]), Some(CallState::Connecting));
    two.ada.command_to(rings[1], CallCommand::Answer(None));
    two.sim.run_until_quiet();
    assert_eq!(two.ada.end_of(rings[0]), local(EndReason::Replaced));
    assert_eq!(two.ada.state_of(rings[1]), Some(CallState::Connected));
    let ended = |session| two.ben.state_of(session) == Some(CallState::Ended);
    assert!(ended(first) && !ended(second), "{}", two.sim.column());
}

/// Glare answers a call by itself, but not beside one that the same user has just taken.
#[test]
fn a_call_that_wins_glare_rings_while_another_with_that_user_is_being_taken() {
    let two = two();
    let first = two.ben.invite(&two.room, ADA, CallMedia::Voice);
    two.sim.run_until_quiet();
    let second = two.ben.invite(&two.room, ADA, CallMedia::Voice);
    two.sim.run_until_quiet();
    let rings = two.ada.calls();
    two.ada.command_to(rings[0], CallCommand::Answer(None));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.run_until_quiet();
    let talks = |device: &Device, session| {
        let shown = device.snapshot_of(session).unwrap();
        shown.state == CallState::Connected && shown.hold == Hold::default()
    };
    for device in [&two.ada, &two.ben] {
        let talking = device.calls().into_iter().filter(|call| talks(device, *call)).count();
        assert_eq!(talking, 1, "{}", two.sim.column());
    }
    assert!(first != second);
}

/// While the first is being answered it cannot be held yet.
#[test]
fn two_calls_that_are_answered_at_once_do_not_both_hear_us() {
    let sim = Sim::new(71);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let [ada, ben, carl] = [(ADA, "PHONE"), (BEN, "LAPTOP"), (CARL, "TABLET")]
        .map(|(user, device)| sim.device(user, device));
    ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    ben.invite(&room, ADA, CallMedia::Voice);
    sim.run_until_quiet();
    let from_ben = ada.calls()[1];
    ada.slow(OpKind::Capture, secs(3));
    assert_eq!(ada.command_to(from_ben, CallCommand::Answer(None)), Verdict::Handled);
    sim.advance(secs(1));
    carl.answer();
    sim.run_until_quiet();
    let held: Vec<_> =
        ada.calls().into_iter().map(|call| ada.snapshot_of(call).unwrap().hold.by_us).collect();
    assert_eq!(held, [false, true], "{}", sim.column());
    assert_eq!(ada.state_of(from_ben), Some(CallState::Connected));
    assert!(ben.snapshot().unwrap().hold.by_them, "Ben is told");
}
