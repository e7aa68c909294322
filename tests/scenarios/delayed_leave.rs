//! Delayed leaves (MSC4140): what the homeserver says for a device that can say nothing any more.
//! Items 148, 149 and 152 of `famedly-dart.md` §8.2, and its trap T-29.

use std::time::Duration;

use matrix_voip::{
    Config, DelayedLeave, GroupCallId, GroupEnd, GroupEvent, GroupState, MemberKey,
    host::SendState,
    id::{DeviceId, RoomId, SessionId, UserId},
    machine::{
        Identity,
        io::{CallMedia, Fault, GroupCommand, Input, Lifecycle, Network},
    },
    testing::{Cue, DelaySupport, Delayed, Device, OpKind, Sim, millis, secs},
    wire::member::MEMBER_TYPE,
};

/// Two users in a room of a homeserver that has delayed events.
fn two() -> (Sim, RoomId, Device, Device) {
    two_with(DelaySupport::Full)
}

fn two_with(support: DelaySupport) -> (Sim, RoomId, Device, Device) {
    let sim = Sim::new(5);
    sim.server(|server| server.delays().set_support(support));
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let ada = sim.user("@ada:example").device_with("A", own_key());
    let ben = sim.device("@ben:example", "B");
    sim.run_until_quiet();
    (sim, room, ada, ben)
}

/// Under a key of each device.
fn own_key() -> Config {
    let mut config = Config::default();
    config.member_key = MemberKey::Device;
    config
}

fn enter(sim: &Sim, device: &Device, room: &RoomId) -> SessionId {
    let call = device.open_group(room, GroupCallId::room());
    device.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    assert_eq!(device.group_state(call), Some(GroupState::Entered), "{}", sim.column());
    call
}

/// Who is in the latest call that a device saw, as devices.
fn present(device: &Device) -> Vec<String> {
    let latest = device.groups().last().and_then(|call| device.group_snapshot(*call));
    let all = latest.map(|shown| shown.participants).unwrap_or_default();
    all.iter().map(|one| one.id.device.to_string()).collect()
}

fn written(sim: &Sim, room: &RoomId) -> usize {
    sim.server(|server| server.state_sent(room))
}

/// How often a device wrote its membership, as the column tells it.
fn writes(sim: &Sim, who: &str) -> usize {
    lines(sim, who, "writes com.famedly.call.member").len()
}

fn lines(sim: &Sim, who: &str, what: &str) -> Vec<Duration> {
    let column = sim.column();
    let found = column.0.iter().filter(|line| line.who == who && line.what == what);
    found.map(|line| line.at).collect()
}

/// When something happened last.
fn last(sim: &Sim, who: &str, what: &str) -> Duration {
    let all = lines(sim, who, what);
    *all.last().unwrap_or_else(|| panic!("{who} never {what}\n{}", sim.column()))
}

/// How many participants a device saw leave.
fn left(device: &Device, call: SessionId) -> usize {
    let events = device.group_events(call);
    events.iter().filter(|event| matches!(event, GroupEvent::ParticipantLeft(_))).count()
}

fn wake(devices: &[&Device]) {
    for device in devices {
        device.input(Input::Lifecycle(Lifecycle::Foreground));
    }
}

// ------------------------------------------------------------------------------------ a crash

#[test]
fn a_crashed_device_is_gone_from_other_rosters_within_45_seconds() {
    for (before, way) in [(secs(0), millis(20)), (secs(7), millis(400)), (secs(300), secs(2))] {
        let (sim, room, ada, ben) = two();
        sim.set_way(way);
        ada.group(
            ada.open_group(&room, GroupCallId::room()),
            GroupCommand::Enter(CallMedia::Voice),
        );
        sim.advance(secs(30) + before);
        assert_eq!(present(&ben), ["A"], "{}", sim.column());
        ada.crash();
        sim.advance(secs(20));
        assert_eq!(present(&ben), ["A"], "not for every hiccup");
        sim.advance(secs(25));
        assert!(present(&ben).is_empty(), "{}", sim.column());
    }
}

#[test]
fn where_it_is_switched_off_nothing_is_scheduled() {
    let (sim, room, _, ben) = two();
    let mut off = own_key();
    off.delayed_leave = DelayedLeave::Off;
    let mut never = own_key();
    never.timeouts.delayed_leave = Duration::ZERO;
    for (name, config) in [("OFF", off), ("NEVER", never)] {
        let other = sim.user("@ada:example").device_with(name, config);
        sim.run_until_quiet();
        let call = enter(&sim, &other, &room);
        sim.advance(secs(60));
        assert!(other.delayed_leaves().is_empty());
        assert_eq!(sim.server(|server| server.delays().lists()), 0, "nor is anything looked for");
        assert_eq!(present(&ben), [name]);
        other.group(call, GroupCommand::Leave);
        sim.advance(secs(1));
    }
}

#[test]
fn what_a_crash_left_at_the_homeserver_is_cancelled_at_first_use_and_nothing_else_is() {
    let (sim, room, ada, ben) = two();
    let other = sim.room("!other:example", ["@ada:example", "@ben:example"]);
    sim.run_until_quiet();
    enter(&sim, &ada, &room);
    let before = ada.delayed_leaves();
    ada.crash();
    ada.forget_ledger();
    // Of the same user under the same key, in another room and of another type; of another key; and
    // so many that they need pages.
    let me = ada.identity();
    for event in [
        event(&other, MEMBER_TYPE, "A_@ada:example"),
        event(&room, "m.other", "A_@ada:example"),
        event(&room, MEMBER_TYPE, "@ada:example"),
        event(&room, MEMBER_TYPE, "PHONE_@ada:example"),
    ] {
        schedule(&sim, &me, event);
    }
    schedule(&sim, &me, event(&room, MEMBER_TYPE, "A_@ada:example"));
    sim.server(|server| server.delays().set_per_page(2));
    ada.restart();
    sim.advance(secs(1));
    enter(&sim, &ada, &room);
    sim.advance(secs(1));
    let left = ada.delayed_leaves();
    assert_eq!(left.len(), 5, "four of others and one of ours: {left:#?}\n{}", sim.column());
    assert!(left.iter().all(|it| !before.contains(it)), "{left:#?}");
    assert_eq!(sim.server(|server| server.delays().lists()), 1 + 4, "every page was followed");
    let call = ada.groups()[0];
    let events = ada.group_events(call).len();
    sim.advance(secs(60));
    assert_eq!((ada.group_events(call).len(), present(&ben)), (events, vec!["A".to_owned()]));
}

#[test]
fn what_the_ledger_takes_back_leaves_nothing_at_the_homeserver() {
    let (sim, room, ada, ben) = two();
    enter(&sim, &ada, &room);
    ada.crash();
    ada.restart();
    sim.advance(secs(2));
    assert!(present(&ben).is_empty() && ada.delayed_leaves().is_empty(), "{}", sim.column());
}

// ----------------------------------------------------------------------------------- entering

#[test]
fn the_leave_is_scheduled_before_the_membership_is_written_and_restarted_at_once_and_then_in_time()
{
    let (sim, room, ada, _) = two();
    ada.slow(OpKind::Schedule, secs(2));
    let call = ada.open_group(&room, GroupCallId::room());
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(2));
    assert_eq!((written(&sim, &room), ada.delayed_leaves().len()), (0, 0));
    sim.advance(secs(1));
    assert_eq!(ada.group_state(call), Some(GroupState::Entered), "{}", sim.column());
    let wrote = last(&sim, "ada", "writes com.famedly.call.member");
    let due = |sim: &Sim| {
        let [Delayed { due, .. }] = &ada.delayed_leaves()[..] else { panic!("{}", sim.column()) };
        due.since(sim.now().wall)
    };
    // The restart reaches the homeserver when the answer to the write has come back.
    let restarted = sim.elapsed() - (wrote + millis(40));
    assert_eq!(due(&sim), secs(30) - restarted);
    for _ in 0..200 {
        sim.advance(secs(1));
        assert!(due(&sim) > secs(21), "{}", sim.column());
    }
}

#[test]
fn whatever_the_endpoint_answers_the_join_succeeds() {
    let quota = Fault::Forbidden("M_LIMIT".into());
    for (cue, longest) in [
        (Cue::fails(Fault::Unsupported), secs(1)),
        (Cue::fails(quota), secs(1)),
        (Cue::fails(Fault::Failed("500".into())), secs(1)),
        (Cue::rate_limited(secs(60)), secs(1)),
        (Cue::panics(), secs(1)),
        (Cue::dropped(), secs(5)),
        (Cue::answer_lost(), secs(5)),
        (Cue::hangs(), secs(6)),
    ] {
        let (sim, room, ada, ben) = two();
        ada.always(OpKind::Schedule, cue.clone());
        let call = ada.open_group(&room, GroupCallId::room());
        ada.group(call, GroupCommand::Enter(CallMedia::Voice));
        sim.advance(longest);
        assert_eq!(ada.group_state(call), Some(GroupState::Entered), "{cue:?}\n{}", sim.column());
        sim.advance(secs(300));
        assert_eq!(present(&ben), ["A"], "{cue:?}\n{}", sim.column());
    }
}

#[test]
fn a_homeserver_without_delayed_events_is_asked_once() {
    let (sim, room, ada, ben) = two_with(DelaySupport::None);
    enter(&sim, &ada, &room);
    sim.server(|server| server.delays().set_support(DelaySupport::Full));
    sim.advance(secs(600));
    assert_eq!((ada.delayed_leaves().len(), present(&ben).len()), (0, 1));
    ada.group(ada.groups()[0], GroupCommand::Leave);
    sim.advance(secs(1));
    enter(&sim, &ada, &room);
    assert_eq!(ada.delayed_leaves().len(), 1, "and again when we enter anew");
}

#[test]
fn a_quota_that_is_free_again_is_used() {
    let (sim, room, ada, _) = two();
    sim.server(|server| server.delays().set_quota(0));
    enter(&sim, &ada, &room);
    sim.server(|server| server.delays().set_quota(1));
    sim.advance(secs(130));
    assert_eq!(ada.delayed_leaves().len(), 1, "{}", sim.column());
}

#[test]
fn a_leave_that_was_scheduled_without_our_hearing_of_it_is_found_and_cancelled() {
    let (sim, room, ada, _) = two();
    ada.next(OpKind::Schedule, Cue::answer_lost());
    let call = ada.open_group(&room, GroupCallId::room());
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(5));
    assert_eq!(ada.delayed_leaves().len(), 1, "{}", sim.column());
    let events = ada.group_events(call).len();
    sim.advance(secs(60));
    assert_eq!((ada.group_events(call).len(), writes(&sim, "ada")), (events, 1));
}

#[test]
fn a_membership_that_is_refused_leaves_nothing_scheduled() {
    let (sim, room, ada, _) = two();
    ada.next(OpKind::SendState, Cue::fails(Fault::Forbidden("M_FORBIDDEN".into())));
    let call = ada.open_group(&room, GroupCallId::room());
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(2));
    assert!(ada.delayed_leaves().is_empty(), "{}", sim.column());
    sim.advance(secs(60));
    assert_eq!(written(&sim, &room), 0);
}

#[test]
fn of_two_rooms_each_has_its_own_and_one_that_is_left_does_not_touch_the_other() {
    let (sim, room, ada, _) = two();
    let other = sim.room("!other:example", ["@ada:example", "@ben:example"]);
    sim.run_until_quiet();
    let (one, two) = (enter(&sim, &ada, &room), enter(&sim, &ada, &other));
    assert_eq!(ada.delayed_leaves().len(), 2);
    ada.group(one, GroupCommand::Leave);
    sim.advance(secs(90));
    let left = ada.delayed_leaves();
    assert_eq!((left.len(), &left[0].event.room), (1, &other), "{}", sim.column());
    assert_eq!(ada.group_state(two), Some(GroupState::Entered));
    assert_eq!(written(&sim, &other), 1, "nobody was thrown out");
}

#[test]
fn two_calls_of_one_room_have_one_until_both_are_left() {
    let (sim, room, ada, _) = two();
    let one = enter(&sim, &ada, &room);
    let two = ada.open_group(&room, GroupCallId::named("two"));
    ada.group(two, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    assert_eq!(ada.delayed_leaves().len(), 1, "one event holds both memberships");
    ada.group(one, GroupCommand::Leave);
    sim.advance(secs(60));
    assert_eq!(ada.delayed_leaves().len(), 1);
    assert_eq!(ada.group_state(two), Some(GroupState::Entered));
    ada.group(two, GroupCommand::Leave);
    sim.advance(secs(1));
    assert!(ada.delayed_leaves().is_empty(), "{}", sim.column());
}

// -------------------------------------------------------------------------- while we are in it

#[test]
fn a_leave_that_somebody_cancelled_is_scheduled_anew_and_nothing_is_written() {
    let (sim, room, ada, _) = two();
    enter(&sim, &ada, &room);
    sim.server(|server| server.delays().cancel_all(&room));
    assert!(ada.delayed_leaves().is_empty());
    sim.advance(secs(9));
    assert_eq!(ada.delayed_leaves().len(), 1, "{}", sim.column());
    sim.advance(secs(60));
    assert_eq!(writes(&sim, "ada"), 1, "the membership stands, and needs no other");
    // The next refresh looks first, because a leave might have been sent.
    sim.advance(secs(120));
    assert_eq!(writes(&sim, "ada"), 2);
}

#[test]
fn a_leave_that_the_homeserver_wrote_while_we_were_in_it_is_followed_by_one_re_join() {
    let (sim, room, ada, ben) = two();
    let call = enter(&sim, &ada, &room);
    let events = ada.group_events(call).len();
    ada.partition();
    sim.advance(secs(60));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    ada.heal();
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(5));
    assert_eq!(present(&ben), ["A"], "{}", sim.column());
    assert_eq!(writes(&sim, "ada"), 2, "{}", sim.column());
    assert_eq!(ada.group_events(call).len(), events, "we never left for ourselves");
    let rewrote = last(&sim, "ada", "writes com.famedly.call.member");
    assert!(last(&sim, "ada", "schedules its leave") < rewrote, "{}", sim.column());
    sim.advance(secs(100));
    assert_eq!((writes(&sim, "ada"), ada.delayed_leaves().len()), (2, 1));
}

#[test]
fn who_hears_of_it_late_has_written_once_all_the_same() {
    // The refresh is due at once, and the sync brings the leave behind it.
    let (sim, room, ada, ben) = two();
    let call = enter(&sim, &ada, &room);
    let events = ada.group_events(call).len();
    ada.hold_sync();
    sim.suspend(secs(600));
    wake(&[&ada, &ben]);
    sim.advance(secs(3));
    assert_eq!((writes(&sim, "ada"), present(&ben)), (2, vec!["A".to_owned()]));
    ada.release_sync();
    sim.advance(secs(60));
    assert_eq!(writes(&sim, "ada"), 2, "{}", sim.column());
    assert_eq!(ada.group_events(call).len(), events);
}

#[test]
fn after_a_sleep_the_leave_is_scheduled_before_the_membership_is_written() {
    for asleep in [31, 100, 200, 1_000] {
        let (sim, room, ada, ben) = two();
        enter(&sim, &ada, &room);
        ada.slow(OpKind::Schedule, secs(3));
        sim.suspend(secs(asleep));
        wake(&[&ada, &ben]);
        sim.advance(secs(2));
        assert_eq!(writes(&sim, "ada"), 1, "asleep for {asleep} s\n{}", sim.column());
        sim.advance(secs(3));
        assert_eq!(writes(&sim, "ada"), 2, "asleep for {asleep} s\n{}", sim.column());
        let rewrote = last(&sim, "ada", "writes com.famedly.call.member");
        assert!(last(&sim, "ada", "schedules its leave") < rewrote, "{}", sim.column());
        assert_eq!((present(&ben), ada.delayed_leaves().len()), (vec!["A".to_owned()], 1));
        // And where it crashes right then, nobody sees a ghost for longer than ever.
        ada.crash();
        sim.advance(secs(45));
        assert!(present(&ben).is_empty(), "{}", sim.column());
    }
}

#[test]
fn a_short_sleep_changes_nothing() {
    let (sim, room, ada, ben) = two();
    enter(&sim, &ada, &room);
    sim.suspend(secs(20));
    wake(&[&ada, &ben]);
    sim.advance(secs(10));
    assert_eq!((writes(&sim, "ada"), present(&ben)), (1, vec!["A".to_owned()]));
    assert_eq!(lines(&sim, "ada", "schedules its leave").len(), 1, "{}", sim.column());
}

#[test]
fn a_homeserver_that_cancels_it_with_every_write_makes_no_storm() {
    let (sim, room, ada, ben) = two_with(DelaySupport::CancelledByState);
    enter(&sim, &ada, &room);
    sim.advance(secs(1));
    assert_eq!(ada.delayed_leaves().len(), 1, "seen by the restart that follows the write");
    sim.advance(secs(599));
    assert_eq!(writes(&sim, "ada"), 1 + 5, "one each two minutes\n{}", sim.column());
    ada.crash();
    sim.advance(secs(45));
    assert!(present(&ben).is_empty());
}

#[test]
fn an_ordinary_outage_throws_nobody_out() {
    let (sim, room, ada, ben) = two();
    enter(&sim, &ada, &room);
    ada.partition();
    sim.advance(secs(20));
    ada.heal();
    sim.advance(secs(60));
    assert_eq!((writes(&sim, "ada"), present(&ben)), (1, vec!["A".to_owned()]), "{}", sim.column());
}

// ------------------------------------------------------------------------------------- leaving

#[test]
fn who_leaves_writes_it_and_cancels_the_delayed_one() {
    let (sim, room, ada, ben) = two();
    let call = enter(&sim, &ada, &room);
    ada.slow(OpKind::Cancel, secs(1));
    ada.group(call, GroupCommand::Leave);
    sim.advance(millis(500));
    assert!(present(&ben).is_empty(), "others do not wait for it\n{}", sim.column());
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::Empty), "nor do we");
    sim.advance(secs(1));
    assert!(ada.delayed_leaves().is_empty(), "{}", sim.column());
    sim.run_to_the_end();
    assert_eq!(written(&sim, &room), 2);
}

#[test]
fn who_leaves_without_the_server_is_gone_for_others_by_the_delayed_leave() {
    let (sim, room, ada, ben) = two();
    let call = enter(&sim, &ada, &room);
    ada.partition();
    ada.group(call, GroupCommand::Leave);
    assert!(present(&ada).is_empty(), "for ourselves at once");
    sim.advance(secs(45));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    ada.heal();
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(2));
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::Empty));
    sim.run_to_the_end();
    assert!(present(&ben).is_empty() && ada.delayed_leaves().is_empty());
}

#[test]
fn who_leaves_and_enters_at_once_is_not_thrown_out_by_the_old_leave() {
    let (sim, room, ada, ben) = two();
    let call = enter(&sim, &ada, &room);
    ada.next(OpKind::Cancel, Cue::dropped());
    ada.group(call, GroupCommand::Leave);
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(90));
    assert_eq!((present(&ben), ada.delayed_leaves().len()), (vec!["A".to_owned()], 1));
    assert!(writes(&sim, "ada") <= 3, "{}", sim.column());
}

#[test]
fn who_leaves_while_the_leave_is_being_scheduled_leaves_nothing_behind() {
    let (sim, room, ada, _) = two();
    ada.slow(OpKind::Schedule, secs(2));
    let call = ada.open_group(&room, GroupCallId::room());
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(3));
    assert!(ada.delayed_leaves().is_empty(), "{}", sim.column());
    assert_eq!(written(&sim, &room), 0);
}

#[test]
fn a_process_that_ends_leaves_nothing_behind() {
    let (sim, room, ada, ben) = two();
    enter(&sim, &ada, &room);
    ada.input(Input::Lifecycle(Lifecycle::Ending));
    sim.advance(secs(2));
    assert!(present(&ben).is_empty() && ada.delayed_leaves().is_empty(), "{}", sim.column());
}

// ----------------------------------------------------------------- devices that share a state key

/// Two devices of one user under one key, and somebody who looks on.
fn siblings() -> (Sim, RoomId, [Device; 2], Device) {
    let sim = Sim::new(6);
    sim.server(|server| server.delays().set_support(DelaySupport::Full));
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let devices = ["A1", "A2"].map(|device| sim.device("@ada:example", device));
    let ben = sim.device("@ben:example", "B");
    sim.run_until_quiet();
    (sim, room, devices, ben)
}

#[test]
fn the_leave_of_one_device_keeps_the_other_that_came_later() {
    let (sim, room, [one, two], ben) = siblings();
    enter(&sim, &one, &room);
    let call = enter(&sim, &two, &room);
    let leaves = one.delayed_leaves();
    assert_eq!(leaves.len(), 1, "the old one is cancelled");
    assert!(leaves[0].event.content.contains(r#""device_id":"A2""#), "{:?}", leaves[0].event);
    let before = writes(&sim, "ada/A2");
    one.crash();
    sim.advance(secs(45));
    assert_eq!(present(&ben), ["A2"], "{}", sim.column());
    sim.advance(secs(30));
    assert_eq!(writes(&sim, "ada/A2"), before, "nobody had to come back\n{}", sim.column());
    assert_eq!(left(&two, call), 1, "the other left, and nothing else");
}

#[test]
fn the_leave_of_one_device_does_not_bring_back_the_other_that_left() {
    let (sim, room, [one, two], ben) = siblings();
    enter(&sim, &one, &room);
    let call = enter(&sim, &two, &room);
    two.group(call, GroupCommand::Leave);
    sim.advance(secs(1));
    one.crash();
    two.crash();
    sim.advance(secs(45));
    assert!(present(&ben).is_empty(), "{}", sim.column());
}

#[test]
fn it_keeps_up_with_what_the_other_device_refreshes() {
    let (sim, room, [one, two], ben) = siblings();
    enter(&sim, &one, &room);
    sim.advance(secs(60));
    let call = enter(&sim, &two, &room);
    sim.advance(secs(500));
    one.crash();
    sim.advance(secs(45));
    assert_eq!(present(&ben), ["A2"], "{}", sim.column());
    sim.advance(secs(200));
    assert_eq!((present(&ben), left(&two, call)), (vec!["A2".to_owned()], 1));
}

#[test]
fn one_device_that_enters_does_not_cancel_the_leave_of_the_other() {
    let (sim, room, [one, two], ben) = siblings();
    enter(&sim, &one, &room);
    enter(&sim, &two, &room);
    sim.advance(secs(5));
    assert_eq!((one.delayed_leaves().len(), two.delayed_leaves().len()), (1, 1));
    two.crash();
    two.forget_ledger();
    two.restart();
    sim.advance(secs(1));
    enter(&sim, &two, &room);
    sim.advance(secs(5));
    let kept = (one.delayed_leaves().len(), two.delayed_leaves().len());
    assert_eq!(kept, (1, 1), "what the dead process left is cancelled, the other's is not");
    assert_eq!(present(&ben), ["A1", "A2"], "{}", sim.column());
}

#[test]
fn of_a_device_that_was_thrown_out_by_the_others_leave_there_is_one_re_join() {
    let (sim, room, [one, two], ben) = siblings();
    enter(&sim, &one, &room);
    // He hears nothing of the other, so his leave does not keep it.
    one.hold_sync();
    let call = enter(&sim, &two, &room);
    let before = writes(&sim, "ada/A2");
    one.crash();
    sim.advance(secs(45));
    assert_eq!(present(&ben), ["A2"], "{}", sim.column());
    assert_eq!(writes(&sim, "ada/A2"), before + 1, "{}", sim.column());
    assert_eq!(left(&two, call), 1, "the other, never ourselves");
}

// -------------------------------------------------------------------------------------- helpers

fn event(room: &RoomId, event_type: &str, state_key: &str) -> SendState {
    SendState {
        room: room.clone(),
        event_type: event_type.to_owned(),
        state_key: state_key.to_owned(),
        content: r#"{"memberships":[]}"#.to_owned(),
    }
}

fn schedule(sim: &Sim, by: &Identity, event: SendState) {
    let now = sim.now().wall;
    let by = Identity {
        user: UserId::parse(by.user.as_str()).unwrap(),
        device: DeviceId::parse(by.device.as_str()).unwrap(),
    };
    sim.server(|server| server.delays().schedule(now, &by, (event, secs(3_000)))).unwrap();
}
